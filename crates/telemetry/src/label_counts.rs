//! Counts events by the values of their labels, for `--metrics-label`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tracing::warn;

/// Values that a lane counts, and the whole process. Each is two time series.
const LANE_VALUES: usize = 1_000;
const PROCESS_VALUES: usize = 20_000;
/// The value under which events beyond a bound are counted.
const OTHER: &str = "other";

/// The labels that are counted by value (`--metrics-label`), and how many values there are.
#[derive(Debug, Default)]
pub struct CountedLabels {
    names: Vec<String>,
    values: AtomicUsize,
    is_full: AtomicBool,
}

/// The counts of one lane, by label and value.
#[derive(Debug, Default)]
pub(super) struct LabelCounts(BTreeMap<(String, String), LabelCount>);

/// Events with one value of a label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LabelCount {
    pub events: u64,
    pub bytes: u64,
}

impl LabelCount {
    pub fn add(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

impl CountedLabels {
    /// Selects the labels to count. A name that is given twice counts once.
    pub fn new(mut names: Vec<String>) -> Self {
        names.sort_unstable();
        names.dedup();
        Self { names, ..Self::default() }
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Reserves room for one more value in the process. Returns false if there is none, which is logged once.
    fn reserve(&self) -> bool {
        let has_room = self.values.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |values| {
            (values < PROCESS_VALUES).then_some(values + 1)
        });
        if has_room.is_err() && !self.is_full.swap(true, Ordering::Relaxed) {
            warn!(
                most = PROCESS_VALUES,
                "labels have more values than are counted: further ones are counted as `other`"
            );
        }
        has_room.is_ok()
    }
}

impl LabelCounts {
    /// Adds to the counts of a value.
    pub fn add(&mut self, labels: &CountedLabels, name: &str, value: &str, count: LabelCount) {
        let counts = &mut self.0;
        let key = (name.to_owned(), value.to_owned());
        if let Some(known) = counts.get_mut(&key) {
            known.add(count);
            return;
        }
        let other = (name.to_owned(), OTHER.to_owned());
        if counts.len() >= LANE_VALUES && !counts.contains_key(&other) {
            let most = LANE_VALUES;
            warn!(
                label = name,
                most, "a label has more values than a lane counts: further ones are counted as `other`"
            );
        }
        let key = if key == other || counts.len() < LANE_VALUES && labels.reserve() { key } else { other };
        counts.entry(key).or_default().add(count);
    }

    /// Forgets all values: others may take their room in the process.
    pub fn clear(&mut self, labels: &CountedLabels) {
        let own = self.0.keys().filter(|(_, value)| value != OTHER).count();
        labels.values.fetch_sub(own, Ordering::Relaxed);
        labels.is_full.store(false, Ordering::Relaxed);
        self.0.clear();
    }

    /// Calls `visit` with each label, value and count.
    pub fn for_each(&self, mut visit: impl FnMut(&str, &str, LabelCount)) {
        self.0.iter().for_each(|((name, value), count)| visit(name, value, *count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: LabelCount = LabelCount { events: 1, bytes: 10 };

    fn values(counts: &LabelCounts) -> BTreeMap<String, LabelCount> {
        let mut values = BTreeMap::new();
        counts.for_each(|_, value, count| _ = values.insert(value.to_owned(), count));
        values
    }

    #[test]
    fn a_lane_counts_a_thousand_values_and_the_rest_as_other() {
        let labels = CountedLabels::new(vec!["site".to_owned()]);
        let mut counts = LabelCounts::default();
        for round in 0..2 {
            (0..1_500).for_each(|site| counts.add(&labels, "site", &format!("s{site:04}"), ONE));
            let values = values(&counts);
            assert_eq!((values.len(), values["s0999"].events), (LANE_VALUES + 1, round + 1));
            assert_eq!(values["other"], LabelCount { events: 500 * (round + 1), bytes: 5_000 * (round + 1) });
        }
    }

    #[test]
    fn a_process_counts_twenty_thousand_values() {
        let labels = CountedLabels::new(vec!["site".to_owned()]);
        let mut lanes: Vec<LabelCounts> = (0..21).map(|_| LabelCounts::default()).collect();
        for lane in &mut lanes {
            (0..1_000).for_each(|site| lane.add(&labels, "site", &site.to_string(), ONE));
        }
        assert_eq!(values(&lanes[19]).len(), 1_000);
        assert_eq!(
            values(&lanes[20]).into_iter().collect::<Vec<_>>(),
            [("other".to_owned(), LabelCount { events: 1_000, bytes: 10_000 })]
        );
    }
    #[test]
    fn a_lane_that_has_ended_leaves_room_for_others() {
        let labels = CountedLabels::new(vec!["site".to_owned()]);
        let mut lanes: Vec<LabelCounts> = (0..21).map(|_| LabelCounts::default()).collect();
        for lane in &mut lanes {
            (0..1_100).for_each(|site| lane.add(&labels, "site", &site.to_string(), ONE));
        }
        lanes[0].clear(&labels);
        assert_eq!(values(&lanes[0]).len(), 0);
        (0..1_100).for_each(|site| lanes[20].add(&labels, "site", &site.to_string(), ONE));
        // The lane had `other` already.
        assert_eq!(values(&lanes[20]).len(), 1_000);
        lanes[0].add(&labels, "site", "1", ONE);
        assert_eq!(values(&lanes[0])["1"], ONE, "one place was left");
        lanes[0].add(&labels, "site", "2", ONE);
        assert_eq!(values(&lanes[0])["other"], ONE);
    }
}
