//! All streams from a console, for tokens and filters of every scope: what arrives is what the console itself counts.

use std::collections::{BTreeMap, BTreeSet};

use s1_forwarder::emulator::{
    Faults, Kind, LoggedRequest, OutOfScope, Quirks, RecordVersion, Scope, Token, print_time, system_clock,
};
use s1_forwarder::record::{Frame, Stream};
use s1_forwarder::source::is_by_scope;
use serde_json::{Value, json};

use crate::support::batches::kind_of;
use crate::support::harness::Harness;

const DAY: i64 = 86_400_000_000;

/// The streams of lists that need no scope, and the emulator's names of them.
fn lists() -> impl Iterator<Item = (&'static str, Kind)> {
    let is_list = |stream: &Stream| stream.description().frame == Frame::List && !is_by_scope(*stream);
    Stream::ALL.into_iter().filter(is_list).map(|stream| (stream.name(), kind_of(stream)))
}

async fn harness() -> Harness {
    Harness::new(|setup| {
        setup.activities = 2_500;
        setup.threats = 400;
        setup.agents = 600;
        setup.alerts = 400;
        setup.span = std::time::Duration::from_hours(240);
        // A console tells its time in whole seconds: what happened in the last one is owed to the next run.
        setup.now -= 5_000_000;
    })
    .await
}

/// All streams from the beginning, with `changes` to each.
fn streams(changes: &Value) -> Value {
    let settings_of = |(name, _): (&str, Kind)| {
        let mut stream = json!({ "since": "beginning" });
        crate::support::harness::merge(&mut stream, changes.clone());
        (name.to_owned(), stream)
    };
    Value::Object(lists().map(settings_of).collect())
}

/// The ids of the records that arrived from a pipeline, by stream; each event arrived once.
fn arrived(harness: &Harness, pipeline: &str) -> BTreeMap<String, Vec<u64>> {
    let mut arrived: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut identities = BTreeSet::new();
    for request in harness.sink.requests() {
        if request.header("x-s1-forwarder-pipeline") != pipeline {
            continue;
        }
        for line in request.body.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            assert!(identities.insert(event["id"].as_str().unwrap().to_owned()), "twice: {line}");
            let record = &event["record"];
            let id = record.get("id").unwrap_or(&record["alertInfo"]["alertId"]);
            let ids = arrived.entry(event["stream"].as_str().unwrap().to_owned()).or_default();
            ids.push(id.as_str().unwrap().parse().unwrap());
        }
    }
    arrived.values_mut().for_each(|ids| ids.sort_unstable());
    arrived
}

fn ids(versions: Vec<RecordVersion>, keep: impl Fn(&RecordVersion) -> bool) -> Vec<u64> {
    versions.into_iter().filter(keep).map(|version| version.id).collect()
}

