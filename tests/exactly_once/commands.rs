//! A command that delivers next to a worker takes no part in its transactions: neither fences it nor moves its lanes.

use std::time::Duration;

use s1_forwarder::emulator::{Kind, print_time, system_clock};
use serde_json::json;

use super::reader::{Bus, CHECKPOINTS};
use crate::support::harness::Harness;
use crate::support::kcat;
use crate::support::process::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_leaves_the_transactions_of_a_running_worker_alone() {
    let Some(bus) = Bus::start().await else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (600, 50, 20.0)).await;
    bus.put(&harness, "acme", json!({}));
    let worker = harness.worker();
    until("the history is delivered", async || (bus.arrived().len() >= 600).then_some(())).await;

    let from = system_clock() - 2 * 86_400_000_000;
    let to = system_clock() - 5_000_000;
    let from = print_time(from);
    let to = print_time(to);
    let arguments = ["backfill", "pipelines/acme.yaml", "--stream", "activities", "--from", &from, "--to", &to];
    let done = harness.command(&[&arguments[..], &["--requests-per-second", "100"]].concat()).await;
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let twice = || bus.arrived().values().filter(|count| **count == 2).count();
    assert!(twice() > 500, "the window came again, at least once: {}", twice());

    tokio::time::sleep(Duration::from_secs(2)).await;
    harness.console().set_rate(0.0, system_clock());
    let before = twice();
    until("the live lanes have gone on", async || {
        let arrived = bus.arrived();
        harness.owed(Kind::Activities).iter().all(|id| arrived.contains_key(id)).then_some(())
    })
    .await;
    let warned: Vec<_> = worker.log().into_iter().filter(|line| line["level"] != "INFO").collect();
    assert!(warned.is_empty(), "the worker was disturbed: {warned:?}");
    // The window ends behind what the lanes committed: only they wrote under their names.
    let owners = kcat::committed(&bus.broker.address(), CHECKPOINTS, "%k\n");
    assert!(owners.lines().all(|key| !key.contains('+')), "{owners}");
    assert_eq!(twice(), before, "what the lanes deliver still comes once");
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
}
