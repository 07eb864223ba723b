//! What workers agree on before they share anything.

use super::process::{Process, program};
use crate::support::kubernetes::{Kubernetes, Tenant};

fn worker(directory: &std::path::Path, tenant: &Tenant<'_>, flags: &[&str]) -> Process {
    let fixed =
        ["run", "--pipelines", ".", "--listen", "127.0.0.1:0", "--state", "kubernetes:", "--dead-letters", "file:dead"];
    let mut command = program(directory, &[&fixed, flags].concat());
    command.env("KUBECONFIG", tenant.kubeconfig());
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
