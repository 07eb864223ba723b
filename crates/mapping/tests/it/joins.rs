//! Values by which a receiver distinguishes repeats from new versions, and joins the events of one detection.

use std::collections::BTreeSet;

use s1_forwarder_record::{Identity, Stream, facts};
use serde_json::{Value, json};

use s1_forwarder_mapping::Schema;

use super::support::{HOST, assert_fields, at, map, map_to, mapper};

#[test]
fn every_event_has_its_identity() {
    let cases = [
        (Stream::Threats, json!({"id": "1", "threatInfo": {"updatedAt": "2026-01-01T00:00:00Z"}})),
        (Stream::Activities, json!({"id": "1", "activityType": 27})),
        (Stream::Activities, json!({"id": "1", "activityType": 3608, "data": {"alertid": "5", "rulename": "r"}})),
        (Stream::Agents, json!({"id": "1", "updatedAt": "2026-01-01T00:00:00Z"})),
        (Stream::Alerts, json!({"alertInfo": {"alertId": "1"}})),
        (Stream::Groups, json!({"id": "1"})),
        (Stream::UnifiedAlerts, json!({"id": "1"})),
        (Stream::Vulnerabilities, json!({"id": "1"})),
    ];
    assert_eq!(cases.iter().map(|(stream, _)| *stream).collect::<BTreeSet<_>>(), Stream::ALL.into());
    for (stream, record) in cases {
        let text = record.to_string();
        let expected = facts(stream, text.as_bytes()).identity(HOST, text.as_bytes());
        assert_fields(&map(stream, &record), &[("sentinel_one.identity", json!(expected.to_string()))]);
        // A lane passes the identity under which it delivers the record, for example with the name of a snapshot.
        let identity = Identity::from_bytes([7; 16]);
        let mut out = Vec::new();
        mapper(stream, false).map_record(text.as_bytes(), Some(identity), None, &mut out).unwrap();
        let event: Value = serde_json::from_slice(&out).unwrap();
        assert_fields(&event, &[("sentinel_one.identity", json!(identity.to_string()))]);
    }
    let mut out = Vec::new();
    mapper(Stream::Groups, false).map(b"[]", &mut out).unwrap_err();
    let event: Value = serde_json::from_slice(&out).unwrap();
    assert_fields(&event, &[("event.kind", json!("pipeline_error"))]);
    assert_eq!(at(&event, "sentinel_one.identity").as_str().unwrap().len(), 32);
}

#[test]
fn two_versions_of_a_threat_with_one_time_differ_in_their_identity() {
    let version = |updated: &str| {
        let info =
            json!({"createdAt": "2026-01-01T00:00:00Z", "identifiedAt": "2026-01-01T00:00:00Z", "updatedAt": updated});
        map(Stream::Threats, &json!({"id": "1", "threatInfo": info}))
    };
    let one = version("2026-01-01T00:00:10Z");
    let other = version("2026-01-01T00:00:20Z");
    for path in ["@timestamp", "event.id"] {
        assert_eq!(at(&one, path), at(&other, path));
    }
    assert_ne!(at(&one, "sentinel_one.identity"), at(&other, "sentinel_one.identity"));
}

#[test]
fn the_same_threat_has_the_same_keys_in_all_streams() {
    let id = "2440104020909548527";
    let events = [
        map(
            Stream::Threats,
            &json!({"id": id, "threatInfo": {"storyline": "S1"}, "agentRealtimeInfo": {"agentUuid": "u-1"}}),
        ),
        map(
            Stream::UnifiedAlerts,
            &json!({"id": "x", "externalId": id, "storylineId": "S1", "assets": [{"agentUuid": "u-1"}],
                "detectionSource": {"product": "EDR", "vendor": "SentinelOne"}}),
        ),
        map(Stream::Activities, &json!({"activityType": 19, "threatId": id, "data": {"uuid": "u-1"}})),
    ];
    for event in &events {
        assert_fields(event, &[("sentinel_one.threat.id", json!(id)), ("sentinel_one.agent.uuid", json!("u-1"))]);
    }
    for event in &events[..2] {
        assert_fields(event, &[("sentinel_one.storyline_id", json!("S1"))]);
    }
}

