//! ECS's own requirements of an event: known fields, their types, lists for list fields, and matching categories.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;

use s1_forwarder_record::Timestamp;
use serde_json::Value;

struct Field {
    kind: &'static str,
    is_list: bool,
}

static FIELDS: LazyLock<BTreeMap<&'static str, Field>> = LazyLock::new(|| {
    let lines = include_str!("../data/ecs-fields-9.4.0.csv").lines().skip(1);
    lines
        .map(|line| {
            let mut cells = line.split(',');
            let name = cells.next().unwrap();
            let kind = cells.next().unwrap();
            let list = cells.next().unwrap();
            (name, Field { kind, is_list: list == "array" })
        })
        .collect()
});

static CATEGORIES: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../data/ecs-categorization-9.4.0.json")).unwrap());

/// Returns all faults of an event.
pub fn faults(event: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for required in ["@timestamp", "ecs", "event", "labels", "observer", "tags"] {
        if event.get(required).is_none() {
            faults.push(format!("{required} is missing"));
        }
    }
    for (name, value) in event.as_object().expect("an object") {
        if name == "sentinel_one" {
            empty(value, name, &mut faults);
        } else {
            check(value, name, &mut faults);
        }
    }
    categories(event, &mut faults);
    faults
}

fn check(value: &Value, path: &str, faults: &mut Vec<String>) {
    if path.starts_with("labels.") || path.starts_with("container.labels.") {
        if !value.is_string() {
            faults.push(format!("{path} is no keyword"));
        }
        return;
    }
    match (FIELDS.get(path), value) {
        (Some(field), Value::Array(elements)) if field.is_list => {
            if elements.is_empty() {
                faults.push(format!("{path} is empty"));
            }
            if elements.iter().map(Value::to_string).collect::<BTreeSet<_>>().len() < elements.len()
                && field.kind != "object"
            {
                faults.push(format!("{path} holds doubles: {value}"));
            }
            for element in elements {
                match element {
                    Value::Object(entries) if field.kind == "object" => {
                        entries.iter().for_each(|(name, value)| check(value, &format!("{path}.{name}"), faults));
                    }
                    _ => scalar(element, path, field, faults),
                }
            }
        }
        (Some(field), Value::Object(entries)) if field.kind == "object" => {
            entries.iter().for_each(|(name, value)| check(value, &format!("{path}.{name}"), faults));
        }
        (Some(field), _) if field.is_list => faults.push(format!("{path} must be a list")),
        (Some(field), _) => scalar(value, path, field, faults),
        (None, Value::Object(entries)) => {
            if entries.is_empty() {
                faults.push(format!("{path} is empty"));
            }
            entries.iter().for_each(|(name, value)| check(value, &format!("{path}.{name}"), faults));
        }
        (None, _) => faults.push(format!("{path} is no field of ECS")),
    }
}

fn scalar(value: &Value, path: &str, field: &Field, faults: &mut Vec<String>) {
    let text = value.as_str().filter(|text| !text.is_empty());
    let fits = match field.kind {
        "keyword" | "wildcard" | "match_only_text" | "constant_keyword" => text.is_some(),
        "date" => text.is_some_and(|text| text.ends_with('Z') && Timestamp::parse(text).is_ok()),
        // The canonical form is defined by RFC 5952.
        "ip" => text.is_some_and(|text| text.parse::<IpAddr>().is_ok_and(|address| address.to_string() == text)),
        "long" => value.is_i64(),
        "float" | "scaled_float" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => false,
    };
    if !fits {
        faults.push(format!("{path} is no {}: {value}", field.kind));
    }
    let is_port = path.ends_with(".port");
    if is_port && !(1..=65_535).contains(&value.as_i64().unwrap_or(-1)) {
        faults.push(format!("{path} is no port: {value}"));
    }
    if text.is_some_and(|text| is_placeholder(path, field.kind, text)) {
        faults.push(format!("{path} is a placeholder: {value}"));
    }
}

