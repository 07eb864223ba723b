//! Decides which records of an answer are new and wanted, and counts the others.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use compact_str::{CompactString, ToCompactString};
use s1_forwarder_record::{Facts, Identity, Timestamp, Version, facts, stable_fields_hash};
use s1_forwarder_telemetry::{Meter, RareCount, SkipReason};

use super::count_search::KnownRecords;
use super::page::{PulledPage, PulledRecord};
use super::returned::{Before, Returned};
use crate::checkpoint::encoding::CONTENT_HASH;
use crate::source::position::{Baseline, KeysBySecond, bound_behind, first_kept_second};
use crate::source::{KnownState, ObservedRecords, Pass, PollContext, PullSettings, RecordKey, Snapshot, TimeField};

/// Longest time that a poll's start is believed to be behind the records that it shows.
const MAX_LAG: Duration = Duration::from_hours(24);
/// Id of the event that says that a snapshot is complete, in place of a record's id.
const MARKER_ID: &str = "snapshot";
/// Number of records, and of full pages, after which keys are forgotten.
const KEPT_RECORDS: usize = 100;
const KEPT_PAGES: usize = 4;

/// Decides what a poll does with the records that the console shows. The selection knows what the lane had settled when
/// the poll began, and what the poll has returned since.
#[derive(Debug)]
pub(super) struct Selection {
    host: CompactString,
    meter: Meter,
    pub pull: Arc<PullSettings>,
    pass: Pass,
    pub context: PollContext,
    pub baseline: Baseline,
    pub returned: Returned,
    /// Records that were settled before the poll and shown to it, if each version counts as a record.
    shown_again: KeysBySecond,
    /// Filter of the records that are returned; `None` if all are.
    pub wanted: Option<RecordFilter>,
    /// Collects the times of all records that the console shows.
    pub observed: Option<ObservedRecords>,
    /// Number of returned records that are older than the window that was asked for. A console may return any number of
    /// them.
    pub unasked: usize,
    /// Time up to which the poll had read when it last forgot keys.
    forgotten_until: Timestamp,
    /// First second of which records are remembered.
    first_kept: i64,
    /// Number of records shown since the poll last forgot keys.
    shown: usize,
}

/// Selects the records that a lane of a command, such as a repair, delivers.
#[derive(Debug, Clone)]
pub enum RecordFilter {
    /// All records but those with these keys ([`RecordKey::id`]), which are accounted for elsewhere, whatever their
    /// version.
    AllBut(Arc<HashSet<u64>>),
    /// Only the versions with these identities.
    Only(Arc<HashSet<Identity>>),
}

impl RecordFilter {
    fn has(&self, key: &RecordKey, identity: Identity) -> bool {
        match self {
            Self::AllBut(accounted) => !accounted.contains(&key.id),
            Self::Only(versions) => versions.contains(&identity),
        }
    }
}

/// Decision of a poll about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// The poll returns the record, of which the lane knew this.
    Return(KnownState),
    /// The poll returns the record to be accounted for, and not delivered.
    Exclude(SkipReason),
    Skip(SkipReason),
    /// The next poll returns this version.
    Requeue,
}

/// Evidence that a record gives of how far a poll has read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    /// Time of the record in the order of the poll, unless that time is not in the poll's window.
    pub order: Option<Timestamp>,
    /// Key of the record's version.
    pub version: u64,
    /// Whether the poll was not shown the record before.
    pub is_first: bool,
}

impl Selection {
    pub fn new(
        host: CompactString,
        meter: Meter,
        pull: Arc<PullSettings>,
        pass: Pass,
        context: PollContext,
        baseline: Baseline,
    ) -> Self {
        let forgotten_until = baseline.pass_position.bound.whole_second();
        let first_kept = baseline.pass_position.first_kept_second();
        let returned = Returned::nothing(&pull, &pass);
        Self {
            host,
            meter,
            pull,
            pass,
            context,
            baseline,
            returned,
            shown_again: KeysBySecond::default(),
            wanted: None,
            observed: None,
            unasked: 0,
            forgotten_until,
            first_kept,
            shown: 0,
        }
    }

    pub fn pass(&self) -> &Pass {
        &self.pass
    }

    /// Returns the start of the pass's last complete poll.
    pub fn complete(&self) -> Option<Timestamp> {
        self.baseline.pass_position.complete
    }

