//! `docs/mapping-ecs.md` is made from the code: each stream has an example, and a table. For the table, each leaf of a
//! probe is taken away, and what changes in the event is what the leaf is mapped to. `UPDATE_DOCS=1` writes both, every
//! other run compares them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use s1_forwarder::record::Stream;
use serde_json::Value;

use super::elastic::DIFFERENCES;
use super::support::map;

const BEGIN: &str = "<!-- The tables below are made by `UPDATE_DOCS=1 cargo test --test it mapping::docs`. -->\n";

#[test]
fn the_tables_of_the_manual_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mapping-ecs.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, written) = text.split_once(BEGIN).expect("the mark before the tables");
    let made = tables();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{made}")).unwrap();
        return;
    }
    assert!(
        written == made,
        "docs/mapping-ecs.md is not up to date: run UPDATE_DOCS=1 cargo test --test it mapping::docs"
    );
}

fn tables() -> String {
    let probes: Value = serde_json::from_str(include_str!("../data/probes.json")).unwrap();
    let mut text = differences();
    for stream in Stream::ALL {
        write!(text, "\n## {}\n", stream.name()).unwrap();
        text.push_str(&example(stream));
        match &probes[stream.name()] {
            Value::Array(kinds) => {
                for kind in kinds {
                    write!(text, "\n### {}\n", kind["title"].as_str().unwrap()).unwrap();
                    let is_first = kind == &kinds[0];
                    text.push_str(&table(stream, &kind["record"], |path| is_first || path.starts_with("data.")));
                }
            }
            record => text.push_str(&table(stream, record, |_| true)),
        }
    }
    text
}

/// Why values differ from those of Elastic's own package.
fn differences() -> String {
    let mut text =
        "\n## Where events differ from those of Elastic's package\n\n| event | field | reason |\n| --- | --- | --- |\n"
            .to_owned();
    for (stream, field, reason) in DIFFERENCES {
        writeln!(text, "| {stream} | `{field}` | {reason} |").unwrap();
    }
    text
}

/// A record and its event.
fn example(stream: Stream) -> String {
    let examples: Value = serde_json::from_str(include_str!("../data/examples.json")).unwrap();
    let record = &examples[stream.name()];
    let event = map(stream, record);
    assert!(event.get("error").is_none(), "{event:#}");
    let block = |value: &Value| format!("\n```json\n{value:#}\n```\n");
    format!("\nThe record{}\nbecomes the event{}", block(record), block(&event))
}

fn table(stream: Stream, record: &Value, shown: impl Fn(&str) -> bool) -> String {
    let mut text = "\n| source | ECS | sentinel_one.* |\n| --- | --- | --- |\n".to_owned();
    let whole = fields(stream, record);
    let none = fields(stream, &minimal(record, None));
    let mut rows: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for pointer in leaves(record) {
        let path = readable(&pointer);
        if !shown(&path) {
            continue;
        }
        let mut without = record.clone();
        remove(&mut without, &pointer);
        let (ecs, vendor) = rows.entry(path).or_default();
        // What goes when it goes, and, for values that step in for others, what comes when it is alone.
        let alone = fields(stream, &minimal(record, Some(&pointer)));
        let without = fields(stream, &without);
        for field in differing(&whole, &without).chain(differing(&alone, &none)) {
            match field.strip_prefix("sentinel_one.") {
                Some(field) => vendor.insert(field.to_owned()),
                None => ecs.insert(field),
            };
        }
    }
    for (path, (ecs, vendor)) in rows {
        let list =
            |fields: BTreeSet<String>| fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
        let dropped = if ecs.is_empty() && vendor.is_empty() { "dropped: a secret" } else { "" };
        writeln!(text, "| `{path}` | {}{dropped} | {} |", list(ecs), list(vendor)).unwrap();
    }
    text
}

/// The fields of the event; `sentinel_one` without the stream's own name in front.
fn fields(stream: Stream, record: &Value) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    let mut record = record.clone();
    // So that the event does not take the time of its mapping.
    if record.get("createdAt").is_none()
        && ![Stream::Threats, Stream::Alerts, Stream::UnifiedAlerts, Stream::Vulnerabilities].contains(&stream)
    {
        record["createdAt"] = "2000-01-01T00:00:00Z".into();
    }
    flatten(&map(stream, &record), "", &mut fields);
    let own = format!("sentinel_one.{}.", stream.singular());
    fields
        .into_iter()
        .filter(|(field, value)| {
            let is_of_whole_record = ["error.message", "sentinel_one.identity"].contains(&field.as_str());
            !(is_of_whole_record || field == "@timestamp" && is_now(value))
        })
        .map(|(field, value)| (field.replace(&own, "sentinel_one."), value))
        .collect()
}

fn is_now(time: &Value) -> bool {
    time.as_str().is_some_and(|time| !["2000", "2025", "2026-01", "2026-02"].iter().any(|year| time.starts_with(year)))
}

fn differing<'f>(
    one: &'f BTreeMap<String, Value>,
    other: &'f BTreeMap<String, Value>,
) -> impl Iterator<Item = String> + 'f {
    one.keys().chain(other.keys()).filter(|field| one.get(*field) != other.get(*field)).cloned()
}

/// Lists count as one field.
fn flatten(value: &Value, path: &str, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(value, &path, fields);
            }
        }
        _ => drop(fields.insert(path.to_owned(), value.clone())),
    }
}

/// JSON pointers to the scalars of a record.
fn leaves(record: &Value) -> Vec<String> {
    fn walk(value: &Value, pointer: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(entries) => {
                entries.iter().for_each(|(key, value)| walk(value, &format!("{pointer}/{key}"), found));
            }
            Value::Array(elements) => {
                elements.iter().enumerate().for_each(|(at, value)| walk(value, &format!("{pointer}/{at}"), found));
            }
            _ => found.push(pointer.to_owned()),
        }
    }
    let mut found = Vec::new();
    walk(record, "", &mut found);
    found
}

fn readable(pointer: &str) -> String {
    let parts = pointer.split('/').skip(1);
    parts.fold(String::new(), |path, part| match part.parse::<usize>() {
        Ok(_) => path + "[]",
        Err(_) if path.is_empty() => part.to_owned(),
        Err(_) => format!("{path}.{part}"),
    })
}

fn remove(record: &mut Value, pointer: &str) {
    *record.pointer_mut(pointer).unwrap() = Value::Null;
}

/// The record with nothing but one leaf, and the number of its activity type, which decides what the leaf is.
fn minimal(record: &Value, keep: Option<&str>) -> Value {
    let mut alone = record.clone();
    for pointer in leaves(record) {
        if Some(pointer.as_str()) != keep && pointer != "/activityType" {
            remove(&mut alone, &pointer);
        }
    }
    alone
}
