//! Compact serde encodings for the parts of a checkpoint that grow: sorted numbers, and hashes.
//!
//! Checkpoints are encoded with `postcard`, which writes integers as varints: small differences take a byte or two,
//! while a hash is shorter as its bytes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// The bits of a hash of a record's content, which is compared with that of its last content.
pub const CONTENT_HASH: u64 = (1 << 40) - 1;
/// The bits of a hash that names the last version of a record, where one is remembered: it is compared with one other.
pub const VERSION_HASH: u64 = (1 << 32) - 1;

/// A number of forty bits, little end first.
pub type Fixed = [u8; 5];

pub fn to_fixed(hash: u64) -> Fixed {
    let [a, b, c, d, e, ..] = hash.to_le_bytes();
    [a, b, c, d, e]
}

pub fn from_fixed([a, b, c, d, e]: Fixed) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
}

/// Reads a sequence without a list in between. `step` returns false for an item that cannot be.
///
/// # Errors
/// When the sequence cannot be read, or `step` refuses an item.
pub fn fold<'de, D: Deserializer<'de>, T: Deserialize<'de>, A>(
    deserializer: D,
    into: A,
    step: impl FnMut(&mut A, T) -> bool,
) -> Result<A, D::Error> {
    struct Fold<A, T, F>(A, F, PhantomData<T>);

    impl<'de, A, T: Deserialize<'de>, F: FnMut(&mut A, T) -> bool> Visitor<'de> for Fold<A, T, F> {
        type Value = A;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a sequence")
        }

        fn visit_seq<S: SeqAccess<'de>>(mut self, mut items: S) -> Result<A, S::Error> {
            while let Some(item) = items.next_element()? {
                if !(self.1)(&mut self.0, item) {
                    return Err(S::Error::custom("a number is too large"));
                }
            }
            Ok(self.0)
        }
    }

    deserializer.deserialize_seq(Fold(into, step, PhantomData))
}

/// Adds a difference; false on overflow.
pub fn add(number: &mut u64, difference: u64) -> bool {
    number.checked_add(difference).map(|sum| *number = sum).is_some()
}

/// Ascending numbers, as the differences between neighbours.
pub mod sorted {
    use serde::{Deserializer, Serializer};

    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(numbers: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        let mut previous = 0;
        serializer
            .collect_seq(numbers.iter().map(|number| number.wrapping_sub(std::mem::replace(&mut previous, *number))))
    }

    /// # Errors
    /// Those of the deserializer, and when a number would be too large.
    pub fn deserialize<'de, D: Deserializer<'de>, C: Default + Extend<u64>>(deserializer: D) -> Result<C, D::Error> {
        let mut number = 0;
        super::fold(deserializer, C::default(), |numbers: &mut C, difference: u64| {
            let fits = super::add(&mut number, difference);
            numbers.extend([number]);
            fits
        })
    }
}
