//! What a read-committed consumer sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::harness::Harness;
use crate::support::kafka::Broker;
use crate::support::kcat;

/// A broker with topics for the streams.
pub struct Bus {
    pub broker: Arc<Broker>,
}

pub const TOPICS: [&str; 2] = ["s1.activities", "s1.threats"];
pub const CHECKPOINTS: &str = "s1-forwarder-checkpoints";

impl Bus {
    /// With the topics of the streams. None where there is no Kafka, or no kcat; in CI that is a failure.
    pub async fn start() -> Option<Self> {
        let bus = Self::without_topics().await?;
        for topic in TOPICS {
            bus.broker.create_topic(topic, 3, &[]).await;
        }
        Some(bus)
    }

    /// Whatever is missing is made by the brokers, or by the program.
    pub async fn without_topics() -> Option<Self> {
        kcat::there()?;
        let broker = tokio::task::spawn_blocking(Broker::start).await.unwrap()?;
        Some(Self { broker: Arc::new(broker) })
    }

    /// The sink's entry in a pipeline.
    pub fn sink(&self) -> Value {
        json!({
            "name": "bus", "type": "kafka", "brokers": [self.broker.address()], "topic": "s1.{stream}",
            "delivery": "exactly_once", "checkpoint_topic": CHECKPOINTS,
            "batch": { "events": 40, "timeout": "50ms" }, "retry": { "initial": "10ms", "max": "200ms" },
        })
    }

    /// A pipeline with `changes` to its sink.
    pub fn put(&self, harness: &Harness, name: &str, changes: Value) {
        let mut sink = self.sink();
        crate::support::harness::merge(&mut sink, changes);
        let streams =
            json!({ "activities": { "interval": "200ms" }, "threats": { "interval": "200ms", "since": "beginning" } });
        harness.put_changed(name, json!({ "streams": streams, "sinks": [sink] }));
    }

    /// How often each identity is in the topics, as a consumer sees it that reads what was committed.
    pub fn arrived(&self) -> BTreeMap<String, u32> {
        arrived(&self.broker.address(), &TOPICS)
    }
}

/// How often each identity is in these topics.
pub fn arrived(brokers: &str, topics: &[&str]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for topic in topics {
        for line in kcat::committed(brokers, topic, "%h\n").lines() {
            let id = line.split(',').find_map(|header| header.strip_prefix("id=")).unwrap();
            *counts.entry(id.to_owned()).or_default() += 1;
        }
    }
    counts
}
