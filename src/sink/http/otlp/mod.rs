//! `type: otlp`: OpenTelemetry logs over HTTP.

mod protobuf;
mod record;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, Auth, Authenticator, Destination, DestinationType, Endpoint, Parts, Requests};
use crate::settings::{HttpSettings, Secret};
use crate::sink::settings::{Compression, Defaults};
use crate::sink::{Batch, BuildError, Context, Event, Limits, Outcome, Probe};
use protobuf::Field;
use record::Writer;

/// `type: otlp`: OpenTelemetry logs over HTTP. The protocol cannot tell an event that it has seen before: the attribute
/// `event.id` can.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The receiver, such as `https://collector.example:4318`, without the path.
    pub url: Endpoint,
    /// How records are encoded.
    #[serde(default)]
    pub encoding: Encoding,
    /// Attributes of the resource beside `service.name`, `host.name`, `pipeline`, `stream` and `label.NAME`; `{pipeline}`,
    /// `{stream}` and `{label.NAME}` are filled in.
    #[serde(default)]
    pub resource: BTreeMap<String, String>,
    /// Send again what a server failed with 500 on, which the protocol calls final and many servers answer when they are
    /// overloaded.
    #[serde(default)]
    pub retry_server_errors: bool,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Credentials.
    #[serde(default)]
    pub auth: Auth,
}

/// `encoding` of an OTLP sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// `application/x-protobuf`.
    #[default]
    Protobuf,
    /// `application/json`.
    Json,
}

impl DestinationType for Settings {
    type Destination = Otlp;

    /// Receivers behind gRPC take 4 MiB.
    const DEFAULTS: Defaults = Defaults {
        limits: Limits { events: 2_000, bytes: 3_000_000, ..Limits::NONE },
        flush: Duration::from_secs(1),
        concurrency: 4,
        concurrency_max: usize::MAX,
        compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
    };

    fn parts(&self, context: &Context, http: &HttpSettings) -> Result<Parts<Otlp>, BuildError> {
        let auth = Authenticator::new(&self.headers, &self.auth, &context.shared.tokens, http)?;
        let endpoint = self.url.join("v1/logs");
        let destination = Otlp {
            endpoint: endpoint.clone(),
            encoding: self.encoding,
            writer: Writer::new(self.encoding, &self.attributes(context)?),
            retry_server_errors: self.retry_server_errors,
        };
        Ok(Parts { auth, headers: HeaderMap::new(), endpoint, destination })
    }
}

impl Settings {
    /// The attributes of the resource: where records come from.
    fn attributes(&self, context: &Context) -> Result<BTreeMap<String, String>, BuildError> {
        let mut attributes = BTreeMap::from([
            ("service.name".to_owned(), "sentinelone".to_owned()),
            ("host.name".to_owned(), context.console_host.clone()),
            ("pipeline".to_owned(), context.pipeline.clone()),
            ("stream".to_owned(), context.stream.to_string()),
        ]);
        attributes.extend(context.labels.iter().map(|(name, value)| (format!("label.{name}"), value.clone())));
        for (name, template) in &self.resource {
            attributes.insert(name.clone(), context.fill("resource", template)?);
        }
        Ok(attributes)
    }
}

#[derive(Debug)]
pub(crate) struct Otlp {
    endpoint: Endpoint,
    encoding: Encoding,
    writer: Writer,
    retry_server_errors: bool,
}

/// `partialSuccess` of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PartialSuccess {
    rejected_log_records: Count,
    error_message: String,
}

/// A 64-bit number is a text in protobuf's JSON; some servers write a number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Count {
    Number(i64),
    Text(String),
}

