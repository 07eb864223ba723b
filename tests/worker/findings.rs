//! Application findings (`vulnerabilities`), in closed windows, from the console to a receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use s1_forwarder::emulator::{Fault, Faults, Kind, Quirks, Scope, Setup, Token, system_clock};
use serde_json::{Value, json};

use crate::support::harness::Harness;

const PATH: &str = "/web/api/v2.1/application-management/risks";

async fn harness() -> Harness {
    Harness::new(|setup| {
        setup.vulnerabilities = 400;
        setup.agents = 60;
        setup.span = Duration::from_hours(2_160);
    })
    .await
}

fn streams() -> Value {
    json!({ "activities": null, "vulnerabilities": {} })
}

/// The ids of the findings that a scope shows.
fn open(harness: &Harness, scope: &Scope) -> BTreeSet<String> {
    harness
        .console()
        .visible_versions(Kind::Vulnerabilities, scope)
        .iter()
        .map(|version| version.id.to_string())
        .collect()
}

fn events(harness: &Harness, pipeline: &str) -> Vec<Value> {
    let seen = harness.sink.requests();
    let lines = seen.iter().flat_map(|request| request.body.lines().map(str::to_owned).collect::<Vec<_>>());
    let events = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    events.filter(|event| event["pipeline"] == pipeline).collect()
}

/// The ids that arrived, each with its identities.
fn arrived(harness: &Harness, pipeline: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in events(harness, pipeline) {
        let id = event["record"]["id"].as_str().unwrap().to_owned();
        found.entry(id).or_default().insert(event["id"].as_str().unwrap().to_owned());
    }
    found
}

fn ids(harness: &Harness, pipeline: &str) -> BTreeSet<String> {
    arrived(harness, pipeline).into_keys().collect()
}

