//! `ocsf_version: "1.3.0"`, the last step.

use std::collections::BTreeSet;

use s1_forwarder::record::{Identity, Stream, Timestamp};
use s1_forwarder::transform::{CompleteSnapshot, Schema};
use serde_json::{Value, json};

use super::{run, settings, transformer};

const OLDER: &str = "ocsf_version: \"1.3.0\"\n";

fn event(transform: &str, stream: Stream, record: &Value) -> Value {
    let mut out = Vec::new();
    transformer(&settings(transform), Schema::Ocsf, stream).map(record.to_string().as_bytes(), &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

/// A record of each stream, and those of all kinds with every key.
fn records() -> Vec<(Stream, Value)> {
    let examples: Value = serde_json::from_str(include_str!("../../crates/mapping/tests/data/examples.json")).unwrap();
    let probes: Value = serde_json::from_str(include_str!("../../crates/mapping/tests/data/probes.json")).unwrap();
    let mut records = Vec::new();
    for stream in Stream::ALL {
        records.push((stream, examples[stream.name()].clone()));
        match probes[stream.name()].as_array() {
            Some(kinds) => records.extend(kinds.iter().map(|kind| (stream, kind["record"].clone()))),
            None => records.push((stream, probes[stream.name()].clone())),
        }
    }
    records
}

/// Dotted paths of the leaves, without indices, and the texts at them.
fn leaves(value: &Value, path: &str, paths: &mut BTreeSet<String>, texts: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => entries.iter().for_each(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            leaves(value, &path, paths, texts);
        }),
        Value::Array(elements) => elements.iter().for_each(|element| leaves(element, path, paths, texts)),
        _ => {
            paths.insert(path.to_owned());
            texts.extend(value.as_str().map(str::to_owned));
        }
    }
}

/// Each path of each event, so each that the version moves: what is redacted in the event of 1.9.0 is in no place of
/// the event of 1.3.0.
#[test]
fn a_redacted_value_is_in_neither_version() {
    for (stream, record) in records() {
        let (mut paths, mut plain) = (BTreeSet::new(), BTreeSet::new());
        leaves(&event("{}", stream, &record), "", &mut paths, &mut plain);
        // The profiles of 1.3.0 follow from the attributes that the event has.
        let is_constant = |path: &str| ["metadata.uid", "metadata.processed_time", "metadata.profiles"].contains(&path);
        paths.retain(|path| !is_constant(path) && !path.starts_with("unmapped."));
        for path in paths {
            // A name with a dot is no path.
            if path.split('.').any(|key| key.is_empty() || key.contains(['*', '[', ']']) || key.parse::<u64>().is_ok())
            {
                continue;
            }
            let redact = format!("redact: [{{ path: \"{path}\", with: replace }}]\n");
            let (mut newer, mut older) = (BTreeSet::new(), BTreeSet::new());
            leaves(&event(&redact, stream, &record), "", &mut BTreeSet::new(), &mut newer);
            leaves(&event(&format!("{OLDER}{redact}"), stream, &record), "", &mut BTreeSet::new(), &mut older);
            let shown: Vec<_> = older.difference(&newer).filter(|text| plain.contains(*text)).collect();
            assert!(shown.is_empty(), "{stream} {path}: {shown:?}");
        }
    }
}

