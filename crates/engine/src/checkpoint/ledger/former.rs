//! The sums of a ledger that another one has replaced.

use std::collections::BTreeMap;
use std::iter;
use std::ops::Range;

use s1_forwarder_record::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Delivered, Hour, Ledger, SUM_HOURS, first_kept};
use crate::checkpoint::Append;

/// A ledger that another one has replaced: its sums, without identities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerLedger {
    host: Box<str>,
    /// Every record created before this time was in the ledger, or is in none.
    until: Timestamp,
    ledger: Ledger,
}

impl FormerLedger {
    /// Keeps the ledger that [`Ledger::restart`] has returned. `host` is the console that the lane pulled from.
    pub fn new(host: Box<str>, until: Timestamp, ledger: Ledger) -> Self {
        Self { host, until, ledger }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Returns the ledger itself, which remembers no identity.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the whole hours of which the ledger has sums at `now`.
    pub fn hours(&self, now: Timestamp) -> Range<Hour> {
        let start = Hour::from(self.ledger.since).max(first_kept(now, SUM_HOURS));
        start..Hour::of(self.until).unwrap_or_default().max(start)
    }

    /// Drops sums that are too old. Returns the bytes of all sums, which have to be written to the journal before the
    /// checkpoint.
    pub fn take_appends(&mut self, current: &mut Ledger, now: Timestamp) -> Vec<Append> {
        let Self { ledger, .. } = self;
        ledger.forget_old_sums(now);
        current.release(std::mem::take(&mut ledger.released));
        if !ledger.has_journals() {
            ledger.sum_up_days(now);
            return Vec::new();
        }
        let delivered = ledger.delivered.iter_mut().map(|delivered| &mut delivered.sums);
        let sums = iter::once(&mut ledger.sums).chain(delivered);
        sums.filter_map(|sums| sums.take_all(&mut current.next_segment)).collect()
    }

    /// Returns the numbers of the ledger's segments, which are no longer referred to.
    pub fn into_segments(self) -> impl Iterator<Item = u64> {
        let delivered = self.ledger.delivered.into_iter().map(|delivered| delivered.sums);
        iter::once(self.ledger.sums).chain(delivered).flat_map(|mut sums| sums.older.release_all())
    }

    /// Sets the sums of delivered records that were stored with the ledger.
    pub fn set_delivered(&mut self, delivered: Option<Delivered>) {
        self.ledger.delivered = delivered;
    }

    /// Calls [`Ledger::leave_journal`].
    pub fn leave_journal(&mut self, journal: &BTreeMap<u64, Vec<u8>>) {
        self.ledger.leave_journal(journal);
    }
}
