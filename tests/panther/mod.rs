//! Panther's own rules for SentinelOne, in its own framework, over what the `panther` sink sends.

use std::collections::BTreeMap;
use std::process::Command;

use s1_forwarder::emulator::{Kind, Scope};
use serde_json::json;

use crate::support::cache::{or_skip, run};
use crate::support::double::Double;
use crate::support::harness::Harness;
use crate::support::panther::{Guard, Panther};

/// Prints what each rule that fires says.
const RUN: &str = "
import json, sys
from panther_core.enriched_event import PantherEvent
from pypanther.rules.sentinelone import SentinelOneAlertPassthrough, SentinelOneThreats
rules = [SentinelOneAlertPassthrough(), SentinelOneThreats()]
for line in open(sys.argv[1]):
    for rule in rules:
        result = rule.run(PantherEvent(json.loads(line)), {}, {})
        if result.trigger_alert:
            print(json.dumps([type(rule).__name__, result.title_output, result.dedup_output]))
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panthers_rules_fire_for_records_and_not_for_envelopes() {
    let Some(pypanther) = or_skip("pypanther", test_servers::pypanther()) else { return };
    let harness = Harness::new(|setup| setup.activities = 400).await;
    let guard = || Panther(Guard::Header("x-key", "s3cret"));
    let records = Double::start(guard()).await;
    let envelopes = Double::start(guard()).await;
    let sink = |name: &str, source: &Double<Panther>| {
        json!({
            "type": "panther", "name": name, "url": format!("{}/http/5e1f", source.url()),
            "headers": { "x-key": { "file": harness.path("key") } },
        })
    };
    harness.write("key", "s3cret");
    let mut sinks = [sink("records", &records), sink("envelopes", &envelopes)];
    sinks[0]["content"] = json!("integration");
    sinks[1]["envelope"] = json!(true);
    sinks[1]["schema"] = json!("raw");
    let mut pipeline = harness.pipeline(json!({ "transform": { "schema": "ecs" } }));
    pipeline["sinks"] = json!(sinks);
    harness.put("acme", &pipeline);
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);

    let visible = harness.console().visible_versions(Kind::Activities, &Scope::Global).len();
    let fired = |name: &str, source: &Double<Panther>| {
        let events = source.events();
        assert_eq!(events.len(), visible, "{name}");
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        harness.write(name, &lines);
        let mut python = Command::new("python3");
        let output = run(python.args(["-c", RUN, name]).env("PYTHONPATH", &pypanther), harness.root()).unwrap();
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<[String; 3]>>()
    };
    let found = fired("records", &records);
    // What the records themselves say: the rule, its sentence, and what it groups by.
    let mut expected = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for record in records.events() {
        let data = |name: &str| record["data"][name].as_str().unwrap_or_else(|| panic!("{record}")).to_owned();
        let id = record["id"].as_str().unwrap();
        let (rule, title, dedup) = match record["activityType"].as_u64() {
            Some(3608) => {
                let severity = match data("severity").as_str() {
                    "E_LOW" => "LOW",
                    "E_MEDIUM" => "MEDIUM",
                    "E_HIGH" => "HIGH",
                    "E_CRITICAL" => "CRITICAL",
                    // Python's word for a severity that the rule does not know.
                    _ => "None",
                };
                let title = format!("SentinelOne [{severity}] Alert - [{}]", data("rulename"));
                ("SentinelOneAlertPassthrough", title, format!("s1alerts:{id}"))
            }
            Some(19 | 4003 | 4108 | 4109) => {
                let (level, file, host) = (data("confidenceLevel"), data("fileDisplayName"), data("computerName"));
                let title = format!("SentinelOne - [{level}] level threat [{file}] detected on [{host}].");
                ("SentinelOneThreats", title, format!("s1threat:{id}"))
            }
            _ => continue,
        };
        *counts.entry(rule).or_default() += 1;
        expected.push([rule.to_owned(), title, dedup]);
    }
    println!("{visible} activities: {counts:?}");
    assert_eq!(found, expected);
    assert_eq!(counts.len(), 2, "both rules fire: {counts:?}");
    assert_eq!(fired("envelopes", &envelopes), Vec::<[String; 3]>::new());
}
