//! `type: logscale`: CrowdStrike Falcon LogScale and NG-SIEM.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::splunk_hec::events::{Events, Metadata};
use super::{Answer, Authenticator, Destination, DestinationType, Endpoint, Parts, Requests};
use crate::record::Timestamp;
use crate::settings::{HttpSettings, Schema, Secret};
use crate::sink::settings::{Compression, Defaults};
use crate::sink::{Batch, BuildError, Context, Event, Limits, Outcome, Probe};

/// `type: logscale`: a repository of Falcon LogScale, or an NG-SIEM connector.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The cluster, such as `https://cloud.community.humio.com`; or the whole address of an NG-SIEM connector, which ends in
    /// `/services/collector`.
    pub url: Endpoint,
    /// Ingest token, or the connector's API key.
    pub token: Secret,
    /// Which of the interfaces takes the events.
    #[serde(default)]
    pub api: Api,
    /// `hec`: the repository; if it is given, it must be the token's. Here and below `{pipeline}`, `{stream}` and
    /// `{label.NAME}` are filled in.
    pub index: Option<String>,
    /// `hec`: source; default `s1:{stream}`.
    pub source: Option<String>,
    /// `hec`: source type; default `sentinelone:` and the stream's singular.
    pub sourcetype: Option<String>,
    /// `hec`: host; default: the console's.
    pub host: Option<String>,
    /// `structured`: tags, by which events are stored apart: few values each; default `{ sourcetype: … }`.
    pub tags: Option<BTreeMap<String, String>>,
}

/// Interfaces of LogScale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// As Splunk's collector has it; the token's parser makes fields of the event.
    #[default]
    Hec,
    /// Fields as they are, without a parser.
    Structured,
}

impl DestinationType for Settings {
    type Destination = Logscale;

    /// A request should have 5 MB at most, and an event 1 MiB
    /// (<https://library.humio.com/logscale-api/api-ingest.html>).
    const DEFAULTS: Defaults = Defaults {
        limits: Limits { events: 1_000, bytes: 4_000_000, event_bytes: 900_000, most_bytes: 5_000_000, ..Limits::NONE },
        flush: Duration::from_secs(1),
        concurrency: 4,
        concurrency_max: usize::MAX,
        compressions: &[Compression::Gzip, Compression::None],
    };

    fn parts(&self, context: &Context, _http: &HttpSettings) -> Result<Parts<Logscale>, BuildError> {
        let auth = Authenticator::none().with_header(AUTHORIZATION, "Bearer ", &self.token);
        let metadata = Metadata {
            index: self.index.as_deref(),
            source: self.source.as_deref(),
            sourcetype: self.sourcetype.as_deref(),
            host: self.host.as_deref(),
        };
        let has_path = !matches!(self.url.url().path(), "" | "/");
        let (path, framing) = match self.api {
            Api::Hec if self.tags.is_some() => {
                return Err(BuildError::value("tags", "belong to `api: structured`"));
            }
            Api::Hec => ("api/v1/ingest/hec", Framing::Hec(Events::new(&metadata.fill(context)?, context))),
            Api::Structured if !metadata.is_empty() => {
                let problem = "index, source, sourcetype and host belong to `api: hec`; here are `tags`";
                return Err(BuildError::value("api", problem));
            }
            Api::Structured => ("api/v1/ingest/humio-structured", Framing::Structured(self.structured(context)?)),
        };
        let endpoint = if has_path { self.url.clone() } else { self.url.join(path) };
        let destination = Logscale { endpoint: endpoint.clone(), framing };
        Ok(Parts { auth, headers: HeaderMap::new(), endpoint, destination })
    }
}

