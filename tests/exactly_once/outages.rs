//! Brokers that do not answer for a while, with all timeouts at their defaults: the lanes that can go on do so within
//! the timeout of a message, and nothing arrives twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::reader::{Bus, CHECKPOINTS, TOPICS, arrived};
use crate::support::harness::Harness;
use crate::support::kafka::Broker;
use crate::support::kcat;
use crate::support::process::{PATIENCE, Process, until, until_within};

const BOTH: [Kind; 2] = [Kind::Activities, Kind::Threats];
/// The default timeout of a message with `exactly_once`, and what a busy machine needs in addition.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
const MARGIN: Duration = Duration::from_mins(1);

/// Waits until the topics contain everything that is owed, and asserts that they contain it once.
async fn everything_once(brokers: &str, topics: &[&str], harness: &Harness) {
    until_within(4 * PATIENCE, "everything is there", async || {
        let arrived = arrived(brokers, topics);
        BOTH.iter().flat_map(|kind| harness.owed(*kind)).all(|id| arrived.contains_key(&id)).then_some(())
    })
    .await;
    let arrived = arrived(brokers, topics);
    harness.assert_all_arrived(&BOTH, &arrived);
    let repeated: BTreeMap<_, _> = arrived.iter().filter(|(_, count)| **count > 1).collect();
    assert!(repeated.is_empty(), "came again: {repeated:?}");
}

fn lines(worker: &Process, words: &str) -> Vec<Value> {
    let says = |line: &Value| line["message"].as_str().is_some_and(|text| text.contains(words));
    worker.log().into_iter().filter(says).collect()
}

async fn delivered(worker: &mut Process, pipeline: &str) -> u64 {
    worker.metrics().await.sum("events_delivered_total", &[("pipeline", pipeline)])
}

/// Waits until more is delivered than there is now. Returns how long that took.
async fn goes_on(worker: &mut Process, pipeline: &str) -> Duration {
    let started_at = Instant::now();
    let before = delivered(worker, pipeline).await;
    while delivered(worker, pipeline).await == before {
        assert!(started_at.elapsed() < 4 * PATIENCE, "{pipeline} stands still\n{}", worker.log_text());
        sleep(Duration::from_millis(100)).await;
    }
    started_at.elapsed()
}

/// A worker delivers to a broker, which `outage` stops and starts again. The worker needs at most `sessions` sessions.
async fn survives(sessions: usize, outage: impl AsyncFnOnce(Arc<Broker>)) {
    let Some(bus) = Bus::start().await else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (3_000, 500, 50.0)).await;
    bus.put(&harness, "acme", json!({}));
    let mut worker = harness.worker();
    worker.lane("acme/activities/bus", |lane| lane["delivered"].as_u64() > Some(0)).await;
    outage(bus.broker.clone()).await;
    let took = goes_on(&mut worker, "acme").await;
    assert!(took < MESSAGE_TIMEOUT + MARGIN, "the lanes went on {took:?} after the broker\n{}", worker.log_text());
    harness.console().set_rate(0.0, system_clock());
    everything_once(&bus.broker.address(), &TOPICS, &harness).await;
    // A commit whose connection fails before the answer ends its session, whatever broke the connection.
    let failed = lines(&worker, "transactional producer failed");
    let is_unanswered = |line: &&Value| line["reason"].as_str().unwrap().starts_with("EndTxn was sent again");
    let sessions = sessions + failed.iter().filter(is_unanswered).count();
    assert!(lines(&worker, "transactional id initialised").len() <= sessions, "{}", worker.log_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_frozen_for_15_seconds_ends_no_session() {
    survives(1, async |broker| {
        broker.freeze();
        sleep(Duration::from_secs(15)).await;
        broker.thaw();
    })
    .await;
}

/// Messages time out, and the broker receives them all the same when it goes on. It may not know of the transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_frozen_for_40_seconds_repeats_nothing() {
    survives(2, async |broker| {
        broker.freeze();
        sleep(Duration::from_secs(40)).await;
        broker.thaw();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_restarts_repeats_nothing() {
    survives(2, async |broker| {
        broker.stop();
        sleep(Duration::from_secs(12)).await;
        tokio::task::spawn_blocking(move || broker.run()).await.unwrap();
    })
    .await;
}

fn topics(pipeline: &str) -> [String; 2] {
    ["activities", "threats"].map(|stream| format!("{pipeline}.{stream}"))
}

/// Only the second broker has replicas of the topics of `sick`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_without_a_leader_delay_other_lanes_once() {
    let Some(broker) = tokio::task::spawn_blocking(|| Broker::start().map(Arc::new)).await.unwrap() else { return };
    let Some(()) = kcat::there() else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (600, 100, 20.0)).await;
    let bus = Bus { broker: broker.clone() };
    let pipelines = ["well-1", "well-2", "sick"];
    for topic in pipelines.iter().take(2).flat_map(|pipeline| topics(pipeline)) {
        broker.create_topic(&topic, 1, &[]).await;
    }
    // What the brokers know about transactions is on the first one, too.
    bus.put(&harness, "well-1", json!({ "topic": "{pipeline}.{stream}" }));
    assert_eq!(harness.once(&[]).await.code, Some(0));
    assert!(broker.topics().contains_key(CHECKPOINTS));
    let first = broker.clone();
    let other = Arc::new(tokio::task::spawn_blocking(move || first.start_other()).await.unwrap());
    for topic in topics("sick") {
        broker.create_topic_on(&topic, Broker::OTHER).await;
    }
    for pipeline in pipelines {
        bus.put(&harness, pipeline, json!({ "topic": "{pipeline}.{stream}" }));
    }
    let mut worker = harness.worker();
    for pipeline in pipelines {
        worker.lane(&format!("{pipeline}/activities/bus"), |lane| lane["delivered"].as_u64() > Some(0)).await;
    }

    // The partitions lose their leader while transactions are open.
    other.stop();
    until("the leader is gone", async || (broker.topics()["sick.threats"] == 0).then_some(())).await;
    worker.logged(&["the lane gets transactions of its own", "sick"]).await;
    for pipeline in ["well-1", "well-2"] {
        let took = goes_on(&mut worker, pipeline).await;
        assert!(took < MARGIN, "{pipeline} went on {took:?} after the lane was apart\n{}", worker.log_text());
    }
    // They go on at their own pace for as long as the leader is gone.
    let apart = Instant::now();
    while apart.elapsed() < MESSAGE_TIMEOUT + Duration::from_secs(15) {
        for pipeline in ["well-1", "well-2"] {
            let took = goes_on(&mut worker, pipeline).await;
            assert!(took < MESSAGE_TIMEOUT * 3 / 4, "{pipeline} stood still for {took:?}\n{}", worker.log_text());
        }
    }
    assert_eq!(lines(&worker, "transactional id initialised").len(), 1, "{}", worker.log_text());

    let again = other.clone();
    tokio::task::spawn_blocking(move || again.run()).await.unwrap();
    harness.console().set_rate(0.0, system_clock());
    for pipeline in pipelines {
        let topics = topics(pipeline);
        everything_once(&broker.address(), &topics.each_ref().map(String::as_str), &harness).await;
    }
}
