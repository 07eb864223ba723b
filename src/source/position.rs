use std::collections::BTreeMap;
use std::time::Duration;

use crate::record::Timestamp;

/// How much longer keys are kept than the bound asks for: the console compares times at about 10 ms, so a query from the
/// bound may show records from just before it.
const KEPT_SECONDS_BELOW_BOUND: i64 = 1;

/// How far a lane has come: everything before `bound` is settled, and of what lies above it `keys` tells what was taken.
///
/// The rules and the case behind each are in `docs/delivery.md`; in short:
/// - a poll asks for [bound, S], S being its start by the console's clock;
/// - a poll that reached its end moves the bound to S − overlap, one that did not to min(watermark, S − overlap);
/// - the bound never moves back, and a key is forgotten only when its record's time lies before the bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    bound: Timestamp,
    watermark: Timestamp,
    complete: Option<Timestamp>,
    /// Keys by the second of their record's time, each list sorted: they expire by the second, and lists delta-code well.
    keys: BTreeMap<i64, Vec<u64>>,
}

impl Position {
    /// The position of a lane that has taken nothing and begins at `since`.
    pub fn starting_at(since: Timestamp) -> Self {
        Self { bound: since, watermark: since, complete: None, keys: BTreeMap::new() }
    }

    pub(super) fn from_parts(
        bound: Timestamp,
        watermark: Timestamp,
        complete: Option<Timestamp>,
        keys: BTreeMap<i64, Vec<u64>>,
    ) -> Self {
        Self { bound, watermark, complete, keys }
    }

    /// Lower end of the next poll, included.
    pub fn bound(&self) -> Timestamp {
        self.bound
    }

    /// Everything visible up to here was taken, records still to come late aside.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Start of the last poll that reached its end with everything delivered.
    pub fn complete(&self) -> Option<Timestamp> {
        self.complete
    }

    /// The time up to which the lane is complete: what `lag_seconds` is measured from.
    pub fn complete_until(&self) -> Timestamp {
        self.complete.map_or(self.watermark, |complete| complete.max(self.watermark))
    }

    /// The newest time of which anything was taken.
    pub fn newest(&self) -> Timestamp {
        let after = |second: i64| Timestamp::from_micros(second.saturating_add(1).saturating_mul(1_000_000));
        let after_keys = self.keys.last_key_value().map(|(second, _)| after(*second));
        self.complete_until().max(after_keys.unwrap_or_default())
    }

    /// The keys remembered, by the second of their record's time.
    pub fn keys(&self) -> impl Iterator<Item = (i64, &[u64])> {
        self.keys.iter().map(|(second, keys)| (*second, keys.as_slice()))
    }

    /// Number of keys remembered.
    pub fn key_count(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }

    /// True when the record of this time and key was taken before.
    pub fn has(&self, time: Timestamp, key: u64) -> bool {
        self.keys.get(&time.seconds()).is_some_and(|keys| keys.binary_search(&key).is_ok())
    }

    /// True when a record of this key was taken at any time that is remembered.
    pub fn has_anywhere(&self, key: u64) -> bool {
        self.keys.values().any(|keys| keys.binary_search(&key).is_ok())
    }

    /// Remembers a record; false when it was taken before.
    pub fn take(&mut self, time: Timestamp, key: u64) -> bool {
        let keys = self.keys.entry(time.seconds()).or_default();
        match keys.binary_search(&key) {
            Ok(_) => false,
            Err(place) => {
                keys.insert(place, key);
                true
            }
        }
    }

    /// Everything up to `watermark` was taken by a poll that started at `start` and has not reached its end.
    ///
    /// Records of the watermark's own second may still be unread (ties), so the bound stays a second behind.
    pub fn advance(&mut self, watermark: Timestamp, start: Timestamp, overlap: Duration) {
        self.watermark = self.watermark.max(watermark.min(start));
        self.raise_bound(watermark.minus(Duration::from_secs(1)).min(start.minus(overlap)));
    }

