//! `redact`, and the secrets of the console that are redacted without being asked for.

use s1_forwarder::record::Stream;
use s1_forwarder::transform::{Mapper, Origin, Schema, Steps};
use serde_json::{Value, json};

use super::{mapper, run, settings};
use crate::mapping::support::HOST;

const KEY: &str = "a-key-of-32-bytes-for-this-test!";

fn record() -> Value {
    json!({ "id": "1", "activityType": 27, "createdAt": "2026-01-31T00:00:00Z", "secondaryDescription": "text",
        "data": { "username": "jane", "list": [{ "deep": "one" }, { "deep": 2 }, { "other": true }] } })
}

#[test]
fn values_are_removed_replaced_or_hashed_through_lists() {
    let transform = format!(
        "keep_original: true\nredact: [data.username, {{ path: data.list.deep, with: hash, key: {KEY} }}, \
         {{ path: secondaryDescription, with: replace }}, nothing.here]\n"
    );
    let (event, _) = run(&transform, Schema::Raw, &record());
    let event = event.unwrap();
    // printf one | openssl dgst -sha256 -hmac KEY, and the same of 2.
    let hash = |text: &str| {
        use hmac::{KeyInit, Mac};
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        hex::encode(&mac.finalize().into_bytes()[..16])
    };
    assert_eq!(
        event,
        json!({ "id": "1", "activityType": 27, "createdAt": "2026-01-31T00:00:00Z", "secondaryDescription": "[redacted]",
            "data": { "list": [{ "deep": hash("one") }, { "deep": hash("2") }, { "other": true }] } })
    );
}

/// The paths of the record are redacted in the text that an event keeps of it, those of the event in the event.
#[test]
fn the_original_is_redacted_too() {
    for (schema, name) in [(Schema::Ecs, "/event/original"), (Schema::Ocsf, "/raw_data")] {
        let transform = "keep_original: true\nredact: [data.username, user.name, actor.user.name]\n";
        let (event, _) = run(transform, schema, &record());
        let event = event.unwrap();
        let original: Value = serde_json::from_str(event.pointer(name).unwrap().as_str().unwrap()).unwrap();
        assert!(original["data"].get("username").is_none() && original["data"]["list"][0]["deep"] == "one");
        let plain = run("keep_original: true", schema, &record()).0.unwrap();
        assert!(plain.pointer(name).unwrap().as_str().unwrap().contains("jane"));
        assert!(event.pointer("/user/name").or(event.pointer("/actor/user/name")).is_none(), "{event:#}");
    }
}

#[test]
fn equal_values_stay_equal_under_one_key_only() {
    let hashed = |key: &str| {
        let transform = format!("redact: [{{ path: user.name, with: hash, key: {key} }}]");
        run(&transform, Schema::Ecs, &record()).0.unwrap()["user"]["name"].as_str().unwrap().to_owned()
    };
    assert_eq!((hashed(KEY), hashed(KEY).len()), (hashed(KEY), 32));
    assert_ne!(hashed(KEY), hashed("another-key-of-32-bytes-for-this"));
}

