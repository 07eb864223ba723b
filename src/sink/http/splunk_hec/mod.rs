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
use serde::Deserialize;

use super::{Answer, Authenticator, Destination, DestinationType, Endpoint, Parts, Requests};
use crate::settings::{HttpSettings, Period, Secret};
use crate::sink::settings::{Compression, Defaults};
use crate::sink::{BuildError, Context, Event, Limits, Outcome, Probe};
use acks::{Acks, Fate};
use events::{Events, Metadata};
use judge::Said;

/// `type: splunk_hec`: Splunk's HTTP Event Collector. It cannot tell an event that it has seen before: `dedup` by the
/// indexed field `event_id`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The collector, such as `https://splunk.example:8088`; the path is added.
    pub url: Endpoint,
    /// Token of the collector.
    pub token: Secret,
    /// Which of the collector's endpoints takes the events.
    #[serde(default)]
    pub endpoint: Kind,
    /// Index of the events; default: the token's own. Here and below `{pipeline}`, `{stream}` and `{label.NAME}` are filled in.
    pub index: Option<String>,
    /// Source; default `s1:{stream}`.
    pub source: Option<String>,
    /// Source type; default `sentinelone:` and the stream's singular.
    pub sourcetype: Option<String>,
    /// Host; default: the console's.
    pub host: Option<String>,
    /// Wait until the indexers have the events, for tokens with indexer acknowledgement; `{}` for the defaults.
    pub acknowledgement: Option<Acknowledgement>,
}

/// Endpoints of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Events as objects with time and indexed fields.
    #[default]
    Event,
    /// Events as lines; the source type finds their time.
    Raw,
}

/// `acknowledgement:` of a collector.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Acknowledgement {
    /// A UUID that nothing else uses; default: a random one for each lane and start.
    pub channel: Option<String>,
    /// How often to ask (1s).
    pub interval: Period,
    /// Events that are not acknowledged by then are sent again (5m).
    pub timeout: Period,
}

impl Default for Acknowledgement {
    fn default() -> Self {
        let (interval, timeout) = (Period(Duration::from_secs(1)), Period(Duration::from_secs(300)));
        Self { channel: None, interval, timeout }
    }
}

const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

impl DestinationType for Settings {
    type Destination = SplunkHec;

    /// Splunk Cloud advises requests of 1 MB at most; a collector of one's own takes 800 MiB
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

    fn parts(&self, context: &Context, _http: &HttpSettings) -> Result<Parts<SplunkHec>, BuildError> {
        let auth = Authenticator::none().with_header(AUTHORIZATION, "Splunk ", &self.token);
        let metadata = self.metadata().fill(context)?;
        let collector = self.url.up_to("/services/collector").join("services/collector");
        let mut headers = HeaderMap::new();
        let mut acks = None;
        if let Some(settings) = &self.acknowledgement {
            for (key, period) in [("interval", settings.interval), ("timeout", settings.timeout)] {
                if period.0.is_zero() {
                    let problem = "0 would ask without pause, or send everything again";
                    return Err(BuildError::value(format!("acknowledgement.{key}"), problem));
                }
            }
            let channel = acks::channel(settings)?;
            let value = HeaderValue::from_str(&channel).map_err(|_| acks::no_channel())?;
            headers.insert(CHANNEL, value);
            let endpoint = collector.join("ack").with_query("channel", &channel);
            acks = Some(Acks::new(endpoint, settings, context));
        }
        let (endpoint, events) = match self.endpoint {
            Kind::Event => (collector.join("event"), Some(Events::new(&metadata, context))),
            Kind::Raw => {
                let raw = collector.join("raw");
                (metadata.iter().fold(raw, |raw, (key, value)| raw.with_query(key, value)), None)
            }
        };
        let destination = SplunkHec { collector, endpoint: endpoint.clone(), events, acks };
        Ok(Parts { auth, headers, endpoint, destination })
    }
}

impl Settings {
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
    endpoint: Endpoint,
    /// None writes lines.
    events: Option<Events>,
    acks: Option<Acks>,
}

impl Destination for SplunkHec {
    fn content_type(&self) -> &'static str {
        if self.events.is_some() { "application/json" } else { "text/plain" }
    }

    fn event(&self, _index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        match &self.events {
            Some(events) => events.write(event, out),
            None => {
                out.extend_from_slice(event.body);
                out.push(b'\n');
            }
        }
    }

    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        judge::judge(answer)
    }

    /// What was taken, in whole or up to an event, waits for its acknowledgement.
    fn confirm<'a>(&'a self, outcome: Outcome, answer: Answer<'a>, requests: &'a Requests) -> BoxFuture<'a, Outcome> {
        async move {
            let Some(acks) = &self.acks else { return outcome };
            let took_all =
                matches!(outcome, Outcome::Delivered | Outcome::DeliveredWithWarning(_) | Outcome::SlowDown(_));
            let Some(id) = Said::of(&answer).and_then(|said| said.ack_id) else {
                if took_all {
                    acks.are_missing();
                }
                return outcome;
            };
            if !took_all && !matches!(outcome, Outcome::Partial { .. }) {
                return outcome;
            }
            match acks.wait_for(id, requests).await {
                Fate::Taken => outcome,
                Fate::Lost(reason) => lost(outcome, answer.events, reason),
                Fate::Stop(stop) => stop,
            }
        }
        .boxed()
    }

    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe> {
        probe::probe(&self.collector, &self.endpoint, self.acks.as_ref(), requests).boxed()
    }
}

/// What was thought to be taken is to be sent again.
fn lost(outcome: Outcome, events: usize, reason: String) -> Outcome {
    match outcome {
        Outcome::Partial { rejected, .. } => {
            let refused = |index: &usize| rejected.iter().any(|(refused, _)| refused == index);
            let retry = (0..events).filter(|index| !refused(index)).collect();
            Outcome::Partial { rejected, retry, after: None }
        }
        _ => Outcome::RetryLater { reason, after: None },
    }
}
