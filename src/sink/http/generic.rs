//! `type: http`: any receiver of JSON over HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, Auth, Authenticator, Destination, DestinationType, Endpoint, Parts, Requests};
use crate::settings::{HttpSettings, Secret};
use crate::sink::line::Line;
use crate::sink::settings::{Compression, Defaults};
use crate::sink::{Batch, BuildError, Context, Event, Limits, Outcome, Probe};

/// `type: http`: JSON to any receiver. A 2xx means that it has taken the whole request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where requests are posted.
    pub url: Endpoint,
    /// How events are framed.
    #[serde(default)]
    pub format: Format,
    /// Send `{id, pipeline, stream, labels, record}` instead of the event alone.
    #[serde(default)]
    pub envelope: bool,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Credentials.
    #[serde(default)]
    pub auth: Auth,
}

/// How events become a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One event a line (`application/x-ndjson`).
    #[default]
    Ndjson,
    /// One JSON array (`application/json`).
    JsonArray,
}

impl DestinationType for Settings {
    type Destination = Generic;

    const DEFAULTS: Defaults = Defaults {
        limits: Limits { events: 1_000, bytes: 5 << 20, ..Limits::NONE },
        flush: Duration::from_secs(1),
        concurrency: 4,
        concurrency_max: usize::MAX,
        compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
    };

    fn parts(&self, context: &Context, http: &HttpSettings) -> Result<Parts<Generic>, BuildError> {
        let auth = Authenticator::new(&self.headers, &self.auth, &context.shared.tokens, http)?;
        let destination =
            Generic { endpoint: self.url.clone(), format: self.format, line: Line::new(self.envelope, context) };
        Ok(Parts { auth, headers: HeaderMap::new(), endpoint: self.url.clone(), destination })
    }
}

#[derive(Debug)]
pub(crate) struct Generic {
    pub(super) endpoint: Endpoint,
    pub(super) format: Format,
    pub(super) line: Line,
}

impl Destination for Generic {
    fn content_type(&self) -> &'static str {
        match self.format {
            Format::Ndjson => "application/x-ndjson",
            Format::JsonArray => "application/json",
        }
    }

    fn open(&self, _batch: &Batch, out: &mut Vec<u8>) {
        if self.format == Format::JsonArray {
            out.push(b'[');
        }
    }

    fn event(&self, index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        if self.format == Format::JsonArray && index > 0 {
            out.push(b',');
        }
        self.line.write(event, out);
        if self.format == Format::Ndjson {
            out.push(b'\n');
        }
    }

    fn close(&self, out: &mut Vec<u8>) {
        if self.format == Format::JsonArray {
            out.push(b']');
        }
    }

    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        answer.by_status()
    }

    /// OPTIONS delivers nothing and is answered by every server, though few ask for credentials then.
    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe> {
        async move {
            let reply = match requests.ask(Method::OPTIONS, self.endpoint.url(), HeaderMap::new()).await {
                Ok(reply) => reply,
                Err(failure) => return failure.into_probe(),
            };
            let answer = Answer { status: reply.status, headers: &reply.headers, body: b"", events: 0 };
            match answer.by_status() {
                Outcome::Unauthorized(reason) => {
                    Probe::Failed(format!("{}: credentials refused: {reason}", self.endpoint))
                }
                Outcome::Misconfigured(reason) if answer.status.is_redirection() => Probe::Failed(reason),
                Outcome::RetryLater { reason, .. } => Probe::Failed(format!("{}: {reason}", self.endpoint)),
                _ => Probe::Reached(format!("{} answers {} to OPTIONS", self.endpoint, answer.status.as_u16())),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn each_status_has_its_outcome() {
        let said = |status: &str| format!("{status}: why");
        let later = |status| Outcome::RetryLater { reason: said(status), after: None };
        let redirect = "redirects, which is not followed; put the final address into `url`";
        for (status, expected) in [
            (200, Outcome::Delivered),
            (202, Outcome::Delivered),
            (204, Outcome::Delivered),
            (302, Outcome::Misconfigured(format!("302: {redirect}"))),
            (307, Outcome::Misconfigured(format!("307: {redirect}"))),
            (400, Outcome::Refused(said("400 Bad Request"))),
            (401, Outcome::Unauthorized(said("401 Unauthorized"))),
            (403, Outcome::Unauthorized(said("403 Forbidden"))),
            (404, Outcome::Misconfigured(said("404 Not Found"))),
            (405, Outcome::Misconfigured(said("405 Method Not Allowed"))),
            (408, later("408 Request Timeout")),
            (413, Outcome::TooLarge(said("413 Payload Too Large"))),
            (415, Outcome::Misconfigured(said("415 Unsupported Media Type"))),
            (422, Outcome::Refused(said("422 Unprocessable Entity"))),
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
            let answer = Answer { status, headers: &headers, body: b"why", events: 3 };
            assert_eq!(answer.by_status(), expected);
        }
    }
}
