//! `type: splunk_hec`: Splunk's HTTP Event Collector.

mod acks;
pub(crate) mod events;
mod judge;
mod lookup;
mod probe;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use s1_forwarder_engine::sink::lookup::Lookup;
use s1_forwarder_engine::sink::{Event, Limits, Outcome, ProbeResult};
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_settings::{HttpSettings, Period, Secret, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::lookup::LookupClient;
use crate::http::transport::endpoint::addresses;
use crate::http::transport::exchange::{RequestError, Response};
use crate::http::{Address, Authenticator, Destination, DestinationType, Endpoint, Parts, ResponseView, SinkClient};
use crate::integration::{self, Content, Integration};
use crate::sink_type::{Compression, SinkDefaults, SinkProperties};
use crate::{BuildError, DestinationHash, SinkContext};

use acks::{AckStatus, Acknowledgement, Acks};
use events::{Events, Metadata};
use judge::ResponseBody;
use lookup::SearchHead;

/// `type: splunk_hec`: Splunk's HTTP Event Collector. Splunk does not deduplicate; `dedup` by the indexed field
/// `event_id` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplunkHecSettings {
    /// URL of the collector without path, such as `https://splunk.example:8088`.
    pub url: Option<Endpoint>,
    /// Several collectors instead of `url`. A lane uses one of them until it is unavailable.
    #[serde(default)]
    pub urls: Vec<Endpoint>,
    /// Token of the collector.
    pub token: Secret,
    /// Which endpoint of the collector accepts the events.
    #[serde(default)]
    pub endpoint: EndpointKind,
    /// Index of the events; default: the token's. Here and below `{pipeline}`, `{stream}` and `{label.NAME}` are
    /// replaced.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub index: Option<String>,
    /// Source; default `s1:{stream}`.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub source: Option<String>,
    /// Source type; default `sentinelone:` and the stream's singular; with `content: integration`, that of Splunk's
    /// app.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub sourcetype: Option<String>,
    /// Host; default: the console's host.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub host: Option<String>,
    /// Wait until the indexers have the events; for tokens with indexer acknowledgement. `{}` has the defaults.
    pub acknowledgement: Option<Acknowledgement>,
    /// `integration`: records, source types and the indexed field `siteName` of Splunk's app (docs/integrations.md).
    #[serde(default)]
    pub content: Content,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// How `verify --destination` searches for events. Nothing else uses it.
    pub verify: Option<SearchSettings>,
}

/// `verify:` of a sink: a search head, with a token that may only search the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchSettings {
    /// Management port of a search head, such as `https://splunk.example:8089`.
    pub url: Endpoint,
    /// Authentication token of a user who may only search.
    pub token: Secret,
    /// Index to search, with the same placeholders; default: `index` of the sink.
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub index: Option<String>,
    /// Headers of every request; each value may be a secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// How long an acknowledged event may take to be found.
    #[schemars(extend("default" = SETTLE))]
    pub settle: Option<Period>,
    /// Indexes that rules of Splunk put events into; an event that is there is not missing.
    #[serde(default)]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub elsewhere: Vec<String>,
}

const SETTLE: Period = Period(Duration::from_mins(15));

/// Endpoints of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointKind {
    /// Events as objects with time and indexed fields.
    #[default]
    Event,
    /// Events as lines; the source type extracts their time.
    Raw,
}

const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

