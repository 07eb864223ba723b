//! The keys of settled records, by the second of each record's time.

use std::collections::BTreeMap;

use smallvec::SmallVec;

/// Most seconds have one or two records: `SmallVec` stores those without an allocation, and is no larger than a `Vec`.
type Numbers = SmallVec<[u64; 2]>;

/// Knowledge of a position about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownState {
    New,
    /// Another version of the record was settled last.
    Changed,
    /// This version was settled.
    Settled,
}

/// Keys by the second: they expire by the second, and lists of them delta-code well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::source) struct KeysBySecond {
    seconds: BTreeMap<i64, Second>,
    /// Number of keys in all seconds.
    key_count: usize,
}

/// The keys of one second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::source) struct Second {
    /// Sorted keys.
    pub keys: Numbers,
    /// The last settled version of each key, 32 bits; empty if the key itself names the version.
    pub versions: Numbers,
}

impl KeysBySecond {
    pub fn key_count(&self) -> usize {
        self.key_count
    }

    pub fn is_empty(&self) -> bool {
        self.seconds.is_empty()
    }

    /// Returns the seconds and their records in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Second)> {
        self.seconds.iter().map(|(second, records)| (*second, records))
    }

    /// Returns the seconds from `from` to before `to` and their records, in ascending order.
    pub fn between(&self, from: i64, to: i64) -> impl DoubleEndedIterator<Item = (i64, &Second)> {
        let seconds = if from < to { self.seconds.range(from..to) } else { self.seconds.range(0..0) };
        seconds.map(|(second, records)| (*second, records))
    }

    /// Returns the seconds from `from` to before `to`, with the number of keys of each, in ascending order.
    pub fn counts_between(&self, from: i64, to: i64) -> impl DoubleEndedIterator<Item = (i64, usize)> {
        self.between(from, to).map(|(second, records)| (second, records.len()))
    }

    /// Returns the last second that has keys.
    pub fn last(&self) -> Option<i64> {
        self.seconds.last_key_value().map(|(second, _)| *second)
    }

    /// Looks up a record of this second. `version` is given if versions are stored apart from keys.
    pub fn knows(&self, second: i64, key: u64, version: Option<u64>) -> KnownState {
        self.seconds.get(&second).map_or(KnownState::New, |records| records.knows(key, version))
    }

    /// Looks up a record that may be stored under any second.
    pub fn knows_anywhere(&self, key: u64, version: Option<u64>) -> KnownState {
        let known = self.seconds.values().map(|records| records.knows(key, version));
        known.fold(KnownState::New, |best, known| if known == KnownState::New { best } else { known })
    }

    /// Remembers a record. Returns false if this version of the record was remembered before.
    pub fn remember(&mut self, second: i64, key: u64, version: Option<u64>) -> bool {
        let records = self.seconds.entry(second).or_default();
        let before = records.len();
        let is_new = records.remember(key, version);
        self.key_count += records.len() - before;
        is_new
    }

    /// Adds keys that were settled later.
    pub fn merge(&mut self, second: i64, later: &Second) {
        let records = self.seconds.entry(second).or_default();
        let before = records.len();
        records.merge(later);
        self.key_count += records.len() - before;
    }

    /// Sets the records of a second.
    pub fn insert(&mut self, second: i64, records: Second) {
        self.key_count += records.len();
        let before = self.seconds.insert(second, records);
        self.key_count -= before.map_or(0, |before| before.len());
    }

    /// Forgets a key, whatever its second.
    pub fn forget(&mut self, key: u64) {
        let with_key = self.seconds.iter().find(|(_, records)| records.has(key)).map(|(second, _)| *second);
        if let Some(second) = with_key {
            self.forget_at(second, key);
        }
    }

    pub fn forget_at(&mut self, second: i64, key: u64) {
        let Some(records) = self.seconds.get_mut(&second) else { return };
        let before = records.len();
        records.forget(key);
        self.key_count -= before - records.len();
        if records.keys.is_empty() {
            self.seconds.remove(&second);
        }
    }

    pub fn forget_before(&mut self, second: i64) {
        let kept = self.seconds.split_off(&second);
        let forgotten = std::mem::replace(&mut self.seconds, kept);
        self.key_count -= forgotten.values().map(Second::len).sum::<usize>();
    }
}

