//! What a destination counts: the bytes of events before compression and without framing, and how long events take.

use std::time::Duration;

use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::datadog::DATADOG;
use crate::support::double::{Contract, Double};
use crate::support::elasticsearch::Elastic;
use crate::support::harness::Harness;
use crate::support::receiver::{Receiver, Rules};
use crate::support::splunk_hec::{Collector, Hec};
use crate::support::syslog::{Behaviour, SyslogReceiver};

/// The bodies of all requests with events, inflated.
fn bodies<C: Contract>(double: &Double<C>) -> String {
    double.deliveries().iter().map(|request| request.body.clone()).collect()
}

/// The bytes of the values of a member in objects that follow each other.
fn member(text: &str, name: &str) -> u64 {
    let objects = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Map<String, Value>>();
    assert!(objects.count() > 0, "{text}");
    let objects = serde_json::Deserializer::from_str(text).into_iter::<Box<RawValue>>();
    let value = |object: Box<RawValue>| {
        let members: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_str(object.get()).unwrap();
        members[name].get().len() as u64
    };
    objects.map(|object| value(object.unwrap())).sum()
}

/// The bytes of the elements of lists that follow each other.
fn elements(text: &str) -> u64 {
    let lists = serde_json::Deserializer::from_str(text).into_iter::<Vec<Box<RawValue>>>();
    lists.flat_map(|list| list.unwrap()).map(|element| element.get().len() as u64).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_bytes_and_latency_are_those_that_receivers_find() {
    const ACTIVITIES: usize = 60;
    let harness = Harness::new(|setup| setup.activities = ACTIVITIES).await;
    let splunk = Collector::start(Hec::default()).await;
    let elastic = Double::start(Elastic::new()).await;
    let raw = Double::start(Elastic::new()).await;
    let header = Some(("dd-api-key", "k3y".to_owned()));
    let datadog = Receiver::start(Rules { header, format: Some(DATADOG), ..Rules::default() }).await;
    let syslog = SyslogReceiver::start(Behaviour::Reads).await;
    let batch = json!({ "timeout": "50ms", "events": 25 });
    let mut sinks = json!([
        harness.pipeline(json!({}))["sinks"][0],
        { "type": "splunk_hec", "url": splunk.url(), "token": "t0ken" },
        { "type": "elasticsearch", "url": elastic.url(), "api_key": "aWQ6a2V5" },
        { "name": "raw_documents", "type": "elasticsearch", "url": raw.url(), "api_key": "aWQ6a2V5", "schema": "raw" },
        { "type": "datadog", "url": datadog.url(), "api_key": "k3y" },
        { "type": "syslog", "address": format!("tcp://{}", syslog.address()), "payload": "cef" },
        { "type": "file", "path": harness.path("out.ndjson") },
    ]);
    for sink in sinks.as_array_mut().unwrap() {
        sink["batch"] = batch.clone();
    }
    sinks[0]["schema"] = json!("raw");
    harness.put_changed(
        "acme",
        json!({
            "streams": { "activities": { "include_hidden": true } }, "sinks": sinks,
            "transform": { "schema": "ecs", "labels": { "customer": "acme-eu" } },
        }),
    );
    let mut worker = harness.worker_with(&["--metrics-label", "customer", "--metrics-label", "nothing"]);
    let names = ["siem", "splunk_hec", "elasticsearch", "raw_documents", "datadog", "syslog", "file"];
    for name in names {
        let lane = format!("acme/activities/{name}");
        worker.lane(&lane, |lane| lane["delivered"] == ACTIVITIES && lane["newest_record"].is_string()).await;
    }
    // The history says nothing about how long an event takes.
    assert_eq!(worker.metrics().await.sum("event_latency_seconds_count", &[]), 0);
    harness.console().generate(Kind::Activities, system_clock() - Duration::from_secs(1).as_micros() as i64);
    for name in names {
        worker.lane(&format!("acme/activities/{name}"), |lane| lane["delivered"] == ACTIVITIES + 1).await;
    }

    let lines = |text: &str| text.lines().map(|line| line.len() as u64).sum::<u64>();
    let documents = |text: &str| text.lines().skip(1).step_by(2).map(|line| line.len() as u64).sum::<u64>();
    let messages = syslog.messages();
    let messages = messages.iter().map(|message| message.len() - message.find("CEF:0").unwrap());
    let found = [
        ("siem", member(&bodies(&harness.sink), "record")),
        ("splunk_hec", member(&bodies(&splunk), "event")),
        ("elasticsearch", documents(&bodies(&elastic))),
        ("raw_documents", documents(&bodies(&raw))),
        ("datadog", elements(&bodies(&datadog))),
        ("syslog", messages.sum::<usize>() as u64),
        ("file", lines(&std::fs::read_to_string(harness.path("out.ndjson")).unwrap())),
    ];
    let metrics = worker.metrics().await;
    for (sink, bytes) in found {
        assert!(bytes > 10_000, "{sink}: {bytes}");
        assert_eq!(metrics.sum("delivered_event_bytes_total", &[("sink", sink)]), bytes, "{sink}");
        let of = [("sink", sink), ("label", "customer"), ("value", "acme-eu")];
        assert_eq!(metrics.sum("label_events_delivered_total", &of), ACTIVITIES as u64 + 1, "{sink}");
        assert_eq!(metrics.sum("label_delivered_event_bytes_total", &of), bytes, "{sink}");
    }
    assert!(!metrics.samples("label_events_delivered_total").any(|(labels, _)| labels.contains("nothing")));
    for (sink_type, events) in [("http", 1), ("elasticsearch", 2), ("syslog", 1)] {
        let of = [("stream", "activities"), ("type", sink_type)];
        assert_eq!(metrics.sum("event_latency_seconds_count", &of), events, "{sink_type}");
        let sum: f64 = metrics
            .samples("event_latency_seconds_sum")
            .filter(|(labels, _)| labels.contains(sink_type))
            .map(|(_, sum)| sum)
            .sum();
        assert!(sum >= events as f64, "the record was a second old: {sum}");
    }

    // After a clean stop, the state says the same.
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    let rows = super::usage::report(&harness, &[]).await;
    for (sink, bytes) in found {
        let counts = &rows[&format!("acme/activities/{sink}")]["counts"];
        assert_eq!((&counts["events"], &counts["event_bytes"]), (&json!(ACTIVITIES + 1), &json!(bytes)), "{sink}");
        assert_eq!(counts["latency"]["measured"], 1, "{sink}");
        assert!(counts["latency"]["median"]["at_most_seconds"].as_u64().is_some_and(|bound| bound >= 1), "{counts}");
    }
}
