//! `type: logscale`: CrowdStrike Falcon LogScale and NG-SIEM.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use s1_forwarder_engine::sink::{Event, Limits, Outcome, ProbeResult, WarningReason};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_settings::{HttpSettings, Secret, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::splunk_hec::events::{Events, Metadata};
use crate::http::event_time::time_or_now;
use crate::http::transport::framing::{Merged, write_body_as_string, write_string};
use crate::http::{Authenticator, Destination, DestinationType, Endpoint, Framing, Parts, ResponseView, SinkClient};
use crate::sink_type::{Compression, SinkDefaults, SinkProperties};
use crate::{BuildError, DestinationHash, SinkContext};

/// `type: logscale`: a repository of Falcon LogScale, or an NG-SIEM connector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogscaleSettings {
    /// The cluster, such as `https://cloud.community.humio.com`, or the complete URL of an NG-SIEM connector, which
    /// ends in `/services/collector`.
    pub url: Endpoint,
    /// Ingest token, or API key of the connector.
    pub token: Secret,
    /// Which API accepts the events.
    #[serde(default)]
    pub api: Api,
    /// `hec`: repository; it must be the token's own. Here and below `{pipeline}`, `{stream}` and `{label.NAME}` are
    /// replaced.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub index: Option<String>,
    /// `hec`: source; default `s1:{stream}`.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub source: Option<String>,
    /// `hec`: source type; default `sentinelone:` and the stream's singular.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub sourcetype: Option<String>,
    /// `hec`: host; default: the console's host.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub host: Option<String>,
    /// `structured`: tags, which separate the stored events and should have few values; default `{ sourcetype: … }`.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub tags: Option<BTreeMap<String, String>>,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

/// APIs of LogScale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Splunk's HTTP Event Collector; the parser of the token extracts the fields.
    #[default]
    Hec,
    /// Fields as they are, without a parser.
    Structured,
}

impl SinkProperties for LogscaleSettings {
    /// A request should have at most 5 MB, and an event 1 MiB
    /// (<https://library.humio.com/logscale-api/api-ingest.html>).
    fn defaults(&self) -> SinkDefaults {
        SinkDefaults {
            limits: Limits {
                events: 1_000,
                bytes: 4_000_000,
                event_bytes: 900_000,
                max_bytes: 5_000_000,
                ..Limits::NONE
            },
            batch_timeout: Duration::from_secs(1),
            concurrency: 4,
            concurrency_max: usize::MAX,
            compressions: &[Compression::Gzip, Compression::None],
        }
    }

    fn embeds_raw(&self) -> bool {
        true
    }

    fn describe_destination(&self, context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        hash.endpoints("url", [&self.url]).secret("token", &self.token);
        self.metadata().describe_destination(context, hash)?;
        Ok(())
    }
}

impl DestinationType for LogscaleSettings {
    type Destination = Logscale;

    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str] {
        &[
            r#"{ "url": "https://siem.example", "token": "t" }"#,
            r#"{ "url": "https://siem.example", "token": "t", "api": "structured" }"#,
        ]
    }

    fn parts(&self, context: &SinkContext, _http: &HttpSettings) -> Result<Parts<Logscale>, BuildError> {
        let auth = Authenticator::with_headers(&self.headers)?.with_header(AUTHORIZATION, "Bearer ", &self.token);
        let metadata = self.metadata();
        let has_path = !matches!(self.url.url().path(), "" | "/");
        let (path, writer) = match self.api {
            Api::Hec if self.tags.is_some() => {
                return Err(BuildError::value("tags", "belong to `api: structured`"));
            }
            Api::Hec => ("api/v1/ingest/hec", Writer::Hec(Events::new(&metadata.fill(context)?, context))),
            Api::Structured if !metadata.is_empty() => {
                let problem = "index, source, sourcetype and host belong to `api: hec`; use `tags` instead";
                return Err(BuildError::value("api", problem));
            }
            Api::Structured => ("api/v1/ingest/humio-structured", Writer::Structured(self.structured(context)?)),
        };
        let endpoint = if has_path { self.url.clone() } else { self.url.join(path) };
        let destination = Logscale { writer };
        Ok(Parts::new(auth, HeaderMap::new(), endpoint, destination))
    }
}

