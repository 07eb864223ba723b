//! What a changed pipeline file means for a lane that has a checkpoint.

use std::collections::BTreeSet;
use std::time::Duration;

use s1_forwarder::emulator::{Kind, RecordVersion, Scope, Server, system_clock};
use serde_json::{Value, json};

use crate::support::harness::{Harness, receiver};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

/// Two hours of activities, one every ten seconds or so.
async fn two_hours() -> Harness {
    Harness::new(|setup| (setup.activities, setup.span) = (700, Duration::from_hours(2))).await
}

fn ids_since(harness: &Harness, from: i64) -> BTreeSet<String> {
    let versions = harness.console().visible_versions(Kind::Activities, &Scope::Global);
    versions
        .iter()
        .filter(|version| version.created >= from)
        .map(|version: &RecordVersion| version.id.to_string())
        .collect()
}

/// The ids of the records in the requests from number `from` on.
fn sent(seen: &[crate::support::double::Received]) -> Vec<String> {
    let lines = seen.iter().flat_map(|seen| seen.body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    lines.map(|event| event["record"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_since_is_ignored() {
    let harness = two_hours().await;
    let with = |since: &str| json!({ "streams": { "activities": { "since": since } } });
    harness.put_changed("acme", with("1h"));
    let started_at = system_clock();
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let first: BTreeSet<String> = sent(&harness.sink.requests()).into_iter().collect();
    assert!(
        ids_since(&harness, started_at - 59 * MINUTE).is_subset(&first)
            && first.is_subset(&ids_since(&harness, started_at - 61 * MINUTE))
    );
    let requests = harness.sink.requests().len();
    harness.put_changed("acme", with("30d"));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.stderr.contains("the edit is ignored") && exit.stderr.contains("\"is\":\"30d\""), "{}", exit.stderr);
    assert_eq!(harness.sink.requests().len(), requests, "nothing older is fetched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_console_url_keeps_the_time_and_forgets_the_keys() {
    let harness = two_hours().await;
    harness.put_changed("acme", json!({}));
    let started_at = system_clock();
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let ended = system_clock();
    assert_eq!(sent(&harness.sink.requests()).len(), harness.owed(Kind::Activities).len());

    let moved = Server::start(harness.server.console().clone(), ([127, 0, 0, 1], 0).into()).await.unwrap();
    let requests = harness.sink.requests().len();
    harness.put_changed("acme", json!({ "console": { "url": moved.url() } }));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.stderr.contains("keeping the time and forgetting the keys"), "{}", exit.stderr);
    // What lies within the overlap comes again, under the identities of the new host; nothing older does.
    let again: BTreeSet<String> = sent(&harness.sink.requests()[requests..]).into_iter().collect();
    assert!(ids_since(&harness, ended - 5 * MINUTE).is_subset(&again), "the overlap is read again");
    assert!(again.is_subset(&ids_since(&harness, started_at - 5 * MINUTE - 3 * SECOND)), "the time is kept");
    assert!(!again.is_empty());
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1), "another host, other identities");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_sink_begins_at_since_and_disturbs_no_other() {
    let harness = two_hours().await;
    let mut pipeline = harness.pipeline(json!({ "streams": { "activities": { "since": "1h" } } }));
    harness.put("acme", &pipeline);
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let requests = harness.sink.requests().len();
    let new = receiver().await;
    let mut second = pipeline["sinks"][0].clone();
    second["name"] = json!("second");
    second["url"] = json!(new.input());
    pipeline["sinks"].as_array_mut().unwrap().push(second);
    harness.put("acme", &pipeline);
    let started_at = system_clock();
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let arrived: BTreeSet<String> = sent(&new.requests()).into_iter().collect();
    assert!(ids_since(&harness, started_at - 59 * MINUTE).is_subset(&arrived), "it begins at since");
    assert!(arrived.is_subset(&ids_since(&harness, started_at - 61 * MINUTE)), "and not before");
    assert_eq!(harness.sink.requests().len(), requests, "the other sink gets nothing again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wider_scope_is_not_fetched_back_and_the_log_says_what_would() {
    let harness = two_hours().await;
    let accounts = harness.console().ids(Kind::Accounts);
    let only = |ids: &[u64]| {
        harness
            .console()
            .visible_versions(Kind::Activities, &Scope::Accounts(ids.to_vec()))
            .iter()
            .map(|version| version.id.to_string())
            .collect::<BTreeSet<_>>()
    };
    harness.put_changed("acme", json!({ "console": { "accounts": [accounts[0].to_string()] } }));
    let started_at = system_clock();
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let first: BTreeSet<String> = sent(&harness.sink.requests()).into_iter().collect();
    assert_eq!(first, only(&accounts[..1]));
    assert!(!first.is_empty() && first.len() < harness.owed(Kind::Activities).len(), "the scope narrows nothing");
    let requests = harness.sink.requests().len();
    harness.put_changed("acme", json!({}));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.stderr.contains("only `backfill` fetches older records"), "{}", exit.stderr);
    let more: BTreeSet<String> = sent(&harness.sink.requests()[requests..]).into_iter().collect();
    assert!(
        more.is_subset(&ids_since(&harness, started_at - 5 * MINUTE - 3 * SECOND)),
        "nothing older than the overlap"
    );
    assert!(harness.sink.ledger().counts().values().all(|count| *count == 1));
}
