//! Reads from the console what a lane owes.

use std::collections::{BTreeMap, HashSet};
use std::ops::{ControlFlow, Range};

use compact_str::CompactString;
use s1_forwarder_engine::checkpoint::ledger::{Hour, Sum};
use s1_forwarder_engine::source::{PullSettings, PulledPage, Window};
use s1_forwarder_engine::transform::Transformer;
use s1_forwarder_record::{Identity, Timestamp};

use super::super::VerifyError;
use super::super::completeness::{CompletenessChecker, split, window};
use super::end::End;

/// Records that are asked for by their ids at a time: the console reads the ids from the URL.
pub const IDS: usize = 100;
/// The most records of a part of an hour, which are in memory together, and the most records that are asked about
/// again.
pub const PART: usize = 100_000;
/// A part is not made shorter than this.
const MIN_PART: i64 = 1_000_000;

/// A record that the lane had to deliver.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owed {
    pub identity: Identity,
    pub id: CompactString,
    /// The number under which a ledger knows the record.
    pub key: u64,
    pub created: Timestamp,
}

/// The records of a part of an hour.
#[derive(Default)]
pub struct PartRecords {
    /// Sorted, each once.
    pub owed: Vec<Owed>,
    /// The sum of the records that the settings exclude.
    pub excluded: Sum,
    /// Number of records that are left out because they changed after [`Changes::until`].
    pub changed: u64,
    /// Number of those that a working lane would have read.
    pub overdue: u64,
}

/// Which changes of records a lane has delivered.
#[derive(Debug, Clone, Copy)]
pub struct Changes {
    /// Records that changed later are not owed yet: the lane has yet to pull the change, or the destination to show it.
    pub until: Timestamp,
    /// The lane has read what changed until then, but for late records.
    pub read_until: Timestamp,
    /// A working lane has delivered what changed until then, and the destination shows it.
    pub due_until: Timestamp,
}

impl Changes {
    fn is_overdue(&self, changed: Timestamp) -> bool {
        self.read_until < changed && changed <= self.due_until
    }
}

/// The console's records, as it shows them now.
pub struct OwedReader {
    checker: CompletenessChecker,
    /// Finds the records that the settings drop. `None` if they drop none.
    transformer: Option<Transformer>,
    /// `None` if no record changes.
    pub changes: Option<Changes>,
}

impl OwedReader {
    /// `checker` reads only what the settings do not exclude. `transformer` is the lane's transformer, if it drops
    /// records.
    pub fn new(checker: CompletenessChecker, transformer: Option<Transformer>) -> Self {
        Self { checker, transformer, changes: None }
    }

    /// Returns whether the settings may drop records after they were mapped.
    pub fn may_drop(&self) -> bool {
        self.transformer.is_some()
    }

    /// Reads the next part of an hour. `open` has the windows that were not read, the next one last: at first the whole
    /// hour. An hour that has too many records is read in parts, and a part in halves. `None` after the last part.
    ///
    /// # Errors
    /// If the console fails, or a part has too many records.
    pub async fn next_part(&mut self, hour: Hour, open: &mut Vec<Window>) -> Result<Option<PartRecords>, End> {
        let hours = hour..hour.plus(1);
        while let Some(part) = open.pop() {
            if let Some(records) = self.read(part).await? {
                return Ok(Some(records));
            }
            if part == window(&hours) {
                let counted = self.checker.count(hours.clone()).await?;
                open.extend(parts(part, counted).rev());
                continue;
            }
            let middle = part.from.micros().midpoint(part.to.micros());
            if middle - part.from.micros() < MIN_PART / 2 {
                let reason = format!("more than {PART} records were created in a second from {} on", part.from);
                return Err(End::Unseen(reason));
            }
            let middle = Timestamp::from_micros(middle);
            open.extend([Window { from: middle, ..part }, Window { to: middle, ..part }]);
        }
        Ok(None)
    }

