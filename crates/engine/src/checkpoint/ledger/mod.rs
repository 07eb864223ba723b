//! The ledger of the records that a lane has accounted for, to compare with the console.
//!
//! A ledger is stored in the same write as its checkpoint: a lane that returns to a checkpoint returns to the ledger of
//! that moment. It sums up records by their hour of creation: count and xor of their identities, for 90 days. It keeps
//! the identities of the last 48 hours.
//!
//! The ledger's part of a checkpoint stays small, however busy and however old the lane is. If the store has journals,
//! older sums and all but the last few identities go there, and the checkpoint says how far the journal counts. The
//! journal is written before the checkpoint that refers to it. Bytes that a crash leaves after the journal's end are
//! overwritten. If the store has no journals, the hours of a day that ended three days ago become one count.
//!
//! If the store has journals, the ledger also sums up, in the same way, the accounted records that the sink has
//! acknowledged ([`Delivered`]). These sums are stored apart from the ledger, after all fields that older layouts have.
//!
//! A ledger that begins again, as when the lane's scope changes, leaves its sums to a [`FormerLedger`].
//!
//! Identities are kept as 64 bits: the record's own number (`RecordKey::id`), its id or a hash.

mod entries;
mod former;
mod hour;
mod hour_sums;
mod totals;

use std::collections::BTreeMap;

use s1_forwarder_record::{Identity, Timestamp};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Append;
use crate::checkpoint::journal::Journal;

pub use entries::Sum;
pub use former::FormerLedger;
pub use hour::{Hour, MAX_UNSTORED, repair_between};
pub use totals::LedgerTotals;

pub use s1_forwarder_record::Accounting;

use hour_sums::HourSums;

/// Age in hours up to which a ledger has sums.
const SUM_HOURS: u32 = 90 * 24;
/// Age in hours up to which a ledger has identities.
const IDENTITY_HOURS: u32 = 48;
/// Hours after which a day becomes one count, if the lane has no journal.
const HOURS_APART: u32 = 72;
/// Maximum number of identities in the checkpoint. If there are more, all of them move to the journal.
const MAX_RECENT: usize = 256;
/// Maximum number of segments of identities per lane, of about 1 MiB each. They have about sixty million ids of a busy
/// stream, 4 bytes each.
const MAX_SEGMENTS: usize = 256;

/// The records that a lane has accounted for, by hour of creation. The ledger is part of the lane's checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// How often the ledger was started again.
    generation: u64,
    since: Timestamp,
    asked: String,
    /// Sums of all accounted records.
    sums: HourSums,
    /// Counts of whole days, by their first hour, where the store keeps no journals.
    days: BTreeMap<Hour, u64>,
    /// The hours before this one are counted by the day.
    days_until: Hour,
    /// Identities that are not in the journal yet.
    recent: Vec<(Hour, u64)>,
    identities: Journal,
    /// The first hour all of whose identities are kept; `None` if the store keeps no journals.
    kept_from: Option<Hour>,
    next_segment: u64,
    /// Numbers of the segments that are to be removed.
    released: Vec<u64>,
    /// The accounted records that the sink has acknowledged. `None` if the store keeps no journals, or if an earlier
    /// release has written the ledger.
    #[serde(skip)]
    delivered: Option<Delivered>,
}

/// The accounted records that the sink has acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The first hour whose sum has all acknowledged records.
    from: Hour,
    sums: HourSums,
}

impl Ledger {
    /// Returns an empty ledger for everything created from `since` on. `asked` is the filter of the requests, which
    /// decides what the console counts; `journals` says whether the store has journals.
    pub fn begin(since: Timestamp, asked: String, journals: bool) -> Self {
        let start = Hour::from(since);
        let delivered = journals.then(|| Delivered { from: start, ..Delivered::default() });
        Self { since, asked, kept_from: journals.then_some(start), delivered, ..Self::default() }
    }

    /// Starts the ledger again, for everything created from `since` on. Returns the ledger as it was before, without
    /// identities.
    pub fn restart(&mut self, since: Timestamp, asked: String, journals: bool) -> Self {
        let mut before = std::mem::take(self);
        let mut released = std::mem::take(&mut before.released);
        released.extend(before.identities.release_all());
        before.recent.clear();
        // The ledger that ends has no identities of any hour.
        before.kept_from = before.kept_from.map(|_| Hour(u32::MAX));
        let generation = before.generation + 1;
        let next_segment = before.next_segment;
        *self = Self { generation, next_segment, released, ..Self::begin(since, asked, journals) };
        before
    }

    /// Returns how often the ledger was started again. A repair completes only the generation that it was made for.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the time from which on every created record is in the ledger once it is delivered.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Returns the filter of the requests.
    pub fn filter(&self) -> &str {
        &self.asked
    }

    /// Returns the first hour whose identities are all kept at `now`; `None` if the store keeps no journal.
    pub fn kept_from(&self, now: Timestamp) -> Option<Hour> {
        self.kept_from.map(|from| from.max(first_kept(now, IDENTITY_HOURS)))
    }

    /// Returns whether the store keeps a journal for the ledger.
    pub fn has_journals(&self) -> bool {
        self.kept_from.is_some()
    }

