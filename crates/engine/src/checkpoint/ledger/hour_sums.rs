//! The sums of a ledger by hour: the newest are in the checkpoint, the others in its journal.

use std::collections::BTreeMap;
use std::ops::Range;

use s1_forwarder_record::Identity;
use serde::{Deserialize, Serialize};

use super::entries::{self, SUM_BYTES, parse_sum};
use super::{Hour, Sum};
use crate::checkpoint::journal::{Journal, Segment};
use crate::checkpoint::{Append, CheckpointBackend, CheckpointKey, StateError};

/// Maximum number of sums in the checkpoint, if there is a journal. If there are more, all but the newest move to the
/// journal.
pub(super) const MAX_SUMS: usize = 72;
/// Number of the newest sums, which stay in the checkpoint.
pub(super) const NEWEST_SUMS: usize = 24;

/// Sums of records by their hour of creation, with a journal for most of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourSums {
    /// Sums that are not in the journal yet; an hour may be in both.
    #[serde(with = "by_hour")]
    pub(super) recent: BTreeMap<Hour, Sum>,
    pub(super) older: Journal,
}

impl HourSums {
    pub fn add(&mut self, hour: Hour, identity: Identity) {
        self.recent.entry(hour).or_default().add(identity);
    }

    pub fn is_empty(&self) -> bool {
        self.recent.is_empty() && self.older.is_empty()
    }

    /// Drops the hours before `first`. Returns the numbers of the journal segments that have no other hours.
    pub fn forget(&mut self, first: Hour) -> Vec<u64> {
        self.recent = self.recent.split_off(&first);
        self.older.expire(first)
    }

    /// Moves most sums to the journal if there are too many. Returns the bytes to write there before the checkpoint;
    /// `None` if there are none.
    pub fn take_append(&mut self, next_segment: &mut u64) -> Option<Append> {
        if self.recent.len() <= MAX_SUMS {
            return None;
        }
        let newest = self.recent.keys().nth_back(NEWEST_SUMS - 1).copied().unwrap_or_default();
        let staying = self.recent.split_off(&newest);
        let leaving = std::mem::replace(&mut self.recent, staying);
        Some(self.older.append(newest.minus(1), entries::sums(&leaving), next_segment))
    }

    /// Moves all sums to the journal. Returns the bytes to write there before the checkpoint; `None` if there are none.
    pub fn take_all(&mut self, next_segment: &mut u64) -> Option<Append> {
        let sums = std::mem::take(&mut self.recent);
        let newest = *sums.keys().next_back()?;
        Some(self.older.append(newest, entries::sums(&sums), next_segment))
    }

    /// Returns the sums of `hours`, including sums in the journal of `key`.
    ///
    /// # Errors
    /// If the journal cannot be read, or is shorter than it was: a running lane may have changed it meanwhile.
    pub async fn read(
        &self,
        backend: &dyn CheckpointBackend,
        key: &CheckpointKey,
        hours: &Range<Hour>,
    ) -> Result<BTreeMap<Hour, Sum>, StateError> {
        let mut sums: BTreeMap<_, _> = self.recent.range(hours.clone()).map(|(hour, sum)| (*hour, *sum)).collect();
        for segment in older(&self.older, hours) {
            for entry in segment.read(backend, key).await?.as_chunks::<SUM_BYTES>().0 {
                let (hour, sum) = parse_sum(entry);
                if hours.contains(&hour) {
                    sums.entry(hour).or_default().merge(&sum);
                }
            }
        }
        Ok(sums)
    }

    /// Moves the sums from the journal back into the checkpoint, for a store without journals.
    pub fn leave_journal(&mut self, journal: &BTreeMap<u64, Vec<u8>>) {
        let segments = std::mem::take(&mut self.older);
        for entry in segments.segments().filter_map(|segment| journal.get(&segment.number)) {
            for (hour, sum) in entry.as_chunks::<SUM_BYTES>().0.iter().map(parse_sum) {
                self.recent.entry(hour).or_default().merge(&sum);
            }
        }
    }
}

/// Encodes sums by their hour, each hour as the difference to the hour before.
mod by_hour {
    use std::collections::BTreeMap;

    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    use super::{Hour, Sum};
    use crate::checkpoint::encoding::numbered;

    pub fn serialize<S: Serializer>(sums: &BTreeMap<Hour, Sum>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut previous = 0;
        serializer.collect_seq(sums.iter().map(|(hour, sum)| (hour.0 - std::mem::replace(&mut previous, hour.0), sum)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Hour, Sum>, D::Error> {
        let hour = |number: u64| u32::try_from(number).map(Hour).map_err(D::Error::custom);
        numbered(deserializer)?.into_iter().map(|(number, sum)| hour(number).map(|hour| (hour, sum))).collect()
    }
}

/// Returns the segments that may contain entries of `hours`.
pub(super) fn older<'a>(journal: &'a Journal, hours: &Range<Hour>) -> impl Iterator<Item = &'a Segment> + use<'a> {
    let Range { start, end } = *hours;
    journal.segments().filter(move |segment| start < end && segment.newest >= start)
}
