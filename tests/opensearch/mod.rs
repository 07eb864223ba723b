//! `elasticsearch` against a real OpenSearch, with the index template that is shipped.

mod kept;
mod odd;
mod package;
mod quickstart;
mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;

use s1_forwarder::destinations::SinkContext;
use s1_forwarder::emulator::{Console, Kind, Setup};
use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::Misconfigured;
use s1_forwarder::record::{Identity, Stream, Timestamp};
use s1_forwarder::sink::{Batch, Outcome, ProbeResult, Sink};
use s1_forwarder::transform::{self, Origin, Schema, Transformer};
use serde_json::{Value, json};

use crate::support::batches::{context, kind_of, sink_in};
use crate::support::deliver::deliver;
use crate::support::opensearch::OpenSearch;

const VENDOR_FIELDS: &str = include_str!("../../deploy/opensearch/vendor-fields.opensearch.json");
const TEMPLATE: &str = include_str!("../../deploy/opensearch/index-template.json");
const OCSF_TEMPLATE: &str = include_str!("../../deploy/opensearch/ocsf.opensearch.json");

async fn with_template() -> Option<Arc<OpenSearch>> {
    let node = OpenSearch::shared().await?;
    let shipped = [
        ("_component_template/s1-forwarder-vendor-fields", VENDOR_FIELDS),
        ("_index_template/s1-forwarder", TEMPLATE),
        ("_index_template/s1-forwarder-ocsf", OCSF_TEMPLATE),
    ];
    for (path, template) in shipped {
        let (status, answer) = node.ask("PUT", path, &serde_json::from_str(template).unwrap()).await;
        assert_eq!(status, 200, "{answer}");
    }
    Some(node)
}

fn lane(node: &OpenSearch, stream: Stream, data_stream: &str) -> Arc<dyn Sink> {
    let keys = json!({ "type": "elasticsearch", "url": node.url(), "data_stream": data_stream });
    sink_in(keys, &context(stream))
}

/// Events with what a data stream demands; one with the id `bad` has no time.
fn events(ids: &[&str]) -> Batch {
    let mut batch = Batch::new(Stream::Activities);
    for id in ids {
        let identity = Identity::of("h", Stream::Activities, id, "");
        let mut event = json!({ "event": { "id": id } });
        if *id != "bad" {
            event["@timestamp"] = json!("2026-09-16T08:30:00.123456Z");
        }
        batch.push_with(id, identity, None, |out| {
            out.extend_from_slice(event.to_string().as_bytes());
            None
        });
    }
    batch
}

/// The texts are OpenSearch's own. A closed index and an alias without a write index refuse every document.
#[tokio::test]
async fn a_refusal_of_the_cluster_itself_gives_up_no_document() {
    let Some(node) = with_template().await else { return };
    for index in ["own-closed", "own-a1", "own-a2"] {
        let (status, answer) = node.ask("PUT", index, &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
    }
    node.ask("POST", "own-closed/_close", &Value::Null).await;
    let add = |index| json!({ "add": { "index": index, "alias": "own-alias" } });
    node.ask("POST", "_aliases", &json!({ "actions": [add("own-a1"), add("own-a2")] })).await;
    for (more, advice) in
        [(json!({ "index": "own-closed" }), "open the index"), (json!({ "index": "own-alias" }), "is_write_index")]
    {
        let mut keys = json!({ "type": "elasticsearch", "url": node.url() });
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        for ids in [&["1"][..], &["1", "2", "3", "4", "5"]] {
            let delivered = deliver(sink_in(keys.clone(), &context(Stream::Activities)), &events(ids)).await;
            assert!(
                matches!(&delivered.result, Err(Failure { kind: Misconfigured, reason, .. }) if reason.contains(advice)),
                "{more}: {delivered:?}"
            );
            assert!(delivered.dead_letters.is_empty(), "{more}: {delivered:?}");
        }
    }
}

/// A `remap` may set `data_stream`. What is refused all the same has the cluster's cause.
#[tokio::test]
async fn an_own_data_stream_is_no_duplicate_and_a_refusal_has_its_cause() {
    let Some(node) = with_template().await else { return };
    let name = "logs-sentinel_one.own-test";
    let mut sent = events(&["1", "2"]);
    for (id, more) in [("own", json!({ "data_stream": { "namespace": "test" } })), ("bad", json!({ "host": "text" }))] {
        let mut event = json!({ "@timestamp": "2026-09-16T08:30:00.123456Z" });
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sent.push_with(id, Identity::of("h", Stream::Activities, id, ""), None, |out| {
            out.extend_from_slice(event.to_string().as_bytes());
            None
        });
    }
    let delivered = deliver(lane(&node, Stream::Activities, name), &sent).await;
    assert_eq!(
        (delivered.result.clone(), delivered.delivered, node.count(name).await),
        (Ok(()), 3, 3),
        "{delivered:?}"
    );
    let letter = &delivered.dead_letters[0];
    assert_eq!((&letter["record_id"], &letter["status"]), (&json!("bad"), &json!("400")));
    let reason = letter["reason"].as_str().unwrap();
    assert!(reason.starts_with("400 mapper_parsing_exception") && reason.contains("host"), "{reason}");
}

#[tokio::test]
async fn what_is_sent_again_is_known_again() {
    let Some(node) = with_template().await else { return };
    let name = "logs-sentinel_one.again-test";
    let lane = lane(&node, Stream::Activities, name);
    let sent = events(&["1", "2", "3"]);
    let found = lane.probe().await;
    assert!(
        matches!(&found, ProbeResult::Verified(what) if what.contains("by the index template `s1-forwarder`")),
        "{found:?}"
    );
    for _ in 0..2 {
        assert_eq!(lane.send(&sent).await.outcome, Outcome::Delivered);
        assert_eq!(node.count(name).await, 3);
    }
    assert_eq!(lane.send(&events(&["3", "4"])).await.outcome, Outcome::Delivered);
    assert_eq!(node.count(name).await, 4);
    let found = lane.probe().await;
    assert!(matches!(&found, ProbeResult::Verified(what) if what.contains("exists")), "{found:?}");
    assert_eq!(node.count(name).await, 4, "a probe delivers nothing");

    let identity = sent.event(0).unwrap().identity;
    let query = json!({ "query": { "ids": { "values": [identity.to_string()] } } });
    let (_, answer) = node.ask("POST", &format!("{name}/_search"), &query).await;
    let document = &answer["hits"]["hits"][0]["_source"];
    assert_eq!(
        document["data_stream"],
        json!({ "type": "logs", "dataset": "sentinel_one.again", "namespace": "test" })
    );
}

#[tokio::test]
async fn one_refused_document_is_a_dead_letter_and_the_others_arrive() {
    let Some(node) = with_template().await else { return };
    let name = "logs-sentinel_one.refused-test";
    let delivered = deliver(lane(&node, Stream::Activities, name), &events(&["1", "bad", "2"])).await;
    assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters_counted), (Ok(()), 2, 1));
    assert_eq!(delivered.dead_letters[0]["record_id"], "bad");
    assert!(delivered.dead_letters[0]["reason"].as_str().unwrap().starts_with("400 mapper_parsing_exception"));
    assert_eq!(node.count(name).await, 2);
}

