//! OCSF's own requirements of an event: the JSON Schema of its class, and the rules that JSON Schema cannot express.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::json_schema::JsonSchema;

/// A version of OCSF.
pub struct Version {
    /// Classes, objects, and their rules that JSON Schema cannot express.
    pub schema: Value,
    definitions: JsonSchema,
}

impl Version {
    fn read(text: &str) -> Self {
        let schema: Value = serde_json::from_str(text).unwrap();
        let definitions = JsonSchema::new(schema["$defs"].clone());
        Self { schema, definitions }
    }
}

/// The version that the mapping writes.
pub static NEWEST: LazyLock<Version> =
    LazyLock::new(|| Version::read(include_str!("../../data/ocsf/1.9.0/schema.json")));
/// The version for readers that accept no newer one.
pub static OLDER: LazyLock<Version> =
    LazyLock::new(|| Version::read(include_str!("../../data/ocsf/1.3.0/schema.json")));

/// Returns the version that an event names.
fn version_of(event: &Value) -> Option<&'static Version> {
    match event["metadata"]["version"].as_str()? {
        "1.9.0" => Some(&NEWEST),
        "1.3.0" => Some(&OLDER),
        _ => None,
    }
}

/// Returns the faults of an event by the JSON Schema of its class.
pub fn schema_faults(event: &Value) -> Vec<String> {
    let Some(version) = version_of(event) else {
        return vec![format!("metadata.version {}", event["metadata"]["version"])];
    };
    let uid = event["class_uid"].to_string();
    match version.schema["classes"].get(&uid) {
        Some(schema) => version.definitions.faults(schema, event),
        None => vec![format!("class {uid} is unknown")],
    }
}

/// Returns the whole JSON Schema of the event's class.
#[allow(dead_code, reason = "for the tests of the program")]
pub fn schema_of(event: &Value) -> Option<Value> {
    let whole = &version_of(event)?.schema;
    let mut schema = whole["classes"].get(event["class_uid"].to_string())?.clone();
    schema["$defs"] = whole["$defs"].clone();
    Some(schema)
}

/// Returns all faults of an event.
pub fn faults(event: &Value) -> Vec<String> {
    let uid = event["class_uid"].to_string();
    let mut faults = schema_faults(event);
    let Some(version) = version_of(event) else { return faults };
    let meta = &version.schema["meta"];
    if meta["classes"].get(&uid).is_none() {
        return faults;
    }
    let class = event["class_uid"].as_u64().unwrap_or_default();
    if event["category_uid"] != json!(class / 1_000) {
        faults.push(format!("category_uid {} of class {class}", event["category_uid"]));
    }
    let profiles: Vec<&str> =
        event["metadata"]["profiles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !profiles.is_sorted() {
        faults.push(format!("profiles in another order: {profiles:?}"));
    }
    let objects = &meta["objects"];
    let mut check = Check { objects, profiles: &profiles, used: Vec::new(), faults: &mut faults };
    check.object(event, &meta["classes"][uid.as_str()], "");
    let used = check.used;
    for profile in profiles.iter().filter(|profile| !used.iter().any(|used| used == *profile)) {
        faults.push(format!("no attribute of the profile {profile} is used"));
    }
    observables(event, &mut faults);
    empty(event, "", &mut faults);
    if faults.is_empty() && event["metadata"]["version"] == "1.9.0" {
        faults = faults_of_older(event);
    }
    faults
}

struct Check<'c> {
    objects: &'c Value,
    profiles: &'c [&'c str],
    used: Vec<String>,
    faults: &'c mut Vec<String>,
}

impl Check<'_> {
    fn value(&mut self, value: &Value, attributes: &Value, path: &str) {
        match value {
            Value::Array(elements) => elements.iter().for_each(|element| self.value(element, attributes, path)),
            Value::Object(_) => self.object(value, attributes, path),
            _ => {}
        }
    }

    fn object(&mut self, object: &Value, attributes: &Value, path: &str) {
        for (name, value) in object.as_object().unwrap() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let attribute = &attributes[name];
            if let Some(profile) = attribute["profile"].as_str() {
                self.used.push(profile.to_owned());
                if !self.profiles.contains(&profile) {
                    self.faults.push(format!("{path} needs the profile {profile}"));
                }
            }
            if let Some(version) = attribute["deprecated_since"].as_str() {
                self.faults.push(format!("{path} is deprecated since {version}"));
            }
            if attribute["type"] == "timestamp_t"
                && !(100_000_000_000..100_000_000_000_000).contains(&value.as_u64().unwrap_or(0))
            {
                self.faults.push(format!("{path} is no time: {value}"));
            }
            self.caption(object, attribute, value, &path);
            if let Some(kind) = attribute["type"].as_str() {
                self.value(value, &self.objects[kind], &path);
            }
        }
    }

    /// Checks that a number has the schema's caption next to it, and 99 a word of the source that no other number has.
    fn caption(&mut self, object: &Value, attribute: &Value, value: &Value, path: &str) {
        let (Some(sibling), Some(id)) = (attribute["sibling"].as_str(), value.as_u64()) else { return };
        let caption = object[sibling].as_str().unwrap_or_default();
        let expected = attribute["enum"][id.to_string().as_str()].as_str();
        let fits = if id == 99 {
            let others =
                attribute["enum"].as_object().into_iter().flatten().filter(|(id, _)| !["0", "99"].contains(&&***id));
            !caption.is_empty()
                && !others.filter_map(|(_, other)| other.as_str()).any(|other| other.eq_ignore_ascii_case(caption))
        } else {
            expected.is_none_or(|expected| expected == caption)
        };
        if !fits || caption.is_empty() {
            self.faults.push(format!("{path} {id} is called {caption:?}, not {expected:?}"));
        }
    }
}

