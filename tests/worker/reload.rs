//! Pipeline files that change while the worker runs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::{Value, json};

use crate::support::harness::{Destination, Harness, receiver};
use crate::support::process::{Process, until};
use crate::support::receiver::Receiver;

/// Waits until `receiver` has taken a new record of `kind` that appears now.
async fn goes_on(harness: &Harness, receiver: &Receiver, kind: Kind) {
    let before = harness.owed(kind);
    harness.console().generate(kind, system_clock());
    until("a new record arrives", async || {
        let new = &harness.owed(kind) - &before;
        let arrived = receiver.ledger().counts();
        new.iter().all(|id| arrived.contains_key(id)).then_some(())
    })
    .await;
}

/// How often a lane began to run, as the log tells it.
fn starts(worker: &Process, pipeline: &str, stream: &str) -> usize {
    let is_start = |line: &&Value| {
        line["message"] == "lane is running" && line["pipeline"] == pipeline && line["stream"] == stream
    };
    worker.log().iter().filter(is_start).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_lanes_whose_settings_changed_restart() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (100, 50)).await;
    let other = receiver().await;
    let streams = json!({ "activities": { "interval": "200ms" }, "threats": { "interval": "200ms", "since": "30d" } });
    harness.put_changed("acme", json!({ "streams": streams.clone() }));
    let mut worker = harness.worker();
    harness.delivered(&[Kind::Activities, Kind::Threats]).await;

    // Added.
    harness.put_changed("globex", json!({ "sinks": [other.settings()] }));
    goes_on(&harness, &other, Kind::Activities).await;
    assert_eq!((starts(&worker, "acme", "activities"), starts(&worker, "acme", "threats")), (1, 1));

    // Changed.
    let mut streams = streams;
    streams["activities"]["interval"] = json!("250ms");
    harness.put_changed("acme", json!({ "streams": streams }));
    // What it delivers while it drains is a line of its own.
    until("the changed lane runs again", async || (starts(&worker, "acme", "activities") >= 2).then_some(())).await;
    goes_on(&harness, &harness.sink, Kind::Activities).await;
    goes_on(&harness, &harness.sink, Kind::Threats).await;
    goes_on(&harness, &other, Kind::Activities).await;
    assert_eq!((starts(&worker, "acme", "threats"), starts(&worker, "globex", "activities")), (1, 1));
    for (stream, kind) in [("activities", Kind::Activities), ("threats", Kind::Threats)] {
        // What has arrived is counted a moment later.
        until("counters go on where they were", async || {
            let labels = [("pipeline", "acme"), ("stream", stream)];
            let count = worker.metrics().await.sum("events_delivered_total", &labels);
            let seen: BTreeSet<_> = harness.sink.ledger().counts().into_keys().collect();
            (count as usize == harness.owed(kind).intersection(&seen).count()).then_some(())
        })
        .await;
    }

    // Removed.
    fs::remove_file(harness.path("pipelines/acme.yaml")).unwrap();
    until("the lanes are gone", async || (worker.lanes().await.len() == 1).then_some(())).await;
    assert!(!worker.metrics().await.0.contains("pipeline=\"acme\""), "a removed pipeline has no series");
    goes_on(&harness, &other, Kind::Activities).await;
    for counts in [harness.sink.ledger().counts(), other.ledger().counts()] {
        assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_version_of_a_broken_file_keeps_running() {
    let harness = Harness::new(|setup| setup.activities = 50).await;
    harness.put_changed("acme", json!({}));
    let mut worker = harness.worker();
    harness.delivered(&[Kind::Activities]).await;

    harness.write("pipelines/acme.yaml", "console:\n  url: https://x.example\n  toekn: { env: T }\n");
    worker.logged(&["the last good version keeps running; a restart would not start it", "\"acme\""]).await;
    worker.logged(&["acme.yaml:3:3", "console.toekn", "did you mean `token`?"]).await;
    goes_on(&harness, &harness.sink, Kind::Activities).await;
    let metrics = worker.metrics().await;
    let pipelines = |state| metrics.sum("pipelines", &[("state", state)]);
    assert_eq!((pipelines("running"), pipelines("invalid"), pipelines("paused")), (1, 1, 0));
    let (_, page) = worker.get("/").await;
    assert!(page.contains("a restart would not start this pipeline") && page.contains("toekn"), "{page}");
    assert_eq!(worker.get("/readyz").await.0, 200, "a broken file makes no worker unready");

    // Another file of the same name changes nothing for the one that runs.
    let mut double = harness.pipeline(json!({ "name": "acme" }));
    double["streams"]["activities"]["interval"] = json!("1s");
    harness.put("0", &double);
    until("two files are invalid", async || {
        (worker.metrics().await.sum("pipelines", &[("state", "invalid")]) == 2).then_some(())
    })
    .await;
    worker.logged(&["0.yaml", "the pipeline's name `acme` is also used by"]).await;
    assert_eq!(worker.metrics().await.sum("config_last_reload_successful", &[]), 0);
    fs::remove_file(harness.path("pipelines/0.yaml")).unwrap();

    harness.put_changed("acme", json!({}));
    worker.logged(&["the file is valid again", "acme.yaml"]).await;
    goes_on(&harness, &harness.sink, Kind::Activities).await;
    let metrics = worker.metrics().await;
    assert_eq!(metrics.sum("pipelines", &[("state", "invalid")]), 0);
    assert_eq!(metrics.sum("config_last_reload_successful", &[]), 1);
    assert!(!worker.get("/").await.1.contains("restart would not"));
    assert_eq!(starts(&worker, "acme", "activities"), 1, "the lane was never disturbed");
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_files_of_one_name_neither_runs_at_start_and_the_others_do() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    harness.put_changed("a", json!({ "name": "twice" }));
    harness.put_changed("b", json!({ "name": "twice" }));
    harness.put_changed("globex", json!({}));
    let mut worker = harness.worker();
    harness.delivered(&[Kind::Activities]).await;
    assert_eq!(worker.lanes().await.into_keys().collect::<Vec<_>>(), ["globex/activities/siem"]);
    worker.logged(&["a.yaml", "the pipeline's name `twice` is also used by"]).await;
    worker.logged(&["b.yaml", "the pipeline's name `twice` is also used by"]).await;
    assert_eq!(worker.get("/readyz").await.0, 200);
    fs::remove_file(harness.path("pipelines/b.yaml")).unwrap();
    worker.lane("twice/activities/siem", |lane| lane["state"] == "running").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_a_valid_file_waits_and_is_ready() {
    let harness = Harness::new(|setup| setup.activities = 20).await;
    let mut worker = harness.worker();
    assert_eq!(
        until("it is ready", async || Some(worker.get("/readyz").await).filter(|(status, _)| *status == 200)).await.1,
        "ok\n"
    );
    harness.write("pipelines/acme.yaml", "console: [\n");
    worker.logged(&["acme.yaml", "not started"]).await;
    assert_eq!(worker.get("/readyz").await.0, 200);
    harness.put_changed("acme", json!({}));
    harness.delivered(&[Kind::Activities]).await;
}

/// Kubernetes mounts a ConfigMap as a directory behind a symlink that is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_map_that_is_swapped_is_read_again() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    let version = |number: u32, interval: &str| {
        let directory = format!("pipelines/..2026_{number}");
        fs::create_dir(harness.path(&directory)).unwrap();
        let streams = json!({ "activities": { "interval": interval } });
        harness.write(&format!("{directory}/acme.yaml"), &harness.pipeline(json!({ "streams": streams })).to_string());
        let new = harness.path("pipelines/..data_tmp");
        symlink(format!("..2026_{number}"), &new).unwrap();
        fs::rename(&new, harness.path("pipelines/..data")).unwrap();
    };
    version(1, "300ms");
    symlink("..data/acme.yaml", harness.path("pipelines/acme.yaml")).unwrap();
    let worker = harness.worker();
    harness.delivered(&[Kind::Activities]).await;
    assert_eq!(starts(&worker, "acme", "activities"), 1);
    version(2, "350ms");
    fs::remove_dir_all(harness.path("pipelines/..2026_1")).unwrap();
    until("the new version runs", async || (starts(&worker, "acme", "activities") >= 2).then_some(())).await;
    goes_on(&harness, &harness.sink, Kind::Activities).await;
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1));
    assert!(!worker.log_text().contains("pipeline removed"), "{}", worker.log_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_pipeline_keeps_its_checkpoints() {
    let harness = Harness::new(|setup| setup.activities = 60).await;
    harness.put_changed("acme", json!({}));
    let mut worker = harness.worker();
    harness.delivered(&[Kind::Activities]).await;
    harness.put_changed("acme", json!({ "enabled": false }));
    until("it is paused", async || {
        let paused = worker.metrics().await.sum("pipelines", &[("state", "paused")]) == 1;
        (paused && worker.lanes().await.is_empty()).then_some(())
    })
    .await;
    harness.console().generate(Kind::Activities, system_clock());
    let requests = harness.console().request_log().len();
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    assert_eq!(harness.console().request_log().len(), requests, "a paused pipeline asks nothing");
    assert!(harness.path("state/lanes/acme/activities/siem.checkpoint").exists());
    harness.put_changed("acme", json!({}));
    harness.delivered(&[Kind::Activities]).await;
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1), "nothing is sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_pipeline_goes_on_after_state_rename() {
    let harness = Harness::new(|setup| setup.activities = 60).await;
    harness.put_changed("acme", json!({}));
    assert_eq!(harness.once(&[]).await.code, Some(0));
    fs::rename(harness.path("pipelines/acme.yaml"), harness.path("pipelines/globex.yaml")).unwrap();
    let renamed = harness.command(&["state", "rename", "acme", "globex"]).await;
    assert_eq!(
        (renamed.code, renamed.stdout.as_str()),
        (Some(0), "acme/activities/siem is now globex/activities/siem\n")
    );
    harness.console().generate(Kind::Activities, system_clock() - 3_000_000);
    let before = harness.sink.requests().len();
    assert_eq!(harness.once(&[]).await.code, Some(0));
    harness.assert_all_arrived(&[Kind::Activities], &harness.sink.ledger().counts());
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1));
    let after = harness.sink.requests();
    assert!(after[before..].iter().all(|seen| seen.header("x-s1-forwarder-pipeline") == "globex"));
}

