//! A sink for events whose labels come from the console: one instance for each set of labels.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use s1_forwarder_engine::sink::{Attempt, Batch, Limits, MaskedRequest, NoRequest, Outcome, ProbeResult, Sink};
use s1_forwarder_engine::transform::Labels;
use s1_forwarder_failure::Failure;
use s1_forwarder_settings::UsedProxy;

use super::{BuildError, SinkContext, SinkSettings};

/// Bytes that a label may add to an event. A few are longer: a request that is then too large is sent in halves.
const LABEL_BYTES: usize = 256;

impl SinkSettings {
    /// Builds the sink of one lane. Opens no connection, so that it can also validate settings.
    ///
    /// # Errors
    /// If the settings contradict each other or refer to something that does not exist.
    pub fn build(&self, context: &SinkContext) -> Result<Arc<dyn Sink>, BuildError> {
        let sample = self.build_with_fixed_labels(context)?;
        if context.console_labels.is_empty() || !self.type_settings.as_sink_type().separates_labels() {
            return Ok(sample);
        }
        let settings = self.clone();
        let context = context.clone();
        Ok(Arc::new(LabelledSink { settings, context, sample, instances: Mutex::default() }))
    }
}

#[derive(Debug)]
struct LabelledSink {
    settings: SinkSettings,
    context: SinkContext,
    /// A sink with the labels of `context`.
    sample: Arc<dyn Sink>,
    /// One sink for each set of labels that the lane or one of its batches has. The sinks share HTTP clients and
    /// tokens.
    instances: Mutex<HashMap<Arc<Labels>, Arc<dyn Sink>>>,
}

impl LabelledSink {
    fn instance(&self, labels: &Arc<Labels>) -> Result<Arc<dyn Sink>, BuildError> {
        if let Some(sink) = self.instances.lock().get(labels) {
            return Ok(sink.clone());
        }
        let context = SinkContext { labels: Labels::clone(labels), ..self.context.clone() };
        let sink = self.settings.build_with_fixed_labels(&context)?;
        let mut instances = self.instances.lock();
        // The labeler bounds the sets of a lane in number and bytes. It has given up the sets that only this map holds.
        instances.retain(|labels, _| Arc::strong_count(labels) > 1);
        instances.insert(labels.clone(), sink.clone());
        Ok(sink)
    }

    async fn deliver(&self, batch: &Batch) -> Attempt {
        let Some(labels) = batch.event(0).and_then(|event| event.labels) else {
            return self.sample.send(batch).await;
        };
        match self.instance(labels) {
            Ok(sink) => sink.send(batch).await,
            Err(error) => {
                let reason = format!("with the labels {labels:?}: {error}");
                // A failure is the events' own only if settings without these labels build a sink.
                let outcome = match self.settings.build_with_fixed_labels(&self.context) {
                    Ok(_) => Outcome::Refused(reason),
                    Err(_) => Outcome::misconfigured(reason),
                };
                Attempt::unsent(outcome, "labels")
            }
        }
    }
}

impl Sink for LabelledSink {
    fn limits(&self) -> Limits {
        let limits = self.sample.limits();
        Limits { framing: limits.framing + LABEL_BYTES * self.context.console_labels.len(), ..limits }
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        self.deliver(batch).boxed()
    }

