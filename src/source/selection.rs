//! Decides which records of an answer are new and wanted, and counts the others.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compact_str::{CompactString, ToCompactString};

use super::returned::{Returned, ReturnedVersions};
use super::{By, Heard, Keys, Known, Page, Pass, PollContext, Pull, Record, RecordKey, Snapshot, SourcePosition};
use crate::checkpoint::encoding::CONTENT_HASH;
use crate::record::{Facts, Identity, Stream, Timestamp, facts, stable_fields_hash};
use crate::telemetry::{Meter, SkipReason};

/// A poll's start is believed to be at most this far behind the time of the records that it shows.
const MOST_BEHIND: Duration = Duration::from_secs(24 * 3600);
/// In place of the record's id, in the event that says that a snapshot is complete.
const MARKER_ID: &str = "snapshot";
/// Keys are forgotten after this many records and this many full pages.
const KEPT_RECORDS: usize = 100;
const KEPT_PAGES: usize = 4;

/// The records that a poll has returned, in addition to those that the lane's checkpoint had when the poll began. The
/// checkpoint's own position takes the same records later, when a sink has settled them.
#[derive(Debug)]
pub(super) struct Selection {
    host: CompactString,
    meter: Meter,
    pull: Arc<Pull>,
    passes: Vec<Pass>,
    pub context: PollContext,
    pub position: SourcePosition,
    /// Where a poll returns one version of each record: batches may be settled in any order.
    pub returned: ReturnedVersions,
    /// The records that are accounted for elsewhere, whatever their version.
    pub accounted: Option<Arc<HashSet<u64>>>,
    /// Hears every record that is shown.
    pub heard: Option<Heard>,
    /// How far the poll had read when it last forgot keys.
    forgotten_until: Timestamp,
    /// Records shown since then.
    shown: usize,
}

/// Why a poll does not return a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rejection {
    Skip(SkipReason),
    /// The next poll returns it.
    Requeue,
}

impl Selection {
    /// `position` is aligned to `passes` and has entered `context`.
    pub fn new(
        host: CompactString,
        meter: Meter,
        pull: Arc<Pull>,
        passes: Vec<Pass>,
        context: PollContext,
        position: SourcePosition,
    ) -> Self {
        let forgotten_until =
            position.of_pass(context.pass).map(|pass_position| pass_position.bound.whole_second()).unwrap_or_default();
        let (returned, accounted, heard) = Default::default();
        Self { host, meter, pull, passes, context, position, returned, accounted, heard, forgotten_until, shown: 0 }
    }

    /// Findings are listed in no order of time.
    fn is_scan(&self) -> bool {
        self.pull.findings.is_some()
    }

    pub fn pass(&self) -> &Pass {
        // A poll exists only for a pass that the stream has.
        &self.passes[self.context.pass]
    }

    /// Start of the pass's last complete poll.
    pub fn complete(&self) -> Option<Timestamp> {
        self.position.of_pass(self.context.pass)?.complete
    }

