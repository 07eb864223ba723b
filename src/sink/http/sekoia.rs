//! `type: sekoia`: an intake of Sekoia.io.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{Answer, Authenticator, Destination, DestinationType, Endpoint, Parts, Requests};
use crate::record::Timestamp;
use crate::settings::{Credential, HttpSettings, Secret};
use crate::sink::settings::{Compression, Defaults};
use crate::sink::{Batch, BuildError, Context, Event, Limits, Outcome, Probe};

/// `type: sekoia`: an intake of Sekoia.io. Its format for SentinelOne reads the console's own records: `schema: raw`.
/// Nothing there tells an event that it has seen before.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The region's intake.
    #[serde(default = "default_url")]
    pub url: Endpoint,
    /// Key of the intake.
    pub intake_key: Secret,
    /// Which of its addresses is used.
    #[serde(default)]
    pub format: Format,
}

#[allow(clippy::expect_used, reason = "the text is a constant")]
fn default_url() -> Endpoint {
    "https://intake.sekoia.io".parse().expect("a URL")
}

/// How events are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `/array`: each event with its own time.
    #[default]
    Array,
    /// `/batch`: the key once, no times.
    Batch,
}

const KEY_HEADER: HeaderName = HeaderName::from_static("x-sekoiaio-intake-key");

impl DestinationType for Settings {
    type Destination = Sekoia;

    /// 10 MiB a request and 250 KB an event, counted with every quote of an event escaped.
    const DEFAULTS: Defaults = Defaults {
        limits: Limits { events: 1_000, bytes: 9_500_000, event_bytes: 250_000, most_bytes: 10 << 20, ..Limits::NONE },
        flush: Duration::from_secs(2),
        concurrency: 2,
        concurrency_max: usize::MAX,
        compressions: &[Compression::Gzip, Compression::None],
    };

    fn parts(&self, _context: &Context, _http: &HttpSettings) -> Result<Parts<Sekoia>, BuildError> {
        let key = Arc::new(Credential::new(self.intake_key.clone()));
        let auth = Authenticator::none().with_credential(KEY_HEADER, "", key.clone());
        let endpoint = self.url.join(match self.format {
            Format::Array => "array",
            Format::Batch => "batch",
        });
        let destination = Sekoia { format: self.format, empty: self.url.join("jsons"), key };
        Ok(Parts { auth, headers: HeaderMap::new(), endpoint, destination })
    }
}

#[derive(Debug)]
pub(crate) struct Sekoia {
    format: Format,
    /// Where a list without events tells whether the key is good.
    empty: Endpoint,
    /// The same as in the header, which is read first: a key that cannot be read ends a request before its body is used.
    key: Arc<Credential>,
}

/// `{"event_ids":["uuid1","uuid2"]}`, or `{"event_id":"uuid"}`.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    event_ids: Vec<String>,
    event_id: Option<String>,
}

impl Sekoia {
    fn write_key(&self, out: &mut Vec<u8>) {
        let key = self.key.get();
        write_text(key.as_ref().map(|key| key.expose_secret()).unwrap_or_default(), out);
    }
}

impl Destination for Sekoia {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn open(&self, _batch: &Batch, out: &mut Vec<u8>) {
        match self.format {
            Format::Array => out.push(b'['),
            Format::Batch => {
                out.extend_from_slice(br#"{"intake_key":"#);
                self.write_key(out);
                out.extend_from_slice(br#","jsons":["#);
            }
        }
    }

    fn event(&self, index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(b',');
        }
        let text = String::from_utf8_lossy(event.body);
        match self.format {
            Format::Array => {
                let time = event.time.unwrap_or_else(Timestamp::now);
                // Writing into a Vec cannot fail.
                let _ = write!(out, r#"{{"timestamp":"{time}","intake_key":"#);
                self.write_key(out);
                out.extend_from_slice(br#","json":"#);
                write_text(&text, out);
                out.push(b'}');
            }
            Format::Batch => write_text(&text, out),
        }
    }

    fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.format {
            Format::Array => b"]",
            Format::Batch => b"]}",
        });
    }

    /// An id for each event, 40 bytes with its quotes.
    fn answer_bytes(&self) -> usize {
        1 << 20
    }

