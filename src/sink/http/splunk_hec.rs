//! `type: splunk_hec`: Splunk's HTTP Event Collector.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::request::http_settings;
use super::{Answer, Auth, Authenticator, Destination, Endpoint, HttpSink, Requests};
use crate::settings::Secret;
use crate::sink::settings::{Common, Compression, Defaults, SinkType};
use crate::sink::{BuildError, Context, Event, Limits, Outcome, Probe, Sink};

/// `type: splunk_hec`: Splunk's HTTP Event Collector. It cannot tell an event that it has seen before: `dedup` by the
/// indexed field `event_id`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The collector, such as `https://splunk.example:8088`, without the path.
    pub url: Endpoint,
    /// Token of the collector.
    pub token: Secret,
    /// Index of the events; default: the token's own.
    pub index: Option<String>,
    /// Source; default `s1:{stream}`.
    pub source: Option<String>,
    /// Source type; default `sentinelone:` and the stream's singular.
    pub sourcetype: Option<String>,
    /// Host; default: the console's.
    pub host: Option<String>,
}

/// Splunk Cloud advises requests of 1 MB at most.
const DEFAULTS: Defaults = Defaults {
    limits: Limits { events: 1_000, bytes: 1_000_000, event_bytes: 900_000, ..Limits::NONE },
    flush: Duration::from_secs(1),
    concurrency: 4,
    concurrency_max: usize::MAX,
    compressions: &[Compression::Gzip, Compression::None],
};

impl SinkType for Settings {
    fn defaults(&self) -> Defaults {
        DEFAULTS
    }

    fn build(&self, common: &Common, context: &Context) -> Result<Arc<dyn Sink>, BuildError> {
        let http = http_settings(common);
        let auth = Authenticator::new(&Default::default(), &Auth::None, &context.shared.tokens, &http)?.with_header(
            AUTHORIZATION,
            "Splunk ",
            &self.token,
        );
        let requests = Requests::new(http, auth, HeaderMap::new(), context)?;
        let endpoint = self.url.join("services/collector/event");
        let destination =
            SplunkHec { endpoint: endpoint.clone(), before: self.before(context)?, after: fields(context) };
        Ok(Arc::new(HttpSink::new(destination, endpoint, requests, common, &DEFAULTS)))
    }
}

