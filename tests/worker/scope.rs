//! A scope that the token does not see, in a worker that runs.

use s1_forwarder::emulator::{Kind, Scope, Setup, Token, system_clock};
use s1_forwarder::record::Timestamp;
use serde_json::{Value, json};

use crate::support::harness::Harness;
use crate::support::process::Process;

const WRONG: u64 = 100_000_000_000_000_777;

pub fn site(harness: &Harness) -> u64 {
    let threat = harness.console().record(Kind::Threats, harness.console().ids(Kind::Threats)[0]).unwrap();
    let threat: Value = serde_json::from_slice(&threat).unwrap();
    threat["agentRealtimeInfo"]["siteId"].as_str().unwrap().parse().unwrap()
}

fn put(harness: &Harness, name: &str, sites: &[u64]) {
    // What is younger than `overlap` is read again anyway.
    let streams = json!({ "activities": { "interval": "500ms", "overlap": "1s" } });
    harness.put_changed(name, json!({ "console": { "sites": sites }, "streams": streams }));
}

/// How often the console was asked for its sites.
fn asked(harness: &Harness) -> usize {
    harness.console().request_log().iter().filter(|request| request.path.ends_with("/sites")).count()
}

fn unseen(lane: &Value) -> Option<String> {
    let mut warnings = lane["warnings"].as_array().unwrap().iter().filter_map(Value::as_str);
    warnings.find(|warning| warning.starts_with("the token does not see ")).map(str::to_owned)
}

async fn warned(worker: &mut Process, name: &str) -> String {
    let lane = worker.lane(name, |lane| unseen(lane).is_some()).await;
    assert_eq!(lane["up"], true, "{lane}");
    unseen(&lane).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_the_token_does_not_see_is_named_while_the_lane_runs() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (20, 20)).await;
    let site = site(&harness);
    harness.put_changed("acme", json!({}));
    let mut worker = harness.worker();
    worker.lane("acme/activities/siem", |lane| lane["delivered"].as_u64() > Some(0)).await;
    assert_eq!(asked(&harness), 0, "a pipeline that names nothing is not compared");

    let before = Timestamp::now();
    put(&harness, "acme", &[site, WRONG]);
    let text = warned(&mut worker, "acme/activities/siem").await;
    assert!(text.starts_with(&format!("the token does not see {WRONG}: correct `console.sites`")), "{text}");
    assert!(!text.contains(&site.to_string()), "{text}");
    worker.logged(&["WARN", "\"pipeline\":\"acme\"", &format!("does not see {WRONG}")]).await;
    let (_, page) = worker.get("/pipelines/acme").await;
    assert!(page.contains(&format!("does not see {WRONG}")), "{page}");
    let url = worker.url().await;
    let status = harness.command(&["status", "--url", &url, "--wide"]).await.stdout;
    assert!(status.contains(&format!("does not see {WRONG}")), "{status}");

    assert_eq!(worker.metrics().await.sum("unseen_scope_lanes", &[]), 1);

    // Another stream and another pipeline of the same console, token and sites ask for nothing again.
    let once = asked(&harness);
    assert!(once > 0);
    let changes = json!({ "console": { "sites": [site, WRONG] }, "streams": { "threats": { "interval": "500ms" } } });
    harness.put_changed("acme", changes);
    put(&harness, "globex", &[site, WRONG]);
    warned(&mut worker, "acme/threats/siem").await;
    warned(&mut worker, "globex/activities/siem").await;
    assert_eq!(asked(&harness), once);

    put(&harness, "acme", &[site]);
    worker.lane("acme/activities/siem", |lane| unseen(lane).is_none()).await;
    let over = ["WARN", "\"pipeline\":\"acme\"", "the warning about the scope is over", ": s1-forwarder backfill /"];
    worker.logged(&over).await;
    let says = |lane: &Value| lane["warnings"].to_string().contains(" --stream activities --from ");
    worker.lane("acme/activities/siem", says).await;
    let url = worker.url().await;
    let warned = harness.command(&["status", "--url", &url, "--warned", "--wide"]).await.stdout;
    assert!(warned.contains("acme/activities/siem") && warned.contains(": s1-forwarder backfill /"), "{warned}");
    // The lane had read up to some time before the change.
    let log = worker.log_text();
    let from = log.split_once(" --from ").unwrap().1.split(' ').next().unwrap();
    assert!(Timestamp::parse(from).unwrap() <= before, "{from} {before}");
    // The warning of the other pipeline stays.
    assert_eq!(worker.metrics().await.sum("unseen_scope_lanes", &[]), 1);
}