/// What a pipeline's streams must have brought.
fn assert_arrived(harness: &Harness, pipeline: &str, expected: impl Fn(Kind) -> Vec<u64>) {
    let arrived = arrived(harness, pipeline);
    for (stream, kind) in lists() {
        let got = arrived.get(stream).cloned().unwrap_or_default();
        let owed = expected(kind);
        assert!(got == owed, "{pipeline}: {} {stream} arrived, the console has {}", got.len(), owed.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_is_drained_for_tokens_of_every_scope() {
    let harness = harness().await;
    let console = harness.console();
    let account = console.ids(Kind::Accounts)[0];
    let sites = console.ids(Kind::Sites);
    let scopes = [
        ("global", Scope::Global),
        ("account", Scope::Accounts(vec![account])),
        ("site", Scope::Sites(vec![sites[1]])),
        ("two-sites", Scope::Sites(sites[1..3].to_vec())),
    ];
    for (name, scope) in &scopes {
        console.set_token(Token::new(&format!("token-{name}")).scoped(scope.clone()));
        harness.write(&format!("{name}.token"), &format!("token-{name}"));
        let token = json!({ "file": harness.path(&format!("{name}.token")) });
        harness.put_changed(name, json!({ "console": { "token": token }, "streams": streams(&json!({})) }));
    }
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    for (name, scope) in &scopes {
        assert_arrived(&harness, name, |kind| ids(harness.console().visible_versions(kind, scope), |_| true));
        let counts = arrived(&harness, name);
        assert!(lists().all(|(stream, _)| counts.get(stream).is_some_and(|ids| !ids.is_empty())), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scope_filters_hold_on_every_stream_and_a_customer_split_by_site_gets_each_record_once() {
    let harness = harness().await;
    // What does not belong to any site goes by the account, and is left out here.
    let account = harness.console().ids(Kind::Accounts)[0];
    let sites = harness.console().ids(Kind::Sites);
    let group = harness.console().ids(Kind::Groups)[4];
    let put = |name: &str, scope: Value| {
        harness.put_changed(name, json!({ "console": scope, "streams": streams(&json!({})) }));
    };
    put("lisbon", json!({ "sites": [sites[1].to_string()] }));
    put("toronto", json!({ "sites": [sites[2].to_string()] }));
    put("acme", json!({ "accounts": [account.to_string()] }));
    put("servers", json!({ "groups": [group.to_string()] }));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let expected = |scope: Scope| {
        let harness = &harness;
        move |kind| ids(harness.console().visible_versions(kind, &scope), |_| true)
    };
    assert_arrived(&harness, "lisbon", expected(Scope::Sites(vec![sites[1]])));
    assert_arrived(&harness, "toronto", expected(Scope::Sites(vec![sites[2]])));
    assert_arrived(&harness, "acme", expected(Scope::Accounts(vec![account])));
    let lisbon = arrived(&harness, "lisbon");
    let toronto = arrived(&harness, "toronto");
    for (stream, kind) in lists() {
        let mut both = [&lisbon[stream][..], &toronto[stream][..]].concat();
        both.sort_unstable();
        let owed = ids(harness.console().visible_versions(kind, &Scope::Sites(sites[1..3].to_vec())), |_| true);
        assert!(both == owed, "{stream}: {} of {}", both.len(), owed.len());
    }
    let servers = arrived(&harness, "servers");
    assert_eq!(servers["groups"], [group]);
    assert!(!servers["agents"].is_empty() && servers["agents"].len() < lisbon["agents"].len());

    // Where the console refuses what the token cannot see, the streams say so, and nothing else stops.
    harness.console().set_quirks(Quirks { out_of_scope: OutOfScope::Forbidden, ..Quirks::default() });
    harness.console().set_token(Token::new("lisbon").scoped(Scope::Sites(vec![sites[1]])));
    harness.write("lisbon.token", "lisbon");
    let scope = json!({ "token": { "file": harness.path("lisbon.token") }, "sites": [sites[2].to_string()] });
    put("beyond", scope);
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stdout.contains("403") && arrived(&harness, "beyond").is_empty(), "{}", exit.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn since_is_understood_in_every_form_on_every_stream() {
    let harness = harness().await;
    let now = s1_forwarder::emulator::system_clock();
    let noon = now - 3 * DAY;
    let forms = [
        ("beginning", "beginning".to_owned()),
        ("period", "36h".to_owned()),
        ("time", print_time(noon)),
        ("now", "now".to_owned()),
    ];
    for (name, since) in &forms {
        harness.put_changed(name, json!({ "streams": streams(&json!({ "since": since })) }));
    }
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let since = |from: i64| {
        let harness = &harness;
        move |kind: Kind| {
            let time = move |version: &RecordVersion| match kind {
                Kind::Activities | Kind::Alerts => version.created,
                _ => version.updated,
            };
            // A query begins at a whole second.
            ids(harness.console().visible_versions(kind, &Scope::Global), |version| {
                time(version) >= from / 1_000_000 * 1_000_000
            })
        }
    };
    assert_arrived(&harness, "beginning", since(i64::MIN + DAY));
    assert_arrived(&harness, "time", since(noon));
    assert_arrived(&harness, "now", since(now));
    // The moment of the start is between two that the test knows.
    let got = arrived(&harness, "period");
    let most = since(now - DAY * 3 / 2);
    for (stream, kind) in lists() {
        let got = got.get(stream).map_or(0, Vec::len);
        let most = most(kind).len();
        assert!(got <= most && got + 30 >= most, "{stream}: {got} of {most}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_endpoint_ends_its_own_lane_and_no_other() {
    let harness = harness().await;
    harness.console().set_faults(Faults { missing: vec![Kind::Alerts], ..Faults::default() });
    harness.put_changed("acme", json!({ "streams": streams(&json!({})) }));
    let started_at = tokio::time::Instant::now();
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(started_at.elapsed().as_secs() < 120, "nothing waits for the timeout");
    let row = exit.stdout.lines().find(|row| row.contains("acme/alerts/siem")).unwrap();
    assert!(row.contains("404"), "{row}");
    assert_eq!(exit.stderr.lines().filter(|line| line.contains("lane is failing")).count(), 1, "{}", exit.stderr);
    assert_arrived(&harness, "acme", |kind| {
        let shown = kind != Kind::Alerts;
        ids(harness.console().visible_versions(kind, &Scope::Global), |_| shown)
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_run_once_and_say_when_they_are_complete() {
    let harness = harness().await;
    let agents = json!({ "mode": "snapshot", "interval": "30d", "marker": true });
    harness.put_changed("acme", json!({ "streams": { "activities": null, "agents": agents } }));
    for _ in 0..2 {
        let exit = harness.once(&[]).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    }
    let lines: Vec<Value> = harness
        .sink
        .requests()
        .iter()
        .flat_map(|request| request.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
        .collect();
    let owed = harness.console().visible_versions(Kind::Agents, &Scope::Global).len();
    assert_eq!(lines.len(), owed + 1, "the second run found the snapshot complete");
    let marker = &lines.last().unwrap()["record"]["snapshot"];
    assert_eq!(marker["records"], owed);
    assert!(marker["time"].as_str().unwrap().ends_with("T00:00:00.000000Z"), "{marker}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines_on_one_console_share_its_rate_limit() {
    let harness = harness().await;
    // Each site by itself would ask fifty times a second; the smallest rate given holds for all, as long as the site
    // that gave it runs.
    let sites = harness.console().ids(Kind::Sites);
    let slowest = sites[3].to_string();
    for (place, site) in sites.into_iter().enumerate() {
        let console = json!({ "sites": [site.to_string()], "requests_per_second": if place == 3 { 10 } else { 50 } });
        harness.put_changed(&format!("site-{place}"), json!({ "console": console, "streams": streams(&json!({})) }));
    }
    // From before the first can have been sent: requests that are held up on their way make it longer, and never
    // shorter.
    let started_at = system_clock();
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let log = harness.console().request_log();
    let of_the_slowest = |seen: &LoggedRequest| seen.query.contains(&slowest);
    let first = log.iter().position(of_the_slowest).unwrap();
    let last = log.iter().rposition(of_the_slowest).unwrap();
    let seen = last - first;
    let took = (log[last].at - started_at) as f64 / 1e6;
    assert!(seen >= 25, "{seen} requests");
    // What was on its way when the slowest site said its rate arrives after it.
    assert!(took >= (seen - 8) as f64 / 10.0, "{seen} requests in {took:.1} s");
}
