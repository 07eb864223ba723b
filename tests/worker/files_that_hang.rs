//! Files that are no files: each costs the pipeline that names it, and nothing else.

use std::path::Path;
use std::process::Command;

use s1_forwarder::emulator::Kind;
use serde_json::json;

use crate::support::harness::Harness;

/// Nobody writes to it: reading it waits for ever.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipes_and_devices_instead_of_files_stop_their_own_pipeline_only() {
    let harness = Harness::new(|setup| setup.activities = 50).await;
    pipe(&harness.path("pipe"));
    pipe(&harness.path("pipelines/pipe.yaml"));
    for (name, console) in [
        ("authority-is-a-pipe", json!({ "tls": { "ca_file": harness.path("pipe") } })),
        ("authority-is-endless", json!({ "tls": { "ca_file": "/dev/zero" } })),
        ("token-is-a-pipe", json!({ "token": { "file": harness.path("pipe") } })),
        ("token-is-endless", json!({ "token": { "file": "/dev/zero" } })),
    ] {
        harness.put_changed(name, json!({ "console": console }));
    }
    harness.put_changed("acme", json!({}));
    let mut worker = harness.worker();
    harness.delivered(&[Kind::Activities]).await;
    assert_eq!(worker.get("/livez").await.0, 200);
    for name in ["authority-is-a-pipe", "authority-is-endless", "token-is-a-pipe", "token-is-endless"] {
        let lane = worker.lane(&format!("{name}/activities/siem"), |lane| !lane["error"].is_null()).await;
        assert!(lane["error"].as_str().unwrap().contains("not a regular file"), "{lane}");
    }
    worker.logged(&["pipe.yaml", "not a regular file"]).await;
    assert!(worker.peak_rss() < 300 << 20, "{}", worker.peak_rss());
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
}
