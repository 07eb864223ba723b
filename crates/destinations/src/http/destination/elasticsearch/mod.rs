//! `type: elasticsearch`: data streams and indices of Elasticsearch and OpenSearch.

mod bulk;
mod cluster;
mod distribution;
mod document;
mod indices;
mod lookup;
mod package;
mod pattern;
mod probe;
mod templates;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use s1_forwarder_engine::sink::lookup::Lookup;
use s1_forwarder_engine::sink::{Batch, Event, Limits, Outcome, ProbeResult, WarningReason};
use s1_forwarder_settings::{HttpSettings, Period, Secret, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::cluster::{Cluster, Storage};
use self::document::{Documents, parts};
use self::indices::Indices;
use self::lookup::ClusterLookup;
use crate::http::identity::aws::SERVERLESS;
use crate::http::lookup::LookupClient;
use crate::http::transport::endpoint::addresses;
use crate::http::{
    Address, Auth, Authenticator, Destination, DestinationType, Endpoint, Parts, ResponseView, SinkClient,
};
use crate::integration::{Content, ELASTICSEARCH, Integration};
use crate::sink_type::{Compression, SinkDefaults, SinkProperties};
use crate::{BuildError, DestinationHash, SinkContext};

/// The line before a document, around the identity, which has 32 digits.
const ACTION: (&str, &str) = (r#"{"create":{"_id":""#, "\"}}\n");
const IDENTITY_BYTES: usize = 32;

/// `type: elasticsearch`: a data stream of Elasticsearch or OpenSearch. The identity of an event is the `_id` of its
/// document, so that a document that is sent again is recognised until the data stream rolls over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ElasticsearchSettings {
    /// The cluster, such as `https://elastic.example:9200`.
    pub url: Option<Endpoint>,
    /// Several nodes of the cluster instead of `url`. A lane uses one of them until it is unavailable.
    #[serde(default)]
    pub urls: Vec<Endpoint>,
    /// Data stream; `{pipeline}`, `{stream}` and `{label.NAME}` are replaced. With `content: integration` the default
    /// is `logs-sentinel_one.DATASET-NAMESPACE`, as Elastic's integration has it.
    #[schemars(extend("default" = DATA_STREAM))]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub data_stream: Option<String>,
    /// Index or alias instead of a data stream, with the same placeholders.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub index: Option<String>,
    /// `integration`: documents for the ingest pipelines of Elastic's SentinelOne integration (docs/integrations.md).
    #[serde(default)]
    pub content: Content,
    /// Namespace of the data stream, for `content: integration`, with the same placeholders; default `default`, where
    /// Kibana looks for the results of response actions.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub namespace: Option<String>,
    /// Install the templates for data streams named `logs-sentinel_one.*-*` or `logs-ocsf.*-*` if they are missing and
    /// the credentials may do that.
    #[serde(default = "yes")]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub manage_templates: bool,
    /// Ingest pipeline for the documents; default: the data stream's.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub ingest_pipeline: Option<String>,
    /// API key as Elasticsearch shows it: `id:key` in base64.
    pub api_key: Option<Secret>,
    /// Credentials other than an API key.
    #[serde(default)]
    pub auth: Auth,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// How `verify --destination` asks which documents are there. Nothing else uses it.
    pub verify: Option<VerifySettings>,
}

/// `verify:` of a sink: access of its own, which needs to read the target alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VerifySettings {
    /// The cluster, if it is asked at another address than documents are sent to.
    pub url: Option<Endpoint>,
    /// API key that may only read: `id:key` in base64.
    pub api_key: Option<Secret>,
    /// Credentials other than an API key.
    pub auth: Auth,
    /// Headers of every request; each value may be a secret.
    pub headers: BTreeMap<String, Secret>,
    /// How long an acknowledged document may take to be found: more than the `refresh_interval` of the index.
    #[schemars(extend("default" = SETTLE))]
    pub settle: Option<Period>,
    /// Data streams and indices that ingest pipelines put documents into; a document that is there is not missing.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub elsewhere: Vec<String>,
}

const SETTLE: Period = Period(Duration::from_mins(2));

const DATA_STREAM: &str = "logs-sentinel_one.{stream}-default";

fn yes() -> bool {
    true
}

impl SinkProperties for ElasticsearchSettings {
    /// Clusters accept up to 100 MB, some hosted ones 10 MiB.
    fn defaults(&self) -> SinkDefaults {
        SinkDefaults {
            limits: Limits { events: 2_000, bytes: 8_000_000, event_bytes: 5_000_000, ..Limits::NONE },
            batch_timeout: Duration::from_secs(1),
            concurrency: 2,
            concurrency_max: usize::MAX,
            compressions: &[Compression::Gzip, Compression::None],
        }
    }

    fn integration(&self) -> Option<&'static Integration> {
        self.content.integration(&ELASTICSEARCH)
    }

    fn probes_each_stream(&self) -> bool {
        self.content == Content::Integration
    }

    fn embeds_raw(&self) -> bool {
        true
    }

    fn describe_destination(&self, context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        let (_, name) = self.storage(self.dataset(context)?, context)?;
        let addresses = addresses(self.url.as_ref(), &self.urls)?;
        hash.endpoints("url", addresses.iter().copied()).text("index", &name).route(addresses, &self.headers);
        Ok(())
    }
}