#[tokio::test]
async fn a_probe_reports_what_is_missing() {
    let Some(node) = OpenSearch::shared().await else { return };
    let plain = json!({ "index_patterns": ["s1-plain*"], "priority": 5 });
    node.ask("PUT", "_index_template/s1-plain", &plain).await;
    node.ask("PUT", "s1-index", &Value::Null).await;
    for (name, part) in [
        ("s1-nothing", "neither data stream `s1-nothing` nor an index template"),
        ("s1-plain-1", "index template `s1-plain` would create `s1-plain-1` as an index"),
        ("s1-index", "`s1-index` is an index"),
    ] {
        let found = lane(&node, Stream::Activities, name).probe().await;
        assert!(matches!(&found, ProbeResult::Failed(reason) if reason.contains(part)), "{found:?}");
    }
    let keys = json!({ "type": "elasticsearch", "url": format!("{}/kibana", node.url()) });
    let found = sink_in(keys, &context(Stream::Activities)).probe().await;
    assert!(matches!(&found, ProbeResult::Failed(reason) if reason.contains("check `url`")), "{found:?}");
}

/// Every event of every stream finds its place in the index template: no conflict, and each field has the type that ECS
/// gives it. `S1_FORWARDER_INDEXED_RECORDS` says how many records are generated of each kind.
#[tokio::test]
async fn mapped_events_of_all_streams_are_indexed_as_ecs_has_them() {
    let Some(node) = with_template().await else { return };
    let count = std::env::var("S1_FORWARDER_INDEXED_RECORDS").map_or(500, |count| count.parse().unwrap());
    let console = Console::new(&Setup {
        activities: count,
        threats: count,
        agents: count,
        alerts: count,
        unified_alerts: count,
        vulnerabilities: count,
        ..Setup::new(1_767_225_600_000_000)
    });
    for stream in Stream::ALL {
        let kind = kind_of(stream);
        let name = format!("logs-sentinel_one.{stream}-mapped");
        let lane = lane(&node, stream, &name);
        let ids = console.ids(kind);
        for (number, ids) in ids.chunks(500).enumerate() {
            let batch = mapped(&console, stream, kind, ids);
            let delivered = deliver(lane.clone(), &batch).await;
            assert_eq!(delivered.result, Ok(()));
            assert!(delivered.dead_letters_counted == 0, "{stream}: {}", delivered.dead_letters[0]["reason"]);
            if number == 0 {
                assert_eq!(deliver(lane.clone(), &batch).await.delivered, batch.len() as u64);
            }
        }
        assert_eq!(node.count(&name).await, ids.len() as u64, "{stream}");
        let (_, answer) = node.ask("GET", &format!("{name}/_mapping"), &Value::Null).await;
        let index = answer.as_object().unwrap().values().next().unwrap();
        let wrong = not_as_ecs(&index["mappings"]);
        assert!(wrong.is_empty(), "{stream}: {wrong:#?}");
    }
}

