//! `type: panther`: an HTTP source of Panther.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::generic::{Format, Generic};
use super::{Answer, Auth, Authenticator, Destination, DestinationType, Endpoint, Parts, Requests};
use crate::settings::{HttpSettings, Secret};
use crate::sink::line::Line;
use crate::sink::settings::{Compression, Defaults};
use crate::sink::{Batch, BuildError, Context, Event, Limits, Outcome, Probe};

/// `type: panther`: an HTTP source of Panther.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The source's address, such as `https://logs.INSTANCE.runpanther.net/http/UUID`.
    pub url: Endpoint,
    /// How events are framed; Panther finds out by itself.
    #[serde(default)]
    pub format: Format,
    /// Send `{id, pipeline, stream, labels, record}` instead of the event alone.
    #[serde(default)]
    pub envelope: bool,
    /// Headers of every request; a source with a shared secret wants it in the one that was named there.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Credentials of sources with other kinds of authentication.
    #[serde(default)]
    pub auth: Auth,
}

impl DestinationType for Settings {
    type Destination = Panther;

    /// A request has 1 MB on the wire at most, headers included
    /// (<https://docs.panther.com/data-onboarding/data-transports/http>).
    const DEFAULTS: Defaults = Defaults {
        limits: Limits { bytes: 4_000_000, wire_bytes: 900_000, event_bytes: 900_000, ..Limits::NONE },
        flush: Duration::from_secs(2),
        concurrency: 2,
        concurrency_max: usize::MAX,
        compressions: &[Compression::Gzip, Compression::None],
    };

    fn parts(&self, context: &Context, http: &HttpSettings) -> Result<Parts<Panther>, BuildError> {
        let auth = Authenticator::new(&self.headers, &self.auth, &context.shared.tokens, http)?;
        let line = Line::new(self.envelope, context);
        let destination = Panther(Generic { endpoint: self.url.clone(), format: self.format, line });
        Ok(Parts { auth, headers: HeaderMap::new(), endpoint: self.url.clone(), destination })
    }
}

/// Differs from any other receiver in its limits, and in that it can be asked for nothing.
#[derive(Debug)]
pub(crate) struct Panther(Generic);

impl Destination for Panther {
    fn content_type(&self) -> &'static str {
        self.0.content_type()
    }

    fn open(&self, batch: &Batch, out: &mut Vec<u8>) {
        self.0.open(batch, out);
    }

    fn event(&self, index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        self.0.event(index, event, out);
    }

    fn close(&self, out: &mut Vec<u8>) {
        self.0.close(out);
    }

    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        match answer.status.as_u16() {
            200..=299 if answer.is_page() => {
                Outcome::Misconfigured(format!("answers with a page ({}); check `url`", answer.reason()))
            }
            _ => answer.by_status(),
        }
    }

    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe> {
        requests.probe_by_nothing(&self.0.endpoint).boxed()
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn each_status_has_its_outcome() {
        let endpoint = serde_json::from_str(r#""https://logs.acme.runpanther.net/http/x""#).unwrap();
        let panther = Panther(Generic { endpoint, format: Format::Ndjson, line: Line::plain() });
        for (status, body, expected) in [
            (200, "", "Delivered"),
            (200, r#"{"message":"ok"}"#, "Delivered"),
            (200, "<html>a login page</html>", "Misconfigured"),
            (302, "", "Misconfigured"),
            (400, "", "Refused"),
            (401, "", "Unauthorized"),
            (403, r#"{"message":"Forbidden"}"#, "Unauthorized"),
            (404, "", "Misconfigured"),
            (413, r#"{"message":"Request Too Long"}"#, "TooLarge"),
            (415, "", "Misconfigured"),
            (429, "", "RetryLater"),
            (500, "", "RetryLater"),
            (502, "<html>", "RetryLater"),
            (503, "", "RetryLater"),
            (504, "", "RetryLater"),
        ] {
            let (headers, status) = (HeaderMap::new(), StatusCode::from_u16(status).unwrap());
            let outcome = panther.judge(&Answer { status, headers: &headers, body: body.as_bytes(), events: 3 });
            assert!(format!("{outcome:?}").starts_with(expected), "{status} {body} → {outcome:?}");
        }
    }
}
