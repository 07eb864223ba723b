//! `elasticsearch` against a double: what Elasticsearch has in addition to OpenSearch, and faults that no cluster has
//! on demand.

use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::{Misconfigured, Transient};
use std::collections::{BTreeMap, BTreeSet};

use s1_forwarder::destinations::SinkContext;
use s1_forwarder::record::{Stream, Timestamp};
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::{batch, context, push, settings, sink, sink_in};
use crate::support::deliver::deliver;
use crate::support::double::{Double, FaultRule, Reply};
use crate::support::elasticsearch::Elastic;

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

/// Detection rules look for new documents by `event.ingested`. Each attempt writes the same bytes, also of a part of
/// the batch: the time is that of the first one.
#[tokio::test]
async fn each_attempt_has_the_time_of_the_first() {
    let elastic = Double::start(Elastic { busy: 2, busy_ends: &['1', '2', '3'], ..Elastic::new() }).await;
    elastic.script([FaultRule::Answer(Reply::new(413, "")), FaultRule::AcceptAndReset]);
    let started_at = Timestamp::now();
    assert_eq!(deliver(sink(keys(&elastic, json!({}))), &batch(0..20)).await.result, Ok(()));
    let ended = Timestamp::now();
    let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for request in elastic.deliveries() {
        let mut lines = request.body.lines();
        while let (Some(action), Some(document)) = (lines.next(), lines.next()) {
            written.entry(action.to_owned()).or_default().insert(document.to_owned());
        }
    }
    assert!(elastic.deliveries().len() > 4 && written.len() == 20);
    assert!(written.values().all(|documents| documents.len() == 1), "{written:?}");
    let document: Value = serde_json::from_str(written.values().next().unwrap().first().unwrap()).unwrap();
    let time = Timestamp::parse(document["event"]["ingested"].as_str().unwrap()).unwrap();
    assert!(started_at <= time && time <= ended, "{document}");
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
    assert_eq!(delivered.dead_letters[0]["status"], "400", "the document's status, not the response's");
    assert_eq!(elastic.deliveries().len(), 1);
}

/// OpenSearch has the reason for nearly all refused documents in `caused_by`, which the request has to ask for.
#[tokio::test]
async fn the_cause_of_a_refusal_is_in_the_dead_letter() {
    let error = json!({
        "type": "mapper_parsing_exception", "reason": "failed to parse",
        "caused_by": { "type": "json_parse_exception", "reason": "Duplicate field 'data_stream'" },
    });
    let elastic = Double::start(Elastic { poison_error: Some(error), ..Elastic::new() }).await;
    let mut sent = batch(0..20);
    push(&mut sent, "bad", "poison");
    let delivered = deliver(sink(keys(&elastic, json!({}))), &sent).await;
    let reason = "400 mapper_parsing_exception: failed to parse: Duplicate field 'data_stream'";
    assert_eq!(delivered.dead_letters[0]["reason"], reason);
    let query = &elastic.deliveries()[0].query;
    assert!(query.contains("items.*.error.caused_by.reason"), "{query}");
}

/// They say nothing about a document, so a quiet stream must not lose its few events to dead letters.
#[tokio::test]
async fn a_clusters_own_refusal_gives_up_no_document() {
    let closed = json!({ "type": "index_closed_exception", "reason": "closed" });
    let alias = json!({ "type": "illegal_argument_exception", "reason": "no write index is defined for alias [s1]" });
    let shards = json!({
        "type": "validation_exception",
        "reason": "Validation Failed: 1: this action would add [2] shards, but this cluster currently has [9]/[10] maximum \
                   shards open;",
    });
    for (error, advice) in [(closed, "open the index"), (alias, "is_write_index"), (shards, "limit of shards")] {
        for events in [1, 5, 50] {
            let mut sent = Batch::new(Stream::Activities);
            (0..events).for_each(|id| push(&mut sent, &id.to_string(), "poison"));
            // One error for each document, and one for the request.
            let itemised = Double::start(Elastic { poison_error: Some(error.clone()), ..Elastic::new() }).await;
            let whole = Double::start(Elastic::new()).await;
            let refusal = json!({ "error": error, "status": 400 }).to_string();
            whole.script([FaultRule::Answer(Reply::new(400, refusal))]);
            for elastic in [itemised, whole] {
                let delivered = deliver(sink(keys(&elastic, json!({}))), &sent).await;
                let Err(Failure { kind: Misconfigured, reason, .. }) = &delivered.result else {
                    panic!("{delivered:?}")
                };
                assert!(reason.contains(advice), "{reason}");
                assert!(
                    reason.starts_with(&format!("{}/logs-", elastic.url())) && reason.contains("/_bulk: 400 "),
                    "{reason}"
                );
                assert_eq!((delivered.dead_letters.len(), elastic.deliveries().len()), (0, 1), "{events} {error}");
            }
        }
    }
}