impl SinkProperties for SplunkHecSettings {
    fn older_ocsf_reader(&self) -> Option<&'static str> {
        Some("Splunk's add-on OCSF-CIM knows OCSF 1.1 to 1.3")
    }

    /// Splunk Cloud advises at most 1 MB a request; a collector on premises accepts 800 MiB
    /// (`max_content_length` in <https://docs.splunk.com/Documentation/Splunk/latest/Admin/Limitsconf>).
    fn defaults(&self) -> SinkDefaults {
        SinkDefaults {
            limits: Limits {
                events: 1_000,
                bytes: 1_000_000,
                event_bytes: 900_000,
                max_bytes: 838_860_800,
                ..Limits::NONE
            },
            batch_timeout: Duration::from_secs(1),
            concurrency: 4,
            concurrency_max: usize::MAX,
            compressions: &[Compression::Gzip, Compression::None],
        }
    }

    fn integration(&self) -> Option<&'static Integration> {
        self.content.integration(&integration::SPLUNK_HEC)
    }

    fn probes_each_stream(&self) -> bool {
        self.content == Content::Integration
    }

    fn embeds_raw(&self) -> bool {
        self.endpoint == EndpointKind::Event
    }

    fn without_identity(&self, _schema: Schema) -> Option<&'static str> {
        (self.endpoint == EndpointKind::Raw).then_some("`endpoint: event` adds it as an indexed field")
    }

    fn describe_destination(&self, context: &SinkContext, hash: &mut DestinationHash<'_>) -> Result<(), BuildError> {
        let addresses = addresses(self.url.as_ref(), &self.urls)?.into_iter();
        let collectors: Vec<Endpoint> = addresses.map(|url| url.up_to("/services/collector")).collect();
        hash.endpoints("url", &collectors).secret("token", &self.token).route(&collectors, &self.headers);
        self.metadata(context)?.describe_destination(context, hash)?;
        Ok(())
    }
}

impl DestinationType for SplunkHecSettings {
    type Destination = SplunkHec;

    #[cfg(any(test, feature = "testing"))]
    fn sample_settings() -> &'static [&'static str] {
        &[
            r#"{ "url": "https://siem.example", "token": "t" }"#,
            r#"{ "url": "https://siem.example", "token": "t", "acknowledgement": {} }"#,
            r#"{ "url": "https://siem.example", "token": "t", "content": "integration" }"#,
        ]
    }

    fn parts(&self, context: &SinkContext, _http: &HttpSettings) -> Result<Parts<SplunkHec>, BuildError> {
        let auth = Authenticator::with_headers(&self.headers)?.with_header(AUTHORIZATION, "Splunk ", &self.token);
        let is_integration = self.content == Content::Integration;
        if is_integration && self.endpoint == EndpointKind::Raw {
            let problem = "`raw` excludes `content: integration`: lines have no indexed fields, such as `siteName`";
            return Err(BuildError::value("endpoint", problem));
        }
        let metadata = self.metadata(context)?.fill(context)?;
        let mut headers = HeaderMap::new();
        let channel = self.acknowledgement.as_ref().map(Acknowledgement::channel).transpose()?;
        if let Some(channel) = &channel {
            headers.insert(CHANNEL, HeaderValue::from_str(channel).map_err(|_| acks::invalid_channel())?);
        }
        let address = |url: &Endpoint| {
            let collector = url.up_to("/services/collector").join("services/collector");
            // Ids of requests count for each collector.
            let acks =
                self.acknowledgement.as_ref().zip(channel.as_ref()).map(|(settings, channel)| {
                    Acks::new(collector.join("ack").with_query("channel", channel), settings)
                });
            let (endpoint, events) = match self.endpoint {
                EndpointKind::Event => {
                    (collector.join("event"), Some(Events::new(&metadata, context).for_app(is_integration)))
                }
                EndpointKind::Raw => {
                    let raw = collector.join("raw");
                    (metadata.iter().fold(raw, |raw, (key, value)| raw.with_query(key, value)), None)
                }
            };
            let blank = is_integration.then(|| blank_event(&metadata));
            Address::new(endpoint, SplunkHec { collector, events, acks, blank })
        };
        let addresses = addresses(self.url.as_ref(), &self.urls)?.into_iter().map(address).collect();
        Ok(Parts { auth, headers, addresses })
    }

    fn lookup(&self, http: HttpSettings, context: &SinkContext) -> Result<Option<Arc<dyn Lookup>>, BuildError> {
        if let Some(advice) = self.without_identity(context.schema) {
            return Err(BuildError::value("endpoint", format!("events have no identity there: {advice}")));
        }
        let problem = "is missing: give it a search head, and a token that may only search";
        let verify = self.verify.as_ref().ok_or_else(|| BuildError::value("verify", problem))?;
        let problem = "is missing: it is not known which index the collector's token puts events into";
        let index = verify.index.as_deref().or(self.index.as_deref());
        let index = index.ok_or_else(|| BuildError::value("verify.index", problem))?;
        if let Some(label) = context.console_labels.iter().find(|label| index.contains(&format!("{{label.{label}}}"))) {
            let problem = format!("the index of an event depends on its label `{label}`");
            return Err(BuildError::value("index", problem));
        }
        let index = context.fill("index", index)?;
        for (key, name) in
            std::iter::once(("index", &index)).chain(verify.elsewhere.iter().map(|name| ("verify.elsewhere", name)))
        {
            if !is_index(name) {
                return Err(BuildError::value(key, format!("`{name}` cannot be the name of an index")));
            }
        }
        let auth = Authenticator::with_headers(&verify.headers)?.with_header(AUTHORIZATION, "Bearer ", &verify.token);
        Ok(Some(Arc::new(SearchHead {
            client: LookupClient::new(SinkClient::new(http, auth, HeaderMap::new(), context)?),
            base: verify.url.clone(),
            index,
            pipeline: context.lane.pipeline.clone(),
            stream: context.lane.stream.name(),
            visible_after: verify.settle.unwrap_or(SETTLE).0,
            elsewhere: verify.elsewhere.clone(),
        })))
    }
}

