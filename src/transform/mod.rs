//! Record → event: ECS, or the record's own bytes, with labels; straight into the output buffer.

mod copy;
pub mod coverage;
mod ecs;
mod json;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::ecs::Ecs;
use crate::record::{Scope, Stream, Timestamp, compact};
pub use crate::settings::Schema;

/// `transform:` of a pipeline file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Schema of the events; a sink may choose another.
    pub schema: Schema,
    /// Keep the record in `event.original`; default true for ecs.
    pub keep_original: Option<bool>,
    /// Written to every event as `labels.NAME`.
    pub labels: BTreeMap<String, String>,
}

/// Whether the mapping has a row for activities of this type; without one they go by the rule for unknown types.
pub fn knows_activity_type(id: u32) -> bool {
    ecs::knows_activity_type(id)
}

/// The value of the Kafka header `schema`: `ecs-9.4.0`, `raw`.
pub const fn schema_name(schema: Schema) -> &'static str {
    match schema {
        Schema::Ecs => ecs::NAME,
        Schema::Raw => "raw",
    }
}

/// Where the records of a mapper come from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The pipeline's name, for `labels.pipeline`.
    pub pipeline: String,
    /// The console's host in lower case, without default port, for `observer.hostname` and links.
    pub console_host: String,
    /// The stream of the records.
    pub stream: Stream,
}

impl Origin {
    /// From its parts.
    pub fn of(pipeline: &str, console_host: &str, stream: Stream) -> Self {
        Self { pipeline: pipeline.to_owned(), console_host: console_host.to_owned(), stream }
    }
}

/// Why a record became an error event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MapError(pub String);

/// What a mapper found in a record beside its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mapped {
    /// An activity of a type that the table of activity types does not know: a metric counts them.
    pub unknown_activity: bool,
}

/// A full inventory that is complete, for the event that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The time that names it.
    pub time: Timestamp,
    /// The records in it.
    pub records: u64,
}

/// Maps the records of one lane.
#[derive(Debug, Clone)]
pub struct Mapper {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Ecs(Box<Ecs>),
    Raw,
}

impl Mapper {
    /// `schema` is the sink's own, or that of `settings`.
    pub fn new(settings: &Settings, schema: Schema, origin: Origin) -> Self {
        let kind = match schema {
            Schema::Ecs => {
                Kind::Ecs(Box::new(Ecs::new(&origin, &settings.labels, settings.keep_original.unwrap_or(true))))
            }
            Schema::Raw => Kind::Raw,
        };
        Self { kind }
    }

    /// Whose the next records are, where they do not tell themselves.
    pub fn set_scope(&mut self, scope: Option<Arc<Scope>>) {
        if let Kind::Ecs(ecs) = &mut self.kind {
            ecs.scope = scope;
        }
    }

    /// Appends exactly one event to `out`, without a line break in or after it.
    ///
    /// # Errors
    /// When the record could not be mapped: what was appended is then an error event that holds the record.
    pub fn map(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<Mapped, MapError> {
        self.map_enriched(record, None, out)
    }

    /// The same with what was fetched beside the record, a JSON object: `raw` has it as the record's last key `_enrichment`.
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn map_enriched(
        &mut self,
        record: &[u8],
        enrichment: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Mapped, MapError> {
        match &mut self.kind {
            Kind::Ecs(ecs) => {
                let start = out.len();
                ecs.map(record, enrichment, out).map_err(|reason| {
                    out.truncate(start);
                    ecs.map_error(record, &reason, out);
                    MapError(reason)
                })
            }
            Kind::Raw => {
                out.extend_from_slice(&compact(record));
                check(record).map_err(MapError)?;
                if let Some(enrichment) = enrichment
                    && let Some(end) = out.iter().rposition(|byte| *byte == b'}')
                {
                    out.truncate(end);
                    out.extend_from_slice(b",\"_enrichment\":");
                    out.extend_from_slice(enrichment);
                    out.push(b'}');
                }
                Ok(Mapped::default())
            }
        }
    }

    /// Appends the event that says that a snapshot is complete; `raw` has it as an object with the one key `snapshot`.
    pub fn map_snapshot(&mut self, snapshot: Snapshot, out: &mut Vec<u8>) {
        let Snapshot { time, records } = snapshot;
        match &mut self.kind {
            Kind::Ecs(ecs) => ecs.map_snapshot(snapshot, out),
            Kind::Raw => {
                out.extend_from_slice(format!(r#"{{"snapshot":{{"time":"{time}","records":{records}}}}}"#).as_bytes());
            }
        }
    }
}

/// The record as text, if it is an object in JSON as far as its first byte and its encoding tell.
fn check(record: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(record).map_err(|error| format!("the record is not UTF-8: {error}"))?;
    match text.trim_start().as_bytes().first() {
        Some(b'{') => Ok(text),
        Some(_) => Err("the record is not a JSON object".to_owned()),
        None => Err("the record is empty".to_owned()),
    }
}
