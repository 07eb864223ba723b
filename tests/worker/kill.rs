//! Killed at any moment, started again: nothing is lost, and what comes twice is bounded.

use std::time::Duration;

use s1_forwarder::emulator::{Faults, Kind, system_clock};
use serde_json::json;

use super::once::failing;
use crate::support::double::FaultRule;
use crate::support::harness::{Destination, Harness, setting};

const CONCURRENCY: usize = 3;
const BATCH: usize = 40;
const LANES: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_again_and_again_loses_nothing() {
    let mut kills = setting("S1_FORWARDER_KILLS", 6);
    // More than the killed workers can deliver: a checkpoint that ran ahead would leave out what lies before the
    // overlap.
    let activities = 1_000 + 400 * kills;
    let threats = 200 + 100 * kills;
    let harness =
        Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (activities, threats, 100.0)).await;
    let mut sink = harness.sink.settings();
    sink["batch"] = json!({ "events": BATCH, "timeout": "50ms" });
    sink["concurrency"] = json!(CONCURRENCY);
    let streams =
        json!({ "activities": { "interval": "200ms" }, "threats": { "interval": "200ms", "since": "beginning" } });
    harness.put_changed("acme", json!({ "streams": streams, "sinks": [sink] }));
    harness.console().set_faults(Faults::preset("all").unwrap());
    // Slow enough for a kill to hit something under way, before it is taken or after.
    let pause = Duration::from_millis(150);
    let slow = [(0.5, FaultRule::Late(pause)), (1.0, FaultRule::Slow(pause))];
    harness.sink.misbehave(3, failing().into_iter().chain(slow).collect());

    let mut random = fastrand::Rng::with_seed(11);
    let mut shown = 0;
    let mut killed = 0;
    // On a busy machine a worker may need longer to send anything.
    while killed < kills || (shown == 0 && killed < 5 * kills) {
        let worker = harness.worker();
        let life = Duration::from_millis(random.u64(50..900)) * u32::try_from(1 + killed / kills).unwrap();
        tokio::time::sleep(life).await;
        worker.kill().await;
        killed += 1;
        shown += usize::from(!harness.sink.requests().is_empty());
    }
    kills = killed;
    assert!(shown > 0, "no worker lived long enough to send anything");

    harness.sink.misbehave(4, failing());
    harness.console().set_rate(0.0, system_clock());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let last = harness.once(&[]).await;
    assert_eq!(last.code, Some(0), "{}{}", last.stdout, last.stderr);
    // What came late while the last run read is within the overlap of one without faults.
    harness.console().set_faults(Faults::default());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(harness.once(&[]).await.code, Some(0));

    let arrived = harness.sink.ledger().counts();
    harness.assert_all_arrived(&[Kind::Activities, Kind::Threats], &arrived);
    let unanswered = harness.sink.ledger().unanswered();
    let beyond = |(id, count): (&String, &u32)| (*count - 1).saturating_sub(unanswered.get(id).copied().unwrap_or(0));
    let repeated: u32 = arrived.iter().map(beyond).sum();
    let bound = kills * LANES * CONCURRENCY * BATCH;
    println!(
        "{kills} kills: {} events arrived, {repeated} again for a kill (at most {bound}), {} after a lost answer",
        arrived.len(),
        unanswered.values().sum::<u32>(),
    );
    assert!(repeated as usize <= bound, "{repeated} events came again, more than {bound}");
}
