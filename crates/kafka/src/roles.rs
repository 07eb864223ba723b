//! Roles of a session's two producers: lanes share one of them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether a lane shares its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Other lanes may be in the transaction, too.
    Shared,
    Alone,
}

/// Lanes share the transactions of one producer. The other one, the quarantine producer, commits one lane per
/// transaction.
#[derive(Debug, Default)]
pub(super) struct Roles {
    /// Index of the shared producer.
    shared: AtomicUsize,
    /// Whether roles have changed, and the quarantine producer has not committed since.
    is_degraded: AtomicBool,
}

impl Roles {
    /// Returns the index of the producer for a lane.
    pub(super) fn producer(&self, sharing: Sharing) -> usize {
        self.shared.load(Ordering::SeqCst) ^ usize::from(sharing == Sharing::Alone)
    }

    pub(super) fn is_shared(&self, index: usize) -> bool {
        self.producer(Sharing::Shared) == index
    }

    /// Makes this the quarantine producer, since its transaction does not end for now.
    pub(super) fn retire(&self, index: usize) {
        if self.is_shared(index) {
            self.is_degraded.store(true, Ordering::SeqCst);
            self.shared.store(index ^ 1, Ordering::SeqCst);
        }
    }

    pub(super) fn committed(&self, index: usize) {
        if !self.is_shared(index) {
            self.is_degraded.store(false, Ordering::SeqCst);
        }
    }

    /// Returns whether the quarantine producer may be unable to commit.
    pub(super) fn is_degraded(&self) -> bool {
        self.is_degraded.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_whose_transaction_does_not_end_is_the_quarantine_until_it_commits() {
        let roles = Roles::default();
        assert_eq!((roles.producer(Sharing::Shared), roles.producer(Sharing::Alone)), (0, 1));
        roles.retire(1);
        assert!(roles.is_shared(0) && !roles.is_degraded(), "the quarantine producer cannot be retired");
        roles.retire(0);
        assert_eq!((roles.producer(Sharing::Shared), roles.producer(Sharing::Alone)), (1, 0));
        roles.committed(1);
        assert!(roles.is_degraded());
        roles.committed(0);
        assert!(!roles.is_degraded() && roles.is_shared(1), "the roles stay");
    }
}
