//! What a changed pipeline file means for a lane that has a checkpoint (design.md section 3, Changes).

use std::collections::BTreeSet;
use std::time::Duration;

use s1_forwarder::emulator::{Kind, Scope, Server, Version, system_clock};
use serde_json::{Value, json};

use super::world::{World, receiver};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

/// Two hours of activities, one every ten seconds or so.
async fn two_hours() -> World {
    World::new(|setup| (setup.activities, setup.span) = (700, Duration::from_secs(7_200))).await
}

fn ids_since(world: &World, from: i64) -> BTreeSet<String> {
    let versions = world.console().truth(Kind::Activities, &Scope::Global);
    versions.iter().filter(|version| version.created >= from).map(|version: &Version| version.id.to_string()).collect()
}

/// The ids of the records in the requests from number `from` on.
fn sent(seen: &[crate::support::receiver::Seen]) -> Vec<String> {
    let lines = seen.iter().flat_map(|seen| seen.body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    lines.map(|event| event["record"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_since_is_ignored() {
    let world = two_hours().await;
    let with = |since: &str| json!({ "streams": { "activities": { "since": since } } });
    world.put_changed("acme", with("1h"));
    let begun = system_clock();
    assert_eq!(world.once(&[]).await.code, Some(0));
    let first: BTreeSet<String> = sent(&world.sink.seen()).into_iter().collect();
    assert!(
        ids_since(&world, begun - 59 * MINUTE).is_subset(&first)
            && first.is_subset(&ids_since(&world, begun - 61 * MINUTE))
    );
    let requests = world.sink.seen().len();
    world.put_changed("acme", with("30d"));
    let exit = world.once(&[]).await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.stderr.contains("the edit is ignored") && exit.stderr.contains("\"is\":\"30d\""), "{}", exit.stderr);
    assert_eq!(world.sink.seen().len(), requests, "nothing older is fetched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_console_url_keeps_the_time_and_forgets_the_keys() {
    let world = two_hours().await;
    world.put_changed("acme", json!({}));
    let begun = system_clock();
    assert_eq!(world.once(&[]).await.code, Some(0));
    let ended = system_clock();
    assert_eq!(sent(&world.sink.seen()).len(), world.owed(Kind::Activities).len());

    let moved = Server::start(world.server.console().clone(), ([127, 0, 0, 1], 0).into()).await.unwrap();
    let requests = world.sink.seen().len();
    world.put_changed("acme", json!({ "console": { "url": moved.url() } }));
    let exit = world.once(&[]).await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.stderr.contains("the time is kept, the keys are forgotten"), "{}", exit.stderr);
    // What lies within the overlap comes again, under the identities of the new host; nothing older does.
    let again: BTreeSet<String> = sent(&world.sink.seen()[requests..]).into_iter().collect();
    assert!(ids_since(&world, ended - 5 * MINUTE).is_subset(&again), "the overlap is read again");
    assert!(again.is_subset(&ids_since(&world, begun - 5 * MINUTE - 3 * SECOND)), "the time is kept");
    assert!(!again.is_empty());
    assert!(world.sink.ledger().counts().values().all(|count| *count == 1), "another host, other identities");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_sink_begins_at_since_and_disturbs_no_other() {
    let world = two_hours().await;
    let mut pipeline = world.pipeline(json!({ "streams": { "activities": { "since": "1h" } } }));
    world.put("acme", &pipeline);
    assert_eq!(world.once(&[]).await.code, Some(0));
    let requests = world.sink.seen().len();
    let new = receiver().await;
    let mut second = pipeline["sinks"][0].clone();
    second["name"] = json!("second");
    second["url"] = json!(new.url());
    pipeline["sinks"].as_array_mut().unwrap().push(second);
    world.put("acme", &pipeline);
    let begun = system_clock();
    let exit = world.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let arrived: BTreeSet<String> = sent(&new.seen()).into_iter().collect();
    assert!(ids_since(&world, begun - 59 * MINUTE).is_subset(&arrived), "it begins at since");
    assert!(arrived.is_subset(&ids_since(&world, begun - 61 * MINUTE)), "and not before");
    assert_eq!(world.sink.seen().len(), requests, "the other sink gets nothing again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wider_scope_is_not_fetched_back_and_the_log_says_what_would() {
    let world = two_hours().await;
    let accounts = world.console().ids(Kind::Accounts);
    let only = |ids: &[u64]| {
        world
            .console()
            .truth(Kind::Activities, &Scope::Accounts(ids.to_vec()))
            .iter()
            .map(|version| version.id.to_string())
            .collect::<BTreeSet<_>>()
    };
    world.put_changed("acme", json!({ "console": { "accounts": [accounts[0].to_string()] } }));
    let begun = system_clock();
    assert_eq!(world.once(&[]).await.code, Some(0));
    let first: BTreeSet<String> = sent(&world.sink.seen()).into_iter().collect();
    assert_eq!(first, only(&accounts[..1]));
    assert!(!first.is_empty() && first.len() < world.owed(Kind::Activities).len(), "the scope narrows nothing");
    let requests = world.sink.seen().len();
    world.put_changed("acme", json!({}));
    let exit = world.once(&[]).await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.stderr.contains("`backfill` does that"), "{}", exit.stderr);
    let more: BTreeSet<String> = sent(&world.sink.seen()[requests..]).into_iter().collect();
    assert!(more.is_subset(&ids_since(&world, begun - 5 * MINUTE - 3 * SECOND)), "nothing older than the overlap");
    assert!(world.sink.ledger().counts().values().all(|count| *count == 1));
}
