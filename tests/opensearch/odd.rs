//! Records whose values have another shape than those of other records, in a real OpenSearch: they decide no field's
//! type, so that the ordinary records after them are not refused.

use s1_forwarder::destinations::SinkContext;
use s1_forwarder::emulator::{Console, Setup};
use s1_forwarder::record::{Identity, Stream, Timestamp};
use s1_forwarder::sink::Batch;
use s1_forwarder::transform::{self, Origin, Schema, Transformer};
use serde_json::{Value, json};

use super::with_template;
use crate::support::batches::{context, kind_of, sink_in};
use crate::support::deliver::deliver;
use crate::support::opensearch::OpenSearch;

/// Ordinary records of each stream.
const ORDINARY: usize = 50;

/// What the index sees first of each field.
fn first_shapes() -> [Value; 2] {
    [json!({ "en": "x" }), json!("text")]
}

/// The record with each of its values in another shape, in one pass in yet another one, and with keys that are unknown.
fn odd(record: &Value, first: &Value) -> Vec<Value> {
    let others = [json!([{ "a": 1 }]), json!(5), json!([{ "a": 1 }, "b"]), json!(["a", 1]), json!(true), Value::Null];
    let mut paths = Vec::new();
    collect(record, String::new(), &mut paths);
    let with = |path: &str, shape: &Value| {
        let mut changed = record.clone();
        *changed.pointer_mut(path).unwrap() = shape.clone();
        changed
    };
    let unknown = |shape: &Value| {
        let mut changed = record.clone();
        changed["brandNew"] = shape.clone();
        changed["otherNew"] = json!({ "inner": shape });
        changed
    };
    let mut all: Vec<Value> = paths.iter().map(|path| with(path, first)).collect();
    if first.is_object() {
        all.extend(paths.iter().zip(others.iter().cycle()).map(|(path, shape)| with(path, shape)));
    }
    all.push(unknown(first));
    all.extend(others.iter().chain(&first_shapes()).map(unknown));
    all
}

/// The JSON pointers of all values; of lists, those of the first element if that is an object.
fn collect(value: &Value, path: String, paths: &mut Vec<String>) {
    if let Some(entries) = value.as_object() {
        for (name, value) in entries {
            let path = format!("{path}/{name}");
            paths.push(path.clone());
            collect(value, path, paths);
        }
    } else if let Some(element) = value.get(0).filter(|element| element.is_object()) {
        collect(element, format!("{path}/0"), paths);
    }
}

fn mapped(schema: Schema, stream: Stream, records: &[Value]) -> Batch {
    let origin = Origin { pipeline: "acme".to_owned(), console_host: "console.example".to_owned(), stream };
    let mut transformer = Transformer::new(&transform::TransformSettings::default(), schema, origin);
    let mut batch = Batch::new(stream);
    for (index, record) in records.iter().enumerate() {
        let record = record.to_string();
        let identity = Identity::of("console.example", stream, &index.to_string(), &record);
        batch.push_with(&index.to_string(), identity, Some(Timestamp::now()), |out| {
            transformer.map(record.as_bytes(), out).unwrap();
            None
        });
    }
    batch
}

/// The reasons of the events that were refused.
async fn sent(node: &OpenSearch, schema: Schema, name: &str, stream: Stream, records: &[Value]) -> Vec<String> {
    let schema_name = if schema == Schema::Ocsf { "ocsf-1.9.0" } else { "ecs-9.4.0" };
    let keys = json!({ "type": "elasticsearch", "url": node.url(), "data_stream": name });
    let lane = sink_in(keys, &SinkContext { schema, schema_name, ..context(stream) });
    let mut refused = Vec::new();
    for records in records.chunks(1_000) {
        let delivered = deliver(lane.clone(), &mapped(schema, stream, records)).await;
        assert_eq!(delivered.result, Ok(()), "{stream}");
        refused.extend(delivered.dead_letters.iter().map(|letter| letter["reason"].to_string()));
    }
    refused
}

/// `prefixes` are the data streams' names in both passes.
async fn check(schema: Schema, prefixes: [&str; 2]) {
    let Some(node) = with_template().await else { return };
    let console = Console::new(&Setup {
        activities: 60,
        threats: 60,
        agents: 60,
        alerts: 60,
        unified_alerts: 60,
        vulnerabilities: 60,
        ..Setup::new(1_767_225_600_000_000)
    });
    let (mut sums, mut reasons) = ([0; 2], [Vec::new(), Vec::new()]);
    for stream in Stream::ALL {
        let kind = kind_of(stream);
        let read = |id: &u64| serde_json::from_slice::<Value>(&console.record(kind, *id).unwrap()).unwrap();
        let ids = console.ids(kind);
        let records: Vec<Value> = ids.iter().take(ORDINARY).map(read).collect();
        for (number, (first, prefix)) in first_shapes().iter().zip(prefixes).enumerate() {
            let name = format!("{prefix}.{stream}-odd{number}");
            for (index, records) in [odd(&records[0], first), records.clone()].iter().enumerate() {
                sums[index] += records.len();
                reasons[index].extend(sent(&node, schema, &name, stream, records).await);
            }
        }
    }
    let [odd, ordinary] = reasons;
    println!("{schema:?}: {} of {} odd, {} of {} ordinary refused", odd.len(), sums[0], ordinary.len(), sums[1]);
    assert!(odd.is_empty() && ordinary.is_empty(), "{:?} {:?}", odd.first(), ordinary.first());
    assert!(sums[0] > 1_500 && sums[1] > 500, "{sums:?}");
}

#[tokio::test]
async fn odd_records_decide_no_type_in_ecs() {
    check(Schema::Ecs, ["logs-sentinel_one"; 2]).await;
}

/// Also under the names of the template for ECS, which are the default.
#[tokio::test]
async fn odd_records_decide_no_type_in_ocsf() {
    check(Schema::Ocsf, ["logs-ocsf", "logs-sentinel_one.ocsf"]).await;
}
