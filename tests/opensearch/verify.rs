//! `verify --destination` against a real cluster: what it removed, dropped and moved, and what is no proof.

use std::collections::BTreeSet;

use s1_forwarder::emulator::Kind;
use serde_json::{Value, json};

use super::with_template;
use crate::support::completeness::hour;
use crate::support::harness::Harness;
use crate::support::opensearch::OpenSearch;
use crate::support::verify_destination::{ask_lane as ask, delivered, listed, sum};

/// A day of activities in this data stream or index.
async fn harness(node: &OpenSearch, target: Value) -> Harness {
    let mut sink = json!({ "type": "elasticsearch", "url": node.url(), "verify": { "settle": "3s" } });
    sink.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
    delivered(sink).await
}

/// The ids of all documents of a target.
async fn ids(node: &OpenSearch, target: &str) -> Vec<String> {
    node.count(target).await;
    let query = json!({ "size": 10_000, "_source": false, "query": { "range": { "@timestamp": { "lt": "now-3h" } } } });
    let (_, answer) = node.ask("POST", &format!("{target}/_search"), &query).await;
    let hits = answer["hits"]["hits"].as_array().unwrap_or_else(|| panic!("{answer}")).clone();
    hits.iter().map(|hit| hit["_id"].as_str().unwrap().to_owned()).collect()
}

