//! `type: sumo`: an HTTP source of a Sumo Logic hosted collector.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use s1_forwarder_engine::sink::{Event, Limits, Outcome, ProbeResult};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_settings::{HttpSettings, Secret, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::{Authenticator, Destination, DestinationType, Endpoint, Parts, ResponseView, SinkClient};
use crate::integration::{Content, Integration, SUMO};
use crate::line::Line;
use crate::sink_type::{Compression, SinkDefaults, SinkProperties, without_envelope};
use crate::{BuildError, DestinationHash, SinkContext};

/// `type: sumo`: one event a line to an HTTP source of Sumo Logic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SumoSettings {
    /// URL of the source. Its last segment is the credential, unless `code` or `token` is given.
    pub url: Endpoint,
    /// The last segment of the URL, if `url` does not have it.
    pub code: Option<Secret>,
    /// Token of a source with token authentication, sent in the header `x-sumo-token`.
    pub token: Option<Secret>,
    /// `_sourceCategory`; default `sentinelone/{stream}`, or `sentinelone` with `content: integration`. Here and below
    /// `{pipeline}`, `{stream}` and `{label.NAME}` are replaced.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub source_category: Option<String>,
    /// `_sourceHost`; default: the console's host.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub source_host: Option<String>,
    /// `_sourceName`; default `{pipeline}`.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub source_name: Option<String>,
    /// Fields of all events; Sumo Logic drops fields that are not in its field schema.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub fields: BTreeMap<String, String>,
    /// Send `{id, pipeline, stream, labels, record}` instead of the event alone.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub envelope: bool,
    /// `integration`: the category and fields of Sumo Logic's app and Cloud SIEM (docs/integrations.md).
    #[serde(default)]
    pub content: Content,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
}

impl SinkProperties for SumoSettings {
    /// A request has at most 1 MB before compression. Sumo Logic splits a message above 64 KB
    /// (<https://help.sumologic.com/docs/send-data/hosted-collectors/http-source/logs-metrics/>).
    fn defaults(&self) -> SinkDefaults {
        SinkDefaults {
            limits: Limits { bytes: 1_000_000, max_bytes: 1_000_000, event_bytes: 64_000, ..Limits::NONE },
            batch_timeout: Duration::from_secs(2),
            concurrency: 4,
            concurrency_max: usize::MAX,
            compressions: &[Compression::Gzip, Compression::Zstd, Compression::None],
        }
    }

    fn integration(&self) -> Option<&'static Integration> {
        self.content.integration(&SUMO)
    }

    fn embeds_raw(&self) -> bool {
        self.envelope
    }

    fn without_identity(&self, schema: Schema) -> Option<&'static str> {
        without_envelope(schema, self.envelope)
    }

    fn describe_destination(&self, context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        let category = context.fill("source_category", self.category())?;
        hash.endpoints("url", [&self.url]).text("source_category", &category);
        for (name, secret) in [("code", &self.code), ("token", &self.token)] {
            secret.iter().for_each(|secret| _ = hash.secret(name, secret));
        }
        Ok(())
    }
}

impl DestinationType for SumoSettings {
    type Destination = Sumo;

    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str] {
        &[r#"{ "url": "https://siem.example", "envelope": true }"#]
    }

    fn parts(&self, context: &SinkContext, _http: &HttpSettings) -> Result<Parts<Sumo>, BuildError> {
        self.content.check_envelope(self.envelope)?;
        let mut auth = Authenticator::with_headers(&self.headers)?;
        if let Some(code) = &self.code {
            auth = auth.with_path(code);
        }
        if let Some(token) = &self.token {
            auth = auth.with_header(HeaderName::from_static("x-sumo-token"), "", token);
        }
        let destination = Sumo { line: Line::new(self.envelope, context) };
        Ok(Parts::new(auth, self.metadata(context)?, self.url.clone(), destination))
    }
}

impl SumoSettings {
    /// Returns the template of `source_category`, or its default.
    fn category(&self) -> &str {
        let default = match self.content {
            Content::Forwarder => "sentinelone/{stream}",
            Content::Integration => "sentinelone",
        };
        self.source_category.as_deref().unwrap_or(default)
    }

    fn metadata(&self, context: &SinkContext) -> Result<HeaderMap, BuildError> {
        let mut headers = HeaderMap::new();
        let mut insert = |name: &'static str, key: &str, text: &str| {
            let value = HeaderValue::from_str(text);
            let value = value.map_err(|_| BuildError::value(key, "has characters that no header can carry"))?;
            headers.insert(HeaderName::from_static(name), value);
            Ok::<_, BuildError>(())
        };
        let mut all_fields = self.fields.clone();
        if self.content == Content::Integration {
            for (name, value) in cloud_siem_fields(SUMO.name_of(context.lane.stream)?) {
                all_fields.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
        insert("x-sumo-category", "source_category", &context.fill("source_category", self.category())?)?;
        let host = self.source_host.as_deref().map(|host| context.fill("source_host", host)).transpose()?;
        insert("x-sumo-host", "source_host", host.as_deref().unwrap_or(context.hostname()))?;
        let name = self.source_name.as_deref().unwrap_or("{pipeline}");
        insert("x-sumo-name", "source_name", &context.fill("source_name", name)?)?;
        let mut fields = Vec::new();
        for (name, value) in &all_fields {
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

/// Returns the fields by which Cloud SIEM finds its mapping: the path of a parser, or the fields that a parser would
/// set. `name` is one of the names of [`SUMO`].
/// Source: <https://help.sumologic.com/docs/cse/ingestion/cse-ingestion-best-practices/>.
fn cloud_siem_fields(name: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut fields = vec![("_siemForward", "true")];
    if name.starts_with('/') {
        fields.push(("_parser", name));
    } else {
        let product = [("_siemVendor", "SentinelOne"), ("_siemProduct", "MGMT API"), ("_siemFormat", "JSON")];
        fields.extend(product);
        fields.push(("_siemEventID", name));
    }
    fields
}

#[derive(Debug)]
pub(crate) struct Sumo {
    line: Line,
}

impl Destination for Sumo {
    /// Sumo Logic treats every type except those of metrics as logs.
    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        self.line.write(event, out);
        out.push(b'\n');
    }

    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        match response.status.as_u16() {
            // The body took longer than the limit for a request. Part of it may be stored.
            408 if response.events > 1 => Outcome::TooLarge(response.reason()),
            _ => response.expect_no_html(),
        }
    }

    fn probe<'a>(&'a self, endpoint: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, ProbeResult> {
        client.probe_with_empty_post(endpoint).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::transport::response::judged_by;

    #[test]
    fn each_status_has_its_outcome() {
        let sumo = Sumo { line: Line::plain() };
        for (status, body, events, expected) in [
            (200, "", 3, "Delivered"),
            (200, "<!DOCTYPE html><title>Log in</title>", 3, "Misconfigured"),
            (302, "", 3, "Misconfigured"),
            (400, "", 3, "Refused"),
            (401, "", 3, "Unauthorized"),
            (403, "", 3, "Unauthorized"),
            (404, "", 3, "Misconfigured"),
            (408, "", 3, "TooLarge"),
            (408, "", 1, "Transient"),
            (413, "", 3, "TooLarge"),
            (429, "", 3, "Transient"),
            (500, "", 3, "Transient"),
            (503, "<html>", 3, "Transient"),
            (504, "", 3, "Transient"),
        ] {
            let outcome = judged_by(|response| sumo.judge(response), status, body, events);
            assert_eq!(outcome, expected, "{status} {body}");
        }
    }
}