/// Every OCSF event of every stream finds its place in the index template that is shipped for them: no conflict, times
/// are dates, addresses are addresses, and `unmapped` is one field.
#[tokio::test]
async fn ocsf_events_of_all_streams_are_indexed_by_the_shipped_template() {
    let Some(node) = with_template().await else { return };
    let console = Console::new(&Setup {
        activities: 500,
        threats: 200,
        agents: 200,
        alerts: 200,
        unified_alerts: 200,
        vulnerabilities: 200,
        ..Setup::new(1_767_225_600_000_000)
    });
    for stream in Stream::ALL {
        let kind = kind_of(stream);
        let name = format!("logs-ocsf.{stream}-mapped");
        let keys = json!({ "type": "elasticsearch", "url": node.url(), "data_stream": &name });
        let context = SinkContext { schema: Schema::Ocsf, schema_name: "ocsf-1.9.0", ..context(stream) };
        let lane = sink_in(keys, &context);
        let ids = console.ids(kind);
        for ids in ids.chunks(500) {
            let batch = mapped_to(Schema::Ocsf, &console, stream, kind, ids);
            let delivered = deliver(lane.clone(), &batch).await;
            assert_eq!(delivered.result, Ok(()));
            assert!(delivered.dead_letters_counted == 0, "{stream}: {}", delivered.dead_letters[0]["reason"]);
        }
        assert_eq!(node.count(&name).await, ids.len() as u64, "{stream}");
        let (_, answer) = node.ask("GET", &format!("{name}/_mapping"), &Value::Null).await;
        let index = answer.as_object().unwrap().values().next().unwrap();
        let mut fields = BTreeMap::new();
        flatten(&index["mappings"]["properties"], "", &mut fields);
        let type_of = |name: &str| fields.get(name).map(String::as_str);
        let expected = (Some("date"), Some("date"), Some("date"), Some("flat_object"));
        assert_eq!(
            (type_of("@timestamp"), type_of("time"), type_of("metadata.loggers.logged_time"), type_of("unmapped")),
            expected,
            "{stream}"
        );
        assert!(fields.iter().all(|(name, kind)| !name.ends_with(".ip") || kind == "ip"), "{stream}: {fields:?}");
    }
}

fn mapped(console: &Console, stream: Stream, kind: Kind, ids: &[u64]) -> Batch {
    mapped_to(Schema::Ecs, console, stream, kind, ids)
}

fn mapped_to(schema: Schema, console: &Console, stream: Stream, kind: Kind, ids: &[u64]) -> Batch {
    let origin = Origin { pipeline: "acme".to_owned(), console_host: "console.example".to_owned(), stream };
    let settings =
        transform::TransformSettings { keep_original: Some(true), ..transform::TransformSettings::default() };
    let mut transformer = Transformer::new(&settings, schema, origin);
    let mut batch = Batch::new(stream);
    for id in ids {
        let record = console.record(kind, *id).unwrap();
        let identity = Identity::of("console.example", stream, &id.to_string(), "");
        batch.push_with(&id.to_string(), identity, Some(Timestamp::now()), |out| {
            transformer.map(&record, out).unwrap();
            None
        });
    }
    batch
}

/// Fields of ECS that the index has with another type.
fn not_as_ecs(mappings: &Value) -> Vec<String> {
    let ecs: BTreeMap<&str, &str> = include_str!("../../crates/mapping/tests/data/ecs-fields-9.4.0.csv")
        .lines()
        .skip(1)
        .map(|line| {
            let mut cells = line.split(',');
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .collect();
    let mut fields = BTreeMap::new();
    flatten(&mappings["properties"], "", &mut fields);
    assert!(fields.len() > 100, "only {} fields", fields.len());
    let fits = |expected: &str, found: &str| match expected {
        // Its one value is known to the template of a cluster alone.
        "constant_keyword" => found == "keyword",
        // An object with free keys is one field.
        "object" => found == "flat_object",
        _ => found == expected,
    };
    fields
        .into_iter()
        .filter(|(name, _)| !name.starts_with("sentinel_one.") && !name.contains("labels.") && name != "unmapped")
        .filter_map(|(name, found)| match ecs.get(name.as_str()) {
            Some(expected) if fits(expected, &found) => None,
            Some(expected) => Some(format!("{name} is {found}, in ECS {expected}")),
            None => Some(format!("{name} is {found} and no field of ECS")),
        })
        .collect()
}

fn flatten(properties: &Value, path: &str, fields: &mut BTreeMap<String, String>) {
    for (name, field) in properties.as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match field.get("properties") {
            Some(inner) => flatten(inner, &path, fields),
            None => drop(fields.insert(path, field["type"].as_str().unwrap().to_owned())),
        }
    }
}
