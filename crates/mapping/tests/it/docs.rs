//! `docs/mapping-ecs.md` and `docs/mapping-ocsf.md` are made from the code: each stream has an example, and a table.
//! For the table, each leaf of a probe is removed: the changed fields of the event are the leaf's mapping.
//! `docs/activity-types.md` has the activity types. `UPDATE_DOCS=1` writes all files, every other run compares them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use regex::Regex;
use s1_forwarder_mapping::{Schema, knows_activity_type, word_tables};
use s1_forwarder_record::{Stream, Timestamp};
use serde_json::Value;

use super::elastic::DIFFERENCES;
use super::processes::{Case, cases};
use super::support::{at, map_to};

const BEGIN: &str =
    "<!-- The tables below are made by `UPDATE_DOCS=1 cargo test -p s1-forwarder-mapping docs::`. -->\n";

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_tables_of_the_manual_are_those_of_the_code() {
    for page in [&ECS, &OCSF] {
        let path = root().join(page.path);
        let text = std::fs::read_to_string(&path).unwrap();
        let (head, written) = text.split_once(BEGIN).expect("the mark before the tables");
        let made = tables(page);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, format!("{head}{BEGIN}{made}")).unwrap();
            continue;
        }
        assert!(
            written == made,
            "{} is not up to date: run UPDATE_DOCS=1 cargo test -p s1-forwarder-mapping docs::",
            page.path
        );
    }
}

/// Each activity type of the tables, with the values that conditions of `drop` and `remap` can test.
#[test]
fn the_activity_types_of_the_manual_are_those_of_the_code() {
    let path = root().join("docs/activity-types.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, written) = text.split_once(BEGIN).expect("the mark before the table");
    let mut made = "\n| type | `event.action` | `event.severity` |\n| --- | --- | --- |\n".to_owned();
    for id in (0..100_000).filter(|id| knows_activity_type(*id)) {
        let record = serde_json::json!({ "id": "1", "activityType": id, "createdAt": "2026-01-31T00:00:00Z" });
        let event = &map_to(Schema::Ecs, Stream::Activities, &record)["event"];
        writeln!(made, "| {id} | {} | {} |", event["action"].as_str().unwrap(), event["severity"]).unwrap();
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{made}")).unwrap();
        return;
    }
    assert!(written == made, "not up to date: run UPDATE_DOCS=1 cargo test -p s1-forwarder-mapping docs::");
}

/// The manual of one schema.
struct Page {
    path: &'static str,
    schema: Schema,
    /// Its name, and the object of values without a field.
    columns: [&'static str; 2],
    vendor: &'static str,
    /// Fields that depend on the whole record.
    of_whole_record: &'static [&'static str],
    /// The time of an event. It is the time of mapping if the record has none.
    time: &'static str,
}

static ECS: Page = Page {
    path: "docs/mapping-ecs.md",
    schema: Schema::Ecs,
    columns: ["ECS", "sentinel_one.*"],
    vendor: "sentinel_one.",
    of_whole_record: &["error.message", "sentinel_one.identity"],
    time: "@timestamp",
};

static OCSF: Page = Page {
    path: "docs/mapping-ocsf.md",
    schema: Schema::Ocsf,
    columns: ["OCSF", "unmapped.*"],
    vendor: "unmapped.",
    // Observables repeat what other attributes have.
    of_whole_record: &["metadata.uid", "metadata.profiles", "observables"],
    time: "time",
};

fn tables(page: &Page) -> String {
    let probes: Value = serde_json::from_str(include_str!("../data/probes.json")).unwrap();
    let mut text = if page.schema == Schema::Ecs { differences() } else { String::new() };
    text.push_str(&words(page.schema));
    if page.schema == Schema::Ecs {
        text.push_str(&processes());
    }
    for stream in Stream::ALL {
        write!(text, "\n## {}\n", stream.name()).unwrap();
        text.push_str(&example(page, stream));
        match &probes[stream.name()] {
            Value::Array(kinds) => {
                for kind in kinds {
                    write!(text, "\n### {}\n", kind["title"].as_str().unwrap()).unwrap();
                    let is_first = kind == &kinds[0];
                    text.push_str(&table(page, stream, &kind["record"], |path| is_first || path.starts_with("data.")));
                }
            }
            record => text.push_str(&table(page, stream, record, |_| true)),
        }
    }
    text
}

/// Returns the reasons why values differ from the values of Elastic's own package.
fn differences() -> String {
    let mut text =
        "\n## Where events differ from those of Elastic's package\n\n| event | field | reason |\n| --- | --- | --- |\n"
            .to_owned();
    for (stream, field, reason) in DIFFERENCES {
        writeln!(text, "| {stream} | `{field}` | {reason} |").unwrap();
    }
    text
}

/// Returns the meanings of the console's words, in fields that have their own words.
fn words(schema: Schema) -> String {
    let mut text = "\n## Words of the console\n\nCase, spaces and hyphens do not matter; `*` is any part of a word, and a row that has more of the word comes first.\n\n| field | has | for |\n| --- | --- | --- |\n"
        .to_owned();
    for (field, rows) in word_tables(schema) {
        let mut meanings: Vec<(String, Vec<String>)> = Vec::new();
        for (word, meaning) in rows {
            let word = format!("`{word}`");
            match meanings.iter_mut().find(|(known, _)| *known == meaning) {
                Some((_, words)) => words.push(word),
                None => meanings.push((meaning, vec![word])),
            }
        }
        for (meaning, words) in meanings {
            writeln!(text, "| `{field}` | {meaning} | {} |", words.join(", ")).unwrap();
        }
    }
    text
}

/// Returns the cases of which process acted, by the values of a record.
fn processes() -> String {
    let mut text = "\n## Which process acted\n\nEach case is a record: a threat, a unified alert, an activity or an alert. What has no field here stays in the vendor namespace.\n\n| record | says | `process` | its parent | its command line | its user | `file.path` |\n| --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for Case { case, stream, record, .. } in cases() {
        let event = map_to(Schema::Ecs, stream, &record);
        let shown = |value: &Value| value.as_str().map_or(String::new(), |text| format!("`{text}`"));
        let process = |path: &str| {
            let process = at(&event, path);
            [&process["name"], &process["executable"]].map(shown).join(" ").trim_end().to_owned()
        };
        let [process, parent] = ["process", "process.parent"].map(process);
        let [line, user, file] =
            ["process.command_line", "process.user.name", "file.path"].map(|path| shown(at(&event, path)));
        let says = shows(&record);
        writeln!(
            text,
            "| {}: {case} | {says} | {process} | {parent} | {line} | {user} | {file} |",
            stream.singular().replace('_', " ")
        )
        .unwrap();
    }
    text
}

