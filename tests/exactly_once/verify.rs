//! The identities of delivered events are stored in the sink with the checkpoint: `verify` finds by them what is
//! missing.

use std::collections::BTreeSet;
use std::time::Duration;

use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::json;

use super::reader::{Bus, CHECKPOINTS};
use crate::support::harness::{Harness, merge};
use crate::support::kcat;
use crate::support::process::Exit;

const HOUR: i64 = 3_600_000_000;
const BOTH: [Kind; 2] = [Kind::Activities, Kind::Threats];

/// The beginning of the hour that is `back` hours ago.
fn hour(back: i64) -> i64 {
    (system_clock() / HOUR - back) * HOUR
}

async fn once(harness: &Harness) {
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
}

fn assert_code(exit: &Exit, code: i32) {
    assert_eq!(exit.code, Some(code), "{}{}", exit.stdout, exit.stderr);
}

fn put(bus: &Bus, harness: &Harness, changes: serde_json::Value) {
    let mut sink = bus.sink();
    merge(&mut sink, changes);
    let streams = json!({
        "activities": { "interval": "200ms", "since": "beginning" },
        "threats": { "interval": "200ms", "since": "beginning" },
    });
    harness.put_changed("acme", json!({ "streams": streams, "sinks": [sink] }));
}

/// Records that come too late are named, and delivered without what arrived before.
async fn late_ones_are_repaired(bus: &Bus, harness: &Harness) {
    assert_code(&harness.verify(&[]).await, 0);
    let before = bus.arrived();
    let mut late = harness.appear_late(Kind::Activities, hour(5) + 17 * 60_000_000, 3);
    late.extend(harness.appear_late(Kind::Threats, hour(7) + 60_000_000, 2));
    once(harness).await;
    assert_eq!(bus.arrived(), before, "they lie beyond the overlap");
    let exit = harness.verify(&[]).await;
    assert_code(&exit, 1);
    assert!(late.iter().filter(|id| exit.stdout.contains(*id)).count() >= 3, "they are named: {}", exit.stdout);
    assert_eq!(bus.arrived(), before, "verify alone delivers nothing");

    assert_code(&harness.verify(&["--repair"]).await, 0);
    let after = bus.arrived();
    let came: BTreeSet<_> = after.keys().filter(|id| !before.contains_key(*id)).cloned().collect();
    assert_eq!(came, late);
    assert!(after.values().all(|count| *count == 1), "what had arrived came again");
    assert_code(&harness.verify(&[]).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_too_late_is_delivered_alone_after_kills_and_after_a_change_of_delivery() {
    let Some(bus) = Bus::start().await else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (2_500, 700)).await;
    put(&bus, &harness, json!({}));
    for wait in [700, 500, 900] {
        let worker = harness.worker();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        worker.kill().await;
    }
    once(&harness).await;
    let arrived = bus.arrived();
    harness.assert_all_arrived(&BOTH, &arrived);
    assert!(arrived.values().all(|count| *count == 1), "the kills made something come twice");
    let journal = || {
        let keys = kcat::committed(&bus.broker.address(), CHECKPOINTS, "%k\n");
        keys.lines().filter(|key| key.contains("#j")).count()
    };
    assert!(journal() > 0, "more than fits into a checkpoint");
    late_ones_are_repaired(&bus, &harness).await;

    // The stored events stay in the sink; the ledger begins again and is as complete as before.
    for change in [json!({ "delivery": "at_least_once" }), json!({})] {
        put(&bus, &harness, change);
        once(&harness).await;
        let exit = harness.verify(&[]).await;
        // The ledger begins in this hour, so no whole hour can be compared.
        assert_code(&exit, 1);
        assert!(
            exit.stdout.contains("not compared") && exit.stdout.contains("no hour was compared"),
            "{}",
            exit.stdout
        );
    }
}
