//! Pipeline files: reads, checks and watches them. A pipeline consists of the settings that the other crates define.

mod case;
mod check;
mod contents;
mod crd;
mod defaults;
mod document;
mod effective;
mod files;
mod forms;
#[cfg(any(test, feature = "testing"))]
mod fuzzed;
mod location;
mod open;
mod pending;
mod problem;
mod read;
pub mod resource;
#[cfg(feature = "kubernetes")]
mod resource_watch;
mod resources;
mod schema;
mod settings_file;
mod shared;
mod sources;
mod structural;
mod tenant;
mod transformer;
mod watch;
mod without_effect;
mod yaml;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_destinations::{SharedSinkResources, SinkContext, SinkSettings};
use s1_forwarder_engine::{console, source, transform};
use s1_forwarder_record::{LaneId, Stream};
use s1_forwarder_settings::Period;

pub use case::Case;
pub use crd::{definition, definition_text};
pub use files::{Changes, FileOptions, FileReport, Files, InvalidFile, Loaded, Owners};
#[cfg(any(test, feature = "testing"))]
pub use fuzzed::fuzzed;
pub use location::{Location, LocationError, Namespaces};
pub use open::{load, open, read};
pub use pending::Scan;
pub use problem::{Problem, Severity};
pub use read::{instead, likely};
pub use resources::{Resources, arguments, is_resource, resource_at, stem};
pub use schema::schema;
pub use settings_file::read_settings;
pub use tenant::{PLACEHOLDERS, TenantRules, is_own_prefix};
pub use transformer::TransformerError;
pub use watch::Watch;

/// A valid pipeline file, merged with the defaults file. The lanes share these settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// The key `name`. The default is the file's name without extension.
    pub name: String,
    /// The earlier name: each lane continues from the checkpoint of this pipeline's lane once, if it has none.
    pub renamed_from: Option<Box<str>>,
    /// The file. Paths in it are relative to its directory.
    pub path: PathBuf,
    /// The directory or namespace of the tenant whose file it is ([`TenantRules::tenant_of`]). `None` for a file of the
    /// operator.
    pub tenant: Option<Arc<str>>,
    /// Whether the pipeline runs. If not, it is paused and keeps its checkpoints.
    pub enabled: bool,
    pub console: Arc<console::ConsoleSettings>,
    pub streams: Arc<source::StreamSettings>,
    /// The pulls: the streams with all defaults, through the scopes that the console's settings name.
    pub pulls: Box<[Arc<source::PullSettings>]>,
    pub transform: Arc<transform::TransformSettings>,
    /// The sinks. Their names are unique.
    pub sinks: Box<[Arc<SinkSettings>]>,
    /// The tests that `check` runs.
    pub tests: Box<[Case]>,
}

const MIN_RETRY_MAX: Period = Period(Duration::from_millis(100));

impl Pipeline {
    /// Settings of a tenant. Waits before repetitions grow to at least [`MIN_RETRY_MAX`], since all lanes share the
    /// processors.
    fn restrict(&mut self, reaches: tenant::Reaches) {
        Arc::make_mut(&mut self.console).address_policy = reaches.console;
        for sink in &mut self.sinks {
            let common = &mut Arc::make_mut(sink).common;
            common.address_policy = reaches.sinks.clone();
            common.retry.max = common.retry.max.max(MIN_RETRY_MAX);
        }
    }

    /// Returns whether the pipeline has such a lane, paused or not.
    pub fn has_lane(&self, stream: Stream, sink: &str) -> bool {
        let has_stream = self.pulls.iter().any(|pull| pull.stream == stream);
        has_stream && self.sinks.iter().any(|settings| settings.name() == sink && settings.accepts(stream))
    }

    /// Returns the context of the sink's first lane, to check or probe a sink without a lane. `None` if the sink
    /// accepts no stream of the pipeline.
    pub fn sink_context(&self, sink: &SinkSettings, shared: SharedSinkResources) -> Option<SinkContext> {
        let pull = self.pulls.iter().find(|pull| sink.accepts(pull.stream))?;
        Some(self.lane_context(sink, pull.stream, shared))
    }

    /// Returns the context of the sink's lane of this stream, without a lane.
    pub fn lane_context(&self, sink: &SinkSettings, stream: Stream, shared: SharedSinkResources) -> SinkContext {
        let lane = LaneId { pipeline: self.name.clone(), stream, sink: sink.name().to_owned() };
        sink.context(lane, &self.transform, self.console.url.host(), shared)
    }
}