    /// A poll that started at `start` reached its end, and everything it showed was taken.
    pub fn finish(&mut self, start: Timestamp, overlap: Duration) {
        self.watermark = self.watermark.max(start);
        self.complete = self.complete.max(Some(start));
        self.raise_bound(start.minus(overlap));
    }

    /// Keeps the times and forgets the keys: another console's records have other identities.
    pub fn forget_keys(&mut self) {
        self.keys.clear();
    }

    fn raise_bound(&mut self, bound: Timestamp) {
        if bound <= self.bound {
            return;
        }
        self.bound = bound;
        let kept = self.keys.split_off(&(bound.seconds() - KEPT_SECONDS_BELOW_BOUND));
        self.keys = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: Duration = Duration::from_secs(300);

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_micros((12 * 60 + minute) * 60_000_000)
    }

    #[test]
    fn a_complete_poll_leaves_the_bound_an_overlap_behind_its_start() {
        let mut position = Position::starting_at(minute(-60));
        position.take(minute(-10), 1);
        position.take(minute(-3), 2);
        position.finish(minute(0), OVERLAP);
        assert_eq!(position.bound(), minute(-5));
        assert!(position.has(minute(-3), 2), "within the overlap");
        assert!(!position.has(minute(-10), 1), "before the bound");
        assert_eq!(position.complete(), Some(minute(0)));
    }

    /// The case of delivery.md: a poll at 12:00 completes, the poll at 12:10 breaks at 11:56.
    #[test]
    fn an_interrupted_poll_keeps_the_keys_above_what_it_reached() {
        let mut position = Position::starting_at(minute(-60));
        position.take(minute(-4), 1);
        position.take(minute(-1), 2);
        position.finish(minute(0), OVERLAP);
        position.take(minute(-4), 3);
        position.advance(minute(-4), minute(10), OVERLAP);
        assert_eq!(position.bound(), minute(-4).minus(Duration::from_secs(1)));
        for (time, key) in [(minute(-4), 1), (minute(-1), 2), (minute(-4), 3)] {
            assert!(position.has(time, key), "key {key}");
        }
    }

    #[test]
    fn the_bound_never_moves_back() {
        let mut position = Position::starting_at(minute(0));
        position.finish(minute(10), OVERLAP);
        let before = position.clone();
        position.advance(minute(3), minute(4), OVERLAP);
        assert_eq!(position.bound(), before.bound());
        position.finish(minute(6), OVERLAP);
        assert_eq!(position.bound(), before.bound());
        assert_eq!(position.complete(), Some(minute(10)));
    }

    #[test]
    fn an_interrupted_poll_does_not_outrun_the_overlap() {
        let mut position = Position::starting_at(minute(-60));
        position.advance(minute(9), minute(10), OVERLAP);
        assert_eq!(position.bound(), minute(5), "a record of 12:06 may still come late");
    }

    #[test]
    fn ties_on_the_watermark_are_told_apart_by_their_keys() {
        let mut position = Position::starting_at(minute(-60));
        assert!(position.take(minute(-30), 1));
        position.advance(minute(-30), minute(0), OVERLAP);
        assert!(position.bound() < minute(-30), "another record of that moment may be unread");
        assert!(!position.take(minute(-30), 1));
        assert!(position.take(minute(-30), 2));
    }

    /// A record without a time of its own is remembered at the start of its poll, which the bound reaches last.
    #[test]
    fn a_key_is_found_wherever_it_is_kept() {
        let mut position = Position::starting_at(minute(-60));
        position.take(minute(0), 7);
        assert!(position.has_anywhere(7) && !position.has_anywhere(8));
        position.finish(minute(4), OVERLAP);
        assert!(position.has_anywhere(7));
        position.finish(minute(10), OVERLAP);
        assert!(!position.has_anywhere(7));
    }
}