#[test]
fn the_same_alert_is_the_same_event_in_all_streams() {
    let id = "1985998272619999973";
    let alert = json!({
        "alertInfo": {"alertId": id, "createdAt": "2026-03-01T10:20:29Z", "eventType": "FILEMODIFICATION"},
        "ruleInfo": {"id": "5", "name": "test5", "severity": "High"},
        "sourceProcessInfo": {"name": "powershell.exe", "storyline": "S1", "user": "ACME\\jane"},
        "agentDetectionInfo": {"uuid": "u-1", "osFamily": "windows", "osName": "Windows 10 Pro", "osRevision": "19044"},
        "agentRealtimeInfo": {"id": "9", "name": "web-1", "uuid": "u-1"}
    });
    let hit = json!({"activityType": 3608, "agentId": "9", "data": {
        "alertid": id, "detectedat": 1_772_360_429_000_i64, "dveventtype": "FILEMODIFICATION", "ruleid": "5", "rulename": "test5",
        "severity": "E_HIGH", "sourceprocessname": "powershell.exe", "sourceprocessstoryline": "S1",
        "sourceprocessusername": "ACME\\jane", "origagentuuid": "u-1", "origagentname": "web-1",
        "origagentosfamily": "windows", "origagentosname": "Windows 10 Pro", "origagentosrevision": "19044"}});
    let unified = json!({"id": "x", "externalId": id, "firstSeenAt": "2026-03-01T10:20:29Z", "severity": "HIGH", "storylineId": "S1",
        "name": "test5", "classification": "UNKNOWN", "attackSurfaces": ["ENDPOINT"],
        "detectionSource": {"product": "STAR", "vendor": "SentinelOne"},
        "analytics": {"category": "Custom Rule", "typeValue": "RULE", "uid": "5"},
        "assets": [{"agentUuid": "u-1", "name": "web-1", "category": "Workstation", "osVersion": "Windows 10 Pro 19044"}],
        "detectionTime": {"assets": [{"asset": {"osName": "Windows 10 Pro", "osRevision": "19044", "osType": "WINDOWS"}}]},
        "process": {"cmdLine": "powershell.exe -c x", "username": "ACME\\jane"}});
    let events = [map(Stream::Alerts, &alert), map(Stream::Activities, &hit), map(Stream::UnifiedAlerts, &unified)];
    for event in &events {
        assert_fields(
            event,
            &[
                ("event.kind", json!("alert")),
                ("event.severity", json!(73)),
                ("rule.id", json!("5")),
                ("rule.name", json!("test5")),
                ("user", json!({"name": "jane", "domain": "ACME"})),
                ("process.name", json!("powershell.exe")),
                ("host.name", json!("web-1")),
                ("host.hostname", json!("web-1")),
                ("host.os.type", json!("windows")),
                ("host.os.full", json!("Windows 10 Pro 19044")),
                ("sentinel_one.alert.id", json!(id)),
                ("sentinel_one.agent.uuid", json!("u-1")),
                ("sentinel_one.storyline_id", json!("S1")),
            ],
        );
        assert_eq!(at(event, "event.category")[0], "intrusion_detection");
        assert!(at(event, "event.start").as_str().unwrap().starts_with("2026-03-01T10:20:29"));
    }
    // A unified alert does not say what kind of event was matched.
    for path in ["event.category", "event.type", "event.action", "process.user", "host.id"] {
        assert_eq!(at(&events[0], path), at(&events[1], path), "{path}");
    }
}