async fn did(node: &OpenSearch, method: &str, path: &str, body: Value) {
    let (status, answer) = node.ask(method, path, &body).await;
    assert_eq!(status, 200, "{path}: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cluster_deleted_is_repaired_after_a_rollover_without_a_duplicate() {
    let Some(node) = with_template().await else { return };
    let stream = "logs-sentinel_one.activities-proof";
    let harness = harness(&node, json!({ "data_stream": stream })).await;
    let all = node.count(stream).await;
    let lane = ask(&harness, &[]).await;
    assert!(sum(&lane, "missing") == 0 && sum(&lane, "present") > 900 && lane["unseen"].is_null(), "{lane}");

    did(&node, "POST", &format!("{stream}/_rollover"), Value::Null).await;
    let removed: BTreeSet<String> = fastrand::choose_multiple(ids(&node, stream).await, 3).into_iter().collect();
    let query = json!({ "query": { "ids": { "values": removed } } });
    did(&node, "POST", &format!("{stream}/_delete_by_query?refresh=true"), query).await;
    let list = harness.path("list");
    let lane = ask(&harness, &["--list", list.to_str().unwrap()]).await;
    assert_eq!(listed(&list), removed, "{lane}");
    // A repair that was refused is none.
    let backing = node.ask("GET", &format!("_data_stream/{stream}"), &Value::Null).await.1;
    let indices = backing["data_streams"][0]["indices"].as_array().unwrap();
    let [first, last] =
        [indices.first(), indices.last()].map(|index| index.unwrap()["index_name"].as_str().unwrap().to_owned());
    let block = |is_blocked: bool| json!({ "index": { "blocks": { "write": is_blocked } } });
    did(&node, "PUT", &format!("{last}/_settings"), block(true)).await;
    let lane = ask(&harness, &["--repair"]).await;
    let returned = &lane["returned"];
    assert!(returned["refused"].is_string() && returned["repaired"] == 0 && returned["gone"] == 0, "{lane}");
    did(&node, "PUT", &format!("{last}/_settings"), block(false)).await;
    let lane = ask(&harness, &["--repair"]).await;
    assert_eq!(lane["returned"]["repaired"], 3, "{lane}");
    assert_eq!(node.count(stream).await, all, "a duplicate");
    let lane = ask(&harness, &[]).await;
    assert!(sum(&lane, "missing") == 0 && sum(&lane, "duplicates") == 0, "{lane}");

    // A closed index is no proof, and neither is a target that is not there.
    did(&node, "POST", &format!("{first}/_close"), Value::Null).await;
    let lane = ask(&harness, &["--repair=1000"]).await;
    assert!(lane["unseen"].as_str().unwrap().contains("closed") && lane["returned"].is_null(), "{lane}");
    did(&node, "DELETE", &format!("_data_stream/{stream}"), Value::Null).await;
    let lane = ask(&harness, &[]).await;
    assert!(lane["unseen"].as_str().unwrap().contains("404"), "{lane}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_ingest_pipeline_dropped_is_missing_and_what_it_moved_is_elsewhere() {
    let Some(node) = with_template().await else { return };
    let moves = json!({ "set": {
        "if": "ctx.sentinel_one.identity.endsWith('3')", "field": "_index", "value": "proof-elsewhere" } });
    let drops = json!({ "drop": { "if": "ctx.sentinel_one.identity.endsWith('7a') || ctx.sentinel_one.identity.endsWith('7b')" } });
    did(&node, "PUT", "_ingest/pipeline/proof", json!({ "processors": [moves, drops] })).await;
    let stream = "logs-sentinel_one.activities-dropped";
    let harness = harness(&node, json!({ "data_stream": stream, "ingest_pipeline": "proof" })).await;
    node.count("proof-elsewhere").await;
    let list = harness.path("list");
    let lane = ask(&harness, &["--list", list.to_str().unwrap()]).await;
    let named = listed(&list);
    assert!(!named.is_empty() && named.iter().all(|id| id.ends_with("7a") || id.ends_with("7b")), "{named:?}");
    let [owed, present] = ["owed", "present"].map(|column| sum(&lane, column));
    assert_eq!(owed, present + named.len() as u64 + lane["elsewhere"]["`proof-elsewhere` (index)"].as_u64().unwrap());
    // An alert has a copy of the document that it is about.
    let alerts = ".internal.alerts-security.alerts-default-000001";
    let data_stream = json!({ "type": "logs", "dataset": "sentinel_one.activities", "namespace": "dropped" });
    for identity in &named {
        let alert = json!({
            "kibana.alert.uuid": "b27e8aa6", "sentinel_one": { "identity": identity }, "data_stream": data_stream,
        });
        let (status, answer) = node.ask("POST", &format!("{alerts}/_doc?refresh=true"), &alert).await;
        assert_eq!(status, 201, "{answer}");
    }
    assert_eq!(sum(&ask(&harness, &[]).await, "missing"), named.len() as u64);
    // The pipeline drops them again, and the next repair leaves them.
    let repair = format!("--repair={}", named.len());
    let lane = ask(&harness, &[&repair]).await;
    assert_eq!(lane["returned"]["not_visible"], named.len(), "{lane}");
    let lane = ask(&harness, &[&repair]).await;
    assert_eq!(lane["returned"]["vanished_again"], named.len(), "{lane}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hides_documents_is_no_proof() {
    // The tests share the cluster. An index that is refreshed rarely stops their proofs, but for one of the system.
    const INDEX: &str = ".proof-filtered-1";
    let Some(node) = with_template().await else { return };
    did(&node, "PUT", INDEX, Value::Null).await;
    let alias = |more: Value| {
        let mut add = json!({ "index": INDEX, "alias": "proof-alias", "is_write_index": true });
        add.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "actions": [{ "add": add }] })
    };
    did(&node, "POST", "_aliases", alias(json!({}))).await;
    let harness = harness(&node, json!({ "index": "proof-alias" })).await;
    let lane = ask(&harness, &[]).await;
    assert!(sum(&lane, "missing") == 0 && sum(&lane, "present") > 900, "{lane}");
    // Where indices have no interval of their own, this one counts.
    let default = "_cluster/settings?include_defaults=true&filter_path=*.cluster.default.index.refresh_interval";
    let (_, settings) = node.ask("GET", default, &Value::Null).await;
    assert_eq!(settings["defaults"]["cluster"]["default"]["index"]["refresh_interval"], "1s", "{settings}");
    let refreshes = |interval: &str| json!({ "index": { "refresh_interval": interval } });
    for (interval, is_proof) in [("-1", false), ("10m", false), ("2s", true)] {
        did(&node, "PUT", &format!("{INDEX}/_settings"), refreshes(interval)).await;
        let lane = ask(&harness, &[]).await;
        let is_refused = lane["unseen"].as_str().is_some_and(|reason| reason.contains("refresh_interval"));
        assert_eq!(is_refused, !is_proof, "{interval} {lane}");
    }
    let filter = json!({ "filter": { "exists": { "field": "process.name" } } });
    for (narrowed, key) in [(filter, "`filter`"), (json!({ "search_routing": "1" }), "`search_routing`")] {
        did(&node, "POST", "_aliases", alias(narrowed)).await;
        let lane = ask(&harness, &[]).await;
        assert!(lane["unseen"].as_str().unwrap().contains(key), "{lane}");
    }
}

/// A search that could leave documents out proves nothing, whatever it says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_mapping_or_a_search_pipeline_hides_is_no_proof() {
    let Some(node) = with_template().await else { return };
    // Some documents get another `_id`, and what is indexed of their identity does not find them.
    let reverses = json!({ "type": "custom", "tokenizer": "keyword", "filter": ["reverse"] });
    let analyzer = json!({ "analyzer": { "default": reverses } });
    let mappings = json!({ "properties": { "sentinel_one": { "properties": { "identity": { "type": "text" } } } } });
    let index = json!({ "settings": { "analysis": analyzer }, "mappings": mappings });
    did(&node, "PUT", "proof-analyzed", index).await;
    let renames = json!({ "set": {
        "if": "ctx.sentinel_one.identity.endsWith('3')", "field": "_id", "value": "x-{{sentinel_one.identity}}" } });
    // No list shows them in their hours.
    let moves = json!({ "set": { "field": "@timestamp", "value": "2020-01-01T00:00:00Z" } });
    did(&node, "PUT", "_ingest/pipeline/proof-renames", json!({ "processors": [renames, moves] })).await;
    let harness = harness(&node, json!({ "index": "proof-analyzed", "ingest_pipeline": "proof-renames" })).await;
    // These are missing.
    let there = ids(&node, "proof-analyzed").await.into_iter().filter(|id| !id.starts_with("x-"));
    let removed: Vec<String> = fastrand::choose_multiple(there, 10);
    let query = json!({ "query": { "ids": { "values": removed } } });
    did(&node, "POST", "proof-analyzed/_delete_by_query?refresh=true", query).await;
    let lane = ask(&harness, &["--repair=1000"]).await;
    let is_refused = |part: &str| lane["unseen"].as_str().is_some_and(|reason| reason.contains(part));
    assert!(is_refused("does not find its own documents") && lane["returned"].is_null(), "{lane}");

    did(&node, "PUT", "_search/pipeline/proof-hides", json!({ "request_processors": [] })).await;
    let pipeline = json!({ "index": { "search": { "default_pipeline": "proof-hides" } } });
    did(&node, "PUT", "proof-analyzed/_settings", pipeline).await;
    let lane = ask(&harness, &["--repair=1000"]).await;
    assert!(lane["unseen"].as_str().is_some_and(|reason| reason.contains("`proof-hides`")), "{lane}");
}

