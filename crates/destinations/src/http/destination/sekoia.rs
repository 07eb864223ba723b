//! `type: sekoia`: an intake of Sekoia.io.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName};
use s1_forwarder_engine::sink::{Batch, Event, Limits, Outcome, ProbeResult, WarningReason};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::Unauthorized;
use s1_forwarder_settings::{Credential, HttpSettings, Secret};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::http::event_time::time_or_now;
use crate::http::transport::framing::{write_body_as_string, write_string};
use crate::http::{Authenticator, Destination, DestinationType, Endpoint, Framing, Parts, ResponseView, SinkClient};
use crate::integration::{Content, Integration, SEKOIA};
use crate::sink_type::{Compression, MAPPED, SinkDefaults, SinkProperties};
use crate::{BuildError, DestinationHash, SinkContext};

/// `type: sekoia`: an intake of Sekoia.io. Its format for SentinelOne reads the console's own records, which the sink
/// sends unless it has a `schema`. Sekoia.io does not deduplicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SekoiaSettings {
    /// URL of the region's intake.
    #[serde(default = "default_url")]
    #[schemars(extend("default" = DEFAULT_URL))]
    pub url: Endpoint,
    /// Key of the intake.
    pub intake_key: Secret,
    /// Which path of the intake is used.
    #[serde(default)]
    pub format: Format,
    /// `integration`: only what Sekoia.io's format for SentinelOne knows (docs/integrations.md).
    #[serde(default)]
    pub content: Content,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

const DEFAULT_URL: &str = "https://intake.sekoia.io";

#[allow(clippy::expect_used, reason = "the text is a constant")]
fn default_url() -> Endpoint {
    DEFAULT_URL.parse().expect("a URL")
}

/// Paths of an intake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `/array`: each event with its own time.
    #[default]
    Array,
    /// `/batch`: the key once, events without times.
    Batch,
}

const KEY_HEADER: HeaderName = HeaderName::from_static("x-sekoiaio-intake-key");

impl SinkProperties for SekoiaSettings {
    /// 10 MiB a request and 250 KB an event, including the escapes of an event as a string.
    fn defaults(&self) -> SinkDefaults {
        SinkDefaults {
            limits: Limits {
                events: 1_000,
                bytes: 9_500_000,
                event_bytes: 250_000,
                max_bytes: 10 << 20,
                ..Limits::NONE
            },
            batch_timeout: Duration::from_secs(2),
            concurrency: 2,
            concurrency_max: usize::MAX,
            compressions: &[Compression::Gzip, Compression::None],
        }
    }

    fn default_schema(&self) -> Option<Schema> {
        Some(Schema::Raw)
    }

    fn integration(&self) -> Option<&'static Integration> {
        self.content.integration(&SEKOIA)
    }

    fn embeds_raw(&self) -> bool {
        true
    }

    fn without_identity(&self, schema: Schema) -> Option<&'static str> {
        (schema == Schema::Raw).then_some(MAPPED)
    }

    fn describe_destination(&self, _context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        hash.endpoints("url", [&self.url]).secret("intake_key", &self.intake_key);
        Ok(())
    }
}

impl DestinationType for SekoiaSettings {
    type Destination = Sekoia;

    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str] {
        &[
            r#"{ "url": "https://siem.example", "intake_key": "k" }"#,
            r#"{ "url": "https://siem.example", "intake_key": "k", "format": "batch" }"#,
        ]
    }

    fn parts(&self, context: &SinkContext, _http: &HttpSettings) -> Result<Parts<Sekoia>, BuildError> {
        let is_masked = context.shared.masks_secrets;
        let key = if is_masked { Secret::Literal("***".to_owned()) } else { self.intake_key.clone() };
        let key = Arc::new(Credential::token(key));
        let auth = Authenticator::with_headers(&self.headers)?.with_credential(KEY_HEADER, "", key.clone());
        let endpoint = self.url.join(match self.format {
            Format::Array => "array",
            Format::Batch => "batch",
        });
        let destination = Sekoia { format: self.format, probe_endpoint: self.url.join("jsons"), key };
        Ok(Parts::new(auth, HeaderMap::new(), endpoint, destination))
    }
}

#[derive(Debug)]
pub(crate) struct Sekoia {
    format: Format,
    /// An empty list is posted here to test the key.
    probe_endpoint: Endpoint,
    /// The key in the header, too. The header is written first, so a key that cannot be read fails before the body.
    key: Arc<Credential>,
}

/// `{"event_ids":["uuid1","uuid2"]}`, or `{"event_id":"uuid"}`.
#[derive(Deserialize)]
struct ResponseBody {
    event_ids: Option<Vec<String>>,
    event_id: Option<String>,
}

impl Sekoia {
    fn write_key(&self, out: &mut Vec<u8>) {
        let key = self.key.get();
        write_string(key.as_ref().map(|key| key.expose_secret()).unwrap_or_default(), out);
    }
}

impl Destination for Sekoia {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn framing(&self) -> Framing<'_> {
        match self.format {
            Format::Array => Framing::JSON_ARRAY,
            Format::Batch => Framing { open: br#"{"intake_key":"#, separator: b",", close: b"]}" },
        }
    }