impl Default for Count {
    fn default() -> Self {
        Self::Number(0)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    partial_success: Option<PartialSuccess>,
}

/// How many records were refused, and why; nothing where the answer is none of OTLP.
fn partial_success(encoding: Encoding, body: &[u8]) -> Option<(usize, String)> {
    let PartialSuccess { rejected_log_records, error_message } = match encoding {
        _ if body.is_empty() => PartialSuccess::default(),
        Encoding::Json => serde_json::from_slice::<Response>(body).ok()?.partial_success.unwrap_or_default(),
        Encoding::Protobuf => read_response(body)?,
    };
    let rejected = match rejected_log_records {
        Count::Number(number) => number,
        Count::Text(text) => text.parse().ok()?,
    };
    // A negative count would be a server's mistake.
    Some((usize::try_from(rejected).unwrap_or(0), error_message))
}

fn read_response(body: &[u8]) -> Option<PartialSuccess> {
    let mut partial = PartialSuccess::default();
    for (number, field) in protobuf::fields(body)? {
        let (1, Field::Bytes(message)) = (number, field) else { continue };
        for (number, field) in protobuf::fields(message)? {
            match (number, field) {
                (1, Field::Number(rejected)) => partial.rejected_log_records = Count::Number(rejected.cast_signed()),
                (2, Field::Bytes(text)) => partial.error_message = String::from_utf8_lossy(text).into_owned(),
                _ => {}
            }
        }
    }
    Some(partial)
}

impl Otlp {
    /// The encoding of an answer, which is the request's unless it says otherwise.
    fn answers_in(&self, answer: &Answer<'_>) -> Encoding {
        match answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) {
            Some(text) if text.starts_with("application/json") => Encoding::Json,
            Some(text) if text.starts_with("application/x-protobuf") => Encoding::Protobuf,
            _ => self.encoding,
        }
    }

    fn judge_success(&self, answer: &Answer<'_>) -> Outcome {
        match partial_success(self.answers_in(answer), answer.body) {
            None => Outcome::Misconfigured(format!("does not answer as OTLP does ({}); check `url`", answer.reason())),
            Some((0, said)) if said.is_empty() => Outcome::Delivered,
            Some((0, said)) => Outcome::DeliveredWithWarning(answer.quote(said.as_bytes())),
            // What was not taken must not be sent again.
            Some((count, said)) if count >= answer.events => {
                let reason = answer.quote(said.as_bytes());
                let rejected = (0..answer.events).map(|index| (index, reason.clone())).collect();
                Outcome::Partial { rejected, retry: Vec::new(), after: None }
            }
            Some((count, said)) => Outcome::RefusedSome { count, reason: answer.quote(said.as_bytes()) },
        }
    }

    /// The words of an error: a `google.rpc.Status` in protobuf holds its message in field 2.
    fn reason(&self, answer: &Answer<'_>) -> String {
        let status = (self.answers_in(answer) == Encoding::Protobuf).then(|| protobuf::fields(answer.body)).flatten();
        let message = status.iter().flatten().find_map(|field| match field {
            (2, Field::Bytes(text)) => Some(*text),
            _ => None,
        });
        answer.quote(message.unwrap_or(answer.body))
    }
}

impl Destination for Otlp {
    fn content_type(&self) -> &'static str {
        match self.encoding {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        }
    }

    fn open(&self, batch: &Batch, out: &mut Vec<u8>) {
        self.writer.open(batch, out);
    }

    fn event(&self, index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        self.writer.record(index, event, out);
    }

    fn close(&self, out: &mut Vec<u8>) {
        self.writer.close(out);
    }

    /// The protocol names four statuses after which the same bytes may be sent again. Another failure of the server is
    /// final, and says nothing about the events: the lane stops with an alarm rather than give them up.
    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        match answer.status.as_u16() {
            200..=299 => self.judge_success(answer),
            429 | 502..=504 => Outcome::RetryLater { reason: self.reason(answer), after: answer.retry_after() },
            408 | 425 | 500..=599 if self.retry_server_errors => {
                Outcome::RetryLater { reason: self.reason(answer), after: answer.retry_after() }
            }
            300..=399 | 408 | 425 | 500..=599 => Outcome::Misconfigured(self.reason(answer)),
            400 | 422 => Outcome::Refused(self.reason(answer)),
            _ => answer.by_status(),
        }
    }

    /// A request without records delivers nothing and is valid.
    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe> {
        let empty: &[u8] = match self.encoding {
            Encoding::Protobuf => b"",
            Encoding::Json => b"{}",
        };
        async move {
            let reply = match requests.post(self.endpoint.url(), self.content_type(), empty).await {
                Ok(reply) => reply,
                Err(failure) => return failure.into_probe(),
            };
            let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
            match reply.status.as_u16() {
                200..=299 if partial_success(self.answers_in(&answer), answer.body).is_some() => {
                    Probe::Verified(format!("{} takes the credentials", self.endpoint))
                }
                400 => Probe::Verified(format!("{} takes the credentials, and no empty request", self.endpoint)),
                200..=299 => {
                    Probe::Failed(format!("{}: does not answer as OTLP does: {}", self.endpoint, answer.reason()))
                }
                _ => Probe::Failed(format!("{}: {}", self.endpoint, self.reason(&answer))),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