    /// `None` if the part has too many records.
    async fn read(&mut self, part: Window) -> Result<Option<PartRecords>, VerifyError> {
        let mut records = PartRecords::default();
        let mut excluded: Vec<Identity> = Vec::new();
        let Self { checker, transformer, changes } = self;
        let mut event = Vec::new();
        let mut is_dropped = |page: &PulledPage, range: &Range<usize>, identity: Identity| {
            let (Some(transformer), false) = (transformer.as_mut(), page.is_truncated) else { return false };
            event.clear();
            let Some(record) = page.body.get(range.clone()) else { return false };
            let mapped = transformer.transform(record, Some(identity), None, &mut event);
            mapped.is_ok_and(|mapped| mapped.dropped.is_some() || mapped.withheld().is_some())
        };
        let visit = |page: &PulledPage| {
            excluded.extend(page.excluded.iter().map(|record| record.identity));
            for record in &page.records {
                if is_dropped(page, &record.range, record.identity) {
                    excluded.push(record.identity);
                    continue;
                }
                let changed = record.record_key.time;
                if let Some(changes) = changes.filter(|changes| changed > changes.until) {
                    records.changed += 1;
                    records.overdue += u64::from(changes.is_overdue(changed));
                    continue;
                }
                let created = record.record_key.created.unwrap_or(record.record_key.time);
                let (identity, key) = (record.identity, record.record_key.id);
                records.owed.push(Owed { identity, id: record.id.clone(), key, created });
            }
            if records.owed.len() + excluded.len() > PART { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        checker.pages(part, &[], visit).await?;
        if records.owed.len() + excluded.len() > PART {
            return Ok(None);
        }
        records.owed.sort_unstable();
        records.owed.dedup();
        excluded.sort_unstable();
        excluded.dedup();
        excluded.into_iter().for_each(|identity| records.excluded.add(identity));
        Ok(Some(records))
    }

    /// Returns the events of `asked` whose records the console shows in the same version, so that the lane still owes
    /// them. `ids` are the ids of their records, by the hour of creation.
    ///
    /// # Errors
    /// If the console fails.
    pub async fn still_owed(
        &mut self,
        asked: &HashSet<Identity>,
        ids: &BTreeMap<Hour, Vec<CompactString>>,
    ) -> Result<HashSet<Identity>, VerifyError> {
        let mut newest: HashSet<Identity> = HashSet::new();
        for (hour, ids) in ids {
            let whole = window(&(*hour..hour.plus(1)));
            // Otherwise the console is asked for the whole hour.
            let most = if PullSettings::can_ask_for(ids) { IDS } else { ids.len() };
            let mut shown = HashSet::new();
            for ids in ids.chunks(most) {
                self.show(whole, ids, asked, &mut newest, &mut shown).await?;
            }
            // Answers that lack one contradict the list that had them all: the list is asked for again.
            if ids.iter().any(|id| !shown.contains(id)) {
                self.show(whole, &[], asked, &mut newest, &mut shown).await?;
            }
        }
        Ok(newest)
    }

    /// Adds to `newest` which of `asked` the console shows, and to `shown` the ids of all records that it shows.
    async fn show(
        &mut self,
        window: Window,
        ids: &[CompactString],
        asked: &HashSet<Identity>,
        newest: &mut HashSet<Identity>,
        shown: &mut HashSet<CompactString>,
    ) -> Result<(), VerifyError> {
        let visit = |page: &PulledPage| {
            shown.extend(page.records.iter().map(|record| record.id.clone()));
            let identities = page.records.iter().map(|record| record.identity);
            newest.extend(identities.filter(|identity| asked.contains(identity)));
            ControlFlow::Continue(())
        };
        self.checker.pages(window, ids, visit).await?;
        Ok(())
    }
}

/// Splits a window into equal parts with about half as many records as one may have.
fn parts(whole: Window, records: u64) -> impl DoubleEndedIterator<Item = Window> {
    split(whole, records.div_ceil(PART as u64 / 2).max(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_overdue_if_a_working_lane_would_have_read_it() {
        let [read_until, due_until] = [10, 20].map(Timestamp::from_micros);
        let changes = Changes { until: read_until, read_until, due_until };
        let overdue = (8..24).filter(|time| changes.is_overdue(Timestamp::from_micros(*time)));
        assert!(overdue.eq(11..=20));
    }
}
