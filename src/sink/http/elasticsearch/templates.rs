//! Installs the templates that define the fields of events, if they are missing.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use tracing::{info, warn};

use super::pattern::matches;
use crate::sink::http::exchange::{RequestError, Response};
use crate::sink::http::{Endpoint, SinkClient};

/// Name of the index template.
pub(super) const NAME: &str = "s1-forwarder";
const PATTERN: &str = "logs-sentinel_one.*-*";
const INDEX: &str = include_str!("../../../../deploy/opensearch/index-template.json");
const FREE_FORM_NAME: &str = "s1-forwarder-free-form";
const FREE_FORM_OPENSEARCH: &str = include_str!("../../../../deploy/opensearch/free-form.opensearch.json");
const FREE_FORM_ELASTICSEARCH: &str = include_str!("../../../../deploy/opensearch/free-form.elasticsearch.json");

/// What an operator does who has the right to.
pub(super) const ADVICE: &str = "install the templates of deploy/opensearch as docs/sinks/elasticsearch.md describes, \
                                 or give the credentials `manage_index_templates`; `manage_templates: false` turns \
                                 this off";

/// `None` if the cluster does not say.
pub(super) type IsInstalled = Option<bool>;

/// True if the index template is for data streams of this name.
pub(super) fn apply_to(data_stream: &str) -> bool {
    matches(PATTERN, data_stream)
}

pub(super) async fn is_installed(base: &Endpoint, client: &SinkClient) -> Result<IsInstalled, RequestError> {
    let url = base.join(&format!("_index_template/{NAME}")).with_query("filter_path", "index_templates.name");
    let response = client.send_empty(Method::GET, url.url()).await?;
    Ok(match response.status {
        StatusCode::OK => Some(true),
        StatusCode::NOT_FOUND => Some(false),
        _ => None,
    })
}

/// Installs the templates if they are missing. Returns false if the cluster was not available.
pub(super) async fn install(base: &Endpoint, client: &SinkClient) -> bool {
    match is_installed(base, client).await {
        Ok(Some(false)) => {}
        Ok(Some(true)) => return true,
        Ok(None) => {
            info!("the credentials may not read whether the index template `{NAME}` is installed");
            return true;
        }
        Err(_) => return false,
    }
    match try_install(base, client).await {
        Ok(response) if response.status.is_success() => info!("the index template `{NAME}` is installed"),
        Ok(response) => {
            let reason = response.view(0).reason();
            warn!(reason, "the index template `{NAME}` is missing and cannot be installed: {ADVICE}");
        }
        Err(_) => return false,
    }
    true
}

/// The response to the first request that failed, or to the last one.
async fn try_install(base: &Endpoint, client: &SinkClient) -> Result<Response, RequestError> {
    let cluster = client.send_empty(Method::GET, base.url()).await?;
    let free_form = match serde_json::from_slice::<Information>(&cluster.body) {
        Ok(information) if information.version.distribution.as_deref() == Some("opensearch") => FREE_FORM_OPENSEARCH,
        Ok(_) => FREE_FORM_ELASTICSEARCH,
        Err(_) => return Ok(cluster),
    };
    let component = put(&base.join(&format!("_component_template/{FREE_FORM_NAME}")), free_form, client).await?;
    if !component.status.is_success() {
        return Ok(component);
    }
    put(&base.join(&format!("_index_template/{NAME}")), INDEX, client).await
}

async fn put(url: &Endpoint, body: &'static str, client: &SinkClient) -> Result<Response, RequestError> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    client.send(Method::PUT, url.url(), headers, Bytes::from_static(body.as_bytes())).await
}

/// The answer to `GET /`.
#[derive(Deserialize)]
struct Information {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    /// Absent for Elasticsearch.
    distribution: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_index_template_is_for_the_data_streams_of_the_defaults() {
        let template: Value = serde_json::from_str(INDEX).unwrap();
        assert_eq!(template["index_patterns"], serde_json::json!([PATTERN]));
        assert_eq!(template["composed_of"], serde_json::json!([FREE_FORM_NAME]));
        assert!(apply_to("logs-sentinel_one.threats-default") && !apply_to("logs-edr-default"));
    }
}
