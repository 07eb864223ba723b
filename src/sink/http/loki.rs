//! `type: loki`: Grafana Loki's push endpoint, in its JSON form.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Auth, Authenticator, Destination, DestinationType, Endpoint, Parts, Requests};
use crate::record::Timestamp;
use crate::settings::{HttpSettings, Secret};
use crate::sink::settings::{Compression, Defaults};
use crate::sink::{Batch, BuildError, Context, Event, Limits, Outcome, Probe};

/// `type: loki`: Grafana Loki. A lane is one stream there; what is sent again under the same time is kept once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Loki, such as `https://loki.example:3100`, without the path.
    pub url: Endpoint,
    /// Tenant (`X-Scope-OrgID`); `{pipeline}`, `{stream}` and `{label.NAME}` are filled in.
    pub tenant: Option<String>,
    /// Labels beside `pipeline`, `stream` and those of `transform.labels`, filled in likewise; an empty one is left out.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Time of the entries.
    #[serde(default)]
    pub timestamp: EntryTime,
    /// Send the event's identity and its record's id as structured metadata.
    #[serde(default = "yes")]
    pub structured_metadata: bool,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Credentials.
    #[serde(default)]
    pub auth: Auth,
}

/// `timestamp` of a Loki sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryTime {
    /// The event's own time. Loki refuses what is older than a week or far behind its stream, unless it is told otherwise.
    #[default]
    Event,
    /// When it is sent.
    Now,
}

fn yes() -> bool {
    true
}

impl DestinationType for Settings {
    type Destination = Loki;

    /// Loki refuses lines above 256 KB. One batch at a time: a lane is one stream, and older versions want a stream in order.
    /// <https://grafana.com/docs/loki/latest/configure/#limits_config>
    const DEFAULTS: Defaults = Defaults {
        limits: Limits { events: 1_000, bytes: 1_000_000, event_bytes: 256_000, ..Limits::NONE },
        flush: Duration::from_secs(1),
        concurrency: 1,
        concurrency_max: usize::MAX,
        compressions: &[Compression::Gzip, Compression::None],
    };

    fn parts(&self, context: &Context, http: &HttpSettings) -> Result<Parts<Loki>, BuildError> {
        let auth = Authenticator::new(&self.headers, &self.auth, &context.shared.tokens, http)?;
        let mut headers = HeaderMap::new();
        if let Some(tenant) = &self.tenant {
            let tenant = HeaderValue::from_str(&context.fill("tenant", tenant)?)
                .map_err(|_| BuildError::value("tenant", "not what a header can carry"))?;
            headers.insert(HeaderName::from_static("x-scope-orgid"), tenant);
        }
        let endpoint = self.url.join("loki/api/v1/push");
        let destination = Loki {
            endpoint: endpoint.clone(),
            labels: json!(self.labels(context)?).to_string(),
            timestamp: self.timestamp,
            structured_metadata: self.structured_metadata,
        };
        Ok(Parts { auth, headers, endpoint, destination })
    }
}

impl Settings {
    fn labels(&self, context: &Context) -> Result<BTreeMap<String, String>, BuildError> {
        let mut labels = BTreeMap::from([
            ("pipeline".to_owned(), context.pipeline.clone()),
            ("stream".to_owned(), context.stream.to_string()),
        ]);
        labels.extend(context.labels.iter().map(|(name, value)| (label_name(name), value.clone())));
        for (name, template) in &self.labels {
            if label_name(name) != *name {
                let problem = format!("`{name}` cannot be a label of Loki: letters, digits and `_`, no digit first");
                return Err(BuildError::value("labels", problem));
            }
            labels.insert(name.clone(), context.fill("labels", template)?);
        }
        labels.retain(|_, value| !value.is_empty());
        Ok(labels)
    }
}

/// What Loki takes as a label's name; names that begin with two underscores are its own.
fn label_name(name: &str) -> String {
    let name = name.trim_start_matches('_').replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("_{name}") }
}

#[derive(Debug)]
pub(crate) struct Loki {
    endpoint: Endpoint,
    labels: String,
    timestamp: EntryTime,
    structured_metadata: bool,
}

/// Parts of refusals that are about the stream, not about one of its entries.
const ABOUT_THE_STREAM: [&str; 6] = [
    "label names; limit",
    "label name too long",
    "label value too long",
    "duplicate label name",
    "error parsing labels",
    "this feature is disallowed",
];