/// The values of a record that decide which process acted.
fn shows(record: &Value) -> String {
    let values = leaves(record).into_iter().filter_map(|pointer| {
        let value = record.pointer(&pointer)?;
        let is_shown = !value.is_null() && !["/id", "/agentId", "/threatId"].contains(&pointer.as_str());
        let path = readable(&pointer).replace("threatInfo.", "");
        (is_shown && path != "classification").then(|| format!("`{path}: {value}`"))
    });
    values.collect::<Vec<_>>().join(", ")
}

/// Tables that only ECS has words for.
const OF_ECS: [&str; 10] = [
    "CATEGORIES",
    "DATA_TYPES",
    "DETECTION_TYPES",
    "EVENT_IP_VERSIONS",
    "EVENT_KINDS",
    "OPERATIONS",
    "OS_TYPES",
    "RECORD_TYPES",
    "SCOPE_LEVELS",
    "SURFACES",
];

#[test]
fn each_table_of_words_is_printed() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let declaration = Regex::new(r"const (\w+): Words<").unwrap();
    let mut tables: Vec<(PathBuf, String)> = Vec::new();
    let mut directories = vec![source.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let names = declaration.captures_iter(&text).map(|found| found[1].to_owned());
                tables.extend(names.map(|name| (path.clone(), name)));
            }
        }
    }
    assert!(tables.len() > 30, "{tables:?}");
    for [own, other] in [["ecs", "ocsf"], ["ocsf", "ecs"]] {
        let text = std::fs::read_to_string(source.join(own).join("manual.rs")).unwrap();
        let (_, rest) = text.split_once("fn word_tables()").unwrap();
        let (printed, _) = rest.split_once("\n}\n").unwrap();
        let printed: BTreeSet<&str> = printed.split(|c: char| c != '_' && !c.is_alphanumeric()).collect();
        let mut names = BTreeSet::new();
        for (path, name) in &tables {
            assert!(path.starts_with(source.join(other)) || names.insert(name), "{own} has two tables {name}");
            let is_needed = !path.starts_with(source.join(other)) && (own == "ecs" || !OF_ECS.contains(&name.as_str()));
            assert!(!is_needed || printed.contains(name.as_str()), "{own}::word_tables() has not {name} of {path:?}");
        }
    }
}

