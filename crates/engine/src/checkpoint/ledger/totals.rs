//! The totals of a ledger for some hours. `verify` compares them with the console and the destination.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::entries::HourKeys;
use super::hour_sums::older;
use super::{Hour, Ledger, Sum};
use crate::checkpoint::journal::Journal;
use crate::checkpoint::{CheckpointBackend, CheckpointKey, StateError};

/// A ledger's content for some hours, its journal included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerTotals {
    pub sums: BTreeMap<Hour, Sum>,
    /// Sums of the records that the sink has acknowledged.
    pub delivered: BTreeMap<Hour, Sum>,
    /// Counts of whole days, by their first hour.
    pub days: BTreeMap<Hour, u64>,
    /// The records' own numbers, only for hours whose identities are kept.
    pub identities: BTreeMap<Hour, HashSet<u64>>,
}

impl LedgerTotals {
    pub fn merge(&mut self, other: Self) {
        for (sums, others) in [(&mut self.sums, other.sums), (&mut self.delivered, other.delivered)] {
            for (hour, sum) in others {
                sums.entry(hour).or_default().merge(&sum);
            }
        }
        for (hour, identities) in other.identities {
            self.identities.entry(hour).or_default().extend(identities);
        }
    }
}

impl Ledger {
    /// Returns the sums of `hours`, including sums in the journal of `key`, but no identities.
    ///
    /// # Errors
    /// As [`Self::totals`].
    pub async fn sums(
        &self,
        backend: &dyn CheckpointBackend,
        key: &CheckpointKey,
        hours: Range<Hour>,
    ) -> Result<LedgerTotals, StateError> {
        let delivered = match &self.delivered {
            Some(delivered) => delivered.sums.read(backend, key, &hours).await?,
            None => BTreeMap::new(),
        };
        let totals = LedgerTotals {
            sums: self.sums.read(backend, key, &hours).await?,
            delivered,
            days: self.days.range(hours).map(|(day, count)| (*day, *count)).collect(),
            identities: BTreeMap::new(),
        };
        Ok(totals)
    }

    /// Returns the totals of `hours`, including totals in the journal of `key`. A busy lane may have 256 MiB of
    /// identities.
    ///
    /// # Errors
    /// If the journal cannot be read, or is shorter than it was: a running lane may have changed it meanwhile.
    pub async fn totals(
        &self,
        backend: &dyn CheckpointBackend,
        key: &CheckpointKey,
        hours: Range<Hour>,
    ) -> Result<LedgerTotals, StateError> {
        let mut totals = self.sums(backend, key, hours.clone()).await?;
        for (hour, known) in self.recent.iter().filter(|(hour, _)| hours.contains(hour)) {
            totals.identities.entry(*hour).or_default().insert(*known);
        }
        for segment in older(&self.identities, &hours) {
            let bytes = segment.read(backend, key).await?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let damaged = |_| StateError::Journal { key: key.clone(), segment: segment.number };
                let (chunk, more) = postcard::take_from_bytes::<Vec<HourKeys>>(rest).map_err(damaged)?;
                for HourKeys { hour, keys } in chunk.into_iter().filter(|chunk| hours.contains(&chunk.hour)) {
                    totals.identities.entry(hour).or_default().extend(keys);
                }
                rest = more;
            }
        }
        Ok(totals)
    }

    /// Returns the parts of the ledger's journal.
    pub fn journals(&self) -> impl Iterator<Item = &Journal> {
        let delivered = self.delivered.iter().map(|delivered| &delivered.sums.older);
        [&self.sums.older, &self.identities].into_iter().chain(delivered)
    }

    /// Moves the sums from the journal back into the checkpoint, for a store without journals. Forgets the identities
    /// and the deliveries.
    pub fn leave_journal(&mut self, journal: &BTreeMap<u64, Vec<u8>>) {
        self.sums.leave_journal(journal);
        self.delivered = None;
        self.identities = Journal::default();
        self.recent.clear();
        self.released.clear();
        self.kept_from = None;
    }
}
