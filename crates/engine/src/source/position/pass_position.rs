//! Position of one pass over a stream: its bound, its watermark, and the keys of settled records.

use std::time::Duration;

use s1_forwarder_record::Timestamp;
use serde::{Deserialize, Serialize};

use super::seconds::{KeysBySecond, KnownState};
use crate::source::{Pass, RecordKey};

/// Keys are kept this much below the bound: the console compares times at about 10 ms, so a query from the bound may
/// return records from just before it.
const KEPT_SECONDS_BELOW_BOUND: i64 = 1;
/// Most findings of one window to remember; further ones are delivered twice if windows overlap.
pub(in crate::source) const MANY_FINDINGS: usize = 50_000;

/// How far one pass over a stream has come: all records before `bound` are settled, and the keys name the settled
/// records after it.
///
/// The rules and the case behind each are in `docs/dev/delivery.md`; in short:
/// - a poll asks for [bound, S], S being its start by the console's clock, or for parts of it (`source/poll/tail.rs`);
/// - a poll that reached its end moves the bound to S − L, where L is `overlap` or `lookback`; one that did not
///   moves it to min(watermark, S − L); one that did not read all older records leaves it;
/// - the bound never moves back, and a key is forgotten only when its record's time is before the bound. (A snapshot
///   begins again each time.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassPosition {
    /// Lower end of the next poll, included.
    pub bound: Timestamp,
    /// All records up to this time are settled, except late arrivals.
    pub watermark: Timestamp,
    /// Start of the last poll that reached its end with all records settled.
    pub complete: Option<Timestamp>,
    pub(super) seconds: KeysBySecond,
    /// The snapshot that was begun last.
    pub snapshot: Option<Snapshot>,
    /// Start of the last sweep over all findings.
    pub(super) swept: Option<Timestamp>,
}

/// A [`PassPosition`] without its keys. Later times are stored as their distance from the bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    bound: Timestamp,
    watermark: i64,
    complete: Option<i64>,
    snapshot: Option<Snapshot>,
    swept: Option<i64>,
}

/// A full inventory: the time that names it, and its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Time that names the snapshot, aligned to the interval, and part of each event's identity.
    pub time: Timestamp,
    /// Number of events settled so far.
    pub settled: u64,
    pub stage: SnapshotStage,
}

/// Stage of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotStage {
    /// Records are being read.
    Reading,
    /// All records are settled; the event that says so is not.
    Marking,
    /// Nothing is left to do.
    Done,
}

impl PassPosition {
    /// Returns the position of a pass that begins at `since`.
    pub(in crate::source) fn starting_at(since: Timestamp) -> Self {
        Self {
            bound: since,
            watermark: since,
            complete: None,
            seconds: KeysBySecond::default(),
            snapshot: None,
            swept: None,
        }
    }

    pub(super) fn head(&self) -> Head {
        let from_bound = |time: Timestamp| time.micros().wrapping_sub(self.bound.micros());
        Head {
            bound: self.bound,
            watermark: from_bound(self.watermark),
            complete: self.complete.map(from_bound),
            snapshot: self.snapshot,
            swept: self.swept.map(from_bound),
        }
    }

    pub(super) fn set_head(&mut self, head: Head) {
        let time = |from_bound: i64| Timestamp::from_micros(head.bound.micros().wrapping_add(from_bound));
        self.bound = head.bound;
        self.watermark = time(head.watermark);
        self.snapshot = head.snapshot;
        self.complete = head.complete.map(time);
        self.swept = head.swept.map(time);
    }

    /// Returns the time up to which the pass is complete.
    pub fn complete_until(&self) -> Timestamp {
        self.complete.map_or(self.watermark, |complete| complete.max(self.watermark))
    }

    /// Returns the remembered versions, by the second of their record's time.
    pub fn versions(&self) -> impl Iterator<Item = &[u64]> {
        self.seconds.iter().map(|(_, records)| records.versions())
    }

