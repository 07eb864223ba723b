use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::pipeline::Pipeline;
use crate::telemetry::SettingsSource;

/// The valid pipelines, for the pages about them.
#[derive(Debug, Default)]
pub(super) struct RunningSettings(RwLock<HashMap<String, Arc<Pipeline>>>);

impl RunningSettings {
    pub fn insert(&self, pipeline: &Arc<Pipeline>) {
        self.0.write().insert(pipeline.name.clone(), pipeline.clone());
    }

    pub fn remove(&self, name: &str) {
        self.0.write().remove(name);
    }
}

impl SettingsSource for RunningSettings {
    fn settings(&self, pipeline: &str) -> Option<Vec<(String, String)>> {
        let pipeline = self.0.read().get(pipeline).cloned();
        pipeline.map(|pipeline| pipeline.effective())
    }
}
