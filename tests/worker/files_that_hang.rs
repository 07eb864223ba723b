//! Files that are no files: each costs the pipeline that names it, and nothing else.

use std::path::Path;
use std::process::Command;

use s1_forwarder::emulator::Kind;
use serde_json::json;

use crate::support::harness::{Harness, setting};
use crate::support::process::until;

/// No process writes to it: reading it waits indefinitely.
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

/// One that is invalid, and one whose name all have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_thousands_of_invalid_files_costs_no_more_than_their_names() {
    let files = setting("S1_FORWARDER_INVALID_FILES", 2_000);
    let harness = Harness::new(|setup| setup.activities = 50).await;
    std::fs::create_dir(harness.path("many")).unwrap();
    let mut same = harness.pipeline(json!({}));
    same["name"] = json!("same");
    for index in 0..files {
        let text = if index % 2 == 0 { same.to_string() } else { "nothing: here\n".to_owned() };
        std::fs::write(harness.path(&format!("many/{index}.yaml")), text).unwrap();
    }
    harness.put_changed("acme", json!({}));
    let mut worker = harness.worker_with(&["--pipelines", "pipelines", "many"]);
    harness.delivered(&[Kind::Activities]).await;
    worker.logged(&["more files are invalid", &format!("\"more\":{}", files - 100)]).await;
    assert_eq!(worker.get("/livez").await.0, 200);
    until("all are counted", async || {
        (worker.metrics().await.sum("pipelines", &[("state", "invalid")]) == files as u64).then_some(())
    })
    .await;
    let lines: Vec<_> = worker.log_text().lines().map(str::to_owned).collect();
    assert!(lines.len() < 500 && lines.iter().all(|line| line.len() < 2_000), "{} lines", lines.len());
    let pages = worker.get("/api/v1/lanes").await.1.len() + worker.get("/").await.1.len();
    assert!(pages < files * 2_000, "{pages} bytes");
    assert!(worker.peak_rss() < (200 << 20) + 4096 * files as u64, "{}", worker.peak_rss());
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
}
