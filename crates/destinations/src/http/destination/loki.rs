//! `type: loki`: Grafana Loki's push endpoint, with JSON bodies.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use s1_forwarder_engine::sink::{Event, Limits, Outcome, ProbeResult};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_record::Timestamp;
use s1_forwarder_settings::{HttpSettings, Period, Secret, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::http::event_time::{SentTime, TimeLimits};
use crate::http::transport::framing::write_body_as_string;
use crate::http::{
    Auth, Authenticator, Destination, DestinationType, Endpoint, Framing, Parts, ResponseView, SinkClient,
};
use crate::sink_type::{Compression, SinkDefaults, SinkProperties};
use crate::{BuildError, DestinationHash, SinkContext};

/// `type: loki`: Grafana Loki. A lane is one stream in Loki. Loki stores an entry once if it arrives twice with equal
/// time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LokiSettings {
    /// URL without path, such as `https://loki.example:3100`.
    pub url: Endpoint,
    /// Tenant (`X-Scope-OrgID`); `{pipeline}`, `{stream}` and `{label.NAME}` are replaced.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub tenant: Option<String>,
    /// Labels in addition to `pipeline`, `stream` and `transform.labels`, with the same placeholders; empty ones are
    /// omitted.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub labels: BTreeMap<String, String>,
    /// Time of the entries.
    #[serde(default)]
    pub timestamp: EntryTime,
    /// `timestamp: event`: an older event gets the time of sending. Loki refuses an entry that is more than an hour
    /// older than the newest one of its stream (half of `max_chunk_age`).
    #[serde(default = "default_max_age")]
    pub max_age: Period,
    /// Send the identity of the event and the id of its record as structured metadata.
    #[serde(default = "yes")]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub structured_metadata: bool,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Credentials.
    #[serde(default)]
    pub auth: Auth,
}

/// `timestamp` of a Loki sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryTime {
    /// The event's own time, unless it is older than `max_age` or ahead of now.
    #[default]
    Event,
    /// The time of sending.
    Now,
}

fn yes() -> bool {
    true
}

/// Less than an hour, for attempts and for clocks that differ.
fn default_max_age() -> Period {
    Period(Duration::from_mins(50))
}

/// Loki refuses entries that are further ahead of now than `creation_grace_period`, by default ten minutes.
const AHEAD: Duration = Duration::from_mins(5);

impl SinkProperties for LokiSettings {
    /// Loki refuses lines above 256 KB (<https://grafana.com/docs/loki/latest/configure/#limits_config>). One batch at
    /// a time: a lane is one stream, and older versions require the entries of a stream in order.
    fn defaults(&self) -> SinkDefaults {
        SinkDefaults {
            limits: Limits { events: 1_000, bytes: 1_000_000, event_bytes: 256_000, ..Limits::NONE },
            batch_timeout: Duration::from_secs(1),
            concurrency: 1,
            concurrency_max: usize::MAX,
            compressions: &[Compression::Gzip, Compression::None],
        }
    }

    fn embeds_raw(&self) -> bool {
        true
    }

    fn without_identity(&self, schema: Schema) -> Option<&'static str> {
        (schema == Schema::Raw && !self.structured_metadata).then_some("`structured_metadata: true` adds it")
    }

    fn describe_destination(&self, context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        let tenant = self.tenant.as_deref().map(|tenant| context.fill("tenant", tenant)).transpose()?;
        hash.endpoints("url", [&self.url]).text("tenant", &tenant.unwrap_or_default()).secrets(&self.headers);
        self.auth.describe(hash);
        Ok(())
    }
}

