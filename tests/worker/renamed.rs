//! A pipeline with a new name: its lanes wait for the checkpoints of the old one.

use std::fs;

use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::{Value, json};

use crate::support::harness::{Harness, receiver};
use crate::support::process::{Exit, Process, until};

const FLAGS: [&str; 2] = ["--lease", "1s"];

async fn harness() -> Harness {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (60, 20)).await;
    harness.put("acme", &pipeline(&harness));
    harness
}

fn pipeline(harness: &Harness) -> Value {
    harness.pipeline(json!({ "streams": { "threats": { "interval": "500ms", "since": "30d" } } }))
}

fn rename_file(harness: &Harness) {
    fs::rename(harness.path("pipelines/acme.yaml"), harness.path("pipelines/corp.yaml")).unwrap();
}

/// Waits until both lanes of the new name wait, and returns what one of them says.
async fn waits(worker: &mut Process) -> String {
    worker.lane("corp/activities/siem", |lane| lane["state"] == "renamed").await;
    let lane = worker.lane("corp/threats/siem", |lane| lane["state"] == "renamed").await;
    assert_eq!(lane["up"], true);
    lane["error"].as_str().unwrap().to_owned()
}

async fn rename(harness: &Harness) -> Exit {
    harness.command(&["state", "rename", "acme", "corp"]).await
}

