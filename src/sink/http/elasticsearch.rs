//! `type: elasticsearch`: data streams and indices of Elasticsearch and OpenSearch.

mod bulk;
mod cluster;
mod document;
mod pattern;
mod probe;
mod templates;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::cluster::{Cluster, Storage};
use self::document::Documents;
use super::aws::SERVERLESS;
use super::endpoint::addresses;
use super::{Auth, Authenticator, Destination, DestinationType, Endpoint, Parts, ResponseView, SinkClient, Target};
use crate::settings::{HttpSettings, Secret};
use crate::sink::common::{Compression, Defaults};
use crate::sink::{BuildError, Event, Limits, Outcome, Probe, SinkContext};

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
    /// Data stream; `{pipeline}`, `{stream}` and `{label.NAME}` are replaced.
    #[schemars(extend("default" = DATA_STREAM))]
    pub data_stream: Option<String>,
    /// Index or alias instead of a data stream, with the same placeholders.
    pub index: Option<String>,
    /// Install the templates for data streams named `logs-sentinel_one.*-*`, or with `schema: ocsf` for those named
    /// `logs-ocsf.*-*`, if they are missing and the credentials may do that.
    #[serde(default = "yes")]
    pub manage_templates: bool,
    /// Ingest pipeline for the documents; default: the data stream's.
    pub ingest_pipeline: Option<String>,
    /// API key as Elasticsearch shows it: `id:key` in base64.
    pub api_key: Option<Secret>,
    /// Credentials other than an API key.
    #[serde(default)]
    pub auth: Auth,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

const DATA_STREAM: &str = "logs-sentinel_one.{stream}-default";

fn yes() -> bool {
    true
}

impl DestinationType for ElasticsearchSettings {
    type Destination = Elasticsearch;

    /// Clusters accept up to 100 MB, some hosted ones 10 MiB.
    const DEFAULTS: Defaults = Defaults {
        limits: Limits { events: 2_000, bytes: 8_000_000, event_bytes: 5_000_000, ..Limits::NONE },
        flush: Duration::from_secs(1),
        concurrency: 2,
        concurrency_max: usize::MAX,
        compressions: &[Compression::Gzip, Compression::None],
    };

    fn parts(&self, context: &SinkContext, http: &HttpSettings) -> Result<Parts<Elasticsearch>, BuildError> {
        let mut auth = Authenticator::new(&self.headers, &self.auth, &context.shared, http)?;
        if let Some(key) = &self.api_key {
            if self.auth != Auth::None {
                return Err(BuildError::value("api_key", "excludes `auth`: a request has one kind of credentials"));
            }
            auth = auth.with_header(AUTHORIZATION, "ApiKey ", key);
        }
        let (storage, name) = self.storage(context)?;
        let target = |url: &Endpoint| {
            let mut endpoint = url.join(&format!("{name}/_bulk")).with_query("filter_path", bulk::FILTER);
            if let Some(pipeline) = &self.ingest_pipeline {
                endpoint = endpoint.with_query("pipeline", pipeline);
            }
            let documents = Documents::new(if storage == Storage::Index { "" } else { &name }, context);
            let manages = self.manage_templates && storage == Storage::DataStream;
            let template = if manages { templates::of(context.schema, &name) } else { None };
            let is_serverless = matches!(&self.auth, Auth::Aws(aws) if aws.service == SERVERLESS);
            let cluster = Cluster { base: url.clone(), name: name.clone(), storage, template, is_serverless };
            Target::new(endpoint, Elasticsearch { cluster, documents })
        };
        let targets = addresses(self.url.as_ref(), &self.urls)?.into_iter().map(target).collect();
        Ok(Parts { auth, headers: HeaderMap::new(), targets })
    }
}

impl ElasticsearchSettings {
    /// What the documents are created in, and its name.
    fn storage(&self, context: &SinkContext) -> Result<(Storage, String), BuildError> {
        let (storage, key, template) = match (&self.data_stream, &self.index) {
            (Some(_), Some(_)) => {
                return Err(BuildError::value("index", "excludes `data_stream`: documents are created in one of them"));
            }
            (None, Some(index)) => (Storage::Index, "index", index.as_str()),
            (data_stream, None) => (Storage::DataStream, "data_stream", data_stream.as_deref().unwrap_or(DATA_STREAM)),
        };
        let name = context.fill(key, template)?;
        let illegal =
            |c: char| c.is_ascii_uppercase() || c.is_whitespace() || r#"\/*?"<>|,#:%"#.contains(c) || c.is_control();
        if name.is_empty() || name.starts_with(['-', '_', '+', '.']) || name.contains(illegal) {
            let kind = if storage == Storage::Index { "an index" } else { "a data stream" };
            return Err(BuildError::value(key, format!("`{name}` cannot be the name of {kind}")));
        }
        Ok((storage, name))
    }
}

#[derive(Debug)]
pub(crate) struct Elasticsearch {
    cluster: Cluster,
    documents: Documents,
}

impl Destination for Elasticsearch {
    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        // Writing into a Vec cannot fail.
        let _ = writeln!(out, r#"{{"create":{{"_id":"{}"}}}}"#, event.identity);
        self.documents.write(event, out);
        out.push(b'\n');
    }

    fn max_response_bytes(&self) -> usize {
        32 << 20
    }

    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        bulk::judge(response)
    }

    fn prepare<'a>(&'a self, client: &'a SinkClient) -> BoxFuture<'a, bool> {
        async move {
            let Cluster { template, base, .. } = &self.cluster;
            match template {
                Some(template) => templates::install(template, base, client).await,
                None => true,
            }
        }
        .boxed()
    }

    fn probe<'a>(&'a self, _: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, Probe> {
        probe::probe(&self.cluster, client).boxed()
    }
}