/// Returns whether the text is the name of one index. A wildcard would find the events of other indices.
fn is_index(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    !name.is_empty() && name.bytes().all(is_of_name)
}

impl SplunkHecSettings {
    fn metadata(&self, context: &SinkContext) -> Result<Metadata<'_>, BuildError> {
        let own = match self.content {
            Content::Forwarder => None,
            Content::Integration => Some(integration::SPLUNK_HEC.name_of(context.lane.stream)?),
        };
        Ok(Metadata {
            index: self.index.as_deref(),
            source: self.source.as_deref(),
            sourcetype: self.sourcetype.as_deref().or(own),
            host: self.host.as_deref(),
        })
    }
}

#[derive(Debug)]
pub(crate) struct SplunkHec {
    collector: Endpoint,
    /// `None` for `endpoint: raw`.
    events: Option<Events>,
    acks: Option<Acks>,
    /// An event without content, with index and source type, for the probe. No collector accepts it.
    blank: Option<String>,
}

fn blank_event(metadata: &events::Filled) -> String {
    let mut event: serde_json::Map<String, serde_json::Value> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), value.as_str().into())).collect();
    event.insert("event".to_owned(), "".into());
    serde_json::Value::Object(event).to_string()
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

    fn send<'a>(
        &'a self,
        request: BoxFuture<'a, Result<Response, RequestError>>,
    ) -> BoxFuture<'a, Result<Response, RequestError>> {
        match &self.acks {
            Some(acks) => acks.track(request).boxed(),
            None => request,
        }
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
                matches!(outcome, Outcome::Delivered | Outcome::DeliveredWithWarnings(_) | Outcome::SlowDown(_));
            let Some(id) = ResponseBody::of(&response).and_then(|body| body.ack_id) else {
                if accepted_all {
                    acks.warn_unsupported();
                }
                return outcome;
            };
            let pending = acks.pending_request(id);
            if !accepted_all && !matches!(outcome, Outcome::Partial { .. }) {
                return outcome;
            }
            match acks.wait_for(id, pending, client).await {
                AckStatus::Acknowledged => outcome,
                AckStatus::Unknown(reason) => unacknowledged(outcome, response.events, reason),
                AckStatus::QueryRefused(refusal) => refusal,
            }
        }
        .boxed()
    }

    fn probe<'a>(&'a self, endpoint: &'a Endpoint, client: &'a SinkClient) -> BoxFuture<'a, ProbeResult> {
        probe::probe(&self.collector, endpoint, self.acks.as_ref(), self.blank.as_deref(), client).boxed()
    }
}

/// Returns the outcome of a request without an acknowledgement: the events that `outcome` calls delivered have to be
/// sent again.
fn unacknowledged(outcome: Outcome, events: usize, reason: String) -> Outcome {
    match outcome {
        Outcome::Partial { refused, warnings, .. } => {
            let is_refused = |index: &usize| refused.iter().any(|refusal| refusal.index == *index);
            let retry = (0..events).filter(|index| !is_refused(index)).collect();
            Outcome::Partial { refused, retry, retry_after: None, warnings }
        }
        _ => Outcome::Busy(reason),
    }
}
