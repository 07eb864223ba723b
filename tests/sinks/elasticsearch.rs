//! `elasticsearch` against a double: what Elasticsearch has in addition to OpenSearch, and faults that no cluster has
//! on demand.

use s1_forwarder::failure::Failure;
use s1_forwarder::sink::{Batch, Outcome, Probe};
use serde_json::{Value, json};

use crate::support::batches::{batch, push, sink};
use crate::support::deliver::deliver;
use crate::support::double::{Double, FaultRule, Reply};
use crate::support::elastic::Elastic;

fn keys(elastic: &Double<Elastic>, more: Value) -> Value {
    let mut keys = json!({ "type": "elasticsearch", "url": elastic.url(), "api_key": "aWQ6a2V5" });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

fn count(elastic: &Double<Elastic>) -> usize {
    elastic.contract(|elastic| elastic.documents.len())
}

#[tokio::test]
async fn documents_that_are_busy_come_again_and_the_others_do_not() {
    let elastic = Double::start(Elastic { busy: 2, ..Elastic::new() }).await;
    elastic.script([FaultRule::Answer(Reply::new(429, "")), FaultRule::AcceptAndReset, FaultRule::AcceptAndReset]);
    let sent = batch(0..20);
    let delivered = deliver(sink(keys(&elastic, json!({}))), &sent).await;
    assert_eq!((delivered.result, delivered.delivered, count(&elastic)), (Ok(()), 20, 20));
    let document = elastic.contract(|elastic| elastic.documents.values().next().unwrap().clone());
    assert_eq!(
        document["data_stream"],
        json!({ "type": "logs", "dataset": "sentinel_one.activities", "namespace": "default" })
    );
}

#[tokio::test]
async fn a_bad_document_among_many_is_a_dead_letter_after_one_request() {
    let elastic = Double::start(Elastic::new()).await;
    let mut sent = batch(0..20);
    push(&mut sent, "bad", "poison");
    let delivered = deliver(sink(keys(&elastic, json!({}))), &sent).await;
    assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters_counted), (Ok(()), 20, 1));
    assert_eq!(delivered.dead_letters[0]["record_id"], "bad");
    let reason = delivered.dead_letters[0]["reason"].as_str().unwrap();
    assert_eq!(reason, "400 document_parsing_exception: because");
    assert_eq!(elastic.deliveries().len(), 1);
}

#[tokio::test]
async fn blocked_documents_stop_the_lane_and_are_no_dead_letters() {
    for poison in [(403, "cluster_block_exception"), (403, "security_exception"), (404, "index_not_found_exception")] {
        let elastic = Double::start(Elastic { poison, ..Elastic::new() }).await;
        let mut sent = batch(0..20);
        push(&mut sent, "blocked", "poison");
        let delivered = deliver(sink(keys(&elastic, json!({}))), &sent).await;
        assert!(
            matches!(&delivered.result, Err(Failure::Misconfigured(reason)) if reason.contains(poison.1)),
            "{delivered:?}"
        );
        assert_eq!((delivered.delivered, delivered.dead_letters_counted, count(&elastic)), (20, 0, 20));
    }
}

#[tokio::test]
async fn documents_in_the_failure_store_are_reported() {
    let elastic = Double::start(Elastic { failure_store: true, ..Elastic::new() }).await;
    let mut sent = batch(0..2);
    push(&mut sent, "bad", "poison");
    let attempt = sink(keys(&elastic, json!({}))).send(&sent).await;
    assert!(
        matches!(&attempt.outcome, Outcome::DeliveredWithWarning(warning) if warning.contains("failure store")),
        "{attempt:?}"
    );
    assert_eq!((count(&elastic), elastic.contract(|elastic| elastic.failures.len())), (2, 1));
}

#[tokio::test]
async fn what_a_cluster_finds_too_large_is_split_and_arrives() {
    let elastic = Double::start(Elastic { content_length: 20_000, ..Elastic::new() }).await;
    let mut sent = Batch::new(s1_forwarder::record::Stream::Activities);
    (0..50).for_each(|id| push(&mut sent, &id.to_string(), &"x".repeat(1_000)));
    push(&mut sent, "large", &"x".repeat(30_000));
    let delivered = deliver(sink(keys(&elastic, json!({}))), &sent).await;
    assert_eq!(
        (delivered.result, delivered.delivered, delivered.dead_letters_counted, count(&elastic)),
        (Ok(()), 50, 1, 50)
    );
}

#[tokio::test]
async fn an_ingest_pipeline_is_named_in_the_address() {
    let elastic = Double::start(Elastic::new()).await;
    sink(keys(&elastic, json!({ "ingest_pipeline": "_none" }))).send(&batch(0..1)).await;
    assert!(elastic.deliveries()[0].query.ends_with("&pipeline=_none"));
}

#[tokio::test]
async fn a_probe_reports_what_is_wrong() {
    let with = |change: fn(&mut Elastic)| {
        let mut elastic = Elastic::new();
        change(&mut elastic);
        elastic
    };
    for (elastic, more, expected, part) in [
        (
            Elastic::new(),
            json!({}),
            "Verified",
            "and may write; data stream `logs-sentinel_one.activities-default` exists",
        ),
        (Elastic::new(), json!({ "api_key": "b3RoZXI=" }), "Failed", "credentials are refused"),
        (with(|e| e.tells_privileges = false), json!({}), "Verified", "accepts the credentials; data stream"),
        (with(|e| e.privileges.clear()), json!({}), "Failed", "lack the privilege `create_doc`"),
        (with(|e| e.stream_exists = false), json!({}), "Verified", "creates data stream"),
        (
            with(|e| {
                e.stream_exists = false;
                e.template = None;
            }),
            json!({}),
            "Failed",
            "neither data stream",
        ),
        (
            with(|e| {
                e.stream_exists = false;
                e.template = Some(("plain", "logs-*", false));
            }),
            json!({}),
            "Failed",
            "`plain` would create",
        ),
        (
            with(|e| {
                e.stream_exists = false;
                e.privileges.remove("auto_configure");
            }),
            json!({}),
            "Failed",
            "lack `auto_configure`",
        ),
        (with(|e| e.may_monitor = false), json!({}), "Verified", "and may write"),
        (
            with(|e| {
                e.may_monitor = false;
                e.tells_privileges = false;
            }),
            json!({}),
            "Reached",
            "which may not read",
        ),
    ] {
        let elastic = Double::start(elastic).await;
        let found = format!("{:?}", sink(keys(&elastic, more)).probe().await);
        assert!(found.starts_with(expected) && found.contains(part), "{expected} {part}: {found}");
        assert!(elastic.deliveries().is_empty(), "a probe delivers nothing");
    }
    let nowhere = sink(json!({ "type": "elasticsearch", "url": "http://127.0.0.1:1" })).probe().await;
    assert!(matches!(nowhere, Probe::Failed(_)));
}
