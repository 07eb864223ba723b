//! The example of docs/transform.md through the program: labels from the console, `drop`, `remap`, `redact`, tests.

use std::collections::BTreeSet;

use s1_forwarder::emulator::Kind;
use serde_json::{Value, json};

use crate::support::harness::Harness;
use crate::support::process::until;

/// As shipped, but for the console and the sink.
fn shipped(harness: &Harness) -> String {
    harness.write("pipelines/secrets/redact.key", "a key of more than 16 bytes");
    let pipeline = harness.shipped("by-site", &[]);
    let (before, rest) = pipeline.split_once("sinks:\n").unwrap();
    let (_, tests) = rest.split_once("tests:\n").unwrap();
    format!("{before}sinks: [{}]\ntests:\n{tests}", crate::support::harness::Destination::settings(&harness.sink))
}

/// How many activities of the console are of a disk scan.
fn scans(harness: &Harness) -> usize {
    let ids = harness.console().ids(Kind::Activities).into_iter();
    let record = |id| harness.console().record(Kind::Activities, id).unwrap();
    let records = ids.map(|id| serde_json::from_slice::<Value>(&record(id)).unwrap());
    records.filter(|record| (90..=92).contains(&record["activityType"].as_u64().unwrap())).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipped_example_labels_drops_and_hashes() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (600, 40)).await;
    assert!(scans(&harness) > 0);
    let pipeline = shipped(&harness).replace("since: 1d", "since: 30d");
    harness.write("pipelines/acme.yaml", &pipeline);
    let check = harness.command(&["check", "--offline", "--pipelines", "pipelines"]).await;
    assert!(check.code == Some(0) && check.stdout.contains("2 tests passed"), "{}{}", check.stdout, check.stderr);

    let done = harness.once(&[]).await;
    assert!(done.code == Some(0) && done.stdout.contains("filtered"), "{}{}", done.stdout, done.stderr);

    let mut sites = BTreeSet::new();
    let mut hashes = 0;
    for delivery in harness.sink.deliveries() {
        for line in delivery.body.lines() {
            let envelope: Value = serde_json::from_str(line).unwrap();
            let event = &envelope["record"];
            assert!(!event["event"]["action"].as_str().unwrap_or_default().ends_with("scan"), "{event:#}");
            assert_eq!(
                (&envelope["labels"]["site"], &envelope["labels"]["customer"]),
                (&event["labels"]["site"], &event["labels"]["customer"])
            );
            sites.insert(event["labels"]["site"].as_str().unwrap().to_owned());
            assert!(
                event["labels"]["severity_group"].is_string() && event["process"].get("command_line").is_none(),
                "{event:#}"
            );
            if let Some(name) = event["user"]["name"].as_str() {
                assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
                hashes += 1;
            }
        }
    }
    assert!(sites.len() > 1 && hashes > 0, "{sites:?} {hashes}");
}