    /// Returns the number of remembered keys.
    pub fn key_count(&self) -> usize {
        self.seconds.key_count()
    }

    /// Returns the remembered keys, by the second of their record's time.
    pub(in crate::source) fn seconds(&self) -> &KeysBySecond {
        &self.seconds
    }

    /// Looks up a record. A record without a time of its own is looked up under every time.
    pub(crate) fn knows_record(&self, pass: &Pass, record_key: &RecordKey, has_time: bool) -> KnownState {
        let (key, version) = pass.key(record_key);
        if has_time { self.knows(pass.order_time(record_key), key, version) } else { self.knows_anywhere(key, version) }
    }

    /// Looks up a record of this time. `version` is given if the position stores the last settled version.
    pub(in crate::source) fn knows(&self, time: Timestamp, key: u64, version: Option<u64>) -> KnownState {
        self.seconds.knows(time.seconds(), key, version)
    }

    /// Looks up a record that may be stored under any time.
    pub(super) fn knows_anywhere(&self, key: u64, version: Option<u64>) -> KnownState {
        self.seconds.knows_anywhere(key, version)
    }

    /// Remembers a record, and counts it in the snapshot that is being read. Returns false if it was remembered before.
    pub(in crate::source) fn remember(&mut self, time: Timestamp, key: u64, version: Option<u64>) -> bool {
        let second = time.seconds();
        // A record of an earlier second is never asked for again, so it is not stored.
        let is_new = second < self.first_kept_second() || self.seconds.remember(second, key, version);
        if is_new
            && let Some(snapshot) = &mut self.snapshot
            && snapshot.stage == SnapshotStage::Reading
        {
            snapshot.settled += 1;
        }
        is_new
    }

    /// Remembers a record that may be stored under another time, and removes it from there.
    pub(super) fn remember_moved(&mut self, time: Timestamp, key: u64, version: Option<u64>) -> bool {
        self.seconds.forget(key);
        self.remember(time, key, version)
    }

    /// Notes that a poll that started at `start` settled everything up to `watermark`, but has not reached its end.
    ///
    /// Records of the watermark's own second may still be unread (ties), so the bound stays a second behind. Without
    /// `distance`, the poll leaves the bound where it is.
    pub(in crate::source) fn advance(&mut self, watermark: Timestamp, start: Timestamp, distance: Option<Duration>) {
        self.watermark = self.watermark.max(watermark.min(start));
        if let Some(distance) = distance {
            self.raise_bound(bound_behind(watermark, start, distance));
        }
    }

    /// Notes that a poll that started at `start` reached its end, and that all its records are settled. Without
    /// `distance`, the poll leaves the bound where it is: it read only what was new, or had nothing to read.
    pub(in crate::source) fn finish(&mut self, start: Timestamp, distance: Option<Duration>) {
        self.watermark = self.watermark.max(start);
        self.complete = self.complete.max(Some(start));
        if let Some(distance) = distance {
            self.raise_bound(start.minus(distance));
        }
    }

    /// Keeps the times and forgets the keys: another console's records have other identities. A snapshot begins again.
    pub(super) fn forget_keys(&mut self) {
        self.seconds = KeysBySecond::default();
        self.snapshot = None;
        self.complete = None;
    }

    /// Returns the position at the beginning of the snapshot of this time: everything from `since` on is read again.
    /// Returns `None` if that snapshot was begun before, or there is none to begin.
    pub(super) fn beginning_snapshot(&self, time: Option<Timestamp>, since: Timestamp) -> Option<Self> {
        let time = time.filter(|time| self.snapshot.is_none_or(|snapshot| snapshot.time != *time))?;
        let snapshot = Snapshot { time, settled: 0, stage: SnapshotStage::Reading };
        Some(Self { bound: since, watermark: since, snapshot: Some(snapshot), ..self.without_keys() })
    }

