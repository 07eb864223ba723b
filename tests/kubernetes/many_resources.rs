//! Many resources, several workers, and one that is killed: every status is written, by the worker that runs the
//! pipeline, and the load of it is bounded.
//!
//! `S1_FORWARDER_RESOURCES` sets how many resources there are, `S1_FORWARDER_RESOURCES_WATCH` the seconds of the
//! measurement.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use kube::api::{Api, ListParams, PostParams};
use s1_forwarder::emulator::Kind;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::resources::Scene;
use crate::support::harness::setting;
use crate::support::kubernetes::Kubernetes;
use crate::support::process::{Process, until_within};

/// For the first thousand resources; as long again for each thousand more.
const PATIENCE: Duration = Duration::from_mins(5);
/// What one worker may send in a second: docs/kubernetes.md.
const PER_SECOND: f64 = 20.0;
const REFRESHES_PER_SECOND: f64 = 5.0;
/// No lane moves any more if none has moved for this long: two thirds of a lease.
const REST: Duration = Duration::from_secs(10);
/// Secrets with tokens. Each has its own place among the shards.
const TOKENS: usize = 40;

/// `status` of each resource, by name. Asked for in pages: one list of ten thousand takes the API server too long.
async fn statuses(scene: &Scene<'_>, namespace: &str) -> BTreeMap<String, Value> {
    let client = scene.kubernetes.admin().await;
    let mut statuses = BTreeMap::new();
    let mut next = String::new();
    loop {
        let path = format!("/apis/s1-forwarder.io/v1alpha1/namespaces/{namespace}/pipelines?limit=500&continue={next}");
        let list: Value = client.request(http::Request::get(path).body(Vec::new()).unwrap()).await.unwrap();
        let items = list["items"].as_array().unwrap().iter();
        statuses
            .extend(items.map(|item| (item["metadata"]["name"].as_str().unwrap().to_owned(), item["status"].clone())));
        match list["metadata"]["continue"].as_str() {
            Some(more) if !more.is_empty() => more.clone_into(&mut next),
            _ => return statuses,
        }
    }
}