    /// Adds a record to `page` if it is new. Otherwise counts it as skipped or requeued. The caller has counted it as
    /// pulled.
    pub fn classify(&mut self, bytes: &[u8], range: Range<usize>, now: Timestamp, page: &mut PulledPage) -> Sighting {
        let mut facts = facts(self.pull.stream, bytes);
        let order = match self.pass.by {
            _ if !self.pull.is_ordered() => None,
            TimeField::Order => facts.time,
            TimeField::Creation => facts.created,
        };
        let context = self.context;
        if let (Some(observed), Some(time)) = (&mut self.observed, facts.time) {
            observed.add(time, context.start);
        }
        if let Some(snapshot) = context.snapshot.or(self.pull.named_by) {
            facts.version = snapshot.seconds().to_string().into();
        }
        let identity = facts.identity(&self.host, bytes);
        let mut record_key = self.key(&facts, identity, now);
        let mut is_first = false;
        let decision = match self.look_up(&record_key, order) {
            Err(reason) => {
                is_first = reason == SkipReason::Duplicate && self.show_again(&record_key, order);
                Decision::Skip(reason)
            }
            Ok(known) => {
                // The content is not hashed earlier: a record that is skipped whatever its content needs no hash.
                record_key.content = if page.is_truncated { None } else { self.content(bytes) };
                self.decide(&facts, &record_key, identity, order, known)
            }
        };
        // A record that was listed already may change, and have a time after the end of the window. Such a time says
        // nothing of how far the poll has read.
        let order = order.filter(|time| *time <= context.start);
        is_first |= matches!(decision, Decision::Return(_) | Decision::Exclude(_));
        let shown = Sighting { order, version: record_key.version, is_first };
        let returned = match decision {
            Decision::Return(known) => {
                // Later passes see every record again: only the first pass measures how late records are.
                if let Some(time) = order
                    && context.pass == 0
                    && known == KnownState::New
                    && self.complete().is_some_and(|complete| time <= complete)
                {
                    self.meter.arrived_late(context.start.since(time));
                }
                &mut page.records
            }
            Decision::Exclude(reason) => {
                self.meter.metrics.skip_records(reason, 1);
                &mut page.excluded
            }
            Decision::Skip(reason) => {
                self.meter.metrics.skip_records(reason, 1);
                return shown;
            }
            Decision::Requeue => {
                self.meter.metrics.pull.requeued.add(1);
                return shown;
            }
        };
        let id = facts.record_id(bytes).to_compact_string();
        returned.push(PulledRecord { range, id, identity, time: facts.time, order, record_key, enrichment: None });
        shown
    }

    /// Returns what the lane knew about a record when the poll began. An error is the reason to skip the record,
    /// whatever its content. `order` is the record's time in the order of the poll.
    fn look_up(&self, key: &RecordKey, order: Option<Timestamp>) -> Result<KnownState, SkipReason> {
        if self.pull.window.is_some_and(|window| !window.holds(order)) {
            return Err(SkipReason::Filtered);
        }
        match self.baseline.knows(&self.pass, key, order.is_some()) {
            KnownState::Settled => Err(SkipReason::Duplicate),
            known => Ok(known),
        }
    }

    /// Remembers that a settled record was shown. Returns false if it was shown before, or if no count is compared with
    /// it.
    fn show_again(&mut self, key: &RecordKey, order: Option<Timestamp>) -> bool {
        let is_compared = order.is_some() && matches!(self.returned, Returned::Versions(_));
        is_compared && self.shown_again.remember(self.pass.order_time(key).seconds(), key.version, None)
    }

    /// Returns a hash of the record's content without volatile keys; `None` if contents are not compared.
    fn content(&self, record: &[u8]) -> Option<u64> {
        let is_compared = self.pull.drops_unchanged();
        is_compared.then(|| stable_fields_hash(record, self.pull.volatile()) & CONTENT_HASH)
    }

