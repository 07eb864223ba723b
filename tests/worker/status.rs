//! `status` shows the lanes of a running worker.

use std::future::ready;

use axum::Router;
use s1_forwarder::emulator::{Faults, Kind};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::harness::Harness;
use crate::support::process::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lanes_of_a_running_worker_are_a_table() {
    let harness = Harness::new(|setup| setup.activities = 300).await;
    harness.put_changed("acme", json!({ "streams": { "activities": { "interval": "300ms" } } }));
    harness.write("pipelines/broken.yaml", "console: 1\n");
    let mut worker = harness.worker();
    let owed = harness.owed(Kind::Activities).len();
    let has_delivered = |lane: &Value| lane["state"] == "running" && lane["delivered"] == owed;
    worker.lane("acme/activities/siem", has_delivered).await;
    let url = worker.url().await;
    let shown = harness.command(&["status", "--url", &url]).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let row = shown.stdout.lines().find(|line| line.contains("acme")).unwrap_or_default();
    assert!(
        row.contains("activities") && row.contains("running") && row.contains(&owed.to_string()),
        "{}",
        shown.stdout
    );
    for part in [
        "broken.yaml (not_started): ",
        "Not running; a restart would not start this pipeline.",
        "1 up, 0 failing\n1 pipeline does not run, since its file is invalid or gone\n",
    ] {
        assert!(shown.stdout.contains(part), "{part} is missing in:\n{}", shown.stdout);
    }

    let filtered = |arguments: &'static [&'static str]| {
        let all = ["status", "--url", &url].into_iter().chain(arguments.iter().copied()).map(str::to_owned);
        let harness = &harness;
        let all = all.collect::<Vec<_>>();
        async move { harness.command(&all.iter().map(String::as_str).collect::<Vec<_>>()).await.stdout }
    };
    let failing = filtered(&["--failing"]).await;
    assert!(failing.contains("no lane is failing") && failing.contains("broken.yaml"), "{failing}");
    assert!(failing.contains("1 pipeline does not run"), "the failing lanes are not all: {failing}");
    assert!(filtered(&["--warned"]).await.starts_with("no lane has a warning\n"));
    let failing_summary = shown.stdout.lines().any(|line| line == "1 up, 0 failing");
    assert!(failing_summary && failing.contains("1 up, 0 failing"), "{}", shown.stdout);
    assert!(shown.stdout.lines().all(|line| line.trim_end() == line), "{}", shown.stdout);
    for (name, suggestion) in
        [("other", "knows no pipeline `other`; known: acme, broken\n"), ("acne", "did you mean `acme`?")]
    {
        for format in ["table", "json"] {
            let unknown = harness.command(&["status", "--url", &url, "--format", format, "--pipeline", name]).await;
            assert_eq!(unknown.code, Some(1), "{}", unknown.stderr);
            assert!(!unknown.stdout.contains("acme") && !unknown.stdout.contains("broken"), "{}", unknown.stdout);
            assert!(unknown.stderr.contains(suggestion), "{}", unknown.stderr);
        }
    }
    let broken = harness.command(&["status", "--url", &url, "--pipeline", "broken"]).await;
    assert!(broken.code == Some(0) && broken.stdout.contains("no lane of broken runs"), "{}", broken.stdout);
    assert!(filtered(&["--failing", "--pipeline", "acme"]).await.contains("no lane is failing\n1 up, 0 failing\n"));
    let json: Value = serde_json::from_str(&filtered(&["--format", "json", "--pipeline", "acme"]).await).unwrap();
    assert_eq!(
        (&json["matching"], &json["lanes"][0]["delivered"], json["files"].as_array().map(Vec::len)),
        (&json!(1), &json!(owed), Some(1))
    );

    worker.kill().await;
    until("nobody answers", async || {
        let nobody = harness.command(&["status", "--url", &url]).await;
        (nobody.code == Some(1) && nobody.stderr.contains(&url)).then_some(())
    })
    .await;
}

