//! `type: datadog`: Datadog's logs intake, version 2.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName};
use s1_forwarder_engine::sink::{Event, Limits, Outcome, ProbeResult};
use s1_forwarder_record::Reader;
use s1_forwarder_settings::{HttpSettings, Secret, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::http::event_time::{SentTime, TimeLimits};
use crate::http::transport::framing::{has_member, write_string};
use crate::http::transport::url_part::host_labels;
use crate::http::{Authenticator, Destination, DestinationType, Endpoint, Framing, Parts, ResponseView, SinkClient};
use crate::integration::{Content, DATADOG, Integration};
use crate::sink_type::{Compression, SinkDefaults, SinkProperties};
use crate::{BuildError, DestinationHash, SinkContext};

/// `type: datadog`: Datadog's logs intake. Datadog does not deduplicate; the attribute `event_id` identifies
/// duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatadogSettings {
    /// API key.
    pub api_key: Secret,
    /// The site of the account, such as `datadoghq.eu` or `us5.datadoghq.com`.
    #[serde(default = "default_site")]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub site: String,
    /// URL without path, instead of the site's own intake.
    pub url: Option<Endpoint>,
    /// `ddsource`, which selects the Datadog pipeline that parses the events.
    #[serde(default = "default_source")]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub source: String,
    /// `service`.
    #[serde(default = "default_source")]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub service: String,
    /// `hostname`; default: the console's host.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub hostname: Option<String>,
    /// Tags in addition to the pipeline, the stream and the labels; `{pipeline}`, `{stream}` and `{label.NAME}` are
    /// replaced.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub tags: BTreeMap<String, String>,
    /// `integration`: the records and tags of Datadog's SentinelOne integration (docs/integrations.md).
    #[serde(default)]
    pub content: Content,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

/// Datadog drops a log whose official date is more than 18 hours ago or two hours ahead, after it answered 202
/// (<https://docs.datadoghq.com/logs/troubleshooting/>,
/// <https://docs.datadoghq.com/logs/log_configuration/processors/log_date_remapper/>). The limits leave an hour for
/// attempts and for clocks that differ.
const ACCEPTED_TIMES: TimeLimits = TimeLimits { past: Duration::from_hours(17), future: Duration::from_hours(1) };

/// The attribute for an event's own time if the log has another time. Datadog reads no official date from this name.
const OWN_TIME: &str = "event_time";

/// How a mapped event begins. Datadog reads the official date from `@timestamp` as well.
const ECS_TIME: &str = r#"{"@timestamp":"#;

fn default_site() -> String {
    "datadoghq.com".to_owned()
}

fn default_source() -> String {
    "sentinelone".to_owned()
}

impl SinkProperties for DatadogSettings {
    fn older_ocsf_reader(&self) -> Option<&'static str> {
        Some("Datadog's own mappings to OCSF end at 1.3")
    }

    /// Datadog accepts 5 MB and 1,000 logs a request, and truncates a log above 1 MB without an error
    /// (<https://docs.datadoghq.com/api/latest/logs/#send-logs>).
    fn defaults(&self) -> SinkDefaults {
        SinkDefaults {
            limits: Limits {
                events: 1_000,
                bytes: 4_800_000,
                event_bytes: 1_000_000,
                max_events: 1_000,
                max_bytes: 5_000_000,
                ..Limits::NONE
            },
            batch_timeout: Duration::from_secs(2),
            concurrency: 4,
            concurrency_max: usize::MAX,
            compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
        }
    }

    fn integration(&self) -> Option<&'static Integration> {
        self.content.integration(&DATADOG)
    }

    fn embeds_raw(&self) -> bool {
        true
    }

    fn describe_destination(&self, _context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        hash.endpoints("url", [&self.endpoint()?]).secret("api_key", &self.api_key).text("source", &self.source);
        Ok(())
    }
}

impl DestinationType for DatadogSettings {
    type Destination = Datadog;

    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str] {
        &[r#"{ "api_key": "k" }"#, r#"{ "api_key": "k", "content": "integration" }"#]
    }

    fn parts(&self, context: &SinkContext, _http: &HttpSettings) -> Result<Parts<Datadog>, BuildError> {
        let auth = Authenticator::with_headers(&self.headers)?.with_header(
            HeaderName::from_static("dd-api-key"),
            "",
            &self.api_key,
        );
        let endpoint = self.endpoint()?;
        let destination = Datadog { constant: self.constant_members(context)? };
        Ok(Parts::new(auth, HeaderMap::new(), endpoint, destination))
    }
}

impl DatadogSettings {
    fn endpoint(&self) -> Result<Endpoint, BuildError> {
        let base = match &self.url {
            Some(url) => url.clone(),
            None => format!("https://http-intake.logs.{}", host_labels("site", &self.site, "`datadoghq.eu`")?)
                .parse()
                .map_err(|_| BuildError::value("site", "not a site such as `datadoghq.eu`"))?,
        };
        Ok(base.join("api/v2/logs"))
    }

