//! `run --once` between a console and a receiver that both fail now and then.

use std::time::Duration;

use s1_forwarder::emulator::Kind;
use serde_json::{Value, json};

use crate::support::double::{FaultRule, Reply};
use crate::support::harness::{Harness, everything_arrives, setting};
use crate::support::receiver::{Receiver, Rules};

fn answer(status: u16, headers: Vec<(&'static str, String)>) -> FaultRule {
    FaultRule::Answer(Reply { headers, ..Reply::new(status, "<html>not now</html>") })
}

/// What a receiver may do to a request, with what chance. Only the last three take the events.
pub fn failing() -> Vec<(f64, FaultRule)> {
    vec![
        (0.04, answer(503, vec![])),
        (0.01, answer(429, vec![("retry-after", "1".to_owned())])),
        (0.03, FaultRule::Reset),
        (0.05, FaultRule::AcceptAndReset),
        (0.03, FaultRule::AcceptAndBreakOff),
        (0.05, FaultRule::Slow(Duration::from_millis(100))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_at_an_http_sink_and_only_what_was_not_answered_twice() {
    let activities = setting("S1_FORWARDER_E2E_ACTIVITIES", 5_000);
    let threats = setting("S1_FORWARDER_E2E_THREATS", 1_000);
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (activities, threats)).await;
    // Batches above the second limit are refused with 413 and have to be halved.
    let rules = Rules { plain_bytes: Some(300_000), forgets_bodies: true, ..Rules::default() };
    let receiver = Receiver::start(rules).await;
    receiver.misbehave(1, failing());
    receiver.script([FaultRule::EarlyTooLarge, FaultRule::AcceptAndReset]);
    let repeated = everything_arrives(&harness, &receiver).await;
    assert!(repeated > 0, "no answer was lost: the test shows nothing");
}

/// Raw events over HTTP: the record's own bytes, and the fields that identify it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_holds_the_records_own_bytes_and_headers_name_the_lane() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (40, 10)).await;
    let streams = json!({ "activities": {}, "threats": { "since": "30d" } });
    harness.put_changed("acme", json!({ "streams": streams, "transform": { "labels": { "customer": "acme-eu" } } }));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let seen = harness.sink.requests();
    let mut events = 0;
    for request in &seen {
        let kind = match request.header("x-s1-forwarder-stream") {
            "activities" => Kind::Activities,
            "threats" => Kind::Threats,
            other => panic!("stream {other}"),
        };
        assert_eq!(request.header("x-s1-forwarder-pipeline"), "acme");
        assert_eq!(request.header("content-encoding"), "gzip");
        assert_eq!(request.header("content-type"), "application/x-ndjson");
        for line in request.body.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            assert!(harness.owed(kind).contains(event["id"].as_str().unwrap()), "{line}");
            assert_eq!(event["pipeline"], "acme");
            assert_eq!(event["stream"], request.header("x-s1-forwarder-stream"));
            assert_eq!(event["labels"], json!({ "customer": "acme-eu" }));
            let id = event["record"].get("id").or_else(|| event["record"]["threatInfo"].get("threatId")).unwrap();
            let record = harness.console().record(kind, id.as_str().unwrap().parse().unwrap()).unwrap();
            let record = String::from_utf8(record).unwrap();
            assert!(line.ends_with(&format!("\"record\":{record}}}")), "{line}\nis not\n{record}");
            events += 1;
        }
    }
    assert_eq!(events, harness.owed(Kind::Activities).len() + 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_say_what_came_of_lanes_and_files() {
    let harness = Harness::new(|setup| setup.activities = 20).await;
    // No valid file: 2, and nothing is run.
    harness.write("pipelines/globex.yaml", "consol: {}\n");
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("did you mean `console`?"), "{}", exit.stderr);
    let is_listed = |table: &str| {
        table.lines().any(|line| line.contains("globex.yaml") && line.trim_end().ends_with("invalid: not run"))
    };
    assert!(is_listed(&exit.stdout), "{}", exit.stdout);
    // One file among others: the others run, 1.
    harness.put_changed("acme", json!({}));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(is_listed(&exit.stdout) && exit.stdout.contains("acme/activities/siem"), "{}", exit.stdout);
    assert_eq!(harness.sink.ledger().counts().len(), harness.owed(Kind::Activities).len());
    // A lane without progress is given up: 1, and the table says why.
    std::fs::remove_file(harness.path("pipelines/globex.yaml")).unwrap();
    harness.console().generate(Kind::Activities, s1_forwarder::emulator::system_clock() - 5_000_000);
    harness.sink.misbehave(1, vec![(1.0, answer(503, vec![]))]);
    let exit = harness.once(&["--once-timeout", "1s"]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    let is_given_up =
        |line: &str| line.contains("given up: http://127.0.0.1:") && line.contains(": 503 Service Unavailable");
    assert!(exit.stdout.lines().any(is_given_up), "{}", exit.stdout);
    // What was not delivered is owed to the next run.
    harness.sink.misbehave(1, vec![]);
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let arrived = harness.sink.ledger().counts();
    assert!(arrived.values().all(|count| *count == 1), "{arrived:?}");
    assert_eq!(arrived.len(), harness.owed(Kind::Activities).len());
}
