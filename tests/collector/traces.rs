//! The worker's traces: a span for each batch, in a real collector.

use std::sync::Arc;

use s1_forwarder::emulator::Kind;
use serde_json::json;

use super::collector;
use crate::support::collector::CollectedSpan;
use crate::support::harness::Harness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_batch_is_a_span_with_its_outcome() {
    let Some(collector) = collector().await else { return };
    let harness = Harness::new(|setup| setup.activities = 300).await;
    // Names of their own: the collector serves all tests.
    let mut traced = harness.pipeline(json!({}));
    traced["sinks"][0]["batch"] = json!({ "events": 100 });
    harness.put("traced", &traced);
    let mut dead = harness.pipeline(json!({}));
    dead["sinks"][0]["url"] = json!("http://127.0.0.1:1/");
    harness.put("traced-dead", &dead);
    let url = collector.url("otlp");
    let exit = harness.once(&["--once-timeout", "5s", "--otlp-traces", &url]).await;
    assert_eq!(exit.code, Some(1), "the second sink is dead: {}", exit.stderr);

    let spans = async |pipeline: &'static str| {
        let collector: Arc<_> = collector.clone();
        tokio::task::spawn_blocking(move || collector.spans(pipeline)).await.unwrap()
    };
    let delivered = spans("traced").await;
    let records: i64 = delivered.iter().map(|span| span.attributes["records"].as_i64().unwrap()).sum();
    assert_eq!(records as usize, harness.owed(Kind::Activities).len(), "{delivered:#?}");
    assert!(delivered.len() >= 3, "{}", delivered.len());
    let text = |span: &CollectedSpan, key: &str| span.attributes[key].as_str().unwrap().to_owned();
    for span in &delivered {
        assert_eq!(span.name, "deliver batch");
        assert_eq!(
            ["stream", "sink", "sink.type", "outcome"].map(|key| text(span, key)),
            ["activities", "siem", "http", "delivered"]
        );
        assert!(span.attributes["bytes"].as_i64().unwrap() > 100 && span.took > 0 && span.error.is_empty(), "{span:?}");
        assert_eq!(span.resource["service.name"], "s1-forwarder");
        assert_eq!(span.resource["service.version"], env!("CARGO_PKG_VERSION"));
    }
    let failed = spans("traced-dead").await;
    assert!(
        failed.iter().all(|span| span.attributes.get("outcome").is_none_or(|word| word == "failed")),
        "{failed:#?}"
    );
}
