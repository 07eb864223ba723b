//! Expectations of events, written from the records before their authors had seen an event. There are 67 public
//! records, with 5 to 12 fields each in both schemas. The records are not in this repository: they are below the
//! directory two levels above `S1_FORWARDER_ELASTIC_FIXTURES`, and `expectations.json` names them by file, place and
//! id.
//!
//! An expectation that was a plain mistake may be corrected; `comment` says so then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Map, Value};

use super::support::map_to;

/// Percentage of the expectations in each schema that have to hold.
const MIN_PERCENT: f64 = 98.0;

fn records() -> Option<PathBuf> {
    let fixtures = std::env::var_os("S1_FORWARDER_ELASTIC_FIXTURES").map(PathBuf::from);
    let root = fixtures.and_then(|path| path.ancestors().nth(2).map(Path::to_owned));
    let root = root.filter(|root| root.join("sentinelone/examples").is_dir());
    if root.is_none() {
        let message = "skipped: the records of expectations.json are not next to S1_FORWARDER_ELASTIC_FIXTURES";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
        println!("{message}");
    }
    root
}

/// Returns the record at a place: a line of NDJSON, or an answer and an index in recorded answers.
fn record(text: &str, place: &str) -> Value {
    match place.split_once('/') {
        None => serde_json::from_str(text.lines().nth(place.parse().unwrap()).unwrap()).unwrap(),
        Some((answer, index)) => {
            let file: Value = serde_json::from_str(text).unwrap();
            let index: usize = index.parse().unwrap();
            let data = file["responses"][answer.parse::<usize>().unwrap()]["body"]["data"].clone();
            let nodes = [&data[index], &data["alert"], &data["alerts"]["edges"][index]["node"]];
            nodes.into_iter().find(|node| node.is_object()).unwrap().clone()
        }
    }
}

/// Returns the value at a path in which a number is an index; null if there is no value.
fn at<'v>(event: &'v Value, path: &str) -> &'v Value {
    let step = |value: &'v Value, name: &str| match name.parse::<usize>() {
        Ok(index) if value.is_array() => value.get(index),
        _ => value.get(name),
    };
    path.split('.').try_fold(event, step).unwrap_or(&Value::Null)
}

/// Returns whether a value is as expected. A list may have more than the expected elements.
fn holds(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => expected.iter().all(|element| found.contains(element)),
        (Value::Number(found), Value::Number(expected)) => found.as_f64() == expected.as_f64(),
        _ => found == expected,
    }
}

#[test]
fn events_are_what_was_expected_before_anybody_saw_them() {
    let all: Vec<Map<String, Value>> = serde_json::from_str(include_str!("../data/expectations.json")).unwrap();
    assert!(all.len() >= 60);
    let Some(root) = records() else { return };
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    let mut percents = Vec::new();
    for (schema, name) in [(Schema::Ecs, "ecs"), (Schema::Ocsf, "ocsf")] {
        let mut held = 0;
        let mut count = 0;
        for entry in &all {
            let word = |key: &str| entry[key].as_str().unwrap();
            let file = word("file");
            let place = word("record");
            let text = texts.entry(file).or_insert_with(|| std::fs::read_to_string(root.join(file)).unwrap());
            let record = record(text, place);
            let stream: Stream = word("stream").parse().unwrap();
            let id = if stream == Stream::Alerts { &record["alertInfo"]["alertId"] } else { &record["id"] };
            assert_eq!(id, &entry["id"], "{file} {place} is another record");
            let event = map_to(schema, stream, &record);
            let fields = entry[name].as_object().unwrap();
            assert!((5..=12).contains(&fields.len()), "{file} {place}");
            for (path, expected) in fields {
                count += 1;
                let found = at(&event, path);
                if holds(found, expected) {
                    held += 1;
                } else {
                    println!("{name} {file} {place}: {path}: {found} instead of {expected}");
                }
            }
        }
        let percent = f64::from(held) * 100.0 / f64::from(count);
        println!("{name}: {held} of {count} expectations hold: {percent:.1} %");
        percents.push(percent);
    }
    assert!(percents.iter().all(|percent| *percent >= MIN_PERCENT), "{percents:?}");
}
