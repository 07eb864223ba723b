//! A hash of a record's content, without the keys that change by themselves.

use std::ops::ControlFlow;

use sha2::{Digest, Sha256};

use super::facts::for_each_entry;

/// Hashes a record's top-level entries without the keys in `volatile`, which is sorted. The order of the entries does
/// not matter. Checkpoints store the hash, so it must not change between releases.
pub fn stable_fields_hash(record: &[u8], volatile: &[String]) -> u64 {
    let mut entries = Vec::with_capacity(100);
    for_each_entry(record, |key, value| {
        if volatile.binary_search_by(|name| name.as_bytes().cmp(key)).is_err() {
            entries.push((key, value));
        }
        ControlFlow::Continue(())
    });
    entries.sort_unstable();
    let mut hash = Sha256::new();
    for (key, value) in entries {
        // Keys and values contain no bare line feed, so the separator is unambiguous.
        hash.update(key);
        hash.update(b"\n");
        hash.update(value);
        hash.update(b"\n");
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLATILE: [&str; 2] = ["lastActiveDate", "updatedAt"];

    fn hash(record: &str) -> u64 {
        stable_fields_hash(record.as_bytes(), &VOLATILE.map(str::to_owned))
    }

    #[test]
    fn volatile_keys_and_key_order_do_not_change_the_hash() {
        let one = hash(r#"{"id":"1","updatedAt":"a","tags":{"updatedAt":"a"},"lastActiveDate":null}"#);
        assert_eq!(one, hash(r#"{"updatedAt":"b","tags":{"updatedAt":"a"}, "id" : "1"}"#));
        assert_ne!(one, hash(r#"{"id":"1","tags":{"updatedAt":"b"}}"#), "a nested key of that name counts");
        assert_ne!(one, hash(r#"{"id":"1","tags":{"updatedAt":"a"},"infected":true}"#));
        assert_ne!(hash(r#"{"a":"1","b":"2"}"#), hash(r#"{"a":"2","b":"1"}"#));
    }

    /// A golden value: if it changed, every agent would be sent again after an upgrade.
    #[test]
    fn hashes_never_change() {
        assert_eq!(format!("{:016x}", hash(r#"{"b":2,"a":"1"}"#)), "637f93fe274c4fb6");
    }
}
