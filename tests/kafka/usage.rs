//! What lanes did, in a topic.

use serde_json::json;

use crate::support::harness::Harness;
use crate::support::kafka::Broker;
use crate::support::usage::counts_and_reports;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_topic_keeps_what_lanes_did() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else {
        return;
    };
    let harness = Harness::new(|setup| setup.activities = 60).await;
    harness.put_changed("acme", json!({ "streams": { "activities": { "include_hidden": true } } }));
    let topic = format!("kafka://{}/usage-{:08x}", broker.address(), fastrand::u32(..));
    counts_and_reports(&harness, &["--state", &topic]).await;
}
