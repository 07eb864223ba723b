//! Input and result types of mappers.

use crate::record::{Stream, Timestamp};

/// The source of a mapper's records.
#[derive(Debug, Clone)]
pub struct Origin {
    /// For `labels.pipeline`.
    pub pipeline: String,
    /// In lower case, without the default port; for `observer.hostname` and links.
    pub console_host: String,
    pub stream: Stream,
}

impl Origin {
    pub fn of(pipeline: &str, console_host: &str, stream: Stream) -> Self {
        Self { pipeline: pipeline.to_owned(), console_host: console_host.to_owned(), stream }
    }
}

/// The reason why a record became an error event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MapError(pub String);

/// The result of mapping one record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mapped {
    /// The table of activity types does not have the type of this activity.
    pub unknown_activity: bool,
    /// The user's settings drop the event: there is none.
    pub dropped: Option<Dropped>,
    /// Why the user's program failed. The event is as it was mapped, and tagged.
    pub remap_error: Option<String>,
}

/// What drops an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// A condition of `drop`.
    Condition,
    /// `abort` in `remap`.
    Remap,
}

/// A complete inventory of agents, which one event reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Identifies the snapshot.
    pub time: Timestamp,
    pub records: u64,
}

/// The record as text, if it is UTF-8 and begins like a JSON object.
pub(super) fn check(record: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(record).map_err(|error| format!("the record is not UTF-8: {error}"))?;
    match text.trim_start().as_bytes().first() {
        Some(b'{') => Ok(text),
        Some(_) => Err("the record is not a JSON object".to_owned()),
        None => Err("the record is empty".to_owned()),
    }
}
