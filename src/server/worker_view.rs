//! The data that the pages show of the worker, besides its telemetry.

use std::sync::OnceLock;

use crate::worker::CommandFlags;

/// Returns the keys and values of the pipeline with this name, without secrets; `None` if no such pipeline runs.
type Settings = dyn Fn(&str) -> Option<Vec<(String, String)>> + Send + Sync;

/// The data that the pages show of the worker, besides its telemetry. Empty until the worker has opened its state,
/// and in `run --once`.
#[derive(Default)]
pub struct WorkerView(OnceLock<(CommandFlags, Box<Settings>)>);

impl WorkerView {
    /// Sets the flags of the commands on the pages. `settings` returns the keys and values of a pipeline, without
    /// secrets; `None` if no such pipeline runs. Another call does nothing: a process has one worker.
    pub fn set(
        &self,
        flags: CommandFlags,
        settings: impl Fn(&str) -> Option<Vec<(String, String)>> + Send + Sync + 'static,
    ) {
        let _ = self.0.set((flags, Box::new(settings)));
    }

    pub(super) fn flags(&self) -> CommandFlags {
        self.0.get().map(|(flags, _)| flags.clone()).unwrap_or_default()
    }

    pub(super) fn settings(&self, pipeline: &str) -> Option<Vec<(String, String)>> {
        self.0.get().and_then(|(_, settings)| settings(pipeline))
    }
}