#[test]
fn redactions_that_cannot_be_are_refused() {
    for (transform, expected) in [
        ("redact: ['']", "is not a path"),
        ("redact: ['a..b']", "is not a path"),
        ("redact: [{ path: a, with: hash }]", "needs a `key`"),
        ("redact: [{ path: a, with: remove, key: x }]", "a `key` is for `with: hash`"),
        ("redact: [{ path: metadata.uid, with: replace }]", "has the identity of an event"),
    ] {
        let errors = Steps::check(&settings(transform)).unwrap_err();
        assert!(errors[0].to_string().contains(expected), "{transform}: {errors:?}");
    }
    for (key, expected) in [("short", "fewer than 16 bytes"), ("{ env: S1_NO_SUCH_VARIABLE }", "is not set")] {
        let transform = settings(&format!("redact: [{{ path: a, with: hash, key: {key} }}]"));
        assert_eq!(Steps::check(&transform), Ok(()), "secrets are read when a lane starts");
        let error = Steps::new(&transform, Schema::Ecs, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Nobody knows what is at a path of a record that is not JSON: nothing of it is sent.
#[test]
fn a_record_that_cannot_be_read_is_redacted_as_a_whole() {
    for (schema, expected) in [
        (Schema::Ecs, r#""original":"[redacted]""#),
        (Schema::Ocsf, r#""raw_data":"[redacted]""#),
        (Schema::Raw, r#""[redacted]""#),
    ] {
        let mut out = Vec::new();
        let result =
            mapper(&settings("redact: [user.name]"), schema, Stream::Activities).map(b"{\"name\":\"jane", &mut out);
        let event = String::from_utf8(out).unwrap();
        assert!(event.contains(expected) && !event.contains("jane"), "{event}");
        assert!(result.is_err() || schema == Schema::Raw);
        let cut =
            mapper(&settings("redact: [user.name]"), schema, Stream::Activities).cut(b"{\"name\":\"jane").into_owned();
        assert_eq!(cut, br#""[redacted]""#);
    }
}

const SECRETS: [&str; 4] = ["licenseKey", "licenceKey", "registrationToken", "passphrase"];

fn with_secrets(stream: Stream) -> Value {
    let secrets = |at: &str| -> Value {
        SECRETS.iter().map(|key| (key.to_string(), json!(format!("CANARY {at} \" }}")))).collect()
    };
    let mut record = secrets("top");
    record["id"] = json!("1");
    record["name"] = json!("n");
    for inner in [
        "data",
        "threatInfo",
        "agentRealtimeInfo",
        "agentDetectionInfo",
        "alertInfo",
        "ruleInfo",
        "detectionTime",
        "analytics",
        "networkInterfaces",
        "unheardOf",
        "lastUpdatedBy",
        "_extra",
        "realTime",
    ] {
        record[inner] = secrets(inner);
        record[inner]["deeper"] = json!([{ "list": [secrets("deep")] }]);
        record[inner]["kept"] = json!(format!("kept {inner}"));
    }
    record["stream"] = json!(stream.name());
    record
}

/// Default: a secret of the console is in no event of any stream and schema, original and raw included.
#[test]
fn secrets_of_the_console_are_in_no_event() {
    for stream in Stream::ALL {
        for schema in [Schema::Ecs, Schema::Ocsf, Schema::Raw] {
            let record = with_secrets(stream).to_string();
            let map = |transform: &str, record: &str| {
                let mut out = Vec::new();
                let result = mapper(&settings(transform), schema, stream).map(record.as_bytes(), &mut out);
                (String::from_utf8(out).unwrap(), result.is_ok())
            };
            let (event, mapped) = map("keep_original: true", &record);
            assert!(mapped && !event.contains("CANARY"), "{stream} {schema:?}: {event}");
            assert!(event.contains("[redacted]") && event.contains("kept unheardOf"), "{stream} {schema:?}: {event}");
            serde_json::from_str::<Value>(&event).unwrap();
            // A record that cannot be mapped, with the secret cut off.
            let (cut, mapped) = map("{}", "{ \"licenseKey\" : { \"a\": \"CANARY");
            assert!(!cut.contains("CANARY") && (!mapped || schema == Schema::Raw), "{stream} {schema:?}: {cut}");
            let (open, _) = map("keep_original: true\nkeep_console_secrets: true", &record);
            assert!(open.contains("CANARY top"), "{stream} {schema:?}: the switch lets them through");
        }
    }
}

#[test]
fn what_only_looks_like_a_secret_stays() {
    let record = br#"{"id":"1","note":"the licenseKey\": x","licenseKeyName":"n","licenseKey":"","passphrase":null,"registrationToken": ["t"]}"#;
    let mut out = Vec::new();
    let origin = Origin { pipeline: "p".to_owned(), console_host: HOST.to_owned(), stream: Stream::Activities };
    let identity = {
        let mut out = Vec::new();
        Mapper::new(&settings("keep_original: true"), Schema::Ecs, origin.clone()).map(record, &mut out).unwrap();
        serde_json::from_slice::<Value>(&out).unwrap()["sentinel_one"]["identity"].clone()
    };
    Mapper::new(&settings("{}"), Schema::Raw, origin.clone()).map(record, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"id":"1","note":"the licenseKey\": x","licenseKeyName":"n","licenseKey":"","passphrase":null,"registrationToken": "[redacted]"}"#
    );
    let mut open = Vec::new();
    let settings = settings("keep_original: true\nkeep_console_secrets: true");
    Mapper::new(&settings, Schema::Ecs, origin).map(record, &mut open).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&open).unwrap()["sentinel_one"]["identity"], identity);
}
