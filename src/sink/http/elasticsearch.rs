//! `type: elasticsearch`: data streams of Elasticsearch and OpenSearch.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::request::http_settings;
use super::{Answer, Auth, Authenticator, Destination, Endpoint, HttpSink, Requests};
use crate::record::Timestamp;
use crate::settings::{Schema, Secret};
use crate::sink::settings::{Common, Compression, Defaults, SinkType};
use crate::sink::{BuildError, Context, Event, Limits, Outcome, Probe, Sink};

/// `type: elasticsearch`: a data stream of Elasticsearch or OpenSearch. Documents are created under the event's identity,
/// so that what is sent again is known again (until the stream rolls over).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The cluster, such as `https://elastic.example:9200`.
    pub url: Endpoint,
    /// Data stream; `{pipeline}`, `{stream}` and `{label.NAME}` are filled in.
    #[serde(default = "default_data_stream")]
    pub data_stream: String,
    /// API key as the cluster shows it, `id:key` in base64.
    pub api_key: Option<Secret>,
    /// Other credentials.
    #[serde(default)]
    pub auth: Auth,
}

fn default_data_stream() -> String {
    "logs-sentinel_one.{stream}-default".to_owned()
}

/// Clusters take up to 100 MB, some hosted ones 10 MiB.
const DEFAULTS: Defaults = Defaults {
    limits: Limits { events: 2_000, bytes: 8_000_000, event_bytes: 5_000_000, ..Limits::NONE },
    flush: Duration::from_secs(1),
    concurrency: 2,
    concurrency_max: usize::MAX,
    compressions: &[Compression::Gzip, Compression::None],
};

/// Only what is looked at: an answer names every document.
const FILTER: &str = "took,errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.failure_store";

impl SinkType for Settings {
    fn defaults(&self) -> Defaults {
        DEFAULTS
    }

    fn build(&self, common: &Common, context: &Context) -> Result<Arc<dyn Sink>, BuildError> {
        let http = http_settings(common);
        let mut auth = Authenticator::new(&Default::default(), &self.auth, &context.shared.tokens, &http)?;
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
        let requests = Requests::new(http, auth, HeaderMap::new(), context)?;
        let endpoint = self.url.join(&format!("{name}/_bulk")).with_query("filter_path", FILTER);
        let destination = Elasticsearch { base: self.url.clone(), raw: Raw::new(context) };
        Ok(Arc::new(HttpSink::new(destination, endpoint, requests, common, &DEFAULTS)))
    }
}

#[derive(Debug)]
struct Elasticsearch {
    base: Endpoint,
    raw: Option<Raw>,
}

/// How a raw record becomes a document: as text, beside it what says where it came from.
#[derive(Debug)]
struct Raw {
    origin: String,
}

impl Raw {
    fn new(context: &Context) -> Option<Self> {
        let origin = format!(
            r#"","dataset":"sentinel_one.{}"}},"observer":{{"hostname":{}}},"labels":{},"message":"#,
            context.stream.singular(),
            json!(context.console_host),
            json!(context.labels)
        );
        (context.schema == Schema::Raw).then_some(Self { origin })
    }

