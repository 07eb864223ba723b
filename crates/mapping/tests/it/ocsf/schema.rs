//! The check of validity accepts valid events, and refuses others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::validity::{NEWEST, OLDER, faults};

fn examples(version: &str, folder: &str) -> Vec<(String, Value)> {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ocsf");
    let path = data.join(version).join(folder);
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
    for version in ["1.9.0", "1.3.0"] {
        let examples = examples(version, "valid");
        assert_eq!(examples.len(), 17);
        for (name, event) in examples {
            // They were written by hand: some leave out a caption, list profiles in another order or shorten
            // observables.
            let faults: Vec<_> = faults(&event)
                .into_iter()
                .filter(|fault| {
                    !["is called \"\"", "another order", "is not there", "is used"]
                        .iter()
                        .any(|known| fault.contains(known))
                })
                .collect();
            assert_eq!(faults, Vec::<String>::new(), "{version} {name}");
        }
    }
}

/// Each event has a fault that names the problem.
#[test]
fn the_check_refuses_invalid_events() {
    let unknown = "Additional properties are not allowed";
    let newest = [
        ("application-lifecycle-without-application", "anyOf"),
        ("attestation-without-fingerprint", "/attestation_list/0"),
        ("authentication-without-service", "anyOf"),
        ("bad-ip", "device/ip"),
        ("cloud-profile-without-cloud", "\"cloud\" is a required property"),
        ("enum-severity", "/severity_id"),
        ("evidence-empty", "/evidences"),
        ("file-without-type_id", "\"type_id\" is a required property"),
        ("iam_role-without-name-or-uid", "/iam_role"),
        ("initiator-3", "/initiator_id"),
        ("missing-finding_info", "\"finding_info\" is a required property"),
        ("note-without-comment", "/notes/0: \"comment\" is a required property"),
        ("os-without-type_id", "\"type_id\" is a required property"),
        ("process-without-pid-or-uid", "/process"),
        ("remediation-without-command_uid", "\"command_uid\" is a required property"),
        ("role-management-without-iam_role", "\"iam_role\" is a required property"),
        ("severity-as-text", "/severity_id"),
        ("time-as-text", "/time"),
        ("unknown-attribute", unknown),
        ("user-management-activity-20", "/activity_id"),
        ("user-management-without-user", "\"user\" is a required property"),
        ("wrong-category", "category_uid"),
        ("wrong-type_uid", "/type_uid"),
    ];
    let older = [
        ("actor-application", unknown),
        ("advisory", unknown),
        ("app-without-vendor", "\"vendor_name\" is a required property"),
        ("application-instead-of-app", unknown),
        ("base-event-with-device", unknown),
        ("class-1010", "class 1010 is unknown"),
        ("class-3007", "class 3007 is unknown"),
        ("class-3008", "class 3008 is unknown"),
        ("control-without-action_id", "\"action_id\" is a required property"),
        ("file-signatures", unknown),
        ("file-type-8", "/type_id"),
        ("finding-without-title", "\"title\" is a required property"),
        ("is_alert", unknown),
        ("log_source", unknown),
        ("network-without-dst_endpoint", "\"dst_endpoint\" is a required property"),
        ("observable-45", "/observables/0/type_id"),
        ("process-path", unknown),
        ("remediation-5", "/activity_id"),
        ("service-user", "/type_id"),
        ("verdict", unknown),
    ];
    for (version, reasons) in [("1.9.0", &newest[..]), ("1.3.0", &older)] {
        let examples = examples(version, "invalid");
        assert_eq!(examples.len(), reasons.len());
        for ((name, event), (expected, reason)) in examples.into_iter().zip(reasons) {
            let faults = faults(&event);
            assert_eq!(name, *expected);
            assert!(faults.iter().any(|fault| fault.contains(reason)), "{version} {name}: {faults:#?}");
        }
    }
}

/// Makes an event invalid.
type Break = fn(&mut Value);

/// Rules that JSON Schema cannot express, one fault at a time.
#[test]
fn the_check_refuses_what_json_schema_accepts() {
    let (_, valid) = examples("1.9.0", "valid").into_iter().find(|(name, _)| name == "unified-alert").unwrap();
    assert_eq!(faults(&valid), Vec::<String>::new());
    let cases: [(&str, Break); 10] = [
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
        ("activity_id 99 is called", |event| {
            event["activity_id"] = json!(99);
            event["activity_name"] = json!("close");
        }),
        ("is deprecated since", |event| event["actor"] = json!({"app_name": "SentinelOne"})),
        ("is no time", |event| event["time"] = json!(1_742_159_152)),
    ];
    for (fault, change) in cases {
        let mut event = valid.clone();
        change(&mut event);
        let found = faults(&event);
        assert!(found.iter().any(|text| text.contains(fault)), "{fault}: {found:?}");
    }
}

/// Returns the name of a property's object, or the JSON type of another value. For a list, its elements count.
fn kind<'s>(definitions: &'s Value, property: &'s Value) -> &'s str {
    if let Some(name) = property["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        let definition = &definitions[name];
        return if definition.get("properties").is_some() { name } else { kind(definitions, definition) };
    }
    match property["type"].as_str() {
        Some("array") => kind(definitions, &property["items"]),
        Some(name) => name,
        None => match property["enum"].as_array().or(property["anyOf"].as_array()).map(|choices| &choices[0]) {
            Some(Value::Object(_)) => kind(definitions, &property["anyOf"][0]),
            Some(Value::Number(_)) => "integer",
            _ => "any",
        },
    }
}

/// An index, whose template has types by names and by JSON, can hold events of all classes in both versions.
#[test]
fn an_attribute_has_one_type_in_all_classes_and_versions() {
    let mut kinds: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for version in [&NEWEST, &OLDER] {
        let definitions = &version.schema["$defs"];
        let classes = version.schema["classes"].as_object().unwrap().values().map(|class| ("", class));
        let objects = definitions.as_object().unwrap().iter().map(|(name, object)| (name.as_str(), object));
        for (owner, definition) in classes.chain(objects) {
            for (name, property) in definition["properties"].as_object().into_iter().flatten() {
                let kind = kind(definitions, property);
                let known = kinds.entry((owner, name)).or_insert(kind);
                assert_eq!(*known, kind, "{owner}.{name}");
            }
        }
    }
    assert!(kinds.len() > 1_000);
    assert_eq!((kinds[&("", "application")], kinds[&("application", "name")]), ("application", "string"));
}
