//! What the cluster acknowledges and does not keep where it belongs.

use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::Transient;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::{Outcome, Sink, WarningReason};
use serde_json::{Value, json};

use super::{events, with_template};
use crate::support::batches::{context, sink_in};
use crate::support::opensearch::OpenSearch;

const STREAM: &str = "logs-sentinel_one.kept-test";

/// The reasons and texts of the warnings about three documents.
async fn warnings(node: &OpenSearch, keys: Value, ids: [&str; 3]) -> Vec<(WarningReason, String)> {
    let mut all = json!({ "type": "elasticsearch", "url": node.url() });
    all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    match outcome(&*sink_in(all, &context(Stream::Activities)), &ids).await {
        Outcome::Delivered => Vec::new(),
        Outcome::DeliveredWithWarnings(warnings) => {
            warnings.into_iter().map(|warning| (warning.reason, warning.text)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// The outcome of sending these documents. A kept connection may belong to a test that has ended.
async fn outcome(sink: &dyn Sink, ids: &[&str]) -> Outcome {
    loop {
        match sink.send(&events(ids)).await.outcome {
            Outcome::Failed(Failure { kind: Transient, .. }) => {}
            outcome => return outcome,
        }
    }
}

async fn did(node: &OpenSearch, method: &str, path: &str, body: Value) {
    let (status, answer) = node.ask(method, path, &body).await;
    assert_eq!(status, 200, "{path}: {answer}");
}

#[tokio::test]
async fn documents_that_a_pipeline_drops_or_moves_are_reported() {
    let Some(node) = with_template().await else { return };
    let moves = json!({ "set": { "field": "_index", "value": "kept-elsewhere" } });
    for (name, processor) in [("kept-drops", json!({ "drop": {} })), ("kept-moves", moves)] {
        did(&node, "PUT", &format!("_ingest/pipeline/{name}"), json!({ "processors": [processor] })).await;
    }
    let with = |pipeline: &str| json!({ "data_stream": STREAM, "ingest_pipeline": pipeline });
    assert_eq!(warnings(&node, json!({ "data_stream": STREAM }), ["1", "2", "3"]).await, []);
    let dropped = warnings(&node, with("kept-drops"), ["4", "5", "6"]).await;
    assert!(matches!(&dropped[..], [(WarningReason::Noop, text)] if text.contains("drops them")), "{dropped:?}");
    let moved = warnings(&node, with("kept-moves"), ["7", "8", "9"]).await;
    assert!(matches!(&moved[..], [(WarningReason::Rerouted, text)] if text.contains("`kept-elsewhere`")), "{moved:?}");
    assert_eq!((node.count(STREAM).await, node.count("kept-elsewhere").await), (3, 3));
    did(&node, "POST", &format!("{STREAM}/_rollover"), Value::Null).await;
    assert_eq!(warnings(&node, json!({ "data_stream": STREAM }), ["10", "11", "12"]).await, []);
}

/// An alias names its indices, also one that it has since the last request.
#[tokio::test]
async fn documents_in_the_indices_of_an_alias_are_where_they_belong() {
    let Some(node) = with_template().await else { return };
    let alias = json!({ "aliases": { "kept-alias": { "is_write_index": true } } });
    did(&node, "PUT", "kept-behind-000001", alias).await;
    let sink = sink_in(
        json!({ "type": "elasticsearch", "url": node.url(), "index": "kept-alias" }),
        &context(Stream::Activities),
    );
    assert_eq!(outcome(&*sink, &["1"]).await, Outcome::Delivered);
    did(&node, "POST", "kept-alias/_rollover", Value::Null).await;
    assert_eq!(outcome(&*sink, &["2"]).await, Outcome::Delivered);
    assert_eq!((node.count("kept-behind-000001").await, node.count("kept-behind-000002").await), (1, 1));
}