    /// Adds a record to `page` if it is new, and counts it otherwise; it is counted as pulled already. Returns its time
    /// in the order of the poll, unless that time is not in the poll's window, and the key of its version.
    pub fn select(
        &mut self,
        bytes: &[u8],
        range: Range<usize>,
        now: Timestamp,
        page: &mut Page,
    ) -> (Option<Timestamp>, u64) {
        let mut facts = facts(self.pull.stream, bytes);
        let order = match self.pass().by {
            _ if self.is_scan() => None,
            By::Order => facts.time,
            By::Creation => facts.created,
        };
        let context = self.context;
        if let (Some(heard), Some(time)) = (&mut self.heard, facts.time) {
            heard.see(time, context.start);
        }
        if let Some(snapshot) = context.snapshot.or(self.pull.named_by) {
            facts.version = snapshot.seconds().to_string().into();
        }
        let identity = facts.identity(&self.host, bytes);
        let mut record_key = self.key(&facts, identity, now);
        let accepted = if self.accounted.as_ref().is_some_and(|accounted| accounted.contains(&record_key.id)) {
            Err(Rejection::Skip(SkipReason::Duplicate))
        } else if self.pull.window.is_some_and(|window| !window.holds(order)) {
            Err(Rejection::Skip(SkipReason::Filtered))
        } else {
            self.accept(&mut record_key, order.is_some(), if page.cut { None } else { Some(bytes) })
        };
        // A time after the end of the window, as of a record that changed when it was listed already, says nothing of
        // how far the poll has read.
        let order = order.filter(|time| *time <= context.start);
        // The position remembers a record that the settings exclude as it does others: it is accounted for once.
        let rejection = match accepted {
            Ok(_) if self.pull.excludes(&facts) => Some(Rejection::Skip(SkipReason::Filtered)),
            Ok(_) => None,
            Err(rejection) => Some(rejection),
        };
        if let Some(rejection) = rejection {
            self.reject(rejection);
        }
        let is_refreshed =
            accepted == Err(Rejection::Skip(SkipReason::Unchanged)) && self.position.is_content_old(&record_key);
        if is_refreshed {
            // It is not sent, but the lane's checkpoint remembers that it was shown.
            self.position.take(&self.passes, context, &record_key);
        } else if accepted.is_err() {
            return (order, record_key.version);
        }
        let id = facts.record_id(bytes).to_compact_string();
        let record = Record { range, id, identity, time: facts.time, order, record_key, enrichment: None };
        if rejection.is_some() {
            page.excluded.push(record);
            return (order, record_key.version);
        }
        // Later passes see every record again: only the first pass measures how late records are.
        if let Some(time) = order
            && (context.pass, accepted) == (0, Ok(Known::New))
            && self.complete().is_some_and(|complete| time <= complete)
        {
            self.meter.arrived_late(context.start.since(time));
        }
        page.records.push(record);
        (order, record_key.version)
    }

    /// Remembers a record that is to be returned, and says what was known of it; or why it is not. `record` is its
    /// content, if all of it was read.
    fn accept(&mut self, key: &mut RecordKey, has_time: bool, record: Option<&[u8]>) -> Result<Known, Rejection> {
        let pass = &self.passes[self.context.pass];
        let known = self.position.knows(pass, self.context, key, has_time);
        if known == Known::Taken {
            return Err(Rejection::Skip(SkipReason::Duplicate));
        }
        // Versions of these may differ in nothing of interest.
        let record = if self.pull.drops_unchanged() { record } else { None };
        key.content = record.map(|record| stable_fields_hash(record, &self.pull.volatile) & CONTENT_HASH);
        // Records that change: a poll returns one version of each.
        if self.is_scan() || pass.keys == Keys::Latest || key.content.is_some() {
            match self.returned.get(key.id, key.version) {
                Returned::This => return Err(Rejection::Skip(SkipReason::Duplicate)),
                // The next poll returns this version.
                Returned::Other => return Err(Rejection::Requeue),
                Returned::Never if self.position.has_content(key) => {
                    return Err(Rejection::Skip(SkipReason::Unchanged));
                }
                Returned::Never if self.is_scan() => self.returned.add_finding(key.id, key.version),
                Returned::Never => self.returned.add(key.id, key.version, pass.place(key)),
            }
        }
        self.position.take(&self.passes, self.context, key);
        Ok(known)
    }

    /// What the position would remember of a record.
    fn key(&self, facts: &Facts<'_>, identity: Identity, now: Timestamp) -> RecordKey {
        let named = || match &*facts.id {
            "" => identity,
            // An id that is no number, whatever its version.
            id => Identity::of(&self.host, self.pull.stream, id, ""),
        };
        let id = facts.id.parse().unwrap_or_else(|_| named().key());
        let version = if self.pull.stream == Stream::Activities { id } else { identity.key() };
        let start = self.context.start;
        let time = if self.is_scan() {
            // The list may show a change that came after the start, and the next window but one asks for it again: the
            // later of two clocks counts, since one may be behind, but not without limit, since one may be years ahead.
            now.min(start.plus(MOST_BEHIND)).max(start)
        } else {
            // Without a time of its own it is kept as long as can be.
            facts.time.unwrap_or(start)
        };
        RecordKey { id, version, content: None, time, created: facts.created }
    }

