//! What a read-committed consumer sees: kcat, which shares no code with this program's reading of checkpoints.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use super::world::World;
use crate::support::kafka::Broker;

/// A broker with topics for the streams.
pub struct Bus {
    pub broker: Arc<Broker>,
}

pub const TOPICS: [&str; 2] = ["s1.activities", "s1.threats"];
pub const CHECKPOINTS: &str = "s1-forwarder-checkpoints";

impl Bus {
    /// None where there is no Kafka, or no kcat; in CI that is a failure.
    pub async fn start() -> Option<Self> {
        let found = Command::new("kcat").arg("-V").output().is_ok();
        assert!(found || std::env::var("CI").as_deref() != Ok("true"), "kcat is not optional in CI");
        if !found {
            eprintln!("skipped, no kcat");
            return None;
        }
        let broker = tokio::task::spawn_blocking(Broker::start).await.unwrap()?;
        for topic in TOPICS {
            broker.create_topic(topic, 3, &[]).await;
        }
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
    pub fn put(&self, world: &World, name: &str, changes: Value) {
        let mut sink = self.sink();
        super::world::merge(&mut sink, changes);
        let streams =
            json!({ "activities": { "interval": "200ms" }, "threats": { "interval": "200ms", "since": "beginning" } });
        world.put_changed(name, json!({ "streams": streams, "sinks": [sink] }));
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
        for line in kcat(brokers, topic, "%h\n", "read_committed").lines() {
            let id = line.split(',').find_map(|header| header.strip_prefix("id=")).unwrap();
            *counts.entry(id.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// The messages of a topic in a format of kcat's.
pub fn kcat(brokers: &str, topic: &str, format: &str, isolation: &str) -> String {
    let isolation = format!("isolation.level={isolation}");
    let arguments = ["-b", brokers, "-t", topic, "-C", "-e", "-q", "-o", "beginning", "-X", &isolation, "-f", format];
    let output = Command::new("kcat").args(arguments).args(["-m", "60"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
