use sha2::{Digest, Sha256};

use super::facts::for_each_entry;

/// A hash of a record's content without the keys of `volatile` (sorted), whatever the order of its keys: records that differ
/// in nothing else have the same. It is stored, so it may not change between releases.
pub fn content_hash(record: &[u8], volatile: &[String]) -> u64 {
    let mut entries = Vec::with_capacity(100);
    for_each_entry(record, |key, value| {
        if volatile.binary_search_by(|name| name.as_bytes().cmp(key)).is_err() {
            entries.push((key, value));
        }
    });
    entries.sort_unstable();
    let mut hash = Sha256::new();
    for (key, value) in entries {
        // Keys and values hold no bare line feed, so that none can pass for two.
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
        content_hash(record.as_bytes(), &VOLATILE.map(str::to_owned))
    }

    #[test]
    fn only_what_is_not_volatile_counts() {
        let one = hash(r#"{"id":"1","updatedAt":"a","tags":{"updatedAt":"a"},"lastActiveDate":null}"#);
        assert_eq!(one, hash(r#"{"updatedAt":"b","tags":{"updatedAt":"a"}, "id" : "1"}"#));
        assert_ne!(one, hash(r#"{"id":"1","tags":{"updatedAt":"b"}}"#), "within a block it counts");
        assert_ne!(one, hash(r#"{"id":"1","tags":{"updatedAt":"a"},"infected":true}"#));
        assert_ne!(hash(r#"{"a":"1","b":"2"}"#), hash(r#"{"a":"2","b":"1"}"#));
    }

    /// A golden value: were it to change, every agent would be sent again after an update.
    #[test]
    fn hashes_never_change() {
        assert_eq!(format!("{:016x}", hash(r#"{"b":2,"a":"1"}"#)), "637f93fe274c4fb6");
    }
}
