use std::fmt;
use std::str::FromStr;

use crate::record::Stream;
use crate::settings::check_name;

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
pub struct LaneIdError(String);

impl fmt::Display for LaneId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.pipeline, self.stream, self.sink)
    }
}

impl LaneId {
    /// From a name that a store holds: in the areas of commands, a `+` and more may follow the sink's name.
    pub(crate) fn of_store(name: &str) -> Option<Self> {
        let (plain, more) = name.split_once('+').unwrap_or((name, ""));
        let legal = more.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+'));
        let lane: Self = plain.parse().ok().filter(|_| legal)?;
        let Some(sink) = name.rsplit('/').next() else { return Some(lane) };
        Some(Self { sink: sink.to_owned(), ..lane })
    }
}

impl FromStr for LaneId {
    type Err = LaneIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let mut parts = text.split('/');
            let (pipeline, stream, sink) = (parts.next()?, parts.next()?, parts.next()?);
            let complete = parts.next().is_none() && check_name(pipeline).is_ok() && check_name(sink).is_ok();
            complete.then_some(Self {
                pipeline: pipeline.to_owned(),
                stream: stream.parse().ok()?,
                sink: sink.to_owned(),
            })
        };
        parse().ok_or_else(|| LaneIdError(text.to_owned()))
    }
}
