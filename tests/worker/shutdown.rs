//! SIGTERM: what is in flight is delivered, and the rest is left for the next start.

use std::time::Duration;

use s1_forwarder::emulator::{Fault, Faults, Kind, system_clock};
use serde_json::json;
use tokio::time::Instant;

use crate::support::double::FaultRule;
use crate::support::harness::Harness;
use crate::support::process::until;

fn refusal() -> Vec<(f64, FaultRule)> {
    vec![(1.0, FaultRule::answer(503, "no"))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_worker_drains_and_nothing_is_lost_or_repeated() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (2_000, 300, 50.0)).await;
    let streams = json!({ "activities": { "interval": "200ms" }, "threats": { "interval": "200ms", "since": "30d" } });
    harness.put_changed("acme", json!({ "streams": streams }));
    harness.sink.misbehave(1, vec![(1.0, FaultRule::Slow(Duration::from_secs(2)))]);
    let mut worker = harness.worker();
    until("it is ready", async || (worker.get("/readyz").await.0 == 200).then_some(())).await;
    until("a few requests are under way", async || (harness.sink.requests().len() > 3).then_some(())).await;
    worker.signal("TERM").await;
    let (status, reason) = until("it is not ready any more", async || {
        worker.try_get("/readyz").await.ok().filter(|(status, _)| *status != 200)
    })
    .await;
    assert_eq!((status, reason.as_str()), (503, "shutting down: delivering what is in flight\n"));
    assert_eq!(worker.try_get("/livez").await.unwrap().0, 200, "a draining worker is alive");
    let requests = harness.console().request_log().len();
    let exit = worker.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stderr.contains("\"drained\",\"aborted\":0"), "{}", exit.stderr);
    assert!(harness.console().request_log().len() <= requests + 2, "pulling stops");

    harness.sink.misbehave(1, vec![]);
    harness.console().set_rate(0.0, system_clock());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let arrived = harness.sink.ledger().counts();
    harness.assert_all_arrived(&[Kind::Activities, Kind::Threats], &arrived);
    assert!(arrived.values().all(|count| *count == 1), "something came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_sink_does_not_keep_the_process() {
    let harness = Harness::new(|setup| setup.activities = 300).await;
    harness.put_changed("acme", json!({}));
    harness.sink.misbehave(1, refusal());
    let worker = harness.worker_with(&["--shutdown-timeout", "1s"]);
    until("the sink refused", async || (!harness.sink.requests().is_empty()).then_some(())).await;
    let asked = Instant::now();
    worker.signal("TERM").await;
    let exit = worker.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(asked.elapsed() >= Duration::from_millis(900), "it gave up before the timeout");
    assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
    assert!(exit.stderr.contains("\"drained\",\"aborted\":1"), "{}", exit.stderr);

    harness.sink.misbehave(1, vec![]);
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let arrived = harness.sink.ledger().counts();
    harness.assert_all_arrived(&[Kind::Activities], &arrived);
    assert!(arrived.values().all(|count| *count == 1), "nothing was taken before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_process_at_once_with_1() {
    let harness = Harness::new(|setup| setup.activities = 300).await;
    harness.put_changed("acme", json!({}));
    harness.sink.misbehave(1, refusal());
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM")] {
        let worker = harness.worker_with(&["--shutdown-timeout", "100s"]);
        let refused = harness.sink.requests().len();
        until("the sink refused", async || (harness.sink.requests().len() > refused).then_some(())).await;
        worker.signal(first).await;
        worker.logged(&["draining"]).await;
        let asked = Instant::now();
        worker.signal(second).await;
        assert_eq!(worker.exit().await.code, Some(1), "{first}, {second}");
        assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_that_is_stopped_drains_too_and_says_that_it_did_not_arrive() {
    let harness = Harness::new(|setup| setup.activities = 2_000).await;
    harness.put_changed("acme", json!({}));
    // The second page is under way when the first has arrived.
    harness.console().set_faults(Faults::default().with(Fault::SlowAnswer(Duration::from_secs(2)), 1.0));
    let arguments = ["run", "--once", "--pipelines", "pipelines"];
    let once = crate::support::process::Process::spawn(crate::support::process::program(harness.root(), &arguments));
    until("it is at work", async || (!harness.sink.requests().is_empty()).then_some(())).await;
    once.signal("TERM").await;
    let exit = once.exit().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stdout.contains("stopped"), "{}", exit.stdout);
    assert!(harness.sink.ledger().counts().len() < harness.owed(Kind::Activities).len(), "it was not stopped in time");
    harness.console().set_faults(Faults::default());
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let arrived = harness.sink.ledger().counts();
    harness.assert_all_arrived(&[Kind::Activities], &arrived);
    assert!(arrived.values().all(|count| *count == 1), "something came twice");
}