impl LogscaleSettings {
    fn structured(&self, context: &SinkContext) -> Result<Structured, BuildError> {
        let default =
            BTreeMap::from([("sourcetype".to_owned(), format!("sentinelone:{}", context.lane.stream.singular()))]);
        let mut tags = BTreeMap::new();
        for (name, value) in self.tags.as_ref().unwrap_or(&default) {
            tags.insert(name, context.fill("tags", value)?);
        }
        let mut origin = vec![
            ("pipeline".to_owned(), context.lane.pipeline.clone()),
            ("stream".to_owned(), context.lane.stream.to_string()),
        ];
        origin.extend(context.labels.iter().map(|(name, value)| (format!("label.{name}"), value.clone())));
        Ok(Structured {
            open: format!(r#"[{{"tags":{},"events":["#, json!(tags)),
            origin,
            raw: context.schema == Schema::Raw,
        })
    }
}

impl LogscaleSettings {
    fn metadata(&self) -> Metadata<'_> {
        Metadata {
            index: self.index.as_deref(),
            source: self.source.as_deref(),
            sourcetype: self.sourcetype.as_deref(),
            host: self.host.as_deref(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Logscale {
    writer: Writer,
}

#[derive(Debug)]
enum Writer {
    Hec(Events),
    Structured(Structured),
}

/// Mapped events are written as attributes, raw records as text.
#[derive(Debug)]
struct Structured {
    open: String,
    /// The attributes that are equal in every event.
    origin: Vec<(String, String)>,
    raw: bool,
}

impl Structured {
    fn write(&self, event: Event<'_>, out: &mut Vec<u8>) {
        let time = time_or_now(event);
        // Writing into a Vec cannot fail.
        let _ = write!(out, r#"{{"timestamp":"{time}","attributes":"#);
        // A mapped event is an object. Its keys become attributes.
        let is_text = self.raw || !event.body.starts_with(b"{");
        let mut attributes = Merged::begin(if is_text { b"{}" } else { event.body }, out);
        attributes.origin("event_id", |out| _ = write!(out, r#""{}""#, event.identity));
        for (name, value) in &self.origin {
            attributes.origin(name, |out| write_string(value, out));
        }
        if let Some(error) = event.error {
            attributes.member("error_message", |out| write_string(error, out));
        }
        attributes.end();
        if is_text {
            out.extend_from_slice(br#","rawstring":"#);
            write_body_as_string(event, out);
        }
        out.push(b'}');
    }
}

impl Destination for Logscale {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn framing(&self) -> Framing<'_> {
        match &self.writer {
            Writer::Hec(_) => Framing::NONE,
            Writer::Structured(structured) => {
                Framing { open: structured.open.as_bytes(), separator: b",", close: b"]}]" }
            }
        }
    }

    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        match &self.writer {
            Writer::Hec(events) => events.write(event, out),
            Writer::Structured(structured) => structured.write(event, out),
        }
    }

    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        /// `{"text":"Success","code":0}`, or `{}` from `humio-structured`.
        #[derive(Deserialize)]
        struct ResponseBody {
            #[serde(default)]
            code: u16,
        }
        match (response.by_status(), serde_json::from_slice::<ResponseBody>(response.body)) {
            (Outcome::Delivered, Ok(ResponseBody { code: 0 })) => Outcome::Delivered,
            (Outcome::Delivered, Ok(_)) => Outcome::warned(WarningReason::UnknownCode, response.reason()),
            (Outcome::Delivered, Err(_)) => response.unexpected("LogScale"),
            (other, _) => other,
        }
    }

    fn probe<'a>(&'a self, endpoint: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, ProbeResult> {
        client.probe_with_empty_post(endpoint).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::destination::judged;

    #[test]
    fn no_event_says_where_it_is_from() {
        let structured = Structured {
            open: String::new(),
            origin: vec![("pipeline".to_owned(), "acme".to_owned()), ("stream".to_owned(), "threats".to_owned())],
            raw: false,
        };
        let mut batch = s1_forwarder_engine::sink::Batch::new(s1_forwarder_record::Stream::Threats);
        for body in [r#"{"pipeline":"own","a":{"stream":1}}"#, "{}"] {
            let identity = s1_forwarder_record::Identity::of("h", s1_forwarder_record::Stream::Threats, "1", "");
            batch.push_with("1", identity, None, |out| {
                out.extend_from_slice(body.as_bytes());
                None
            });
        }
        let written = |index| {
            let mut out = Vec::new();
            structured.write(batch.event(index).unwrap(), &mut out);
            serde_json::from_slice::<serde_json::Value>(&out).unwrap()["attributes"].take()
        };
        let id = batch.event(0).unwrap().identity.to_string();
        assert_eq!(
            written(0),
            json!({ "event_id": id, "pipeline": "acme", "own.pipeline": "own", "stream": "threats", "a": { "stream": 1 } })
        );
        assert_eq!(written(1), json!({ "event_id": id, "pipeline": "acme", "stream": "threats" }));
    }

    #[test]
    fn each_response_has_its_outcome() {
        let structured = Structured { open: String::new(), origin: Vec::new(), raw: false };
        let logscale = Logscale { writer: Writer::Structured(structured) };
        for (status, body, expected) in [
            (200, r#"{"text":"Success","code":0}"#, "Delivered"),
            (200, "{}", "Delivered"),
            (200, r#"{"text":"something new","code":77}"#, "unknown_code"),
            (200, "<html>a login page</html>", "Misconfigured"),
            (200, "", "Misconfigured"),
            (302, "", "Misconfigured"),
            (400, "Could not parse", "Refused"),
            (401, "", "Unauthorized"),
            (403, "", "Unauthorized"),
            (404, "", "Misconfigured"),
            (413, "", "TooLarge"),
            (429, "", "Transient"),
            (500, "", "Transient"),
            (502, "<html>", "Transient"),
            (503, "", "Transient"),
        ] {
            assert_eq!(judged(&logscale, status, body), expected, "{status} {body}");
        }
    }
}
