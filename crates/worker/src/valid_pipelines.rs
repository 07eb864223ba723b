//! The valid pipelines of the last scan, for the pages about them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::pipeline::Pipeline;

/// The valid pipelines of the last scan by name, of all shards. The pages about pipelines read them.
#[derive(Debug, Default)]
pub(super) struct ValidPipelines {
    by_name: RwLock<BTreeMap<String, Arc<Pipeline>>>,
    changed: Notify,
}

impl ValidPipelines {
    pub fn replace<'a>(&self, pipelines: impl Iterator<Item = &'a Arc<Pipeline>>) {
        *self.by_name.write() = pipelines.map(|pipeline| (pipeline.name.clone(), pipeline.clone())).collect();
        self.changed.notify_one();
    }

    /// Resolves once after any number of changes, for one caller. Cancel-safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    pub fn all(&self) -> Vec<Arc<Pipeline>> {
        self.by_name.read().values().cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.read().is_empty()
    }

    /// Returns the keys and values of the pipeline with this name, without secrets; `None` if there is none.
    pub fn settings(&self, pipeline: &str) -> Option<Vec<(String, String)>> {
        let pipeline = self.by_name.read().get(pipeline).cloned();
        pipeline.map(|pipeline| pipeline.effective())
    }
}
