//! Unified alerts, from the console's GraphQL to a receiver.

use std::collections::{BTreeMap, BTreeSet};

use s1_forwarder::emulator::{Console, Fault, Faults, Kind, Quirks, Scope, Setup, Token, system_clock};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::harness::Harness;
use crate::support::syslog::{Behaviour, SyslogReceiver};

const PATH: &str = "/web/api/v2.1/unifiedalerts/graphql";

/// The identity of each alert as the console has it now, computed without the program's code.
fn owed(harness: &Harness, scope: &Scope) -> BTreeSet<String> {
    let host = harness.server.address().to_string();
    let versions = harness.console().visible_versions(Kind::UnifiedAlerts, scope);
    let identity = |id: u64| {
        let alert = record(harness.console(), id);
        let text = |key: &str| alert[key].as_str().unwrap_or_default().to_owned();
        let version = match text("updatedAt") {
            none if none.is_empty() => format!("{} {}", text("status"), text("analystVerdict")),
            updated => updated,
        };
        let digest = Sha256::digest(format!("{host}\nunified_alerts\n{}\n{version}", text("id")));
        digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    };
    versions.iter().map(|version| identity(version.id)).collect()
}

fn record(console: &Console, id: u64) -> Value {
    serde_json::from_slice(&console.record(Kind::UnifiedAlerts, id).unwrap()).unwrap()
}

