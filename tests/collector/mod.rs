//! Four destinations against the receivers of a real OpenTelemetry collector: every event arrives with its fields and
//! time.

#[cfg(feature = "traces")]
mod traces;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use s1_forwarder::emulator::Kind;
use s1_forwarder::record::{Stream, Timestamp};
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use serde_json::{Value, json};

use crate::support::batches::{push_text_at, sink};
use crate::support::collector::{Collector, Record};
use crate::support::harness::Harness;

/// The time of all events. Loki and Datadog get an older event with the current time.
static TIME: LazyLock<Timestamp> = LazyLock::new(|| Timestamp::now().minus(Duration::from_mins(10)));

fn nanoseconds() -> u64 {
    TIME.micros() as u64 * 1_000
}

async fn collector() -> Option<Arc<Collector>> {
    tokio::task::spawn_blocking(Collector::shared).await.unwrap()
}

/// Sends 300 events and gives what the collector made of them, by the record's id.
async fn through(
    collector: &Arc<Collector>,
    receiver: &'static str,
    mark: &'static str,
    keys: Value,
) -> (Batch, BTreeMap<String, Record>) {
    let mut batch = Batch::new(Stream::Activities);
    let text = format!("{mark} \"C:\\Users\\größe\"\t✓");
    (0..300).for_each(|id| push_text_at(&mut batch, &id.to_string(), &text, *TIME));
    let lane = sink(keys);
    let probe = lane.probe().await;
    assert!(matches!(probe, ProbeResult::Verified(_)), "{probe:?}");
    assert_eq!(lane.send(&batch).await.outcome, Outcome::Delivered);
    let collector = collector.clone();
    let records = tokio::task::spawn_blocking(move || collector.records(receiver, mark, 300)).await.unwrap();
    assert_eq!(records.len(), 300, "each once");
    let id = |record: &Record| match &record.body {
        Value::String(text) => serde_json::from_str::<Value>(text).unwrap()["id"].as_str().unwrap().to_owned(),
        body => body["id"].as_str().unwrap().to_owned(),
    };
    let records: BTreeMap<_, _> = records.into_iter().map(|record| (id(&record), record)).collect();
    assert_eq!(records.len(), 300);
    (batch, records)
}

#[tokio::test]
async fn real_otlp_in_both_encodings() {
    let Some(collector) = collector().await else { return };
    for (encoding, mark) in [("protobuf", "otlp-in-protobuf"), ("json", "otlp-in-json")] {
        let keys = json!({ "type": "otlp", "url": collector.url("otlp"), "encoding": encoding });
        let (sent, records) = through(&collector, "otlp", mark, keys).await;
        for event in sent.events() {
            let record = &records[event.record_id];
            assert_eq!(record.body.as_str().unwrap().as_bytes(), event.body);
            assert_eq!((record.time, record.severity), (nanoseconds(), 0));
            assert_eq!(record.attribute("event.id"), event.identity.to_string());
            assert_eq!(record.attribute("record.id"), event.record_id);
            assert_eq!(record.resource["service.name"], "sentinelone");
            assert_eq!(record.resource["label.customer"], "acme-eu");
        }
    }
}

#[tokio::test]
async fn real_loki_push() {
    let Some(collector) = collector().await else { return };
    let keys = json!({ "type": "loki", "url": collector.url("loki"), "tenant": "acme" });
    let (sent, records) = through(&collector, "loki", "loki-push", keys).await;
    for event in sent.events() {
        let record = &records[event.record_id];
        assert_eq!(record.body.as_str().unwrap().as_bytes(), event.body);
        assert_eq!(record.time, nanoseconds());
        assert_eq!(record.attribute("event_id"), event.identity.to_string());
        assert_eq!((record.attribute("pipeline"), record.attribute("stream")), ("acme", "activities"));
        assert_eq!(record.attribute("customer"), "acme-eu");
    }
}

#[tokio::test]
async fn real_datadog_logs() {
    let Some(collector) = collector().await else { return };
    let keys = json!({ "type": "datadog", "url": collector.url("datadog"), "api_key": "k3y" });
    let (sent, records) = through(&collector, "datadog", "datadog-logs", keys).await;
    for event in sent.events() {
        let record = &records[event.record_id];
        assert_eq!(record.body.as_str().unwrap().as_bytes(), event.body);
        assert_eq!(record.attributes["timestamp"], json!(TIME.millis()));
        assert_eq!(record.attribute("ddsource"), "sentinelone");
        assert_eq!(record.attribute("hostname"), "usea1-acme.sentinelone.net");
        assert_eq!(record.attribute("ddtags"), "customer:acme-eu,pipeline:acme,stream:activities");
    }
}

#[tokio::test]
async fn real_splunk_hec() {
    let Some(collector) = collector().await else { return };
    let keys = json!({ "type": "splunk_hec", "url": collector.url("splunk_hec"), "token": "t0ken", "index": "edr" });
    let (sent, records) = through(&collector, "splunk_hec", "splunk-hec", keys).await;
    for event in sent.events() {
        let record = &records[event.record_id];
        assert_eq!(record.body, serde_json::from_slice::<Value>(event.body).unwrap());
        // Milliseconds, as a number with a fraction.
        assert!(record.time.abs_diff(nanoseconds()) < 1_000_000, "{record:?}");
        assert_eq!(record.attribute("event_id"), event.identity.to_string());
        assert_eq!(record.attribute("label.customer"), "acme-eu");
        assert_eq!(record.resource["host.name"], "usea1-acme.sentinelone.net");
        assert_eq!(record.resource["com.splunk.index"], "edr");
    }
}

/// OCSF in Splunk's collector, from the example that is shipped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ocsf_arrives_in_splunk_hec_as_shipped() {
    let Some(collector) = collector().await else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (200, 50)).await;
    harness.write("pipelines/secrets/hec.token", "t0ken");
    let replaced = [
        ("since: 1d", "since: 30d"),
        ("https://splunk.example:8088", &collector.url("splunk_hec")),
        ("customer: acme", "customer: ocsf-as-shipped"),
    ];
    harness.write("pipelines/ocsf-splunk.yaml", &harness.shipped("ocsf-splunk", &replaced));
    let done = harness.once(&[]).await;
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let owed = [Kind::Activities, Kind::Threats].map(|kind| harness.owed(kind).len()).iter().sum::<usize>();
    let reading = tokio::task::spawn_blocking(move || collector.records("splunk_hec", "ocsf-as-shipped", owed));
    let records = reading.await.unwrap();
    let identities: BTreeSet<_> = records.iter().map(|record| record.attribute("event_id")).collect();
    assert_eq!((records.len(), identities.len()), (owed, owed), "each once");
    for record in &records {
        let event = &record.body;
        assert_eq!(event["metadata"]["uid"], record.attribute("event_id"));
        assert!(event["class_uid"].is_u64(), "{event:#}");
        // Milliseconds, as a number with a fraction: the time that the stream is ordered by.
        let time = event["finding_info"]["modified_time"].as_u64().or(event["time"].as_u64());
        assert!((record.time / 1_000_000).abs_diff(time.unwrap()) <= 1, "{event:#}");
        let sourcetype = record.resource["com.splunk.sourcetype"].as_str().unwrap_or_default();
        assert!(["ocsf:sentinelone:activities", "ocsf:sentinelone:threats"].contains(&sourcetype), "{record:?}");
        assert_eq!(record.attribute("label.customer"), "ocsf-as-shipped");
    }
}
