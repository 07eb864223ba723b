//! The definition of the resource `Pipeline` for Kubernetes, made from the JSON Schema of pipeline files.

use s1_forwarder_settings::SettingKind;
use serde_json::{Map, Value, json};

use super::resource::{GROUP, KIND, PLURAL, VERSION};
use super::schema::schema;
use super::structural::{structural, tagged};

/// Most sinks of a resource. The API server limits what rules over lists may cost.
const MAX_SINKS: usize = 16;

/// Most batches of a resource that one lane sends at a time, as of any tenant's file.
const MAX_CONCURRENCY: u64 = 64;

/// Returns the CustomResourceDefinition of `Pipeline`.
pub fn definition() -> Value {
    let version = json!({
        "name": VERSION,
        "served": true,
        "storage": true,
        "subresources": { "status": {} },
        "additionalPrinterColumns": columns(),
        "schema": { "openAPIV3Schema": {
            "type": "object",
            "description": "One customer of s1-forwarder: a SentinelOne console, its streams, and the sinks that receive them.",
            "properties": {
                "apiVersion": { "type": "string" },
                "kind": { "type": "string" },
                "metadata": { "type": "object" },
                "spec": spec(),
                "status": status(),
            },
            "required": ["spec"],
        }},
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{PLURAL}.{GROUP}") },
        "spec": {
            "group": GROUP,
            "names": { "kind": KIND, "listKind": "PipelineList", "plural": PLURAL, "singular": "pipeline", "shortNames": ["s1p"] },
            "scope": "Namespaced",
            "versions": [version],
        },
    })
}

/// Returns the columns of `kubectl get pipelines`. A past time is shown as its age, so that the lag is current.
fn columns() -> Value {
    let column = |name: &str, kind: &str, path: &str, priority: u8| json!({ "name": name, "type": kind, "jsonPath": path, "priority": priority });
    json!([
        column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status", 0),
        column("Reason", "string", ".status.conditions[?(@.type==\"Ready\")].reason", 0),
        column("Lag", "date", ".status.completeUntil", 0),
        column("Last success", "date", ".status.lastSuccess", 0),
        column("Dead letters", "integer", ".status.deadLettersStored", 0),
        column("Token expires", "string", ".status.tokenExpires", 0),
        column("Worker", "string", ".status.worker", 1),
        column("Age", "date", ".metadata.creationTimestamp", 0),
    ])
}

fn spec() -> Value {
    let mut file = schema();
    // The resource has a name, and keys that it does not have may come from `--defaults`.
    for (path, key) in [("", "required"), ("/properties", "name"), ("/properties/console", "required")] {
        if let Some(map) = file.pointer_mut(path).and_then(Value::as_object_mut) {
            map.remove(key);
        }
    }
    if let Some(rate) = file.pointer_mut("/properties/console/properties/requests_per_second") {
        rate["minimum"] = 1.into();
    }
    if let Some(url) = file.pointer_mut("/properties/console/properties/url") {
        url["pattern"] = "^https?://".into();
    }
    let mut spec = structural(&file, "spec");
    spec.insert(
        "description".to_owned(),
        "The pipeline file. Keys that it does not have may come from the worker's --defaults.".into(),
    );
    if let Some(properties) = spec.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("sinks".to_owned(), sinks());
    }
    spec.into()
}

fn sinks() -> Value {
    // A resource cannot write to the worker's own output.
    let forms = s1_forwarder_destinations::settings::types()
        .iter()
        .filter_map(|name| s1_forwarder_destinations::settings::schema(name));
    let forms: Vec<_> = forms.filter(|form| SettingKind::of(form) != Some(SettingKind::WorkerOutput)).collect();
    let name = "(has(NAME.name) ? NAME.name : NAME.type)";
    let one = name.replace("NAME", "one");
    let other = name.replace("NAME", "other");
    let mut sink = tagged(&forms);
    if let Some(name) = sink.get_mut("properties").and_then(|properties| properties.get_mut("name")) {
        name["maxLength"] = 63.into();
    }
    if let Some(concurrency) = sink.get_mut("properties").and_then(|properties| properties.get_mut("concurrency")) {
        concurrency["maximum"] = MAX_CONCURRENCY.into();
    }
    if let Some(rules) = sink.get_mut("x-kubernetes-validations").and_then(Value::as_array_mut) {
        let message = "`url` and `urls` exclude each other: give one of them";
        rules.push(json!({ "rule": "!(has(self.url) && has(self.urls))", "message": message }));
        let rule = "!(self.type in ['splunk_hec', 'elasticsearch']) || has(self.url) || has(self.urls)";
        rules.push(json!({ "rule": rule, "message": "missing key `url`, or `urls` for fail-over" }));
    }
    let rules = json!([
        { "rule": "size(self) > 0", "message": "a pipeline needs at least one sink" },
        {
            "rule": format!("self.all(one, self.exists_one(other, {one} == {other}))"),
            "message": "another sink has the same name: give one of them a `name`",
        },
    ]);
    json!({
        "type": "array",
        "description": "Where the events go. Each sink has a `type`, and the keys of this type in brackets.",
        "items": sink,
        "maxItems": MAX_SINKS,
        "x-kubernetes-validations": rules,
    })
}