/// Returns whether a field has the console's text for a missing value.
fn is_placeholder(path: &str, kind: &str, text: &str) -> bool {
    match kind {
        "date" => text < "1970-01-02",
        // A resolver that blocks a name answers with `0.0.0.0`.
        "ip" => text.parse::<IpAddr>().is_ok_and(|address| {
            (address.is_unspecified() && path != "dns.resolved_ip") || (path == "related.ip" && address.is_loopback())
        }),
        _ if path == "host.domain" && text.eq_ignore_ascii_case("workgroup") => true,
        // A word of ECS, a sentence, and an identity that ends with the version as the console gave it.
        _ if matches!(path, "event.outcome" | "message" | "event.id") => false,
        _ => {
            let words = ["", "-1", "n/a", "none", "null", "unknown", "not available", "unknown file"];
            let text = text.trim().to_lowercase();
            words.contains(&text.as_str()) || text.ends_with("\\unknown file")
        }
    }
}

/// Checks that no value is empty, at any depth of the vendor namespace.
fn empty(value: &Value, path: &str, faults: &mut Vec<String>) {
    let is_empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => {
            elements.iter().for_each(|element| empty(element, path, faults));
            elements.is_empty()
        }
        Value::Object(entries) => {
            entries.iter().for_each(|(name, value)| empty(value, &format!("{path}.{name}"), faults));
            entries.is_empty()
        }
        _ => false,
    };
    if is_empty {
        faults.push(format!("{path} holds something empty"));
    }
}

/// Checks that kind and outcome are allowed words, that a category expects each type, and that each category has one of
/// its types.
fn categories(event: &Value, faults: &mut Vec<String>) {
    let event = &event["event"];
    let allowed = |name: &str, value: &Value| CATEGORIES[name].get(value.as_str().unwrap_or("")).is_some();
    if !allowed("event.kind", &event["kind"]) {
        faults.push(format!("event.kind {}", event["kind"]));
    }
    if !event["outcome"].is_null() && !allowed("event.outcome", &event["outcome"]) {
        faults.push(format!("event.outcome {}", event["outcome"]));
    }
    if event["kind"] == "pipeline_error" {
        return;
    }
    let words =
        |name: &str| -> Vec<&str> { event[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect() };
    let categories = words("category");
    let types = words("type");
    if categories.is_empty() || types.is_empty() {
        faults.push("event.category or event.type is missing".to_owned());
    }
    let expected = |category: &str, kind: &str| {
        CATEGORIES["event.category"][category].as_array().is_some_and(|types| types.iter().any(|known| known == kind))
    };
    for category in &categories {
        if !types.iter().any(|kind| expected(category, kind)) {
            faults.push(format!("none of {types:?} is expected with {category}"));
        }
    }
    for kind in &types {
        if !categories.iter().any(|category| expected(category, kind)) {
            faults.push(format!("{kind} is expected with none of {categories:?}"));
        }
    }
}

#[test]
fn faults_are_found() {
    let faults_of = |event: &str| faults(&serde_json::from_str(event).unwrap()).join("\n");
    let found = faults_of(
        r#"{"host":{"ip":"10.0.0.1","name":["a"],"nonsense":1,"mac":["A","A"]},"source":{"port":70000,"ip":"x"},
            "event":{"kind":"alarm","category":["malware"],"type":["creation"],"created":"2022-01-01","severity":"21"},
            "sentinel_one":{"a":[null]},"file":{},"dns":{"question":{"name":"N/A"}}}"#,
    );
    for expected in [
        "@timestamp is missing",
        "host.ip must be a list",
        "host.name is no keyword",
        "host.nonsense is no field",
        "host.mac holds doubles",
        "source.port is no port",
        "source.ip is no ip",
        "event.kind",
        "none of [\"creation\"]",
        "creation is expected with none",
        "event.created is no date",
        "event.severity is no long",
        "sentinel_one.a holds something empty",
        "file is empty",
        "dns.question.name is a placeholder",
    ] {
        assert!(found.contains(expected), "{expected} not in\n{found}");
    }
}
