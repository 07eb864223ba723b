use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::journal::{Journal, Segment};
use super::{Hour, Ledger, Sum};
use crate::checkpoint::{CheckpointBackend, CheckpointKey, StateError};
use crate::record::Identity;

/// Bytes of an hour and an identity.
const IDENTITY: usize = 4 + 16;
/// Bytes of an hour, a count and identities xored.
const SUM: usize = 4 + 8 + 16;

/// A ledger's content for some hours, its journal included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerTotals {
    pub sums: BTreeMap<Hour, Sum>,
    /// Only of hours whose identities are kept.
    pub identities: BTreeMap<Hour, HashSet<Identity>>,
}

impl LedgerTotals {
    pub fn merge(&mut self, other: Self) {
        for (hour, sum) in other.sums {
            self.sums.entry(hour).or_default().merge(&sum);
        }
        for (hour, identities) in other.identities {
            self.identities.entry(hour).or_default().extend(identities);
        }
    }
}

impl Ledger {
    /// The totals of `hours`, those in the journal of `key` included.
    ///
    /// # Errors
    /// When the journal cannot be read, or is shorter than it was: a running lane may have changed it meanwhile.
    pub async fn totals(
        &self,
        backend: &dyn CheckpointBackend,
        key: &CheckpointKey,
        hours: Range<Hour>,
    ) -> Result<LedgerTotals, StateError> {
        let mut totals = LedgerTotals::default();
        for (hour, sum) in self.sums.range(hours.clone()) {
            totals.sums.insert(*hour, *sum);
        }
        for segment in older(&self.old_sums, &hours) {
            for entry in read(backend, key, segment).await?.as_chunks::<SUM>().0 {
                let (hour, sum) = parse_sum(entry);
                if hours.contains(&hour) {
                    totals.sums.entry(hour).or_default().merge(&sum);
                }
            }
        }
        let mut remember = |(hour, identity): (Hour, Identity)| {
            if hours.contains(&hour) {
                totals.identities.entry(hour).or_default().insert(identity);
            }
        };
        self.recent.iter().copied().for_each(&mut remember);
        for segment in older(&self.identities, &hours) {
            read(backend, key, segment).await?.as_chunks::<IDENTITY>().0.iter().map(identity).for_each(&mut remember);
        }
        Ok(totals)
    }

    /// The segments of its journal, as far as the ledger refers to them.
    ///
    /// # Errors
    /// As [`Self::totals`].
    pub async fn journal(
        &self,
        backend: &dyn CheckpointBackend,
        key: &CheckpointKey,
    ) -> Result<BTreeMap<u64, Vec<u8>>, StateError> {
        let mut journal = BTreeMap::new();
        for segment in self.old_sums.segments().chain(self.identities.segments()) {
            journal.insert(segment.number, read(backend, key, segment).await?);
        }
        Ok(journal)
    }

    /// True when `journal` contains everything that the ledger refers to.
    pub fn is_complete_with(&self, journal: &BTreeMap<u64, Vec<u8>>) -> bool {
        let mut segments = self.old_sums.segments().chain(self.identities.segments());
        segments.all(|segment| journal.get(&segment.number).is_some_and(|bytes| bytes.len() as u64 == segment.length))
    }

    /// Leaves the journal, for a store without one: takes the sums back from it and forgets the identities.
    pub fn leave_journal(&mut self, journal: &BTreeMap<u64, Vec<u8>>) {
        let segments = std::mem::take(&mut self.old_sums);
        for entry in segments.segments().filter_map(|segment| journal.get(&segment.number)) {
            for (hour, sum) in entry.as_chunks::<SUM>().0.iter().map(parse_sum) {
                self.sums.entry(hour).or_default().merge(&sum);
            }
        }
        self.identities = Journal::default();
        self.recent.clear();
        self.released.clear();
        self.kept_from = None;
    }
}

/// The segments that may contain entries of `hours`.
fn older<'a>(journal: &'a Journal, hours: &Range<Hour>) -> impl Iterator<Item = &'a Segment> + use<'a> {
    let first = hours.start;
    journal.segments().filter(move |segment| segment.newest >= first)
}

async fn read(backend: &dyn CheckpointBackend, key: &CheckpointKey, segment: &Segment) -> Result<Vec<u8>, StateError> {
    let missing = || StateError::Journal { lane: key.clone(), segment: segment.number };
    let length = usize::try_from(segment.length).map_err(|_| missing())?;
    let mut bytes = backend.read_journal(key, segment.number).await?.ok_or_else(missing)?;
    if bytes.len() < length {
        return Err(missing());
    }
    bytes.truncate(length);
    Ok(bytes)
}

pub fn identities(entries: &[(Hour, Identity)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * IDENTITY);
    for (hour, identity) in entries {
        out.extend_from_slice(&hour.0.to_be_bytes());
        out.extend_from_slice(&identity.bytes());
    }
    out
}

pub fn identity(entry: &[u8; IDENTITY]) -> (Hour, Identity) {
    let (mut hour, mut identity) = ([0; 4], [0; 16]);
    hour.copy_from_slice(&entry[..4]);
    identity.copy_from_slice(&entry[4..]);
    (Hour(u32::from_be_bytes(hour)), Identity::from_bytes(identity))
}

pub fn sums(entries: &BTreeMap<Hour, Sum>) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * SUM);
    for (hour, sum) in entries {
        out.extend_from_slice(&hour.0.to_be_bytes());
        out.extend_from_slice(&sum.count.to_be_bytes());
        out.extend_from_slice(&sum.xor);
    }
    out
}

fn parse_sum(entry: &[u8; SUM]) -> (Hour, Sum) {
    let (mut hour, mut count, mut xor) = ([0; 4], [0; 8], [0; 16]);
    hour.copy_from_slice(&entry[..4]);
    count.copy_from_slice(&entry[4..12]);
    xor.copy_from_slice(&entry[12..]);
    (Hour(u32::from_be_bytes(hour)), Sum { count: u64::from_be_bytes(count), xor })
}
