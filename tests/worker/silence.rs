//! A console that falls silent: it answers, and shows nothing new.

use std::time::Duration;

use s1_forwarder::emulator::{Fault, Faults, Kind, system_clock};
use s1_forwarder::record::Timestamp;
use serde_json::{Value, json};

use crate::support::harness::Harness;
use crate::support::process::Process;

const AFTER: Duration = Duration::from_secs(4);

/// Activities that are read once: a restart does not show the newest again.
fn streams() -> Value {
    json!({
        "activities": { "interval": "300ms", "since": "30d", "overlap": "1s", "silent_after": "4s" },
        "threats": { "interval": "300ms", "since": "30d" },
    })
}

fn micros(time: &Value) -> i64 {
    Timestamp::parse(time.as_str().unwrap()).unwrap().micros()
}

/// Looks at the lane until it is silent. It is not so sooner than `silent_after` after `newest`, which it names.
async fn falls_silent(worker: &mut Process, newest: i64) {
    let lane = worker
        .lane("acme/activities/siem", |lane| {
            let now = system_clock();
            assert!(lane["silent"] != true || now - newest >= AFTER.as_micros() as i64, "{now}: {lane}");
            lane["silent"] == true
        })
        .await;
    assert_eq!((micros(&lane["newest_record"]), &lane["up"]), (newest, &json!(true)), "{lane}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_that_falls_silent_is_seen_within_its_threshold_and_not_before_over_a_restart() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (20, 5)).await;
    harness.put_changed("acme", json!({ "streams": streams() }));
    // A scope that the token does not see: the console answers with empty lists.
    harness.put_changed("gone", json!({ "streams": streams(), "console": { "accounts": ["999999999999999999"] } }));
    let newest = system_clock();
    harness.console().generate(Kind::Activities, newest);
    let mut worker = harness.worker();
    worker
        .lane("acme/activities/siem", |lane| lane["silent"] == false && micros(&lane["newest_record"]) == newest)
        .await;
    falls_silent(&mut worker, newest).await;
    let metrics = worker.metrics().await;
    let acme = [("pipeline", "acme"), ("stream", "activities")];
    assert_eq!((metrics.sum("lane_silent", &acme), metrics.sum("lane_up", &acme)), (1, 1));
    assert_eq!(metrics.sum("newest_record_timestamp_seconds", &acme), newest as u64 / 1_000_000);
    worker.logged(&["WARN", "the console is silent", "\"pipeline\":\"acme\"", "\"stream\":\"activities\""]).await;

    // Threats come rarely, and no key says how often they should come.
    let lane = worker.lane("acme/threats/siem", |lane| lane["newest_record"].is_string()).await;
    assert_eq!(lane["silent"], Value::Null);
    assert!(!metrics.samples("lane_silent").any(|(labels, _)| labels.contains("threats")));
    let lane = worker.lane("gone/activities/siem", |lane| lane["silent"] == true).await;
    assert_eq!(lane["newest_record"], Value::Null);
    assert_eq!(metrics.samples("newest_record_timestamp_seconds").filter(|(of, _)| of.contains("gone")).count(), 0);

    let (_, page) = worker.get("/?state=silent").await;
    assert!(page.contains("1 silent") && page.contains("Pipelines 1 to 2 of 2"), "{page}");
    let (_, page) = worker.get("/pipelines/gone").await;
    assert!(page.contains("silent: no record yet"), "{page}");
    let url = worker.url().await;
    let status = harness.command(&["status", "--url", &url, "--silent", "--wide"]).await.stdout;
    assert!(status.contains("acme/activities/siem") && status.contains("running, silent for "), "{status}");
    assert!(!status.contains("threats") && status.contains("\n4 up, 0 failing, 2 silent"), "{status}");

    // The rhythm is in the checkpoint: this worker sees no record at all.
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    let mut worker = harness.worker();
    falls_silent(&mut worker, newest).await;
    assert_eq!(worker.metrics().await.sum("records_pulled_total", &acme), 0, "the console has shown it again");

    // A failing console has another alert.
    harness.console().set_faults(Faults::default().with(Fault::Unavailable, 1.0));
    worker.lane("acme/activities/siem", |lane| lane["up"] == false && lane["silent"] == true).await;
    harness.console().set_faults(Faults::default());
    let later = system_clock();
    harness.console().generate(Kind::Activities, later);
    worker
        .lane("acme/activities/siem", |lane| lane["silent"] == false && micros(&lane["newest_record"]) == later)
        .await;
    worker.logged(&["INFO", "the console is not silent any more"]).await;

    // Another scope starts the rhythm again: nothing that the lane knew is of this scope.
    harness.put_changed("acme", json!({ "streams": streams(), "console": { "accounts": ["999999999999999999"] } }));
    let lane = worker.lane("acme/activities/siem", |lane| lane["newest_record"].is_null()).await;
    assert_eq!(lane["up"], true, "{lane}");
    harness.put_changed("acme", json!({ "streams": streams() }));
    let last = system_clock();
    harness.console().generate(Kind::Activities, last);
    worker
        .lane("acme/activities/siem", |lane| {
            lane["newest_record"].is_string() && micros(&lane["newest_record"]) == last
        })
        .await;

    // So does `state set`. A console that fails shows no record again.
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    let set = harness.command(&["state", "set", "acme/activities/siem", "--to", "now"]).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    harness.console().set_faults(Faults::default().with(Fault::Unavailable, 1.0));
    let mut worker = harness.worker();
    let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "console_failing").await;
    assert_eq!((&lane["newest_record"], &lane["unpolled"]), (&Value::Null, &json!(true)));

    for lane in ["acme/threats/siem", "gone/activities/siem", "gone/threats/siem"] {
        worker.lane(lane, |lane| lane["state"] == "console_failing").await;
    }

    // Nothing is known before a poll was complete: such a lane is neither silent nor the contrary.
    let url = worker.url().await;
    let asked = async |more: &[&str]| {
        let arguments = [&["status", "--url", &url, "--silent"], more].concat();
        harness.command(&arguments).await.stdout
    };
    let all = asked(&[]).await;
    assert!(
        all.starts_with("no lane is known to be silent\n") && all.contains(", 4 not polled to the end yet"),
        "{all}"
    );
    let one = asked(&["--pipeline", "acme"]).await;
    assert!(
        one.starts_with("no lane is known to be silent\n") && one.contains(", 2 not polled to the end yet"),
        "{one}"
    );
    harness.console().set_faults(Faults::default());
    worker.lane("acme/threats/siem", |lane| lane["unpolled"] == false).await;
    worker.lane("acme/activities/siem", |lane| lane["unpolled"] == false).await;
    let one = asked(&["--pipeline", "acme"]).await;
    assert!(!one.contains("not polled"), "{one}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_summary_of_a_run_names_silent_lanes() {
    let harness = Harness::new(|setup| setup.activities = 0).await;
    let newest = system_clock() - 3_600_000_000;
    harness.console().generate(Kind::Activities, newest);
    harness.put_changed("acme", json!({ "streams": { "activities": { "silent_after": "30m" } } }));
    harness.put_changed("globex", json!({ "streams": { "activities": { "silent_after": "2h" } } }));
    let exit = harness.once(&[]).await;
    let rows: Vec<&str> = exit.stdout.lines().filter(|line| line.contains("complete")).collect();
    let silent = format!("silent: the console shows nothing new since {}", Timestamp::from_micros(newest));
    assert!(rows.len() == 2 && rows[0].contains(&silent) && !rows[1].contains("silent"), "{}", exit.stdout);
    assert_eq!(exit.code, Some(0), "silence is no failure");
}

/// It showed nothing although it had records: what is older than `overlap` is not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_silence_says_what_delivers_the_records_that_were_not_shown() {
    let harness = Harness::new(|setup| setup.activities = 0).await;
    let ago = |seconds: i64| system_clock() - seconds * 1_000_000;
    harness.console().generate(Kind::Activities, ago(300));
    let streams = json!({ "activities": { "interval": "300ms", "overlap": "60s", "silent_after": "4s" } });
    harness.put_changed("acme", json!({ "streams": streams }));
    let mut worker = harness.worker();
    worker.lane("acme/activities/siem", |lane| lane["silent"] == true).await;
    harness.console().generate(Kind::Activities, ago(45));
    let said = |lane: &Value| lane["warnings"].to_string().contains("has shown no records from ");
    let lane = worker.lane("acme/activities/siem", said).await;
    let text = lane["warnings"][0].as_str().unwrap();
    assert!(text.contains(" on: s1-forwarder verify ") && text.contains(" --repair"), "{text}");
    worker.logged(&["WARN", "has shown no records from "]).await;
    assert_eq!(worker.metrics().await.sum("pipeline_warnings", &[("pipeline", "acme"), ("warning", "missed")]), 1);
    // A record that has just come shows no such thing.
    worker.lane("acme/activities/siem", |lane| lane["silent"] == true).await;
    harness.console().generate(Kind::Activities, system_clock());
    let lane = worker.lane("acme/activities/siem", |lane| lane["silent"] == false).await;
    assert_eq!(lane["warnings"].as_array().map(Vec::len), Some(1), "{lane}");
}