    /// Decides what to do with a record that the lane had not settled, and remembers a record that is returned. `order`
    /// is the record's time in the order of the poll, and `known` is what the lane knew about it.
    fn decide(
        &mut self,
        facts: &Facts<'_>,
        key: &RecordKey,
        identity: Identity,
        order: Option<Timestamp>,
        known: KnownState,
    ) -> Decision {
        let is_unchanged = self.baseline.contents.has(key);
        if is_unchanged && !self.baseline.contents.is_old(key) {
            return Decision::Skip(SkipReason::Unchanged);
        }
        // A record without such a time is looked up under every time: it has one place in each poll.
        let second = order.map_or(self.context.start, |_| self.pass.order_time(key)).seconds();
        let before = self.returned.add(key, second);
        // The position does not remember records that are older than the window that was asked for.
        if before == Before::Nothing && second < self.baseline.pass_position.first_kept_second() {
            self.unasked += 1;
        }
        let is_wanted = self.wanted.as_ref().is_none_or(|wanted| wanted.has(key, identity));
        match before {
            Before::ThisVersion => Decision::Skip(SkipReason::Duplicate),
            Before::OtherVersion => Decision::Requeue,
            Before::Nothing if !is_wanted => Decision::Skip(SkipReason::Duplicate),
            // The lane remembers that the record was shown.
            Before::Nothing if is_unchanged => Decision::Exclude(SkipReason::Unchanged),
            // The lane remembers a record that the settings exclude as it does others: the record is accounted for
            // once.
            Before::Nothing if self.pull.excludes(facts) || self.is_change(key) => {
                Decision::Exclude(SkipReason::Filtered)
            }
            Before::Nothing => Decision::Return(known),
        }
    }

    /// Returns whether a record is a change of a settled alert, in a lane that accepts only new alerts.
    fn is_change(&self, key: &RecordKey) -> bool {
        self.pull.takes_new_alerts_only() && self.baseline.has_settled(key)
    }

    /// Returns the key under which the position would remember a record.
    fn key(&self, facts: &Facts<'_>, identity: Identity, now: Timestamp) -> RecordKey {
        let named = || match &*facts.id {
            "" => identity,
            // An id that is no number is hashed, without the version.
            id => Identity::of(&self.host, self.pull.stream, id, ""),
        };
        let id = facts.id.parse().unwrap_or_else(|_| named().key());
        let is_constant =
            self.pull.stream.description().version == Version::Constant || self.pull.takes_new_alerts_only();
        let version = if is_constant { id } else { identity.key() };
        let start = self.context.start;
        let time = if !self.pull.is_ordered() {
            // The list may show a change that came after the start, and the next window but one asks for it again. The
            // later of two clocks counts, since one may be behind. It does not count without limit, since one may be
            // years ahead.
            now.min(start.plus(MAX_LAG)).max(start)
        } else {
            // A record without a time of its own is kept as long as can be.
            facts.time.unwrap_or(start)
        };
        RecordKey { id, version, content: None, time, created: facts.created }
    }

    /// Adds the event that says that a snapshot is complete, unless it was delivered before a kill.
    pub fn mark_complete(&self, snapshot: Snapshot, page: &mut PulledPage) {
        let id = MARKER_ID.to_compact_string();
        let version = snapshot.time.seconds().to_string();
        let identity = Identity::of(&self.host, self.pull.stream, &id, &version);
        let key = identity.key();
        let start = self.context.start;
        let record_key = RecordKey { id: key, version: key, content: None, time: start, created: None };
        self.count_pulled(page.shown);
        if self.baseline.knows(&self.pass, &record_key, false) == KnownState::Settled {
            self.meter.metrics.skip_records(SkipReason::Duplicate, 1);
        } else {
            let time = Some(snapshot.time);
            page.records.push(PulledRecord {
                range: 0..0,
                id,
                identity,
                time,
                order: None,
                record_key,
                enrichment: None,
            });
        }
    }

    /// Counts records that the console counts but does not show.
    pub fn count_not_shown(&self, records: u64) {
        self.meter.metrics.add_rare(RareCount::NotShown, records);
    }

    /// Counts an interval with known records for which the console counts none.
    pub fn count_vanished(&self) {
        self.meter.metrics.pull.vanished.add(1);
    }

    /// Counts the records of an answer, before any of them is accepted.
    pub fn count_pulled(&self, shown: usize) {
        self.meter.metrics.pull.records.add(shown as u64);
    }

    /// Forgets the records that no pager can meet again, after an ordered page of `shown` records up to `newest`. A
    /// pager goes back by a second, or meets a page twice. The keys of a whole history would fill the memory.
    pub fn forget_old(&mut self, shown: usize, newest: Timestamp) {
        self.shown += shown;
        if self.shown < KEPT_RECORDS.max(KEPT_PAGES * shown) {
            return;
        }
        self.shown = 0;
        let read_until = std::mem::replace(&mut self.forgotten_until, newest);
        let PollContext { start, leaves_open, .. } = self.context;
        if leaves_open {
            return;
        }
        let first_kept = first_kept_second(bound_behind(read_until, start, self.pass.late_window));
        self.first_kept = first_kept.max(self.first_kept);
        self.baseline.forget_before(first_kept);
        // Another version of an agent may follow under a later time, and must not overtake the first.
        if !self.pull.drops_unchanged() {
            self.returned.forget_before(first_kept);
            self.shown_again.forget_before(first_kept);
            self.unasked = 0;
        }
    }
}

