//! `type: datadog`: Datadog's logs intake, version 2.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Authenticator, Destination, DestinationType, Endpoint, Parts, Requests};
use crate::settings::{HttpSettings, Secret};
use crate::sink::settings::{Compression, Defaults};
use crate::sink::{Batch, BuildError, Context, Event, Limits, Outcome, Probe};

/// `type: datadog`: Datadog's logs intake. It cannot tell an event that it has seen before: the attribute `event_id` can.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// API key.
    pub api_key: Secret,
    /// The site of the account, such as `datadoghq.eu` or `us5.datadoghq.com`.
    #[serde(default = "default_site")]
    pub site: String,
    /// Another address than the site's own intake, without the path.
    pub url: Option<Endpoint>,
    /// `ddsource`, which chooses the pipeline that parses the events.
    #[serde(default = "default_source")]
    pub source: String,
    /// `service`.
    #[serde(default = "default_source")]
    pub service: String,
    /// `hostname`; default: the console's.
    pub hostname: Option<String>,
    /// Tags beside the pipeline, the stream and its labels; `{pipeline}`, `{stream}` and `{label.NAME}` are filled in.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

fn default_site() -> String {
    "datadoghq.com".to_owned()
}

fn default_source() -> String {
    "sentinelone".to_owned()
}

impl DestinationType for Settings {
    type Destination = Datadog;

    /// Datadog takes 5 MB and 1,000 logs a request. It cuts a log of more than 1 MB and says nothing of it.
    /// <https://docs.datadoghq.com/api/latest/logs/#send-logs>
    const DEFAULTS: Defaults = Defaults {
        limits: Limits {
            events: 1_000,
            bytes: 4_800_000,
            event_bytes: 1_000_000,
            most_events: 1_000,
            most_bytes: 5_000_000,
            ..Limits::NONE
        },
        flush: Duration::from_secs(2),
        concurrency: 4,
        concurrency_max: usize::MAX,
        compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
    };

    fn parts(&self, context: &Context, _http: &HttpSettings) -> Result<Parts<Datadog>, BuildError> {
        let auth = Authenticator::none().with_header(HeaderName::from_static("dd-api-key"), "", &self.api_key);
        let endpoint = self.endpoint()?;
        let destination = Datadog { endpoint: endpoint.clone(), origin: self.origin(context)? };
        Ok(Parts { auth, headers: HeaderMap::new(), endpoint, destination })
    }
}

impl Settings {
    fn endpoint(&self) -> Result<Endpoint, BuildError> {
        let base = match &self.url {
            Some(url) => url.clone(),
            None => format!("https://http-intake.logs.{}", self.site)
                .parse()
                .map_err(|_| BuildError::value("site", "not a site such as `datadoghq.eu`"))?,
        };
        Ok(base.join("api/v2/logs"))
    }

    /// What every log of a lane says beside its event.
    fn origin(&self, context: &Context) -> Result<String, BuildError> {
        let mut tags = BTreeMap::from([("pipeline", context.pipeline.clone()), ("stream", context.stream.to_string())]);
        tags.extend(context.labels.iter().map(|(name, value)| (name.as_str(), value.clone())));
        for (name, value) in &self.tags {
            tags.insert(name, context.fill("tags", value)?);
        }
        let tags: Vec<_> = tags.into_iter().map(|(name, value)| format!("{}:{}", tag(name), tag(&value))).collect();
        Ok(format!(
            r#""ddsource":{},"service":{},"hostname":{},"ddtags":{},"pipeline":{},"stream":"{}","message":"#,
            json!(self.source),
            json!(self.service),
            json!(self.hostname.as_ref().unwrap_or(&context.console_host)),
            json!(tags.join(",")),
            json!(context.pipeline),
            context.stream
        ))
    }
}

/// A comma would begin another tag.
fn tag(text: &str) -> String {
    text.replace(|c: char| c == ',' || c.is_whitespace() || c.is_control(), "_")
}

#[derive(Debug)]
pub(crate) struct Datadog {
    endpoint: Endpoint,
    origin: String,
}

impl Destination for Datadog {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn open(&self, _batch: &Batch, out: &mut Vec<u8>) {
        out.push(b'[');
    }

    /// The event goes as text into `message`, which Datadog parses: beside the reserved keys its own could not stand.
    fn event(&self, index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        // Writing into a Vec cannot fail.
        let _ = out.write_all(if index > 0 { b",{" } else { b"{" });
        if let Some(time) = event.time {
            let _ = write!(out, r#""timestamp":{},"#, time.millis());
        }
        if let Some(error) = event.error {
            let _ = write!(out, r#""status":"error","error":{{"message":{}}},"#, json!(error));
        }
        let _ = write!(out, r#""event_id":"{}","#, event.identity);
        out.extend_from_slice(self.origin.as_bytes());
        let _ = serde_json::to_writer(&mut *out, &String::from_utf8_lossy(event.body));
        out.push(b'}');
    }

    fn close(&self, out: &mut Vec<u8>) {
        out.push(b']');
    }

    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        answer.taken_by("Datadog")
    }

    /// An array without logs delivers nothing, and is looked at only when the key is good.
    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe> {
        async move {
            let reply = match requests.post(self.endpoint.url(), self.content_type(), b"[]").await {
                Ok(reply) => reply,
                Err(failure) => return failure.into_probe(),
            };
            let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
            match self.judge(&answer) {
                Outcome::Delivered | Outcome::Refused(_) => {
                    Probe::Verified(format!("{} takes the API key", self.endpoint))
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

    fn datadog() -> Datadog {
        Datadog { endpoint: "https://h".parse().unwrap(), origin: String::new() }
    }

    #[test]
    fn each_answer_has_its_outcome() {
        let bad = r#"{"errors":[{"status":"400","title":"Bad Request","detail":"not an array"}]}"#;
        for (status, body, expected) in [
            (202, "{}", "Delivered"),
            (202, r#"{"errors":[]}"#, "Delivered"),
            (200, "", "Delivered"),
            (200, "<html>a login page</html>", "Misconfigured"),
            (302, "", "Misconfigured"),
            (400, bad, "Refused"),
            (401, r#"{"errors":[{"status":"401","title":"Unauthorized"}]}"#, "Unauthorized"),
            (403, r#"{"errors":[{"status":"403","title":"Forbidden"}]}"#, "Unauthorized"),
            (404, "", "Misconfigured"),
            (408, "", "RetryLater"),
            (413, "<html>", "TooLarge"),
            (429, "", "RetryLater"),
            (500, "", "RetryLater"),
            (502, "<html>", "RetryLater"),
            (503, "", "RetryLater"),
        ] {
            assert_eq!(judged(&datadog(), status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn the_address_is_the_sites_or_the_given_one() {
        for (keys, url) in [
            (json!({ "api_key": "k" }), "https://http-intake.logs.datadoghq.com/api/v2/logs"),
            (
                json!({ "api_key": "k", "site": "us5.datadoghq.com" }),
                "https://http-intake.logs.us5.datadoghq.com/api/v2/logs",
            ),
            (json!({ "api_key": "k", "url": "https://proxy/dd/" }), "https://proxy/dd/api/v2/logs"),
            (json!({ "api_key": "k", "url": "https://proxy/api/v2/logs" }), "https://proxy/api/v2/logs"),
        ] {
            let settings: Settings = serde_json::from_value(keys).unwrap();
            assert_eq!(settings.endpoint().unwrap().url().as_str(), url);
        }
        let wrong: Settings = serde_json::from_value(json!({ "api_key": "k", "site": "a b" })).unwrap();
        assert!(wrong.endpoint().is_err());
    }
}
