//! `type: elasticsearch`: data streams of Elasticsearch and OpenSearch.

mod bulk;
mod document;
mod probe;

use std::io::Write;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Deserialize;

use self::document::Documents;
use super::{Auth, Authenticator, Destination, DestinationType, Endpoint, Parts, ResponseView, SinkClient};
use crate::settings::{HttpSettings, Secret};
use crate::sink::common::{Compression, Defaults};
use crate::sink::{BuildError, Event, Limits, Outcome, Probe, SinkContext};

/// `type: elasticsearch`: a data stream of Elasticsearch or OpenSearch. The identity of an event is the `_id` of its
/// document, so that a document that is sent again is recognised until the data stream rolls over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ElasticsearchSettings {
    /// The cluster, such as `https://elastic.example:9200`.
    pub url: Endpoint,
    /// Data stream; `{pipeline}`, `{stream}` and `{label.NAME}` are replaced.
    #[serde(default = "default_data_stream")]
    pub data_stream: String,
    /// Ingest pipeline for the documents; default: the data stream's.
    pub ingest_pipeline: Option<String>,
    /// API key as Elasticsearch shows it: `id:key` in base64.
    pub api_key: Option<Secret>,
    /// Credentials other than an API key.
    #[serde(default)]
    pub auth: Auth,
}

fn default_data_stream() -> String {
    "logs-sentinel_one.{stream}-default".to_owned()
}

/// The parts of a response that are read. Without the filter it repeats a lot for each document.
const FILTER: &str = "took,errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store";

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
        let mut auth = Authenticator::new(&Default::default(), &self.auth, &context.shared.tokens, http)?;
        if let Some(key) = &self.api_key {
            if self.auth != Auth::None {
                return Err(BuildError::value("api_key", "excludes `auth`: a request has one kind of credentials"));
            }
            auth = auth.with_header(AUTHORIZATION, "ApiKey ", key);
        }
        let name = context.fill("data_stream", &self.data_stream)?;
        let illegal = |c: char| c.is_ascii_uppercase() || c.is_whitespace() || r#"\/*?"<>|,#:"#.contains(c);
        if name.is_empty() || name.starts_with(['-', '_', '+', '.']) || name.contains(illegal) {
            return Err(BuildError::value("data_stream", format!("`{name}` cannot be the name of a data stream")));
        }
        let mut endpoint = self.url.join(&format!("{name}/_bulk")).with_query("filter_path", FILTER);
        if let Some(pipeline) = &self.ingest_pipeline {
            endpoint = endpoint.with_query("pipeline", pipeline);
        }
        let destination = Elasticsearch { base: self.url.clone(), documents: Documents::new(&name, context), name };
        Ok(Parts { auth, headers: HeaderMap::new(), endpoint, destination })
    }
}

#[derive(Debug)]
pub(crate) struct Elasticsearch {
    base: Endpoint,
    /// The data stream.
    name: String,
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

    fn probe<'a>(&'a self, _: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, Probe> {
        probe::probe(&self.base, &self.name, client).boxed()
    }
}
