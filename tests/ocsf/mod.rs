//! What OCSF demands of an event, as the tests of the mapping check it, and whether they check it rightly.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

#[path = "../../crates/mapping/tests/it/ocsf/json_schema.rs"]
mod json_schema;
#[path = "../../crates/mapping/tests/it/ocsf/validity.rs"]
pub mod validity;

/// Valid and invalid events.
fn examples() -> Vec<Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/mapping/tests/data/ocsf");
    let folders = ["1.9.0/valid", "1.9.0/invalid", "1.3.0/valid", "1.3.0/invalid"].map(|folder| directory.join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| serde_json::from_slice(&fs::read(file).unwrap()).unwrap()).collect()
}

/// JSON pointers to all values below `value`.
fn pointers(value: &Value, pointer: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(entries) => entries.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(elements) => elements.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (name, value) in children {
        let pointer = format!("{pointer}/{name}");
        pointers(value, &pointer, found);
        found.push(pointer);
    }
}

/// The event with another value at `pointer`, and the event without the value.
fn changed(event: &Value, pointer: &str) -> Vec<Value> {
    let replaced = [json!(7), json!("x"), json!({ "unknown": 1 })].map(|other| {
        let mut event = event.clone();
        *event.pointer_mut(pointer).unwrap() = other;
        event
    });
    let mut without = event.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match without.pointer_mut(parent).unwrap() {
        Value::Object(entries) => drop(entries.remove(name)),
        Value::Array(elements) => drop(elements.remove(name.parse().unwrap())),
        _ => unreachable!("a value has children"),
    }
    replaced.into_iter().chain([without]).collect()
}

/// The mapping's tests have a small reader of JSON Schema of their own, for the sake of a short build.
#[test]
fn the_check_of_events_agrees_with_a_library() {
    let mut validators = BTreeMap::new();
    let mut counts = [0, 0];
    for (index, example) in examples().into_iter().enumerate() {
        let mut found = Vec::new();
        pointers(&example, "", &mut found);
        // Every fourth place, another one in each example: all of them take a minute.
        let places = found.iter().skip(index % 4).step_by(4).filter(|pointer| *pointer != "/class_uid");
        let broken = places.flat_map(|at| changed(&example, at));
        for event in broken.chain([example.clone()]) {
            let Some(schema) = validity::schema_of(&event) else { continue };
            let validator = validators
                .entry((event["metadata"]["version"].to_string(), event["class_uid"].to_string()))
                .or_insert_with(|| jsonschema::options().should_validate_formats(true).build(&schema).unwrap());
            let faults = validity::schema_faults(&event);
            assert_eq!(faults.is_empty(), validator.is_valid(&event), "{faults:#?}\n{event:#}");
            counts[usize::from(faults.is_empty())] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 300), "invalid, valid: {counts:?}");
}