    /// Keeps identities from now on: the store had no journals before.
    pub fn keep_identities(&mut self, now: Timestamp) {
        self.kept_from.get_or_insert(Hour::from(now));
    }

    /// Counts a record that was delivered, filtered, skipped or dead-lettered.
    pub fn count(&mut self, created: Timestamp, identity: Identity) {
        if let Some(hour) = Hour::of(created) {
            self.sums.add(hour, identity);
        }
    }

    /// Adds an accounted record that the sink has acknowledged.
    pub fn deliver(&mut self, created: Timestamp, identity: Identity) {
        if let (Some(delivered), Some(hour)) = (&mut self.delivered, Hour::of(created)) {
            delivered.sums.add(hour, identity);
        }
    }

    /// Sums up deliveries from now on, if the ledger is from an earlier release that did not. No record created after
    /// `newest` has been accounted for.
    pub fn sum_deliveries(&mut self, newest: Timestamp) {
        if self.has_journals() {
            self.delivered.get_or_insert_with(|| Delivered { from: Hour::from(newest), ..Delivered::default() });
        }
    }

    /// Returns the first hour whose delivered records are all summed up; `None` if the ledger does not sum them up.
    pub fn delivered_from(&self) -> Option<Hour> {
        self.delivered.as_ref().map(|delivered| delivered.from)
    }

    /// Returns the sums of delivered records, which are stored apart from the ledger.
    pub fn delivered(&self) -> Option<&Delivered> {
        self.delivered.as_ref()
    }

    /// Sets the sums of delivered records that were stored with this ledger.
    pub fn set_delivered(&mut self, delivered: Option<Delivered>) {
        self.delivered = delivered;
    }

    /// Keeps the identity of a record, if identities are kept and the record is young enough.
    pub fn remember(&mut self, created: Timestamp, key: u64, now: Timestamp) {
        let hour = Hour::of(created).filter(|hour| self.has_journals() && *hour >= first_kept(now, IDENTITY_HOURS));
        self.recent.extend(hour.map(|hour| (hour, key)));
    }

    /// Returns the hour before which hours are counted by the day.
    pub fn days_until(&self) -> Hour {
        self.days_until
    }

    /// Returns whether the ledger has counted anything. Only streams whose records are counted have sums.
    pub fn has_sums(&self) -> bool {
        !(self.sums.is_empty() && self.days.is_empty())
    }

    /// Returns the number of the next segment. Other parts of the lane's journal number their segments from here too.
    pub fn next_segment(&mut self) -> &mut u64 {
        &mut self.next_segment
    }

    /// Marks segments of the lane's journal for removal. No checkpoint refers to them any more.
    pub fn release(&mut self, segments: impl IntoIterator<Item = u64>) {
        self.released.extend(segments);
    }

    /// Drops entries that are too old. Returns the bytes that have to be written to the journal before the checkpoint.
    pub fn take_appends(&mut self, now: Timestamp) -> Vec<Append> {
        self.forget_old_sums(now);
        if self.kept_from.is_none() {
            self.sum_up_days(now);
            return Vec::new();
        }
        let mut appends = Vec::new();
        let first_identity = first_kept(now, IDENTITY_HOURS);
        self.released.extend(self.identities.expire(first_identity));
        let Self { sums, delivered, next_segment, .. } = self;
        appends.extend(sums.take_append(next_segment));
        appends.extend(delivered.as_mut().and_then(|delivered| delivered.sums.take_append(next_segment)));
        if self.recent.len() > MAX_RECENT {
            let leaving = std::mem::take(&mut self.recent);
            let newest = leaving.iter().map(|(hour, _)| *hour).max().unwrap_or(first_identity);
            appends.push(self.identities.append(newest, entries::keys(leaving), &mut self.next_segment));
        }
        while self.identities.len() > MAX_SEGMENTS
            && let Some(gone) = self.identities.release_oldest()
        {
            self.kept_from = self.kept_from.max(Some(gone.newest.plus(1)));
            self.released.push(gone.number);
        }
        appends
    }

    fn forget_old_sums(&mut self, now: Timestamp) {
        let first = first_kept(now, SUM_HOURS);
        self.released.extend(self.sums.forget(first));
        self.released.extend(self.delivered.iter_mut().flat_map(|delivered| delivered.sums.forget(first)));
        // If the store has journals now, these days are of the time when it had none.
        self.days = self.days.split_off(&first.day());
    }

    /// Makes one count of each day that ended at least `HOURS_APART` ago.
    fn sum_up_days(&mut self, now: Timestamp) {
        self.days_until = self.days_until.max(first_kept(now, HOURS_APART).day());
        let young = self.sums.recent.split_off(&self.days_until);
        for (hour, sum) in std::mem::replace(&mut self.sums.recent, young) {
            *self.days.entry(hour.day()).or_default() += sum.count;
        }
    }

    /// Returns the numbers of the segments that may be removed once this ledger is stored.
    pub fn released(&self) -> &[u64] {
        &self.released
    }

    /// Forgets `segments`, which were removed.
    pub fn forget_released(&mut self, segments: &[u64]) {
        self.released.retain(|segment| !segments.contains(segment));
    }
}

fn first_kept(now: Timestamp, hours: u32) -> Hour {
    Hour::of(now).unwrap_or(Hour(0)).minus(hours)
}

#[cfg(test)]
mod tests;