/// A gateway limits the size of responses: the answer to fewer documents fits.
#[tokio::test]
async fn a_response_that_breaks_off_is_said_to_and_the_batch_is_halved() {
    let elastic = Double::start(Elastic::new()).await;
    let start = r#"{"took":30,"errors":true,"items":[{"create":{"status":201}},{"cre"#;
    elastic.script([FaultRule::AcceptAndAnswer(Reply::new(200, start))]);
    let delivered = deliver(sink(keys(&elastic, json!({}))), &batch(0..20)).await;
    assert_eq!((delivered.result, delivered.delivered, count(&elastic)), (Ok(()), 20, 20));
    assert_eq!(elastic.deliveries().len(), 3, "the batch and its halves");

    elastic.script([FaultRule::Answer(Reply::new(200, start))]);
    let attempt = sink(keys(&elastic, json!({}))).send(&batch(20..21)).await;
    assert!(
        matches!(&attempt.outcome, Outcome::Failed(Failure { kind: Transient, reason, .. }) if reason.contains("breaks off after 65 bytes")),
        "{attempt:?}"
    );
}

#[tokio::test]
async fn blocked_documents_stop_the_lane_and_are_no_dead_letters() {
    for poison in [(403, "cluster_block_exception"), (403, "security_exception"), (404, "index_not_found_exception")] {
        let elastic = Double::start(Elastic { poison, ..Elastic::new() }).await;
        let mut sent = batch(0..20);
        push(&mut sent, "blocked", "poison");
        let delivered = deliver(sink(keys(&elastic, json!({}))), &sent).await;
        assert!(
            matches!(&delivered.result, Err(Failure { kind: Misconfigured, reason, .. }) if reason.contains(poison.1)),
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
        matches!(&attempt.outcome, Outcome::DeliveredWithWarnings(warnings) if warnings[0].text.contains("failure store")),
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

/// What a cluster may be, and the type of the fields with unknown names.
fn products() -> [(Elastic, &'static str); 3] {
    [
        (Elastic::new(), "flattened"),
        (Elastic::opensearch(), "flat_object"),
        (Elastic::opensearch_in_compatibility_mode(), "flat_object"),
    ]
}

#[tokio::test]
async fn missing_templates_are_installed_before_the_first_document() {
    for (product, kind) in products() {
        let mut elastic = Elastic { installed: Default::default(), ..product };
        elastic.privileges.insert("manage_index_templates");
        let elastic = Double::start(elastic).await;
        let lane = sink(keys(&elastic, json!({})));
        let found = format!("{:?}", lane.probe().await);
        assert!(found.contains("a worker installs the index template"), "{found}");
        assert!(elastic.contract(|elastic| elastic.installed.is_empty()), "a probe installs nothing");
        for ids in [0..3, 3..6] {
            assert_eq!(lane.send(&batch(ids)).await.outcome, Outcome::Delivered);
        }
        let installed = elastic.contract(|elastic| elastic.installed.clone());
        let component = installed["/_component_template/s1-forwarder-vendor-fields"].to_string();
        assert!(component.contains(&format!(r#""type":"{kind}""#)), "{component}");
        assert_eq!(installed["/_index_template/s1-forwarder"]["index_patterns"][0], "logs-sentinel_one.*-*");
        let paths: Vec<String> = elastic.requests().into_iter().map(|request| request.path).collect();
        assert_eq!(paths.iter().filter(|path| **path == "/_index_template/s1-forwarder").count(), 3, "{paths:?}");
        assert!(paths[paths.len() - 2..].iter().all(|path| path.ends_with("/_bulk")), "{paths:?}");
    }
}

/// The events arrive all the same.
/// With `schema: ocsf` the template is OCSF's, in the words of the product.
#[tokio::test]
async fn the_template_of_ocsf_is_installed_for_its_data_streams() {
    for (product, kind) in products() {
        let mut elastic = Elastic { installed: Default::default(), ..product };
        elastic.privileges.insert("manage_index_templates");
        let elastic = Double::start(elastic).await;
        let ocsf = SinkContext { schema: Schema::Ocsf, schema_name: "ocsf-1.9.0", ..context(Stream::Threats) };
        let lane = sink_in(keys(&elastic, json!({ "data_stream": "logs-ocsf.{stream}-acme" })), &ocsf);
        assert_eq!(lane.send(&batch(0..3)).await.outcome, Outcome::Delivered);
        let installed = elastic.contract(|elastic| elastic.installed.clone());
        assert_eq!(installed.keys().collect::<Vec<_>>(), ["/_index_template/s1-forwarder-ocsf"]);
        let template = &installed["/_index_template/s1-forwarder-ocsf"];
        assert_eq!(template["index_patterns"][0], "logs-ocsf.*-*");
        assert_eq!(template["template"]["mappings"]["properties"]["unmapped"]["type"], kind, "{template:#}");
    }
}

#[tokio::test]
async fn templates_that_may_not_be_installed_are_named_by_the_check() {
    let elastic = Double::start(Elastic { installed: Default::default(), ..Elastic::new() }).await;
    let lane = sink(keys(&elastic, json!({})));
    let found = format!("{:?}", lane.probe().await);
    assert!(found.starts_with("Verified") && found.contains("install the templates of deploy/opensearch"), "{found}");
    assert_eq!(lane.send(&batch(0..3)).await.outcome, Outcome::Delivered);

    let quiet = sink(keys(&elastic, json!({ "manage_templates": false })));
    assert!(!format!("{:?}", quiet.probe().await).contains("template"));
    let before = elastic.requests().len();
    quiet.send(&batch(3..6)).await;
    assert_eq!(elastic.requests().len(), before + 1);
}

#[tokio::test]
async fn documents_may_go_into_an_index_or_alias() {
    let elastic = Double::start(Elastic { index: Some("s1-activities"), ..Elastic::new() }).await;
    let lane = sink(keys(&elastic, json!({ "index": "s1-{stream}" })));
    assert_eq!(lane.send(&batch(0..3)).await.outcome, Outcome::Delivered);
    assert_eq!(count(&elastic), 3);
    assert!(elastic.contract(|elastic| elastic.documents.values().all(|document| document["data_stream"].is_null())));
    let found = format!("{:?}", lane.probe().await);
    assert!(found.starts_with("Verified") && found.contains("index `s1-activities` exists"), "{found}");
    let other = format!("{:?}", sink(keys(&elastic, json!({ "index": "s1-other" }))).probe().await);
    assert!(other.starts_with("Verified") && other.contains("the first document creates index"), "{other}");

    let both = settings(keys(&elastic, json!({ "index": "a", "data_stream": "b" })));
    let error = both.build(&context(Stream::Threats)).unwrap_err().to_string();
    assert!(error.contains("excludes `data_stream`"), "{error}");
}

#[tokio::test]
async fn a_node_that_is_unavailable_is_replaced_by_the_next_one() {
    let one = Double::start(Elastic::new()).await;
    let other = Double::start(Elastic::new()).await;
    let keys = |urls: [String; 2]| json!({ "type": "elasticsearch", "urls": urls, "api_key": "aWQ6a2V5" });
    let dead = "http://127.0.0.1:1".to_owned();
    for urls in [[dead.clone(), one.url()], [one.url(), dead]] {
        let lane = sink(keys(urls));
        assert!(matches!(lane.probe().await, ProbeResult::Failed(_)), "one of them is wrong");
        let delivered = deliver(lane, &batch(0..5)).await;
        assert_eq!((delivered.result, delivered.delivered), (Ok(()), 5));
    }
    // One that answers 503 is left as well.
    for elastic in [&one, &other] {
        elastic.script([FaultRule::Answer(Reply::new(503, ""))]);
    }
    let lane = sink(keys([one.url(), other.url()]));
    assert!(matches!(lane.probe().await, ProbeResult::Verified(_)));
    let attempts = [lane.send(&batch(5..6)).await, lane.send(&batch(5..6)).await, lane.send(&batch(5..6)).await];
    assert_eq!(attempts[2].outcome, Outcome::Delivered, "{attempts:?}");
    assert_eq!(
        (one.deliveries().iter().filter(|seen| seen.status == 503).count(), other.deliveries()[0].status),
        (1, 503)
    );

    for (more, part) in [(json!({ "url": "https://h" }), "excludes `url`"), (json!({ "urls": [] }), "needs `url`")] {
        let mut keys = keys([one.url(), other.url()]);
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = settings(keys).build(&context(Stream::Threats)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
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
                e.template = None;
                e.installed.clear();
                e.privileges.insert("manage_index_templates");
            }),
            json!({}),
            "Verified",
            "a worker installs the index template",
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
    // A cluster without security has accepted no credentials.
    let open = Double::start(with(|e| e.authorization.clear())).await;
    let found = format!("{:?}", sink(json!({ "type": "elasticsearch", "url": open.url() })).probe().await);
    assert!(found.contains("accepts requests without credentials") && !found.contains("accepts the"), "{found}");
    let nowhere = sink(json!({ "type": "elasticsearch", "url": "http://127.0.0.1:1" })).probe().await;
    assert!(matches!(nowhere, ProbeResult::Failed(_)));
}
