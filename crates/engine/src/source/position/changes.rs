//! Changes of a position since it was stored last: a log in the order of the changes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::encoding::seconds;
use super::pass_position::Head;
use super::seconds::KeysBySecond;

/// A log with fewer keys is not compacted before it is written.
const MIN_COMPACTED: usize = 1_000;

/// Keys that the same passes remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SharedKeys<'a> {
    pub passes: Vec<CompactString>,
    /// Whether a record is remembered under one time only: the last one.
    pub moves: bool,
    #[serde(with = "seconds")]
    pub seconds: Cow<'a, KeysBySecond>,
}

/// Changes of a position. Passes are named by their places in the position; the log ends when those change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// The times of each pass as they were stored last.
    pub heads: Vec<(CompactString, Head)>,
    keys: Vec<ChangedKey>,
    /// Number of keys after the last compaction of the log.
    compacted: usize,
    pub contents: HashMap<u64, u64>,
}

/// A key that passes have remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ChangedKey {
    passes: SmallVec<[usize; 2]>,
    moves: bool,
    second: i64,
    key: u64,
    version: Option<u64>,
}

impl Changes {
    /// Begins a log: nothing has changed since these times were stored.
    pub fn since(heads: Vec<(CompactString, Head)>) -> Self {
        Self { heads, ..Self::default() }
    }

    /// Returns whether the log should be compacted before it is written: a key that changes again and again would fill
    /// the memory.
    pub fn has_doubled(&self) -> bool {
        self.keys.len() > MIN_COMPACTED.max(2 * self.compacted)
    }

    /// Adds a key that the pass at this place remembers. Passes that remember a record in the same way, one after the
    /// other, share the entry.
    pub fn push(&mut self, pass: usize, moves: bool, second: i64, key: u64, version: Option<u64>) {
        if let Some(last) = self.keys.last_mut()
            && (last.moves, last.second, last.key, last.version) == (moves, second, key, version)
        {
            last.passes.push(pass);
        } else {
            self.keys.push(ChangedKey { passes: [pass].into_iter().collect(), moves, second, key, version });
        }
    }

    /// Adds keys in their stored form. `names` are the names of the passes.
    pub fn extend(&mut self, shared: &SharedKeys<'_>, names: &[&CompactString]) {
        let index = |name: &CompactString| names.iter().position(|other| *other == name);
        let passes: SmallVec<[usize; 2]> = shared.passes.iter().filter_map(index).collect();
        for (second, records) in shared.seconds.iter() {
            for (key, version) in records.iter() {
                self.keys.push(ChangedKey { passes: passes.clone(), moves: shared.moves, second, key, version });
            }
        }
    }

    /// Keeps only the last change of each key, unless its pass has forgotten the key meanwhile. `first_kept` has the
    /// first second of which each pass keeps keys.
    pub fn compact(&mut self, first_kept: &[i64]) {
        self.keys = self.last_changes(first_kept);
        self.compacted = self.keys.len();
    }

    fn last_changes(&self, first_kept: &[i64]) -> Vec<ChangedKey> {
        let mut keys = self.keys.clone();
        let mut later = HashSet::new();
        for changed in keys.iter_mut().rev() {
            // A key that moves is under one second, regardless of the second that it was under before.
            let under = if changed.moves { None } else { Some(changed.second) };
            changed.passes.retain(|pass| {
                let is_last = later.insert((*pass, under, changed.key));
                is_last && first_kept.get(*pass).is_some_and(|first| changed.second >= *first)
            });
        }
        keys.retain(|changed| !changed.passes.is_empty());
        keys
    }

    /// Returns the number of changed keys and contents.
    pub fn len(&self) -> usize {
        self.keys.len() + self.contents.len()
    }

