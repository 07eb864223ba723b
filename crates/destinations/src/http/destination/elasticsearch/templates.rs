//! Installs the templates that define the fields of events, if they are missing.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use tracing::{info, warn};

use super::distribution::Information;
use super::pattern::matches;
use crate::http::transport::exchange::{RequestError, Response};
use crate::http::{Endpoint, SinkClient};

/// An index template, as it is in deploy/opensearch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub name: &'static str,
    /// The data streams that it is for.
    pattern: &'static str,
    /// The template's JSON for OpenSearch.
    index: &'static str,
    /// Whether the template is composed of a component template, which has the fields of the vendor namespace.
    is_composed: bool,
}

const ECS: Template = Template {
    name: "s1-forwarder",
    pattern: "logs-sentinel_one.*-*",
    index: include_str!("../../../../../../deploy/opensearch/index-template.json"),
    is_composed: true,
};
const OCSF: Template = Template {
    name: "s1-forwarder-ocsf",
    pattern: "logs-ocsf.*-*",
    index: include_str!("../../../../../../deploy/opensearch/ocsf.opensearch.json"),
    is_composed: false,
};

const VENDOR_FIELDS_NAME: &str = "s1-forwarder-vendor-fields";
const VENDOR_FIELDS_OPENSEARCH: &str =
    include_str!("../../../../../../deploy/opensearch/vendor-fields.opensearch.json");
const VENDOR_FIELDS_ELASTICSEARCH: &str =
    include_str!("../../../../../../deploy/opensearch/vendor-fields.elasticsearch.json");
/// The type of objects of any shape: in OpenSearch, and in Elasticsearch.
const FREE_FORM_TYPE: [&str; 2] = ["\"flat_object\"", "\"flattened\""];

/// Advice for an operator who may install templates.
pub(super) const ADVICE: &str = "install the templates of deploy/opensearch as docs/sinks/elasticsearch.md describes, \
                                 or give the credentials `manage_index_templates`; `manage_templates: false` turns \
                                 this off";

/// `None` if the cluster does not say.
pub(super) type IsInstalled = Option<bool>;

/// Returns the template for a data stream of this name. The cluster, too, selects by the name alone, whatever schema
/// the events have.
pub(super) fn of(data_stream: &str) -> Option<&'static Template> {
    [&ECS, &OCSF].into_iter().find(|template| matches(template.pattern, data_stream))
}

pub(super) async fn is_installed(
    template: &Template,
    base: &Endpoint,
    client: &SinkClient,
) -> Result<IsInstalled, RequestError> {
    let path = format!("_index_template/{}", template.name);
    let url = base.join(&path).with_query("filter_path", "index_templates.name");
    let response = client.send_empty(Method::GET, url.url()).await?;
    Ok(match response.status {
        StatusCode::OK => Some(true),
        StatusCode::NOT_FOUND => Some(false),
        _ => None,
    })
}

/// Installs the templates if they are missing. Returns false if the cluster was not available.
pub(super) async fn install(template: &Template, base: &Endpoint, client: &SinkClient) -> bool {
    let name = template.name;
    match is_installed(template, base, client).await {
        Ok(Some(false)) => {}
        Ok(Some(true)) => return true,
        Ok(None) => {
            info!("the credentials may not read whether the index template `{name}` is installed");
            return true;
        }
        Err(_) => return false,
    }
    match try_install(template, base, client).await {
        Ok(response) if response.status.is_success() => info!("the index template `{name}` is installed"),
        Ok(response) => {
            let reason = response.view(0).reason();
            warn!(reason, "the index template `{name}` is missing and cannot be installed: {ADVICE}");
        }
        Err(_) => return false,
    }
    true
}

/// Installs the template. Returns the response to the first request that failed, or to the last one.
async fn try_install(template: &Template, base: &Endpoint, client: &SinkClient) -> Result<Response, RequestError> {
    let cluster = client.send_empty(Method::GET, base.url()).await?;
    let Ok(information) = serde_json::from_slice::<Information>(&cluster.body) else { return Ok(cluster) };
    let is_opensearch = information.is_opensearch();
    if template.is_composed {
        let fields = if is_opensearch { VENDOR_FIELDS_OPENSEARCH } else { VENDOR_FIELDS_ELASTICSEARCH };
        let component = put(&base.join(&format!("_component_template/{VENDOR_FIELDS_NAME}")), fields, client).await?;
        if !component.status.is_success() {
            return Ok(component);
        }
    }
    let [opensearch, elasticsearch] = FREE_FORM_TYPE;
    let index = template.index.replace(opensearch, if is_opensearch { opensearch } else { elasticsearch });
    put(&base.join(&format!("_index_template/{}", template.name)), index, client).await
}

async fn put(url: &Endpoint, body: impl Into<Bytes>, client: &SinkClient) -> Result<Response, RequestError> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    client.send(Method::PUT, url.url(), headers, body.into()).await
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_templates_are_for_the_data_streams_of_the_defaults_and_examples() {
        let template: Value = serde_json::from_str(ECS.index).unwrap();
        assert_eq!(template["index_patterns"], serde_json::json!([ECS.pattern]));
        assert_eq!(template["composed_of"], serde_json::json!([VENDOR_FIELDS_NAME]));
        assert!(!ECS.index.contains(FREE_FORM_TYPE[0]), "only the component template has it");
        let template: Value = serde_json::from_str(OCSF.index).unwrap();
        assert_eq!(template["index_patterns"], serde_json::json!([OCSF.pattern]));
        assert!(OCSF.index.contains(FREE_FORM_TYPE[0]));
        for (name, expected) in [
            ("logs-sentinel_one.threats-default", Some("s1-forwarder")),
            ("logs-ocsf.threats-acme", Some("s1-forwarder-ocsf")),
            ("logs-edr-default", None),
        ] {
            assert_eq!(of(name).map(|template| template.name), expected, "{name}");
        }
    }
}
