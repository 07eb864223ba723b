use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::pipeline::Pipeline;
use crate::telemetry::SettingsSource;

/// The valid pipelines of the last scan by name, of all shards. The pages about pipelines read them.
#[derive(Debug, Default)]
pub(super) struct ValidPipelines(RwLock<BTreeMap<String, Arc<Pipeline>>>);

impl ValidPipelines {
    pub fn replace<'a>(&self, pipelines: impl Iterator<Item = &'a Arc<Pipeline>>) {
        *self.0.write() = pipelines.map(|pipeline| (pipeline.name.clone(), pipeline.clone())).collect();
    }

    pub fn all(&self) -> Vec<Arc<Pipeline>> {
        self.0.read().values().cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }
}

impl SettingsSource for ValidPipelines {
    fn settings(&self, pipeline: &str) -> Option<Vec<(String, String)>> {
        let pipeline = self.0.read().get(pipeline).cloned();
        pipeline.map(|pipeline| pipeline.effective())
    }
}
