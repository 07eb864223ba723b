//! Application findings (`vulnerabilities`), in closed windows, from the console to a receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use s1_forwarder::emulator::{Faults, Kind, Mishap, Quirks, Scope, Setup, Token, system_clock};
use serde_json::{Value, json};

use super::world::World;

const PATH: &str = "/web/api/v2.1/application-management/risks";

async fn world() -> World {
    World::new(|setup| {
        (setup.vulnerabilities, setup.agents, setup.span) = (400, 60, Duration::from_secs(90 * 86_400));
    })
    .await
}

fn streams() -> Value {
    json!({ "activities": null, "vulnerabilities": {} })
}

/// The ids of the findings that a scope shows.
fn open(world: &World, scope: &Scope) -> BTreeSet<String> {
    world.console().truth(Kind::Vulnerabilities, scope).iter().map(|version| version.id.to_string()).collect()
}

fn events(world: &World, pipeline: &str) -> Vec<Value> {
    let seen = world.sink.seen();
    let lines = seen.iter().flat_map(|request| request.body.lines().map(str::to_owned).collect::<Vec<_>>());
    let events = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    events.filter(|event| event["pipeline"] == pipeline).collect()
}

/// The ids that arrived, each with its identities.
fn arrived(world: &World, pipeline: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in events(world, pipeline) {
        let id = event["record"]["id"].as_str().unwrap().to_owned();
        found.entry(id).or_default().insert(event["id"].as_str().unwrap().to_owned());
    }
    found
}

fn ids(world: &World, pipeline: &str) -> BTreeSet<String> {
    arrived(world, pipeline).into_keys().collect()
}

