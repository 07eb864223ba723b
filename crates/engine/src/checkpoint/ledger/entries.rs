//! The entries of a ledger's part of a journal.

use std::collections::BTreeMap;

use s1_forwarder_record::Identity;
use serde::{Deserialize, Serialize};

use super::hour::Hour;
use crate::checkpoint::encoding::sorted;

/// Bytes of an entry: an hour, a count, and the xor of identities.
pub const SUM_BYTES: usize = 4 + 8 + 16;

/// The sum of the records of one hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub count: u64,
    /// The xor of the records' identities.
    pub xor: [u8; 16],
}

/// Identities of one hour, in the form of a journal.
#[derive(Serialize, Deserialize)]
pub struct HourKeys {
    pub hour: Hour,
    #[serde(with = "sorted")]
    pub keys: Vec<u64>,
}

impl Sum {
    pub fn add(&mut self, identity: Identity) {
        self.merge(&Self { count: 1, xor: identity.bytes() });
    }

    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.xor.iter_mut().zip(other.xor).for_each(|(mine, other)| *mine ^= other);
    }
}

/// Returns the identities in the form of a journal.
pub fn keys(mut entries: Vec<(Hour, u64)>) -> Vec<u8> {
    entries.sort_unstable();
    let hours = entries.chunk_by(|(hour, _), (next, _)| hour == next);
    let hours =
        hours.map(|of_hour| HourKeys { hour: of_hour[0].0, keys: of_hour.iter().map(|(_, key)| *key).collect() });
    // This cannot fail: a `Vec` accepts every byte, and all fields can be serialized.
    postcard::to_stdvec(&hours.collect::<Vec<_>>()).unwrap_or_default()
}

/// Returns the sums in the form of a journal: [`SUM_BYTES`] each, big-endian.
pub fn sums(entries: &BTreeMap<Hour, Sum>) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * SUM_BYTES);
    for (hour, sum) in entries {
        out.extend_from_slice(&hour.0.to_be_bytes());
        out.extend_from_slice(&sum.count.to_be_bytes());
        out.extend_from_slice(&sum.xor);
    }
    out
}

/// Reads one entry of [`sums`].
pub fn parse_sum(entry: &[u8; SUM_BYTES]) -> (Hour, Sum) {
    let mut hour = [0; 4];
    let mut count = [0; 8];
    let mut xor = [0; 16];
    hour.copy_from_slice(&entry[..4]);
    count.copy_from_slice(&entry[4..12]);
    xor.copy_from_slice(&entry[12..]);
    (Hour(u32::from_be_bytes(hour)), Sum { count: u64::from_be_bytes(count), xor })
}
