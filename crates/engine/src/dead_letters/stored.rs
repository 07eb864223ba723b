//! Counts each lane's dead letters between two measurements of the store.

use std::collections::{BTreeMap, BTreeSet};

use s1_forwarder_record::LaneId;

#[derive(Debug, Default)]
pub(super) struct Stored {
    /// Whether the store was measured. A lane that is not in `lanes` has no dead letters then.
    is_measured: bool,
    lanes: BTreeMap<LaneId, u64>,
    /// Lanes whose dead letters were kept since the current measurement began, which may have missed these.
    changed: BTreeSet<LaneId>,
}

impl Stored {
    /// Counts dead letters that were kept, by their lanes.
    pub fn keep(&mut self, kept: impl IntoIterator<Item = LaneId>) {
        for lane in kept {
            *self.lanes.entry(lane.clone()).or_default() += 1;
            self.changed.insert(lane);
        }
    }

    /// Begins a measurement.
    pub fn begin(&mut self) {
        self.changed.clear();
    }

    /// Ends the measurement, which has `found` a number for each lane. A number that is too high for a minute is better
    /// than a number that hides a dead letter.
    pub fn end(&mut self, found: &BTreeMap<LaneId, u64>) {
        let before = std::mem::replace(&mut self.lanes, found.clone());
        for lane in std::mem::take(&mut self.changed) {
            let known = before.get(&lane).copied().unwrap_or_default();
            let stored = self.lanes.entry(lane).or_default();
            *stored = known.max(*stored);
        }
        self.is_measured = true;
    }

    /// Returns the number of the lane's dead letters; `None` while it is unknown.
    pub fn of(&self, lane: &LaneId) -> Option<u64> {
        self.lanes.get(lane).copied().or(self.is_measured.then_some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_replaces_what_was_known_but_not_what_is_kept_meanwhile() {
        let [threats, alerts]: [LaneId; 2] =
            ["acme/threats/siem", "acme/alerts/siem"].map(|lane| lane.parse().unwrap());
        let mut stored = Stored::default();
        assert_eq!(stored.of(&threats), None, "it is unknown what earlier processes have kept");
        stored.keep([threats.clone()]);
        assert_eq!((stored.of(&threats), stored.of(&alerts)), (Some(1), None), "at least one");
        stored.begin();
        stored.end(&[(threats.clone(), 40), (alerts.clone(), 2)].into());
        assert_eq!((stored.of(&threats), stored.of(&alerts)), (Some(40), Some(2)));
        // Another process removes some, and this one keeps one while the store is read.
        stored.begin();
        stored.keep([threats.clone()]);
        stored.end(&[(threats.clone(), 5)].into());
        assert_eq!((stored.of(&threats), stored.of(&alerts)), (Some(41), Some(0)));
        stored.begin();
        stored.end(&[(threats.clone(), 6)].into());
        assert_eq!(stored.of(&threats), Some(6), "until the next measurement");
    }
}
