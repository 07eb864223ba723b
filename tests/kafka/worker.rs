//! `run --once` from a console that fails now and then to a real Kafka that goes away in the middle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::harness::everything_arrives;
use crate::support::harness::{Destination, Harness, setting};
use crate::support::kafka::Broker;

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
    let (activities, threats) =
        (setting("S1_FORWARDER_E2E_ACTIVITIES", 5_000), setting("S1_FORWARDER_E2E_THREATS", 1_000));
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
