//! What happens to workers in a cluster, one thing after another, while records keep coming.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::harness::{CHECKPOINT_INTERVAL, ClusterHarness, LEASE, PATIENCE, SHARDS};
use super::receiver::Arrival;
use crate::support::harness::setting;
use crate::support::kubernetes::Kubernetes;
use crate::support::process::until_within;

/// Between the write of a checkpoint and what it holds, on a machine that is busy.
const SLACK: Duration = Duration::from_secs(10);

/// One line of what the test prints.
struct Row {
    scenario: &'static str,
    hand_over: Option<Duration>,
    repeated: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_little_repeated_whatever_happens_to_workers() {
    let Some(kubernetes) = Kubernetes::start().await else { return };
    let mut harness = ClusterHarness::new(&kubernetes, setting("S1_FORWARDER_CLUSTER_PIPELINES", 60)).await;
    let all: BTreeSet<String> = harness.names().into_iter().collect();
    let started_at = Instant::now();
    for _ in 0..3 {
        harness.add().await;
    }
    harness.even().await;
    harness.delivered(&all, started_at, "").await;

    let mut rows = Vec::new();
    rows.push(kill(&mut harness).await);
    rows.push(terminate(&mut harness).await);
    rows.push(cut_off(&mut harness).await);
    rows.push(freeze(&mut harness).await);
    rows.push(without_api_server(&mut harness, &all).await);
    rows.push(scale(&mut harness, &all).await);
    rows.push(roll(&mut harness, &all).await);

    let lost = harness.lost().await;
    println!("{:<32} {:>10} {:>6} {:>9}", "scenario", "hand-over", "lost", "repeated");
    for Row { scenario, hand_over, repeated } in &rows {
        let hand_over = hand_over.map_or_else(|| "-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        println!("{scenario:<32} {hand_over:>10} {lost:>6} {repeated:>9}");
    }
    assert_eq!(lost, 0, "records were lost");
    let last: Vec<String> = harness.workers.keys().cloned().collect();
    for name in last {
        harness.stop(&name).await;
    }
    assert!(harness.holders().await.is_empty(), "leases are left behind");
}

/// What came again since `from` had come before that no earlier than `since`: what is older was in a checkpoint. If no
/// worker was to be cut off, nothing may happen; but a machine that is too busy for its API server cuts workers off
/// too.
fn repeated(harness: &ClusterHarness<'_>, from: Instant, since: Option<Instant>) -> usize {
    let since = since.or_else(|| unsaved_at(harness.cut_off_since(from)?));
    let again = harness.receiver.repeated(from);
    for (pipeline, arrivals) in &again {
        let before = arrivals.iter().rev().skip(1).map(|arrival| arrival.at).next().unwrap();
        if since.is_none_or(|since| before < since) {
            let reported: Vec<String> = arrivals
                .iter()
                .map(|arrival| format!("{} {:.1} s ago", arrival.worker, arrival.at.elapsed().as_secs_f64()))
                .collect();
            panic!("{pipeline} brought an event again: {reported:?}\n{}", harness.logs(pipeline));
        }
    }
    again.len()
}

/// What was delivered before `at` and may not be in a checkpoint by then.
fn unsaved_at(at: Instant) -> Option<Instant> {
    Some(at - CHECKPOINT_INTERVAL - SLACK)
}

async fn kill(harness: &mut ClusterHarness<'_>) -> Row {
    let victim = harness.workers.keys().next().unwrap().clone();
    let theirs = harness.pipelines_of(&victim).await;
    let at = Instant::now();
    harness.remove(&victim).process.kill().await;
    let done = harness.delivered(&theirs, at, &victim).await;
    harness.even().await;
    let row = Row { scenario: "kill -9", hand_over: Some(done - at), repeated: repeated(harness, at, unsaved_at(at)) };
    harness.add().await;
    harness.even().await;
    row
}

async fn terminate(harness: &mut ClusterHarness<'_>) -> Row {
    let victim = harness.workers.keys().next().unwrap().clone();
    let theirs = harness.pipelines_of(&victim).await;
    let at = Instant::now();
    harness.stop(&victim).await;
    let done = harness.delivered(&theirs, at, &victim).await;
    harness.even().await;
    let row = Row { scenario: "SIGTERM", hand_over: Some(done - at), repeated: repeated(harness, at, None) };
    harness.add().await;
    harness.even().await;
    row
}

async fn cut_off(harness: &mut ClusterHarness<'_>) -> Row {
    let victim = harness.workers.keys().next().unwrap().clone();
    let theirs = harness.pipelines_of(&victim).await;
    let at = Instant::now();
    harness.worker(&victim).link.cut();
    let done = harness.delivered(&theirs, at, &victim).await;
    // The other workers have taken over: the victim must have stopped before.
    let late = harness.receiver.brought_by(&victim, at + LEASE);
    assert_eq!(late, 0, "{victim} delivered after its leases ended");
    let row = Row {
        scenario: "cut off from the API server",
        hand_over: Some(done - at),
        repeated: repeated(harness, at, unsaved_at(at)),
    };
    harness.worker(&victim).link.mend();
    harness.even().await;
    let metrics = harness.worker(&victim).process.metrics().await;
    assert!(metrics.sum("lease_renewals_total", &[("result", "failed")]) > 0, "{}", metrics.0);
    row
}

async fn freeze(harness: &mut ClusterHarness<'_>) -> Row {
    let victim = harness.workers.keys().next().unwrap().clone();
    let theirs = harness.pipelines_of(&victim).await;
    let at = Instant::now();
    harness.worker(&victim).process.signal("STOP").await;
    let done = harness.delivered(&theirs, at, &victim).await;
    let woken = Instant::now();
    harness.worker(&victim).process.signal("CONT").await;
    sleep(LEASE).await;
    // Records that its successors have delivered come again from it only if they were on the wire when it froze.
    let again = harness.receiver.repeated(woken);
    let last = |arrivals: &[Arrival]| arrivals.last().is_some_and(|arrival| arrival.worker == victim);
    let from_the_dead = again.iter().filter(|(_, arrivals)| last(arrivals)).count();
    let on_the_wire = theirs.len() * 10;
    assert!(from_the_dead <= on_the_wire, "{from_the_dead} from a worker that was frozen past its lease");
    let row = Row {
        scenario: "SIGSTOP past the lease, woken",
        hand_over: Some(done - at),
        repeated: repeated(harness, at, unsaved_at(at)),
    };
    harness.even().await;
    let metrics = harness.worker(&victim).process.metrics().await;
    assert!(metrics.sum("lease_losses_total", &[]) > 0, "{}", metrics.0);
    row
}

/// Renewals that failed, of the workers that there are.
async fn failed_renewals(harness: &mut ClusterHarness<'_>) -> u64 {
    let mut failed = 0;
    for worker in harness.workers.values_mut() {
        failed += worker.process.metrics().await.sum("lease_renewals_total", &[("result", "failed")]);
    }
    failed
}

async fn without_api_server(harness: &mut ClusterHarness<'_>, all: &BTreeSet<String>) -> Row {
    // A worker that has held all shards since a moment ago may not work on all yet.
    harness.delivered(all, Instant::now(), "").await;
    let failed_before = failed_renewals(harness).await;
    let before = harness.holders().await;
    let outage = Duration::from_secs(setting("S1_FORWARDER_CLUSTER_OUTAGE", 8) as u64);
    let at = Instant::now();
    harness.kubernetes.stop_api();
    sleep(outage.max(LEASE * 2)).await;
    // Work went on, and then stopped.
    let last = harness.receiver.last().values().map(|arrival| arrival.at).max().unwrap();
    assert!(last > at, "nothing was delivered without the API server");
    assert!(last < at + LEASE, "delivered {:?} after the API server was gone", last - at);
    harness.kubernetes.start_api().await;
    let back = Instant::now();
    let done = harness.delivered(all, back, "").await;
    harness.even().await;
    // Connections are refused at once: that is no reason to try again at once.
    let failed = failed_renewals(harness).await - failed_before;
    let tries = SHARDS as u32 * (at.elapsed().as_millis() / (LEASE / 12).as_millis() + 1) as u32;
    assert!(failed <= tries.into(), "{failed} renewals failed, {tries} at most");
    let after = harness.holders().await;
    let moved = before.iter().filter(|(shard, holder)| after.get(*shard) != Some(holder)).count();
    println!(
        "without the API server, work went on for {:?}, {failed} renewals failed and {moved} shards moved",
        last - at
    );
    Row { scenario: "API server down", hand_over: Some(done - back), repeated: repeated(harness, at, unsaved_at(at)) }
}

async fn scale(harness: &mut ClusterHarness<'_>, all: &BTreeSet<String>) -> Row {
    let at = Instant::now();
    for _ in 0..2 {
        harness.add().await;
    }
    harness.even().await;
    let up = at.elapsed();
    let leaving: Vec<String> = harness.workers.keys().take(3).cloned().collect();
    for name in leaving {
        harness.stop(&name).await;
    }
    let down = Instant::now();
    harness.even().await;
    harness.delivered(all, down, "").await;
    println!("3 to 5 workers: even after {up:?}");
    Row { scenario: "3 to 5 to 2 workers", hand_over: Some(up), repeated: repeated(harness, at, None) }
}

/// A new one first, then an old one goes, until all are new.
async fn roll(harness: &mut ClusterHarness<'_>, all: &BTreeSet<String>) -> Row {
    let at = Instant::now();
    let old: Vec<String> = harness.workers.keys().cloned().collect();
    for name in old {
        let new = harness.add().await;
        let worker = harness.worker(&new);
        worker.process.get("/readyz").await;
        until_within(PATIENCE, "the new worker is ready", async || {
            worker.process.try_get("/readyz").await.is_ok_and(|(status, _)| status == 200).then_some(())
        })
        .await;
        harness.stop(&name).await;
    }
    let last = Instant::now();
    harness.even().await;
    let done = harness.delivered(all, last, "").await;
    Row { scenario: "rolling update of all", hand_over: Some(done - last), repeated: repeated(harness, at, None) }
}