impl Settings {
    fn structured(&self, context: &Context) -> Result<Structured, BuildError> {
        let default = BTreeMap::from([("sourcetype".to_owned(), format!("sentinelone:{}", context.stream.singular()))]);
        let mut tags = BTreeMap::new();
        for (name, value) in self.tags.as_ref().unwrap_or(&default) {
            tags.insert(name, context.fill("tags", value)?);
        }
        let labels =
            context.labels.iter().map(|(name, value)| format!(",{}:{}", json!(format!("label.{name}")), json!(value)));
        let (pipeline, stream) = (json!(context.pipeline), context.stream);
        Ok(Structured {
            open: format!(r#"[{{"tags":{},"events":["#, json!(tags)),
            origin: format!(r#","pipeline":{pipeline},"stream":"{stream}"{}"#, labels.collect::<String>()),
            raw: context.schema == Schema::Raw,
        })
    }
}

#[derive(Debug)]
pub(crate) struct Logscale {
    endpoint: Endpoint,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    Hec(Events),
    Structured(Structured),
}

/// Events as attributes, raw records as text beside them.
#[derive(Debug)]
struct Structured {
    open: String,
    /// Attributes after the event's own id.
    origin: String,
    raw: bool,
}

impl Structured {
    fn write(&self, event: Event<'_>, out: &mut Vec<u8>) {
        let time = event.time.unwrap_or_else(Timestamp::now);
        // Writing into a Vec cannot fail.
        let _ = write!(out, r#"{{"timestamp":"{time}","attributes":{{"event_id":"{}""#, event.identity);
        out.extend_from_slice(self.origin.as_bytes());
        if let Some(error) = event.error {
            let _ = write!(out, r#","error_message":{}"#, json!(error));
        }
        // A mapped event is an object, whose keys become attributes beside those.
        let keys = event.body.strip_prefix(b"{").filter(|_| !self.raw);
        match keys.map(<[u8]>::trim_ascii_start) {
            Some(b"}") => out.extend_from_slice(b"}}"),
            Some(keys) => {
                out.push(b',');
                out.extend_from_slice(keys);
                out.push(b'}');
            }
            None => {
                out.extend_from_slice(br#"},"rawstring":"#);
                let _ = serde_json::to_writer(&mut *out, &String::from_utf8_lossy(event.body));
                out.push(b'}');
            }
        }
    }
}

impl Destination for Logscale {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn open(&self, _batch: &Batch, out: &mut Vec<u8>) {
        if let Framing::Structured(structured) = &self.framing {
            out.extend_from_slice(structured.open.as_bytes());
        }
    }

    fn event(&self, index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        match &self.framing {
            Framing::Hec(events) => events.write(event, out),
            Framing::Structured(structured) => {
                if index > 0 {
                    out.push(b',');
                }
                structured.write(event, out);
            }
        }
    }

    fn close(&self, out: &mut Vec<u8>) {
        if let Framing::Structured(_) = &self.framing {
            out.extend_from_slice(b"]}]");
        }
    }

    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        /// `{"text":"Success","code":0}`, or `{}` where events are structured.
        #[derive(Deserialize)]
        struct Said {
            #[serde(default)]
            code: u16,
        }
        match (answer.by_status(), serde_json::from_slice::<Said>(answer.body)) {
            (Outcome::Delivered, Ok(Said { code: 0 })) => Outcome::Delivered,
            (Outcome::Delivered, Ok(_)) => Outcome::DeliveredWithWarning(answer.reason()),
            (Outcome::Delivered, Err(_)) => {
                Outcome::Misconfigured(format!("does not answer as LogScale does ({}); check `url`", answer.reason()))
            }
            (other, _) => other,
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
    fn each_answer_has_its_outcome() {
        let endpoint = serde_json::from_str(r#""https://h/api/v1/ingest/humio-structured""#).unwrap();
        let structured = Structured { open: String::new(), origin: String::new(), raw: false };
        let logscale = Logscale { endpoint, framing: Framing::Structured(structured) };
        for (status, body, expected) in [
            (200, r#"{"text":"Success","code":0}"#, "Delivered"),
            (200, "{}", "Delivered"),
            (200, r#"{"text":"something new","code":77}"#, "DeliveredWithWarning"),
            (200, "<html>a login page</html>", "Misconfigured"),
            (200, "", "Misconfigured"),
            (302, "", "Misconfigured"),
            (400, "Could not parse", "Refused"),
            (401, "", "Unauthorized"),
            (403, "", "Unauthorized"),
            (404, "", "Misconfigured"),
            (413, "", "TooLarge"),
            (429, "", "RetryLater"),
            (500, "", "RetryLater"),
            (502, "<html>", "RetryLater"),
            (503, "", "RetryLater"),
        ] {
            let (headers, status) = (HeaderMap::new(), StatusCode::from_u16(status).unwrap());
            let outcome = logscale.judge(&Answer { status, headers: &headers, body: body.as_bytes(), events: 3 });
            let word = format!("{outcome:?}").split([' ', '(']).next().unwrap_or_default().to_owned();
            assert_eq!(word, expected, "{status} {body}");
        }
    }
}
