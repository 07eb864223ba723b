//! Receivers that refuse: the lane says why, nothing is lost, and only what is really poison becomes a dead letter.

use std::time::Duration;

use s1_forwarder::emulator::{Kind, system_clock};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::double::FaultRule;
use crate::support::harness::Harness;
use crate::support::process::until;

fn refusal(status: u16) -> Vec<(f64, FaultRule)> {
    vec![(1.0, FaultRule::answer(status, "no such index"))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_token_is_read_again_when_the_old_one_is_refused() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    harness.write("hec", "first");
    harness.sink.contract(|rules| rules.authorization = ["Bearer first".to_owned()].into());
    let mut pipeline = harness.pipeline(json!({}));
    pipeline["sinks"][0]["auth"] = json!({ "type": "bearer", "token": { "file": harness.path("hec") } });
    harness.put("acme", &pipeline);
    let mut worker = harness.worker();
    harness.delivered(&[Kind::Activities]).await;
    harness.write("hec", "second\n");
    harness.sink.contract(|rules| rules.authorization = ["Bearer second".to_owned()].into());
    harness.console().generate(Kind::Activities, system_clock());
    let rotated = Instant::now();
    harness.delivered(&[Kind::Activities]).await;
    assert_eq!(harness.sink.requests().iter().filter(|seen| seen.status == 401).count(), 1, "one refusal is enough");
    // The console's token is rotated, too.
    harness.write("token", "rotated");
    harness.console().set_tokens(vec![s1_forwarder::emulator::Token::new("rotated")]);
    harness.console().generate(Kind::Activities, system_clock());
    harness.delivered(&[Kind::Activities]).await;
    worker.lane("acme/activities/siem", |lane| lane["up"] == true).await;
    assert!(rotated.elapsed() < Duration::from_secs(25), "a lane that rested would have taken half a minute");
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_address_stops_the_lane_until_the_file_is_corrected() {
    // So few that ten refusals never come together, until it is the events that are refused.
    let harness = Harness::new(|setup| setup.activities = 5).await;
    let wrong = crate::support::harness::receiver().await;
    for (status, reported, state) in [
        (404, "404 Not Found: no such index", "sink_refused"),
        (302, "redirects", "sink_refused"),
        (400, "in a row and accepted none", "misconfigured"),
    ] {
        if status == 400 {
            for _ in 0..30 {
                harness.console().generate(Kind::Activities, system_clock() - 10_000_000);
            }
        }
        wrong.misbehave(1, refusal(status));
        let mut pipeline = harness.pipeline(json!({}));
        pipeline["sinks"][0]["url"] = json!(format!("{}?{status}", wrong.input()));
        harness.put("acme", &pipeline);
        let mut worker = harness.worker();
        let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == state).await;
        assert!(lane["error"].as_str().unwrap().contains(reported), "{lane}");
        assert_eq!((lane["dead_letters"].as_u64(), lane["delivered"].as_u64()), (Some(0), Some(0)));
        worker.logged(&["lane is failing", state]).await;
        if status == 400 {
            harness.put_changed("acme", json!({}));
            harness.delivered(&[Kind::Activities]).await;
            worker.lane("acme/activities/siem", |lane| lane["up"] == true).await;
        }
        worker.kill().await;
    }
    assert!(!harness.path("state/dead-letters").exists(), "a wrong address makes no dead letters");
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_event_that_is_refused_becomes_a_dead_letter_and_the_rest_arrives_once() {
    let harness = Harness::new(|setup| setup.activities = 500).await;
    let poison = harness.console().generate_oversized(Kind::Activities, system_clock() - 3_600_000_000, 150_000);
    harness.sink.contract(|rules| rules.event_bytes = Some(100_000));
    harness.put_changed("acme", json!({}));
    // A store that is full stops the lane, and loses nothing.
    let exit = harness.once(&["--dead-letters-max", "1kB", "--once-timeout", "2s"]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(
        exit.stdout.contains("given up: the dead letters of acme in") && exit.stdout.contains("purge"),
        "{}",
        exit.stdout
    );

    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let arrived = harness.sink.ledger().counts();
    assert_eq!(arrived.len(), harness.owed(Kind::Activities).len() - 1);
    assert!(arrived.values().all(|count| *count == 1), "something came twice");
    let text = std::fs::read_to_string(harness.path("state/dead-letters/acme/activities.siem.ndjson")).unwrap();
    let letter: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(letter["record_id"], poison.to_string());
    assert!(!arrived.contains_key(letter["identity"].as_str().unwrap()));
    assert!(harness.owed(Kind::Activities).contains(letter["identity"].as_str().unwrap()));
    assert_eq!((letter["status"].as_str(), letter["sink"].as_str()), (Some("400"), Some("siem")));
    assert!(letter["reason"].as_str().unwrap().contains("an event is too long"), "{}", letter["reason"]);
    assert_eq!(letter["event"]["id"], poison.to_string());
    assert_eq!(harness.once(&[]).await.code, Some(0), "a dead letter is settled");
    assert_eq!(text.lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_sink_stalls_only_its_lane_and_costs_nothing() {
    let harness = Harness::new(|setup| setup.activities = 600).await;
    let dead = crate::support::harness::receiver().await;
    dead.misbehave(1, refusal(503));
    let mut pipeline = harness.pipeline(json!({}));
    let mut second = pipeline["sinks"][0].clone();
    second["name"] = json!("second");
    second["url"] = json!(dead.input());
    pipeline["sinks"].as_array_mut().unwrap().push(second);
    harness.put("acme", &pipeline);
    let mut worker = harness.worker();
    harness.delivered(&[Kind::Activities]).await;
    let lane = worker.lane("acme/activities/second", |lane| lane["state"] == "sink_failing").await;
    assert!(lane["error"].as_str().unwrap().contains("503 Service Unavailable"), "{lane}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    dead.misbehave(1, vec![]);
    until("the dead sink has it all", async || {
        (dead.ledger().counts().len() == harness.owed(Kind::Activities).len()).then_some(())
    })
    .await;
    for counts in [harness.sink.ledger().counts(), dead.ledger().counts()] {
        assert!(counts.values().all(|count| *count == 1), "something came twice");
    }
}