    /// Returns whether a snapshot waits only for its marker event.
    pub(crate) fn is_marking(&self) -> bool {
        self.snapshot.is_some_and(|snapshot| snapshot.stage == SnapshotStage::Marking)
    }

    /// Returns whether the position has room for another record. Further findings are delivered twice if windows
    /// overlap.
    pub(super) fn has_room(&self, pass: &Pass) -> bool {
        !pass.reads_findings() || self.key_count() < MANY_FINDINGS
    }

    /// Remembers a record as `pass` does. Returns false if this version of the record was remembered before.
    pub(super) fn remember_record(&mut self, pass: &Pass, record_key: &RecordKey) -> bool {
        let (key, version) = pass.key(record_key);
        let time = pass.order_time(record_key);
        if pass.reads_findings() { self.remember_moved(time, key, version) } else { self.remember(time, key, version) }
    }

    /// Finishes the current stage of the snapshot.
    pub(super) fn finish_snapshot(&mut self, start: Timestamp, marker: bool) {
        self.complete = self.complete.max(Some(start));
        self.seconds = KeysBySecond::default();
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.stage = if marker && snapshot.stage == SnapshotStage::Reading {
                SnapshotStage::Marking
            } else {
                SnapshotStage::Done
            };
        }
    }

    /// Returns the first second of which keys are kept. Records of earlier seconds are not asked for again.
    pub(in crate::source) fn first_kept_second(&self) -> i64 {
        first_kept_second(self.bound)
    }

    /// Returns the last second of which the position has keys.
    pub(super) fn last_second(&self) -> Option<i64> {
        self.seconds.last()
    }

    /// Returns a copy of the position with its times, but without keys.
    pub(super) fn without_keys(&self) -> Self {
        Self { seconds: KeysBySecond::default(), ..*self }
    }

    fn raise_bound(&mut self, bound: Timestamp) {
        if bound <= self.bound {
            return;
        }
        self.bound = bound;
        self.forget_old_keys();
    }

    pub(super) fn forget_old_keys(&mut self) {
        self.seconds.forget_before(self.first_kept_second());
    }
}

/// Returns the bound of a poll that started at `start` and has read everything up to `watermark`.
pub(in crate::source) fn bound_behind(watermark: Timestamp, start: Timestamp, late_window: Duration) -> Timestamp {
    watermark.minus(Duration::from_secs(1)).min(start.minus(late_window))
}

