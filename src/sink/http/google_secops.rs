//! `type: google_secops`: Google Security Operations (Chronicle), through the method `logs:import` of its API.

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::service_account::ServiceAccount;
use super::{Answer, Authenticator, Destination, DestinationType, Endpoint, Grant, Parts, Requests};
use crate::record::Timestamp;
use crate::settings::{HttpSettings, Secret};
use crate::sink::settings::{Compression, Defaults};
use crate::sink::{Batch, BuildError, Context, Event, Limits, Outcome, Probe};

/// `type: google_secops`: Google Security Operations (Chronicle). Its parsers read the console's own records: `schema: raw`.
/// The label `event_id` tells an event that arrived twice.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Google Cloud project of the instance.
    pub project: String,
    /// Region of the instance, such as `us` or `europe-west2`.
    pub location: String,
    /// The instance (customer id), a UUID.
    pub instance: String,
    /// Log type, which chooses the parser; `{pipeline}`, `{stream}` and `{label.NAME}` are filled in.
    #[serde(default = "default_log_type")]
    pub log_type: String,
    /// Key of a service account, the JSON file as Google gives it out.
    pub service_account: Secret,
    /// Forwarder that the logs are booked on: its UUID.
    pub forwarder: Option<String>,
    /// Namespace of the assets.
    pub namespace: Option<String>,
    /// Version of the API.
    #[serde(default = "default_version")]
    pub api_version: String,
    /// Another address than the region's own, without the path.
    pub url: Option<Endpoint>,
    /// Another address for tokens than the key's own.
    pub token_url: Option<Endpoint>,
}

fn default_log_type() -> String {
    "SENTINEL_EDR".to_owned()
}

fn default_version() -> String {
    "v1alpha".to_owned()
}

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The quota is counted in bytes over five minutes: seconds are not worth waiting.
const THROTTLED: Duration = Duration::from_secs(60);

/// What a segment of a path may hold as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b':');

impl DestinationType for Settings {
    type Destination = GoogleSecops;

    /// 4 MB a request. Logs travel in base64, so that an event takes a third more than it has bytes.
    const DEFAULTS: Defaults = Defaults {
        limits: Limits { bytes: 3_500_000, event_bytes: 1_200_000, most_bytes: 4_000_000, ..Limits::NONE },
        flush: Duration::from_secs(5),
        concurrency: 2,
        concurrency_max: usize::MAX,
        compressions: &[Compression::None, Compression::Gzip],
    };

    fn parts(&self, context: &Context, http: &HttpSettings) -> Result<Parts<GoogleSecops>, BuildError> {
        let tokens = &context.shared.tokens;
        let account =
            ServiceAccount { key: self.service_account.clone(), scope: SCOPE, token_url: self.token_url.clone() };
        let auth = Authenticator::none().with_token(Grant::ServiceAccount(account), tokens, http)?;
        let log_type = self.log_type(context)?;
        let endpoint = log_type.join("logs:import");
        let destination = GoogleSecops { log_type, before: self.before(), after: self.after(context) };
        Ok(Parts { auth, headers: HeaderMap::new(), endpoint, destination })
    }
}

impl Settings {
    fn instance(&self) -> String {
        let encode = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
        let [project, location, instance] = [&self.project, &self.location, &self.instance].map(|text| encode(text));
        format!("projects/{project}/locations/{location}/instances/{instance}")
    }

    /// The address of the log type.
    fn log_type(&self, context: &Context) -> Result<Endpoint, BuildError> {
        let base = match &self.url {
            Some(url) => url.clone(),
            None => format!("https://chronicle.{}.rep.googleapis.com", self.location)
                .parse()
                .map_err(|_| BuildError::value("location", "not the name of a region"))?,
        };
        let log_type = context.fill("log_type", &self.log_type)?;
        let log_type = utf8_percent_encode(&log_type, SEGMENT);
        Ok(base.join(&format!("{}/{}/logTypes/{log_type}", self.api_version, self.instance())))
    }

