//! `type: http`: any receiver of JSON over HTTP.

mod accept;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use s1_forwarder_engine::sink::{Event, Limits, Outcome, ProbeResult};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::{Misconfigured, Transient, Unauthorized};
use s1_forwarder_settings::{HttpSettings, Secret, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::{
    Auth, Authenticator, Destination, DestinationType, Endpoint, Framing, Parts, ResponseView, SinkClient,
};
use crate::line::Line;
use crate::sink_type::{Compression, SinkDefaults, SinkProperties, without_envelope};
use crate::{BuildError, DestinationHash, SinkContext};

use accept::judge_unknown;

pub use accept::{Accept, Pointer, PointerError};

/// `type: http`: JSON to any receiver. A 2xx means that the receiver accepted the whole request, unless `accept` says
/// otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GenericSettings {
    /// Requests are posted to this URL.
    pub url: Endpoint,
    /// How events are framed.
    #[serde(default)]
    pub format: Format,
    /// Send `{id, pipeline, stream, labels, record}` instead of the event alone.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub envelope: bool,
    /// Which successes mean that the receiver accepted the events; default: every 2xx.
    pub accept: Option<Accept>,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Credentials.
    #[serde(default)]
    pub auth: Auth,
}

/// How events become a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One event a line (`application/x-ndjson`).
    #[default]
    Ndjson,
    /// One JSON array (`application/json`).
    JsonArray,
}

impl SinkProperties for GenericSettings {
    fn defaults(&self) -> SinkDefaults {
        SinkDefaults {
            limits: Limits { events: 1_000, bytes: 5 << 20, ..Limits::NONE },
            batch_timeout: Duration::from_secs(1),
            concurrency: 4,
            concurrency_max: usize::MAX,
            compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
        }
    }

    fn embeds_raw(&self) -> bool {
        self.envelope || self.format == Format::JsonArray
    }

    fn without_identity(&self, schema: Schema) -> Option<&'static str> {
        without_envelope(schema, self.envelope)
    }

    fn describe_destination(&self, _context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        hash.endpoints("url", [&self.url]).secrets(&self.headers);
        self.auth.describe(hash);
        Ok(())
    }
}

impl DestinationType for GenericSettings {
    type Destination = Generic;

    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str] {
        &[
            r#"{ "url": "https://siem.example" }"#,
            r#"{ "url": "https://siem.example", "envelope": true }"#,
            r#"{ "url": "https://siem.example", "format": "json_array" }"#,
        ]
    }

    fn parts(&self, context: &SinkContext, http: &HttpSettings) -> Result<Parts<Generic>, BuildError> {
        let auth = Authenticator::new(&self.headers, &self.auth, &context.shared, http)?;
        if let Some(accept) = &self.accept {
            accept.check()?;
        }
        let line = Line::new(self.envelope, context);
        let destination = Generic { format: self.format, line, accept: self.accept.clone() };
        Ok(Parts::new(auth, HeaderMap::new(), self.url.clone(), destination))
    }
}

#[derive(Debug)]
pub(crate) struct Generic {
    pub(crate) format: Format,
    pub(crate) line: Line,
    pub(crate) accept: Option<Accept>,
}

impl Destination for Generic {
    fn content_type(&self) -> &'static str {
        match self.format {
            Format::Ndjson => "application/x-ndjson",
            Format::JsonArray => "application/json",
        }
    }

    fn framing(&self) -> Framing<'_> {
        match self.format {
            Format::Ndjson => Framing::NONE,
            Format::JsonArray => Framing::JSON_ARRAY,
        }
    }

    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        self.line.write(event, out);
        if self.format == Format::Ndjson {
            out.push(b'\n');
        }
    }

    /// A receiver may name each event in its answer.
    fn max_response_bytes(&self) -> usize {
        if self.accept.as_ref().is_some_and(Accept::reads_body) { 1 << 20 } else { 64 * 1024 }
    }

    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        match (response.by_status(), &self.accept) {
            (Outcome::Delivered, Some(accept)) => accept.judge(response),
            (Outcome::Delivered, None) => judge_unknown(response),
            (outcome, _) => outcome,
        }
    }

    /// OPTIONS delivers nothing and every server answers it, but few servers check credentials for it.
    fn probe<'a>(&'a self, endpoint: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, ProbeResult> {
        let judge = move |response: &ResponseView<'_>| match (ResponseView { body: b"", ..*response }).by_status() {
            // The server does not know OPTIONS. That says nothing about POST.
            _ if response.status == StatusCode::NOT_IMPLEMENTED => reached(endpoint, response.status),
            Outcome::Failed(Failure { kind: Unauthorized, reason, .. }) => {
                ProbeResult::Failed(format!("{endpoint}: credentials refused: {reason}"))
            }
            Outcome::Failed(Failure { kind: Misconfigured, reason, .. }) if response.status.is_redirection() => {
                ProbeResult::Failed(reason)
            }
            Outcome::Failed(Failure { kind: Transient, reason, .. }) => {
                ProbeResult::Failed(format!("{endpoint}: {reason}"))
            }
            _ if response.status.is_success() && response.is_page() => ProbeResult::Reached(format!(
                "{endpoint} answers {} to OPTIONS with a page of HTML, as logins and proxies do: is `url` the receiver's?",
                response.status.as_u16()
            )),
            _ => reached(endpoint, response.status),
        };
        client.probe_with_empty(Method::OPTIONS, endpoint, judge).boxed()
    }
}

fn reached(endpoint: &Endpoint, status: StatusCode) -> ProbeResult {
    ProbeResult::Reached(format!("{endpoint} answers {} to OPTIONS", status.as_u16()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_outcome() {
        let reason = |status: &str| format!("{status}: why");
        let later = |status| Outcome::retry_later(reason(status));
        let redirect = "redirects, which is not followed; put the final address into `url`";
        for (status, expected) in [
            (200, Outcome::Delivered),
            (202, Outcome::Delivered),
            (204, Outcome::Delivered),
            (302, Outcome::misconfigured(format!("302: {redirect}"))),
            (307, Outcome::misconfigured(format!("307: {redirect}"))),
            (400, Outcome::Refused(reason("400 Bad Request"))),
            (401, Outcome::unauthorized(reason("401 Unauthorized"))),
            (403, Outcome::unauthorized(reason("403 Forbidden"))),
            (404, Outcome::misconfigured(reason("404 Not Found") + "; check `url`")),
            (405, Outcome::misconfigured(reason("405 Method Not Allowed") + "; check `url`")),
            (408, later("408 Request Timeout")),
            (413, Outcome::TooLarge(reason("413 Payload Too Large"))),
            (415, Outcome::misconfigured(reason("415 Unsupported Media Type"))),
            (422, Outcome::Refused(reason("422 Unprocessable Entity"))),
            (425, later("425 Too Early")),
            (429, later("429 Too Many Requests")),
            (500, later("500 Internal Server Error")),
            (502, later("502 Bad Gateway")),
            (503, later("503 Service Unavailable")),
            (504, later("504 Gateway Timeout")),
            (520, later("520")),
        ] {
            let headers = HeaderMap::new();
            let status = StatusCode::from_u16(status).unwrap();
            let response =
                ResponseView { status, headers: &headers, body: b"why", secrets: &Default::default(), events: 3 };
            assert_eq!(response.by_status(), expected);
        }
    }
}
