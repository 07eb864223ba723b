use std::sync::Arc;

use crate::pipeline::Pipeline;
use crate::source::Pull;
use crate::state::LaneId;
use crate::{console, sink, transform};

/// Everything that a lane is made from. A lane restarts when its spec changes, and only then.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneSpec {
    /// The lane's name.
    pub id: LaneId,
    /// Access to the console.
    pub console: Arc<console::Settings>,
    /// What is pulled.
    pub pull: Arc<Pull>,
    /// What records are mapped into.
    pub transform: Arc<transform::Settings>,
    /// Where events go.
    pub sink: Arc<sink::Settings>,
}

impl LaneSpec {
    /// The lanes of a pipeline: each of its streams to each sink that takes it. None while it is paused.
    pub fn of(pipeline: &Pipeline) -> Vec<Arc<Self>> {
        if !pipeline.enabled {
            return Vec::new();
        }
        let lane = |pull: &Arc<Pull>, sink: &Arc<sink::Settings>| {
            let id = LaneId { pipeline: pipeline.name.clone(), stream: pull.stream, sink: sink.name().to_owned() };
            Arc::new(Self {
                id,
                console: pipeline.console.clone(),
                pull: pull.clone(),
                transform: pipeline.transform.clone(),
                sink: sink.clone(),
            })
        };
        let mut lanes = Vec::new();
        for pull in pipeline.streams.pulls().into_iter().map(|pull| Arc::new(pull.through(&pipeline.console))) {
            lanes.extend(pipeline.sinks.iter().filter(|sink| sink.takes(pull.stream)).map(|sink| lane(&pull, sink)));
        }
        lanes
    }
}