    /// What stands before the first log.
    fn before(&self) -> String {
        let forwarder = self.forwarder.as_ref().map(|forwarder| {
            format!(r#""forwarder":{},"#, json!(format!("{}/forwarders/{forwarder}", self.instance())))
        });
        format!(r#"{{"inlineSource":{{{}"logs":["#, forwarder.unwrap_or_default())
    }

    /// What stands in each log behind its id.
    fn after(&self, context: &Context) -> String {
        let labels = [("pipeline", context.pipeline.as_str()), ("stream", context.stream.name())];
        let own = context.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = own.filter(|(name, _)| !matches!(*name, "event_id" | "pipeline" | "stream"));
        let labels = labels.into_iter().chain(own);
        let labels: String =
            labels.map(|(name, value)| format!(r#",{}:{{"value":{}}}"#, json!(name), json!(value))).collect();
        let namespace = self.namespace.as_ref().map(|name| format!(r#","environmentNamespace":{}"#, json!(name)));
        format!(r#""}}{labels}}}{}}}"#, namespace.unwrap_or_default())
    }
}

#[derive(Debug)]
pub(crate) struct GoogleSecops {
    log_type: Endpoint,
    before: String,
    after: String,
}

/// `{"error":{"code":400,"message":"..","status":"INVALID_ARGUMENT"}}`
#[derive(Deserialize)]
struct Said {
    error: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    message: String,
}

impl Destination for GoogleSecops {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn open(&self, _batch: &Batch, out: &mut Vec<u8>) {
        out.extend_from_slice(self.before.as_bytes());
    }

    fn event(&self, index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        if index > 0 {
            out.push(b',');
        }
        let now = Timestamp::now();
        // A log is collected after it came to be, whatever the two clocks say.
        let time = event.time.unwrap_or(now);
        let collected = now.max(time.plus(Duration::from_micros(1)));
        out.extend_from_slice(br#"{"data":""#);
        write_base64(event.body, out);
        // Writing into a Vec cannot fail.
        let _ = write!(
            out,
            r#"","logEntryTime":"{time}","collectionTime":"{collected}","labels":{{"event_id":{{"value":"{}"#,
            event.identity
        );
        out.extend_from_slice(self.after.as_bytes());
    }

    fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"]}}");
    }

    /// It takes a request as a whole or not at all. What is wrong stands in the message alone.
    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        match answer.taken_by("Google SecOps") {
            Outcome::RetryLater { reason, after } if answer.status.as_u16() == 429 => {
                Outcome::RetryLater { reason, after: after.or(Some(THROTTLED)) }
            }
            Outcome::Refused(reason) => {
                let message = serde_json::from_slice::<Said>(answer.body).map(|said| said.error.message);
                let message = message.unwrap_or_default().to_lowercase();
                let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
                if says(&["too large", "exceeds", "payload size", "request size"]) {
                    Outcome::TooLarge(reason)
                } else if says(&["log type", "logtype", "log_type", "forwarder"]) {
                    Outcome::Misconfigured(reason)
                } else {
                    Outcome::Refused(reason)
                }
            }
            outcome => outcome,
        }
    }

    /// Looks at the log type; nothing tells whether logs may be imported but importing some.
    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe> {
        async move {
            let reply = match requests.ask(Method::GET, self.log_type.url(), HeaderMap::new()).await {
                Ok(reply) => reply,
                Err(failure) => return failure.into_probe(),
            };
            let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
            let (host, reason) = (&self.log_type, answer.reason());
            match (reply.status.as_u16(), self.judge(&answer)) {
                (_, Outcome::Delivered) => {
                    Probe::Verified(format!("{host} takes the service account and knows the log type"))
                }
                (401, _) => Probe::Failed(format!("{host} does not take the service account: {reason}")),
                (403, _) => Probe::Reached(format!(
                    "{host} takes the service account and does not let it look at the log type (chronicle.logTypes.get); it needs chronicle.logs.import: {reason}"
                )),
                (404, _) => Probe::Failed(format!("{host} has no such instance or log type: {reason}")),
                _ => Probe::Failed(format!("{host}: {reason}")),
            }
        }
        .boxed()
    }
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    out.resize(begin + bytes.len().div_ceil(3) * 4, 0);
    // Room is there for all of it.
    let _ = BASE64_STANDARD.encode_slice(bytes, &mut out[begin..]);
}

#[cfg(test)]
mod tests;
