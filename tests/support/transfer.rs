//! Parts that the tests of `state export` and `import` share.

use std::time::Duration;

use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::json;

use super::double::FaultRule;
use super::harness::Harness;
use super::process::{Exit, until};

pub const BOTH: [Kind; 2] = [Kind::Activities, Kind::Threats];

/// A worker was stopped while it delivered the history.
pub async fn half_way() -> Harness {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (6_000, 300)).await;
    let streams = json!({ "activities": { "interval": "300ms" }, "threats": { "interval": "300ms", "since": "30d" } });
    let mut pipeline = harness.pipeline(json!({ "streams": streams }));
    pipeline["sinks"][0]["batch"] = json!({ "events": 100, "timeout": "50ms" });
    harness.put("acme", &pipeline);
    harness.sink.misbehave(1, vec![(1.0, FaultRule::Slow(Duration::from_millis(500)))]);
    let worker = harness.worker();
    until("some is delivered", async || (harness.sink.ledger().counts().len() > 200).then_some(())).await;
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    harness.sink.misbehave(1, vec![]);
    let delivered = harness.sink.ledger().counts().len();
    assert!(delivered < 6_000, "it is not half way any more: {delivered}");
    harness
}

pub async fn done(harness: &Harness, arguments: &[&str]) -> Exit {
    let exit = harness.command(arguments).await;
    assert_eq!(exit.code, Some(0), "{arguments:?}: {}{}", exit.stdout, exit.stderr);
    exit
}

/// More is made, the lanes go on from `state`, and all of it has arrived once.
pub async fn goes_on(harness: &Harness, state: &str) {
    BOTH.iter().for_each(|kind| {
        harness.console().generate(*kind, system_clock());
    });
    // Until the console's clock, which tells whole seconds, is past them.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let exit = harness.once(&["--state", state, "--dead-letters", "file:dead"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let arrived = harness.sink.ledger().counts();
    harness.assert_all_arrived(&BOTH, &arrived);
    let repeated = arrived.values().filter(|count| **count > 1).count();
    assert_eq!(repeated, 0, "came again under {state}");
}
