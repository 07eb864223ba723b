use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Stream;
use crate::settings::{ByteSize, Period, Proxy, Tls};

/// One entry of `sinks:`: what all sinks have, and what the named type has besides.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Keys that every sink has.
    pub common: Common,
    /// The keys of its type.
    pub kind: Kind,
}

/// The types of sinks (`type:`), each with its own keys.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// One JSON event a line on standard output.
    Stdout,
}

/// Keys that every sink has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Common {
    /// Unique in the pipeline; default: the type.
    pub name: Option<String>,
    /// Streams that go to this sink; default: all of the pipeline.
    pub streams: Option<Vec<Stream>>,
    /// Overrides `transform.schema` (`ecs`, `raw`).
    pub schema: Option<String>,
    /// How events are cut into batches.
    pub batch: BatchSettings,
    /// Compression of request bodies; default by sink.
    pub compression: Option<Compression>,
    /// How long to wait between tries.
    pub retry: RetrySettings,
    /// Batches sent beyond the acknowledged prefix; default by sink.
    pub concurrency: Option<u32>,
    /// Time-out of one request (30s).
    pub timeout: Option<Period>,
    /// Proxy for this sink; default: the environment's.
    pub proxy: Option<Proxy>,
    /// See [`Tls`].
    pub tls: Tls,
}

/// `batch:`; each key defaults by sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSettings {
    /// Most events in a batch.
    pub events: Option<u32>,
    /// Most bytes of events in a batch, before compression.
    pub bytes: Option<ByteSize>,
    /// How long an event may wait for its batch to fill.
    pub timeout: Option<Period>,
}

/// Compression of request bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    None,
    /// gzip, level 1.
    Gzip,
    /// Zstandard, level 1.
    Zstd,
}

/// `retry:`: the window of exponential back-off with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// Upper bound of the first wait.
    pub initial: Period,
    /// Upper bound of every wait.
    pub max: Period,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { initial: Period(Duration::from_millis(500)), max: Period(Duration::from_secs(60)) }
    }
}