/// What is wrong outside of pipeline files would stop all pipelines at the next restart, and nothing before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_defaults_are_shown_and_cost_nothing_until_a_restart() {
    let harness = Harness::new(|setup| setup.activities = 20).await;
    harness.write("defaults.yaml", "transform: { labels: { region: eu } }\n");
    harness.put_changed("acme", json!({ "streams": { "activities": { "interval": "300ms" } } }));
    let mut worker = harness.worker_with(&["--defaults", "defaults.yaml"]);
    harness.delivered(&[Kind::Activities]).await;
    harness.write("defaults.yaml", "transfrom: {}\n");
    worker.logged(&["ERROR", "a restart would start no pipeline that depends on this", "defaults.yaml"]).await;
    let (_, page) = worker.get("/").await;
    assert!(page.contains("Where pipelines come from") && page.contains("did you mean `transform`?"), "{page}");
    assert_eq!(worker.metrics().await.sum("config_last_reload_successful", &[]), 0);
    let status: Value = serde_json::from_str(&worker.get("/api/v1/lanes").await.1).unwrap();
    assert!(status["source_problems"][0]["place"].as_str().unwrap().ends_with("defaults.yaml"), "{status}");
    goes_on(&harness, &harness.sink, Kind::Activities).await;

    harness.write("defaults.yaml", "transform: { labels: { region: us } }\n");
    worker.logged(&["the file is valid again", "defaults.yaml"]).await;
    until("the page is clean", async || (!worker.get("/").await.1.contains("Where pipelines come from")).then_some(()))
        .await;
}
