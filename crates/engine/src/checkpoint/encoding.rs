//! Compact serde encodings for the parts of a checkpoint that grow: sorted numbers, and hashes.
//!
//! Checkpoints are encoded with `postcard`, which writes integers as varints: small differences take a byte or two,
//! while a hash is shorter as its bytes.

use serde::de::{Deserialize, Deserializer, Error};

/// Mask for the bits of a hash of a record's content. The hash is compared with the hash of the record's last content.
pub const CONTENT_HASH: u64 = (1 << 40) - 1;
/// Mask for the bits of a hash that names the last version of a record, if only one version is remembered. The hash is
/// compared with one other.
pub const VERSION_HASH: u64 = (1 << 32) - 1;

/// A number of 40 bits, little-endian.
pub type Fixed = [u8; 5];

pub fn to_fixed(hash: u64) -> Fixed {
    let [a, b, c, d, e, ..] = hash.to_le_bytes();
    [a, b, c, d, e]
}

pub fn from_fixed([a, b, c, d, e]: Fixed) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
}

/// Reads ascending numbers that were written as the differences between neighbours, each with its value.
///
/// # Errors
/// If the deserializer fails, or a number would be too large.
pub fn numbered<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<(u64, T)>, D::Error> {
    let mut items = Vec::<(u64, T)>::deserialize(deserializer)?;
    let mut number = 0_u64;
    for (difference, _) in &mut items {
        number = number.checked_add(*difference).ok_or_else(|| D::Error::custom("a number is too large"))?;
        *difference = number;
    }
    Ok(items)
}

/// Encodes ascending numbers as the differences between neighbours.
pub mod sorted {
    use serde::{Deserializer, Serializer};

    /// Writes ascending numbers as the differences between neighbours.
    ///
    /// # Errors
    /// If the serializer fails.
    pub fn serialize<S: Serializer>(numbers: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        let mut previous = 0;
        serializer
            .collect_seq(numbers.iter().map(|number| number.wrapping_sub(std::mem::replace(&mut previous, *number))))
    }

    /// Reads ascending numbers that [`serialize`] has written.
    ///
    /// # Errors
    /// If the deserializer fails, or a number would be too large.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        Ok(super::numbered::<D, ()>(deserializer)?.into_iter().map(|(number, ())| number).collect())
    }
}
