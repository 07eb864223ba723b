//! `--memory-budget` holds while every sink is dead: the peak of the process is the budget and a stated rest.

use std::net::{SocketAddr, TcpListener};

use serde_json::json;

use crate::support::harness::{Harness, setting};
use crate::support::process::{Process, until, until_within};

const MIB: u64 = 1 << 20;
const BUDGET: u64 = 32 * MIB;
/// The program itself, its threads, and what the allocator keeps of what was freed.
const PROGRAM: u64 = 64 * MIB;
/// A lane with its tasks, settings, metrics, and the buffers of its two connections.
const LANE: u64 = 96 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_budget_holds_when_every_sink_is_dead() {
    let pipelines = setting("S1_FORWARDER_DEAD_PIPELINES", 60);
    let harness = Harness::new(|setup| setup.activities = 20_000).await;
    // Dead in two ways: one refuses connections, the other takes everything and answers nothing.
    let gone = SocketAddr::from(([127, 0, 0, 1], 1));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for number in 0..pipelines {
        let address = if number % 2 == 0 { gone } else { silent.local_addr().unwrap() };
        let sink = json!({ "name": "siem", "type": "http", "url": format!("http://{address}/"), "timeout": "5s" });
        let changes = json!({ "transform": { "schema": "ecs" }, "sinks": [sink] });
        harness.put_changed(&format!("p{number}"), changes);
    }
    let mut worker = harness.worker_with(&["--memory-budget", "32MiB"]);
    until_within(crate::support::process::PATIENCE * 4, "every lane fails", async || {
        failing(&mut worker, pipelines).await
    })
    .await;
    // Once more through all of it: requeued records are pulled and refused again.
    let started_at = tokio::time::Instant::now();
    until("lanes have tried again", async || (started_at.elapsed().as_secs() >= 10).then_some(())).await;

    let peak = worker.peak_rss();
    let allowed = BUDGET + PROGRAM + LANE * pipelines as u64;
    let mib = |bytes: u64| bytes / MIB;
    println!("{pipelines} pipelines, budget {} MiB: peak {} MiB, allowed {}", mib(BUDGET), mib(peak), mib(allowed));
    assert!(peak <= allowed, "peak {} MiB, allowed {} MiB", mib(peak), mib(allowed));
}

async fn failing(worker: &mut Process, lanes: usize) -> Option<()> {
    let (_, metrics) = worker.get("/metrics").await;
    let down = metrics.lines().filter(|line| line.starts_with("s1_forwarder_lane_up{") && line.ends_with(" 0"));
    (down.count() == lanes).then_some(())
}