/// Checks that each observable names a path of the event that has its value.
fn observables(event: &Value, faults: &mut Vec<String>) {
    for observable in event["observables"].as_array().into_iter().flatten() {
        let found = at(event, observable["name"].as_str().unwrap_or_default());
        if !found.iter().any(|value| **value == observable["value"]) {
            faults.push(format!("the observable {observable} is not there: {found:?}"));
        }
    }
}

/// Returns the values at a path in which `[]` follows the name of a list.
fn at<'v>(event: &'v Value, path: &str) -> Vec<&'v Value> {
    path.split('.').fold(vec![event], |values, part| {
        let (name, is_list) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
        let found = values.into_iter().filter_map(|value| value.get(name));
        if is_list { found.flat_map(|value| value.as_array().into_iter().flatten()).collect() } else { found.collect() }
    })
}

/// Checks that no value is empty, at any depth.
fn empty(value: &Value, path: &str, faults: &mut Vec<String>) {
    let is_empty = |entries: &Map<String, Value>| entries.is_empty();
    let fault = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => {
            elements.iter().for_each(|element| empty(element, path, faults));
            elements.is_empty()
        }
        Value::Object(entries) => {
            entries.iter().for_each(|(name, value)| empty(value, &format!("{path}.{name}"), faults));
            is_empty(entries)
        }
        _ => false,
    };
    if fault {
        faults.push(format!("{path} holds something empty"));
    }
}

/// Returns the event in OCSF 1.3.0.
pub fn older(event: &Value) -> Value {
    let mut bytes = event.to_string().into_bytes();
    s1_forwarder_mapping::to_ocsf_1_3(&mut bytes, 0);
    serde_json::from_slice(&bytes).unwrap()
}

/// Returns the faults of a valid event of 1.9.0 after its conversion to 1.3.0.
fn faults_of_older(event: &Value) -> Vec<String> {
    let older = older(event);
    let mut found = faults(&older);
    if older["metadata"]["version"] != "1.3.0" || older["metadata"]["uid"] != event["metadata"]["uid"] {
        found.push(format!("metadata {}", older["metadata"]));
    }
    let (mut texts, mut older_texts) = (Vec::new(), Vec::new());
    leaves(event, "", &mut texts);
    leaves(&older, "", &mut older_texts);
    let known: HashSet<&str> = older_texts.iter().map(|(_, text)| text.as_str()).collect();
    for (name, text) in texts.into_iter().filter(|(_, text)| !known.contains(text.as_str())) {
        // Names that differ in another class or version.
        let is_other = ["version", "class_name", "category_name", "type_name", "activity_name", "initiator"]
            .contains(&name)
            || name == "action" && ["Observed", "Modified"].contains(&&*text)
            || text.len() < 4 && name != "uid"
            || name.ends_with("_uid") && text.parse::<u32>().is_ok();
        if !is_other && !older_texts.iter().any(|(name, older)| *name == "comment" && older.contains(&text)) {
            found.push(format!("{name} {text:?} is lost"));
        }
    }
    found.into_iter().map(|fault| format!("as 1.3.0: {fault}")).collect()
}

/// Collects the names and texts of all scalars, except observables and profiles.
fn leaves<'v>(value: &'v Value, name: &'v str, found: &mut Vec<(&'v str, String)>) {
    match value {
        Value::Object(entries) => entries
            .iter()
            .filter(|(name, _)| !["observables", "profiles"].contains(&name.as_str()))
            .for_each(|(name, value)| leaves(value, name, found)),
        Value::Array(elements) => elements.iter().for_each(|element| leaves(element, name, found)),
        Value::String(text) => found.push((name, text.clone())),
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => found.push((name, number.to_string())),
    }
}
