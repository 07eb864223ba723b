//! What lanes did, in ConfigMaps, with the rights of a worker.

use serde_json::json;

use crate::support::harness::Harness;
use crate::support::kubernetes::Kubernetes;
use crate::support::usage::counts_and_reports;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubernetes_keeps_what_lanes_did() {
    let Some(kubernetes) = Kubernetes::shared().await else { return };
    let tenant = kubernetes.tenant().await;
    let mut harness = Harness::new(|setup| setup.activities = 60).await;
    harness.kubeconfig = Some(tenant.kubeconfig());
    harness.put_changed("acme", json!({ "streams": { "activities": { "include_hidden": true } } }));
    counts_and_reports(&harness, &["--state", "kubernetes:"]).await;
}
