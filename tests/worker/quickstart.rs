//! deploy/quickstart and the files around it name what is there.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use s1_forwarder::commands;
use s1_forwarder::emulator::Setup;
use serde_json::Value;

use crate::support::harness::Harness;
use crate::support::process::{Process, program};
use crate::support::quickstart::{dashboard, monitor, pipeline};

/// The value at a dotted path.
fn at<'v>(event: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(event, |value, name| value.get(name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_and_the_monitor_ask_for_what_the_events_have() {
    let harness = Harness::new(|setup| {
        setup.activities = 300;
        setup.threats = 100;
        setup.agents = 30;
        setup.span = Duration::from_hours(6);
    })
    .await;
    harness.write("quickstart.yaml", &pipeline(&harness.server.url(), "http://127.0.0.1:1"));
    let arguments = ["preview", "quickstart.yaml", "--limit", "1000", "--requests-per-second", "1000"];
    let mut command = program(harness.root(), &arguments);
    command.env("S1_TOKEN", Setup::TOKEN);
    let exit = Process::spawn(command).exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let events: Vec<Value> = exit.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let matching = |terms: &[(String, String)]| -> Vec<&Value> {
        let matches =
            |event: &&Value| terms.iter().all(|(field, value)| at(event, field).is_some_and(|is| is == value));
        events.iter().filter(matches).collect()
    };

    let (indices, panels) = dashboard();
    assert_eq!(indices, "logs-sentinel_one.*", "the data streams of the sink");
    assert!(panels.len() >= 5);
    for panel in &panels {
        let found = matching(&panel.query);
        assert!(!found.is_empty(), "no event for {panel:?}");
        for (_, field) in &panel.aggregations {
            assert!(found.iter().any(|event| at(event, field).is_some()), "no event of {} has {field}", panel.title);
        }
    }

    let (indices, search) = monitor(0);
    assert!(indices.starts_with("logs-sentinel_one.threats-"), "{indices}");
    let filters = search["query"]["bool"]["filter"].as_array().unwrap();
    let (field, value) = filters[0]["term"].as_object().unwrap().iter().next().unwrap();
    let found = matching(&[(field.clone(), value.as_str().unwrap().to_owned())]);
    assert!(!found.is_empty(), "no event has {field}: {value}");
    let by = search["aggs"]["hosts"]["terms"]["field"].as_str().unwrap();
    assert!(found.iter().all(|event| at(event, "@timestamp").is_some()), "the monitor looks at the last hour");
    // Not all of them: a threat whose agent is gone names no host.
    assert!(found.iter().any(|event| at(event, by).is_some()), "no event has {by}");
}

/// Settings of the unit are settings of `run`, and systemd waits longer than the worker needs.
#[test]
fn the_unit_of_systemd_sets_what_there_is() {
    let unit = fs::read_to_string("deploy/systemd/s1-forwarder.service").unwrap();
    let run = commands::definition().find_subcommand("run").unwrap().clone();
    let known: BTreeSet<String> =
        run.get_arguments().filter_map(|flag| Some(flag.get_env()?.to_str()?.to_owned())).collect();
    let set: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('=')).collect();
    assert!(set.len() >= 2, "{unit}");
    for (name, _) in &set {
        assert!(known.contains(*name), "`run` has no {name}");
    }
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap().to_owned();
    assert!(value("ExecStart").ends_with("/s1-forwarder run"));
    let state = set.iter().find(|(name, _)| *name == "S1_FORWARDER_STATE").unwrap().1;
    assert!(state.starts_with(&format!("file:/var/lib/{}/", value("StateDirectory"))), "{state} is not writable");
    let stop: u64 = value("TimeoutStopSec").trim_end_matches('s').parse().unwrap();
    let shutdown = run.get_arguments().find(|flag| flag.get_id() == "shutdown_timeout").unwrap();
    let shutdown = shutdown.get_default_values()[0].to_str().unwrap().trim_end_matches('s').parse::<u64>().unwrap();
    assert!(stop > shutdown, "systemd kills after {stop} s, the worker takes up to {shutdown} s");
}

/// The compose file mounts and builds from what is in the repository.
#[test]
fn the_compose_file_names_files_that_exist() {
    let compose = fs::read_to_string("deploy/quickstart/compose.yaml").unwrap();
    for part in ["context: ../..", "dockerfile: deploy/Dockerfile", "./pipelines:/etc/s1-forwarder/pipelines:ro"] {
        assert!(compose.contains(part), "{part}");
    }
    assert!(fs::exists("deploy/Dockerfile").unwrap() && fs::exists("deploy/quickstart/pipelines").unwrap());
    // Ports of this machine only, since nothing has a password.
    let ports: Vec<_> = compose.lines().filter(|line| line.trim_start().starts_with("ports:")).collect();
    assert!(ports.len() == 3 && ports.iter().all(|line| line.contains("\"127.0.0.1:")), "{ports:?}");
}