/// Nothing is lost, and nothing comes twice.
async fn goes_on(harness: &Harness) {
    harness.console().generate(Kind::Activities, system_clock());
    harness.delivered(&[Kind::Activities, Kind::Threats]).await;
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1), "{:?}", harness.sink.ledger().counts());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_renamed_next_to_its_worker_goes_on_after_state_rename() {
    let harness = harness().await;
    let mut worker = harness.worker_with(&FLAGS);
    harness.delivered(&[Kind::Activities, Kind::Threats]).await;
    let early = rename(&harness).await;
    assert_eq!(early.code, Some(1), "{}", early.stdout);
    assert!(early.stderr.contains("acme/threats/siem runs in this worker"), "{}", early.stderr);

    rename_file(&harness);
    let text = waits(&mut worker).await;
    let state = fs::canonicalize(harness.path("state")).unwrap();
    let command = format!("s1-forwarder state rename acme corp --state file:{}", state.display());
    assert!(text.contains(&command), "{text}");
    worker.logged(&["WARN", "the lane waits", &command]).await;
    let (_, page) = worker.get("/").await;
    assert!(page.contains("state rename acme corp"), "{page}");
    let url = worker.url().await;
    let status = harness.command(&["status", "--url", &url]).await;
    assert!(status.stdout.contains("state rename acme corp"), "{}{}", status.stdout, status.stderr);
    // Nothing fails, and nothing is delivered until an operator acts.
    for filter in [&["--failing"][..], &["--failing", "--pipeline", "corp"]] {
        // The old name is not shown as a file that is gone, as soon as the lanes of the new one wait for it.
        let shown = until("the file has a new name", async || {
            let status = harness.command(&[&["status", "--url", &url][..], filter].concat()).await;
            (!status.stdout.contains("acme.yaml (removed)")).then_some(status.stdout)
        })
        .await;
        assert_eq!(shown.matches("state rename acme corp").count(), 2, "{filter:?}: {shown}");
        let last = shown.trim_end().lines().last();
        assert_eq!(last, Some("0 up, 0 failing, 2 renamed (each says what to do)"), "{filter:?}: {shown}");
    }

    let before = harness.sink.requests().len();
    let renamed = rename(&harness).await;
    assert_eq!(renamed.code, Some(0), "{}", renamed.stderr);
    let line = |stream| format!("acme/{stream}/siem is now corp/{stream}/siem\n");
    assert!(["activities", "threats"].iter().all(|name| renamed.stdout.contains(&line(name))), "{}", renamed.stdout);
    goes_on(&harness).await;
    let requests = harness.sink.requests();
    assert!(requests[before..].iter().all(|request| request.header("x-s1-forwarder-pipeline") == "corp"));
    assert!(!harness.path("state/renames").exists(), "the requests are removed");
    let unknown = rename(&harness).await;
    assert_eq!(unknown.code, Some(1), "{}", unknown.stdout);
    assert!(unknown.stderr.contains("no lane of a pipeline `acme` has a checkpoint"), "{}", unknown.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renamed_from_moves_the_checkpoints_without_a_command() {
    let harness = harness().await;
    let mut worker = harness.worker_with(&FLAGS);
    harness.delivered(&[Kind::Activities, Kind::Threats]).await;
    // Its file is still there.
    let mut renamed = pipeline(&harness);
    renamed["renamed_from"] = json!("acme");
    harness.put("corp", &renamed);
    let text = waits(&mut worker).await;
    assert!(text.contains("`renamed_from: acme`") && text.contains("has a pipeline file"), "{text}");
    fs::remove_file(harness.path("pipelines/acme.yaml")).unwrap();
    worker.lane("corp/activities/siem", |lane| lane["state"] == "running").await;
    worker.logged(&["INFO", "the lane continues from the checkpoint of acme/activities/siem"]).await;
    goes_on(&harness).await;

    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    let again = harness.once(&[]).await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stderr.contains("`renamed_from: acme` is ignored: the lane has a checkpoint"), "{}", again.stderr);
    arrived_once(&harness);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_waits_goes_on_waiting_after_a_restart_and_run_once_gives_it_up() {
    let harness = harness().await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    rename_file(&harness);
    let once = harness.once(&[]).await;
    assert_eq!(once.code, Some(1), "{}", once.stdout);
    let row = |name: &str| once.stdout.lines().find(|row| row.contains(name)).unwrap().to_owned();
    for lane in ["corp/activities/siem", "corp/threats/siem"] {
        assert!(row(lane).contains("given up: ") && row(lane).contains("state rename acme corp"), "{}", once.stdout);
    }
    for _ in 0..2 {
        let mut worker = harness.worker_with(&FLAGS);
        waits(&mut worker).await;
        worker.signal("TERM").await;
        assert_eq!(worker.exit().await.code, Some(0));
    }
    assert_eq!(rename(&harness).await.code, Some(0));
    assert_eq!(harness.once(&[]).await.code, Some(0));
    arrived_once(&harness);
}

fn arrived_once(harness: &Harness) {
    harness.assert_all_arrived(&[Kind::Activities, Kind::Threats], &harness.sink.ledger().counts());
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finite_wait_ends_at_since() {
    let harness = harness().await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    rename_file(&harness);
    let worker = harness.worker_with(&[&FLAGS[..], &["--renamed-wait", "1s"]].concat());
    worker.logged(&["WARN", "corp", "the lane begins at `since`: --renamed-wait is over"]).await;
    until("everything comes again", async || {
        harness.sink.ledger().counts().values().all(|count| *count == 2).then_some(())
    })
    .await;
}

/// Only another pipeline's name counts: a new sink has received nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_was_replaced_begins_at_since_at_once() {
    let harness = harness().await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let new = receiver().await;
    let mut changed = pipeline(&harness);
    changed["sinks"][0]["name"] = json!("other");
    changed["sinks"][0]["url"] = json!(new.input());
    harness.put("acme", &changed);
    assert_eq!(harness.once(&[]).await.code, Some(0));
    harness.assert_all_arrived(&[Kind::Activities, Kind::Threats], &new.ledger().counts());
}

/// A deployment has lost a customer's file: nothing fails, and the customer gets nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_gone_is_named_until_it_is_back() {
    let harness = harness().await;
    harness.put_changed("globex", json!({}));
    let mut worker = harness.worker_with(&FLAGS);
    for name in ["acme", "globex"] {
        worker.lane(&format!("{name}/activities/siem"), |lane| lane["state"] == "running").await;
    }
    let url = worker.url().await;
    let acme = harness.path("pipelines/acme.yaml");
    let removed = fs::read(&acme).unwrap();
    fs::remove_file(&acme).unwrap();
    let gauge = async |worker: &mut Process, state| worker.metrics().await.sum("pipelines", &[("state", state)]);
    until("it is noticed", async || (gauge(&mut worker, "removed").await == 1).then_some(())).await;
    assert_eq!(gauge(&mut worker, "invalid").await, 0);
    for names in [&[][..], &["acme"], &["--failing"]] {
        let status = harness.command(&[&["status", "--url", &url], names].concat()).await;
        assert_eq!(status.code, Some(0), "{}", status.stderr);
        for part in
            ["acme.yaml (removed): its file has been gone since 2", "s1-forwarder state delete acme --state file:/"]
        {
            assert!(status.stdout.contains(part), "{names:?}: {part} is missing in {}", status.stdout);
        }
    }
    let page = worker.get("/").await.1;
    assert!(page.contains("its file has been gone since") && page.contains("<title>(1) s1-forwarder"), "{page}");
    worker
        .logged(&["\"level\":\"WARN\"", "its file has been gone since", "s1-forwarder state delete acme --state"])
        .await;

    // A worker that starts now has never read the file.
    worker.kill().await;
    let mut worker = harness.worker_with(&FLAGS);
    until("the start finds it", async || (gauge(&mut worker, "removed").await == 1).then_some(())).await;
    let url = worker.url().await;
    let status = harness.command(&["status", "--failing", "--url", &url]).await.stdout;
    let row = "acme (removed): it had no file when this worker started; its checkpoints are kept";
    assert!(status.contains(row) && status.contains("s1-forwarder state delete acme --state file:/"), "{status}");

    fs::write(&acme, removed).unwrap();
    until("it is back", async || (gauge(&mut worker, "removed").await == 0).then_some(())).await;
    worker.lane("acme/activities/siem", |lane| lane["state"] == "running").await;
    // Who pauses a pipeline first means it.
    let mut paused = pipeline(&harness);
    paused["enabled"] = json!(false);
    harness.put("acme", &paused);
    until("it is paused", async || (gauge(&mut worker, "paused").await == 1).then_some(())).await;
    fs::remove_file(&acme).unwrap();
    until("it is gone", async || (gauge(&mut worker, "paused").await == 0).then_some(())).await;
    assert_eq!(gauge(&mut worker, "removed").await, 0);
}

/// What no file names stays until an operator removes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_that_belong_to_no_file_are_counted_and_removed_by_a_command() {
    let harness = harness().await;
    harness.put_changed("globex", json!({}));
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let acme = harness.path("pipelines/acme.yaml");
    let removed = fs::read(&acme).unwrap();
    fs::remove_file(&acme).unwrap();
    let mut worker = harness.worker_with(&FLAGS);
    until("they are counted", async || (worker.metrics().await.sum("orphaned_checkpoints", &[]) == 2).then_some(()))
        .await;
    worker.kill().await;

    let delete = async |flags: &[&str]| harness.command(&[&["state", "delete"], flags].concat()).await;
    let orphans = async |age: &str| delete(&["--orphaned", "--older-than", age, "--pipelines", "pipelines"]).await;
    let young = orphans("90d").await;
    assert!(
        young.stdout.contains("0 orphaned checkpoints removed, 2 younger ones stay"),
        "{}{}",
        young.stdout,
        young.stderr
    );
    for wrong in
        [&["acme", "--orphaned"][..], &["--orphaned", "--pipelines", "pipelines"], &["--older-than", "1d"], &[]]
    {
        assert_eq!(delete(wrong).await.code, Some(2), "{wrong:?}");
    }
    let nowhere = delete(&["--orphaned", "--older-than", "1s", "--pipelines", "pipelines", "nowhere"]).await;
    assert!(nowhere.code == Some(1) && nowhere.stderr.contains("nothing was removed"), "{}", nowhere.stderr);
    // An invalid file keeps what has its name.
    fs::write(&acme, "console: [").unwrap();
    let kept = orphans("1s").await;
    assert!(
        kept.stdout.contains("0 orphaned checkpoints removed, 0 younger ones stay"),
        "{}{}",
        kept.stdout,
        kept.stderr
    );
    fs::remove_file(&acme).unwrap();

    // It has come up to the run.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let exit = orphans("1s").await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(exit.stdout.contains("acme/threats/siem is removed"), "{}", exit.stdout);
    assert!(exit.stdout.contains("2 orphaned checkpoints removed, 0 younger ones stay"), "{}", exit.stdout);
    let list = harness.command(&["state", "list"]).await.stdout;
    assert!(list.contains("globex/activities/siem") && !list.contains("acme"), "{list}");
    let usage = delete(&["--orphaned", "--usage", "--older-than", "1s", "--pipelines", "pipelines"]).await;
    assert!(usage.stdout.contains("acme/threats/siem+usage is removed"), "{}{}", usage.stdout, usage.stderr);
    assert!(!usage.stdout.contains("globex"), "{}", usage.stdout);
    fs::write(&acme, removed).unwrap();
    assert_eq!(harness.once(&[]).await.code, Some(0));
}
