//! The choice among equal addresses of a destination. HTTP and syslog sinks move to the next one when one is
//! unavailable.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Equal alternatives, of which one is in use until it is unavailable.
#[derive(Debug)]
pub(crate) struct Failover<T> {
    /// The alternatives. Never empty.
    all: Box<[T]>,
    current: AtomicUsize,
}

impl<T> Failover<T> {
    /// `all` must not be empty. `user` decides which one is used first.
    pub(crate) fn new(all: Vec<T>, user: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        user.hash(&mut hasher);
        let current = hasher.finish() as usize % all.len().max(1);
        Self { all: all.into(), current: AtomicUsize::new(current) }
    }

    pub(crate) fn all(&self) -> &[T] {
        &self.all
    }

    /// Returns the alternative in use, with its index.
    pub(crate) fn current(&self) -> (usize, &T) {
        let index = self.current.load(Ordering::Relaxed);
        (index, &self.all[index])
    }

    /// Returns the alternative in use.
    pub(crate) fn in_use(&self) -> &T {
        self.current().1
    }

    /// Uses the next alternative, since the one at `index` is unavailable, unless another attempt has changed it
    /// already.
    pub(crate) fn leave(&self, index: usize) {
        let next = (index + 1) % self.all.len();
        let _ = self.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_fail_together_leave_an_alternative_once() {
        let urls = Failover::new(vec!["a", "b", "c"], &());
        let (first, _) = urls.current();
        urls.leave(first);
        urls.leave(first);
        assert_eq!(urls.current().0, (first + 1) % 3);
        urls.leave((first + 1) % 3);
        urls.leave((first + 2) % 3);
        assert_eq!(urls.current().0, first, "after the last comes the first");
    }

    #[test]
    fn users_begin_with_different_alternatives() {
        let first: std::collections::BTreeSet<_> =
            (0..50).map(|user| Failover::new(vec![(), (), ()], &user).current().0).collect();
        assert_eq!(first.len(), 3);
    }
}
