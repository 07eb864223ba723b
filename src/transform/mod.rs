//! Record → event: ECS, or the record's own bytes, with labels; straight into the output buffer.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Stream;
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

/// Why a record became an error event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MapError(pub String);

/// Maps the records of one lane.
#[derive(Debug, Clone)]
pub struct Mapper {
    _private: (),
}

impl Mapper {
    /// `schema` is the sink's own, or that of `settings`.
    pub fn new(_settings: &Settings, _schema: Schema, _origin: Origin) -> Self {
        Self { _private: () }
    }

    /// The value of the Kafka header `schema`: `ecs-9.4.0`, `raw`.
    pub fn schema_name(&self) -> &'static str {
        unimplemented!()
    }

    /// Appends exactly one event to `out`, without a line break in or after it.
    ///
    /// # Errors
    /// When the record could not be mapped: what was appended is then an error event that holds the record.
    pub fn map(&mut self, _record: &[u8], _out: &mut Vec<u8>) -> Result<(), MapError> {
        unimplemented!()
    }
}
