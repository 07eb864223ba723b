//! The queues of a session's two groups.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::group::{SlotRequest, TransactionSlot};
use super::roles::Roles;

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
