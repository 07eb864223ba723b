//! `preview` shows what would be delivered, and leaves no trace.

use s1_forwarder::emulator::{Kind, RecordVersion, Scope, print_time, system_clock};
use serde_json::{Value, json};

use crate::support::harness::Harness;

/// The ids of a kind, the newest first by `time`.
fn newest(harness: &Harness, kind: Kind, time: fn(&RecordVersion) -> i64, limit: usize) -> Vec<String> {
    let mut versions = harness.console().visible_versions(kind, &Scope::Global);
    versions.sort_by_key(|version| std::cmp::Reverse((time(version), version.id)));
    versions.into_iter().take(limit).map(|version| version.id.to_string()).collect()
}

fn events(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_records_are_printed_as_they_would_be_delivered() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (1_500, 60)).await;
    harness.put_changed("acme", json!({ "streams": { "threats": {} }, "transform": { "schema": "ecs" } }));
    let fast = ["--requests-per-second", "100"];
    let arguments = ["preview", "pipelines/acme.yaml", "--stream", "threats", "--limit", "7"];
    let shown = harness.command(&[&arguments[..], &fast].concat()).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let ids: Vec<_> =
        events(&shown.stdout).iter().map(|event| event["event"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, newest(&harness, Kind::Threats, |version| version.updated, 7));

    let both = harness.command(&[&["preview", "pipelines/acme.yaml"][..], &fast].concat()).await;
    assert_eq!(both.stdout.lines().count(), 20, "ten of each stream: {}", both.stderr);
    // More than a page, and more than there is.
    let arguments = ["preview", "pipelines/acme.yaml", "--stream", "activities", "--limit", "2000"];
    let all = harness.command(&[&arguments[..], &fast].concat()).await;
    assert_eq!(all.stdout.lines().count(), harness.console().visible_versions(Kind::Activities, &Scope::Global).len());
    assert!(!harness.path("state").exists() && harness.sink.ledger().counts().is_empty(), "no state, no sink");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_hold_and_faults_are_reported() {
    let harness = Harness::new(|setup| setup.activities = 400).await;
    let kind = |id| -> Value {
        let record: Value = serde_json::from_slice(&harness.console().record(Kind::Activities, id).unwrap()).unwrap();
        record["activityType"].clone()
    };
    let newest = newest(&harness, Kind::Activities, |version| version.created, 1)[0].parse().unwrap();
    harness.put_changed("acme", json!({ "streams": { "activities": { "exclude_types": [kind(newest)] } } }));
    let arguments = ["preview", "pipelines/acme.yaml", "--limit", "5", "--requests-per-second", "100"];
    let shown = harness.command(&arguments).await;
    assert_eq!((shown.code, shown.stdout.lines().count()), (Some(0), 5), "{}", shown.stderr);
    assert!(events(&shown.stdout).iter().all(|record| record["activityType"] != kind(newest)));

    let no_stream = harness.command(&["preview", "pipelines/acme.yaml", "--stream", "threats"]).await;
    assert_eq!(no_stream.code, Some(2), "{}", no_stream.stderr);
    harness.write("token", "wrong");
    let refused = harness.command(&arguments).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("stream activities") && !refused.stderr.contains("wrong\""), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unified_alerts_and_findings_are_shown_like_the_others() {
    let harness =
        Harness::new(|setup| (setup.unified_alerts, setup.vulnerabilities, setup.agents) = (90, 90, 30)).await;
    let site = harness.console().ids(Kind::Sites)[1];
    let put = |streams: Value| {
        let console = json!({ "sites": [site.to_string()] });
        let changes = json!({ "console": console, "streams": streams, "transform": { "schema": "ecs" } });
        harness.put_changed("acme", changes);
    };
    put(json!({ "activities": null, "unified_alerts": {}, "vulnerabilities": {} }));
    let preview = async |stream: &str| {
        let fast = ["--limit", "4", "--requests-per-second", "100"];
        let shown =
            harness.command(&[&["preview", "pipelines/acme.yaml", "--stream", stream], &fast[..]].concat()).await;
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        events(&shown.stdout)
    };
    let newest = |kind, time: fn(&RecordVersion) -> i64| {
        let mut versions = harness.console().visible_versions(kind, &Scope::Sites(vec![site]));
        versions.sort_by_key(|version| std::cmp::Reverse((time(version), version.id)));
        versions.into_iter().map(|version| version.id.to_string()).take(4).collect::<Vec<_>>()
    };
    let ids = |events: &[Value], key: fn(&Value) -> &Value| {
        events.iter().map(|event| key(event).as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    let alerts = preview("unified_alerts").await;
    let shown = ids(&alerts, |event| &event["event"]["id"]);
    let record = |id: u64| -> Value {
        serde_json::from_slice(&harness.console().record(Kind::UnifiedAlerts, id).unwrap()).unwrap()
    };
    let named = |ids: Vec<String>| -> Vec<String> {
        ids.iter().map(|id| record(id.parse().unwrap())["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(shown, named(newest(Kind::UnifiedAlerts, |version| version.updated)));
    assert!(alerts.iter().all(|event| event["event"]["dataset"] == "sentinel_one.unified_alert"), "{alerts:?}");

    // The last by its id was found before the others.
    let of_site = harness.console().visible_versions(Kind::Vulnerabilities, &Scope::Sites(vec![site]));
    let last = of_site.iter().map(|version| version.id).max().unwrap();
    let earliest = print_time(of_site.iter().map(|version| version.created).min().unwrap() - 1_000_000);
    let found = |record: &mut Value| record["detectionDate"] = json!(earliest);
    assert!(harness.console().update(Kind::Vulnerabilities, last, system_clock(), found));
    let findings = preview("vulnerabilities").await;
    // Their content follows the id.
    let shown = ids(&findings, |event| &event["event"]["id"]);
    let shown: Vec<&str> = shown.iter().filter_map(|id| id.split(':').next()).collect();
    assert_eq!(shown, newest(Kind::Vulnerabilities, |version| version.created));
    // They do not say whose they are, and a lane's events do.
    let site = site.to_string();
    let owners: Vec<_> = findings.iter().map(|event| &event["sentinel_one"]["vulnerability"]["site"]["id"]).collect();
    assert!(owners.iter().all(|id| **id == *site), "{owners:?}");
    put(json!({ "activities": null, "vulnerabilities": { "severities": ["low"] } }));
    let low = preview("vulnerabilities").await;
    let severities: Vec<&str> = low.iter().filter_map(|event| event["vulnerability"]["severity"].as_str()).collect();
    assert!(
        !low.is_empty() && severities.iter().all(|severity| severity.eq_ignore_ascii_case("low")),
        "{severities:?}"
    );
}