/// The promise of `docs/streams.md` and the manual of OCSF: each stream has the value under the field that joins it.
#[test]
fn each_field_that_the_manual_names_joins_the_streams() {
    let [threat, alert, unified] =
        ["2440104020909548527", "1985998272619999973", "0198f3c2-0000-7000-8000-000000000001"];
    let alert_info = |id: &str| {
        json!({"alertInfo": {"alertId": id}, "ruleInfo": {"name": "r", "treatAsThreat": "Malicious"},
            "sourceProcessInfo": {"name": "p", "storyline": "S1"}, "agentDetectionInfo": {"uuid": "u-1"}})
    };
    let of_unified = |id: &str, product: &str| {
        json!({"id": unified, "externalId": id, "storylineId": "S1", "assets": [{"agentUuid": "u-1"}],
            "detectionSource": {"product": product, "vendor": "SentinelOne"}})
    };
    let hit = json!({"activityType": 3608, "id": "1",
        "data": {"alertid": alert, "rulename": "r", "sourceprocessstoryline": "S1", "origagentuuid": "u-1"}});
    let hit_with_threat = json!({"activityType": 3608, "id": "1", "threatId": threat,
        "data": {"alertid": alert, "rulename": "r", "sourceprocessstoryline": "S1", "origagentuuid": "u-1"}});
    let of_threat = json!({"id": threat, "threatInfo": {"threatId": threat, "storyline": "S1"},
        "agentRealtimeInfo": {"agentUuid": "u-1"}});
    let about = |number: u32| json!({"activityType": number, "id": "1", "threatId": threat, "data": {"uuid": "u-1"}});
    let about_alert = |number: u32| json!({"activityType": number, "id": "1", "data": {"alertId": alert}});
    let join = |paths: [&str; 2], id: &str, records: &[(Stream, Value)]| {
        for (stream, record) in records {
            for (schema, path) in [Schema::Ecs, Schema::Ocsf].into_iter().zip(paths) {
                let event = map_to(schema, *stream, record);
                assert_eq!(at(&event, path), id, "{path}: {record} becomes {event:#}");
            }
        }
    };
    let of_engine = [
        (Stream::Threats, of_threat.clone()),
        (Stream::UnifiedAlerts, of_unified(threat, "EDR")),
        (Stream::Activities, about(19)),
        (Stream::Activities, about(2030)),
        (Stream::Activities, about(4020)),
    ];
    join(["sentinel_one.threat.id", "metadata.correlation_uid"], threat, &of_engine);
    let of_rule = [
        (Stream::Alerts, alert_info(alert)),
        (Stream::UnifiedAlerts, of_unified(alert, "STAR")),
        (Stream::Activities, hit),
        (Stream::Activities, hit_with_threat),
        (Stream::Activities, about_alert(16002)),
    ];
    join(["sentinel_one.alert.id", "metadata.correlation_uid"], alert, &of_rule);
    // Activities about threats have no storyline. In OCSF the finding has the id in the streams of one table.
    for (stream, record) in of_engine.iter().take(2).chain(&of_rule[..4]) {
        let event = map(*stream, record);
        assert_fields(&event, &[("sentinel_one.storyline_id", json!("S1")), ("sentinel_one.agent.uuid", json!("u-1"))]);
    }
    for (stream, record, id) in [
        (Stream::Threats, &of_threat, threat),
        (Stream::Activities, &about(19), threat),
        (Stream::Activities, &about(4020), threat),
        (Stream::Alerts, &of_rule[0].1, alert),
        (Stream::Activities, &of_rule[2].1, alert),
        (Stream::Activities, &of_rule[3].1, alert),
    ] {
        assert_fields(&map_to(Schema::Ocsf, stream, record), &[("finding_info.uid", json!(id))]);
    }
    assert_fields(
        &map_to(Schema::Ocsf, Stream::UnifiedAlerts, &of_engine[1].1),
        &[("finding_info.uid", json!(unified)), ("finding_info.uid_alt", json!(threat))],
    );
}
