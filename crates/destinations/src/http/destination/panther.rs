//! `type: panther`: an HTTP source of Panther.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use s1_forwarder_engine::sink::{Event, Limits, Outcome, ProbeResult};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_settings::{HttpSettings, Secret, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generic::{Format, Generic};
use crate::http::{
    Auth, Authenticator, Destination, DestinationType, Endpoint, Framing, Parts, ResponseView, SinkClient,
};
use crate::integration::{Content, Integration, PANTHER};
use crate::line::Line;
use crate::sink_type::{Compression, SinkDefaults, SinkProperties, without_envelope};
use crate::{BuildError, DestinationHash, SinkContext};

/// `type: panther`: an HTTP source of Panther.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PantherSettings {
    /// URL of the source, such as `https://logs.INSTANCE.runpanther.net/http/UUID`.
    pub url: Endpoint,
    /// How events are framed; Panther detects it.
    #[serde(default)]
    pub format: Format,
    /// Send `{id, pipeline, stream, labels, record}` instead of the event alone.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Switch))]
    pub envelope: bool,
    /// `integration`: what the schema SentinelOne.Activity and Panther's rules read (docs/integrations.md).
    #[serde(default)]
    pub content: Content,
    /// Headers of every request. A source with a shared secret expects it in the header that the source names.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Credentials, for sources with another kind of authentication.
    #[serde(default)]
    pub auth: Auth,
}

impl SinkProperties for PantherSettings {
    /// A request has at most 1 MB after compression, including headers
    /// (<https://docs.panther.com/data-onboarding/data-transports/http>).
    fn defaults(&self) -> SinkDefaults {
        SinkDefaults {
            limits: Limits { bytes: 4_000_000, wire_bytes: 900_000, event_bytes: 900_000, ..Limits::NONE },
            batch_timeout: Duration::from_secs(2),
            concurrency: 2,
            concurrency_max: usize::MAX,
            compressions: &[Compression::Gzip, Compression::None],
        }
    }

    fn integration(&self) -> Option<&'static Integration> {
        self.content.integration(&PANTHER)
    }

    fn embeds_raw(&self) -> bool {
        self.envelope || self.format == Format::JsonArray
    }

    fn without_identity(&self, schema: Schema) -> Option<&'static str> {
        without_envelope(schema, self.envelope)
    }

    fn describe_destination(&self, _context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        hash.endpoints("url", [&self.url]).secrets(&self.headers);
        Ok(())
    }
}

impl DestinationType for PantherSettings {
    type Destination = Panther;

    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str] {
        &[r#"{ "url": "https://siem.example" }"#]
    }

    fn parts(&self, context: &SinkContext, http: &HttpSettings) -> Result<Parts<Panther>, BuildError> {
        self.content.check_envelope(self.envelope)?;
        let auth = Authenticator::new(&self.headers, &self.auth, &context.shared, http)?;
        let destination =
            Panther(Generic { format: self.format, line: Line::new(self.envelope, context), accept: None });
        Ok(Parts::new(auth, HeaderMap::new(), self.url.clone(), destination))
    }
}

/// The generic receiver, with the limits of Panther and a probe that posts an empty body.
#[derive(Debug)]
pub(crate) struct Panther(Generic);

impl Destination for Panther {
    fn content_type(&self) -> &'static str {
        self.0.content_type()
    }

    fn framing(&self) -> Framing<'_> {
        self.0.framing()
    }

    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        self.0.event(event, out);
    }

    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        response.expect_no_html()
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
    fn each_status_has_its_outcome() {
        let panther = Panther(Generic { format: Format::Ndjson, line: Line::plain(), accept: None });
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
            (429, "", "Transient"),
            (500, "", "Transient"),
            (502, "<html>", "Transient"),
            (503, "", "Transient"),
            (504, "", "Transient"),
        ] {
            assert_eq!(judged(&panther, status, body), expected, "{status} {body}");
        }
    }
}
