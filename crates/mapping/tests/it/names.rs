//! Keys that no record type has, with the names that the vendor object has for other values.

use std::collections::BTreeSet;
use std::sync::Arc;

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::{Level, Scope, Stream};
use serde_json::{Value, json};

use super::support::{mapper_to, read_event};

/// Returns the event of a record, with a scope and an enrichment. Fails if an object has a key twice.
fn map_all(schema: Schema, stream: Stream, record: &Value) -> Value {
    let mut mapper = mapper_to(schema, stream, false);
    mapper.set_scope(Some(Arc::new(Scope { level: Level::Site, id: "7".into(), name: Some("Berlin".into()) })));
    let item = json!({ "id": "5", "createdAt": "2026-01-01T00:00:00Z", "text": "t", "creator": "jane", "more": "x" });
    let enrichment =
        json!({ "notes": [item], "notesCount": 1, "timeline": [item], "timelineCount": 3, "error": "status 500" });
    let fetched = (stream == Stream::Threats).then(|| enrichment.to_string());
    let mut out = Vec::new();
    mapper
        .map_record(record.to_string().as_bytes(), None, fetched.as_deref().map(str::as_bytes), &mut out)
        .unwrap_or_else(|error| panic!("{error}: {record}"));
    read_event(&out)
}

fn vendor_object(schema: Schema, stream: Stream, event: &Value) -> &Value {
    match schema {
        Schema::Ocsf => &event["unmapped"],
        _ => &event["sentinel_one"][stream.singular()],
    }
}

fn names(schema: Schema, stream: Stream, event: &Value) -> BTreeSet<String> {
    vendor_object(schema, stream, event).as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |key, word| match word.split_at_checked(1) {
        Some((letter, rest)) => key + &letter.to_ascii_uppercase() + rest,
        None => key,
    })
}

/// A record with every leaf, and the same with lists in place of values: some names are only for odd values.
#[test]
fn an_unknown_key_never_takes_the_name_of_another_value() {
    let probes: Value = serde_json::from_str(include_str!("../data/probes.json")).unwrap();
    let mut tried = 0;
    for (schema, stream) in [Schema::Ecs, Schema::Ocsf].into_iter().flat_map(|schema| Stream::ALL.map(|s| (schema, s)))
    {
        let records: Vec<&Value> = match &probes[stream.name()] {
            Value::Array(kinds) => kinds.iter().map(|kind| &kind["record"]).collect(),
            record => vec![record],
        };
        let mut known = BTreeSet::new();
        for record in records {
            let odd = record.as_object().unwrap().keys().map(|key| {
                let mut odd = record.clone();
                odd[key] = json!(["x"]);
                odd
            });
            for record in [record.clone()].into_iter().chain(odd) {
                let event = map_all(schema, stream, &record);
                for name in names(schema, stream, &event).into_iter().filter(|name| known.insert(name.clone())) {
                    for key in BTreeSet::from([camel_case(&name), name]) {
                        let mut with_key = record.clone();
                        if with_key.get(&key).is_none() {
                            with_key[&key] = json!("of-no-field");
                            let event = map_all(schema, stream, &with_key);
                            let vendor = vendor_object(schema, stream, &event).to_string();
                            assert!(vendor.contains("of-no-field"), "{schema:?} {stream}: {key} is lost\n{vendor}");
                            tried += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(tried > 200, "{tried}");
}