    fn open(&self, _batch: &Batch, out: &mut Vec<u8>) {
        out.extend_from_slice(self.framing().open);
        if self.format == Format::Batch {
            self.write_key(out);
            out.extend_from_slice(br#","jsons":["#);
        }
    }

    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        match self.format {
            Format::Array => {
                // Writing into a Vec cannot fail.
                let _ = write!(out, r#"{{"timestamp":"{}","intake_key":"#, time_or_now(event));
                self.write_key(out);
                out.extend_from_slice(br#","json":"#);
                write_body_as_string(event, out);
                out.push(b'}');
            }
            Format::Batch => write_body_as_string(event, out),
        }
    }

    /// The response has an id for each event: 40 bytes with its quotes.
    fn max_response_bytes(&self) -> usize {
        1 << 20
    }

    /// The response has an id for each accepted event. If ids are missing, it does not say for which events. To send
    /// the batch again would store the other events twice.
    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        match response.by_status() {
            Outcome::Delivered => {}
            other => return other,
        }
        let ids = match serde_json::from_slice(response.body) {
            Ok(ResponseBody { event_ids: Some(ids), .. }) => ids.len(),
            Ok(ResponseBody { event_id: Some(_), .. }) => 1,
            _ => return response.unexpected("Sekoia.io"),
        };
        let reason = format!("the response has {ids} event ids for {} events", response.events);
        match response.events.checked_sub(ids) {
            Some(0) => Outcome::Delivered,
            None => Outcome::warned(WarningReason::SurplusIds, reason),
            Some(1) if ids == 0 => Outcome::Refused(reason),
            Some(_) if ids == 0 => Outcome::misconfigured(reason),
            Some(count) => Outcome::RefusedSome { count, reason },
        }
    }

    /// Sekoia.io does not document its response to an empty list: only a refusal is conclusive.
    fn probe<'a>(&'a self, _: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, ProbeResult> {
        let endpoint = &self.probe_endpoint;
        let accepted =
            ProbeResult::Reached(format!("{endpoint} answers; only an event can show whether the key is valid"));
        let judge = move |response: &ResponseView<'_>| match response.expect_json("Sekoia.io") {
            Outcome::Failed(Failure { kind: Unauthorized, reason, .. }) => {
                ProbeResult::Failed(format!("{endpoint} refuses the intake key: {reason}"))
            }
            outcome => ProbeResult::of(&outcome, endpoint, accepted),
        };
        client.probe_with_post(endpoint, self.content_type(), b"[]", judge).boxed()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::http::destination::judged;
    use crate::http::transport::body::body_of;
    use crate::http::transport::response::judged_by;
    use s1_forwarder_record::{Identity, Stream, Timestamp};

    fn destination(format: Format) -> Sekoia {
        let key = Arc::new(Credential::new(serde_json::from_value(json!("k\"1")).unwrap()));
        Sekoia { format, probe_endpoint: default_url(), key }
    }

    #[test]
    fn each_response_has_its_outcome() {
        for (status, body, expected) in [
            (200, r#"{"event_ids":["1","2","3","4"]}"#, "Delivered"),
            (201, r#"{"event_ids":["1","2","3","4"]}"#, "Delivered"),
            (200, r#"{"event_ids":["1","2","3"]}"#, "RefusedSome"),
            (200, r#"{"event_ids":[]}"#, "Misconfigured"),
            (200, "{}", "Misconfigured"),
            (200, r#"{"event_id":"1"}"#, "RefusedSome"),
            (200, r#"{"event_ids":["1","2","3","4","5"]}"#, "surplus_ids"),
            (200, "<html>a login page</html>", "Misconfigured"),
            (200, "", "Misconfigured"),
            (400, r#"{"message":"not JSON"}"#, "Refused"),
            (401, "", "Unauthorized"),
            (403, r#"{"message":"The intake key is invalid"}"#, "Unauthorized"),
            (404, "", "Misconfigured"),
            (413, "", "TooLarge"),
            (429, "", "Transient"),
            (500, "", "Transient"),
            (503, "<html>", "Transient"),
            (302, "", "Misconfigured"),
        ] {
            assert_eq!(judged(&destination(Format::Array), status, body), expected, "{status} {body}");
        }
        let of_one = |body| judged_by(|response| destination(Format::Batch).judge(response), 200, body, 1);
        assert_eq!(of_one(r#"{"event_id":"1"}"#), "Delivered");
        assert_eq!(of_one(r#"{"event_ids":[]}"#), "Refused");
        assert_eq!(of_one("{}"), "Misconfigured");
    }

    fn body(format: Format) -> Value {
        let mut batch = Batch::new(Stream::Threats);
        for id in ["1", "2"] {
            let time = Some(Timestamp::from_micros(1_789_547_400_123_456));
            batch.push_with(id, Identity::of("h", Stream::Threats, id, ""), time, |out| {
                out.extend_from_slice(format!(r#"{{"id": "{id}"}}"#).as_bytes());
                None
            });
        }
        serde_json::from_slice(&body_of(&destination(format), &batch)).unwrap()
    }

    #[test]
    fn events_are_strings_next_to_the_key() {
        let texts = [r#"{"id": "1"}"#, r#"{"id": "2"}"#];
        assert_eq!(body(Format::Batch), json!({ "intake_key": "k\"1", "jsons": texts }));
        let time = "2026-09-16T08:30:00.123456Z";
        let expected = texts.map(|text| json!({ "timestamp": time, "intake_key": "k\"1", "json": text }));
        assert_eq!(body(Format::Array), json!(expected));
    }
}
