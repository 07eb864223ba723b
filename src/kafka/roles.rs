//! The two groups of a session, and which of them lanes share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::group::TransactionSlot;

/// A lane that waits for a slot in a transaction.
pub(super) struct SlotRequest {
    /// The lane shares its transaction with no other.
    pub(super) alone: bool,
    /// Dropped if the request is for the other group.
    pub(super) grant: oneshot::Sender<TransactionSlot>,
}

/// Lanes share the transactions of one group. The other one, the quarantine, commits one lane per transaction.
#[derive(Debug, Default)]
pub(super) struct Roles {
    /// Index of the shared group.
    shared: AtomicUsize,
    /// True from a change of roles until the group in quarantine commits again.
    is_degraded: AtomicBool,
}

impl Roles {
    fn group(&self, alone: bool) -> usize {
        self.shared.load(Ordering::SeqCst) ^ usize::from(alone)
    }

    pub(super) fn is_shared(&self, index: usize) -> bool {
        self.group(false) == index
    }

    /// Makes the group the quarantine, since its transaction does not end for now.
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

    /// True while the quarantine may be unable to commit.
    pub(super) fn is_degraded(&self) -> bool {
        self.is_degraded.load(Ordering::SeqCst)
    }
}

/// Requests slots of a session's groups.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    pub(super) queues: [mpsc::Sender<SlotRequest>; 2],
    pub(super) roles: Arc<Roles>,
}

/// Does not keep the groups running.
pub(super) struct WeakGroups {
    queues: [mpsc::WeakSender<SlotRequest>; 2],
    roles: Arc<Roles>,
}

impl Groups {
    /// Waits for a slot in the next transaction. None after the group has ended.
    pub(super) async fn slot(&self, alone: bool) -> Option<TransactionSlot> {
        loop {
            let (grant, granted) = oneshot::channel();
            self.queues[self.roles.group(alone)].send(SlotRequest { alone, grant }).await.ok()?;
            if let Ok(slot) = granted.await {
                return Some(slot);
            }
        }
    }

    pub(super) fn downgrade(&self) -> WeakGroups {
        WeakGroups { queues: self.queues.each_ref().map(mpsc::Sender::downgrade), roles: self.roles.clone() }
    }
}

impl WeakGroups {
    pub(super) fn upgrade(&self) -> Option<Groups> {
        let [first, second] = &self.queues;
        Some(Groups { queues: [first.upgrade()?, second.upgrade()?], roles: self.roles.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_whose_transaction_does_not_end_is_the_quarantine_until_it_commits() {
        let roles = Roles::default();
        assert_eq!((roles.group(false), roles.group(true)), (0, 1));
        roles.retire(1);
        assert!(roles.is_shared(0) && !roles.is_degraded(), "the quarantine cannot be retired");
        roles.retire(0);
        assert_eq!((roles.group(false), roles.group(true)), (1, 0));
        roles.committed(1);
        assert!(roles.is_degraded());
        roles.committed(0);
        assert!(!roles.is_degraded() && roles.is_shared(1), "the roles stay");
    }
}
