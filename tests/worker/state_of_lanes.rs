//! Secrets and certificates that this side cannot read: no request was refused, and the lane says what is missing.

use std::fs;

use serde_json::{Value, json};

use crate::support::harness::Harness;
use crate::support::process::until;
use crate::support::tls::Authority;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_cannot_be_read_is_named_and_the_lane_runs_once_it_is_there() {
    let harness = Harness::new(|setup| setup.activities = 20).await;
    let file = |name: &str| json!({ "file": harness.path(name) });
    let with_sink = |key: &str, value: Value| {
        let mut pipeline = harness.pipeline(json!({}));
        pipeline["sinks"][0][key] = value;
        pipeline
    };
    harness.put_changed("console", json!({ "console": { "token": file("late-token") } }));
    harness.put("sink", &with_sink("auth", json!({ "type": "bearer", "token": file("late-key") })));
    let certificate = json!({ "cert_file": harness.path("late.pem"), "key_file": harness.path("late.key") });
    harness.put("certificate", &with_sink("tls", certificate));
    let redact = json!([{ "path": "primaryDescription", "with": "hash", "key": file("late-hash") }]);
    harness.put_changed("redact", json!({ "transform": { "redact": redact } }));
    harness.put_changed("variable", json!({ "console": { "token": { "file": null, "env": "S1_TEST_NOT_SET" } } }));

    let mut worker = harness.worker();
    for (pipeline, missing) in [
        ("console", "late-token"),
        ("sink", "late-key"),
        ("certificate", "late.pem"),
        ("redact", "late-hash"),
        ("variable", "S1_TEST_NOT_SET"),
    ] {
        let name = format!("{pipeline}/activities/siem");
        let lane = worker.lane(&name, |lane| lane["state"] == "misconfigured").await;
        assert!(lane["error"].as_str().unwrap().contains(missing) && lane["up"] == false, "{lane}");
        let pipeline = format!("\"pipeline\":\"{pipeline}\"");
        worker.logged(&["lane is failing", &pipeline, "\"reason\":\"SecretUnreadable\"", missing]).await;
    }
    let metrics = worker.metrics().await;
    let states: Vec<(&str, f64)> = metrics.samples("lane_state").collect();
    assert_eq!(states.len(), 5, "{states:?}");
    assert!(
        states.iter().all(|(labels, value)| labels.contains("state=\"misconfigured\"") && *value == 1.0),
        "{states:?}"
    );
    assert_eq!(
        (harness.sink.requests().len(), worker.log_text().contains("refused")),
        (0, false),
        "{}",
        worker.log_text()
    );

    fs::copy(harness.path("token"), harness.path("late-token")).unwrap();
    harness.write("late-key", "good");
    harness.write("late-hash", "a key of hashes that is long enough");
    Authority::new().issue(&["forwarder"]).write(harness.root(), "late");
    for pipeline in ["console", "sink", "certificate", "redact"] {
        worker.lane(&format!("{pipeline}/activities/siem"), |lane| lane["state"] == "running").await;
    }
    until("all but the lane without a variable deliver", async || (harness.sink.requests().len() >= 4).then_some(()))
        .await;
    let metrics = worker.metrics().await;
    assert_eq!(metrics.sum("lane_state", &[("state", "running")]), 4);
    assert_eq!(metrics.sum("lane_state", &[("state", "misconfigured"), ("pipeline", "variable")]), 1);
}
