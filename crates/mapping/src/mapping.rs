//! The trait that maps records to a schema, its input and its results.

use std::sync::Arc;

use s1_forwarder_record::{Identity, Scope, Stream, Timestamp};

use crate::keys::{Keys, Seen};
use crate::labels::Labels;
use crate::record::Record;
use crate::streams::unread::UnreadFacts;

/// The source of a mapper's records.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Name of the pipeline, for `labels.pipeline`.
    pub pipeline: String,
    /// Host of the console, for identities and links: in lower case, without the default port.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mapped {
    /// Whether the table of activity types lacks the type of this activity.
    pub unknown_activity: bool,
    /// Whether the record was not JSON, and was repaired before it was mapped.
    pub repaired: bool,
    /// Whether the record exceeds a bound. A text of the event has the parts beyond the bound.
    pub overflowed: bool,
    /// Number of leaves of the record that no mapping knows.
    pub unknown_leaves: u32,
    /// Whether one of the unknown leaves is new to the mapper: [`unknown_leaves`](crate::unknown_leaves) names them.
    pub drifted: bool,
    /// Whether a time of the record has no zone, and was read as UTC.
    pub without_zone: bool,
}

/// The result of writing one record.
#[derive(Debug)]
pub(super) struct Written {
    pub mapped: Mapped,
    /// Whether the record has the key of a secret, so that the event must not contain a copy of the record.
    pub has_secret: bool,
}

impl Written {
    /// Returns the result. `keys` has checked the keys of the record; `seen` are the unknown leaves that the mapper has
    /// seen.
    pub fn of(unknown_activity: bool, keys: &Keys, seen: &mut Seen) -> Self {
        let strange = keys.strange();
        let mapped = Mapped {
            unknown_activity,
            repaired: false,
            overflowed: false,
            unknown_leaves: u32::try_from(strange.len()).unwrap_or(u32::MAX),
            drifted: !strange.is_empty() && seen.add(strange),
            without_zone: keys.without_zone,
        };
        Self { mapped, has_secret: keys.has_secret() }
    }

    /// Returns the result for a record that exceeds a bound. The keys beyond the bound were not checked.
    pub fn overflowed(self) -> Self {
        Self { mapped: Mapped { overflowed: true, ..self.mapped }, has_secret: true }
    }
}

/// A complete inventory of agents, which one event reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompleteSnapshot {
    /// Identifies the snapshot.
    pub time: Timestamp,
    pub records: u64,
}

/// Maps the records of one lane to one schema.
pub(super) trait SchemaMapper {
    /// Sets the labels of the events that follow.
    fn set_labels(&mut self, origin: &Origin, labels: &Labels);

    /// Sets the scope of the records that follow, for streams whose records do not contain it.
    fn set_scope(&mut self, scope: Option<Arc<Scope>>);

    /// Appends the event of one record. `received` is the record as received, before any repair. `enrichment` is a JSON
    /// object that the lane fetched for the record.
    fn map(
        &mut self,
        record: &Record<'_, '_>,
        received: &[u8],
        identity: Identity,
        enrichment: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Written;

    /// Appends the event that follows the last record of a snapshot.
    fn map_snapshot(&mut self, snapshot: CompleteSnapshot, identity: Identity, out: &mut Vec<u8>);

    /// Appends the event of a record that cannot be mapped. It has the mandatory fields, the identity, the known facts
    /// of the record, the record and the reason.
    fn map_error(&mut self, record: &[u8], known: &UnreadFacts, identity: Identity, reason: &str, out: &mut Vec<u8>);
}

/// Returns the record as text, if it is UTF-8 and begins like a JSON object.
pub(super) fn check(record: &[u8]) -> Result<&str, String> {
    let text = simdutf8::compat::from_utf8(record).map_err(|error| format!("the record is not UTF-8: {error}"))?;
    match text.trim_start().as_bytes().first() {
        Some(b'{') => Ok(text),
        Some(_) => Err("the record is not a JSON object".to_owned()),
        None => Err("the record is empty".to_owned()),
    }
}
