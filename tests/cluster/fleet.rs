//! Any worker shows the lanes of all workers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::harness::{ClusterHarness, PATIENCE};
use crate::support::kubernetes::Kubernetes;
use crate::support::process::{Exit, Process, program, until_within};

/// So many that none of two workers has the shards of all of them: each has half of the shards, whichever these are.
const PIPELINES: usize = 24;

async fn status(url: &str, arguments: &[&str]) -> Exit {
    let directory = tempfile::tempdir().unwrap();
    let all: Vec<&str> = ["status", "--url", url, "--all"].iter().chain(arguments).copied().collect();
    Process::spawn(program(directory.path(), &all)).exit().await
}

async fn lanes(worker: &mut Process, query: &str) -> Value {
    let (status, text) = worker.get(&format!("/api/v1/lanes?{query}")).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn texts(status: &Value, key: &str) -> Vec<String> {
    let lanes = status["lanes"].as_array().unwrap().iter();
    lanes.map(|lane| lane[key].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_worker_shows_the_lanes_of_all() {
    let Some(kubernetes) = Kubernetes::start().await else { return };
    let mut harness = ClusterHarness::new(&kubernetes, PIPELINES).await;
    let first = harness.add().await;
    let second = harness.add().await;
    harness.even().await;
    for name in [&first, &second] {
        let worker = &mut harness.worker(name).process;
        until_within(PATIENCE, "a worker shows the lanes of both", async || {
            let all = lanes(worker, "workers=all").await;
            let host = |worker: &String| worker.split('_').next().unwrap().to_owned();
            let workers: BTreeSet<String> = texts(&all, "worker").iter().map(host).collect();
            (all["matching"] == PIPELINES && workers == [first.clone(), second.clone()].into()).then_some(())
        })
        .await;
        // Without a word of other workers, it is its own lanes.
        let own = lanes(worker, "").await;
        assert!(own["matching"].as_u64().unwrap() < PIPELINES as u64 && own.get("workers").is_none(), "{own}");
        // Order and pages hold over both.
        let page = lanes(worker, "workers=all&limit=2&page=2&sort=name").await;
        assert_eq!(texts(&page, "pipeline"), ["customer-002", "customer-003"]);
        assert_eq!((&page["matching"], &page["summary"]["lanes"]), (&PIPELINES.into(), &PIPELINES.into()));
        let (code, html) = worker.get("/").await;
        assert!(
            code == 200
                && html.contains(&format!("Pipelines 1 to {PIPELINES} of {PIPELINES}"))
                && html.contains(&second),
            "{html}"
        );
        assert!(worker.get("/?workers=this").await.1.contains(&format!("of {}", own["matching"])));
    }

    // A pipeline has its page on every worker.
    let all = lanes(&mut harness.worker(&first).process, "workers=all&sort=name").await;
    let theirs =
        all["lanes"].as_array().unwrap().iter().find(|lane| lane["worker"].as_str().unwrap().starts_with(&second));
    let theirs = theirs.unwrap();
    let name = theirs["pipeline"].as_str().unwrap().to_owned();
    let (code, html) = harness.worker(&first).process.get(&format!("/pipelines/{name}")).await;
    assert!(code == 200 && html.contains(&format!("on worker {second}")), "{html}");
    assert!(html.contains("streams.activities.interval"), "the settings come from there: {html}");

    let url = harness.worker(&first).process.url().await;
    let shown = status(&url, &[]).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(
        harness.names().iter().all(|name| shown.stdout.contains(name)) && shown.stdout.contains("WORKER"),
        "{}",
        shown.stdout
    );
    let one = status(&url, &["--pipeline", &name]).await;
    assert_eq!(one.stdout.matches("/activities/").count(), 1, "{}", one.stdout);

    // A worker that does not answer is named, and the rest is shown.
    harness.worker(&second).process.signal("STOP").await;
    let shown = status(&url, &[]).await;
    assert_eq!(shown.code, Some(1), "{}", shown.stdout);
    assert!(shown.stderr.contains(&format!("no answer from {second}_")), "{}", shown.stderr);
    assert!(shown.stdout.contains("/activities/"), "{}", shown.stdout);
    let (_, html) = harness.worker(&first).process.get("/").await;
    assert!(html.contains(&format!("no answer from {second}")), "{html}");
    harness.worker(&second).process.signal("CONT").await;
    for name in [first, second] {
        harness.stop(&name).await;
    }
}
