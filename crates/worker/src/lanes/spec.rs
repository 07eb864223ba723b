//! The settings that one lane is built from.

use std::sync::Arc;

use s1_forwarder_destinations::SinkSettings;
use s1_forwarder_engine::source::PullSettings;
use s1_forwarder_engine::{console, transform};
use s1_forwarder_record::LaneId;
use s1_forwarder_telemetry::lane_span;
use tracing::Span;

use crate::pipeline::Pipeline;

/// The settings that a lane is built from. A lane restarts if and only if its spec changes.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneSpec {
    pub id: LaneId,
    /// See [`Pipeline::tenant`].
    pub tenant: Option<Arc<str>>,
    pub console: Arc<console::ConsoleSettings>,
    pub pull: Arc<PullSettings>,
    pub transform: Arc<transform::TransformSettings>,
    pub sink: Arc<SinkSettings>,
}

impl LaneSpec {
    /// Returns whether programs of the user change or drop events of the lane.
    pub fn has_programs(&self) -> bool {
        !self.transform.drop.is_empty() || self.transform.remap.is_some() || self.sink.common.remap.is_some()
    }

    /// Returns one lane per stream of the pipeline and sink that accepts the stream; no lane if the pipeline is paused.
    pub fn of(pipeline: &Pipeline) -> Vec<Arc<Self>> {
        if !pipeline.enabled {
            return Vec::new();
        }
        let lane = |pull: &Arc<PullSettings>, sink: &Arc<SinkSettings>| {
            let id = LaneId { pipeline: pipeline.name.clone(), stream: pull.stream, sink: sink.name().to_owned() };
            Arc::new(Self {
                id,
                tenant: pipeline.tenant.clone(),
                console: pipeline.console.clone(),
                pull: pull.for_sink(sink.type_settings.as_sink_type().sends_console_notifications()),
                transform: pipeline.transform.clone(),
                sink: sink.clone(),
            })
        };
        let mut lanes = Vec::new();
        for pull in &pipeline.pulls {
            lanes.extend(pipeline.sinks.iter().filter(|sink| sink.accepts(pull.stream)).map(|sink| lane(pull, sink)));
        }
        lanes
    }

    /// Returns the span of everything that is done for the lane: its log lines carry the lane's name.
    pub fn span(&self) -> Span {
        lane_span(&self.id)
    }
}