/// An ingest pipeline has removed each `_id`. A document counts by the identity that the index has of it, and by no
/// other text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_no_identity_finds_may_be_what_is_missing() {
    let Some(node) = with_template().await else { return };
    let keyword = json!({ "properties": { "sentinel_one": { "properties": { "identity": { "type": "keyword" } } } } });
    let hidden = json!({ "properties": { "sentinel_one": { "enabled": false } } });
    let removes = json!({ "remove": { "field": "_id" } });
    let upper = json!({ "uppercase": {
        "if": "ctx.sentinel_one.identity.endsWith('3')", "field": "sentinel_one.identity" } });
    let uid = json!({ "set": { "field": "metadata.uid", "value": "node-7" } });
    // No list has it in its hour.
    let moves = json!({ "set": { "field": "@timestamp", "value": "2020-01-01T00:00:00Z" } });
    for (name, mappings, changes, refused) in [
        ("proof-named", &keyword, vec![&removes, &moves], None),
        ("proof-upper", &keyword, vec![&removes, &moves, &upper], Some("hex digits")),
        ("proof-hidden", &hidden, vec![&removes, &uid], Some("an answer lacks the event")),
    ] {
        did(&node, "PUT", name, json!({ "mappings": mappings })).await;
        did(&node, "PUT", &format!("_ingest/pipeline/{name}"), json!({ "processors": changes })).await;
        let harness = harness(&node, json!({ "index": name, "ingest_pipeline": name })).await;
        let removed: Vec<String> = fastrand::choose_multiple(ids(&node, name).await, 3);
        let query = json!({ "query": { "ids": { "values": removed } } });
        did(&node, "POST", &format!("{name}/_delete_by_query?refresh=true"), query).await;
        let lane = ask(&harness, &[]).await;
        let said = lane["unseen"].as_str();
        assert_eq!(said.is_none(), refused.is_none(), "{name} {lane}");
        assert!(refused.is_some() || (1..=3).contains(&sum(&lane, "missing")), "{name} {lane}");
        assert!(refused.is_none_or(|part| said.unwrap().contains(part)), "{name} {lane}");
    }
}

/// What is in an index that the alias no longer has is not missing, nor is what went with the first backing index. What
/// comes late proves nothing of the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rollover_left_behind_is_not_judged() {
    let Some(node) = with_template().await else { return };
    did(&node, "PUT", "proof-swapped-000001", json!({ "aliases": { "proof-swapped": {} } })).await;
    let stream = "logs-sentinel_one.activities-removed";
    for target in [json!({ "index": "proof-swapped" }), json!({ "data_stream": stream })] {
        let harness = harness(&node, target.clone()).await;
        let is_alias = target["index"].is_string();
        let name = if is_alias { "proof-swapped" } else { stream };
        let lane = ask(&harness, &[]).await;
        assert!(sum(&lane, "missing") == 0 && sum(&lane, "present") > 900, "{lane}");
        did(&node, "POST", &format!("{name}/_rollover"), Value::Null).await;
        if !is_alias {
            let backing = node.ask("GET", &format!("_data_stream/{stream}"), &Value::Null).await.1;
            let first = backing["data_streams"][0]["indices"][0]["index_name"].as_str().unwrap().to_owned();
            did(&node, "DELETE", &first, Value::Null).await;
        }
        // An event of long ago.
        harness.appear_late(Kind::Activities, hour(20), 1);
        let exit = harness.verify_until(hour(1), &["--repair", "--resend"]).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
        assert!(node.count(name).await > 0);
        let lane = ask(&harness, &["--repair=1000000"]).await;
        assert!(lane["not_judged"].to_string().contains("is no longer there"), "{lane}");
        assert!(sum(&lane, "missing") == 0 && lane["returned"].is_null(), "{lane}");
    }
}