fn is_ready(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Waits until all are ready, by none of these workers. Returns the workers.
async fn all_ready(scene: &Scene<'_>, namespace: &str, not_by: &[&str], patience: Duration) -> BTreeSet<String> {
    let mut last = String::new();
    let started_at = Instant::now();
    loop {
        let statuses = statuses(scene, namespace).await;
        let worker = |status: &Value| status["worker"].as_str().unwrap_or_default().to_owned();
        let waiting: Vec<_> = statuses
            .iter()
            .filter(|(_, status)| !is_ready(status) || not_by.iter().any(|name| worker(status).starts_with(name)))
            .collect();
        if waiting.is_empty() {
            return statuses.values().map(worker).collect();
        }
        if let Some((name, status)) = waiting.first() {
            last = format!("{} of {} wait, such as {name}: {status}", waiting.len(), statuses.len());
        }
        assert!(started_at.elapsed() < patience, "{last}");
        // The list of many is a load too.
        sleep(Duration::from_millis(500) * u32::try_from(statuses.len().div_ceil(1_000)).unwrap()).await;
    }
}

/// Writes of statuses so far, as the API server counts them.
async fn writes(kubernetes: &Kubernetes) -> f64 {
    let asked = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = kubernetes.admin().await.request_text(asked).await.unwrap();
    let of_status = |line: &&str| {
        line.starts_with("apiserver_request_total{")
            && line.contains("resource=\"pipelines\"")
            && line.contains("subresource=\"status\"")
    };
    text.lines().filter(of_status).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_many_resources_outlives_a_worker_and_is_a_bounded_load() {
    let Some(kubernetes) = Kubernetes::start().await else { return };
    let Some(scene) = Scene::new(&kubernetes).await else { return };
    let count = setting("S1_FORWARDER_RESOURCES", 60);
    let watched = setting("S1_FORWARDER_RESOURCES_WATCH", 10);
    let patience = PATIENCE * u32::try_from(count.div_ceil(1_000)).unwrap();
    // So many that all of them poll twenty times a second.
    let interval = format!("{}s", (count / 20).max(10));
    let namespace = scene.customer().await;
    scene.allow(&[&namespace]).await;
    for number in 0..TOKENS {
        scene.put_secret(&namespace, &format!("token-{number}"), s1_forwarder::emulator::Setup::TOKEN).await;
    }
    let api: Api<kube::api::DynamicObject> = {
        let kind = kube::api::GroupVersionKind::gvk("s1-forwarder.io", "v1alpha1", "Pipeline");
        let (resource, _) = kube::discovery::pinned_kind(&kubernetes.admin().await, &kind).await.unwrap();
        Api::namespaced_with(kubernetes.admin().await, &namespace, &resource)
    };
    let create = |number: usize| {
        let mut spec = scene.spec(json!({ "streams": { "activities": { "interval": interval } } }));
        let secret = format!("token-{}", number % TOKENS);
        spec["console"]["token"] = json!({ "secretRef": { "name": secret, "key": "token" } });
        let resource = json!({
            "apiVersion": "s1-forwarder.io/v1alpha1", "kind": "Pipeline",
            "metadata": { "name": format!("customer-{number}") }, "spec": spec,
        });
        let api = api.clone();
        async move {
            api.create(&PostParams::default(), &serde_json::from_value(resource).unwrap()).await.unwrap();
        }
    };
    stream::iter((0..count).map(create)).buffer_unordered(8).for_each(|()| async {}).await;

    let start = |name: &str| -> Process {
        scene.named_worker(name, &[&namespace], &["--state", "kubernetes:", "--lease", "15s"])
    };
    let started_at = Instant::now();
    let mut workers: BTreeMap<&str, Process> =
        ["one", "two", "three"].into_iter().map(|name| (name, start(name))).collect();
    let seen = all_ready(&scene, &namespace, &[], patience).await;
    println!("{count} resources ready after {:.1} s, by {seen:?}", started_at.elapsed().as_secs_f64());
    assert_eq!(seen.len(), 3, "each worker has some: {seen:?}");

    // Each of the pipelines brings every record.
    let arrived = async || {
        let counts = scene.harness.sink.ledger().counts();
        let owed = scene.harness.owed(Kind::Activities);
        let least = owed.iter().map(|id| counts.get(id).copied().unwrap_or_default()).min().unwrap_or_default();
        (least as usize >= count).then_some(())
    };
    until_within(patience, "every pipeline delivered everything", arrived).await;

    // Lanes move until each worker has its share, and each move is written at once.
    let owners = async || -> BTreeMap<String, Value> {
        let statuses = statuses(&scene, &namespace).await.into_iter();
        statuses.map(|(name, status)| (name, status["worker"].clone())).collect()
    };
    let rest = async || {
        let before = owners().await;
        sleep(REST).await;
        (owners().await == before).then_some(())
    };
    until_within(patience, "no lane moves", rest).await;

    let before = writes(&kubernetes).await;
    let at = Instant::now();
    sleep(Duration::from_secs(watched as u64)).await;
    let written = writes(&kubernetes).await - before;
    let took = at.elapsed().as_secs_f64();
    let most = (count as f64 / 30.0).min(REFRESHES_PER_SECOND * 3.0);
    println!("in peace: {:.1} statuses a second; at most {most:.1} are due", written / took);
    // One period more, since all began together.
    assert!(written <= most * took + count as f64, "{written} statuses in {took:.1} s");
    assert!(written <= PER_SECOND * 3.0 * took, "{written} statuses in {took:.1} s");

    let killed = Instant::now();
    workers.remove("two").unwrap().kill().await;
    let seen = all_ready(&scene, &namespace, &["two"], patience).await;
    println!("all are ready by others {:.1} s after the kill: {seen:?}", killed.elapsed().as_secs_f64());
    assert_eq!(seen.len(), 2, "{seen:?}");
    let lanes = api.list(&ListParams::default()).await.unwrap().items.len();
    assert_eq!(lanes, count);
    // A busy API server may fail, or not answer in time; a refusal is a fault.
    let is_refusal = |line: &Value| line["error"].as_str().is_some_and(|error| error.contains("API server answered 4"));
    let refused: Vec<Value> = workers.values().flat_map(|worker| worker.log()).filter(is_refusal).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    for (_, worker) in workers {
        worker.signal("TERM").await;
        assert_eq!(worker.exit().await.code, Some(0));
    }
}