    /// Returns the members that are equal in every log of a lane.
    fn constant_members(&self, context: &SinkContext) -> Result<String, BuildError> {
        let mut tags =
            BTreeMap::from([("pipeline", context.lane.pipeline.clone()), ("stream", context.lane.stream.to_string())]);
        tags.extend(context.labels.iter().map(|(name, value)| (name.as_str(), value.clone())));
        if self.content == Content::Integration {
            tags.insert("endpoint", DATADOG.name_of(context.lane.stream)?.to_owned());
        }
        for (name, value) in &self.tags {
            tags.insert(name, context.fill("tags", value)?);
        }
        let tags: Vec<_> = tags.into_iter().map(|(name, value)| format!("{}:{}", tag(name), tag(&value))).collect();
        Ok(format!(
            r#""ddsource":{},"service":{},"hostname":{},"ddtags":{},"pipeline":{},"stream":"{}","message":"#,
            json!(self.source),
            json!(self.service),
            json!(self.hostname.as_deref().unwrap_or(context.hostname())),
            json!(tags.join(",")),
            json!(context.lane.pipeline),
            context.lane.stream
        ))
    }
}

/// Replaces commas, which separate tags, and blanks.
fn tag(text: &str) -> String {
    text.replace(|c: char| c == ',' || c.is_whitespace() || c.is_control(), "_")
}

#[derive(Debug)]
pub(crate) struct Datadog {
    /// The members that are equal in every log.
    constant: String,
}

impl Destination for Datadog {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn framing(&self) -> Framing<'_> {
        Framing::JSON_ARRAY
    }

    /// The event is a string in `message`, which Datadog parses: its own keys could clash with the reserved ones.
    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        let SentTime { time, replaced } = ACCEPTED_TIMES.time_of(event);
        out.push(b'{');
        if event.time.is_some() {
            // Writing into a Vec cannot fail.
            let _ = write!(out, r#""timestamp":{},"#, time.millis());
        }
        if let Some(own) = replaced {
            let _ = write!(out, r#""{OWN_TIME}":"{own}","#);
        }
        if let Some(error) = event.error {
            let _ = write!(out, r#""status":"error","error":{{"message":{}}},"#, json!(error));
        }
        let _ = write!(out, r#""event_id":"{}","#, event.identity);
        out.extend_from_slice(self.constant.as_bytes());
        let message = String::from_utf8_lossy(event.body);
        let after_time = if replaced.is_some() { message.strip_prefix(ECS_TIME) } else { None };
        match after_time {
            // The event's own member of that name counts. The log has the own time next to the message, too.
            Some(rest) if has_member(event.body, OWN_TIME) => {
                let time = Reader::new(rest).value().unwrap_or_default();
                let others = rest.get(time.len()..).unwrap_or_default().trim_start_matches(',');
                write_string(&format!("{{{others}"), out);
            }
            Some(rest) => write_string(&format!(r#"{{"{OWN_TIME}":{rest}"#), out),
            None => write_string(&message, out),
        }
        out.push(b'}');
    }

    fn event_overhead_bytes(&self) -> Option<usize> {
        Some(0)
    }

    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        response.expect_refusal(response.expect_json("Datadog"), "errors", "Datadog")
    }

    /// Posts an empty array, which delivers nothing. Datadog reads it only if the key is valid.
    fn probe<'a>(&'a self, endpoint: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, ProbeResult> {
        let accepted = ProbeResult::Verified(format!("{endpoint} accepts the API key"));
        let judge = move |response: &ResponseView<'_>| ProbeResult::of(&self.judge(response), endpoint, accepted);
        client.probe_with_post(endpoint, self.content_type(), b"[]", judge).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::destination::judged;

    fn datadog() -> Datadog {
        Datadog { constant: String::new() }
    }

    #[test]
    fn each_response_has_its_outcome() {
        let bad = r#"{"errors":[{"status":"400","title":"Bad Request","detail":"not an array"}]}"#;
        for (status, body, expected) in [
            (202, "{}", "Delivered"),
            (202, r#"{"errors":[]}"#, "Delivered"),
            (200, "", "Delivered"),
            (200, "<html>a login page</html>", "Misconfigured"),
            (302, "", "Misconfigured"),
            (400, bad, "Refused"),
            (400, r#"{"message":"Bad Request"}"#, "Misconfigured"),
            (401, r#"{"errors":[{"status":"401","title":"Unauthorized"}]}"#, "Unauthorized"),
            (403, r#"{"errors":[{"status":"403","title":"Forbidden"}]}"#, "Unauthorized"),
            (404, "", "Misconfigured"),
            (408, "", "Transient"),
            (413, "<html>", "TooLarge"),
            (429, "", "Transient"),
            (500, "", "Transient"),
            (502, "<html>", "Transient"),
            (503, "", "Transient"),
        ] {
            assert_eq!(judged(&datadog(), status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn the_url_is_the_sites_or_the_given_one() {
        for (keys, url) in [
            (json!({ "api_key": "k" }), "https://http-intake.logs.datadoghq.com/api/v2/logs"),
            (
                json!({ "api_key": "k", "site": "us5.datadoghq.com" }),
                "https://http-intake.logs.us5.datadoghq.com/api/v2/logs",
            ),
            (json!({ "api_key": "k", "url": "https://proxy/dd/" }), "https://proxy/dd/api/v2/logs"),
            (json!({ "api_key": "k", "url": "https://proxy/api/v2/logs" }), "https://proxy/api/v2/logs"),
        ] {
            let settings: DatadogSettings = serde_json::from_value(keys).unwrap();
            assert_eq!(settings.endpoint().unwrap().url().as_str(), url);
        }
        let wrong: DatadogSettings = serde_json::from_value(json!({ "api_key": "k", "site": "a b" })).unwrap();
        assert!(wrong.endpoint().is_err());
    }
}
