//! Two tokens: while one takes the place of the other, no lane is down and nothing is lost.

use std::time::Duration;

use s1_forwarder::emulator::{Kind, Setup, Token, system_clock};
use serde_json::{Value, json};

use crate::support::harness::Harness;
use crate::support::process::until;

const DAY: i64 = 86_400_000_000;

fn token(secret: &str, days: i64, revoked: bool) -> Token {
    Token { revoked, ..Token::new(secret).expiring(system_clock() + days * DAY) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_revoked_in_the_middle_costs_nothing_when_two_are_given() {
    let harness = Harness::new(|setup| setup.activities = 500).await;
    harness.write("one", "c4nary-one\n");
    harness.write("two", "c4nary-two\n");
    harness.console().set_tokens(vec![token("c4nary-one", 30, false), token("c4nary-two", 60, false)]);
    let tokens = json!([{ "file": harness.path("one") }, { "file": harness.path("two") }]);
    harness.put_changed(
        "acme",
        json!({ "console": { "token": tokens }, "streams": { "threats": { "interval": "300ms" } } }),
    );
    let mut worker = harness.worker();
    harness.delivered(&[Kind::Activities]).await;
    harness.console().set_rate(30.0, system_clock());
    // Days until the token in use expires.
    let expires = async |worker: &mut crate::support::process::Process, days: i64| {
        until(&format!("a token with {days} days left is in use"), async || {
            let metrics = worker.metrics().await;
            let at = metrics.samples("token_expiry_timestamp_seconds").next()?.1;
            let left = (at - system_clock() as f64 / 1e6) / 86_400.0;
            ((left - days as f64).abs() < 1.0).then_some(())
        })
        .await;
    };
    expires(&mut worker, 30).await;

    harness.console().set_tokens(vec![token("c4nary-one", 30, true), token("c4nary-two", 60, false)]);
    worker.logged(&["was refused", "second"]).await;
    expires(&mut worker, 60).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // And back, with a new text in the file that is not in use.
    harness.write("one", "c4nary-three\n");
    harness.console().set_tokens(vec![token("c4nary-three", 90, false), token("c4nary-two", 60, true)]);
    worker.logged(&["was refused", "first"]).await;
    expires(&mut worker, 90).await;

    harness.console().set_rate(0.0, system_clock());
    harness.delivered(&[Kind::Activities, Kind::Threats]).await;
    let log = worker.log_text();
    assert_eq!(log.matches("was refused").count(), 2, "one line for each change: {log}");
    assert!(!log.contains("lane is failing"), "{log}");
    assert!(!log.contains("c4nary"), "{log}");
    let lanes = worker.lanes().await;
    assert!(lanes.values().all(|lane| lane["last_error"].is_null()), "{lanes:?}");
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_says_which_of_two_tokens_is_in_use_and_fails_when_neither_is_good() {
    let harness = Harness::new(|setup| setup.activities = 5).await;
    harness.write("old", "c4nary-old");
    let tokens = json!([{ "file": harness.path("old") }, { "file": harness.path("token") }]);
    harness.put_changed("acme", json!({ "console": { "token": tokens } }));
    let good = harness.command(&["check", "--pipelines", "pipelines"]).await;
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
    assert!(good.stdout.contains("the first is refused"), "{}", good.stdout);

    harness.write("token", "c4nary-wrong");
    let bad = harness.command(&["check", "--pipelines", "pipelines"]).await;
    assert_eq!(bad.code, Some(1), "{}", bad.stdout);
    assert!(!format!("{}{}", bad.stdout, bad.stderr).contains("c4nary"));
    // Three are refused before anything is asked.
    harness.put_changed("acme", json!({ "console": { "token": ["c4nary-1", "c4nary-2", "c4nary-3"] } }));
    let invalid = harness.command(&["check", "--pipelines", "pipelines", "--offline"]).await;
    assert_eq!(invalid.code, Some(2), "{}", invalid.stdout);
    assert!(invalid.stdout.contains("more than two") && !invalid.stdout.contains("c4nary"), "{}", invalid.stdout);
    harness.put_changed("acme", json!({ "console": { "token": ["c4nary-1", "c4nary-2"] } }));
    let literal = harness.command(&["check", "--pipelines", "pipelines", "--offline"]).await;
    assert_eq!(literal.stdout.matches("is in the file itself").count(), 2, "{}", literal.stdout);
}

/// The console does not say why it refuses a token. What it said before tells a revoked one from an expired one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_and_expired_tokens_are_told_apart() {
    let harness = Harness::new(|setup| setup.activities = 20).await;
    harness.console().set_tokens(vec![token(Setup::TOKEN, 5, false)]);
    harness.put_changed("acme", json!({ "streams": { "activities": { "interval": "300ms" } } }));
    let mut worker = harness.worker();
    worker.logged(&["the API token expires soon", "\"days_left\":4"]).await;
    harness.console().set_tokens(vec![token(Setup::TOKEN, 5, true)]);
    let error = async |worker: &mut crate::support::process::Process| {
        let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "console_refused").await;
        lane["error"].as_str().unwrap().to_owned()
    };
    let revoked = error(&mut worker).await;
    assert!(revoked.contains("the token was valid until") && revoked.contains("it was revoked"), "{revoked}");
    // Another text in the file is no better, and the former token's expiry says nothing of it.
    harness.write("token", "c4nary-wrong-000000\n");
    let speaks_of_new = |lane: &Value| lane["error"].as_str().is_some_and(|error| error.contains("so is the new one"));
    let lane = worker.lane("acme/activities/siem", speaks_of_new).await;
    assert!(!lane["error"].as_str().unwrap().contains("was valid until"), "{lane}");
    harness.write("token", &format!("{}\n", Setup::TOKEN));
    worker.kill().await;

    harness.console().set_tokens(vec![token(Setup::TOKEN, -1, false)]);
    let mut worker = harness.worker();
    let expired = error(&mut worker).await;
    assert!(expired.contains("the token expired at"), "{expired}");
    worker.kill().await;

    harness.console().set_tokens(Vec::new());
    let mut worker = harness.worker();
    let unknown = error(&mut worker).await;
    assert!(unknown.contains("the token is wrong, revoked or expired"), "nothing was known before: {unknown}");
}

/// `check` and the lane print the row of one table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_says_what_check_advises() {
    let harness = Harness::new(|setup| setup.activities = 20).await;
    harness.put_changed("acme", json!({}));
    let forbidden = Token { forbidden: vec![Kind::Activities], ..token(Setup::TOKEN, 30, false) };
    for (tokens, subject, part) in [
        (Vec::new(), "token", "the token is wrong, revoked or expired"),
        (vec![forbidden], "stream activities", "give it to the token's role, or correct `accounts`"),
    ] {
        harness.console().set_tokens(tokens);
        let check = harness.command(&["check", "--pipelines", "pipelines", "--format", "json"]).await;
        let report: Value = serde_json::from_str(&check.stdout).unwrap();
        let findings = report["pipelines"][0]["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["subject"] == subject).unwrap();
        let advice = finding["detail"].as_str().unwrap().split_once("; ").unwrap().1;
        assert!(finding["check"] == "failed" && advice.contains(part), "{finding}");
        let mut worker = harness.worker();
        let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "console_refused").await;
        assert_eq!(lane["error"].as_str().unwrap().split_once("; ").unwrap().1, advice);
        worker.kill().await;
    }
}

/// No retry helps, so a job that runs once does not wait for its whole timeout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_run_soon_gives_up_credentials_that_are_refused() {
    let harness = Harness::new(|setup| setup.activities = 20).await;
    harness.put_changed("acme", json!({ "console": { "token": "another" } }));
    let refusing = crate::support::harness::receiver().await;
    refusing.contract(|rules| rules.authorization = ["Bearer right".to_owned()].into());
    let mut pipeline = harness.pipeline(json!({}));
    pipeline["sinks"][0]["url"] = json!(refusing.input());
    pipeline["sinks"][0]["auth"] = json!({ "type": "bearer", "token": "wrong" });
    harness.put("bolt", &pipeline);
    let started_at = tokio::time::Instant::now();
    let exit = harness.once(&["--once-timeout", "10m"]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(started_at.elapsed() < Duration::from_secs(100), "{:?}", started_at.elapsed());
    assert_eq!(exit.stdout.matches("given up: ").count(), 2, "{}", exit.stdout);
    assert!(exit.stdout.contains("revoked or expired") && exit.stdout.contains("401"), "{}", exit.stdout);
}
