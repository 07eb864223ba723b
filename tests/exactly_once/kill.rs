//! Killed at any moment, started again: a read-committed consumer sees every version of every record once. No topic
//! exists at the first start.

use std::time::Duration;

use s1_forwarder::emulator::{Faults, Kind, system_clock};
use serde_json::json;

use super::reader::{Bus, CHECKPOINTS};
use crate::support::harness::{Harness, setting};
use crate::support::process::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_again_and_again_delivers_everything_once() {
    let Some(bus) = Bus::without_topics().await else { return };
    let kills = setting("S1_FORWARDER_KILLS", 6);
    let activities = 1_000 + 400 * kills;
    let threats = 200 + 100 * kills;
    let harness =
        Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (activities, threats, 100.0)).await;
    bus.put(&harness, "acme", json!({}));
    harness.console().set_faults(Faults::preset("all").unwrap());

    let mut random = fastrand::Rng::with_seed(12);
    for _ in 0..kills {
        let worker = harness.worker();
        tokio::time::sleep(Duration::from_millis(random.u64(400..4_000))).await;
        worker.kill().await;
    }
    // On a busy machine none of them may have lived long enough to commit anything.
    let worker = harness.worker();
    until("a worker has committed something", async || (!bus.arrived().is_empty()).then_some(())).await;
    worker.kill().await;
    let shown = bus.arrived().len();
    assert!(shown > 0, "no worker lived long enough to commit anything");

    harness.console().set_rate(0.0, system_clock());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let last = harness.once(&[]).await;
    assert_eq!(last.code, Some(0), "{}{}", last.stdout, last.stderr);
    harness.console().set_faults(Faults::default());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(harness.once(&[]).await.code, Some(0));

    let arrived = bus.arrived();
    harness.assert_all_arrived(&[Kind::Activities, Kind::Threats], &arrived);
    let repeated: Vec<_> = arrived.iter().filter(|(_, count)| **count > 1).collect();
    assert!(repeated.is_empty(), "{} came again: {:?} …", repeated.len(), repeated[0]);
    assert_eq!(bus.broker.topic_setting(CHECKPOINTS, "cleanup.policy").await, "compact");
    println!(
        "{kills} kills: {} versions of records, each once; {shown} of them by workers that were killed",
        arrived.len()
    );
}
