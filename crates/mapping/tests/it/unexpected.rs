//! A field of the vendor namespace has values of one shape, whatever a record has. An index knows a name as an object
//! or as a scalar, and refuses the other. Values that do not fit are in a text.

use std::collections::BTreeMap;

use s1_forwarder_mapping::{Schema, UNEXPECTED};
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::support::{map, mapper_to, read_event};
use super::varied::{FREE_FORM, complete_records};

/// Checks the values that do not fit, and returns the stream's own object.
#[track_caller]
fn check(stream: Stream, record: &Value, expected: &Value) -> Value {
    let own = map(stream, record)["sentinel_one"][stream.singular()].clone();
    let unexpected: Value = own[UNEXPECTED].as_str().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
    assert_eq!(&unexpected, expected, "{own:#}");
    own
}

#[test]
fn values_of_another_shape_are_a_text() {
    let own = check(
        Stream::Threats,
        &json!({ "id": "1", "threatInfo": { "threatName": { "en": "x", "de": null }, "detectionEngines": "all" },
                 "agentRealtimeInfo": "gone", "indicators": [{ "ids": [{ "a": 1 }], "tactics": ["t"] }, { "ids": [2] }] }),
        &json!({ "name": { "en": "x" }, "threat_info": { "threat_name": { "en": "x" }, "detection_engines": "all" },
                 "agent_realtime_info": "gone", "indicators": { "ids": [{ "a": 1 }], "tactics": ["t"] } }),
    );
    assert_eq!((own.get("name"), own.get("agent_realtime_info")), (None, None));
    assert_eq!(own["indicators"], json!([{ "ids": [2] }]));
    let own = check(
        Stream::Activities,
        &json!({ "id": "1", "comments": { "text": "x" }, "data": { "a": { "b": 1 } } }),
        &json!({ "comments": { "text": "x" } }),
    );
    assert_eq!(own["data"]["flattened"]["a"], json!({ "b": 1 }), "`data` is one field, with any shapes");
}

#[test]
fn objects_under_unknown_keys_are_a_text_and_scalars_are_not() {
    let own = check(
        Stream::Alerts,
        &json!({ "newText": "t", "newNumber": 7, "newList": ["a", ["b{"]], "newBlock": { "licenseKey": "s", "inner": { "x": [] , "y": 1 } },
                 "newItems": [{ "z": 1 }], "alertInfo": { "alertId": "1", "newBlock": { "w": true } }, "emptyBlock": { "v": null } }),
        &json!({ "new_block": { "inner": { "y": 1 } }, "new_items": [{ "z": 1 }], "alert_info": { "new_block": { "w": true } } }),
    );
    assert_eq!(
        (&own["new_text"], &own["new_number"], &own["new_list"]),
        (&json!("t"), &json!(7), &json!(["a", ["b{"]]))
    );
    assert_eq!(own.get("empty_block"), None);
}

/// Every key of a record with every shape, and every kind of value under an unknown key.
#[test]
fn no_record_changes_the_shape_of_a_field() {
    let shapes = [
        json!({ "en": "x" }),
        json!([{ "a": 1 }]),
        json!("text"),
        json!(["a", 1]),
        json!(5),
        json!(true),
        json!([{ "a": 1 }, "b"]),
        json!([[{ "a": 1 }]]),
    ];
    for stream in Stream::ALL {
        let mut seen = Seen::default();
        for record in complete_records(stream) {
            seen.add(stream, &record);
            for path in paths(&record, "") {
                for shape in &shapes {
                    let mut odd = record.clone();
                    *odd.pointer_mut(&path).unwrap() = shape.clone();
                    seen.add(stream, &odd);
                }
            }
            for shape in &shapes {
                let mut odd = record.clone();
                odd["brandNew"] = shape.clone();
                odd["otherNew"] = json!({ "inner": shape });
                seen.add(stream, &odd);
            }
        }
        assert!(seen.0.len() > 20, "{stream}: {} fields", seen.0.len());
    }
}

/// Whether a field is an object, and the first record that had it.
#[derive(Default)]
struct Seen(BTreeMap<String, (bool, String)>);

impl Seen {
    fn add(&mut self, stream: Stream, record: &Value) {
        let mut out = Vec::new();
        let record = record.to_string();
        mapper_to(Schema::Ecs, stream, false).map(record.as_bytes(), &mut out).unwrap();
        self.walk(&read_event(&out), "", &record);
    }

    fn walk(&mut self, value: &Value, path: &str, record: &str) {
        if let Value::Array(elements) = value {
            return elements.iter().for_each(|element| self.walk(element, path, record));
        }
        if FREE_FORM.contains(&path) {
            return assert!(value.is_object(), "{path}: {record}");
        }
        let (is_object, first) =
            self.0.entry(path.to_owned()).or_insert_with(|| (value.is_object(), record.to_owned()));
        assert_eq!(*is_object, value.is_object(), "{path}:\n{first}\n{record}");
        for (name, value) in value.as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.walk(value, &path, record);
        }
    }
}

/// Returns the JSON pointers of all values except the record itself. For a list, only its first element counts.
fn paths(value: &Value, path: &str) -> Vec<String> {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(entries) => entries.iter().map(|(name, value)| (format!("{path}/{name}"), value)).collect(),
        Value::Array(elements) => elements.first().map(|element| (format!("{path}/0"), element)).into_iter().collect(),
        _ => Vec::new(),
    };
    inner.into_iter().flat_map(|(path, value)| [vec![path.clone()], paths(value, &path)].concat()).collect()
}
