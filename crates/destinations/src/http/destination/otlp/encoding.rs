//! The encodings of an OTLP sink: the key `encoding`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `encoding` of an OTLP sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// `application/x-protobuf`.
    #[default]
    Protobuf,
    /// `application/json`.
    Json,
}