impl Destination for Loki {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn open(&self, _batch: &Batch, out: &mut Vec<u8>) {
        // Writing into a Vec cannot fail.
        let _ = write!(out, r#"{{"streams":[{{"stream":{},"values":["#, self.labels);
    }

    fn event(&self, index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        let time = event.time.filter(|_| self.timestamp == EntryTime::Event).unwrap_or_else(Timestamp::now);
        // Nanoseconds as a text: as a number they are refused.
        let _ = write!(out, r#"{}["{}000","#, if index > 0 { "," } else { "" }, time.micros());
        let _ = serde_json::to_writer(&mut *out, &String::from_utf8_lossy(event.body));
        if self.structured_metadata {
            let _ = write!(out, r#",{{"event_id":"{}""#, event.identity);
            if !event.record_id.is_empty() {
                let _ = write!(out, r#","record_id":{}"#, json!(event.record_id));
            }
            if let Some(error) = event.error {
                let _ = write!(out, r#","error":{}"#, json!(error));
            }
            out.push(b'}');
        }
        out.push(b']');
    }

    fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"]}]}");
    }

    /// A 400 names the entries that it is about in words only, and has stored the others: they are sent again and kept once.
    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        let said = String::from_utf8_lossy(answer.body);
        match answer.taken_by("Loki") {
            Outcome::Refused(reason) if ABOUT_THE_STREAM.iter().any(|part| said.contains(part)) => {
                Outcome::Misconfigured(reason)
            }
            outcome => outcome,
        }
    }

    /// A push without streams stores nothing, and is looked at only when credentials and tenant are good.
    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe> {
        async move {
            let reply = match requests.post(self.endpoint.url(), self.content_type(), br#"{"streams":[]}"#).await {
                Ok(reply) => reply,
                Err(failure) => return failure.into_probe(),
            };
            let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
            match self.judge(&answer) {
                Outcome::Delivered | Outcome::Refused(_) => {
                    Probe::Verified(format!("{} takes credentials and tenant", self.endpoint))
                }
                Outcome::Misconfigured(reason) => Probe::Failed(reason),
                _ => Probe::Failed(format!("{}: {}", self.endpoint, answer.reason())),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::http::answer::judged;

    #[test]
    fn each_answer_has_its_outcome() {
        let loki = Loki {
            endpoint: "https://h".parse().unwrap(),
            labels: String::new(),
            timestamp: EntryTime::Event,
            structured_metadata: true,
        };
        for (status, body, expected) in [
            (204, "", "Delivered"),
            (200, "", "Delivered"),
            (200, "<html>a login page</html>", "Misconfigured"),
            (302, "", "Misconfigured"),
            (400, "Max entry size '262144' bytes exceeded for stream '{pipeline=\"a\"}'", "Refused"),
            (400, "entry for stream '{a=\"b\"}' has timestamp too old: 2020-01-01T00:00:00Z", "Refused"),
            (400, "entry with timestamp 2026-01-01 ignored, reason: 'entry out of order'", "Refused"),
            (400, "entry too far behind, total ignored: 1 out of 4", "Refused"),
            (400, "loghttp.PushRequest.Streams: unsupported value type", "Refused"),
            (400, "stream '{…}' has 16 label names; limit 15", "Misconfigured"),
            (400, "stream '{…}' has label name too long: 'x'", "Misconfigured"),
            (400, "error parsing labels: 1:2: parse error", "Misconfigured"),
            (400, "stream '{…}' includes structured metadata, but this feature is disallowed", "Misconfigured"),
            (401, "no org id", "Unauthorized"),
            (403, "", "Unauthorized"),
            (404, "404 page not found", "Misconfigured"),
            (413, "", "TooLarge"),
            (422, "at least one valid stream is required for ingestion", "Refused"),
            (429, "Ingestion rate limit exceeded for user acme", "RetryLater"),
            (429, "Maximum active stream limit exceeded", "RetryLater"),
            (500, "", "RetryLater"),
            (503, "<html>", "RetryLater"),
            (504, "", "RetryLater"),
        ] {
            assert_eq!(judged(&loki, status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn names_become_what_loki_takes() {
        for (name, label) in [
            ("customer", "customer"),
            ("cost-center.eu", "cost_center_eu"),
            ("__own", "own"),
            ("7up", "_7up"),
            ("", "_"),
        ] {
            assert_eq!(label_name(name), label);
        }
    }
}
