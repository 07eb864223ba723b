//! Counts of what lanes did, and `report`, in any store.

use serde_json::Value;

use s1_forwarder::emulator::{Kind, system_clock};

use super::harness::Harness;

const LANE: &str = "acme/activities/siem";

/// The counts of the lane in the report, and the reasons for which parts of the last two days are not known.
async fn report(harness: &Harness, pipeline: &str, flags: &[&str]) -> (Value, Vec<String>) {
    let arguments = ["report", "--from", "2d", "--to", "now", "--format", "json", "--pipeline", pipeline];
    let exit = harness.command(&[&arguments, flags].concat()).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let report: Value = serde_json::from_str(&exit.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{report:#}");
    let reasons = rows[0]["not_known"].as_array().unwrap().iter();
    (rows[0]["counts"].clone(), reasons.map(|part| part["reason"].as_str().unwrap().to_owned()).collect())
}

/// A worker counts in `state` over a clean stop, a kill and `run --once`, and what it did moves with `state rename`.
pub async fn counts_and_reports(harness: &Harness, state: &[&str]) {
    const ACTIVITIES: u64 = 60;
    let flags = [state, &["--dead-letters", "file:dead"]].concat();
    let mut worker = harness.worker_with(&flags);
    let lane = worker.lane(LANE, |lane| lane["delivered"] == ACTIVITIES && lane["events_today"].is_u64()).await;
    assert_eq!(lane["events_today"], ACTIVITIES, "or it is midnight");
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    let (counts, reasons) = report(harness, "acme", state).await;
    assert_eq!(
        (&counts["events"], reasons.first().map(String::as_str)),
        (&Value::from(ACTIVITIES), Some("not_counted"))
    );
    assert!(counts["event_bytes"].as_u64().is_some_and(|bytes| bytes > ACTIVITIES * 100), "{counts}");

    // Another worker goes on from what is stored. A kill loses its own counts at most.
    let mut worker = harness.worker_with(&flags);
    worker.lane(LANE, |lane| lane["events_today"] == ACTIVITIES).await;
    worker.kill().await;
    assert_eq!(report(harness, "acme", state).await.0["events"], ACTIVITIES);
    harness.console().generate(Kind::Activities, system_clock() - 2_000_000);
    let once = harness.once(&flags).await;
    assert_eq!(once.code, Some(0), "{}{}", once.stdout, once.stderr);
    let delivered = harness.sink.ledger().counts().len() as u64;
    assert!(delivered > ACTIVITIES);
    assert_eq!(report(harness, "acme", state).await.0["events"], delivered);

    let rename = [&["state", "rename", "acme", "corp"], state].concat();
    assert_eq!(harness.command(&rename).await.code, Some(0));
    assert_eq!(report(harness, "corp", state).await.0["events"], delivered);
}