impl DestinationType for ElasticsearchSettings {
    type Destination = Elasticsearch;

    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str] {
        &[
            r#"{ "url": "https://siem.example" }"#,
            r#"{ "url": "https://siem.example", "index": "i" }"#,
            r#"{ "url": "https://siem.example", "content": "integration" }"#,
        ]
    }

    fn parts(&self, context: &SinkContext, http: &HttpSettings) -> Result<Parts<Elasticsearch>, BuildError> {
        let mut auth = Authenticator::new(&self.headers, &self.auth, &context.shared, http)?;
        if let Some(key) = &self.api_key {
            if self.auth != Auth::None {
                return Err(BuildError::value("api_key", "excludes `auth`: a request has one kind of credentials"));
            }
            auth = auth.with_header(AUTHORIZATION, "ApiKey ", key);
        }
        let dataset = self.dataset(context)?;
        let (storage, name) = self.storage(dataset, context)?;
        let address = |url: &Endpoint| {
            let mut endpoint = url.join(&format!("{name}/_bulk")).with_query("filter_path", bulk::FILTER);
            if let Some(pipeline) = &self.ingest_pipeline {
                endpoint = endpoint.with_query("pipeline", pipeline);
            }
            let data_stream = if storage == Storage::Index { "" } else { &name };
            let documents = match dataset {
                Some(dataset) => Documents::for_package(dataset, data_stream, context),
                None => Documents::new(data_stream, context),
            };
            let manages = self.manage_templates && storage == Storage::DataStream && dataset.is_none();
            let template = if manages { templates::of(&name) } else { None };
            let is_serverless = matches!(&self.auth, Auth::Aws(aws) if aws.service == SERVERLESS);
            let ingest_pipeline = self.ingest_pipeline.clone();
            let base = url.clone();
            let name = name.clone();
            let indices = Indices::new(base.clone(), name.clone());
            let cluster = Cluster { base, name, storage, template, dataset, ingest_pipeline, is_serverless };
            Address::new(endpoint, Elasticsearch { cluster, documents, indices })
        };
        let addresses = addresses(self.url.as_ref(), &self.urls)?.into_iter().map(address).collect();
        Ok(Parts { auth, headers: HeaderMap::new(), addresses })
    }

    fn lookup(&self, http: HttpSettings, context: &SinkContext) -> Result<Option<Arc<dyn Lookup>>, BuildError> {
        let problem = "is missing: give it credentials that may only read the target";
        let verify = self.verify.as_ref().ok_or_else(|| BuildError::value("verify", problem))?;
        let mut auth = Authenticator::new(&verify.headers, &verify.auth, &context.shared, &http)?;
        if let Some(key) = &verify.api_key {
            if verify.auth != Auth::None {
                return Err(BuildError::value("verify.api_key", "excludes `auth`"));
            }
            auth = auth.with_header(AUTHORIZATION, "ApiKey ", key);
        }
        if let Some(name) = verify.elsewhere.iter().find(|name| !is_name(name)) {
            return Err(BuildError::value("verify.elsewhere", format!("`{name}` cannot be the name of an index")));
        }
        let names = [&self.data_stream, &self.index, &self.namespace].into_iter().flatten();
        let is_of_record = |label: &String| names.clone().any(|name| name.contains(&format!("{{label.{label}}}")));
        if let Some(label) = context.console_labels.iter().find(|label| is_of_record(label)) {
            let problem = format!("the target of a document depends on its label `{label}`");
            return Err(BuildError::value("data_stream", problem));
        }
        let dataset = self.dataset(context)?;
        let (storage, name) = self.storage(dataset, context)?;
        let data_stream = if storage == Storage::Index { None } else { serde_json::from_str(&parts(&name)).ok() };
        let base = match &verify.url {
            Some(url) => Some(url.clone()),
            None => addresses(self.url.as_ref(), &self.urls)?.into_iter().next().cloned(),
        };
        let base = base.ok_or_else(|| BuildError::value("url", "is missing"))?;
        Ok(Some(Arc::new(ClusterLookup {
            client: LookupClient::new(SinkClient::new(http, auth, HeaderMap::new(), context)?),
            base,
            name,
            data_stream,
            field: lookup::field(context.schema, dataset.is_some()),
            visible_after: verify.settle.unwrap_or(SETTLE).0,
            elsewhere: verify.elsewhere.clone(),
            first: OnceLock::new(),
            asks_primaries: AtomicBool::new(false),
        })))
    }
}