/// The queries for findings that the console answered, from the n-th on.
fn queries(harness: &Harness, from: usize) -> Vec<String> {
    let seen = harness.console().request_log();
    seen.iter().filter(|request| request.path == PATH).skip(from).map(|request| request.query.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_finding_arrives_scope_by_scope() {
    let harness = harness().await;
    let sites = harness.console().ids(Kind::Sites);
    let two: Vec<String> = sites[1..3].iter().map(u64::to_string).collect();
    let account = harness.console().ids(Kind::Accounts)[0];
    harness.put_changed("all", json!({ "streams": streams() }));
    harness.put_changed("two", json!({ "streams": streams(), "console": { "sites": two } }));
    harness.put_changed(
        "account",
        json!({ "streams": streams(), "console": { "accounts": [account.to_string()] },
        "transform": { "schema": "ecs" } }),
    );
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert_eq!(ids(&harness, "all"), open(&harness, &Scope::Global));
    assert_eq!(ids(&harness, "two"), open(&harness, &Scope::Sites(sites[1..3].to_vec())));
    let mapped: Vec<Value> = events(&harness, "account").iter().map(|event| event["record"].clone()).collect();
    assert_eq!(mapped.len(), open(&harness, &Scope::Accounts(vec![account])).len());
    assert!(
        mapped.iter().all(|event| event["organization"]["id"] == json!(account.to_string())),
        "the scope tells whose it is"
    );
    for query in queries(&harness, 0) {
        assert!(query.matches("siteIds").count() <= 1 && !query.contains("%2C"), "one scope at a time: {query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_and_removals_come_with_the_next_window() {
    let harness = harness().await;
    harness.put_changed("acme", json!({ "streams": streams() }));
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let before = arrived(&harness, "acme");
    let swept = queries(&harness, 0).len();
    let first = events(&harness, "acme").len();
    let mut open = before.keys();
    let [removed, rated] = [open.next().unwrap(), open.next().unwrap()];
    let now = system_clock();
    let change = |id: &String, key: &'static str, value: &'static str| {
        harness.console().update(Kind::Vulnerabilities, id.parse().unwrap(), now, |record| record[key] = value.into())
    };
    assert!(change(removed, "status", "Removed") && change(rated, "baseScore", "1.10"));
    let new = harness.console().generate(Kind::Vulnerabilities, now).to_string();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(harness.once(&[]).await.code, Some(0));

    let after = arrived(&harness, "acme");
    for id in [removed, rated] {
        assert_eq!(after[id].len(), 2, "another content is another identity");
    }
    assert!(after.contains_key(&new));
    let last = |id: &str| events(&harness, "acme").into_iter().rfind(|event| event["record"]["id"] == id).unwrap();
    assert_eq!(last(removed)["record"]["status"], "Removed");
    assert_eq!(last(rated)["record"]["baseScore"], "1.10");
    let windows = queries(&harness, swept);
    assert!(
        windows.iter().any(|query| query.contains("riskUpdatedDate__gte") && query.contains("includeRemovals=true"))
    );
    assert!(windows.iter().any(|query| query.contains("detectionDate__gte")));
    let again = events(&harness, "acme").len() - first;
    assert!(again < 60, "a window is not the whole list: {again}");

    // What the window brought is known to the next one, which reaches back into it.
    let second = events(&harness, "acme").len();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    assert_eq!(events(&harness, "acme").len(), second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_was_broken_off_begins_again() {
    let harness = harness().await;
    harness.put_changed("acme", json!({ "streams": streams() }));
    // Many pages, with the pause between them.
    harness.console().set_faults(Faults::default().with(Fault::ShortPage, 1.0));
    let worker = harness.worker();
    crate::support::process::until("the first findings are there", async || {
        (!events(&harness, "acme").is_empty()).then_some(())
    })
    .await;
    worker.kill().await;
    let part = ids(&harness, "acme").len();
    let asked = queries(&harness, 0).len();
    let open = open(&harness, &Scope::Global);
    assert!(part > 0 && part < open.len(), "killed in the middle of the sweep: {part}");
    harness.console().set_faults(Faults::default());
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(ids(&harness, "acme"), open);
    let again = queries(&harness, asked);
    assert!(again.iter().any(|query| !query.contains("Date__gte") && query.contains("sortBy=id")), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scope_without_licence_is_passed_over_and_wide_tokens_go_scope_by_scope() {
    let harness = harness().await;
    let sites = harness.console().ids(Kind::Sites);
    let quirks = Quirks { unlicensed_sites: vec![sites[1]], risks_require_one_scope: true, ..Quirks::default() };
    harness.console().set_quirks(quirks);
    let named: Vec<String> = sites[1..3].iter().map(u64::to_string).collect();
    harness.put_changed("named", json!({ "streams": streams(), "console": { "sites": named } }));
    harness.put_changed("wide", json!({ "streams": streams() }));
    harness.console().set_token(Token::new(Setup::TOKEN).scoped(Scope::Sites(sites[1..4].to_vec())));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert_eq!(ids(&harness, "named"), open(&harness, &Scope::Sites(vec![sites[2]])));
    assert_eq!(ids(&harness, "wide"), open(&harness, &Scope::Sites(sites[2..4].to_vec())));
    assert!(exit.stderr.contains("and is skipped") && exit.stderr.contains("scope by scope"), "{}", exit.stderr);
}

/// A closed window of either stream is pulled by the time of detection, which every record has, and as large as the
/// console counts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backfills_hold_what_was_detected_in_their_window() {
    let harness = Harness::new(|setup| {
        setup.vulnerabilities = 300;
        setup.unified_alerts = 300;
        setup.agents = 60;
        setup.span = Duration::from_hours(240);
    })
    .await;
    let sites = harness.console().ids(Kind::Sites);
    let named: Vec<String> = sites[1..3].iter().map(u64::to_string).collect();
    let streams = json!({ "activities": null, "vulnerabilities": {}, "unified_alerts": {} });
    harness.put_changed("acme", json!({ "streams": streams, "console": { "sites": named } }));
    let day = 86_400_000_000;
    let to = system_clock() / day * day;
    let from = to - 6 * day;
    let from_text = s1_forwarder::emulator::print_time(from);
    let to_text = s1_forwarder::emulator::print_time(to);
    for (stream, kind) in [("vulnerabilities", Kind::Vulnerabilities), ("unified_alerts", Kind::UnifiedAlerts)] {
        let before = events(&harness, "acme").len();
        let arguments = ["backfill", "pipelines/acme.yaml", "--stream", stream, "--from", &from_text, "--to", &to_text];
        let exit = harness.command(&arguments).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        let held = |id: &u64| {
            let record: Value = serde_json::from_slice(&harness.console().record(kind, *id).unwrap()).unwrap();
            let text = record.get("detectionDate").or(record.get("detectedAt")).unwrap().as_str().unwrap().to_owned();
            (&*from_text..&*to_text).contains(&&*text)
        };
        let scope = Scope::Sites(sites[1..3].to_vec());
        let open = harness.console().visible_versions(kind, &scope).iter().filter(|version| held(&version.id)).count();
        let arrived = events(&harness, "acme").len() - before;
        assert!(arrived >= open && open > 20, "{stream}: {arrived} of {open}");
        assert!(exit.stdout.contains(&format!("complete: the console counts {arrived}")), "{}", exit.stdout);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_that_are_too_large_are_stepped_over_and_the_rest_arrives() {
    const SIZE: usize = 6 << 20;
    let harness = Harness::new(|setup| (setup.vulnerabilities, setup.agents) = (4, 4)).await;
    let long_ago = system_clock() - 40 * 86_400_000_000;
    let mut large = BTreeSet::new();
    for (place, what) in ".L.LL.".chars().enumerate() {
        let at = long_ago + place as i64 * 3_600_000_000;
        match what {
            'L' => _ = large.insert(harness.console().generate_oversized(Kind::Vulnerabilities, at, SIZE).to_string()),
            _ => _ = harness.console().generate(Kind::Vulnerabilities, at),
        }
    }
    harness.put_changed("acme", json!({ "streams": streams() }));
    for _ in 0..2 {
        let exit = harness.once(&["--memory-budget", "16MiB"]).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        let expected: BTreeSet<String> = open(&harness, &Scope::Global).difference(&large).cloned().collect();
        assert_eq!(ids(&harness, "acme"), expected);
        let dead_letters = harness.command(&["dead-letters", "list", "--format", "json"]).await.stdout;
        let dead_letters: Vec<Value> = dead_letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let kept: BTreeSet<&str> = dead_letters.iter().filter_map(|letter| letter["record_id"].as_str()).collect();
        assert_eq!(kept, large.iter().map(String::as_str).collect());
        assert!(dead_letters.len() == large.len() && dead_letters.iter().all(|letter| letter["truncated"] == true));
    }
}
