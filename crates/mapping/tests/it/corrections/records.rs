//! Records of these tests, and events that several tests need.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use crate::support::{faults, map_to};

pub fn activity(number: u32, fields: Value, data: Value) -> Value {
    let mut record = json!({"activityType": number, "id": "1", "createdAt": "2026-01-01T00:00:00Z", "data": data});
    for (key, value) in fields.as_object().unwrap() {
        record[key] = value.clone();
    }
    record
}

pub fn threat(info: Value, others: Value) -> Value {
    let mut record = json!({"id": "1", "threatInfo": {"threatId": "1", "threatName": "x.exe", "classification": "Malware",
        "confidenceLevel": "malicious", "mitigationStatus": "mitigated", "identifiedAt": "2026-01-01T00:00:00Z",
        "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:01Z"}});
    for (key, value) in info.as_object().unwrap() {
        record["threatInfo"][key] = value.clone();
    }
    for (key, value) in others.as_object().unwrap() {
        record[key] = value.clone();
    }
    record
}

/// Returns the type and the value of each observable of an OCSF event.
pub fn observed(event: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = event["observables"].as_array().cloned().unwrap_or_default();
    list.iter().map(|observable| (text(&observable["type"]), text(&observable["value"]))).collect()
}

/// Maps a unified alert with these assets to ECS and OCSF.
#[track_caller]
pub fn with_assets(assets: Value, others: Value) -> [Value; 2] {
    let mut record = others;
    record["id"] = json!("u");
    record["detectedAt"] = json!("2026-01-01T00:00:00Z");
    record["assets"] = assets;
    [Schema::Ecs, Schema::Ocsf].map(|schema| {
        let event = map_to(schema, Stream::UnifiedAlerts, &record);
        assert_eq!(faults(schema, &event), Vec::<String>::new(), "{event:#}");
        event
    })
}

/// Maps an activity to ECS and OCSF.
#[track_caller]
pub fn of_activity(number: u32, fields: Value, data: Value) -> [Value; 2] {
    let record = activity(number, fields, data);
    [Schema::Ecs, Schema::Ocsf].map(|schema| {
        let event = map_to(schema, Stream::Activities, &record);
        assert_eq!(faults(schema, &event), Vec::<String>::new(), "{event:#}");
        event
    })
}
