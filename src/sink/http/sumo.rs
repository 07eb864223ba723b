//! `type: sumo`: an HTTP source of a Sumo Logic hosted collector.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Answer, Authenticator, Destination, DestinationType, Endpoint, Parts, Requests};
use crate::settings::{HttpSettings, Secret};
use crate::sink::line::Line;
use crate::sink::settings::{Compression, Defaults};
use crate::sink::{BuildError, Context, Event, Limits, Outcome, Probe};

/// `type: sumo`: one event a line to an HTTP source of Sumo Logic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The source's address. Its last part is the credential, unless `code` or `token` holds it.
    pub url: Endpoint,
    /// The last part of the address, where `url` is without it.
    pub code: Option<Secret>,
    /// Token of a source with token authentication, sent in the header `x-sumo-token`.
    pub token: Option<Secret>,
    /// `_sourceCategory`; default `sentinelone/{stream}`. Here and below `{pipeline}`, `{stream}` and `{label.NAME}` are
    /// filled in.
    pub source_category: Option<String>,
    /// `_sourceHost`; default: the console's host.
    pub source_host: Option<String>,
    /// `_sourceName`; default `{pipeline}`.
    pub source_name: Option<String>,
    /// Fields of all events; Sumo Logic drops those that are not in its field schema.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Send `{id, pipeline, stream, labels, record}` instead of the event alone.
    #[serde(default)]
    pub envelope: bool,
}

impl DestinationType for Settings {
    type Destination = Sumo;

    /// A request has 1 MB before compression at most, and a message of more than 64 KB is cut into pieces
    /// (<https://help.sumologic.com/docs/send-data/hosted-collectors/http-source/logs-metrics/>).
    const DEFAULTS: Defaults = Defaults {
        limits: Limits { bytes: 1_000_000, most_bytes: 1_000_000, event_bytes: 64_000, ..Limits::NONE },
        flush: Duration::from_secs(2),
        concurrency: 4,
        concurrency_max: usize::MAX,
        compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
    };

    fn parts(&self, context: &Context, _http: &HttpSettings) -> Result<Parts<Sumo>, BuildError> {
        let mut auth = Authenticator::none();
        if let Some(code) = &self.code {
            auth = auth.with_path(code);
        }
        if let Some(token) = &self.token {
            auth = auth.with_header(HeaderName::from_static("x-sumo-token"), "", token);
        }
        let destination = Sumo { endpoint: self.url.clone(), line: Line::new(self.envelope, context) };
        Ok(Parts { auth, headers: self.headers(context)?, endpoint: self.url.clone(), destination })
    }
}

impl Settings {
    fn headers(&self, context: &Context) -> Result<HeaderMap, BuildError> {
        let mut headers = HeaderMap::new();
        let mut insert = |name: &'static str, key: &str, text: &str| {
            let value = HeaderValue::from_str(text);
            let value = value.map_err(|_| BuildError::value(key, "holds what no header can carry"))?;
            headers.insert(HeaderName::from_static(name), value);
            Ok::<_, BuildError>(())
        };
        let category = self.source_category.as_deref().unwrap_or("sentinelone/{stream}");
        insert("x-sumo-category", "source_category", &context.fill("source_category", category)?)?;
        let host = self.source_host.as_deref().map(|host| context.fill("source_host", host)).transpose()?;
        insert("x-sumo-host", "source_host", host.as_deref().unwrap_or(&context.console_host))?;
        let name = self.source_name.as_deref().unwrap_or("{pipeline}");
        insert("x-sumo-name", "source_name", &context.fill("source_name", name)?)?;
        let mut fields = Vec::new();
        for (name, value) in &self.fields {
            let value = context.fill("fields", value)?;
            if name.contains([',', '=']) || value.contains(',') {
                return Err(BuildError::value(
                    format!("fields.{name}"),
                    "a field has neither commas nor `=` in its name",
                ));
            }
            fields.push(format!("{name}={value}"));
        }
        if !fields.is_empty() {
            insert("x-sumo-fields", "fields", &fields.join(","))?;
        }
        Ok(headers)
    }
}

#[derive(Debug)]
pub(crate) struct Sumo {
    endpoint: Endpoint,
    line: Line,
}

impl Destination for Sumo {
    /// Any type but those of metrics is taken for logs.
    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn event(&self, _index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        self.line.write(event, out);
        out.push(b'\n');
    }

    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        match answer.status.as_u16() {
            200..=299 if answer.is_page() => {
                Outcome::Misconfigured(format!("answers with a page ({}); check `url`", answer.reason()))
            }
            // It was too much for the time that a request has; part of it may be stored.
            408 if answer.events > 1 => Outcome::TooLarge(answer.reason()),
            _ => answer.by_status(),
        }
    }

    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe> {
        requests.probe_by_nothing(&self.endpoint).boxed()
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn each_status_has_its_outcome() {
        let sumo =
            Sumo { endpoint: serde_json::from_str(r#""https://h/receiver/v1/http/x""#).unwrap(), line: Line::plain() };
        for (status, body, events, expected) in [
            (200, "", 3, "Delivered"),
            (200, "<!DOCTYPE html><title>Log in</title>", 3, "Misconfigured"),
            (302, "", 3, "Misconfigured"),
            (400, "", 3, "Refused"),
            (401, "", 3, "Unauthorized"),
            (403, "", 3, "Unauthorized"),
            (404, "", 3, "Misconfigured"),
            (408, "", 3, "TooLarge"),
            (408, "", 1, "RetryLater"),
            (413, "", 3, "TooLarge"),
            (429, "", 3, "RetryLater"),
            (500, "", 3, "RetryLater"),
            (503, "<html>", 3, "RetryLater"),
            (504, "", 3, "RetryLater"),
        ] {
            let (headers, status) = (HeaderMap::new(), StatusCode::from_u16(status).unwrap());
            let outcome = sumo.judge(&Answer { status, headers: &headers, body: body.as_bytes(), events });
            assert!(format!("{outcome:?}").starts_with(expected), "{status} {body} → {outcome:?}");
        }
    }
}
