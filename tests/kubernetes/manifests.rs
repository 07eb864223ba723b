//! The plain manifests, applied as the documentation says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use s1_forwarder::emulator::{Kind, Setup};
use serde_json::{Value, json};

use super::container::Container;
use crate::support::harness::Harness;
use crate::support::kubernetes::{Kubernetes, documents};
use crate::support::process::{Process, until};
use crate::support::splunk_hec::{Collector, Hec};

/// Applies manifests as `kubectl apply` does: the kinds of all are looked up before the first one is created.
async fn apply(kubernetes: &Kubernetes, manifests: &[String]) -> Vec<Value> {
    for manifest in manifests {
        kubernetes.kind_of(manifest).await.unwrap_or_else(|error| panic!("no such kind: {error}\n{manifest}"));
    }
    let mut objects = Vec::new();
    for manifest in manifests {
        let object = kubernetes.apply(manifest, "").await;
        objects.push(object.unwrap_or_else(|error| panic!("{error}\n{manifest}")));
    }
    objects
}

/// The documents of `kubectl apply -f DIRECTORY`: files by name, documents in order.
fn manifests_in(directory: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    texts.flat_map(|text| documents(&text).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plain_manifests_and_one_edited_resource_deliver_from_a_fresh_api_server() {
    let Some(kubernetes) = Kubernetes::start().await else { return };
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let objects = apply(&kubernetes, &manifests_in(&deploy.join("kubernetes"))).await;
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let namespace = deployment["metadata"]["namespace"].as_str().unwrap();
    let account = kubernetes.account(namespace).await;
    let harness = Harness::new(|setup| setup.activities = 20).await;
    let container = Container::of(deployment);
    let arguments: Vec<&str> = container.arguments.iter().map(String::as_str).collect();
    let mut command = container.program(harness.root(), &account.kubeconfig(), &arguments);
    // The console and the sink are on this machine.
    command.env("S1_FORWARDER_ALLOW_PRIVATE_DESTINATIONS", "true");
    let mut worker = Process::spawn(command);
    worker.url().await;

    // The customer's Secrets, and the example with other addresses.
    let collector = Collector::start(Hec::default()).await;
    let secrets: Api<Secret> = Api::namespaced(kubernetes.admin().await, namespace);
    for (name, token) in [("console", Setup::TOKEN), ("splunk", "t0ken")] {
        let secret = json!({ "metadata": { "name": name }, "stringData": { "token": token } });
        secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    }
    let mut example = fs::read_to_string(deploy.join("examples/pipeline.yaml")).unwrap();
    for (from, to) in [
        ("https://usea1-acme.sentinelone.net", harness.server.url().as_str()),
        ("https://splunk.example:8088", collector.url().as_str()),
        ("since: 1d", "since: 30d"),
    ] {
        assert!(example.contains(from), "{from}: {example}");
        example = example.replace(from, to);
    }
    until("the definition is served", async || kubernetes.kind_of(&example).await.ok()).await;
    apply(&kubernetes, &[example]).await;
    until("all activities have arrived", async || {
        let events = collector.events();
        let arrived: BTreeSet<&str> = events.iter().filter_map(|event| event["fields"]["event_id"].as_str()).collect();
        harness.owed(Kind::Activities).iter().all(|id| arrived.contains(id.as_str())).then_some(())
    })
    .await;
    let lane = format!("{namespace}.acme/activities/siem");
    worker.lane(&lane, |lane| lane["last_success"].is_string()).await;
    let log = worker.log_text();
    assert!(!log.contains("orbidden"), "a right is missing: {log}");
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
}