/// The queries for findings that the console answered, from the n-th on.
fn queries(world: &World, from: usize) -> Vec<String> {
    let seen = world.console().seen();
    seen.iter().filter(|request| request.path == PATH).skip(from).map(|request| request.query.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_finding_arrives_scope_by_scope() {
    let world = world().await;
    let sites = world.console().ids(Kind::Sites);
    let two: Vec<String> = sites[1..3].iter().map(u64::to_string).collect();
    let account = world.console().ids(Kind::Accounts)[0];
    world.put_changed("all", json!({ "streams": streams() }));
    world.put_changed("two", json!({ "streams": streams(), "console": { "sites": two } }));
    world.put_changed(
        "account",
        json!({ "streams": streams(), "console": { "accounts": [account.to_string()] },
        "transform": { "schema": "ecs" } }),
    );
    let exit = world.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert_eq!(ids(&world, "all"), open(&world, &Scope::Global));
    assert_eq!(ids(&world, "two"), open(&world, &Scope::Sites(sites[1..3].to_vec())));
    let mapped: Vec<Value> = events(&world, "account").iter().map(|event| event["record"].clone()).collect();
    assert_eq!(mapped.len(), open(&world, &Scope::Accounts(vec![account])).len());
    assert!(
        mapped.iter().all(|event| event["organization"]["id"] == json!(account.to_string())),
        "the scope tells whose it is"
    );
    for query in queries(&world, 0) {
        assert!(query.matches("siteIds").count() <= 1 && !query.contains("%2C"), "one scope at a time: {query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_and_removals_come_with_the_next_window() {
    let world = world().await;
    world.put_changed("acme", json!({ "streams": streams() }));
    assert_eq!(world.once(&[]).await.code, Some(0));
    let before = arrived(&world, "acme");
    let (swept, first) = (queries(&world, 0).len(), events(&world, "acme").len());
    let mut open = before.keys();
    let [removed, rated] = [open.next().unwrap(), open.next().unwrap()];
    let now = system_clock();
    let change = |id: &String, key: &'static str, value: &'static str| {
        world.console().update(Kind::Vulnerabilities, id.parse().unwrap(), now, |record| record[key] = value.into())
    };
    assert!(change(removed, "status", "Removed") && change(rated, "baseScore", "1.10"));
    let new = world.console().generate(Kind::Vulnerabilities, now).to_string();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(world.once(&[]).await.code, Some(0));

    let after = arrived(&world, "acme");
    for id in [removed, rated] {
        assert_eq!(after[id].len(), 2, "another content is another identity");
    }
    assert!(after.contains_key(&new));
    let last = |id: &str| events(&world, "acme").into_iter().rfind(|event| event["record"]["id"] == id).unwrap();
    assert_eq!(last(removed)["record"]["status"], "Removed");
    assert_eq!(last(rated)["record"]["baseScore"], "1.10");
    let windows = queries(&world, swept);
    assert!(
        windows.iter().any(|query| query.contains("riskUpdatedDate__gte") && query.contains("includeRemovals=true"))
    );
    assert!(windows.iter().any(|query| query.contains("detectionDate__gte")));
    let again = events(&world, "acme").len() - first;
    assert!(again < 60, "a window is not the whole list: {again}");

    // What the window brought is known to the next one, which reaches back into it.
    let second = events(&world, "acme").len();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(world.once(&[]).await.code, Some(0));
    assert_eq!(events(&world, "acme").len(), second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_was_broken_off_begins_again() {
    let world = world().await;
    world.put_changed("acme", json!({ "streams": streams() }));
    // Many pages, with the pause between them.
    world.console().set_faults(Faults::default().with(Mishap::ShortPage, 1.0));
    let worker = world.worker();
    super::process::until("the first findings are there", async || (!events(&world, "acme").is_empty()).then_some(()))
        .await;
    worker.kill().await;
    let (part, asked) = (ids(&world, "acme").len(), queries(&world, 0).len());
    let open = open(&world, &Scope::Global);
    assert!(part > 0 && part < open.len(), "killed in the middle of the sweep: {part}");
    world.console().set_faults(Faults::default());
    let exit = world.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(ids(&world, "acme"), open);
    let again = queries(&world, asked);
    assert!(again.iter().any(|query| !query.contains("Date__gte") && query.contains("sortBy=id")), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_without_licence_is_passed_over_and_wide_tokens_go_scope_by_scope() {
    let world = world().await;
    let sites = world.console().ids(Kind::Sites);
    let quirks = Quirks { unlicensed_sites: vec![sites[1]], risks_want_one_scope: true, ..Quirks::default() };
    world.console().set_quirks(quirks);
    let named: Vec<String> = sites[1..3].iter().map(u64::to_string).collect();
    world.put_changed("named", json!({ "streams": streams(), "console": { "sites": named } }));
    world.put_changed("wide", json!({ "streams": streams() }));
    world.console().set_token(Token::new(Setup::TOKEN).scoped(Scope::Sites(sites[1..4].to_vec())));
    let exit = world.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert_eq!(ids(&world, "named"), open(&world, &Scope::Sites(vec![sites[2]])));
    assert_eq!(ids(&world, "wide"), open(&world, &Scope::Sites(sites[2..4].to_vec())));
    assert!(exit.stderr.contains("it is passed over") && exit.stderr.contains("scope by scope"), "{}", exit.stderr);
}

/// A closed window of either stream is pulled by the time of detection, which every record has, and as large as the console
/// counts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backfills_hold_what_was_detected_in_their_window() {
    let world = World::new(|setup| {
        (setup.vulnerabilities, setup.unified_alerts, setup.agents) = (300, 300, 60);
        setup.span = Duration::from_secs(10 * 86_400);
    })
    .await;
    let sites = world.console().ids(Kind::Sites);
    let named: Vec<String> = sites[1..3].iter().map(u64::to_string).collect();
    let streams = json!({ "activities": null, "vulnerabilities": {}, "unified_alerts": {} });
    world.put_changed("acme", json!({ "streams": streams, "console": { "sites": named } }));
    let day = 86_400_000_000;
    let to = system_clock() / day * day;
    let from = to - 6 * day;
    let (from_text, to_text) = (s1_forwarder::emulator::print_time(from), s1_forwarder::emulator::print_time(to));
    for (stream, kind) in [("vulnerabilities", Kind::Vulnerabilities), ("unified_alerts", Kind::UnifiedAlerts)] {
        let before = events(&world, "acme").len();
        let arguments = ["backfill", "pipelines/acme.yaml", "--stream", stream, "--from", &from_text, "--to", &to_text];
        let exit = world.command(&arguments).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        let held = |id: &u64| {
            let record: Value = serde_json::from_slice(&world.console().record(kind, *id).unwrap()).unwrap();
            let text = record.get("detectionDate").or(record.get("detectedAt")).unwrap().as_str().unwrap().to_owned();
            (&*from_text..&*to_text).contains(&&*text)
        };
        let scope = Scope::Sites(sites[1..3].to_vec());
        let open = world.console().truth(kind, &scope).iter().filter(|version| held(&version.id)).count();
        let arrived = events(&world, "acme").len() - before;
        assert!(arrived >= open && open > 20, "{stream}: {arrived} of {open}");
        assert!(exit.stdout.contains(&format!("complete: the console counts {arrived}")), "{}", exit.stdout);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_that_are_too_large_are_stepped_over_and_the_rest_arrives() {
    const SIZE: usize = 6 << 20;
    let world = World::new(|setup| (setup.vulnerabilities, setup.agents) = (4, 4)).await;
    let long_ago = system_clock() - 40 * 86_400_000_000;
    let mut large = BTreeSet::new();
    for (place, what) in ".L.LL.".chars().enumerate() {
        let at = long_ago + place as i64 * 3_600_000_000;
        match what {
            'L' => _ = large.insert(world.console().generate_oversized(Kind::Vulnerabilities, at, SIZE).to_string()),
            _ => _ = world.console().generate(Kind::Vulnerabilities, at),
        }
    }
    world.put_changed("acme", json!({ "streams": streams() }));
    for _ in 0..2 {
        let exit = world.once(&["--memory-budget", "16MiB"]).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        let expected: BTreeSet<String> = open(&world, &Scope::Global).difference(&large).cloned().collect();
        assert_eq!(ids(&world, "acme"), expected);
        let letters = world.command(&["dead-letters", "list", "--format", "json"]).await.stdout;
        let letters: Vec<Value> = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kept: BTreeSet<&str> = letters.iter().filter_map(|letter| letter["record_id"].as_str()).collect();
        assert_eq!(kept, large.iter().map(String::as_str).collect());
        assert!(letters.len() == large.len() && letters.iter().all(|letter| letter["cut"] == true));
    }
}
