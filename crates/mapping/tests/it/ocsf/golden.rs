//! A whole event of each stream. The events of activities are next to ECS's, in `activities.rs`.

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Stream;
use serde_json::{Value, json};

use super::validity;
use crate::support::{map_to, mapper_to, read_event};

#[test]
fn a_record_of_each_stream() {
    let examples: Value = serde_json::from_str(include_str!("../../data/examples.json")).unwrap();
    for stream in Stream::ALL {
        let event = map_to(Schema::Ocsf, stream, &examples[stream.name()]);
        assert_eq!(validity::faults(&event), Vec::<String>::new(), "{stream}: {event:#}");
        insta::assert_snapshot!(stream.name(), format!("{event:#}"));
    }
}

/// The probe of a stream has every key of its records.
#[test]
fn a_record_with_every_key() {
    let probes: Value = serde_json::from_str(include_str!("../../data/probes.json")).unwrap();
    for stream in Stream::ALL {
        let probe = &probes[stream.name()];
        let records: Vec<&Value> = match probe.as_array() {
            Some(kinds) => kinds.iter().map(|kind| &kind["record"]).collect(),
            None => vec![probe],
        };
        for (index, record) in records.into_iter().enumerate() {
            let event = map_to(Schema::Ocsf, stream, record);
            assert_eq!(validity::faults(&event), Vec::<String>::new(), "{stream}: {event:#}");
            insta::assert_snapshot!(format!("all-{}-{index}", stream.name()), format!("{event:#}"));
        }
    }
}

#[test]
fn a_threat_with_notes_and_timeline() {
    let record = json!({
        "id": "1400000000000000004",
        "threatInfo": {"threatId": "1400000000000000004", "threatName": "a.exe", "createdAt": "2026-03-01T10:20:30Z"}
    });
    let enrichment = json!({
        "notes": [
            {"id": "2", "text": "Host was reimaged", "creator": "John Doe", "createdAt": "2026-03-02T09:20:00.000000Z"},
            {"id": "1", "text": "Looks \"bad\"", "creator": "Jane Doe", "creatorId": "900", "edited": true,
                "createdAt": "2026-03-01T09:10:00.000000Z", "updatedAt": "2026-03-01T09:12:00.000000Z"},
            {"id": "3", "text": "", "creator": "Jane Doe", "createdAt": "2026-03-02T09:30:00.000000Z"}
        ],
        "notesCount": 3,
        "timeline": [
            {"id": "1100000000000000001", "activityType": 19, "primaryDescription": "A new threat.",
                "secondaryDescription": "/opt/a", "createdAt": "2026-03-01T10:20:31.5Z", "data": {"computerName": "web-1"}},
            {"id": "1100000000000000002", "activityType": 99_999, "createdAt": "2026-03-01T10:20:32Z"}
        ],
        "timelineCount": 7,
        "error": "the timeline is incomplete"
    });
    let mut out = Vec::new();
    let record = record.to_string();
    let mut mapper = mapper_to(Schema::Ocsf, Stream::Threats, false);
    mapper.map_record(record.as_bytes(), None, Some(enrichment.to_string().as_bytes()), &mut out).unwrap();
    let event = read_event(&out);
    assert_eq!(validity::faults(&event), Vec::<String>::new(), "{event:#}");
    insta::assert_snapshot!("enriched-threat", format!("{event:#}"));
    // The related event is the event of the activity stream.
    let activity = json!({"id": "1100000000000000001", "activityType": 19});
    let activity = map_to(Schema::Ocsf, Stream::Activities, &activity);
    assert_eq!(event["finding_info"]["related_events"][0]["uid"], activity["metadata"]["uid"]);
}

fn enriched(enrichment: &Value) -> Value {
    let mut out = Vec::new();
    let mut mapper = mapper_to(Schema::Ocsf, Stream::Threats, false);
    let record = br#"{"id":"9","threatInfo":{"threatId":"9","threatName":"a.exe"}}"#;
    mapper.map_record(record, None, Some(enrichment.to_string().as_bytes()), &mut out).unwrap();
    let event = read_event(&out);
    assert_eq!(validity::faults(&event), Vec::<String>::new(), "{event:#}");
    event
}

/// An item of the timeline has the same attributes as the event of the same activity.
#[test]
fn a_related_event_is_the_event_of_its_activity() {
    for number in [18, 23, 25, 67, 107, 110, 112, 2004, 2028, 4020] {
        let activity = json!({"id": "11", "activityType": number, "userId": "7", "agentId": "8", "threatId": "9",
            "createdAt": "2026-03-01T10:20:30Z",
            "data": {"byUser": "jane", "username": "john", "roleName": "Viewer", "filePath": "/opt/a"}});
        let event = map_to(Schema::Ocsf, Stream::Activities, &activity);
        let related = &enriched(&json!({"timeline": [activity]}))["finding_info"]["related_events"][0];
        assert_eq!(related["uid"], event["metadata"]["uid"]);
        for name in ["type_uid", "type_name"] {
            assert_eq!(related[name], event[name], "{number}");
        }
    }
}

#[test]
fn of_many_notes_the_newest_are_written_and_all_are_kept() {
    let note = |number: usize| {
        json!({"id": number.to_string(), "text": format!("note {number}"), "creator": "jane",
            "createdAt": format!("2026-03-01T10:{:02}:{:02}Z", number / 60, number % 60)})
    };
    for (count, first, kept) in [(100, "note 0", 0), (101, "note 1", 101)] {
        let notes: Vec<Value> = (0..count).rev().map(note).collect();
        let event = enriched(&json!({ "notes": notes }));
        assert_eq!(event["notes"].as_array().unwrap().len(), 100);
        assert_eq!(event["notes"][0]["comment"], first);
        assert_eq!(event["unmapped"]["notes"].as_array().map_or(0, Vec::len), kept);
    }
}
