//! Two processes on the same lanes, and checkpoints in `--state kafka://`.

use std::collections::BTreeMap;
use std::time::Duration;

use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::json;

use super::reader::Bus;
use crate::support::harness::Harness;
use crate::support::kcat;
use crate::support::process::{Process, until};

const BOTH: [Kind; 2] = [Kind::Activities, Kind::Threats];

/// Waits until the topics hold all that is owed, and then asserts that they hold it once.
async fn everything_once(bus: &Bus, harness: &Harness) {
    until("everything is there", async || {
        let arrived = bus.arrived();
        BOTH.iter().flat_map(|kind| harness.owed(*kind)).all(|id| arrived.contains_key(&id)).then_some(())
    })
    .await;
    let arrived = bus.arrived();
    harness.assert_all_arrived(&BOTH, &arrived);
    let repeated: BTreeMap<_, _> = arrived.iter().filter(|(_, count)| **count > 1).collect();
    assert!(repeated.is_empty(), "came again: {repeated:?}");
}

async fn waits(worker: &mut Process, lane: &str) -> String {
    let state = worker.lane(lane, |lane| lane.to_string().contains("was taken over by another process")).await;
    state.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_workers_one_delivers_and_the_other_waits_until_it_ends() {
    let Some(bus) = Bus::start().await else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (3_000, 500, 50.0)).await;
    bus.put(&harness, "acme", json!({}));
    let mut first = harness.worker();
    first.lane("acme/activities/bus", |lane| lane["delivered"].as_u64() > Some(0)).await;

    let mut second = harness.worker_with(&["--state", "file:other"]);
    second.lane("acme/activities/bus", |lane| lane["state"] == "running").await;
    for lane in ["acme/activities/bus", "acme/threats/bus"] {
        let reported = waits(&mut first, lane).await;
        assert!(reported.contains("process "), "it says by whom: {reported}");
    }
    let before = second.metrics().await.sum("events_delivered_total", &[]);
    until("the second one delivers", async || {
        (second.metrics().await.sum("events_delivered_total", &[]) > before).then_some(())
    })
    .await;

    second.signal("TERM").await;
    let ended = second.exit().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    first.lane("acme/activities/bus", |lane| lane["state"] == "running").await;
    harness.console().set_rate(0.0, system_clock());
    everything_once(&bus, &harness).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_in_kafka_are_continued_and_fenced() {
    let Some(bus) = Bus::start().await else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (2_000, 300, 50.0)).await;
    bus.put(&harness, "acme", json!({ "delivery": "at_least_once", "checkpoint_topic": null }));
    let state = format!("kafka://{}/lanes", bus.broker.address());
    let flags = ["--state", state.as_str(), "--dead-letters", "file:dead"];

    // It begins without the brokers, and waits for them.
    bus.broker.stop();
    let mut first = harness.worker_with(&flags);
    first.logged(&["WARN", "waits until the state store can be reached"]).await;
    let (ready, why) = first.get("/readyz").await;
    assert!(ready == 503 && why.contains("state store: kafka://"), "{ready}: {why}");
    let broker = bus.broker.clone();
    tokio::task::spawn_blocking(move || broker.run()).await.unwrap();
    first.lane("acme/threats/bus", |lane| lane["delivered"].as_u64() >= Some(300)).await;
    assert_eq!(first.get("/readyz").await.0, 200);
    first.signal("TERM").await;
    assert_eq!(first.exit().await.code, Some(0));
    let keys = kcat::committed(&bus.broker.address(), "lanes", "%k\n");
    assert!(keys.lines().any(|key| key == "acme/threats/bus"), "{keys}");
    let listed = harness.command(&["state", "list", "--state", &state]).await;
    assert!(listed.stdout.contains("acme/activities/bus"), "{}{}", listed.stdout, listed.stderr);

    let mut second = harness.worker_with(&flags);
    second.lane("acme/activities/bus", |lane| lane["delivered"].as_u64() > Some(0)).await;
    let mut third = harness.worker_with(&flags);
    third.lane("acme/activities/bus", |lane| lane["delivered"].as_u64() > Some(0)).await;
    waits(&mut second, "acme/activities/bus").await;
    drop(second);
    harness.console().set_rate(0.0, system_clock());
    tokio::time::sleep(Duration::from_millis(500)).await;
    until("everything is there", async || {
        let arrived = bus.arrived();
        BOTH.iter().flat_map(|kind| harness.owed(*kind)).all(|id| arrived.contains_key(&id)).then_some(())
    })
    .await;

    third.signal("TERM").await;
    assert_eq!(third.exit().await.code, Some(0));
    let set =
        harness.command(&["state", "set", "acme/threats/bus", "--to", "2026-01-01T00:00:00Z", "--state", &state]).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let renamed = harness.command(&["state", "rename", "acme", "other", "--state", &state]).await;
    assert_eq!(renamed.code, Some(0), "{}", renamed.stderr);
    let shown = harness.command(&["state", "show", "other/threats/bus", "--state", &state]).await;
    assert!(shown.stdout.contains("2026-01-01T00:00:00"), "{}{}", shown.stdout, shown.stderr);
    let deleted = harness.command(&["state", "delete", "other/threats/bus", "--state", &state]).await;
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    let listed = harness.command(&["state", "list", "--state", &state]).await;
    assert!(!listed.stdout.contains("threats") && listed.stdout.contains("other/activities/bus"), "{}", listed.stdout);
}

/// `--state` has a copy of the lane's checkpoint, until an operator writes another one there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_runs_goes_on_from_the_time_that_an_operator_sets() {
    let Some(bus) = Bus::start().await else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (50, 10)).await;
    bus.put(&harness, "acme", json!({}));
    let state = format!("kafka://{}/lanes", bus.broker.address());
    let mut worker = harness.worker_with(&["--state", &state, "--dead-letters", "file:dead"]);
    everything_once(&bus, &harness).await;

    let to = ["--to", "2020-01-01T00:00:00Z"];
    let set = [&["state", "set", "acme/activities/bus", "--state", &state][..], &to].concat();
    let set = harness.command(&set).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    harness.console().generate(Kind::Activities, system_clock());
    until("all activities came once more", async || {
        let arrived = bus.arrived();
        harness.owed(Kind::Activities).iter().all(|id| arrived.get(id) == Some(&2)).then_some(())
    })
    .await;
    worker.lane("acme/activities/bus", |lane| lane["state"] == "running").await;
    assert!(harness.owed(Kind::Threats).iter().all(|id| bus.arrived().get(id) == Some(&1)), "another lane");
}
