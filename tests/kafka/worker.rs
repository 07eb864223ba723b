//! `run --once` from a console that fails now and then to a real Kafka that goes away in the middle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::Setup;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::harness::{Destination, Harness, everything_arrives, setting};
use crate::support::kafka::Broker;
use crate::support::page::{block, run_all, with};

/// One topic for each stream on a broker.
struct Topics(Arc<Broker>);

const TOPICS: [&str; 2] = ["s1.activities", "s1.threats"];

impl Destination for Topics {
    fn settings(&self) -> Value {
        json!({
            "name": "siem", "type": "kafka", "brokers": [self.0.address()], "topic": "s1.{stream}",
            // Longer than a broker may be away: what is given up then may be stored all the same.
            "timeout": "120s",
        })
    }

    async fn arrived(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for message in TOPICS.iter().flat_map(|topic| self.0.read(topic)) {
            *counts.entry(message.header("id").to_owned()).or_default() += 1;
        }
        counts
    }

    /// Within one session of the idempotent producer, what is sent twice is stored once.
    async fn unanswered(&self) -> BTreeMap<String, u32> {
        BTreeMap::new()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_in_kafka_once_though_the_broker_goes_away() {
    let Some(broker) = Broker::start() else { return };
    let broker = Arc::new(broker);
    for topic in TOPICS {
        broker.create_topic(topic, 3, &[]).await;
    }
    let activities = setting("S1_FORWARDER_E2E_ACTIVITIES", 5_000);
    let threats = setting("S1_FORWARDER_E2E_THREATS", 1_000);
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (activities, threats)).await;
    let away = tokio::spawn({
        let broker = broker.clone();
        async move {
            sleep(Duration::from_millis(1_500)).await;
            broker.stop();
            sleep(Duration::from_secs(3)).await;
            tokio::task::spawn_blocking(move || broker.run()).await.unwrap();
        }
    });
    everything_arrives(&harness, &Topics(broker)).await;
    away.await.unwrap();
}

/// One pipeline for many customers: a topic for each site of the console, and its labels in the headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_site_has_a_topic() {
    let Some(broker) = Broker::shared() else { return };
    let harness = Harness::new(|setup| setup.activities = 300).await;
    for delivery in ["at_least_once", "exactly_once"] {
        let sink = json!({ "name": "siem", "type": "kafka", "brokers": [broker.address()], "delivery": delivery,
            "topic": format!("{delivery}.{{label.site}}"), "checkpoint_topic": format!("{delivery}-site-checkpoints") });
        let labels = json!({ "site": "{site.name}" });
        harness.put_changed("acme", json!({ "transform": { "labels": labels }, "sinks": [sink] }));
        let state = format!("file:{delivery}");
        let done = harness.once(&["--state", &state]).await;
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
        let mut arrived = 0;
        let topics: Vec<String> =
            broker.topics().into_keys().filter(|topic| topic.starts_with(&format!("{delivery}."))).collect();
        for topic in &topics {
            for message in broker.read(topic) {
                let site = message
                    .header("label.site")
                    .replace(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c), "_");
                assert_eq!(topic, &format!("{delivery}.{site}"));
                arrived += 1;
            }
        }
        assert!(topics.len() > 1, "{topics:?}");
        assert_eq!(arrived, harness.owed(s1_forwarder::emulator::Kind::Activities).len());
    }
}

/// OCSF in Kafka, from the example that is shipped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ocsf_arrives_in_kafka_as_shipped() {
    let Some(broker) = Broker::shared() else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (200, 50)).await;
    let brokers = format!("\"{}\"", broker.address());
    let pipeline = harness.shipped(
        "ocsf-kafka",
        &[("since: 1d", "since: 30d"), ("\"kafka1.example:9092\", \"kafka2.example:9092\"", &brokers)],
    );
    harness.write("pipelines/ocsf-kafka.yaml", &pipeline);
    for topic in ["ocsf.activities", "ocsf.threats"] {
        broker.create_topic(topic, 1, &[]).await;
    }
    let done = harness.once(&[]).await;
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let mut arrived = 0;
    for message in ["ocsf.activities", "ocsf.threats"].iter().flat_map(|topic| broker.read(topic)) {
        let event: Value = serde_json::from_str(&message.value).unwrap();
        assert_eq!(
            (message.header("schema"), message.header("id")),
            ("ocsf-1.9.0", event["metadata"]["uid"].as_str().unwrap())
        );
        assert!(event["class_uid"].is_u64() && event["metadata"]["labels"][1] == "customer:acme", "{event:#}");
        arrived += 1;
    }
    let owed = [s1_forwarder::emulator::Kind::Activities, s1_forwarder::emulator::Kind::Threats];
    assert_eq!(arrived, owed.map(|kind| harness.owed(kind).len()).iter().sum::<usize>());
}

/// docs/sinks/kafka.md, followed literally.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_ends_with_a_first_event() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else { return };
    let harness = Harness::new(|setup| setup.threats = 10).await;
    let block = |language| block("sinks/kafka.md", "The first event", language);
    let console = harness.server.url();
    let address = broker.address();
    let file = with(
        &block("yaml"),
        &[
            ("https://usea1-acme.sentinelone.net", &console),
            ("127.0.0.1:9092", &address),
            ("s1.{stream}", "page.{stream}"),
        ],
    );
    harness.write("acme.yaml", &file);
    std::fs::create_dir(harness.path("secrets")).unwrap();
    harness.write("secrets/acme.token", Setup::TOKEN);
    let commands = with(&block("sh"), &[("127.0.0.1:9092", &address), ("s1.threats", "page.threats")]);
    assert!(commands.starts_with("kafka-topics.sh") && commands.contains("--create --topic page.threats\n"));
    broker.create_topic("page.threats", 1, &[]).await;
    run_all(&harness, &commands).await;
    let kcat = commands.lines().last().unwrap();
    let output = std::process::Command::new("sh").args(["-c", kcat]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.starts_with("key ") && printed.contains("\nheaders id="), "{kcat}: {output:?}");
}