/// What the end of a list is compared with.
impl Selection {
    /// Returns the records that were settled before the poll.
    pub fn settled_before(&self) -> KnownRecords<'_> {
        KnownRecords { settled: self.baseline.pass_position.seconds(), returned: None }
    }

    /// Returns the records that the poll was shown. Settled records that the console has deleted are not among them:
    /// each of them would hide a record that a list did not show.
    pub fn listed(&self) -> KnownRecords<'_> {
        KnownRecords { settled: &self.shown_again, returned: Some(&self.returned) }
    }

    /// Returns the time up to which the bound may move: no record comes late before it.
    pub fn closed_until(&self) -> Timestamp {
        self.context.start.minus(self.pass.late_window)
    }

    /// Returns the time from which on the selection remembers every record.
    pub fn kept_from(&self) -> Timestamp {
        Timestamp::from_micros(self.first_kept * 1_000_000)
    }

    /// Prepares to read again from this time on: the poll may meet again the records that it has returned since then.
    pub fn read_again(&mut self, from: Timestamp) {
        self.forgotten_until = from.min(self.forgotten_until);
        self.shown = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourcePosition;
    use s1_forwarder_record::{Clock, LaneId, Stream};
    use s1_forwarder_telemetry::Telemetry;

    fn time(second: usize) -> Timestamp {
        Timestamp::from_micros(second as i64 * 1_000_000)
    }

    /// Makes the poll return a record of this second, and forget old records after a page of `shown` records. Returns
    /// the number of records that are left.
    fn page(selection: &mut Selection, second: usize, shown: usize) -> usize {
        let id = second as u64;
        let key = RecordKey { id, version: id, content: None, time: time(second), created: None };
        let facts = facts(Stream::Activities, b"{}");
        let order = Some(time(second));
        assert_eq!(selection.look_up(&key, order), Ok(KnownState::New));
        let identity = Identity::of("h", Stream::Activities, "1", "");
        assert_eq!(selection.decide(&facts, &key, identity, order, KnownState::New), Decision::Return(KnownState::New));
        selection.forget_old(shown, time(second));
        selection.returned.len()
    }

    /// Returns the selection of a poll of activities that asks for all records since a second.
    fn selection(since: usize) -> Selection {
        let pull = PullSettings::of(Stream::Activities);
        let mut position = SourcePosition::starting_at(time(since));
        position.add_passes(&pull.passes());
        let context = PollContext { start: time(1_000_000), ..PollContext::default() };
        let meter =
            Meter::start(&Arc::new(Telemetry::new()), &LaneId::new("acme", pull.stream, "siem"), "test", Clock::System);
        let host = "console.example".into();
        let pass = pull.passes().remove(0);
        let baseline = position.baseline(&pull.passes(), context).unwrap();
        Selection::new(host, meter, Arc::new(pull), pass, context, baseline)
    }

    /// No position has such records, but they take memory.
    #[test]
    fn records_that_nobody_asked_for_are_counted_apart() {
        let mut selection = selection(5_000);
        assert_eq!([10, 11, 6_000, 12].map(|second| page(&mut selection, second, 1)), [1, 2, 3, 4]);
        assert_eq!(selection.unasked, 3);
    }

    /// The keys of a page are forgotten once more keys, and more pages, came after it.
    #[test]
    fn keys_are_forgotten_after_a_hundred_records_and_four_full_pages() {
        let mut selection = selection(0);
        for second in 1..20 {
            assert_eq!(page(&mut selection, second, KEPT_RECORDS / 10), second);
        }
        // Twice a hundred: keys up to the first hundred go, less the two seconds that ties may share.
        assert_eq!(page(&mut selection, 20, KEPT_RECORDS / 10), 13);
        for second in 21..20 + KEPT_PAGES {
            assert_eq!(page(&mut selection, second, KEPT_RECORDS), 13 + second - 20);
        }
        assert_eq!(page(&mut selection, 30, KEPT_RECORDS), 7);
    }
}
