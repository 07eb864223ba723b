//! Every log line about a lane names its pipeline, stream and sink, as top-level fields of the JSON format.

use std::fs;
use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use s1_forwarder::emulator::{Kind, Quirks, Setup, Token, system_clock};
use serde_json::{Value, json};

use crate::support::double::FaultRule;
use crate::support::harness::{Harness, receiver};
use crate::support::process::until;

/// True if the line is about this lane, and names it once.
fn names(line: &str, [pipeline, stream, sink]: [&str; 3]) -> bool {
    let parsed: Value = serde_json::from_str(line).unwrap_or_default();
    parsed["pipeline"] == pipeline
        && parsed["stream"] == stream
        && parsed["sink"] == sink
        && ["pipeline", "stream", "sink"].iter().all(|field| line.matches(&format!("\"{field}\":")).count() == 1)
}

/// What the filter of docs/systemd.md makes of a log; `None` without `jq`, which CI must have.
fn filtered(log: &str) -> Option<String> {
    let page = fs::read_to_string("docs/systemd.md").unwrap();
    let program = page.split_once("| jq -Rr '").and_then(|(_, rest)| rest.split_once('\'')).expect("a filter").0;
    let mut command = Command::new("jq");
    let spawned = command.args(["-Rr", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut jq = match spawned {
        Err(error) if error.kind() == ErrorKind::NotFound && std::env::var_os("CI").is_none() => return None,
        spawned => spawned.unwrap(),
    };
    // Lines that are not of this program, as systemd's own, are left out.
    jq.stdin.take().unwrap().write_all(format!("Started s1-forwarder.service.\n{log}").as_bytes()).unwrap();
    let output = jq.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_in_the_log_names_its_lane() {
    let harness = Harness::new(|setup| (setup.activities, setup.vulnerabilities) = (30, 40)).await;
    let sites = harness.console().ids(Kind::Sites);
    harness.console().set_quirks(Quirks { unlicensed_sites: vec![sites[1]], ..Quirks::default() });
    harness.console().set_token(Token::new(Setup::TOKEN).without(Kind::Threats));
    harness.console().generate_oversized(Kind::Activities, system_clock() - 3_600_000_000, 150_000);
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));

    harness.write("wrong", "wrong");
    harness.put_changed("unauthorized", json!({ "console": { "token": { "file": harness.path("wrong") } } }));
    harness.put_changed("forbidden", json!({ "streams": { "activities": null, "threats": { "since": "30d" } } }));
    let scopes: Vec<String> = sites[1..3].iter().map(u64::to_string).collect();
    harness.put_changed(
        "unlicensed",
        json!({ "console": { "sites": scopes }, "streams": { "activities": null, "vulnerabilities": {} } }),
    );
    let misconfigured = receiver().await;
    misconfigured.misbehave(1, vec![(1.0, FaultRule::answer(404, "no such index"))]);
    let mut pipeline = harness.pipeline(json!({}));
    pipeline["sinks"][0]["url"] = json!(misconfigured.input());
    harness.put("misconfigured", &pipeline);
    let refusing = receiver().await;
    refusing.contract(|rules| rules.authorization = ["Bearer good".to_owned()].into());
    pipeline["sinks"][0]["url"] = json!(refusing.input());
    harness.put("refused", &pipeline);
    harness.put_changed("full", json!({}));
    let checkpoints = harness.path("state/lanes/damaged/activities");
    fs::create_dir_all(&checkpoints).unwrap();
    fs::write(checkpoints.join("siem.checkpoint"), "not a checkpoint").unwrap();
    harness.put_changed("damaged", json!({}));

    let worker = harness.worker_with(&["--dead-letters-max", "1kB"]);
    for (pipeline, stream, words) in [
        ("unauthorized", "activities", ["console_refused", "401"]),
        ("forbidden", "threats", ["console_refused", "403"]),
        ("unlicensed", "vulnerabilities", ["no application findings", "scope"]),
        ("misconfigured", "activities", ["sink_refused", "404"]),
        ("refused", "activities", ["sink_refused", "401"]),
        ("full", "activities", ["stopped", "dead letters"]),
        ("damaged", "activities", ["stopped", "siem.checkpoint"]),
    ] {
        until(&format!("the log names {pipeline}/{stream}/siem with {words:?}:\n{}", worker.log_text()), async || {
            let log = worker.log_text();
            let refusal = |line: &&str| words.iter().all(|word| line.contains(word));
            log.lines().filter(refusal).any(|line| names(line, [pipeline, stream, "siem"])).then_some(())
        })
        .await;
    }
    let log = worker.log_text();
    // The text in between is the error.
    let paused = worker.logged(&["the lane is paused until its next attempt", "401", "next_attempt"]).await;
    assert!(paused.contains("\"level\":\"INFO\""), "{paused}");
    if let Some(filtered) = filtered(&log) {
        for (lane, error) in [("refused/activities/siem", "401"), ("full/activities/siem", "dead letters")] {
            let mut lines = filtered.lines().filter(|line| line.contains(&format!("Z  {lane}  lane is failing  ")));
            assert!(lines.any(|line| line.contains(error)), "{filtered}");
        }
        assert!(!filtered.contains("listening") && !filtered.contains("null"), "{filtered}");
    }
    let failing: Vec<_> = log.lines().filter(|line| line.contains("lane is failing")).collect();
    assert!(failing.len() >= 6, "{log}");
    for line in failing {
        let parsed: Value = serde_json::from_str(line).unwrap();
        let lane = ["pipeline", "stream", "sink"].map(|field| parsed[field].as_str().unwrap_or_default());
        assert!(names(line, lane), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_waits_for_its_next_poll_is_named_too() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    harness.put_changed("asleep", json!({ "streams": { "activities": { "interval": "1h" } } }));
    let mut worker = harness.worker_with(&["--checkpoint-interval", "30s"]);
    worker.lane("asleep/activities/siem", |lane| lane["delivered"] == 30).await;
    // Its first checkpoint is stored, and the one after the poll is not due yet.
    let checkpoints = harness.path("state/lanes/asleep");
    fs::rename(&checkpoints, harness.path("moved")).unwrap();
    fs::write(&checkpoints, "in the way").unwrap();
    until("the failing store is logged", async || {
        let log = worker.log_text();
        let mut failing = log.lines().filter(|line| line.contains("lane is failing"));
        failing.any(|line| names(line, ["asleep", "activities", "siem"])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_run_lanes_name_them_too() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    harness.put_changed("acme", json!({}));
    harness.console().generate_oversized(Kind::Activities, system_clock() - 3_600_000_000, 40 << 20);
    let exit = harness.once(&["--memory-budget", "16MiB"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let lane = ["acme", "activities", "siem"];
    let line = exit.stderr.lines().find(|line| line.contains("too large for --memory-budget")).unwrap_or_default();
    assert!(names(line, lane), "{}", exit.stderr);

    harness.sink.misbehave(1, vec![(1.0, FaultRule::answer(404, "no such index"))]);
    let backfill =
        "backfill pipelines/acme.yaml --stream activities --from 2020-01-01T00:00:00Z --to 2100-01-01T00:00:00Z";
    let flags = ["--once-timeout", "8s", "--memory-budget", "16MiB"];
    let exit = harness.command(&backfill.split(' ').chain(flags).collect::<Vec<_>>()).await;
    for words in ["backfill started", "lane is failing"] {
        let line = exit.stderr.lines().find(|line| line.contains(words)).unwrap_or_default();
        assert!(names(line, lane), "{words}: {}", exit.stderr);
    }
}