/// The worker's clock may differ from that of the machine that asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ages_are_by_the_time_of_the_answer() {
    let harness = Harness::new(|setup| setup.activities = 1).await;
    harness.put_changed("acme", json!({}));
    let mut worker = harness.worker();
    worker.lane("acme/activities/siem", |lane| lane["state"] == "running").await;
    let mut answer: Value = serde_json::from_str(&worker.get("/api/v1/lanes").await.1).unwrap();
    answer["time"] = json!("2020-01-01T00:02:00Z");
    let lane = &mut answer["lanes"][0];
    (lane["up"], lane["failing_since"]) = (json!(false), json!("2020-01-01T00:00:00Z"));
    lane["next_attempt"] = json!("2020-01-01T00:07:00Z");
    let app = Router::new().fallback(move || ready(answer.to_string()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let shown = harness.command(&["status", "--url", &url]).await.stdout;
    serving.abort();
    let row = shown.lines().find(|line| line.contains("acme/activities")).unwrap_or_default();
    assert!(row.contains(" 2 min 0 s ") && row.contains("in 5 min 0 s"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_wait_for_the_request_limit_say_so() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (3, 3)).await;
    // After the first request, the next one may be sent a minute later.
    let streams = json!({ "activities": {}, "threats": {}, "agents": {} });
    let console = json!({ "requests_per_second": 0.016 });
    harness.put_changed("acme", json!({ "console": console, "streams": streams }));
    let mut worker = harness.worker();
    worker.lane("acme/threats/siem", |lane| lane["request_limit_wait"]["lanes"] == 3).await;
    let url = worker.url().await;
    let shown = harness.command(&["status", "--url", &url]).await;
    assert!(shown.stdout.contains("waits for the request limit (3 lanes share it)"), "{}", shown.stdout);
    let page = worker.get("/").await.1;
    assert!(page.contains("waits for the request limit (3 lanes share it)"), "{page}");
}

/// A permission that was missing: the lane waits for most of an hour, unless the printed command ends that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_waits_long_is_tried_at_once_by_the_printed_command() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    harness.put_changed("acme", json!({}));
    let forbid = |forbidden| harness.console().set_faults(Faults { forbidden, ..Faults::default() });
    forbid(vec![Kind::Activities]);
    let mut worker = harness.worker();
    let lane = worker.lane("acme/activities/siem", |lane| lane["retry"].is_string()).await;
    let command = lane["retry"].as_str().unwrap().to_owned();
    worker.logged(&["lane is failing", "console_refused", &command]).await;
    worker.logged(&["the lane is paused until its next attempt", &command]).await;
    assert!(worker.get("/pipelines/acme").await.1.contains(&command), "the page has it too");
    let url = worker.url().await;
    let status = async |names: &[&str]| harness.command(&[&["status", "--url", &url], names].concat()).await.stdout;
    let failing = status(&["--failing"]).await;
    let error = lane["error"].as_str().unwrap();
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert!(words(&failing).contains(&words(error)), "the whole error: {failing}");
    assert!(failing.lines().any(|line| line.trim() == command), "alone in its line: {failing}");
    assert!(status(&["acme/activities/siem"]).await.contains("console refused"));

    forbid(Vec::new());
    for (name, reason) in [("acne", "did you mean `acme`?"), ("acme/threats/siem", "runs no lane `acme/threats/siem`")]
    {
        let exit = harness.command(&["retry", name, "--url", &url]).await;
        assert!(exit.code == Some(1) && exit.stderr.contains(reason), "{}", exit.stderr);
    }
    // It names the address, which is not the usual one.
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    let exit = harness.command(&arguments).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    harness.delivered(&[Kind::Activities]).await;
    worker.lane("acme/activities/siem", |lane| lane["state"] == "running" && lane["retry"].is_null()).await;
    let exit = harness.command(&["retry", "--failing", "--url", &url]).await;
    assert_eq!((exit.code, exit.stdout.trim()), (Some(0), "no lane is failing"), "{}", exit.stderr);
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    harness.assert_all_arrived(&[Kind::Activities], &harness.sink.ledger().counts());
}

/// Each command that a pipeline's page prints, where the worker has neither the usual state nor the usual dead letters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_a_page_reach_what_the_worker_uses() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (30, 30)).await;
    harness.put_changed("acme", json!({ "streams": { "activities": {}, "threats": {} } }));
    // Without it the file is not valid.
    let file = std::fs::read_to_string(harness.path("pipelines/acme.yaml")).unwrap();
    let mut pipeline: serde_json::Map<String, Value> = serde_json::from_str(&file).unwrap();
    let defaults = json!({ "console": pipeline.remove("console").unwrap() });
    std::fs::write(harness.path("defaults.yaml"), defaults.to_string()).unwrap();
    harness.put("acme", &Value::Object(pipeline));
    let forbid = |forbidden| harness.console().set_faults(Faults { forbidden, ..Faults::default() });
    forbid(vec![Kind::Activities]);
    let flags = ["--state", "file:elsewhere", "--dead-letters", "file:dead", "--defaults", "defaults.yaml"];
    let mut worker = harness.worker_with(&flags);
    worker.lane("acme/activities/siem", |lane| lane["retry"].is_string()).await;
    harness.delivered(&[Kind::Threats]).await;
    let page = worker.get("/pipelines/acme").await.1;
    forbid(Vec::new());
    let commands = page.split("<code>s1-forwarder ").skip(1).map(|rest| rest.split("</code>").next().unwrap());
    let mut names = std::collections::BTreeSet::new();
    for command in commands {
        let exit = harness.command(&command.split(' ').collect::<Vec<_>>()).await;
        let text = format!("{command}: {}{}", exit.stdout, exit.stderr);
        // `verify` has no whole hour to compare yet.
        let is_done = exit.code == Some(0) || (command.starts_with("verify ") && exit.code == Some(1));
        assert!(is_done && !text.contains("no checkpoint") && !text.contains("use --state"), "{text}");
        assert!(!command.starts_with("dead-letters") || text.contains("/dead"), "{text}");
        names.insert(command.split(" --").next().unwrap().split(' ').take(2).collect::<Vec<_>>().join(" "));
    }
    let file = harness.path("pipelines/acme.yaml").display().to_string();
    let expected = [
        format!("check {file}"),
        "dead-letters list".to_owned(),
        "dead-letters replay".to_owned(),
        "retry acme/activities/siem".to_owned(),
        format!("verify {file}"),
    ];
    assert_eq!(names, expected.into());
}