/// The places of what moves, with a value that nothing else has.
#[test]
fn a_value_that_moves_is_redacted_at_its_path_of_1_9() {
    let record = json!({ "id": "1", "activityType": 27, "createdAt": "2026-01-31T00:00:00Z", "userId": "7",
        "data": { "username": "jane", "ipAddress": "198.51.100.7" } });
    for (path, value) in [
        ("actor.application.name", json!("secret")),
        ("application.name", json!("secret")),
        ("notes.comment", json!([{ "comment": "secret" }])),
        ("evidences.process.path", json!([{ "process": { "pid": 1, "path": "/secret" } }])),
        (
            "evidences.file.signatures.algorithm",
            json!([{ "file": { "name": "f", "type_id": 1, "signatures": [{ "algorithm": "secret" }] } }]),
        ),
        ("malware.files.path", json!([{ "name": "m", "files": [{ "name": "f", "path": "/secret" }] }])),
        (
            "device.hw_info.cpu_info_list.model",
            json!({ "uid": "1", "hw_info": { "cpu_info_list": [{ "model": "secret" }] } }),
        ),
        ("vulnerabilities.advisory.uid", json!([{ "advisory": { "uid": "secret" } }])),
        (
            "finding_info.related_events.type",
            json!({ "uid": "f", "related_events": [{ "uid": "1", "type": "secret" }] }),
        ),
        ("iam_role.name", json!({ "name": "secret" })),
        ("iam_roles.name", json!([{ "name": "secret" }])),
        ("user.name", json!({ "name": "secret" })),
        ("assignee.name", json!({ "name": "secret" })),
        ("verdict", json!("secret")),
        ("resources.role", json!([{ "uid": "1", "role": "secret" }])),
    ] {
        let name = path.split('.').next().unwrap();
        let place = if path.contains('.') && !value.is_string() { name } else { path };
        for (class, activity) in [(2004, 1), (3007, 16), (3007, 18), (3008, 1), (6002, 1), (1010, 1)] {
            let program =
                format!("remap: |\n  .class_uid = {class}\n  .activity_id = {activity}\n  .{place} = {value}\n");
            let shown = event(&format!("{OLDER}{program}"), Stream::Activities, &record);
            let redacted = event(
                &format!("{OLDER}{program}redact: [{{ path: {path}, with: replace }}]\n"),
                Stream::Activities,
                &record,
            );
            assert!(shown.to_string().contains("secret"), "{path} of {class}: {shown:#}");
            assert!(!redacted.to_string().contains("secret"), "{path} of {class}: {redacted:#}");
        }
    }
}

#[test]
fn programs_see_the_event_of_1_9() {
    let record = json!({ "id": "1", "activityType": 27, "createdAt": "2026-01-31T00:00:00Z", "userId": "7",
        "data": { "username": "jane" } });
    let program = "drop: ['.metadata.version == \"1.3.0\"']\nremap: |\n  .message = .metadata.version\n";
    let (event, mapped) = run(&format!("{OLDER}{program}"), Schema::Ocsf, &record);
    let event = event.unwrap();
    assert_eq!((&event["message"], &event["metadata"]["version"]), (&json!("1.9.0"), &json!("1.3.0")));
    assert_eq!(mapped.remap_error, None);
    // An event that fails is forwarded in the version of the sink, or kept as the next program has to see it.
    for (on_error, version) in [("deliver", "1.3.0"), ("dead_letter", "1.9.0")] {
        let failing = format!("{OLDER}on_error: {on_error}\nremap: '.x = to_int!(\"x\")'\n");
        let event = run(&failing, Schema::Ocsf, &record).0.unwrap();
        assert_eq!(event["metadata"]["version"], version, "{event:#}");
    }
    let (ecs, _) = run(OLDER, Schema::Ecs, &record);
    assert_eq!(ecs, run("{}", Schema::Ecs, &record).0);
}

#[test]
fn snapshots_and_error_events_have_the_version() {
    let mut transformer = transformer(&settings(OLDER), Schema::Ocsf, Stream::Agents);
    let mut out = Vec::new();
    let snapshot = CompleteSnapshot { time: Timestamp::parse("2026-01-31T06:00:00Z").unwrap(), records: 3 };
    transformer.map_snapshot(snapshot, Identity::from_bytes([7; 16]), &mut out);
    let event: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (&event["metadata"]["version"], &event["unmapped"]["snapshot"]["records"]),
        (&json!("1.3.0"), &json!(3))
    );
    out.clear();
    transformer.map(b"\"text\"", &mut out).unwrap_err();
    let event: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&event["metadata"]["version"], &event["raw_data"]), (&json!("1.3.0"), &json!("\"text\"")));
}
