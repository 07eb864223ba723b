//! Whether a cluster is one of Elasticsearch or of OpenSearch.

use serde::Deserialize;

use crate::http::transport::exchange::Response;

/// The answer to `GET /`.
#[derive(Deserialize)]
pub(super) struct Information {
    version: Version,
    #[serde(default)]
    tagline: String,
}

#[derive(Deserialize)]
struct Version {
    /// Absent for Elasticsearch.
    distribution: Option<String>,
}

impl Information {
    /// Returns whether the cluster is OpenSearch. With `compatibility.override_main_response_version` it names no
    /// distribution, and a version of Elasticsearch. Its tagline stays.
    pub(super) fn is_opensearch(&self) -> bool {
        self.version.distribution.as_deref() == Some("opensearch") || self.tagline.contains("OpenSearch")
    }
}

/// Returns whether the answer to `GET /` is from OpenSearch.
pub(super) fn is_opensearch(response: &Response) -> bool {
    serde_json::from_slice(&response.body).is_ok_and(|information: Information| information.is_opensearch())
}