    /// Each event that was taken has an id in the answer. Where some are missing it does not say whose: halving finds out.
    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        match answer.by_status() {
            Outcome::Delivered => {}
            other => return other,
        }
        let Ok(Said { event_ids, event_id }) = serde_json::from_slice(answer.body) else {
            let reason = format!("does not answer as Sekoia.io does ({}); check `url`", answer.reason());
            return Outcome::Misconfigured(reason);
        };
        let ids = event_ids.len() + usize::from(event_id.is_some());
        if ids == answer.events {
            return Outcome::Delivered;
        }
        let reason = format!("the answer has {ids} event ids for {} events", answer.events);
        if ids > answer.events { Outcome::DeliveredWithWarning(reason) } else { Outcome::Refused(reason) }
    }

    /// Sekoia.io does not say what it answers to a list without events: only a refusal is believed.
    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe> {
        async move {
            let reply = match requests.post(self.empty.url(), self.content_type(), b"[]").await {
                Ok(reply) => reply,
                Err(failure) => return failure.into_probe(),
            };
            let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
            match answer.taken_by("Sekoia.io") {
                Outcome::Delivered | Outcome::Refused(_) => {
                    Probe::Reached(format!("{} answers; only an event would show whether the key is good", self.empty))
                }
                Outcome::Unauthorized(reason) => {
                    Probe::Failed(format!("{} does not take the intake key: {reason}", self.empty))
                }
                _ => Probe::Failed(format!("{}: {}", self.empty, answer.reason())),
            }
        }
        .boxed()
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing into a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::answer::judged;
    use super::*;
    use crate::record::{Identity, Stream};

    fn destination(format: Format) -> Sekoia {
        let key = Arc::new(Credential::new(serde_json::from_value(json!("k\"1")).unwrap()));
        Sekoia { format, empty: default_url(), key }
    }

    #[test]
    fn each_answer_has_its_outcome() {
        for (status, body, expected) in [
            (200, r#"{"event_ids":["1","2","3","4"]}"#, "Delivered"),
            (201, r#"{"event_ids":["1","2","3","4"]}"#, "Delivered"),
            (200, r#"{"event_ids":["1","2","3"]}"#, "Refused"),
            (200, r#"{"event_ids":[]}"#, "Refused"),
            (200, r#"{"event_id":"1"}"#, "Refused"),
            (200, r#"{"event_ids":["1","2","3","4","5"]}"#, "DeliveredWithWarning"),
            (200, "<html>a login page</html>", "Misconfigured"),
            (200, "", "Misconfigured"),
            (400, r#"{"message":"not JSON"}"#, "Refused"),
            (401, "", "Unauthorized"),
            (403, r#"{"message":"The intake key is invalid"}"#, "Unauthorized"),
            (404, "", "Misconfigured"),
            (413, "", "TooLarge"),
            (429, "", "RetryLater"),
            (500, "", "RetryLater"),
            (503, "<html>", "RetryLater"),
            (302, "", "Misconfigured"),
        ] {
            assert_eq!(judged(&destination(Format::Array), status, body), expected, "{status} {body}");
        }
        let headers = HeaderMap::new();
        let one = Answer { status: http::StatusCode::OK, headers: &headers, body: br#"{"event_id":"1"}"#, events: 1 };
        assert_eq!(destination(Format::Batch).judge(&one), Outcome::Delivered);
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
        let (sekoia, mut out) = (destination(format), Vec::new());
        sekoia.open(&batch, &mut out);
        batch.events().enumerate().for_each(|(index, event)| sekoia.event(index, event, &mut out));
        sekoia.close(&mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn events_are_texts_beside_the_key() {
        let texts = [r#"{"id": "1"}"#, r#"{"id": "2"}"#];
        assert_eq!(body(Format::Batch), json!({ "intake_key": "k\"1", "jsons": texts }));
        let time = "2026-09-16T08:30:00.123456Z";
        let expected = texts.map(|text| json!({ "timestamp": time, "intake_key": "k\"1", "json": text }));
        assert_eq!(body(Format::Array), json!(expected));
    }
}
