//! What workers agree on before they share anything, and what they tell of it.

use crate::support::kubernetes::{Kubernetes, Tenant};
use crate::support::process::{Process, program, until};

fn worker(directory: &std::path::Path, tenant: &Tenant<'_>, flags: &[&str]) -> Process {
    let fixed =
        ["run", "--pipelines", ".", "--listen", "127.0.0.1:0", "--state", "kubernetes:", "--dead-letters", "file:dead"];
    let mut command = program(directory, &[&fixed, flags].concat());
    command.env("KUBECONFIG", tenant.kubeconfig()).env("HOSTNAME", "worker");
    Process::spawn(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_shards_is_refused_with_the_way_to_change_it() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let tenant = kubernetes.tenant().await;
    let directory = tempfile::tempdir().unwrap();
    let mut first = worker(directory.path(), &tenant, &["--shards", "8"]);
    first.logged(&["shard acquired"]).await;
    let second = worker(directory.path(), &tenant, &["--shards", "16"]).exit().await;
    assert_eq!(second.code, Some(1));
    for words in ["8 shards, not 16", "--shards 8", "stop all workers", "ConfigMap s1-forwarder-settings"] {
        assert!(second.stderr.contains(words), "{}", second.stderr);
    }
    let (ready, _) = first.get("/readyz").await;
    assert_eq!(ready, 200);
    // Two installations in one namespace do not see each other.
    let mut other = worker(directory.path(), &tenant, &["--shards", "4", "--instance", "other"]);
    other.logged(&["shard acquired"]).await;
    let metrics = other.metrics().await;
    assert!(metrics.sum("shards_held", &[]) <= 4);
    assert!(metrics.0.contains("s1_forwarder_lease_losses_total 0"), "{}", metrics.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_worker_reports_who_holds_what() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let tenant = kubernetes.tenant().await;
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--shards", "5", "--lease", "2s"];
    let [mut first, mut second] = [(); 2].map(|()| worker(directory.path(), &tenant, &flags));
    let held = async |process: &mut Process| process.metrics().await.sum("shards_held", &[]);
    until("the shards are shared", async || {
        let mut both = [held(&mut first).await, held(&mut second).await];
        both.sort_unstable();
        (both == [2, 3]).then_some(())
    })
    .await;
    for process in [&mut first, &mut second] {
        until("it has renewed its leases", async || {
            (process.metrics().await.sum("lease_renewals_total", &[("result", "ok")]) > 0).then_some(())
        })
        .await;
        let metrics = process.metrics().await;
        assert_eq!(metrics.sum("shards", &[]), 5);
        assert!(
            metrics.sum("shard_handover_duration_seconds_count", &[("direction", "acquire")]) >= 2,
            "{}",
            metrics.0
        );
        assert_eq!(metrics.sum("checkpoint_conflicts_total", &[]), 0);
    }

    // The table, the page and the JSON of either show all shards, each with one of the two.
    let url = first.url().await;
    until("the first one has seen what the second one holds", async || {
        let status = Process::spawn(program(directory.path(), &["status", "--url", &url])).exit().await;
        assert_eq!(status.code, Some(0), "{}", status.stderr);
        let rows: Vec<&str> = status.stdout.lines().filter(|row| row.trim_start().starts_with("worker_")).collect();
        let json: serde_json::Value = serde_json::from_str(&first.get("/api/v1/lanes").await.1).unwrap();
        let workers = json["cluster"]["workers"].as_object().unwrap().clone();
        let mut all: Vec<u64> = workers
            .values()
            .flat_map(|shards| shards.as_array().unwrap())
            .map(|shard| shard.as_u64().unwrap())
            .collect();
        all.sort_unstable();
        let page = first.get("/").await.1;
        let named = rows.len() == 2
            && workers.keys().all(|name| page.contains(name.as_str()) && status.stdout.contains(name.as_str()));
        (named && all == [0, 1, 2, 3, 4] && status.stdout.contains("(this one)")).then_some(())
    })
    .await;

    // Who goes hands over, and the other has all.
    second.signal("TERM").await;
    assert_eq!(second.exit().await.code, Some(0));
    until("the other one has all", async || (held(&mut first).await == 5).then_some(())).await;
}
