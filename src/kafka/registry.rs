//! The transactional ids of the process.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::process::ProcessIds;
use super::transactional_id::TransactionalId;

/// One [`TransactionalId`] for each set of broker settings and shard.
#[derive(Debug)]
pub(crate) struct TransactionalIds {
    instance: String,
    process: Arc<ProcessIds>,
    ids: Mutex<HashMap<String, Weak<TransactionalId>>>,
}

impl TransactionalIds {
    /// `instance` names the installation.
    pub(crate) fn new(instance: &str) -> Arc<Self> {
        Arc::new(Self { instance: instance.to_owned(), process: Arc::default(), ids: Mutex::default() })
    }

    /// Returns the id for `settings` (a hash of broker settings) and `shard`. Its checkpoints are in `topic`.
    pub(crate) fn get(&self, settings: &str, shard: u32, topic: &str) -> Arc<TransactionalId> {
        let name = format!("{}-{shard}-{settings}", self.instance);
        let mut ids = self.ids.lock();
        if let Some(id) = ids.get(&name).and_then(Weak::upgrade) {
            return id;
        }
        let id = Arc::new(TransactionalId::new(self.process.clone(), name.clone(), topic.to_owned()));
        ids.retain(|_, id| id.strong_count() > 0);
        ids.insert(name, Arc::downgrade(&id));
        id
    }

    /// Called when this process acquires the shard's lease again: no other process holds the shard's ids now.
    pub(crate) fn acquired(&self, shard: u32) {
        self.process.forget_held(&format!("{}-{shard}-", self.instance));
    }

    /// Returns an id of this installation for checks. Nothing is committed under it.
    pub(crate) fn idle_id(&self) -> String {
        format!("{}-check", self.instance)
    }

    /// Waits until unused producers have released their ids.
    pub(crate) async fn close(&self) {
        self.process.close().await;
    }

    /// Number of ids that are held now.
    pub(crate) fn count(&self) -> usize {
        let ids: Vec<_> = self.ids.lock().values().filter_map(Weak::upgrade).collect();
        ids.iter().filter(|id| id.is_open()).count()
    }
}
