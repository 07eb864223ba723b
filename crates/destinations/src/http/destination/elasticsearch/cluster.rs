//! The target of a lane's documents: the data stream, index or alias, and the template that it needs.

use super::templates::Template;
use crate::http::Endpoint;

/// The kind of storage that documents are created in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    DataStream,
    /// An index, or an alias of one.
    Index,
}

/// The target of a lane's documents.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) base: Endpoint,
    /// Name of the data stream, index or alias.
    pub(super) name: String,
    pub(super) storage: Storage,
    /// Installed if it is missing.
    pub(super) template: Option<&'static Template>,
    /// With `content: integration`, the data set of Elastic's integration.
    pub(super) dataset: Option<&'static str>,
    /// The ingest pipeline that the settings name.
    pub(super) ingest_pipeline: Option<String>,
    /// Whether this is OpenSearch Serverless, which has no information about the cluster.
    pub(super) is_serverless: bool,
}