impl Settings {
    /// What stands between an event's time and the event.
    fn before(&self, context: &Context) -> Result<String, BuildError> {
        let source = context.fill("source", self.source.as_deref().unwrap_or("s1:{stream}"))?;
        let default = format!("sentinelone:{}", context.stream.singular());
        let sourcetype = context.fill("sourcetype", self.sourcetype.as_deref().unwrap_or(&default))?;
        let host = self.host.as_deref().unwrap_or(&context.console_host);
        let index = self.index.as_ref().map(|index| format!(r#""index":{},"#, json!(index))).unwrap_or_default();
        Ok(format!(
            r#""host":{},"source":{},"sourcetype":{},{index}"event":"#,
            json!(host),
            json!(source),
            json!(sourcetype)
        ))
    }
}

/// The indexed fields after the event's own id.
fn fields(context: &Context) -> String {
    let labels =
        context.labels.iter().map(|(name, value)| format!(",{}:{}", json!(format!("label.{name}")), json!(value)));
    format!(
        r#"","pipeline":{},"stream":"{}"{}}}}}"#,
        json!(context.pipeline),
        context.stream,
        labels.collect::<String>()
    )
}

#[derive(Debug)]
struct SplunkHec {
    endpoint: Endpoint,
    before: String,
    after: String,
}

/// What the collector says.
#[derive(Deserialize)]
struct Said {
    code: u16,
    /// Counted from zero; the events before it were indexed.
    #[serde(rename = "invalid-event-number")]
    invalid: Option<usize>,
}

impl Destination for SplunkHec {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn event(&self, _index: usize, event: Event<'_>, out: &mut Vec<u8>) {
        // Writing into a Vec cannot fail.
        let _ = out.write_all(b"{");
        if let Some(time) = event.time {
            let millis = time.millis();
            let _ = write!(out, r#""time":{}.{:03},"#, millis.div_euclid(1_000), millis.rem_euclid(1_000));
        }
        out.extend_from_slice(self.before.as_bytes());
        out.extend_from_slice(event.body);
        let _ = write!(out, r#","fields":{{"event_id":"{}"#, event.identity);
        out.extend_from_slice(self.after.as_bytes());
        out.push(b'\n');
    }

    /// The number decides, not the text, which differs between versions.
    fn judge(&self, answer: &Answer<'_>) -> Outcome {
        let Ok(Said { code, invalid }) = serde_json::from_slice(answer.body) else {
            return match answer.by_status() {
                Outcome::Delivered => {
                    Outcome::Misconfigured(format!("does not answer as a HEC does ({}); check `url`", answer.reason()))
                }
                other => other,
            };
        };
        let invalid = invalid.filter(|index| *index < answer.events);
        match (code, invalid) {
            (0, _) => Outcome::Delivered,
            (24 | 25, _) => Outcome::DeliveredWithWarning(answer.reason()),
            (1..=4 | 21 | 22, _) => Outcome::Unauthorized(answer.reason()),
            (6 | 12 | 13 | 15, Some(index)) => Outcome::Partial {
                rejected: vec![(index, answer.reason())],
                retry: (index + 1..answer.events).collect(),
                after: None,
            },
            (6 | 12 | 13 | 15, None) => Outcome::Refused(answer.reason()),
            (8 | 9 | 18..=20 | 23 | 26 | 27, Some(index)) if index > 0 => Outcome::Partial {
                rejected: Vec::new(),
                retry: (index..answer.events).collect(),
                after: answer.retry_after(),
            },
            (8 | 9 | 18..=20 | 23 | 26 | 27, _) => answer.retry_later(),
            (5 | 7 | 10 | 11 | 14 | 16 | 28, _) => Outcome::Misconfigured(answer.reason()),
            // The status stands for the code, or the code is newer than this.
            _ => match answer.by_status() {
                Outcome::Delivered => Outcome::DeliveredWithWarning(answer.reason()),
                other => other,
            },
        }
    }

    /// A request without events is refused as such only when its token is good.
    fn probe<'a>(&'a self, requests: &'a Requests) -> BoxFuture<'a, Probe> {
        async move {
            let reply = match requests.ask(Method::POST, self.endpoint.url(), HeaderMap::new()).await {
                Ok(reply) => reply,
                Err(failure) => return failure.into_probe(),
            };
            let answer = Answer { status: reply.status, headers: &reply.headers, body: &reply.body, events: 0 };
            match serde_json::from_slice::<Said>(&reply.body) {
                Ok(Said { code: 5, .. }) => Probe::Verified(format!("{} takes the token", self.endpoint)),
                _ => Probe::Failed(format!("{}: {}", self.endpoint, answer.reason())),
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::StatusCode;

    use super::*;
    use crate::record::{Identity, Stream, Timestamp};
    use crate::settings::Schema;
    use crate::sink::{Batch, Shared};

    fn context() -> Context {
        Context {
            pipeline: "acme".to_owned(),
            stream: Stream::Threats,
            console_host: "acme.sentinelone.net".to_owned(),
            labels: BTreeMap::from([("customer".to_owned(), "acme".to_owned())]),
            schema: Schema::Ecs,
            schema_name: "ecs-9.4.0",
            shared: Shared::default(),
        }
    }

    fn destination(keys: serde_json::Value) -> SplunkHec {
        let settings: Settings = serde_json::from_value(keys).unwrap();
        let (before, after) = (settings.before(&context()).unwrap(), fields(&context()));
        SplunkHec { endpoint: settings.url, before, after }
    }

    /// The first word of the outcome, and for a partial one what is in it; four events were sent.
    fn judged(status: u16, body: &str) -> String {
        let headers = HeaderMap::new();
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            body: body.as_bytes(),
            events: 4,
        };
        match destination(json!({ "url": "https://h:8088", "token": "t" })).judge(&answer) {
            Outcome::Partial { rejected, retry, after: None } => {
                let rejected: Vec<usize> = rejected.into_iter().map(|(index, _)| index).collect();
                format!("rejected {rejected:?} retry {retry:?}")
            }
            other => format!("{other:?}").split([' ', '(']).next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn each_code_has_its_outcome() {
        for (status, body, expected) in [
            (200, r#"{"text":"Success","code":0}"#, "Delivered"),
            (200, r#"{"text":"Success","code":0,"ackId":7}"#, "Delivered"),
            (403, r#"{"text":"Token disabled","code":1}"#, "Unauthorized"),
            (401, r#"{"text":"Token is required","code":2}"#, "Unauthorized"),
            (401, r#"{"text":"Invalid authorization","code":3}"#, "Unauthorized"),
            (403, r#"{"text":"Invalid token","code":4}"#, "Unauthorized"),
            (400, r#"{"text":"No data","code":5}"#, "Misconfigured"),
            (400, r#"{"text":"Invalid data format","code":6,"invalid-event-number":1}"#, "rejected [1] retry [2, 3]"),
            (400, r#"{"text":"Invalid data format","code":6,"invalid-event-number":3}"#, "rejected [3] retry []"),
            (400, r#"{"text":"Invalid data format","code":6,"invalid-event-number":4}"#, "Refused"),
            (400, r#"{"text":"Invalid data format","code":6}"#, "Refused"),
            (400, r#"{"text":"Incorrect index","code":7,"invalid-event-number":0}"#, "Misconfigured"),
            (500, r#"{"text":"Internal server error","code":8}"#, "RetryLater"),
            (503, r#"{"text":"Server is busy","code":9}"#, "RetryLater"),
            (503, r#"{"text":"Server is busy","code":9,"invalid-event-number":0}"#, "RetryLater"),
            (503, r#"{"text":"Server is busy","code":9,"invalid-event-number":2}"#, "rejected [] retry [2, 3]"),
            (400, r#"{"text":"Data channel is missing","code":10}"#, "Misconfigured"),
            (400, r#"{"text":"Invalid data channel","code":11}"#, "Misconfigured"),
            (
                400,
                r#"{"text":"Event field is required","code":12,"invalid-event-number":0}"#,
                "rejected [0] retry [1, 2, 3]",
            ),
            (
                400,
                r#"{"text":"Event field cannot be blank","code":13,"invalid-event-number":2}"#,
                "rejected [2] retry [3]",
            ),
            (400, r#"{"text":"ACK is disabled","code":14}"#, "Misconfigured"),
            (
                400,
                r#"{"text":"Error in handling indexed fields","code":15,"invalid-event-number":0}"#,
                "rejected [0] retry [1, 2, 3]",
            ),
            (400, r#"{"text":"Query string authorization is not enabled","code":16}"#, "Misconfigured"),
            (503, r#"{"text":"HEC is unhealthy, queues are full","code":18}"#, "RetryLater"),
            (503, r#"{"text":"HEC is unhealthy, ack service unavailable","code":19}"#, "RetryLater"),
            (503, r#"{"text":"HEC is unhealthy, queues are full, ack service unavailable","code":20}"#, "RetryLater"),
            (400, r#"{"text":"Invalid token","code":21}"#, "Unauthorized"),
            (400, r#"{"text":"Token disabled","code":22}"#, "Unauthorized"),
            (503, r#"{"text":"Server is shutting down","code":23}"#, "RetryLater"),
            (200, r#"{"text":"HEC queue is approaching its capacity limit","code":24}"#, "DeliveredWithWarning"),
            (200, r#"{"text":"HEC ACK is approaching its capacity limit","code":25}"#, "DeliveredWithWarning"),
            (429, r#"{"text":"HEC queue is at capacity","code":26}"#, "RetryLater"),
            (429, r#"{"text":"HEC ACK channel is at capacity","code":27}"#, "RetryLater"),
            (400, r#"{"text":"Data channel is missing","code":28}"#, "Misconfigured"),
            (404, r#"{"text":"Not Found","code":404}"#, "Misconfigured"),
            (405, r#"{"text":"Method Not Allowed","code":405}"#, "Misconfigured"),
            (413, r#"{"text":"Content Too Large","code":413}"#, "TooLarge"),
            (413, "<html>too large, says the proxy</html>", "TooLarge"),
            (502, "<html>Bad Gateway</html>", "RetryLater"),
            (503, "", "RetryLater"),
            (403, "", "Unauthorized"),
            (302, "", "Misconfigured"),
            (200, "<html>a login page</html>", "Misconfigured"),
            (200, "", "Misconfigured"),
        ] {
            assert_eq!(judged(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn events_are_objects_one_after_another() {
        let mut batch = Batch::new(Stream::Threats);
        for time in [Some(Timestamp::from_micros(1_789_547_400_123_456)), None] {
            batch.push_with("1", Identity::of("h", Stream::Threats, "1", ""), time, |out| {
                out.extend_from_slice(br#"{"id":"1"}"#);
                None
            });
        }
        let hec = destination(json!({ "url": "https://h:8088", "token": "t", "index": "edr", "source": "s-{stream}" }));
        let mut out = Vec::new();
        batch.events().enumerate().for_each(|(index, event)| hec.event(index, event, &mut out));
        let rest = format!(
            r#""host":"acme.sentinelone.net","source":"s-threats","sourcetype":"sentinelone:threat","index":"edr","event":{{"id":"1"}},"fields":{{"event_id":"{}","pipeline":"acme","stream":"threats","label.customer":"acme"}}}}"#,
            batch.event(0).unwrap().identity
        );
        assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"time\":1789547400.123,{rest}\n{{{rest}\n"));
    }
}