/// A record and its event.
fn example(page: &Page, stream: Stream) -> String {
    let examples: Value = serde_json::from_str(include_str!("../data/examples.json")).unwrap();
    let record = &examples[stream.name()];
    let event = map_to(page.schema, stream, record);
    assert!(event.get("error").is_none(), "{event:#}");
    let block = |value: &Value| format!("\n```json\n{value:#}\n```\n");
    format!("\nThe record{}\nbecomes the event{}", block(record), block(&event))
}

fn table(page: &Page, stream: Stream, record: &Value, shown: impl Fn(&str) -> bool) -> String {
    let [schema, vendor] = page.columns;
    let mut text = format!("\n| source | {schema} | {vendor} |\n| --- | --- | --- |\n");
    let whole = fields(page, stream, record);
    let none = fields(page, stream, &minimal(record, None));
    let mut rows: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for pointer in leaves(record) {
        let path = readable(&pointer);
        if !shown(&path) {
            continue;
        }
        let mut without = record.clone();
        remove(&mut without, &pointer);
        let (ecs, vendor) = rows.entry(path).or_default();
        // The fields that disappear without the leaf and, for values that replace others, the fields that the leaf
        // alone gives.
        let alone = fields(page, stream, &minimal(record, Some(&pointer)));
        let without = fields(page, stream, &without);
        for field in differing(&whole, &without).chain(differing(&alone, &none)) {
            match field.strip_prefix(page.vendor) {
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
fn fields(page: &Page, stream: Stream, record: &Value) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    let mut record = record.clone();
    // Otherwise the event would have the time of mapping.
    if record.get("createdAt").is_none()
        && ![Stream::Threats, Stream::Alerts, Stream::UnifiedAlerts, Stream::Vulnerabilities].contains(&stream)
    {
        record["createdAt"] = "2000-01-01T00:00:00Z".into();
    }
    let event = map_to(page.schema, stream, &record);
    // A record without an id has its identity in place of the id. The identity depends on the whole record.
    let identity = event["metadata"]["uid"].clone();
    flatten(&event, "", &mut fields);
    // A number means the same as its caption.
    let numbers: Vec<String> = fields.keys().map(|name| format!("{name}_id")).collect();
    if page.schema == Schema::Ocsf {
        numbers.iter().for_each(|name| drop(fields.remove(name)));
    }
    let own = format!("sentinel_one.{}.", stream.singular());
    fields
        .into_iter()
        .filter(|(field, value)| {
            let is_of_whole_record = page.of_whole_record.contains(&field.as_str());
            let is_identity = identity.is_string() && *value == identity;
            !(is_of_whole_record || is_identity || field == page.time && is_now(value))
        })
        .map(|(field, value)| (field.replace(&own, "sentinel_one."), value))
        .collect()
}

fn is_now(time: &Value) -> bool {
    let now = Timestamp::now();
    let is_recent = |time: Timestamp| now.since(time).as_secs() < 3_600;
    match time {
        Value::String(text) => Timestamp::parse(text).is_ok_and(is_recent),
        millis => millis.as_i64().is_some_and(|millis| is_recent(Timestamp::from_micros(millis * 1_000))),
    }
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

/// Returns the record with only one leaf, and the number of its activity type, which decides the meaning of the leaf.
fn minimal(record: &Value, keep: Option<&str>) -> Value {
    let mut alone = record.clone();
    for pointer in leaves(record) {
        if Some(pointer.as_str()) != keep && pointer != "/activityType" {
            remove(&mut alone, &pointer);
        }
    }
    alone
}
