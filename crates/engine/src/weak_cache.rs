//! Values that several users share for as long as one of them uses it, such as a client or a producer.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// A map that keeps no value alive.
#[derive(Debug)]
pub struct WeakCache<K, T: ?Sized>(Mutex<HashMap<K, Weak<T>>>);

impl<K, T: ?Sized> Default for WeakCache<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T: ?Sized> WeakCache<K, T> {
    /// Returns the value of `key` if a caller still holds it.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<Arc<T>>
    where
        K: Borrow<Q>,
    {
        self.0.lock().get(key).and_then(Weak::upgrade)
    }

    /// Returns the value of `key`, or else what `make` returns. The map is locked while `make` runs.
    pub fn get_or_insert_with(&self, key: K, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let mut values = self.0.lock();
        if let Some(value) = values.get(&key).and_then(Weak::upgrade) {
            return value;
        }
        let value = make();
        // Only when the map would grow: the search takes time proportional to the number of values, and ten thousand
        // pipelines may start at once.
        if values.len() == values.capacity() {
            values.retain(|_, value| value.strong_count() > 0);
        }
        values.insert(key, Arc::downgrade(&value));
        value
    }

    /// Returns the values that callers hold.
    pub fn values(&self) -> Vec<Arc<T>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// Forgets `key` at once if no caller holds its value.
    pub fn forget_unused<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let mut values = self.0.lock();
        if values.get(key).is_some_and(|value| value.strong_count() == 0) {
            values.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shared_until_nobody_uses_it() {
        let cache = WeakCache::<String, u32>::default();
        let first = cache.get_or_insert_with("a".to_owned(), || Arc::new(1));
        assert!(Arc::ptr_eq(&first, &cache.get_or_insert_with("a".to_owned(), || Arc::new(2))));
        assert_eq!((cache.get("a").as_deref(), cache.get("b"), cache.values().len()), (Some(&1), None, 1));
        drop(first);
        assert_eq!((cache.get("a"), cache.values().len()), (None, 0));
        assert_eq!(*cache.get_or_insert_with("a".to_owned(), || Arc::new(3)), 3);
    }

    #[test]
    fn values_stay_while_they_are_used_and_no_longer() {
        let cache = WeakCache::<u32, u32>::default();
        let value = |key| cache.get_or_insert_with(key, || Arc::new(key));
        let used: Vec<_> = (0..100).map(value).collect();
        (100..10_000).for_each(|key| drop(value(key)));
        assert!((0..).zip(&used).all(|(key, used)| Arc::ptr_eq(used, &value(key))));
        assert!(cache.0.lock().len() < 1_000, "{}", cache.0.lock().len());
        cache.forget_unused(&0);
        assert!(cache.get(&0).is_some(), "it is used");
        drop(used);
        cache.forget_unused(&0);
        assert!(!cache.0.lock().contains_key(&0));
    }
}