    fn write(&self, event: Event<'_>, out: &mut Vec<u8>) {
        let time = event.time.unwrap_or_else(Timestamp::now);
        // Writing into a Vec cannot fail.
        let _ = write!(out, r#"{{"@timestamp":"{time}","event":{{"id":"{}"#, event.identity);
        out.extend_from_slice(self.origin.as_bytes());
        let _ = serde_json::to_writer(&mut *out, &String::from_utf8_lossy(event.body));
        out.push(b'}');
    }
}

#[derive(Deserialize)]
struct Bulk {
    items: Vec<Item>,
}

/// `index` never comes back, since only `create` is asked for.
#[derive(Deserialize)]
struct Item {
    create: Created,
}

#[derive(Deserialize)]
struct Created {
    status: u16,
    error: Option<ItemError>,
    failure_store: Option<String>,
}

#[derive(Deserialize)]
struct ItemError {
    #[serde(rename = "type")]
    kind: String,
    reason: Option<String>,
}

impl Created {
    fn reason(&self) -> String {
        match &self.error {
            Some(error) => format!("{} {}: {}", self.status, error.kind, error.reason.as_deref().unwrap_or_default()),
            None => self.status.to_string(),
        }
    }
}

impl Destination for Elasticsearch {
    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn event(&self, _index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        let _ = writeln!(out, r#"{{"create":{{"_id":"{}"}}}}"#, event.identity);
        match &self.raw {
            Some(raw) => raw.write(event, out),
            None => out.extend_from_slice(event.body),
        }
        out.push(b'\n');
    }

    fn answer_bytes(&self) -> usize {
        32 << 20
    }

    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        let by_status = answer.by_status();
        if by_status != Outcome::Delivered {
            return by_status;
        }
        let Ok(Bulk { items }) = serde_json::from_slice(answer.body) else {
            let reason = format!("does not answer as Elasticsearch does ({}); check `url`", answer.reason());
            return Outcome::Misconfigured(reason);
        };
        if items.len() != answer.events {
            // Documents that are there already are known again.
            let reason = format!("the answer names {} of {} documents", items.len(), answer.events);
            return Outcome::RetryLater { reason, after: None };
        }
        judge_items(items.iter().map(|item| &item.create))
    }

    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe> {
        async move {
            let reply = match requests.ask(Method::GET, self.base.url(), HeaderMap::new()).await {
                Ok(reply) => reply,
                Err(failure) => return failure.into_probe(),
            };
            let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
            match reply.status.as_u16() {
                200 => Probe::Verified(format!("{} takes the credentials", self.base)),
                403 => Probe::Reached(format!(
                    "{} takes the credentials, and does not let them look at the cluster",
                    self.base
                )),
                _ => Probe::Failed(format!("{}: {}", self.base, answer.reason())),
            }
        }
        .boxed()
    }
}

/// The outcome of an answer that names every document, in the order in which they were sent.
fn judge_items<'a>(items: impl Iterator<Item = &'a Created>) -> Outcome {
    let (mut rejected, mut retry) = (Vec::new(), Vec::new());
    let (mut settled, mut stop, mut busy, mut warning) = (0, None, None, None);
    for (index, item) in items.enumerate() {
        match item.status {
            // 409: an earlier try has arrived.
            200..=299 | 409 => {
                settled += 1;
                if item.failure_store.as_deref() == Some("used") {
                    warning
                        .get_or_insert("documents went into the failure store instead of the data stream".to_owned());
                }
            }
            401 | 403 | 404 => {
                stop.get_or_insert_with(|| item.reason());
                retry.push(index);
            }
            429 | 500..=599 => {
                busy.get_or_insert_with(|| item.reason());
                retry.push(index);
            }
            _ => {
                settled += 1;
                rejected.push((index, item.reason()));
            }
        }
    }
    match (settled, stop, busy) {
        (0, Some(reason), _) => Outcome::Misconfigured(reason),
        (0, None, Some(reason)) => Outcome::RetryLater { reason, after: None },
        _ if !rejected.is_empty() || !retry.is_empty() => Outcome::Partial { rejected, retry, after: None },
        _ => warning.map_or(Outcome::Delivered, Outcome::DeliveredWithWarning),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    /// The first word of the outcome, and for a partial one what is in it; two documents were sent.
    fn judged(status: u16, body: &str) -> String {
        let headers = HeaderMap::new();
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            body: body.as_bytes(),
            events: 2,
        };
        let base = serde_json::from_value(json!("https://h:9200")).unwrap();
        match (Elasticsearch { base, raw: None }).judge(&answer) {
            Outcome::Partial { rejected, retry, after: None } => {
                let rejected: Vec<usize> = rejected.into_iter().map(|(index, _)| index).collect();
                format!("rejected {rejected:?} retry {retry:?}")
            }
            other => format!("{other:?}").split([' ', '(']).next().unwrap_or_default().to_owned(),
        }
    }

    fn items(two: [&str; 2]) -> String {
        // Pretty-printed, as some proxies do: what is read is JSON, not text.
        format!("{{ \"took\" : 30, \"errors\" : true,\n \"items\" : [ {}, {} ] }}", two[0], two[1])
    }

    const CREATED: &str = r#"{"create":{"_id":"1","status":201}}"#;
    const CONFLICT: &str = r#"{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"[1]: document already exists"}}}"#;
    const BUSY: &str =
        r#"{"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}}"#;
    const DISK: &str =
        r#"{"create":{"status":429,"error":{"type":"cluster_block_exception","reason":"TOO_MANY_REQUESTS/12"}}}"#;
    const SHARDS: &str =
        r#"{"create":{"status":503,"error":{"type":"unavailable_shards_exception","reason":"primary"}}}"#;
    const PARSING: &str = r#"{"create":{"status":400,"error":{"type":"document_parsing_exception","reason":"[1:2]"}}}"#;
    const STRICT: &str =
        r#"{"create":{"status":400,"error":{"type":"strict_dynamic_mapping_exception","reason":"x"}}}"#;
    const BLOCKED: &str =
        r#"{"create":{"status":403,"error":{"type":"cluster_block_exception","reason":"FORBIDDEN/8"}}}"#;
    const MISSING: &str =
        r#"{"create":{"status":404,"error":{"type":"index_not_found_exception","reason":"no index"}}}"#;
    const STORED: &str = r#"{"create":{"status":201,"failure_store":"used"}}"#;

    #[test]
    fn each_answer_has_its_outcome() {
        for (body, expected) in [
            (items([CREATED, CREATED]), "Delivered"),
            (items([CREATED, CONFLICT]), "Delivered"),
            (items([CONFLICT, CONFLICT]), "Delivered"),
            (items([CREATED, STORED]), "DeliveredWithWarning"),
            (items([CREATED, BUSY]), "rejected [] retry [1]"),
            (items([DISK, PARSING]), "rejected [1] retry [0]"),
            (items([PARSING, STRICT]), "rejected [0, 1] retry []"),
            (items([BUSY, SHARDS]), "RetryLater"),
            (items([BLOCKED, BLOCKED]), "Misconfigured"),
            (items([MISSING, BUSY]), "Misconfigured"),
            (items([CREATED, BLOCKED]), "rejected [] retry [1]"),
            (format!(r#"{{"errors":false,"items":[{CREATED}]}}"#), "RetryLater"),
            ("<html>a login page</html>".to_owned(), "Misconfigured"),
            (r#"{"took":1,"errors":false}"#.to_owned(), "Misconfigured"),
            (String::new(), "Misconfigured"),
        ] {
            assert_eq!(judged(200, &body), expected, "{body}");
        }
        for (status, expected) in [
            (400, "Refused"),
            (401, "Unauthorized"),
            (403, "Unauthorized"),
            (404, "Misconfigured"),
            (413, "TooLarge"),
            (429, "RetryLater"),
            (500, "RetryLater"),
            (503, "RetryLater"),
            (301, "Misconfigured"),
        ] {
            assert_eq!(judged(status, "<html>"), expected, "{status}");
        }
    }
}