/// How often each identity arrived from a pipeline.
fn arrived(harness: &Harness, pipeline: &str) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for event in events(harness, pipeline) {
        *counts.entry(event["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

fn events(harness: &Harness, pipeline: &str) -> Vec<Value> {
    let seen = harness.sink.requests();
    let lines = seen.iter().flat_map(|request| request.body.lines().map(str::to_owned).collect::<Vec<_>>());
    let events = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    events.filter(|event| event["pipeline"] == pipeline).collect()
}

fn asked(harness: &Harness) -> usize {
    harness.console().request_log().iter().filter(|request| request.path == PATH).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_alert_arrives_once_in_its_scope_and_again_when_it_changes() {
    let harness = Harness::new(|setup| (setup.unified_alerts, setup.agents) = (1_200, 40)).await;
    let [account, other] = harness.console().ids(Kind::Accounts)[..] else { panic!("two accounts") };
    let sites = harness.console().ids(Kind::Sites);
    let streams = json!({ "activities": null, "unified_alerts": { "since": "30d" } });
    for (name, scope) in [
        ("all", json!({})),
        ("account", json!({ "accounts": [account.to_string()] })),
        ("site", json!({ "accounts": [account.to_string(), other.to_string()], "sites": [sites[1].to_string()] })),
    ] {
        harness.put_changed(name, json!({ "console": scope, "streams": streams }));
    }
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let owed_in = |scope: &Scope| owed(&harness, scope);
    let scopes =
        [("all", Scope::Global), ("account", Scope::Accounts(vec![account])), ("site", Scope::Sites(vec![sites[1]]))];
    for (name, scope) in &scopes {
        let arrived = arrived(&harness, name);
        assert!(arrived.values().all(|count| *count == 1), "{name}");
        assert_eq!(arrived.into_keys().collect::<BTreeSet<_>>(), owed_in(scope), "{name}");
    }
    let undated = events(&harness, "all").iter().filter(|event| event["record"]["updatedAt"].is_null()).count();
    assert!(undated > 5, "alerts that were never updated come by their detection: {undated}");

    // What changes, appears or appears late comes with the next run, and nothing else does.
    let before = owed_in(&Scope::Global);
    let now = system_clock();
    for id in harness.console().ids(Kind::UnifiedAlerts).into_iter().step_by(100) {
        assert!(harness.console().change_randomly(Kind::UnifiedAlerts, id, now));
    }
    harness.console().generate(Kind::UnifiedAlerts, now);
    // Hours late: the first pass never sees it.
    harness.console().generate(Kind::UnifiedAlerts, now - 3 * 3_600 * 1_000_000);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let arrived = arrived(&harness, "all");
    assert!(arrived.values().all(|count| *count == 1));
    let after = owed_in(&Scope::Global);
    assert_eq!(after.difference(&before).count(), 14);
    assert_eq!(arrived.into_keys().collect::<BTreeSet<_>>(), before.union(&after).cloned().collect());
}

/// Another sink of the pipeline gets the changes too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_consoles_own_lines_say_of_each_alert_once_that_it_is_new() {
    let harness = Harness::new(|setup| (setup.unified_alerts, setup.agents) = (200, 40)).await;
    let receiver = SyslogReceiver::start(Behaviour::Reads).await;
    let mut pipeline =
        harness.pipeline(json!({ "streams": { "activities": null, "unified_alerts": { "since": "60d" } } }));
    let sinks = pipeline["sinks"].as_array_mut().unwrap();
    sinks.push(json!({
        "type": "syslog", "address": format!("tcp://{}", receiver.address()), "content": "integration",
        "payload": "cef2",
    }));
    harness.put("acme", &pipeline);
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let id = |line: &str| line.split("|16000|alertId=").nth(1).unwrap().split('|').next().unwrap().to_owned();
    let alerts = || receiver.messages().iter().map(|line| id(line)).collect::<Vec<_>>();
    let distinct = || alerts().into_iter().collect::<BTreeSet<_>>().len();
    assert_eq!((alerts().len(), distinct()), (200, 200));

    let now = system_clock();
    for id in harness.console().ids(Kind::UnifiedAlerts).into_iter().step_by(10) {
        assert!(harness.console().change_randomly(Kind::UnifiedAlerts, id, now));
    }
    harness.console().generate(Kind::UnifiedAlerts, now);
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    assert_eq!((alerts().len(), distinct()), (201, 201));
    assert_eq!(arrived(&harness, "acme").len(), 200 + 20 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_is_asked_for_what_its_release_knows() {
    let streams = json!({ "streams": { "activities": null, "unified_alerts": { "since": "30d" } } });
    let newest = Harness::new(|setup| setup.unified_alerts = 40).await;
    let lacking = Harness::new(|setup| setup.unified_alerts = 40).await;
    let lack = ["UnifiedAlert.labels", "DetectionAsset.primary", "AiInvestigation.purpleAiStatus"].map(str::to_owned);
    lacking.console().set_quirks(Quirks { missing_alert_fields: lack.into(), ..Quirks::default() });
    let older = Harness::new(|setup| (setup.unified_alerts, setup.older) = (40, true)).await;
    let mut requests = Vec::new();
    for harness in [&newest, &lacking, &older] {
        harness.put_changed("acme", streams.clone());
        let exit = harness.once(&[]).await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert_eq!(arrived(harness, "acme").into_keys().collect::<BTreeSet<_>>(), owed(harness, &Scope::Global));
        requests.push(asked(harness));
    }
    assert_eq!((requests[1], requests[2]), (requests[0] + 1, requests[0] + 1), "what is unknown is asked for once");
    let one = |harness: &Harness| events(harness, "acme")[0]["record"].clone();
    let full = one(&newest);
    let part = one(&lacking);
    let core = one(&older);
    assert!(
        full["labels"].is_array() && full["aiInvestigation"].is_object() && full["assets"][0]["primary"].is_boolean()
    );
    assert!(part.get("labels").is_none() && part.get("aiInvestigation").is_none() && part["sloDetails"].is_object());
    assert!(part["assets"][0]["primary"].is_boolean() && part["detectionTime"]["assets"][0].get("primary").is_none());
    assert!(core.get("sloDetails").is_none() && core["assets"][0].get("tags").is_none() && core["process"].is_object());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_inside_good_answers_lose_nothing() {
    let harness = Harness::new(|setup| setup.unified_alerts = 60).await;
    harness.put_changed("acme", json!({ "streams": { "activities": null, "unified_alerts": { "since": "30d" } } }));
    // The first fails outright; then a field of one alert cannot be read, however often it is asked for.
    let mut faults = Faults::default().next_times(2, Fault::ErrorsOnly).with(Fault::ErrorsWithData, 1.0);
    faults.max_consecutive = u32::MAX;
    harness.console().set_faults(faults);
    harness.console().set_quirks(Quirks { null_edges: true, ..Quirks::default() });
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert_eq!(arrived(&harness, "acme").into_keys().collect::<BTreeSet<_>>(), owed(&harness, &Scope::Global));
    assert!(exit.stderr.contains("a page lacks a field that the console cannot read"), "{}", exit.stderr);
}

/// One that does not fit is known by its id and times alone; both passes meet it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_that_are_too_large_are_stepped_over_and_the_rest_arrives_once() {
    const SIZE: usize = 6 << 20;
    let harness = Harness::new(|setup| setup.unified_alerts = 40).await;
    let start = system_clock() - 3_600_000_000;
    let mut large = 0;
    for (place, what) in "L..LL.L..".chars().enumerate() {
        let at = start + place as i64 * 1000;
        match what {
            'L' => (large, _) = (large + 1, harness.console().generate_oversized(Kind::UnifiedAlerts, at, SIZE)),
            _ => _ = harness.console().generate(Kind::UnifiedAlerts, at),
        }
    }
    // The last of its list: no page follows.
    harness.console().generate_oversized(Kind::UnifiedAlerts, system_clock() - 2_000_000, SIZE);
    large += 1;
    harness.put_changed("acme", json!({ "streams": { "activities": null, "unified_alerts": { "since": "30d" } } }));
    let budget = ["--memory-budget", "16MiB"];
    for _ in 0..2 {
        let exit = harness.once(&budget).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        let owed = owed(&harness, &Scope::Global);
        let arrived = arrived(&harness, "acme");
        assert_eq!(arrived.len(), owed.len() - large);
        assert!(arrived.iter().all(|(id, count)| *count == 1 && owed.contains(id)), "something came twice");
        let dead_letters = harness.command(&["dead-letters", "list", "--format", "json"]).await.stdout;
        let dead_letters: Vec<Value> = dead_letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(dead_letters.len(), large);
        for letter in &dead_letters {
            assert!(letter["truncated"] == true && letter["status"] == "too_large", "{letter}");
            let id = letter["identity"].as_str().unwrap();
            assert!(owed.contains(id) && !arrived.contains_key(id), "{id} is the identity that it would have had");
            let kept = ["event", "event_text"].iter().find_map(|key| letter[key].as_str()).unwrap();
            assert!((60 << 10..=65 << 10).contains(&kept.len()) && kept.starts_with('{'), "{} bytes", kept.len());
        }
    }
    let exit = harness.once(&["--memory-budget", "512MiB", "--state", "file:other"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert_eq!(arrived(&harness, "acme").into_keys().collect::<BTreeSet<_>>(), owed(&harness, &Scope::Global));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_without_them_is_reported_once_and_its_other_streams_go_on() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    let missing = vec![Kind::UnifiedAlerts, Kind::Vulnerabilities];
    harness.console().set_faults(Faults { missing, ..Faults::default() });
    harness
        .put_changed("acme", json!({ "streams": { "unified_alerts": {}, "vulnerabilities": { "interval": "1s" } } }));
    let mut worker = harness.worker();
    for stream in ["unified_alerts", "vulnerabilities"] {
        worker.logged(&[stream, "404"]).await;
    }
    harness.delivered(&[Kind::Activities]).await;
    worker.lane("acme/activities/siem", |lane| lane["state"] == "running").await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    for stream in ["unified_alerts", "vulnerabilities"] {
        let is_report = |line: &&str| line.contains(stream) && line.contains("\"lane is failing\"");
        let log = worker.log_text();
        let reports: Vec<&str> = log.lines().filter(is_report).collect();
        assert!(reports.len() == 1 && reports[0].contains("404 Not Found"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_reports_who_may_read_them() {
    let harness = Harness::new(|setup| (setup.unified_alerts, setup.vulnerabilities) = (5, 5)).await;
    harness.put_changed("acme", json!({ "streams": { "unified_alerts": {}, "vulnerabilities": {} } }));
    let check = ["check", "--pipelines", "pipelines"];
    let exit = harness.command(&check).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    harness.console().set_token(Token::new(Setup::TOKEN).without(Kind::UnifiedAlerts).without(Kind::Vulnerabilities));
    let exit = harness.command(&check).await;
    assert_eq!(exit.code, Some(1));
    for stream in ["stream unified_alerts", "stream vulnerabilities"] {
        let row = exit.stdout.lines().find(|row| row.contains(stream)).unwrap();
        assert!(row.contains("403"), "{}", exit.stdout);
    }
}
