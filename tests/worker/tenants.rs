//! Pipeline files of tenants, in a worker that runs them.

use s1_forwarder::emulator::Kind;
use serde_json::{Value, json};

use crate::support::harness::Harness;

/// A pipeline with its secrets where a tenant's may be, at the same console by another address.
fn tenant(harness: &Harness, host: &str, name: &str) -> Value {
    let directory = harness.path("secrets").join(name);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::copy(harness.path("token"), directory.join("token")).unwrap();
    let url = harness.server.url().replace("127.0.0.1", host);
    harness.pipeline(json!({ "console": { "url": url, "token": { "file": directory.join("token") } } }))
}

const FLAGS: [&str; 3] = ["--tenant-files", "--secrets-dir", "secrets/{pipeline}"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_the_worker_are_refused_when_a_name_is_resolved() {
    let harness = Harness::new(|setup| setup.activities = 50).await;
    harness.put("acme", &tenant(&harness, "127.0.0.1", "acme"));
    let mut by_name = tenant(&harness, "localhost", "globex");
    by_name["sinks"][0]["url"] = json!("https://siem.example/");
    harness.put("globex", &by_name);
    let mut worker = harness.worker_with(&FLAGS);
    worker.logged(&["acme.yaml", "127.0.0.1 is not a public address"]).await;
    let lane = worker.lane("globex/activities/siem", |lane| !lane["error"].is_null()).await;
    assert!(lane["error"].as_str().unwrap().contains("not a public address"), "{lane}");
    assert!(harness.console().request_log().is_empty(), "nothing was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_pipeline_runs_with_what_it_may_name() {
    let harness = Harness::new(|setup| setup.activities = 50).await;
    harness.put("acme", &tenant(&harness, "127.0.0.1", "acme"));
    // A neighbour's token.
    let mut thief = tenant(&harness, "127.0.0.1", "globex");
    thief["console"]["token"] = json!({ "file": harness.path("secrets/acme/token") });
    harness.put("globex", &thief);
    // The network of console and sink.
    let worker = harness.worker_with(&[&FLAGS[..], &["--allow-private-destinations=10.0.0.0/8,127.0.0.0/8"]].concat());
    harness.delivered(&[Kind::Activities]).await;
    worker.logged(&["globex.yaml", "only secrets below secrets/globex"]).await;
}