    fn probe(&self) -> BoxFuture<'_, ProbeResult> {
        self.sample.probe()
    }

    fn dry_run<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Option<ProbeResult>> {
        self.sample.dry_run(batch)
    }

    fn render_request<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<MaskedRequest, NoRequest>> {
        async {
            let sink = match batch.event(0).and_then(|event| event.labels) {
                Some(labels) => self.instance(labels).map_err(|error| NoRequest::Other(error.to_string()))?,
                None => self.sample.clone(),
            };
            sink.render_request(batch).await
        }
        .boxed()
    }

    fn stall_reason(&self) -> Option<Failure> {
        let instances = self.instances.lock();
        instances.values().find_map(|sink| sink.stall_reason()).or_else(|| self.sample.stall_reason())
    }

    fn proxies(&self) -> Vec<UsedProxy> {
        self.sample.proxies()
    }

    fn separates_labels(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use s1_forwarder_engine::sink::Event;
    use s1_forwarder_failure::FailureKind;
    use s1_forwarder_record::{Identity, Stream};

    fn context(value: &str) -> SinkContext {
        SinkContext {
            labels: Labels::from([("site".to_owned(), value.to_owned())]),
            console_labels: BTreeSet::from(["site".to_owned()]),
            ..SinkContext::sample()
        }
    }

    /// Returns sinks with a label in each key that may have one, alone and with text around it.
    fn sinks() -> Vec<SinkSettings> {
        const URL: &str = "https://siem.example";
        let of = |template: &str| {
            vec![
                json!({ "type": "sumo", "url": URL, "fields": { "site": template }, "source_category": template,
                        "source_host": template, "source_name": template }),
                json!({ "type": "elasticsearch", "url": URL, "index": template }),
                json!({ "type": "elasticsearch", "url": URL, "data_stream": template }),
                json!({ "type": "elasticsearch", "url": URL, "content": "integration", "namespace": template.replace('-', "_") }),
                json!({ "type": "splunk_hec", "url": URL, "token": "t", "index": template, "source": template,
                        "sourcetype": template, "host": template }),
                json!({ "type": "logscale", "url": URL, "token": "t", "api": "structured", "tags": { "site": template } }),
                json!({ "type": "loki", "url": URL, "tenant": template, "labels": { "site": template } }),
                json!({ "type": "otlp", "url": URL, "resource": { "site": template } }),
                json!({ "type": "datadog", "api_key": "k", "tags": { "site": template } }),
                json!({ "type": "azure_logs", "url": URL, "dcr_immutable_id": "dcr-1", "stream_name": template,
                        "tenant_id": "t", "client_id": "c", "client_secret": "s" }),
                json!({ "type": "google_secops", "location": "eu", "project": "p", "instance": "i",
                        "log_type": template, "service_account": { "file": "/nonexistent" } }),
                json!({ "type": "file", "path": format!("/tmp/{template}") }),
                json!({ "type": "file", "path": format!("/tmp/{template}/{{stream}}.ndjson") }),
                #[cfg(feature = "kafka")]
                json!({ "type": "kafka", "brokers": ["127.0.0.1:1"], "topic": template }),
            ]
        };
        let templates = ["{label.site}", "{label.site}{label.site}{label.site}", "a-{label.site}.{label.site}"];
        let all = templates.into_iter().flat_map(of);
        all.map(|settings| {
            serde_json::from_value(settings.clone()).unwrap_or_else(|error| panic!("{error}: {settings}"))
        })
        .collect()
    }

    /// Every character of ASCII and some others, first, last and alone; nothing, long texts, and some at random.
    fn values() -> Vec<String> {
        let special = "\u{80}\u{a0}ßéİẞ株Ⅷ\u{200b}\u{202e}\u{feff}\u{fffd}😀";
        let chars = (0..128_u8).map(char::from).chain(special.chars());
        let around = chars.clone().flat_map(|c| [format!("{c}"), format!("{c}a"), format!("a{c}")]);
        let named =
            ["", "..", "...", "__", "_.", "Acme, Inc.", "(EU) Paris", "株式会社", "con", "/", "a/../b", "a=b,c=d"];
        let mut random = fastrand::Rng::with_seed(7);
        let chars: Vec<char> = chars.clone().collect();
        let mixed = (0..100).map(|length| (0..length * 8).filter_map(|_| random.choice(&chars)).collect::<String>());
        let mixed: Vec<_> = mixed.collect();
        around.chain(named.map(str::to_owned)).chain(["é".repeat(3_000), "-".repeat(3_000)]).chain(mixed).collect()
    }

    #[tokio::test]
    async fn no_name_of_the_console_stops_a_sink() {
        let values = values();
        for settings in sinks() {
            for value in &values {
                if let Err(error) = settings.build_with_fixed_labels(&context(value)) {
                    panic!("{settings:?} with {value:?}: {error}");
                }
            }
        }
    }

    /// All sets that a lane keeps are used in turn, as in a lane whose sites have an index each.
    #[tokio::test]
    async fn a_set_of_labels_has_one_sink_for_as_long_as_the_lane_has_the_set() {
        let settings = json!({ "type": "elasticsearch", "url": "https://siem.example", "index": "{label.site}" });
        let settings: SinkSettings = serde_json::from_value(settings).unwrap();
        let sample = settings.build_with_fixed_labels(&context("unknown")).unwrap();
        let sink = LabelledSink { settings, context: context("unknown"), sample, instances: Mutex::default() };
        let set = |number: usize| Arc::new(context(&format!("site-{number}")).labels);
        let mut sets: Vec<_> = (0..1_000).map(set).collect();
        let built: Vec<_> = sets.iter().map(|labels| sink.instance(labels).unwrap()).collect();
        for (labels, built) in sets.iter().zip(&built) {
            assert!(Arc::ptr_eq(&sink.instance(labels).unwrap(), built), "{labels:?}");
        }
        // The labels of a dead letter are equal to the lane's labels, but not the same object.
        assert!(Arc::ptr_eq(&sink.instance(&set(7)).unwrap(), &built[7]));
        // The sink drops the sets that the lane has given up.
        sets.truncate(10);
        sink.instance(&set(1_000)).unwrap();
        assert_eq!(sink.instances.lock().len(), 11);
    }

    /// One event must not stop the delivery of all others. A fault of the settings is not the event's.
    #[tokio::test]
    async fn an_event_whose_labels_have_no_place_is_refused() {
        let settings = json!({ "type": "sumo", "url": "https://siem.example/x", "source_name": "{label.site}" });
        let settings: SinkSettings = serde_json::from_value(settings).unwrap();
        let sink = settings.build(&context("acme")).unwrap();
        let mut batch = Batch::new(Stream::Threats);
        let identity = Identity::of("h", Stream::Threats, "1", "");
        let labels = Arc::new(Labels::new());
        batch.push(Event {
            body: b"{}",
            record_id: "1",
            identity,
            time: None,
            error: None,
            labels: Some(&labels),
            unsent: None,
            framed_at: None,
            snapshot: None,
        });
        let outcome = sink.send(&batch).await.outcome;
        assert!(matches!(&outcome, Outcome::Refused(reason) if reason.contains("source_name")), "{outcome:?}");
        let broken = SinkContext { labels: Labels::new(), ..context("acme") };
        let sample = settings.build_with_fixed_labels(&context("acme")).unwrap();
        let sink = LabelledSink { settings, context: broken, sample, instances: Mutex::default() };
        let outcome = sink.send(&batch).await.outcome;
        assert_eq!(outcome.failure_kind(), Some(FailureKind::Misconfigured), "{outcome:?}");
    }
}
