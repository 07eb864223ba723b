use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compact_str::{CompactString, ToCompactString};

use super::seen_keys::{Rejection, SeenKeys};
use super::{By, Known, Page, Pull, Record, RecordKey, Snapshot};
use crate::record::{Facts, Identity, Stream, Timestamp, facts, stable_fields_hash};
use crate::telemetry::{Meter, SkipReason};

/// A poll's start is believed to be at most this far behind the time of the records that it shows.
const MOST_BEHIND: Duration = Duration::from_secs(24 * 3600);
/// In place of the record's id, in the event that says that a snapshot is complete.
const MARKER_ID: &str = "snapshot";

/// Decides which records of an answer are new and wanted, and counts the others.
#[derive(Debug)]
pub(super) struct Selection {
    pub host: CompactString,
    pub meter: Meter,
    pub pull: Arc<Pull>,
    pub seen: SeenKeys,
    /// The records are findings, which are listed in no order of time.
    pub is_scan: bool,
}

/// Number of records of one answer that are not returned.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    by_reason: [u64; SkipReason::ALL.len()],
    requeued: u64,
}

impl Skipped {
    fn add(&mut self, rejection: Rejection) {
        match rejection {
            Rejection::Skip(reason) => self.by_reason[reason as usize] += 1,
            Rejection::Requeue => self.requeued += 1,
        }
    }
}

impl Selection {
    /// Adds a record to `page` if it is new, or to `skipped`. Returns its time in the order of the poll, and the key of
    /// its version.
    pub fn take(
        &mut self,
        bytes: &[u8],
        range: Range<usize>,
        now: Timestamp,
        page: &mut Page,
        skipped: &mut Skipped,
    ) -> (Option<Timestamp>, u64) {
        let mut facts = facts(self.pull.stream, bytes);
        let order = match self.seen.pass().by {
            _ if self.is_scan => None,
            By::Order => facts.time,
            By::Creation => facts.created,
        };
        let context = self.seen.context();
        if let Some(snapshot) = context.snapshot.or(self.pull.named_by) {
            facts.version = snapshot.seconds().to_string().into();
        }
        let identity = facts.identity(&self.host, bytes);
        let mut record_key = self.key(&facts, identity, now);
        let of_any_version = || Identity::of(&self.host, self.pull.stream, &facts.record_id(bytes), "");
        let content =
            || (self.pull.drops_unchanged() && !page.cut).then(|| stable_fields_hash(bytes, &self.pull.volatile));
        let known = if self.seen.is_accounted(identity, of_any_version) {
            Err(Rejection::Skip(SkipReason::Duplicate))
        } else if self.pull.window.is_some_and(|window| !window.holds(order)) {
            Err(Rejection::Skip(SkipReason::Filtered))
        } else {
            self.seen.accept(&mut record_key, order.is_some(), content)
        };
        let known = match known {
            Ok(known) => known,
            Err(rejection) => {
                skipped.add(rejection);
                return (order, record_key.version);
            }
        };
        let id = facts.record_id(bytes).to_compact_string();
        let record = Record { range, id, identity, time: facts.time, order, record_key, enrichment: None };
        if self.pull.excludes(&facts) {
            // The position remembers it as it does others, so that it is accounted for once.
            skipped.add(Rejection::Skip(SkipReason::Filtered));
            page.excluded.push(record);
            return (order, record_key.version);
        }
        // Where passes look for changes, a record that comes again is not late.
        if let Some(time) = order
            && (context.pass, known) == (0, Known::New)
            && self.seen.complete().is_some_and(|complete| time <= complete)
        {
            self.meter.arrived_late(context.start.since(time));
        }
        page.records.push(record);
        (order, record_key.version)
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
        let start = self.seen.context().start;
        let time = if self.is_scan {
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
        let (id, version) = (MARKER_ID.to_compact_string(), snapshot.time.seconds().to_string());
        let identity = Identity::of(&self.host, self.pull.stream, &id, &version);
        let (key, start) = (identity.key(), self.seen.context().start);
        let record_key = RecordKey { id: key, version: key, content: None, time: start, created: None };
        let (time, mut skipped) = (Some(snapshot.time), Skipped::default());
        if self.seen.has_marker(&record_key) {
            skipped.add(Rejection::Skip(SkipReason::Duplicate));
        } else {
            page.records.push(Record { range: 0..0, id, identity, time, order: None, record_key, enrichment: None });
        }
        self.count(page.shown, skipped);
    }

    /// Counts the records of an answer.
    pub fn count(&self, shown: usize, skipped: Skipped) {
        let lane = &self.meter.lane;
        lane.pulled.fetch_add(shown as u64, Ordering::Relaxed);
        lane.requeued.fetch_add(skipped.requeued, Ordering::Relaxed);
        let counts = SkipReason::ALL.into_iter().zip(skipped.by_reason);
        counts.for_each(|(reason, count)| lane.skip_records(reason, count));
    }
}