    /// Adds the event that says that a snapshot is complete, unless it was delivered before a kill.
    pub fn mark_complete(&self, snapshot: Snapshot, page: &mut Page) {
        let id = MARKER_ID.to_compact_string();
        let version = snapshot.time.seconds().to_string();
        let identity = Identity::of(&self.host, self.pull.stream, &id, &version);
        let key = identity.key();
        let start = self.context.start;
        let record_key = RecordKey { id: key, version: key, content: None, time: start, created: None };
        self.count_pulled(page.shown);
        if self.position.knows(self.pass(), self.context, &record_key, false) == Known::Taken {
            self.reject(Rejection::Skip(SkipReason::Duplicate));
        } else {
            let time = Some(snapshot.time);
            page.records.push(Record { range: 0..0, id, identity, time, order: None, record_key, enrichment: None });
        }
    }

    /// Counts the records of an answer, before any of them is taken.
    pub fn count_pulled(&self, shown: usize) {
        self.meter.lane.pulled.fetch_add(shown as u64, Ordering::Relaxed);
    }

    fn reject(&self, rejection: Rejection) {
        match rejection {
            Rejection::Skip(reason) => self.meter.lane.skip_records(reason, 1),
            Rejection::Requeue => _ = self.meter.lane.requeued.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// After an ordered page of `shown` records up to `newest`: forgets the keys that no pager can meet again. A pager
    /// goes back by a second, or meets a page twice; the keys of a whole history would fill the memory.
    pub fn forget_old(&mut self, shown: usize, newest: Timestamp) {
        self.shown += shown;
        if self.shown >= KEPT_RECORDS.max(KEPT_PAGES * shown) {
            let before = std::mem::replace(&mut self.forgotten_until, newest);
            self.position.advance(&self.passes, self.context, before);
            // Another version of an agent may follow under a later time, and must not overtake the first.
            if self.pass().keys == Keys::Latest
                && let Some(pass_position) = self.position.of_pass(self.context.pass)
            {
                self.returned.forget_before(pass_position.first_kept_second());
            }
            self.shown = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Clock;
    use crate::telemetry::Telemetry;

    fn time(second: usize) -> Timestamp {
        Timestamp::from_micros(second as i64 * 1_000_000)
    }

    /// Takes a record of this second, and forgets old ones after a page of `shown` records.
    fn page(selection: &mut Selection, second: usize, shown: usize) -> Timestamp {
        let id = second as u64;
        let mut key = RecordKey { id, version: id, content: None, time: time(second), created: None };
        assert_eq!(selection.accept(&mut key, true, None), Ok(Known::New));
        selection.forget_old(shown, time(second));
        selection.position.bound()
    }

    /// The keys of a page are forgotten once more keys, and more pages, came after it.
    #[test]
    fn keys_are_forgotten_after_a_hundred_records_and_four_full_pages() {
        let pull = Pull::of(Stream::Activities);
        let mut position = SourcePosition::starting_at(time(0));
        position.align(&pull.passes());
        let context = PollContext { start: time(1_000_000), ..PollContext::default() };
        let meter = Meter::start(&Arc::new(Telemetry::new()), "acme", pull.stream, "siem", "test", Clock::System);
        let host = "console.example".into();
        let passes = pull.passes();
        let mut selection = Selection::new(host, meter, Arc::new(pull), passes, context, position);
        for second in 1..20 {
            assert_eq!(page(&mut selection, second, KEPT_RECORDS / 10), time(0));
        }
        // Twice a hundred: keys up to the first hundred go, less the second that ties may share.
        assert_eq!((page(&mut selection, 20, KEPT_RECORDS / 10), selection.position.key_count()), (time(9), 13));
        for second in 21..20 + KEPT_PAGES {
            assert_eq!(page(&mut selection, second, KEPT_RECORDS), time(9));
        }
        assert_eq!(page(&mut selection, 30, KEPT_RECORDS), time(19));
    }
}