impl DestinationType for LokiSettings {
    type Destination = Loki;

    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str] {
        &[r#"{ "url": "https://siem.example", "labels": { "job": "s1" } }"#]
    }

    fn parts(&self, context: &SinkContext, http: &HttpSettings) -> Result<Parts<Loki>, BuildError> {
        let auth = Authenticator::new(&self.headers, &self.auth, &context.shared, http)?;
        let mut headers = HeaderMap::new();
        if let Some(tenant) = &self.tenant {
            let tenant = HeaderValue::from_str(&context.fill("tenant", tenant)?)
                .map_err(|_| BuildError::value("tenant", "has characters that no header can carry"))?;
            headers.insert(HeaderName::from_static("x-scope-orgid"), tenant);
        }
        let endpoint = self.url.join("loki/api/v1/push");
        let destination = Loki {
            open: format!(r#"{{"streams":[{{"stream":{},"values":["#, json!(self.labels(context)?)),
            accepted_times: match self.timestamp {
                EntryTime::Event => Some(TimeLimits { past: self.max_age.0, future: AHEAD }),
                EntryTime::Now => None,
            },
            structured_metadata: self.structured_metadata,
        };
        Ok(Parts::new(auth, headers, endpoint, destination))
    }
}

impl LokiSettings {
    fn labels(&self, context: &SinkContext) -> Result<BTreeMap<String, String>, BuildError> {
        let mut labels = BTreeMap::from([
            ("pipeline".to_owned(), context.lane.pipeline.clone()),
            ("stream".to_owned(), context.lane.stream.to_string()),
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

/// Converts a name to a valid name of a label. Loki reserves names that begin with two underscores.
fn label_name(name: &str) -> String {
    let name = name.trim_start_matches('_').replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("_{name}") }
}

#[derive(Debug)]
pub(crate) struct Loki {
    /// The part of the body before the first entry.
    open: String,
    /// `None` for `timestamp: now`.
    accepted_times: Option<TimeLimits>,
    structured_metadata: bool,
}

/// Texts of refusals that concern the stream or the tenant, and not one of the entries; in lower case.
const STREAM_REFUSALS: [&str; 9] = [
    "label names; limit",
    "label name too long",
    "label value too long",
    "duplicate label name",
    "error parsing labels",
    "at least one label pair is required",
    "missing required labels",
    "this feature is disallowed",
    "ingestion blocked for user",
];

impl Destination for Loki {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn framing(&self) -> Framing<'_> {
        Framing { open: self.open.as_bytes(), separator: b",", close: b"]}]}" }
    }

    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        let now = || SentTime { time: Timestamp::now(), replaced: event.time };
        let SentTime { time, replaced } = self.accepted_times.map_or_else(now, |limits| limits.time_of(event));
        // Nanoseconds as a string: Loki refuses a number. Writing into a Vec cannot fail.
        let _ = write!(out, r#"["{}000","#, time.micros());
        write_body_as_string(event, out);
        if self.structured_metadata {
            let _ = write!(out, r#",{{"event_id":"{}""#, event.identity);
            if !event.record_id.is_empty() {
                let _ = write!(out, r#","record_id":{}"#, json!(event.record_id));
            }
            if let Some(own) = replaced {
                let _ = write!(out, r#","event_time":"{own}""#);
            }
            if let Some(error) = event.error {
                let _ = write!(out, r#","error":{}"#, json!(error));
            }
            out.push(b'}');
        }
        out.push(b']');
    }

    /// A 400 names the refused entries only in words, and Loki has stored the others. They are sent again, and Loki
    /// stores them once.
    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        let body = String::from_utf8_lossy(response.body).to_lowercase();
        match response.expect_json("Loki") {
            Outcome::Refused(reason) if STREAM_REFUSALS.iter().any(|text| body.contains(text)) => {
                Outcome::misconfigured(reason)
            }
            outcome => outcome,
        }
    }

    /// Pushes no streams, which stores nothing. Loki reads the push only if credentials and tenant are valid.
    fn probe<'a>(&'a self, endpoint: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, ProbeResult> {
        let accepted = ProbeResult::Verified(format!("{endpoint} accepts credentials and tenant"));
        let judge = move |response: &ResponseView<'_>| ProbeResult::of(&self.judge(response), endpoint, accepted);
        client.probe_with_post(endpoint, self.content_type(), br#"{"streams":[]}"#, judge).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::destination::judged;

    #[test]
    fn each_response_has_its_outcome() {
        let loki = Loki { open: String::new(), accepted_times: None, structured_metadata: true };
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
            (400, "Error parsing labels '{a=b}' with error: 1:2: parse error", "Misconfigured"),
            (400, "stream '{…}' has label value too long: 'x'", "Misconfigured"),
            (400, "stream '{…}' has duplicate label name: 'x'", "Misconfigured"),
            (400, "error at least one label pair is required per stream", "Misconfigured"),
            (400, "missing required labels cluster for user acme for stream {a=\"b\"}", "Misconfigured"),
            (400, "ingestion blocked for user acme until '2026-12-01' with status code '400'", "Misconfigured"),
            (260, "ingestion blocked for user acme until '2026-12-01' with status code '260'", "Misconfigured"),
            (400, "stream '{…}' has structured metadata too large: '70000' bytes, limit: '65536' bytes", "Refused"),
            (400, "stream '{…}' includes structured metadata, but this feature is disallowed", "Misconfigured"),
            (401, "no org id", "Unauthorized"),
            (403, "", "Unauthorized"),
            (404, "404 page not found", "Misconfigured"),
            (413, "", "TooLarge"),
            (422, "at least one valid stream is required for ingestion", "Refused"),
            (429, "Ingestion rate limit exceeded for user acme", "Transient"),
            (429, "Maximum active stream limit exceeded", "Transient"),
            (429, "Per stream rate limit exceeded (limit: 3MB/sec) while attempting to ingest", "Transient"),
            (500, "rpc error: code = ResourceExhausted desc = received message larger than max (2 vs. 1)", "TooLarge"),
            (429, "rpc error: code = ResourceExhausted desc = received message larger than max (2 vs. 1)", "TooLarge"),
            (500, "", "Transient"),
            (503, "<html>", "Transient"),
            (504, "", "Transient"),
        ] {
            assert_eq!(judged(&loki, status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn names_become_valid_labels() {
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
