//! `type: otlp`: OpenTelemetry logs over HTTP.

mod encoding;
mod protobuf;
mod record;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use s1_forwarder_engine::sink::{Batch, Event, Limits, Outcome, PARTIAL, ProbeResult, RefusedEvent, WarningReason};
use s1_forwarder_failure::Failure;
use s1_forwarder_settings::{HttpSettings, Secret, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::transport::response::not_from;
use crate::http::{
    Auth, Authenticator, Destination, DestinationType, Endpoint, Framing, Parts, ResponseView, SinkClient,
};
use crate::sink_type::{Compression, SinkDefaults, SinkProperties};
use crate::{BuildError, DestinationHash, SinkContext};

use encoding::Encoding;
use protobuf::Field;
use record::Writer;

/// `type: otlp`: OpenTelemetry logs over HTTP. The protocol does not deduplicate; the attribute `event.id` identifies
/// duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpSettings {
    /// URL of the receiver without path, such as `https://collector.example:4318`.
    pub url: Endpoint,
    /// How records are encoded.
    #[serde(default)]
    pub encoding: Encoding,
    /// Attributes of the resource in addition to `service.name`, `host.name`, `pipeline`, `stream` and `label.NAME`;
    /// `{pipeline}`, `{stream}` and `{label.NAME}` are replaced.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub resource: BTreeMap<String, String>,
    /// Send again after a 500. The protocol says that it is final, but many servers answer so when they are overloaded.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub retry_server_errors: bool,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Credentials.
    #[serde(default)]
    pub auth: Auth,
}

impl SinkProperties for OtlpSettings {
    /// Receivers behind gRPC accept 4 MiB.
    fn defaults(&self) -> SinkDefaults {
        SinkDefaults {
            limits: Limits { events: 2_000, bytes: 3_000_000, ..Limits::NONE },
            batch_timeout: Duration::from_secs(1),
            concurrency: 4,
            concurrency_max: usize::MAX,
            compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
        }
    }

    fn embeds_raw(&self) -> bool {
        true
    }

    fn describe_destination(&self, _context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        hash.endpoints("url", [&self.url]).secrets(&self.headers);
        self.auth.describe(hash);
        Ok(())
    }
}

impl DestinationType for OtlpSettings {
    type Destination = Otlp;

    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str] {
        &[r#"{ "url": "https://siem.example" }"#, r#"{ "url": "https://siem.example", "encoding": "json" }"#]
    }

    fn parts(&self, context: &SinkContext, http: &HttpSettings) -> Result<Parts<Otlp>, BuildError> {
        let auth = Authenticator::new(&self.headers, &self.auth, &context.shared, http)?;
        let endpoint = self.url.join("v1/logs");
        let destination = Otlp {
            encoding: self.encoding,
            writer: Writer::new(self.encoding, &self.attributes(context)?),
            retry_server_errors: self.retry_server_errors,
        };
        Ok(Parts::new(auth, HeaderMap::new(), endpoint, destination))
    }
}

impl OtlpSettings {
    /// Returns the attributes of the resource, which name the origin of the records.
    fn attributes(&self, context: &SinkContext) -> Result<BTreeMap<String, String>, BuildError> {
        let mut attributes = BTreeMap::from([
            ("service.name".to_owned(), "sentinelone".to_owned()),
            ("host.name".to_owned(), context.hostname().to_owned()),
            ("pipeline".to_owned(), context.lane.pipeline.clone()),
            ("stream".to_owned(), context.lane.stream.to_string()),
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
    encoding: Encoding,
    writer: Writer,
    retry_server_errors: bool,
}

/// `partialSuccess` of a response.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PartialSuccess {
    rejected_log_records: Count,
    error_message: String,
}

/// A 64-bit number is a string in protobuf's JSON. Some servers send a number.
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

/// Returns the number of refused records, and the reason. `None` if the body is not an OTLP response.
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
    // Servers should not send a negative count.
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
    /// Returns the encoding of the response. It is the request's encoding, unless `Content-Type` names another.
    fn response_encoding(&self, response: &ResponseView<'_>) -> Encoding {
        match response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) {
            Some(text) if text.starts_with("application/json") => Encoding::Json,
            Some(text) if text.starts_with("application/x-protobuf") => Encoding::Protobuf,
            _ => self.encoding,
        }
    }

