//! The types that an index gives to the fields of the vendor namespace, before an event can decide them.
//! `deploy/opensearch/vendor-fields.*.json` are made from the fields that the mapping knows. `UPDATE_GOLDEN=1` writes
//! them, every other run compares them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use s1_forwarder_mapping::{OVERFLOW, Schema, UNEXPECTED, vendor_fields};
use s1_forwarder_record::{Level, Scope, Stream};
use serde_json::{Map, Value, json};

use super::support::{mapper_to, read_event};
use super::varied::{FREE_FORM, complete_records};

/// `RECORD,PATH,TYPE` by the vendor's specification.
const SPECIFIED: &str = include_str!("../../../../tests/data/fields.csv");

/// Leaves by their paths; true for numbers.
type Leaves = BTreeMap<String, bool>;

#[test]
fn every_field_of_the_vendor_namespace_has_a_type_in_the_templates() {
    let mut leaves = Leaves::new();
    for stream in Stream::ALL {
        let object = format!("sentinel_one.{}", stream.singular());
        add(&Value::Object(vendor_fields(stream)), &object, &mut leaves, |_| false);
        for record in complete_records(stream) {
            // A field of the record is missing from its event if a field of the schema has the same value.
            let mut own = Leaves::new();
            add_snake(&record, &object, &mut own);
            for (path, is_number) in own {
                leaves.entry(path).and_modify(|known| *known |= is_number);
            }
            for event in events(stream, &record) {
                add(&event["sentinel_one"], "sentinel_one", &mut leaves, Value::is_number);
            }
        }
        leaves.remove(&format!("{object}.{UNEXPECTED}"));
        leaves.remove(&format!("{object}.{OVERFLOW}"));
    }
    for (path, kind) in specified() {
        leaves.entry(path).and_modify(|is_number| *is_number = kind.starts_with("integer"));
    }
    for (product, flat) in [("opensearch", json!({ "type": "flat_object" })), ("elasticsearch", flattened())] {
        let mut properties = Map::new();
        for path in FREE_FORM.iter().copied().chain(["unmapped"]) {
            set(&mut properties, path, flat.clone());
        }
        for stream in Stream::ALL {
            for text in [UNEXPECTED, OVERFLOW] {
                let path = format!("sentinel_one.{}.{text}", stream.singular());
                set(&mut properties, &path, json!({ "type": "match_only_text" }));
            }
        }
        for (path, is_number) in &leaves {
            let kind = if *is_number {
                json!({ "type": "long", "ignore_malformed": true })
            } else {
                json!({ "type": "keyword", "ignore_above": 8191 })
            };
            set(&mut properties, path, kind);
        }
        let meta = "Fields of s1-forwarder's events that are no fields of a schema. Made from the mapping's own list";
        let template =
            json!({ "_meta": { "description": meta }, "template": { "mappings": { "properties": properties } } });
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../deploy/opensearch/vendor-fields.{product}.json"));
        let made = format!("{template:#}\n");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, made).unwrap();
            continue;
        }
        let is_current = std::fs::read_to_string(&path).unwrap() == made;
        assert!(is_current, "{path:?}: run UPDATE_GOLDEN=1 cargo test -p s1-forwarder-mapping templates::");
    }
    assert!(leaves.len() > 400 && !leaves["sentinel_one.threat.name"] && leaves["sentinel_one.activity.type"]);
}

fn flattened() -> Value {
    json!({ "type": "flattened", "ignore_above": 8191 })
}

/// Returns the events of a record, with and without an enrichment.
fn events(stream: Stream, record: &Value) -> Vec<Value> {
    let enrichment = json!({
        "notes": [{ "id": "1", "text": "x", "creator": "x", "creatorId": "1", "createdAt": "x", "updatedAt": "x", "edited": true }],
        "notesCount": 1, "timeline": [{ "id": "2", "primaryDescription": "x", "secondaryDescription": "x", "data": { "x": 1 } }],
        "timelineCount": 1, "error": "x",
    });
    let mut odd = record.clone();
    odd["severity"] = json!("HIGH");
    odd["id"] = json!("N/A");
    if stream == Stream::Agents {
        odd["uuid"] = json!("N/A");
    }
    [(record, None), (&odd, None), (record, Some(enrichment.to_string()))]
        .into_iter()
        .filter(|(_, enrichment)| stream == Stream::Threats || enrichment.is_none())
        .map(|(record, enrichment)| {
            let mut out = Vec::new();
            let mut mapper = mapper_to(Schema::Ecs, stream, false);
            mapper.set_scope(Some(Arc::new(Scope { level: Level::Site, id: "7".into(), name: Some("Berlin".into()) })));
            let enrichment = enrichment.as_deref().map(str::as_bytes);
            mapper.map_record(record.to_string().as_bytes(), None, enrichment, &mut out).unwrap();
            read_event(&out)
        })
        .collect()
}

/// Adds the leaves of a value, except leaves below free-form objects and below keys that may be any.
fn add(value: &Value, path: &str, leaves: &mut Leaves, is_number: impl Fn(&Value) -> bool + Copy) {
    match value {
        _ if FREE_FORM.contains(&path) || path.ends_with(".*") => {}
        Value::Object(entries) => {
            entries.iter().for_each(|(name, value)| add(value, &format!("{path}.{name}"), leaves, is_number));
        }
        Value::Array(elements) => elements.iter().for_each(|element| add(element, path, leaves, is_number)),
        _ => *leaves.entry(path.to_owned()).or_default() |= is_number(value),
    }
}

fn add_snake(value: &Value, path: &str, leaves: &mut Leaves) {
    match value {
        Value::Object(entries) => {
            entries.iter().for_each(|(name, value)| add_snake(value, &format!("{path}.{}", snake(name)), leaves));
        }
        Value::Array(elements) => elements.iter().for_each(|element| add_snake(element, path, leaves)),
        _ => *leaves.entry(path.to_owned()).or_default() |= value.is_number(),
    }
}

fn snake(key: &str) -> String {
    let is_capital = |at: usize| key.as_bytes().get(at).is_some_and(u8::is_ascii_uppercase);
    let mut name = String::new();
    for (at, letter) in key.char_indices() {
        if at > 0 && is_capital(at) && !is_capital(at - 1) {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Returns the types that the vendor specifies, by paths of the vendor namespace.
fn specified() -> impl Iterator<Item = (String, &'static str)> {
    SPECIFIED.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut cells = line.split(',');
        let (record, path, kind) = (cells.next()?, cells.next()?, cells.next()?);
        let stream = Stream::ALL.into_iter().find(|stream| stream.name() == record)?;
        let path: Vec<String> = path.split('.').map(|key| snake(key.trim_end_matches("[]"))).collect();
        (!kind.is_empty()).then(|| (format!("sentinel_one.{}.{}", stream.singular(), path.join(".")), kind))
    })
}

fn set(properties: &mut Map<String, Value>, path: &str, kind: Value) {
    match path.split_once('.') {
        None => _ = properties.insert(path.to_owned(), kind),
        Some((name, rest)) => {
            let object = properties.entry(name).or_insert_with(|| json!({ "properties": {} }));
            let inner = object["properties"].as_object_mut();
            set(inner.unwrap_or_else(|| panic!("{path}: {name} is no object")), rest, kind);
        }
    }
}
