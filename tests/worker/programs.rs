//! A customer's slow program takes its own turn, and no other customer's.

use std::time::Duration;

use s1_forwarder::emulator::Kind;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::slow_records::livez;
use crate::support::harness::{Destination, Harness};
use crate::support::process::{Metrics, until, until_within};

/// Searches a text of 32 KiB again and again. It has no end within the time of a test.
const SLOW: &str = r#"
text = "abababababababab"
text = text + text + text + text
text = text + text + text + text
text = text + text + text + text
text = text + text + text + text
text = text + text + text + text
text = text + text
.ok = parse_regex_all!(text, r'(?P<q>[ab]*?a[ab]{1,60}?c)|(?P<z>b)')
"#;

const MIB: u64 = 1 << 20;

/// One program for each of `sinks` sinks.
fn slow(harness: &Harness, sinks: usize) -> Value {
    let mut pipeline = harness.pipeline(json!({ "transform": { "remap": SLOW } }));
    let sinks = (0..sinks).map(|number| {
        let mut sink = harness.sink.settings();
        sink["name"] = json!(format!("siem{number}"));
        sink
    });
    pipeline["sinks"] = sinks.collect();
    pipeline
}

fn delivered(metrics: &Metrics, pipeline: &str) -> u64 {
    metrics.sum("events_delivered_total", &[("pipeline", pipeline)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_program_holds_up_neither_other_pipelines_nor_the_worker_nor_its_end() {
    const HEALTHY: [&str; 3] = ["one", "two", "three"];
    let harness = Harness::new(|setup| (setup.activities, setup.rate) = (100, 20.0)).await;
    for name in HEALTHY {
        harness.put_changed(name, json!({}));
    }
    harness.put("slow", &slow(&harness, 16));
    let mut worker = harness.worker_with(&["--memory-budget", "32MiB", "--shutdown-timeout", "2s"]);
    worker.url().await;
    until("each lane has begun its first events", async || {
        let metrics = worker.metrics().await;
        (metrics.sum("remap_overruns_total", &[("pipeline", "slow")]) >= 16).then_some(())
    })
    .await;
    let before = worker.metrics().await;
    let started_at = Instant::now();
    let mut answers = Vec::new();
    while started_at.elapsed() < Duration::from_secs(2) || answers.len() < 5 {
        answers.push(livez(&worker).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    answers.sort();
    assert!(answers[answers.len() / 2] < Duration::from_secs(1), "{answers:?}");
    // The console has 20 more each second.
    until_within(Duration::from_secs(30), "healthy pipelines keep up with the console", async || {
        let now = worker.metrics().await;
        HEALTHY.iter().all(|name| delivered(&now, name) >= delivered(&before, name) + 30).then_some(())
    })
    .await;
    // The budget, the program, its lanes, and what programs take on their two threads.
    let allowed = (32 + 64 + 2 * 64) * MIB + 19 * 96 * 1024;
    assert!(worker.peak_rss() <= allowed, "{} MiB", worker.peak_rss() / MIB);

    let asked = Instant::now();
    worker.signal("TERM").await;
    let exit = worker.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_whose_program_takes_too_long_too_often_stops_until_its_file_changes() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    harness.put("acme", &slow(&harness, 1));
    let mut worker = harness.worker();
    let name = "acme/activities/siem0";
    let lane = worker.lane(name, |lane| lane["state"] == "misconfigured").await;
    let error = lane["error"].as_str().unwrap();
    assert!(
        lane["up"] == false && error.contains("remap: ") && error.contains("`parse_regex_all` at line 9, column"),
        "{lane}"
    );
    worker.logged(&["lane is failing", "\"reason\":\"ProgramOverran\"", "line 9"]).await;
    let metrics = worker.metrics().await;
    let counted = |name: &str| metrics.sum(name, &[("pipeline", "acme")]);
    assert_eq!((counted("remap_overruns_total"), counted("remap_errors_total")), (10, 10));
    until("what overran was delivered as it was", async || (harness.sink.ledger().counts().len() == 10).then_some(()))
        .await;
    // The worker's checks go on: they ask for sites and for the number of records.
    let polls = || {
        let requests = harness.console().request_log().into_iter();
        let is_poll = |path: &str, query: &str| path.ends_with("/activities") && !query.contains("countOnly");
        requests.filter(|request| is_poll(&request.path, &request.query)).collect::<Vec<_>>()
    };
    let before = polls();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let later = polls();
    assert_eq!(later.len(), before.len(), "it does not even poll: {later:?}\n{}", worker.log_text());

    harness.put_changed("acme", json!({ "transform": { "remap": ".ok = true" }, "sinks": slow(&harness, 1)["sinks"] }));
    worker.lane(name, |lane| lane["state"] == "running").await;
    until("the rest arrives", async || (harness.sink.ledger().counts().len() == 30).then_some(())).await;
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1), "something came twice");
}

/// What `on_error: dead_letter` keeps is not sent before the program has seen it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_sends_what_a_corrected_program_makes_of_its_dead_letters() {
    let harness = Harness::new(|setup| setup.activities = 40).await;
    let ids = harness.console().ids(Kind::Activities);
    let failing: Vec<String> = ids.iter().skip(3).step_by(8).map(ToString::to_string).collect();
    let is_failing = failing.iter().map(|id| format!(".event.id == \"{id}\"")).collect::<Vec<_>>().join(" || ");
    let remap = |then: &str| json!(format!("if {is_failing} {{ {then} }}\n.labels.seen = \"yes\""));
    let put = |then: &str, on_error: &str| {
        harness.put_changed(
            "acme",
            json!({ "transform": { "schema": "ecs", "remap": remap(then), "on_error": on_error } }),
        );
    };
    let replay = ["dead-letters", "replay", "--pipelines", "pipelines", "--status", "program"];
    let bodies = || -> Vec<String> {
        let requests = harness.sink.requests();
        requests.iter().flat_map(|request| request.body.lines()).map(str::to_owned).collect()
    };
    let arrived = || {
        let bodies = bodies();
        let seen = bodies.iter().filter(|body| body.contains(r#""seen":"yes""#)).count();
        (bodies.len(), seen)
    };

    put(".x = to_int!(.message)", "dead_letter");
    let exit = harness.once(&[]).await;
    assert_eq!((exit.code, arrived()), (Some(0), (35, 35)), "{}{}", exit.stdout, exit.stderr);
    let list = harness.command(&["dead-letters", "list", "--status", "program"]).await;
    for id in &failing {
        assert!(
            list.stdout.contains(id.as_str()) && list.stdout.contains("remap: function call error"),
            "{}",
            list.stdout
        );
    }
    let again = harness.command(&replay).await;
    assert!(again.stdout.contains("0 delivered, 5 refused again"), "{}{}", again.stdout, again.stderr);
    assert_eq!(arrived(), (35, 35), "nothing is sent as it was mapped");

    put("abort", "dead_letter");
    let dropped = harness.command(&[&replay[..], &["--limit", "2"]].concat()).await;
    assert!(dropped.stdout.contains("0 delivered, 0 refused again, 2 dropped by the pipeline"), "{}", dropped.stdout);
    put(".x = 1", "dead_letter");
    let sent = harness.command(&[&replay[..], &["--limit", "2"]].concat()).await;
    assert!(sent.stdout.contains("2 delivered, 0 refused again"), "{}{}", sent.stdout, sent.stderr);
    assert_eq!(arrived(), (37, 37));
    // Who says so gets it as it was mapped.
    put(".x = to_int!(.message)", "deliver");
    let mapped = harness.command(&replay).await;
    assert!(mapped.stdout.contains("1 delivered, 0 refused again"), "{}{}", mapped.stdout, mapped.stderr);
    assert_eq!(arrived(), (38, 37));
    assert_eq!(bodies().iter().filter(|body| body.contains("remap_failed")).count(), 1);
}

/// What was forwarded as it was mapped is mapped again by the command that `status` prints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_printed_backfill_sends_what_a_corrected_program_makes_of_the_events_it_failed_on() {
    let harness = Harness::new(|setup| setup.activities = 40).await;
    let put = |program: &str| {
        harness.put_changed(
            "acme",
            json!({ "transform": { "schema": "ecs", "remap": format!(".labels.seen = {program}") } }),
        );
    };
    let arrived = |with: &str| {
        let requests = harness.sink.requests();
        requests.iter().flat_map(|request| request.body.lines()).filter(|body| body.contains(with)).count()
    };
    put("to_string(to_int!(.message))");
    let mut worker = harness.worker();
    let lane = worker.lane("acme/activities/siem", |lane| lane["delivered"] == 40).await;
    assert_eq!((arrived("remap_failed"), arrived(r#""seen":"yes""#)), (40, 0));
    let command = lane["remap_repair"].as_str().unwrap_or_else(|| panic!("{lane}")).to_owned();
    let url = worker.url().await;
    let status = harness.command(&["status", "--url", &url, "--all", "--wide"]).await.stdout;
    assert!(status.contains("a program failed on 40 events, last at 20"), "{status}");
    assert!(status.contains(&format!("after its correction: {command}")), "{status}");

    let warned = harness.command(&["status", "--url", &url, "--warned", "--wide"]).await.stdout;
    assert!(warned.contains("acme/activities/siem") && warned.contains(&command), "{warned}");

    put("\"yes\"");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let backfill = harness.command(&words).await;
    assert_eq!(backfill.code, Some(0), "{}{}", backfill.stdout, backfill.stderr);
    assert_eq!(arrived(r#""seen":"yes""#), 40);
    worker.kill().await;
}