/// The console shows nothing more, and no error either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_that_is_taken_away_is_noticed_by_the_records_that_vanish() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (20, 20)).await;
    let site = site(&harness);
    let token = |site| Token::new(Setup::TOKEN).scoped(Scope::Sites(vec![site]));
    harness.console().set_token(token(site));
    put(&harness, "acme", &[site]);
    let mut worker = harness.worker();
    harness.console().set_rate(30.0, system_clock());
    let pulled = |lane: &Value| lane["delivered"].as_u64() > Some(20) && unseen(lane).is_none();
    worker.lane("acme/activities/siem", pulled).await;
    let compared = async || (asked(&harness) > 0).then_some(());
    crate::support::process::until("the scope is compared", compared).await;

    harness.console().set_token(token(WRONG));
    let text = warned(&mut worker, "acme/activities/siem").await;
    assert!(text.starts_with(&format!("the token does not see {site}: ")), "{text}");
    worker.kill().await;
}

/// The file names no ids, and another customer's token is in its place when a worker starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_starts_with_a_token_of_another_scope_sends_nothing_of_it() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (40, 5)).await;
    let site = site(&harness);
    let token = |site| Token::new(Setup::TOKEN).scoped(Scope::Sites(vec![site]));
    harness.console().set_token(token(site));
    harness.put_changed("acme", json!({}));
    let mut worker = harness.worker();
    harness.console().set_rate(30.0, system_clock());
    let was_asked = || harness.console().request_log().iter().any(|request| request.path.ends_with("/user"));
    crate::support::process::until("the user's scope is known", async || was_asked().then_some(())).await;
    let pulled = worker.lane("acme/activities/siem", |lane| lane["delivered"].as_u64() > Some(0)).await;
    let more = |lane: &Value| lane["delivered"].as_u64() > pulled["delivered"].as_u64();
    worker.lane("acme/activities/siem", more).await;
    worker.signal("TERM").await;
    worker.exit().await;

    // A stream that is new takes the scope that the others have read.
    harness.put_changed("acme", json!({ "streams": { "threats": { "interval": "500ms", "since": "beginning" } } }));
    harness.console().set_token(token(WRONG));
    let before = harness.sink.requests().len();
    let mut worker = harness.worker();
    let refused = worker.lane("acme/activities/siem", |lane| lane["up"] == false && lane["error"].is_string()).await;
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains(&format!("is site {WRONG}")) && error.contains(&format!("has read site {site}")), "{error}");
    worker.lane("acme/threats/siem", |lane| lane["up"] == false && lane["error"].is_string()).await;
    assert_eq!((harness.sink.requests().len(), &refused["delivered"]), (before, &json!(0)));

    harness.console().set_token(token(site));
    let url = worker.url().await;
    let retry = harness.command(&["retry", "acme/activities/siem", "--url", &url]).await;
    assert_eq!(retry.code, Some(0), "{}{}", retry.stdout, retry.stderr);
    worker.lane("acme/activities/siem", |lane| lane["delivered"].as_u64() > Some(0)).await;
    worker.kill().await;

    // A user who sees both does not open the way for the other customer's token.
    harness.console().set_token(Token::new(Setup::TOKEN).scoped(Scope::Sites(vec![site, WRONG])));
    let mut worker = harness.worker();
    let lane = worker.lane("acme/activities/siem", |lane| lane["warnings"][0].is_string()).await;
    let text = lane["warnings"][0].as_str().unwrap();
    assert!(text.contains(&format!(", and was site {site} before: all that it sees is delivered")), "{text}");
    worker.lane("acme/activities/siem", |lane| lane["delivered"].as_u64() > Some(0)).await;
    worker.signal("TERM").await;
    worker.exit().await;
    harness.console().set_token(token(WRONG));
    let mut worker = harness.worker();
    let refused = worker.lane("acme/activities/siem", |lane| lane["up"] == false && lane["error"].is_string()).await;
    assert!(refused["error"].as_str().unwrap().contains(&format!("has read site {site}")), "{refused}");
    worker.kill().await;
}

/// Nothing is said where nothing is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_may_not_list_what_is_named_has_no_warning() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (20, 20)).await;
    let site = site(&harness);
    harness.console().set_token(Token::new(Setup::TOKEN).scoped(Scope::Sites(vec![site])));
    // Accounts are refused with 403, and sites are not.
    harness.put_changed("acme", json!({ "console": { "accounts": [WRONG] } }));
    put(&harness, "globex", &[WRONG]);
    let mut worker = harness.worker();
    warned(&mut worker, "globex/activities/siem").await;
    let refused = || {
        let log = harness.console().request_log();
        log.iter().any(|request| request.path.ends_with("/accounts") && request.status == 403)
    };
    crate::support::process::until("the accounts are refused", async || refused().then_some(())).await;
    let lane = worker.lane("acme/activities/siem", |lane| lane["last_success"].is_string()).await;
    assert_eq!(lane["warnings"], json!([]), "{lane}");
    assert!(!worker.log_text().contains("\"level\":\"WARN\",\"pipeline\":\"acme\""));
}