impl ElasticsearchSettings {
    /// Returns the name of the stream in Elastic's own integration, or `None` without `content: integration`.
    fn dataset(&self, context: &SinkContext) -> Result<Option<&'static str>, BuildError> {
        Ok(match self.content {
            Content::Forwarder => None,
            Content::Integration => Some(ELASTICSEARCH.name_of(context.lane.stream)?),
        })
    }

    /// Returns the storage that documents are created in, and its name.
    fn storage(&self, dataset: Option<&str>, context: &SinkContext) -> Result<(Storage, String), BuildError> {
        let default = match (dataset, &self.namespace) {
            (None, None) => DATA_STREAM.to_owned(),
            (None, Some(_)) => return Err(BuildError::value("namespace", "is for `content: integration`")),
            (Some(_), Some(_)) if self.data_stream.is_some() => {
                return Err(BuildError::value("namespace", "excludes `data_stream`, whose last part it is"));
            }
            (Some(dataset), namespace) => {
                let namespace = context.fill("namespace", namespace.as_deref().unwrap_or("default"))?;
                if namespace.contains('-') {
                    let problem = format!("`{namespace}`: a hyphen separates the parts of a data stream's name");
                    return Err(BuildError::value("namespace", problem));
                }
                format!("logs-sentinel_one.{dataset}-{namespace}")
            }
        };
        if dataset.is_some() && self.index.is_some() {
            let problem = "excludes `content: integration`: the integration's templates are for data streams";
            return Err(BuildError::value("index", problem));
        }
        let (storage, key, template) = match (&self.data_stream, &self.index) {
            (Some(_), Some(_)) => {
                return Err(BuildError::value("index", "excludes `data_stream`: documents are created in one of them"));
            }
            (None, Some(index)) => (Storage::Index, "index", index.as_str()),
            (data_stream, None) => (Storage::DataStream, "data_stream", data_stream.as_deref().unwrap_or(&default)),
        };
        let name = context.fill(key, template)?;
        if !is_name(&name) {
            let kind = if storage == Storage::Index { "an index" } else { "a data stream" };
            return Err(BuildError::value(key, format!("`{name}` cannot be the name of {kind}")));
        }
        Ok((storage, name))
    }
}

/// Returns whether a data stream or an index may have this name, which has no wildcard.
fn is_name(name: &str) -> bool {
    let illegal =
        |c: char| c.is_ascii_uppercase() || c.is_whitespace() || r#"\/*?"<>|,#:%"#.contains(c) || c.is_control();
    !(name.is_empty() || name.starts_with(['-', '_', '+', '.']) || name.contains(illegal))
}

#[derive(Debug)]
pub(crate) struct Elasticsearch {
    cluster: Cluster,
    documents: Documents,
    indices: Indices,
}

impl Destination for Elasticsearch {
    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    /// The documents of each attempt have the same `event.ingested`.
    fn open(&self, batch: &Batch, _out: &mut Vec<u8>) {
        batch.framed_at();
    }

    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        // Writing into a Vec cannot fail.
        let _ = write!(out, "{}{}{}", ACTION.0, event.identity, ACTION.1);
        self.documents.write(event, out);
        out.push(b'\n');
    }

    /// Returns the bytes of the line before the document and of the document's own line break.
    fn event_overhead_bytes(&self) -> Option<usize> {
        Some(ACTION.0.len() + IDENTITY_BYTES + ACTION.1.len() + "\n".len())
    }

    fn max_response_bytes(&self) -> usize {
        32 << 20
    }

    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        bulk::judge(response, &self.indices, Indices::may_be_foreign)
    }

    /// Judges the response again once the cluster has named the indices of the target.
    fn confirm<'a>(
        &'a self,
        outcome: Outcome,
        response: ResponseView<'a>,
        client: &'a SinkClient,
    ) -> BoxFuture<'a, Outcome> {
        async move {
            let warnings = match &outcome {
                Outcome::DeliveredWithWarnings(warnings) | Outcome::Partial { warnings, .. } => warnings,
                _ => return outcome,
            };
            if !warnings.iter().any(|warning| warning.reason == WarningReason::Rerouted) {
                return outcome;
            }
            let unknown = bulk::unknown_indices(&response, &self.indices);
            if unknown.is_empty() {
                return outcome;
            }
            self.indices.learn(unknown, client).await;
            bulk::judge(&response, &self.indices, Indices::is_foreign)
        }
        .boxed()
    }

    fn prepare<'a>(&'a self, client: &'a SinkClient) -> BoxFuture<'a, Result<bool, Outcome>> {
        async move {
            let Cluster { template, base, dataset, .. } = &self.cluster;
            if dataset.is_some() {
                package::refuse_opensearch(base, client).await?;
            }
            match template {
                Some(template) => Ok(templates::install(template, base, client).await),
                None => Ok(true),
            }
        }
        .boxed()
    }

    fn dry_run<'a>(&'a self, batch: &'a Batch, client: &'a SinkClient) -> BoxFuture<'a, Option<ProbeResult>> {
        async move {
            let dataset = self.cluster.dataset?;
            if batch.is_empty() {
                return Some(ProbeResult::Verified(String::new()));
            }
            let documents = batch.events().map(|event| {
                let mut document = Vec::new();
                self.documents.write(event, &mut document);
                (event.identity.to_string(), document)
            });
            Some(package::simulate(&self.cluster, dataset, documents, client).await.unwrap_or_else(|result| result))
        }
        .boxed()
    }

    fn probe<'a>(&'a self, _: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, ProbeResult> {
        probe::probe(&self.cluster, client).boxed()
    }
}
