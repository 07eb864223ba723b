//! Settings that change while checkpoints are in the sink: nothing is repeated, nothing is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::{Value, json};

use super::reader::{Bus, TOPICS, arrived};
use crate::support::harness::{Harness, merge};
use crate::support::kcat;
use crate::support::process::{PATIENCE, Process, until, until_within};

const BOTH: [Kind; 2] = [Kind::Activities, Kind::Threats];

fn assert_once(harness: &Harness, arrived: &BTreeMap<String, u32>) {
    harness.assert_all_arrived(&BOTH, arrived);
    let repeated: Vec<_> = arrived.iter().filter(|(_, count)| **count > 1).collect();
    assert!(repeated.is_empty(), "{} came again: {:?} …", repeated.len(), repeated[0]);
}

async fn once(harness: &Harness) -> String {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    exit.stderr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_goes_on_when_its_delivery_or_its_checkpoint_topic_changes() {
    let Some(bus) = Bus::start().await else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (1_000, 200, 20.0)).await;
    let changes = [
        (json!({}), ""),
        (json!({ "delivery": "at_least_once" }), ""),
        (json!({}), "from the state store"),
        (json!({ "checkpoint_topic": "other-checkpoints" }), "from the copy in the state store"),
        (json!({ "options": { "linger.ms": 7 }, "checkpoint_topic": "other-checkpoints" }), "is taken over"),
    ];
    let mut before = 0;
    for (change, _) in changes {
        bus.put(&harness, "acme", change);
        let log = once(&harness).await;
        let now = bus.arrived().len();
        assert!(now > before, "something new is delivered by each: {before} and {now}\n{log}");
        before = now;
    }
    harness.console().set_rate(0.0, system_clock());
    once(&harness).await;
    assert_once(&harness, &bus.arrived());
    // The topic that came last holds a checkpoint of each lane, partitioned and keyed by its name.
    let keys = kcat::committed(&bus.broker.address(), "other-checkpoints", "%k %p\n");
    for lane in ["acme/activities/bus", "acme/threats/bus"] {
        let mut of_lane: Vec<_> = keys.lines().filter(|line| line.starts_with(&format!("{lane} "))).collect();
        of_lane.dedup();
        assert_eq!(of_lane.len(), 1, "one partition: {keys}");
    }
}

fn topics(pipeline: &str) -> [String; 2] {
    ["activities", "threats"].map(|stream| format!("{pipeline}.{stream}"))
}

/// Pipelines that share a set of broker settings, each with topics of its own.
async fn several(bus: &Bus, harness: &Harness, names: &[String], changes: &Value) {
    for name in names {
        for topic in topics(name) {
            bus.broker.create_topic(&topic, 1, &[]).await;
        }
        let mut sink = json!({ "topic": "{pipeline}.{stream}" });
        merge(&mut sink, changes.clone());
        bus.put(harness, name, sink);
    }
}

async fn all_once(bus: &Bus, harness: &Harness, pipeline: &str) {
    let topics = topics(pipeline);
    let topics = topics.each_ref().map(String::as_str);
    let address = bus.broker.address();
    until_within(3 * PATIENCE, &format!("{pipeline} is complete"), async || {
        let arrived = arrived(&address, &topics);
        BOTH.iter().flat_map(|kind| harness.owed(*kind)).all(|id| arrived.contains_key(&id)).then_some(())
    })
    .await;
    assert_once(harness, &arrived(&address, &topics));
}

fn lines(worker: &Process, words: &str) -> Vec<String> {
    worker.log_text().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edited_options_move_a_lane_to_another_producer_and_disturb_no_other() {
    let Some(bus) = Bus::start().await else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (500, 100, 20.0)).await;
    let names: Vec<String> = (0..3).map(|number| format!("customer-{number}")).collect();
    several(&bus, &harness, &names, &json!({})).await;
    let mut worker = harness.worker();
    for name in &names {
        worker.lane(&format!("{name}/threats/bus"), |lane| lane["delivered"].as_u64() > Some(0)).await;
    }
    for linger in [7, 8] {
        bus.put(&harness, "customer-1", json!({ "topic": "{pipeline}.{stream}", "options": { "linger.ms": linger } }));
        until("the lanes have moved", async || {
            let moved = lines(&worker, "transactional id initialised").len() >= linger - 5;
            moved.then_some(())
        })
        .await;
        worker.lane("customer-1/threats/bus", |lane| lane["state"] == "running").await;
    }
    // After the second edit, one of the two lanes may be there before the other one has left.
    assert!(lines(&worker, "changes its transactional id").len() >= 2, "the first edit leaves others behind");
    harness.console().set_rate(0.0, system_clock());
    for name in &names {
        all_once(&bus, &harness, name).await;
    }
    assert!(lines(&worker, "initialised by another producer").is_empty(), "{}", worker.log_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_outcome_is_not_known_is_looked_up() {
    let Some(bus) = Bus::start().await else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (6_000, 1_000, 50.0)).await;
    bus.put(&harness, "acme", json!({ "timeout": "3s", "options": { "transaction.timeout.ms": 5_000 } }));
    let mut worker = harness.worker();
    worker.lane("acme/activities/bus", |lane| lane["delivered"].as_u64() > Some(0)).await;
    for away in [1, 8] {
        bus.broker.stop();
        tokio::time::sleep(Duration::from_secs(away)).await;
        let broker = bus.broker.clone();
        tokio::task::spawn_blocking(move || broker.run()).await.unwrap();
        let before = worker.metrics().await.sum("events_delivered_total", &[]);
        until_within(3 * PATIENCE, "it goes on", async || {
            (worker.metrics().await.sum("events_delivered_total", &[]) > before).then_some(())
        })
        .await;
    }
    harness.console().set_rate(0.0, system_clock());
    until_within(3 * PATIENCE, "everything is there", async || {
        let arrived = bus.arrived();
        BOTH.iter().flat_map(|kind| harness.owed(*kind)).all(|id| arrived.contains_key(&id)).then_some(())
    })
    .await;
    assert_once(&harness, &arrived(&bus.broker.address(), &TOPICS));
}