    fn judge_success(&self, response: &ResponseView<'_>) -> Outcome {
        match partial_success(self.response_encoding(response), response.body) {
            None => response.unexpected(OTLP),
            Some((0, message)) if message.is_empty() => Outcome::Delivered,
            Some((0, message)) => Outcome::warned(WarningReason::Message, response.quote(message.as_bytes())),
            // The protocol forbids to send refused records again.
            Some((count, message)) if count >= response.events => {
                let reason = response.quote(message.as_bytes());
                let refusal = |index| RefusedEvent { index, status: PARTIAL.to_owned(), reason: reason.clone() };
                let refused = (0..response.events).map(refusal).collect();
                Outcome::Partial { refused, retry: Vec::new(), retry_after: None, warnings: Vec::new() }
            }
            Some((count, message)) => Outcome::RefusedSome { count, reason: response.quote(message.as_bytes()) },
        }
    }

    /// Returns the message of an error. In protobuf, the message is field 2 of a `google.rpc.Status`.
    fn reason(&self, response: &ResponseView<'_>) -> String {
        let is_protobuf = self.response_encoding(response) == Encoding::Protobuf;
        let status = is_protobuf.then(|| protobuf::fields(response.body)).flatten();
        let message = status.iter().flatten().find_map(|field| match field {
            (2, Field::Bytes(text)) => Some(*text),
            _ => None,
        });
        response.quote(message.unwrap_or(response.body))
    }
}

/// The destination in error texts.
const OTLP: &str = "OTLP";

impl Destination for Otlp {
    fn content_type(&self) -> &'static str {
        match self.encoding {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        }
    }

    fn framing(&self) -> Framing<'_> {
        self.writer.framing()
    }

    fn open(&self, batch: &Batch, out: &mut Vec<u8>) {
        self.writer.open(batch, out);
    }

    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        self.writer.record(event, out);
    }

    /// The protocol names four statuses after which the same bytes may be sent again. Any other failure of the server
    /// is final, and does not mean that the events are invalid. The lane then stops as misconfigured instead of
    /// dropping them.
    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        let retry = || Outcome::Failed(Failure::transient_after(self.reason(response), response.retry_after()));
        match response.status.as_u16() {
            200..=299 => self.judge_success(response),
            408 | 425 | 429 | 500..=599 if response.names_size() => Outcome::TooLarge(self.reason(response)),
            429 | 502..=504 => retry(),
            408 | 425 | 500..=599 if self.retry_server_errors => retry(),
            300..=399 | 408 | 425 | 500..=599 => Outcome::misconfigured(self.reason(response)),
            _ => match response.by_status() {
                Outcome::Refused(_) => Outcome::Refused(self.reason(response)),
                outcome => outcome,
            },
        }
    }

    /// Sends a request without records, which is valid and delivers nothing.
    fn probe<'a>(&'a self, endpoint: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, ProbeResult> {
        let empty: &[u8] = match self.encoding {
            Encoding::Protobuf => b"",
            Encoding::Json => b"{}",
        };
        let accepts = client.accepts();
        let judge = move |response: &ResponseView<'_>| match response.status.as_u16() {
            200..=299 if partial_success(self.response_encoding(response), response.body).is_some() => {
                ProbeResult::Verified(format!("{endpoint} {accepts}"))
            }
            400 => {
                ProbeResult::of(&self.judge(response), endpoint, ProbeResult::Verified(format!("{endpoint} {accepts}")))
            }
            200..=299 => ProbeResult::Failed(format!("{endpoint}: {}", not_from(OTLP, &response.reason()))),
            _ => ProbeResult::Failed(format!("{endpoint}: {}", self.reason(response))),
        };
        client.probe_with_post(endpoint, self.content_type(), empty, judge).boxed()
    }
}

#[cfg(test)]
mod tests;