fn status() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let time = |description: &str| json!({ "type": "string", "format": "date-time", "description": description });
    let count = |description: &str| json!({ "type": "integer", "format": "int64", "description": description });
    let list = |keys: &[&str], properties: Value, required: &[&str]| {
        json!({
            "type": "array",
            "items": { "type": "object", "properties": properties, "required": required },
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": keys,
        })
    };
    let conditions = json!({
        "type": text("`Ready`, `ConsoleReachable`, `TokenValid`, `Delivering`, `Complete` or `Receiving`."),
        "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
        "reason": text("One word for programs."),
        "message": text("What is wrong, in words."),
        "observedGeneration": count("`metadata.generation` that it is about."),
        "lastTransitionTime": time("When the status last changed."),
    });
    let lanes = json!({
        "stream": text("Stream of the lane."),
        "sink": text("Sink of the lane."),
        "state": text("`starting`, `running`, `console_failing`, `console_refused`, `sink_failing`, `sink_refused`, `misconfigured`, `waiting_for_clock`, `stopped`, `renamed` or `done`."),
        "error": text("The current error of a failing lane, or what a renamed one waits for."),
        "lagSeconds": count("Seconds since `completeUntil`."),
        "completeUntil": time("Everything up to this time was pulled and delivered."),
        "lastSuccess": time("Last poll or delivery without an error."),
        "delivered": count("Events delivered since the worker started."),
        "deadLetters": count("Events that the sink refused permanently since the worker started."),
        "deadLettersStored": count("Dead letters that are stored now, including those of earlier workers."),
    });
    let mut properties = Map::new();
    for (name, schema) in [
        ("observedGeneration", count("`metadata.generation` that the worker runs or refuses.")),
        ("pipeline", text("Name of the pipeline in metrics, logs and checkpoints: NAMESPACE.NAME.")),
        ("worker", text("The worker that runs the lanes and writes this status.")),
        ("conditions", list(&["type"], conditions, &["type", "status", "reason", "lastTransitionTime"])),
        ("lanes", list(&["stream", "sink"], lanes, &["stream", "sink", "state"])),
        ("lagSeconds", count("The largest lag of the lanes.")),
        ("completeUntil", time("The earliest `completeUntil` of the lanes.")),
        ("lastSuccess", time("The latest `lastSuccess` of the lanes.")),
        ("delivered", count("Sum over the lanes.")),
        ("deadLetters", count("Sum over the lanes.")),
        ("deadLettersStored", count("Sum over the lanes.")),
        (
            "tokenExpires",
            json!({ "type": "string", "description": "When the console's API token expires, or `never`, if the console says so." }),
        ),
    ] {
        properties.insert(name.to_owned(), schema);
    }
    json!({ "type": "object", "description": "Written by the worker that runs the pipeline, at most every 30 seconds and when something changes.", "properties": properties })
}

/// Returns the definition as YAML.
pub fn definition_text() -> String {
    let mut text = "# Made by `s1-forwarder schema --kubernetes`.\n".to_owned();
    write(&definition(), 0, &mut text);
    text
}

/// Writes a value in block style, at the end of a line that ends with its key.
fn write(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                text.push_str(&format!("{indent}{}:", scalar(key)));
                write_after(value, depth, text);
            }
        }
        Value::Array(list) => {
            for element in list {
                if is_scalar(element) {
                    text.push_str(&format!("{indent}-"));
                    write_after(element, depth, text);
                    continue;
                }
                let mut inner = String::new();
                write(element, depth + 1, &mut inner);
                // The dash takes the place of the first line's indentation.
                text.push_str(&format!("{indent}- {}", &inner[indent.len() + 2..]));
            }
        }
        _ => text.push_str(&format!("{indent}{}\n", flat(value))),
    }
}

fn write_after(value: &Value, depth: usize, text: &mut String) {
    if is_scalar(value) {
        text.push_str(&format!(" {}\n", flat(value)));
    } else {
        text.push('\n');
        write(value, depth + 1, text);
    }
}

/// Returns whether a value is on the line of its key.
fn is_scalar(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.iter().all(|element| !element.is_object() && !element.is_array()),
        _ => true,
    }
}

fn flat(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(list) => {
            let elements: Vec<String> = list.iter().map(flat).collect();
            format!("[{}]", elements.join(", "))
        }
        other => other.to_string(),
    }
}

/// Returns a text without quotes only if no reader of YAML could take it for something else.
fn scalar(text: &str) -> String {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(is_word)
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if is_plain { text.to_owned() } else { Value::from(text).to_string() }
}
