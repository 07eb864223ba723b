//! The names of lanes.

use std::fmt;
use std::str::FromStr;

use crate::name::check_name;
use crate::stream::Stream;

/// A lane's name: one stream of one pipeline going to one sink. Written `pipeline/stream/sink`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId {
    /// The pipeline's name.
    pub pipeline: String,
    /// The stream.
    pub stream: Stream,
    /// The sink's name.
    pub sink: String,
}

/// The text does not name a lane.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` does not name a lane; write PIPELINE/STREAM/SINK, for example acme/threats/siem")]
pub struct LaneIdError(pub String);

impl LaneId {
    /// Makes a name of its parts, which are not checked.
    pub fn new(pipeline: impl Into<String>, stream: Stream, sink: impl Into<String>) -> Self {
        Self { pipeline: pipeline.into(), stream, sink: sink.into() }
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.pipeline, self.stream, self.sink)
    }
}

impl FromStr for LaneId {
    type Err = LaneIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        if let [pipeline, stream, sink] = parts[..]
            && let Ok(stream) = stream.parse()
            && check_name(pipeline).is_ok()
            && check_name(sink).is_ok()
        {
            return Ok(Self::new(pipeline, stream, sink));
        }
        Err(LaneIdError(text.to_owned()))
    }
}
