//! Records that take long to map hold up their own lanes, and no others.

use std::time::Duration;

use s1_forwarder::emulator::Kind;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::support::harness::{Destination, Harness};
use crate::support::process::{Metrics, Process, until, until_within};

const SLOW_LANES: usize = 8;
const HEALTHY: [&str; 3] = ["one", "two", "three"];
const ACTIVITIES: usize = 1_000;

/// So many that an event takes some 50 ms in a debug build.
const REDACTIONS: usize = 6_000;

/// Its lanes look at each event for thousands of paths.
fn slow(harness: &Harness) -> Value {
    let redact: Vec<_> = (0..REDACTIONS).map(|number| format!("data.member{number}")).collect();
    let mut pipeline = harness.pipeline(json!({ "transform": { "redact": redact } }));
    let sinks = (0..SLOW_LANES).map(|number| {
        let mut sink = harness.sink.settings();
        sink["name"] = json!(format!("siem{number}"));
        sink
    });
    pipeline["sinks"] = sinks.collect();
    pipeline
}

fn sum(metrics: &Metrics, name: &str, pipelines: &[&str]) -> u64 {
    pipelines.iter().map(|pipeline| metrics.sum(name, &[("pipeline", pipeline)])).sum()
}

/// How long `/livez` took to answer.
pub(super) async fn livez(worker: &Process) -> Duration {
    let asked = Instant::now();
    // Generous: the machine may be busy with other tests. The median of the answers is not.
    let answer = timeout(Duration::from_secs(5), worker.try_get("/livez")).await;
    let is_alive = answer.is_ok_and(|answer| answer.is_ok_and(|(status, _)| status == 200));
    assert!(is_alive, "{}", worker.log_text());
    asked.elapsed()
}

/// How long the healthy pipelines take to deliver all that the console has.
async fn catch_up(harness: &Harness, worker: &mut Process) -> Duration {
    let owed = harness.owed(Kind::Activities).len();
    let started_at = Instant::now();
    HEALTHY.iter().for_each(|name| harness.put_changed(name, json!({})));
    until_within(Duration::from_mins(1), "the healthy pipelines have caught up", async || {
        let delivered = sum(&worker.metrics().await, "events_delivered_total", &HEALTHY);
        (delivered >= (HEALTHY.len() * owed) as u64).then_some(())
    })
    .await;
    started_at.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_take_long_to_map_hold_up_neither_other_lanes_nor_the_worker_nor_its_end() {
    let harness = Harness::new(|setup| setup.activities = ACTIVITIES).await;
    let mut worker = harness.worker();
    worker.url().await;
    let alone = catch_up(&harness, &mut worker).await;
    worker.kill().await;

    let harness = Harness::new(|setup| setup.activities = ACTIVITIES).await;
    harness.put("slow", &slow(&harness));
    let mut worker = harness.worker_with(&["--shutdown-timeout", "2s"]);
    worker.url().await;
    until("the slow lanes have pages to map", async || {
        let pulled = sum(&worker.metrics().await, "records_pulled_total", &["slow"]);
        (pulled >= (SLOW_LANES * 100) as u64).then_some(())
    })
    .await;
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(livez(&worker).await);
        sleep(Duration::from_millis(50)).await;
    }
    answers.sort();
    assert!(answers[answers.len() / 2] < Duration::from_secs(1), "{answers:?}");
    let together = catch_up(&harness, &mut worker).await;
    // Generous: both are short, and the machine may be busy with other tests.
    assert!(together < 3 * alone + Duration::from_secs(5), "{together:?} instead of {alone:?}");

    let delivered = sum(&worker.metrics().await, "events_delivered_total", &["slow"]);
    assert!(delivered < (SLOW_LANES * ACTIVITIES) as u64, "the slow lanes are not slow: {alone:?}, {together:?}");
    let asked = Instant::now();
    worker.signal("TERM").await;
    let exit = worker.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
    println!("{answers:?} alone {alone:?} together {together:?} slow {delivered} end {:?}", asked.elapsed());
}
