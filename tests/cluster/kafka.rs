//! Lanes that commit their checkpoints with their events, and move between workers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tokio::time::sleep;

use super::harness::{ClusterHarness, LEASE, PATIENCE, lease};
use crate::support::kafka::Broker;
use crate::support::kcat;
use crate::support::kubernetes::Kubernetes;
use crate::support::process::until_within;

const TOPIC: &str = "s1.activities";

/// How often each record of each pipeline is in the topic, for a consumer that reads what was committed.
fn arrived(broker: &Broker) -> BTreeMap<(String, String), u32> {
    let mut counts = BTreeMap::new();
    for line in kcat::committed(&broker.address(), TOPIC, "%h\n").lines() {
        let header = |name: &str| line.split(',').find_map(|header| header.strip_prefix(name)).unwrap().to_owned();
        *counts.entry((header("pipeline="), header("id="))).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_move_between_workers_bring_each_record_once_into_kafka() {
    let Some(broker) = kcat::there().and_then(|()| Broker::start()) else { return };
    let Some(kubernetes) = Kubernetes::start().await else { return };
    broker.create_topic(TOPIC, 3, &[]).await;
    let address = broker.address();
    let sink = json!({
        "name": "bus", "type": "kafka", "brokers": [address], "topic": TOPIC, "delivery": "exactly_once",
        "checkpoint_topic": "checkpoints", "batch": { "timeout": "50ms" },
    });
    let mut harness = ClusterHarness::with(&kubernetes, 20, |_, _, _| json!({ "sinks": [sink] })).await;
    let state = format!("kafka://{address}/state");
    let lease = lease();
    let flags = ["--state", &state, "--cluster", "kubernetes", "--shards", "8", "--lease", &lease];
    harness.flags = flags.map(str::to_owned).to_vec();
    harness.shards = 8;
    for _ in 0..3 {
        harness.add().await;
    }
    harness.even().await;
    let names: BTreeSet<String> = harness.names().into_iter().collect();
    until_within(PATIENCE, "every pipeline brings something", async || {
        let brought: BTreeSet<String> = arrived(&broker).into_keys().map(|(pipeline, _)| pipeline).collect();
        (brought == names).then_some(())
    })
    .await;

    let victims: Vec<String> = harness.workers.keys().cloned().collect();
    harness.remove(&victims[0]).process.kill().await;
    harness.even().await;
    harness.add().await;
    harness.even().await;
    harness.stop(&victims[1]).await;
    harness.even().await;
    harness.worker(&victims[2]).process.signal("STOP").await;
    sleep(LEASE * 3).await;
    harness.worker(&victims[2]).process.signal("CONT").await;
    harness.even().await;

    let owed = harness.owed();
    let mut last = BTreeMap::new();
    until_within(PATIENCE, "everything is in the topic", async || {
        last = arrived(&broker);
        let missing = |name: &String| owed.iter().any(|id| !last.contains_key(&(name.clone(), id.clone())));
        (!names.iter().any(missing)).then_some(())
    })
    .await;
    let repeated: Vec<_> = last.iter().filter(|(_, count)| **count > 1).collect();
    println!("{:<32} {:>10} {:>6} {:>9}", "kill, SIGTERM, SIGSTOP into Kafka", "-", 0, repeated.len());
    assert!(repeated.is_empty(), "{} of {} came again: {:?}", repeated.len(), last.len(), repeated[0]);
}
