//! A worker that begins while the API server is away.

use crate::support::kubernetes::Kubernetes;
use crate::support::process::{Process, program, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_waits_for_the_api_server_at_its_start() {
    let Some(kubernetes) = Kubernetes::start().await else { return };
    let tenant = kubernetes.tenant().await;
    let directory = tempfile::tempdir().unwrap();
    let worker = || {
        let arguments =
            ["run", "--pipelines", ".", "--listen", "127.0.0.1:0", "--state", "kubernetes:", "--lease", "3s"];
        let mut command = program(directory.path(), &arguments);
        command.args(["--dead-letters", "file:dead", "--shards", "4"]).env("KUBECONFIG", tenant.kubeconfig());
        Process::spawn(command)
    };
    kubernetes.stop_api();
    let mut waits = worker();
    let mut leaves = worker();
    for worker in [&mut waits, &mut leaves] {
        worker.logged(&["WARN", "waits until the state store can be reached", "the API server"]).await;
        let (ready, why) = worker.get("/readyz").await;
        assert!(ready == 503 && why.contains("state store: ") && why.contains("the API server"), "{ready}: {why}");
        assert_eq!(worker.get("/livez").await.0, 200);
    }
    // There is nothing to release.
    leaves.signal("TERM").await;
    assert_eq!(leaves.exit().await.code, Some(0));
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let reported = waits.log().iter().filter(|line| line["level"] != "INFO").count();
    assert_eq!(reported, 1, "reported once: {}", waits.log_text());

    // When it is back, it does not know at once what the worker may do.
    kubernetes.start_api().await;
    waits.logged(&["the state store answers"]).await;
    waits.logged(&["shard acquired"]).await;
    until("it is ready", async || (waits.get("/readyz").await == (200, "ok\n".to_owned())).then_some(())).await;
    waits.signal("TERM").await;
    assert_eq!(waits.exit().await.code, Some(0));
}
