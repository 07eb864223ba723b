//! `verify --destination` against a real broker: a removed beginning is named exactly, and retention is no loss.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::completeness::hour;
use crate::support::harness::Harness;
use crate::support::kafka::Broker;

/// A day of activities in this topic.
async fn harness(broker: &Broker, topic: &str, more: Value) -> Harness {
    let harness = Harness::new(|setup| {
        setup.activities = 1_200;
        setup.span = Duration::from_secs(86_400);
    })
    .await;
    let mut sink =
        json!({ "type": "kafka", "name": "siem", "brokers": [broker.address()], "topic": topic, "verify": {} });
    sink.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    harness.put_changed(
        "acme",
        json!({ "sinks": [sink], "transform": { "schema": "ecs" }, "streams": { "activities": { "since": "3d" } } }),
    );
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    harness
}

/// The result of the lane.
async fn ask(harness: &Harness, flags: &[&str]) -> Value {
    let exit = harness.verify_until(hour(1), &[&["--destination", "--format", "json"], flags].concat()).await;
    let result: Value = serde_json::from_str(&exit.stdout).unwrap_or_else(|_| panic!("{}{}", exit.stdout, exit.stderr));
    result["lanes"][0].clone()
}

fn sum(lane: &Value, column: &str) -> u64 {
    lane["hours"].as_array().unwrap().iter().map(|row| row[column].as_u64().unwrap_or_default()).sum()
}

fn ids(broker: &Broker, topic: &str) -> Vec<String> {
    broker.read(topic).iter().map(|message| message.header("id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_beginning_is_named_and_repaired_without_a_duplicate() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else { return };
    let topic = format!("proof-{:08x}", fastrand::u32(..));
    broker.create_topic(&topic, 1, &[]).await;
    // Another lane's events have the same topic, and identities that are nobody's.
    broker.write(&topic, "foreign").await;
    let harness = harness(&broker, &topic, json!({})).await;
    let lane = ask(&harness, &[]).await;
    assert!(sum(&lane, "missing") == 0 && sum(&lane, "present") > 900, "{lane}");
    assert!(lane["asked"].as_str().unwrap().contains("1 messages have no identity"), "{lane}");

    let list = harness.path("list");
    let before = ids(&broker, &topic);
    let removed: BTreeSet<String> = before[1..4].iter().cloned().collect();
    broker.delete_before(&topic, 4).await;
    let lane = ask(&harness, &["--list", list.to_str().unwrap()]).await;
    let listed = std::fs::read_to_string(&list).unwrap();
    assert_eq!(listed.lines().map(|line| line[..32].to_owned()).collect::<BTreeSet<_>>(), removed, "{lane}");
    let lane = ask(&harness, &["--repair"]).await;
    assert_eq!(lane["returned"]["repaired"], 3, "{lane}");
    let after = ids(&broker, &topic);
    assert_eq!(after.len(), before.len() - 1, "a duplicate");
    assert_eq!(after.iter().collect::<BTreeSet<_>>(), before[1..].iter().collect::<BTreeSet<_>>());
    let lane = ask(&harness, &[]).await;
    assert!(sum(&lane, "missing") == 0 && sum(&lane, "duplicates") == 0, "{lane}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_topic_may_remove_by_itself_is_not_missing() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else { return };
    let name = |what: &str| format!("proof-{what}-{:08x}", fastrand::u32(..));
    // By size: nobody knows what it was.
    let small = name("small");
    broker.create_topic(&small, 1, &[("retention.bytes", "1000000000")]).await;
    let small_harness = harness(&broker, &small, json!({})).await;
    broker.delete_before(&small, 5).await;
    let lane = ask(&small_harness, &["--repair=1000"]).await;
    assert!(sum(&lane, "missing") == 0 && lane["returned"].is_null(), "{lane}");
    assert!(lane["not_judged"].to_string().contains("nothing that was sent earlier"), "{lane}");

    let compacted = name("compacted");
    broker.create_topic(&compacted, 1, &[("cleanup.policy", "compact")]).await;
    let compacted = harness(&broker, &compacted, json!({})).await;
    let lane = ask(&compacted, &[]).await;
    assert!(lane["unseen"].as_str().unwrap().contains("compacted"), "{lane}");

    let absent = json!({ "type": "kafka", "name": "siem", "brokers": [broker.address()], "topic": name("absent"),
        "verify": {} });
    compacted.put_changed("acme", json!({ "sinks": [absent], "streams": { "activities": { "since": "3d" } } }));
    let lane = ask(&compacted, &[]).await;
    assert!(lane["unseen"].as_str().unwrap().contains("there is no topic"), "{lane}");
}

/// The offsets of transactions are more than their events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_transactions_are_all_found() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else { return };
    let topic = format!("proof-exactly-{:08x}", fastrand::u32(..));
    broker.create_topic(&topic, 2, &[]).await;
    let checkpoints = format!("{topic}-checkpoints");
    let harness =
        harness(&broker, &topic, json!({ "delivery": "exactly_once", "checkpoint_topic": checkpoints })).await;
    let lane = ask(&harness, &[]).await;
    assert!(sum(&lane, "missing") == 0 && sum(&lane, "present") > 900, "{lane}");
}
