//! Resources that a setting makes the worker use.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Resource that a setting makes the worker use. The JSON Schema has it as `x-kind`, next to the type of the setting,
/// and the rules for tenants' files go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingKind {
    /// Nothing: the value is sent, compared or shown.
    Text,
    /// Nothing: the value changes what the pipeline does.
    Switch,
    /// A file of the worker that holds no secret.
    Path,
    /// A file of the worker that holds a secret.
    SecretFile,
    /// An environment variable of the worker.
    Variable,
    /// A host that the worker connects to. The address is checked after resolution.
    Address,
    /// A host that librdkafka connects to. The address is not checked after resolution.
    Broker,
    /// A host that requests pass through.
    Proxy,
    /// The servers that the worker believes, and the certificate that it shows them.
    Trust,
    /// An identity that a cloud gives to the worker, unless the value is `false`.
    WorkerIdentity,
    /// The worker's identity, which is used if this setting is missing.
    InsteadOfWorkerIdentity,
    /// Files of the worker that a document names.
    FilesInDocument,
    /// The worker's standard output. This is the kind of a type of sink.
    WorkerOutput,
    /// Memory for as long as a request takes.
    Period,
    /// Memory for what a lane reads in this time.
    RememberedPeriod,
    /// Memory and connections for this number of requests.
    Concurrency,
    /// Requests to a console. The smallest value counts for all pipelines with the same token.
    RequestRate,
    /// The name of the pipeline.
    PipelineName,
    /// The name of another pipeline, whose checkpoints are taken over.
    FormerName,
    /// The list of sinks. Each sink adds a lane for each stream.
    Sinks,
}

impl SettingKind {
    /// Returns the kind that a schema names.
    pub fn of(schema: &Value) -> Option<Self> {
        Self::deserialize(schema.get("x-kind")?).ok()
    }
}
