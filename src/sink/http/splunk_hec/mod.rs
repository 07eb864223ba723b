//! `type: splunk_hec`: Splunk's HTTP Event Collector.

mod acks;
pub(super) mod events;
mod judge;
mod probe;

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Authenticator, Destination, DestinationType, Endpoint, Parts, ResponseView, SinkClient};
use crate::settings::{HttpSettings, Period, Secret};
use crate::sink::common::{Compression, Defaults};
use crate::sink::{BuildError, Event, Limits, Outcome, Probe, SinkContext};
use acks::{AckStatus, Acks};
use events::{Events, Metadata};
use judge::ResponseBody;

/// `type: splunk_hec`: Splunk's HTTP Event Collector. Splunk does not deduplicate; `dedup` by the indexed field
/// `event_id` does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplunkHecSettings {
    /// URL of the collector without path, such as `https://splunk.example:8088`.
    pub url: Endpoint,
    /// Token of the collector.
    pub token: Secret,
    /// Which endpoint of the collector accepts the events.
    #[serde(default)]
    pub endpoint: Kind,
    /// Index of the events; default: the token's. Here and below `{pipeline}`, `{stream}` and `{label.NAME}` are
    /// replaced.
    pub index: Option<String>,
    /// Source; default `s1:{stream}`.
    pub source: Option<String>,
    /// Source type; default `sentinelone:` and the stream's singular.
    pub sourcetype: Option<String>,
    /// Host; default: the console's host.
    pub host: Option<String>,
    /// Wait until the indexers have the events; for tokens with indexer acknowledgement. `{}` has the defaults.
    pub acknowledgement: Option<Acknowledgement>,
}

/// Endpoints of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Events as objects with time and indexed fields.
    #[default]
    Event,
    /// Events as lines; the source type extracts their time.
    Raw,
}

/// `acknowledgement:` of a collector.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Acknowledgement {
    /// A UUID that is used by nothing else; default: a random one for each lane and start.
    pub channel: Option<String>,
    /// How often to ask (1s).
    pub interval: Period,
    /// Events that are not acknowledged in this time are sent again (5m).
    pub timeout: Period,
}

impl Default for Acknowledgement {
    fn default() -> Self {
        let (interval, timeout) = (Period(Duration::from_secs(1)), Period(Duration::from_secs(300)));
        Self { channel: None, interval, timeout }
    }
}

const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

impl DestinationType for SplunkHecSettings {
    type Destination = SplunkHec;

    /// Splunk Cloud advises at most 1 MB a request; a collector on premises accepts 800 MiB
    /// (`max_content_length` in <https://docs.splunk.com/Documentation/Splunk/latest/Admin/Limitsconf>).
    const DEFAULTS: Defaults = Defaults {
        limits: Limits {
            events: 1_000,
            bytes: 1_000_000,
            event_bytes: 900_000,
            most_bytes: 838_860_800,
            ..Limits::NONE
        },
        flush: Duration::from_secs(1),
        concurrency: 4,
        concurrency_max: usize::MAX,
        compressions: &[Compression::Gzip, Compression::None],
    };

    fn parts(&self, context: &SinkContext, _http: &HttpSettings) -> Result<Parts<SplunkHec>, BuildError> {
        let auth = Authenticator::none().with_header(AUTHORIZATION, "Splunk ", &self.token);
        let metadata = self.metadata().fill(context)?;
        let collector = self.url.up_to("/services/collector").join("services/collector");
        let mut headers = HeaderMap::new();
        let mut acks = None;
        if let Some(settings) = &self.acknowledgement {
            for (key, period) in [("interval", settings.interval), ("timeout", settings.timeout)] {
                if period.0.is_zero() {
                    let problem = "0 would ask without a pause, or send everything again";
                    return Err(BuildError::value(format!("acknowledgement.{key}"), problem));
                }
            }
            let channel = acks::channel(settings)?;
            let value = HeaderValue::from_str(&channel).map_err(|_| acks::invalid_channel())?;
            headers.insert(CHANNEL, value);
            let endpoint = collector.join("ack").with_query("channel", &channel);
            acks = Some(Acks::new(endpoint, settings));
        }
        let (endpoint, events) = match self.endpoint {
            Kind::Event => (collector.join("event"), Some(Events::new(&metadata, context))),
            Kind::Raw => {
                let raw = collector.join("raw");
                (metadata.iter().fold(raw, |raw, (key, value)| raw.with_query(key, value)), None)
            }
        };
        let destination = SplunkHec { collector, events, acks };
        Ok(Parts { auth, headers, endpoint, destination })
    }
}

impl SplunkHecSettings {
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
pub(crate) struct SplunkHec {
    collector: Endpoint,
    /// `None` for `endpoint: raw`.
    events: Option<Events>,
    acks: Option<Acks>,
}

impl Destination for SplunkHec {
    fn content_type(&self) -> &'static str {
        if self.events.is_some() { "application/json" } else { "text/plain" }
    }

    fn event(&self, event: Event<'_>, out: &mut Vec<u8>) {
        match &self.events {
            Some(events) => events.write(event, out),
            None => {
                out.extend_from_slice(event.body);
                out.push(b'\n');
            }
        }
    }

    fn judge(&self, response: &ResponseView<'_>) -> Outcome {
        judge::judge(response)
    }

    /// Waits for the acknowledgement of accepted events, be it all of them or those before a refused one.
    fn confirm<'a>(
        &'a self,
        outcome: Outcome,
        response: ResponseView<'a>,
        client: &'a SinkClient,
    ) -> BoxFuture<'a, Outcome> {
        async move {
            let Some(acks) = &self.acks else { return outcome };
            let accepted_all =
                matches!(outcome, Outcome::Delivered | Outcome::DeliveredWithWarning(_) | Outcome::SlowDown(_));
            let Some(id) = ResponseBody::of(&response).and_then(|body| body.ack_id) else {
                if accepted_all {
                    acks.warn_unsupported();
                }
                return outcome;
            };
            if !accepted_all && !matches!(outcome, Outcome::Partial { .. }) {
                return outcome;
            }
            match acks.wait_for(id, client).await {
                AckStatus::Acknowledged => outcome,
                AckStatus::Unknown(reason) => unacknowledged(outcome, response.events, reason),
                AckStatus::QueryRefused(refusal) => refusal,
            }
        }
        .boxed()
    }

    fn probe<'a>(&'a self, endpoint: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, Probe> {
        probe::probe(&self.collector, endpoint, self.acks.as_ref(), client).boxed()
    }
}

/// The events that `outcome` calls delivered have to be sent again.
fn unacknowledged(outcome: Outcome, events: usize, reason: String) -> Outcome {
    match outcome {
        Outcome::Partial { rejected, .. } => {
            let refused = |index: &usize| rejected.iter().any(|(refused, _)| refused == index);
            let retry = (0..events).filter(|index| !refused(index)).collect();
            Outcome::Partial { rejected, retry, after: None }
        }
        _ => Outcome::RetryLater { reason, after: None },
    }
}