/// Returns the first second of which keys are kept if this is the bound.
pub(in crate::source) fn first_kept_second(bound: Timestamp) -> i64 {
    bound.seconds() - KEPT_SECONDS_BELOW_BOUND
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAP: Option<Duration> = Some(Duration::from_mins(5));

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_micros((12 * 60 + minute) * 60_000_000)
    }

    fn has(pass_position: &PassPosition, time: Timestamp, key: u64) -> bool {
        pass_position.knows(time, key, None) == KnownState::Settled
    }

    #[test]
    fn a_complete_poll_leaves_the_bound_an_overlap_behind_its_start() {
        let mut pass_position = PassPosition::starting_at(minute(-60));
        pass_position.remember(minute(-10), 1, None);
        pass_position.remember(minute(-3), 2, None);
        pass_position.finish(minute(0), OVERLAP);
        assert_eq!(pass_position.bound, minute(-5));
        assert!(has(&pass_position, minute(-3), 2), "within the overlap");
        assert!(!has(&pass_position, minute(-10), 1), "before the bound");
        assert_eq!(pass_position.complete, Some(minute(0)));
    }

    /// The case of delivery.md: a poll at 12:00 completes, the poll at 12:10 breaks at 11:56.
    #[test]
    fn an_interrupted_poll_keeps_the_keys_above_what_it_reached() {
        let mut pass_position = PassPosition::starting_at(minute(-60));
        pass_position.remember(minute(-4), 1, None);
        pass_position.remember(minute(-1), 2, None);
        pass_position.finish(minute(0), OVERLAP);
        pass_position.remember(minute(-4), 3, None);
        pass_position.advance(minute(-4), minute(10), OVERLAP);
        assert_eq!(pass_position.bound, minute(-4).minus(Duration::from_secs(1)));
        for (time, key) in [(minute(-4), 1), (minute(-1), 2), (minute(-4), 3)] {
            assert!(has(&pass_position, time, key), "key {key}");
        }
    }

    #[test]
    fn the_bound_never_moves_back() {
        let mut pass_position = PassPosition::starting_at(minute(0));
        pass_position.finish(minute(10), OVERLAP);
        let before = pass_position.clone();
        pass_position.advance(minute(3), minute(4), OVERLAP);
        assert_eq!(pass_position.bound, before.bound);
        pass_position.finish(minute(6), OVERLAP);
        assert_eq!(pass_position.bound, before.bound);
        assert_eq!(pass_position.complete, Some(minute(10)));
    }

    #[test]
    fn an_interrupted_poll_does_not_outrun_the_overlap() {
        let mut pass_position = PassPosition::starting_at(minute(-60));
        pass_position.advance(minute(9), minute(10), OVERLAP);
        assert_eq!(pass_position.bound, minute(5), "a record of 12:06 may still come late");
    }

    #[test]
    fn ties_on_the_watermark_are_distinguished_by_their_keys() {
        let mut pass_position = PassPosition::starting_at(minute(-60));
        assert!(pass_position.remember(minute(-30), 1, None));
        pass_position.advance(minute(-30), minute(0), OVERLAP);
        assert!(pass_position.bound < minute(-30), "another record of that moment may be unread");
        assert!(!pass_position.remember(minute(-30), 1, None));
        assert!(pass_position.remember(minute(-30), 2, None));
    }

    #[test]
    fn what_is_known_of_a_record_without_a_time_is_known_once() {
        let mut pass_position = PassPosition::starting_at(minute(-60));
        pass_position.remember_moved(minute(90), 7, Some(1));
        // The clock that was ahead is right again.
        pass_position.remember_moved(minute(0), 7, Some(2));
        assert_eq!((pass_position.key_count(), pass_position.knows_anywhere(7, Some(2))), (1, KnownState::Settled));
    }

    /// A record without a time of its own is remembered at the start of its poll, which the bound reaches last.
    #[test]
    fn a_key_is_found_wherever_it_is_kept() {
        let mut pass_position = PassPosition::starting_at(minute(-60));
        pass_position.remember(minute(0), 7, None);
        let knows = |pass_position: &PassPosition, key| pass_position.knows_anywhere(key, None) == KnownState::Settled;
        assert!(knows(&pass_position, 7) && !knows(&pass_position, 8));
        pass_position.finish(minute(4), OVERLAP);
        assert!(knows(&pass_position, 7));
        pass_position.finish(minute(10), OVERLAP);
        assert!(!knows(&pass_position, 7));
    }

    /// The case of delivery.md: as a set, status A→B→A under one `updatedAt` drops the last A.
    #[test]
    fn a_record_that_goes_back_to_what_it_was_has_changed() {
        let mut pass_position = PassPosition::starting_at(minute(-60));
        for version in [1, 2, 1] {
            assert_ne!(pass_position.knows(minute(-3), 7, Some(version)), KnownState::Settled);
            assert!(pass_position.remember(minute(-3), 7, Some(version)));
            assert_eq!(pass_position.knows(minute(-3), 7, Some(version)), KnownState::Settled);
        }
        assert_eq!(pass_position.key_count(), 1);
        assert!(!pass_position.remember(minute(-3), 7, Some(1)));
    }

    /// The console compares at about 10 ms: a query from the bound shows records from just before it, again and again.
    #[test]
    fn a_record_just_before_the_bound_is_still_distinguished() {
        let before = |bound: Timestamp| bound.minus(Duration::from_millis(5));
        let mut pass_position = PassPosition::starting_at(minute(0));
        assert!(pass_position.remember(before(minute(0)), 1, None));
        assert!(!pass_position.remember(before(minute(0)), 1, None), "taken below the bound");
        assert!(pass_position.remember(before(minute(5)), 2, None));
        pass_position.finish(minute(10), OVERLAP);
        assert_eq!(pass_position.bound, minute(5));
        assert!(has(&pass_position, before(minute(5)), 2), "below the bound that was raised over it");
        assert!(!has(&pass_position, before(minute(0)), 1), "nobody asks for it any more");
        assert!(pass_position.remember(minute(0), 3, None) && !has(&pass_position, minute(0), 3), "nor for this one");
        assert_eq!(pass_position.key_count(), 1);
    }

    #[test]
    fn what_was_read_reaches_to_the_watermark_or_to_the_last_complete_poll() {
        let mut pass_position = PassPosition::starting_at(minute(-60));
        pass_position.advance(minute(-30), minute(0), OVERLAP);
        assert_eq!(
            (pass_position.watermark, pass_position.complete_until(), pass_position.complete),
            (minute(-30), minute(-30), None)
        );
        pass_position.advance(minute(3), minute(0), OVERLAP);
        assert_eq!(pass_position.watermark, minute(0), "what comes after the poll's start is the next one's");
        pass_position.finish(minute(1), OVERLAP);
        pass_position.advance(minute(-10), minute(2), OVERLAP);
        assert_eq!((pass_position.watermark, pass_position.complete_until()), (minute(1), minute(1)));
    }

    /// Keys of one console say nothing about another's records.
    #[test]
    fn another_console_begins_without_keys_at_the_same_time() {
        let mut pass_position = PassPosition::starting_at(minute(-60));
        pass_position.remember(minute(-3), 7, None);
        pass_position.finish(minute(0), OVERLAP);
        pass_position.snapshot = Some(Snapshot { time: minute(0), settled: 1, stage: SnapshotStage::Done });
        pass_position.forget_keys();
        assert_eq!((pass_position.key_count(), pass_position.snapshot, pass_position.bound), (0, None, minute(-5)));
    }

    #[test]
    fn a_snapshot_reads_all_then_says_so_then_is_done() {
        let mut pass_position = PassPosition::starting_at(minute(-60));
        pass_position.remember(minute(-3), 7, None);
        pass_position.finish(minute(0), OVERLAP);
        let stage = |pass_position: &PassPosition| {
            pass_position.snapshot.map(|snapshot| (snapshot.time, snapshot.settled, snapshot.stage))
        };
        for (time, marker) in [(minute(10), true), (minute(20), false)] {
            pass_position = pass_position.beginning_snapshot(Some(time), minute(-60)).unwrap();
            assert_eq!(
                (pass_position.bound, pass_position.watermark, pass_position.key_count()),
                (minute(-60), minute(-60), 0)
            );
            for key in [7, 8, 8] {
                pass_position.remember(minute(-3), key, None);
            }
            // A console without an order shows the oldest record after the bound has passed it.
            pass_position.advance(time, time, OVERLAP);
            assert!(pass_position.remember(minute(-30), 9, None));
            assert_eq!(stage(&pass_position), Some((time, 3, SnapshotStage::Reading)));
            pass_position.finish_snapshot(time, marker);
            assert_eq!((pass_position.complete, pass_position.key_count()), (Some(time), 0));
            if marker {
                assert_eq!(stage(&pass_position), Some((time, 3, SnapshotStage::Marking)));
                pass_position.remember(time, 9, None);
                assert_eq!(
                    stage(&pass_position),
                    Some((time, 3, SnapshotStage::Marking)),
                    "its last event is no record"
                );
                pass_position.finish_snapshot(time, marker);
            }
            assert_eq!(stage(&pass_position), Some((time, 3, SnapshotStage::Done)));
        }
    }
}
