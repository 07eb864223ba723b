//! The steps of docs/quickstart.md with a real OpenSearch.

use std::time::Duration;

use s1_forwarder::emulator::{Kind, Scope, Setup, system_clock};
use serde_json::Value;

use crate::support::harness::Harness;
use crate::support::opensearch::OpenSearch;
use crate::support::process::{Process, program};
use crate::support::quickstart::{dashboard, monitor, pipeline};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quickstart_fills_its_dashboard_and_its_monitor() {
    let Some(node) = OpenSearch::shared().await else { return };
    let harness = Harness::new(|setup| {
        setup.activities = 300;
        setup.threats = 100;
        setup.agents = 30;
        // All within the hour that the monitor looks at.
        setup.span = Duration::from_mins(30);
    })
    .await;
    harness.write("pipelines/quickstart.yaml", &pipeline(&harness.server.url(), &node.url()));
    for arguments in [&["check"][..], &["run", "--once"]] {
        let mut command = program(harness.root(), &[arguments, &["--pipelines", "pipelines"]].concat());
        command.env("S1_TOKEN", Setup::TOKEN);
        let exit = Process::spawn(command).exit().await;
        assert_eq!(exit.code, Some(0), "{arguments:?}: {}{}", exit.stdout, exit.stderr);
    }
    for (stream, kind) in [("activities", Kind::Activities), ("threats", Kind::Threats), ("agents", Kind::Agents)] {
        let shown = harness.console().visible_versions(kind, &Scope::Global).len() as u64;
        assert_eq!(node.count(&format!("logs-sentinel_one.{stream}-default")).await, shown, "{stream}");
    }

    let (indices, panels) = dashboard();
    node.ask("POST", &format!("{indices}/_refresh"), &Value::Null).await;
    for panel in panels {
        let (status, answer) = node.ask("POST", &format!("{indices}/_search"), &panel.search()).await;
        assert_eq!(status, 200, "{panel:?}: {answer}");
        assert_eq!(answer["_shards"]["failed"], 0, "{panel:?}: {answer}");
        let found = &answer["aggregations"]["a"];
        let is_empty = found["value"] == 0 || found["buckets"].as_array().is_some_and(Vec::is_empty);
        assert!(!found.is_null() && !is_empty, "{panel:?}: {answer}");
    }

    let (indices, search) = monitor(system_clock() / 1000);
    let (status, answer) = node.ask("POST", &format!("{indices}/_search"), &search).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["hits"]["total"]["value"].as_u64().unwrap() > 0, "{answer}");
    assert!(!answer["aggregations"]["hosts"]["buckets"].as_array().unwrap().is_empty(), "{answer}");
}