impl Second {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the keys and, if versions are stored apart, the version of each.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Option<u64>)> {
        self.keys.iter().enumerate().map(|(index, key)| (*key, self.versions.get(index).copied()))
    }

    /// Returns the version of each record: the key, if versions are not stored apart.
    pub fn versions(&self) -> &[u64] {
        if self.versions.is_empty() { &self.keys } else { &self.versions }
    }

    fn has(&self, key: u64) -> bool {
        self.keys.binary_search(&key).is_ok()
    }

    fn knows(&self, key: u64, version: Option<u64>) -> KnownState {
        let Ok(index) = self.keys.binary_search(&key) else { return KnownState::New };
        match version {
            Some(version) if self.versions.get(index) != Some(&version) => KnownState::Changed,
            _ => KnownState::Settled,
        }
    }

    fn remember(&mut self, key: u64, version: Option<u64>) -> bool {
        match (self.keys.binary_search(&key), version) {
            (Ok(_), None) => false,
            (Ok(index), Some(version)) => match self.versions.get_mut(index) {
                Some(last) => std::mem::replace(last, version) != version,
                None => false,
            },
            (Err(index), version) => {
                self.keys.insert(index, key);
                if let Some(version) = version {
                    self.versions.insert(index.min(self.versions.len()), version);
                }
                true
            }
        }
    }

    fn merge(&mut self, later: &Self) {
        if self.keys.is_empty() {
            self.clone_from(later);
            return;
        }
        for (key, version) in later.iter() {
            self.remember(key, version);
        }
    }

    fn forget(&mut self, key: u64) {
        if let Ok(index) = self.keys.binary_search(&key) {
            self.keys.remove(index);
            if index < self.versions.len() {
                self.versions.remove(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Take(i64, u64, Option<u64>),
        Merge(i64, Vec<u64>),
        Forget(u64),
        ForgetAt(i64, u64),
        ForgetBefore(i64),
        Insert(i64, Vec<u64>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let version = prop::option::of(0..3_u64);
        prop_oneof![
            8 => (0..9_i64, 0..9_u64, version).prop_map(|(second, key, version)| Step::Take(second, key, version)),
            2 => (0..9_i64, prop::collection::btree_set(0..9_u64, 1..4))
                .prop_map(|(second, keys)| Step::Merge(second, keys.into_iter().collect())),
            1 => (0..9_u64).prop_map(Step::Forget),
            1 => (0..9_i64, 0..9_u64).prop_map(|(second, key)| Step::ForgetAt(second, key)),
            1 => (0..9_i64).prop_map(Step::ForgetBefore),
            1 => (0..9_i64, prop::collection::btree_set(0..9_u64, 1..4))
                .prop_map(|(second, keys)| Step::Insert(second, keys.into_iter().collect())),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_number_of_keys_is_that_of_all_seconds(steps in prop::collection::vec(step(), 1..60)) {
            let mut seconds = KeysBySecond::default();
            for step in steps {
                match step {
                    Step::Take(second, key, version) => {
                        seconds.remember(second, key, version);
                    }
                    Step::Merge(second, keys) => {
                        seconds.merge(second, &Second { keys: keys.into(), ..Second::default() });
                    }
                    Step::Insert(second, keys) => {
                        seconds.insert(second, Second { keys: keys.into(), ..Second::default() });
                    }
                    Step::Forget(key) => seconds.forget(key),
                    Step::ForgetAt(second, key) => seconds.forget_at(second, key),
                    Step::ForgetBefore(second) => seconds.forget_before(second),
                }
                prop_assert_eq!(seconds.key_count(), seconds.iter().map(|(_, records)| records.len()).sum::<usize>());
                prop_assert!(seconds.iter().all(|(_, records)| records.len() > 0 && records.keys.is_sorted()));
            }
        }
    }
}
