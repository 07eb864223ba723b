//! The bounds of a record: 10,000 members of an object, 10,000 values of a list and 120 levels. One text of the event
//! has everything beyond the bounds, and no field has any of it.

use s1_forwarder_mapping::{OVERFLOW, Schema};
use s1_forwarder_record::Stream;
use serde_json::{Map, Value, json};

use super::support::{mapper_to, read_event};

const MAX_MEMBERS: usize = 10_000;

/// Returns the object of the event that has the rest of the record, without the overflow text, and this text.
fn map(schema: Schema, record: &str) -> (Value, Option<Value>) {
    let mut out = Vec::new();
    let mapped = mapper_to(schema, Stream::Alerts, true).map(record.as_bytes(), &mut out).unwrap();
    let event = read_event(&out);
    let own = if schema == Schema::Ecs { event["sentinel_one"]["alert"].clone() } else { event["unmapped"].clone() };
    let original = if schema == Schema::Ecs { &event["event"]["original"] } else { &event["raw_data"] };
    if !record.contains("licenseKey") {
        let compact: Value = serde_json::from_str(original.as_str().unwrap()).unwrap_or_default();
        assert!(compact.is_null() || compact == serde_json::from_str::<Value>(record).unwrap());
    }
    let overflow = own.get(OVERFLOW).map(|text| serde_json::from_str(text.as_str().unwrap()).unwrap());
    assert_eq!(mapped.overflowed, overflow.is_some(), "{own}");
    (own, overflow)
}

fn list(numbers: std::ops::Range<usize>) -> Value {
    numbers.map(|number| json!(format!("v{number}"))).collect::<Vec<_>>().into()
}

fn object(numbers: std::ops::Range<usize>) -> Map<String, Value> {
    numbers.map(|number| (format!("k{number:05}"), json!(number))).collect()
}

#[test]
fn values_beyond_the_bounds_are_a_text_with_their_path() {
    for schema in [Schema::Ecs, Schema::Ocsf] {
        for more in [0, 1, 5_000] {
            let record = json!({ "alertInfo": { "alertId": "7", "newList": list(0..MAX_MEMBERS + more) }, "id": "1" });
            let (own, overflow) = map(schema, &record.to_string());
            let info = own.get("alert_info").or(own.get("alertInfo")).unwrap();
            let kept = info.get("new_list").or(info.get("newList")).unwrap();
            assert_eq!(kept, &list(0..MAX_MEMBERS), "{schema:?}");
            let rest = (more > 0).then(|| json!({ "alertInfo": { "newList": list(MAX_MEMBERS..MAX_MEMBERS + more) } }));
            assert_eq!(overflow, rest, "{schema:?}, {more}");
        }
    }
}

#[test]
fn members_beyond_the_bounds_are_a_text_with_their_path() {
    let record = json!({ "id": "1", "zList": [{ "inner": object(0..MAX_MEMBERS + 2) }, { "inner": object(0..MAX_MEMBERS + 1) }] });
    for schema in [Schema::Ecs, Schema::Ocsf] {
        let (_, overflow) = map(schema, &record.to_string());
        let expected =
            json!({ "zList": { "inner": { "k10000": [MAX_MEMBERS, MAX_MEMBERS], "k10001": MAX_MEMBERS + 1 } } });
        assert_eq!(overflow, Some(expected), "{schema:?}: equal paths are a list");
    }
    // The record itself.
    let mut record = object(0..MAX_MEMBERS);
    record.insert("zz".to_owned(), json!({ "a": [1, "x"] }));
    let (own, overflow) = map(Schema::Ecs, &Value::from(record).to_string());
    assert_eq!(overflow, Some(json!({ "zz": { "a": [1, "x"] } })));
    assert_eq!((own.get("zz"), &own["k09999"]), (None, &json!(9_999)));
}

#[test]
fn equal_keys_beyond_the_bounds_are_all_there() {
    let members: Vec<_> = (0..MAX_MEMBERS + 3).map(|number| format!("\"x\":{number}")).collect();
    let record = format!("{{\"id\":\"1\",\"newKeys\":{{{}}}}}", members.join(","));
    let (own, overflow) = map(Schema::Ocsf, &record);
    assert_eq!(overflow, Some(json!({ "newKeys": { "x": [MAX_MEMBERS, MAX_MEMBERS + 1, MAX_MEMBERS + 2] } })));
    assert_eq!(own["newKeys"].as_object().unwrap().len(), MAX_MEMBERS);
    assert_eq!(own["newKeys"]["x_10000"], json!(MAX_MEMBERS - 1));
}

/// Secrets count that the mapping has not seen, too.
#[test]
fn secrets_beyond_the_bounds_are_in_no_part_of_an_event() {
    let secrets = json!([{ "licenseKey": "s3cret" }, { "a": { "passphrase": ["s3cret"] } }]);
    let mut values = list(0..MAX_MEMBERS).as_array().unwrap().clone();
    values.push(secrets);
    let mut members = object(0..MAX_MEMBERS);
    members.insert("licenseKey".to_owned(), json!("s3cret"));
    let record = json!({ "id": "1", "list": values, "object": members }).to_string();
    let deep = format!("{{\"id\":\"1\",\"deep\":{}{{\"licenseKey\":\"s3cret\"}}{}}}", "[".repeat(300), "]".repeat(300));
    for record in [record, deep] {
        for schema in [Schema::Ecs, Schema::Ocsf] {
            let mut out = Vec::new();
            let mapped = mapper_to(schema, Stream::Alerts, true).map(record.as_bytes(), &mut out).unwrap();
            let event = String::from_utf8(out).unwrap();
            assert!(mapped.overflowed && !event.contains("s3cret"), "{event}");
        }
    }
}

#[test]
fn a_key_of_the_record_does_not_take_the_name() {
    let record = json!({ "id": "1", "overflow": "mine" }).to_string();
    for schema in [Schema::Ecs, Schema::Ocsf] {
        let (own, overflow) = map(schema, &record);
        assert_eq!((&own["overflow_2"], overflow), (&json!("mine"), None));
    }
}

/// Records that are not JSON are repaired, and none of their damage passes through the text.
#[test]
fn a_damaged_record_is_repaired_first() {
    let record = format!("{{\"id\":\"1\",\"new\":{{{}\"last\":NaN,\"end\":[1,}}}}", "\"a\":1,".repeat(MAX_MEMBERS));
    for (record, is_ok) in [(record.replace("[1,}", "-Infinity}"), true), (record, false)] {
        let mut out = Vec::new();
        let mapped = mapper_to(Schema::Ocsf, Stream::Alerts, false).map(record.as_bytes(), &mut out);
        assert_eq!(mapped.is_ok(), is_ok);
        let overflow = read_event(&out)["unmapped"]["overflow"].clone();
        assert_eq!(overflow, if is_ok { json!(r#"{"new":{"end":null,"last":null}}"#) } else { Value::Null });
    }
}