/// A record in its event nearly doubles what a SIEM bills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_have_no_original_unless_the_pipeline_asks_for_it() {
    let harness = Harness::new(|setup| setup.activities = 20).await;
    for (schema, original) in [("ecs", "/event/original"), ("ocsf", "/raw_data")] {
        for (name, transform, is_kept) in [
            ("default", json!({ "schema": schema }), false),
            ("kept", json!({ "schema": schema, "keep_original": true }), true),
        ] {
            harness.put_changed(&format!("{schema}-{name}"), json!({ "transform": transform }));
            let before = harness.sink.deliveries().len();
            let done = harness.once(&[]).await;
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            let deliveries = harness.sink.deliveries().split_off(before);
            let lines = deliveries.iter().flat_map(|delivery| delivery.body.lines());
            let events: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(events.len() >= 20, "{schema} {name}: {} events", events.len());
            for event in events {
                let event = event.get("record").unwrap_or(&event);
                assert_eq!(event.pointer(original).is_some(), is_kept, "{schema} {name}: {event:#}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_and_aborts_of_programs_are_counted_and_shown() {
    let harness = Harness::new(|setup| setup.activities = 300).await;
    let remap = "if starts_with(to_string(.event.id) ?? \"\", \"1\") { abort }\n.x = to_int!(.message)";
    harness.put_changed("acme", json!({ "transform": { "schema": "ecs", "remap": remap } }));
    let mut worker = harness.worker();
    let ids: Vec<String> = harness.console().ids(Kind::Activities).iter().map(ToString::to_string).collect();
    let aborted = ids.iter().filter(|id| id.starts_with('1')).count();
    let metrics = until("some events have failed", async || {
        let metrics = worker.metrics().await;
        (metrics.sum("remap_errors_total", &[]) + metrics.sum("records_skipped_total", &[("reason", "remap")]) >= 50)
            .then_some(metrics)
    })
    .await;
    let skipped = metrics.sum("records_skipped_total", &[("reason", "remap")]);
    assert!(skipped as usize <= aborted && (aborted == 0) == (skipped == 0), "{skipped} of {aborted}");
    let lanes: Value = serde_json::from_str(&worker.get("/api/v1/lanes").await.1).unwrap();
    let lane = &lanes["lanes"][0];
    if aborted < ids.len() {
        assert!(lane["remap_errors"].as_u64().unwrap() > 0 && lane["up"] == true, "{lane:#}");
        assert!(lane["last_remap_error"]["text"].as_str().unwrap().contains("to_int"), "{lane:#}");
    }
    worker.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_that_fails_is_named_with_both_values() {
    let harness = Harness::new(|setup| setup.activities = 1).await;
    let record = json!({ "id": "1", "activityType": 27, "siteName": "S", "file": "x" });
    harness.put_changed("acme", json!({
        "transform": { "schema": "ecs", "labels": { "site": "{site.name}" }, "drop": [".labels.site == \"gone\""] },
        "tests": [
            { "name": "good", "stream": "activities", "record": record, "expect": { "labels.site": "S", "nothing": null, "tags.0": "sentinel_one" } },
            { "name": "wrong", "stream": "activities", "record": record, "expect": { "labels.site": "T" }, "absent": ["forwarded", "nowhere"] },
            { "name": "not dropped", "stream": "activities", "record": record, "dropped": true },
            { "name": "dropped", "stream": "activities", "record": { "siteName": "gone" }, "absent": ["x"] },
            { "name": "a path is not a secret", "stream": "activities", "record": { "data": { "file": "x" } }, "sink": "siem", "expect": { "labels.site": "unknown" } },
        ],
    }));
    let check = harness.command(&["check", "--offline", "--pipelines", "pipelines", "--format", "json"]).await;
    let report: Value = serde_json::from_str(&check.stdout).unwrap();
    let findings: Vec<_> = report["pipelines"][0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            (
                finding["subject"].as_str().unwrap(),
                finding["check"].as_str().unwrap(),
                finding["detail"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!((check.code, &report["ok"]), (Some(1), &json!(false)));
    assert_eq!(
        findings,
        [
            ("test good", "verified", ""),
            ("test wrong", "failed", "labels.site: expected \"T\", found \"S\"; \"forwarded\" is in the event"),
            (
                "test not dropped",
                "failed",
                "the event was not dropped: event.action is \"user-logged-in\", event.code is \"27\""
            ),
            ("test dropped", "failed", "the event was dropped"),
            ("test a path is not a secret", "verified", ""),
        ]
    );
    let table = harness.command(&["check", "--offline", "--pipelines", "pipelines"]).await;
    assert!(table.stdout.contains("1 valid; 3 of 5 tests failed"), "{}", table.stdout);
}

/// The bound on memory, which the allocator of the program counts.
#[cfg(feature = "remap")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_fills_the_memory_is_ended() {
    let harness = Harness::new(|setup| setup.activities = 1).await;
    // Texts of 64 KiB, each freed before the next one: fresh pages of memory take a busy machine longer than 100 ms.
    let doubled = "s = s + s\n".repeat(12);
    let filled = format!("s = \"aaaaaaaaaaaaaaaa\"\n{doubled}{}.x = t\n", "t = s + s\n".repeat(400));
    let (event, errors) = map_one(&harness, &filled);
    assert!(errors.contains("more than 32 MiB of memory"), "{errors}");
    assert!(event.contains("remap_failed"), "{event}");
}

/// The text of a panic may have values of the event, and each event would print one.
#[cfg(feature = "remap")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_panics_prints_its_failure_alone() {
    let harness = Harness::new(|setup| setup.activities = 1).await;
    let program = "bytes = decode_base64!(\"/w==\")\n.x = starts_with(bytes, bytes, case_sensitive: false)";
    let (event, errors) = map_one(&harness, program);
    assert!(errors.contains("a function of VRL cannot deal with its arguments"), "{errors}");
    assert!(!errors.contains("panicked") && !errors.contains("unwrap"), "{errors}");
    assert!(event.contains("remap_failed"), "{event}");
}

/// The event that `map` makes of one record with this program, and what it says on standard error.
#[cfg(feature = "remap")]
fn map_one(harness: &Harness, remap: &str) -> (String, String) {
    harness.put_changed("acme", json!({ "transform": { "schema": "ecs", "remap": remap } }));
    harness.write("records", "{\"id\":\"1\"}\n");
    let input = std::fs::File::open(harness.path("records")).unwrap();
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("s1-forwarder"));
    command.current_dir(harness.root()).args(["map", "--pipeline", "pipelines/acme.yaml", "--stream", "activities"]);
    let output = command.stdin(input).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}