    /// Returns the stored form of the last change of each key. No pass has a key twice, so the order of keys does not
    /// matter. `names` are the names of the passes, and `first_kept` their first seconds.
    pub fn shared_keys(&self, names: &[&CompactString], first_kept: &[i64]) -> Vec<SharedKeys<'static>> {
        let mut places: Vec<SmallVec<[usize; 2]>> = Vec::new();
        let mut shared: Vec<SharedKeys<'static>> = Vec::new();
        for changed in self.last_changes(first_kept) {
            let group = places.iter().position(|passes| *passes == changed.passes).unwrap_or_else(|| {
                places.push(changed.passes.clone());
                let passes = changed.passes.iter().filter_map(|pass| names.get(*pass)).map(|name| (*name).clone());
                shared.push(SharedKeys { passes: passes.collect(), moves: changed.moves, seconds: Cow::default() });
                shared.len() - 1
            });
            if let Some(SharedKeys { seconds, .. }) = shared.get_mut(group) {
                seconds.to_mut().remember(changed.second, changed.key, changed.version);
            }
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::position::seconds::Second;

    /// Second, key and version.
    type Key = (i64, u64, Option<u64>);

    /// Returns the stored keys, with their passes.
    fn stored(changes: &Changes, first_kept: &[i64]) -> Vec<(Vec<&'static str>, Vec<Key>)> {
        let names = ["first", "second"].map(CompactString::from);
        let shared = changes.shared_keys(&names.each_ref(), first_kept);
        let keys = |seconds: &KeysBySecond| -> Vec<_> {
            let keys_of = |(second, records): (i64, &Second)| {
                records.iter().map(move |(key, version)| (second, key, version)).collect::<Vec<_>>()
            };
            seconds.iter().flat_map(keys_of).collect()
        };
        let name = |name: &CompactString| if *name == "first" { "first" } else { "second" };
        shared.iter().map(|shared| (shared.passes.iter().map(name).collect(), keys(&shared.seconds))).collect()
    }

    #[test]
    fn passes_that_remember_the_same_share_it() {
        let mut changes = Changes::default();
        for (pass, second, key) in [(0, 5, 1), (1, 5, 1), (0, 6, 2), (1, 7, 2)] {
            changes.push(pass, false, second, key, None);
        }
        let expected = vec![
            (vec!["first", "second"], vec![(5, 1, None)]),
            (vec!["first"], vec![(6, 2, None)]),
            (vec!["second"], vec![(7, 2, None)]),
        ];
        assert_eq!(stored(&changes, &[0, 0]), expected);
    }

    /// The last change of a key stays, whatever other passes remember meanwhile: the second pass has version 3, and the
    /// first one keeps version 2.
    #[test]
    fn the_last_change_of_a_key_is_left() {
        let mut changes = Changes::default();
        changes.push(1, false, 5, 1, Some(1));
        for pass in [0, 1] {
            changes.push(pass, false, 5, 1, Some(2));
        }
        changes.push(1, false, 5, 1, Some(3));
        let expected = vec![(vec!["first"], vec![(5, 1, Some(2))]), (vec!["second"], vec![(5, 1, Some(3))])];
        assert_eq!(stored(&changes, &[0, 0]), expected);
        changes.compact(&[0, 0]);
        assert_eq!((changes.len(), stored(&changes, &[0, 0])), (2, expected));
    }

    #[test]
    fn a_key_that_moves_is_left_where_it_went_last() {
        for (moves, expected) in [(true, vec![(4, 1, Some(8))]), (false, vec![(4, 1, Some(8)), (5, 1, Some(7))])] {
            let mut changes = Changes::default();
            changes.push(0, moves, 5, 1, Some(7));
            changes.push(0, moves, 4, 1, Some(8));
            assert_eq!(stored(&changes, &[0]), [(vec!["first"], expected)], "{moves}");
        }
    }

    #[test]
    fn what_a_pass_has_forgotten_is_left_out() {
        let mut changes = Changes::default();
        for (second, key) in [(5, 1), (6, 2)] {
            changes.push(0, false, second, key, None);
            changes.push(1, false, second, key, None);
        }
        assert_eq!(stored(&changes, &[6, 7]), [(vec!["first"], vec![(6, 2, None)])]);
    }

    /// Between two writes an alert may change any number of times.
    #[test]
    fn a_log_is_no_longer_than_twice_its_keys() {
        let mut changes = Changes::default();
        for version in 0..50_000 {
            changes.push(0, false, 5, version % 2_000, Some(version));
            if changes.has_doubled() {
                changes.compact(&[0]);
            }
            assert!(changes.len() <= 4_001, "{} after {version}", changes.len());
        }
        changes.compact(&[0]);
        assert_eq!(changes.len(), 2_000);
    }
}
