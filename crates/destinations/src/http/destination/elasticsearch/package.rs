//! Elastic's integration package for SentinelOne, which the documents of `content: integration` are for.

use bytes::Bytes;
use http::{Method, StatusCode};
use s1_forwarder_engine::sink::{Outcome, ProbeResult};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::distribution::is_opensearch;
use crate::http::transport::exchange::{RequestError, Response};
use crate::http::{Endpoint, SinkClient};

pub(super) const NO_PACKAGE: &str = "this is OpenSearch, which has no SentinelOne integration: `content: integration` is \
                                     for Elasticsearch; leave the key out, and the events are mapped to ECS";

/// Refuses OpenSearch. Nothing is sent there, since its documents would stay as they are.
pub(super) async fn refuse_opensearch(base: &Endpoint, client: &SinkClient) -> Result<(), Outcome> {
    let response = client.send_empty(Method::GET, base.url()).await.map_err(|error| error.outcome)?;
    match response.status {
        StatusCode::OK if is_opensearch(&response) => Err(Outcome::misconfigured(NO_PACKAGE)),
        // The credentials may not read what the cluster is.
        StatusCode::OK | StatusCode::FORBIDDEN => Ok(()),
        _ => match response.view(0).by_status() {
            Outcome::Delivered => Ok(()),
            outcome => Err(outcome),
        },
    }
}

/// Advice for an operator whose data stream has no pipeline of the package.
const INSTALL: &str = "install the assets of the SentinelOne integration in Kibana (Integrations, SentinelOne, Settings); \
                       no agent and no policy is needed";

/// The ingest pipeline of a data stream.
pub(super) struct Pipeline {
    pub(super) name: String,
    /// Whether there is no data stream yet: the first document creates it by its template.
    pub(super) creates_stream: bool,
}

/// Returns the ingest pipeline of the data stream, which turns records into the package's documents.
///
/// # Errors
/// If the pipeline is not the package's, or the cluster does not say which one it is.
pub(super) async fn pipeline(cluster: &Cluster, dataset: &str, client: &SinkClient) -> Result<Pipeline, ProbeResult> {
    if let Some(own) = &cluster.ingest_pipeline {
        return Ok(Pipeline { name: own.clone(), creates_stream: false });
    }
    let Cluster { base, name, .. } = cluster;
    let not_permitted = || ProbeResult::Reached(format!("{base}: not permitted to look at the pipeline of `{name}`"));
    let settings = base.join(&format!("{name}/_settings/index.default_pipeline"));
    let mut response = ask(client, Method::GET, &settings, "").await?;
    // The first document creates the data stream by its index template.
    let is_missing = response.status == StatusCode::NOT_FOUND;
    if is_missing {
        let template = base.join(&format!("_index_template/_simulate_index/{name}"));
        response = ask(client, Method::POST, &template, "").await?;
    }
    match response.status.as_u16() {
        200 => {}
        401 | 403 => return Err(not_permitted()),
        _ => return Err(ProbeResult::Failed(format!("{base}: {}", response.view(0).reason()))),
    }
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let of_template = |body: &Value| body.pointer("/template/settings/index/default_pipeline").cloned();
    // The last of the backing indices is the one that is written to.
    let of_indices = |body: &Value| {
        let indices = body.as_object()?;
        indices.iter().max_by_key(|(index, _)| *index)?.1.pointer("/settings/index/default_pipeline").cloned()
    };
    let found = if is_missing { of_template(&body) } else { of_indices(&body) };
    let found = found.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    if found.contains(&format!("sentinel_one.{dataset}-")) {
        return Ok(Pipeline { name: found, creates_stream: is_missing });
    }
    let has = if found.is_empty() { "no ingest pipeline".to_owned() } else { format!("the ingest pipeline `{found}`") };
    Err(ProbeResult::Failed(format!(
        "{base}: data stream `{name}` has {has}, and not the SentinelOne integration's: {INSTALL}"
    )))
}

/// Runs documents through the pipeline without storing them.
///
/// # Errors
/// As [`pipeline`].
pub(super) async fn simulate(
    cluster: &Cluster,
    dataset: &str,
    documents: impl Iterator<Item = (String, Vec<u8>)>,
    client: &SinkClient,
) -> Result<ProbeResult, ProbeResult> {
    let Pipeline { name: pipeline, .. } = pipeline(cluster, dataset, client).await?;
    let Cluster { base, name, .. } = cluster;
    let mut docs = Vec::new();
    for (id, document) in documents {
        let source = String::from_utf8(document).ok().and_then(|text| RawValue::from_string(text).ok());
        docs.push(json!({ "_index": name, "_id": id, "_source": source }));
    }
    let url = base.join(&format!("_ingest/pipeline/{pipeline}/_simulate"));
    let response = ask(client, Method::POST, &url, &json!({ "docs": docs }).to_string()).await?;
    match response.status.as_u16() {
        200 => {}
        401 | 403 => {
            return Ok(ProbeResult::Reached(format!(
                "{base}: not permitted to try the pipeline `{pipeline}` with a record"
            )));
        }
        _ => return Ok(ProbeResult::Failed(format!("{base}: {}", response.view(0).reason()))),
    }
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let docs = body.get("docs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Ok(match docs.iter().find_map(problem) {
        Some(problem) => {
            let problem = response.view(0).excerpt(&problem);
            ProbeResult::Failed(format!("{base}: the pipeline `{pipeline}` cannot read the newest record: {problem}"))
        }
        None if docs.is_empty() => ProbeResult::Failed(format!("{base}: {}", response.view(0).reason())),
        None => ProbeResult::Verified(format!("{base}: the pipeline `{pipeline}` reads the newest record")),
    })
}

/// Returns why the pipeline failed for a document.
fn problem(result: &Value) -> Option<String> {
    if let Some(error) = result.get("error") {
        return Some(error.get("reason").and_then(Value::as_str).map_or_else(|| error.to_string(), str::to_owned));
    }
    let document = result.pointer("/doc/_source")?;
    let is_error = document.pointer("/event/kind").and_then(Value::as_str) == Some("pipeline_error");
    is_error.then(|| document.pointer("/error/message").map(Value::to_string).unwrap_or_default())
}

async fn ask(client: &SinkClient, method: Method, url: &Endpoint, body: &str) -> Result<Response, ProbeResult> {
    let response = if body.is_empty() {
        client.send_empty(method, url.url()).await
    } else {
        client.post(url.url(), "application/json", Bytes::from(body.to_owned())).await
    };
    response.map_err(RequestError::into_probe)
}
