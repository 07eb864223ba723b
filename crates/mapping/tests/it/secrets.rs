//! The console's secrets in records that their events contain.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::json;

use super::support::mapper_to;

/// Such a record is mapped twice, which must not hide its new leaves.
#[test]
fn an_event_with_its_record_has_no_secret_and_says_what_is_new() {
    for (schema, stream) in [Schema::Ecs, Schema::Ocsf].into_iter().flat_map(|schema| Stream::ALL.map(|s| (schema, s)))
    {
        for secret in [
            json!({ "id": "1", "new": 1, "passphrase": "hidden" }),
            json!({ "id": "1", "new": { "list": [{ "a": 1, "LicenseKey": "hidden" }] } }),
        ] {
            let mut mapper = mapper_to(schema, stream, true);
            let mut out = Vec::new();
            let mapped = mapper.map(secret.to_string().as_bytes(), &mut out).unwrap();
            let event = String::from_utf8(out).unwrap();
            assert!(event.contains("[redacted]") && !event.contains("hidden"), "{schema:?} {stream}: {event}");
            assert!(mapped.drifted, "{schema:?} {stream}: {secret}");
            let again = mapper.map(secret.to_string().as_bytes(), &mut Vec::new()).unwrap();
            assert!(again.unknown_leaves > 0 && !again.drifted, "{schema:?} {stream}: {secret}");
        }
    }
}

/// Mapped fields have such texts as they are, and some objects as a text.
#[test]
fn no_mapped_field_has_a_secret_of_an_escaped_key_or_of_json_in_a_text() {
    let inner = json!({ "a": [1, { "passphrase": "hid\"den\\", "b": "kept" }], "LicenseKey" : 987654321, "c": "\\" })
        .to_string();
    let spaced = "{\"registrationToken\"\n : \"hidden\", \"b\": \"kept\"}";
    let deeper = json!({ "text": inner }).to_string();
    for (schema, stream) in [Schema::Ecs, Schema::Ocsf].into_iter().flat_map(|schema| Stream::ALL.map(|s| (schema, s)))
    {
        for keeps_record in [false, true] {
            for text in [&inner, spaced, &deeper] {
                let record = json!({ "id": "1", "data": { "flattened": text }, "new": { "list": [text] }, "c": "d" });
                let mut out = Vec::new();
                mapper_to(schema, stream, keeps_record).map(record.to_string().as_bytes(), &mut out).unwrap();
                let event = String::from_utf8(out).unwrap();
                assert!(!event.contains("hid") && event.contains("[redacted]"), "{schema:?} {stream}: {event}");
                assert!(event.contains("kept") && !event.contains("987654321"), "{schema:?} {stream}: {event}");
                serde_json::from_str::<serde_json::Value>(&event).unwrap();
            }
            let escaped = r#"{"id":"1","new":{"licenseK\u0065y":"hidden","pass\u0070hrase":["hidden"],"b":"kept"}}"#;
            let mut out = Vec::new();
            mapper_to(schema, stream, false).map(escaped.as_bytes(), &mut out).unwrap();
            let event = String::from_utf8(out).unwrap();
            assert!(!event.contains("hidden") && event.contains("kept"), "{schema:?} {stream}: {event}");
        }
        // The same secrets in spellings of other serializers, and beyond the bounds of a record.
        for text in [r#"{\u0022licenseKey\u0022:\u0022hidden\u0022}"#, r#"{\"licen\\u0073e\\u004Bey\":\"hidden\"}"#] {
            let deep = format!("{}{{\"licen\\u0073eKey\":\"hidden\"}}{}", "[".repeat(300), "]".repeat(300));
            let record = format!(r#"{{"id":"1","new":"{text}","deep":{deep},"data":{{"x":"{text}"}},"b":"kept"}}"#);
            for keeps_record in [false, true] {
                let mut out = Vec::new();
                mapper_to(schema, stream, keeps_record).map(record.as_bytes(), &mut out).unwrap();
                let event = String::from_utf8(out).unwrap();
                assert!(!event.contains("hidden") && event.contains("kept"), "{schema:?} {stream}: {event}");
                serde_json::from_str::<serde_json::Value>(&event).unwrap();
            }
        }
        // A text that only looks like a secret, and truncated JSON.
        for text in ["the passphrase\": x", "{\"x\": \"passphrase\"}", "{\"passphrase\": null}", "{\"passphrase\""] {
            let record = json!({ "id": "1", "new": { "b": text } });
            let mut out = Vec::new();
            mapper_to(schema, stream, false).map(record.to_string().as_bytes(), &mut out).unwrap();
            let event = String::from_utf8(out).unwrap();
            assert!(!event.contains("[redacted]"), "{schema:?} {stream}: {event}");
        }
    }
}
