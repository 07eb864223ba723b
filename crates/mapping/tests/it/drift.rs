//! Leaves that no mapping knows are found wherever they are, and nothing else is.

use std::collections::BTreeSet;

use s1_forwarder_emulator::{Console, Setup};
use s1_forwarder_mapping::{Schema, unknown_leaves};
use s1_forwarder_record::{Frame, Stream};
use serde_json::{Value, json};

use super::generated::kind_of;
use super::support::mapper_to;

fn unknown(stream: Stream, record: &str) -> Vec<String> {
    let mut found = Vec::new();
    unknown_leaves(stream, record.as_bytes(), &mut |path| found.push(path.to_owned()));
    found.sort();
    found
}

/// Returns how many unknown leaves the mapper finds.
fn counted(schema: Schema, stream: Stream, record: &str) -> usize {
    let mapped = mapper_to(schema, stream, false).map(record.as_bytes(), &mut Vec::new()).unwrap();
    assert_eq!(mapped.drifted, mapped.unknown_leaves > 0, "the first time");
    mapped.unknown_leaves as usize
}

fn probes(stream: Stream) -> Vec<Value> {
    let probes: Value = serde_json::from_str(include_str!("../data/probes.json")).unwrap();
    match &probes[stream.name()] {
        Value::Array(kinds) => kinds.iter().map(|kind| kind["record"].clone()).collect(),
        record => vec![record.clone()],
    }
}

#[test]
fn a_new_key_is_found_in_five_places() {
    let threat = json!({
        "id": "1", "brandNew": true,
        "threatInfo": { "threatName": "x", "brandNew": { "deep": [1, 2], "empty": null } },
        "indicators": [{ "category": "c", "tactics": [{ "name": "t", "techniques": [{ "name": "T1", "brandNew": "x" }] }] }],
        "agentDetectionInfo": { "cloudProviders": { "Acme": { "cloudAccount": "1", "brandNew": "x" } } },
    });
    let activity = json!({ "id": "1", "activityType": 27, "data": { "username": "j", "brandNew": "x", "policy": { "id": "1", "brandNew": 7 } } });
    for (stream, record, expected) in [
        (
            Stream::Threats,
            threat.to_string(),
            [
                "agentDetectionInfo.cloudProviders.Acme.brandNew",
                "brandNew",
                "indicators.tactics.techniques.brandNew",
                "threatInfo.brandNew.deep",
                "threatInfo.brandNew.deep",
            ]
            .as_slice(),
        ),
        (Stream::Activities, activity.to_string(), &["data.brandNew", "data.policy.brandNew"]),
        // A hit of a rule has its own record type.
        (
            Stream::Activities,
            json!({ "id": "1", "activityType": 3608, "data": { "ruleid": "1", "alertid": "2", "brandNew": "x" } })
                .to_string(),
            &["data.brandNew"],
        ),
        // A value that is not an object, in place of an object.
        (Stream::Threats, json!({ "id": "1", "threatInfo": "moved" }).to_string(), &["threatInfo"]),
        // A record that has to be repaired.
        (Stream::Groups, r#"{"id":"1","name":"\ud83d","brandNew":"x"}"#.to_owned(), &["brandNew"]),
    ] {
        assert_eq!(unknown(stream, &record), expected);
        for schema in [Schema::Ecs, Schema::Ocsf] {
            assert_eq!(counted(schema, stream, &record), expected.len(), "{schema:?}: {record}");
        }
    }
    for known in [
        r#"{"id":"1","brandNew":null,"threatInfo":{"brandNew":{"a":[""]}}}"#,
        r#"{"id":"1","id":"2","threatInfo":{"licenseKey":"x"}}"#,
        "nonsense",
        "",
    ] {
        assert_eq!(unknown(Stream::Threats, known), Vec::<String>::new(), "{known}");
    }
}

/// Adds a key to each object of a record in turn: the mapper notices each. Objects that are open to any key are left
/// out.
#[test]
fn no_place_of_a_new_key_is_overlooked() {
    fn pointers(value: &Value, pointer: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(entries) => {
                found.push(pointer.to_owned());
                entries.iter().for_each(|(key, value)| pointers(value, &format!("{pointer}/{key}"), found));
            }
            Value::Array(elements) => {
                elements.iter().enumerate().for_each(|(at, value)| pointers(value, &format!("{pointer}/{at}"), found));
            }
            _ => {}
        }
    }
    let open = ["/rawData", "/containerizedWorkloadCounts", "/data/newValue", "/data/oldValue", "/cloudProviders"];
    let mut places = 0;
    for stream in Stream::ALL {
        for record in probes(stream) {
            let mut found = Vec::new();
            pointers(&record, "", &mut found);
            found.retain(|pointer| !open.iter().any(|end| pointer.ends_with(end)));
            for pointer in found {
                let mut changed = record.clone();
                changed.pointer_mut(&pointer).unwrap()["brandNew"] = "x".into();
                let text = changed.to_string();
                assert_eq!(unknown(stream, &text).len(), 1, "{stream} {pointer}: {:?}", unknown(stream, &text));
                for schema in [Schema::Ecs, Schema::Ocsf] {
                    assert_eq!(counted(schema, stream, &text), 1, "{schema:?} {stream} {pointer}");
                }
                places += 1;
            }
        }
    }
    assert!(places > 80, "{places}");
}

/// Otherwise the lane would walk each of these records in vain.
#[test]
fn records_without_unknown_leaves_are_not_suspected() {
    let setup = Setup {
        activities: 800,
        threats: 60,
        agents: 60,
        alerts: 60,
        vulnerabilities: 60,
        ..Setup::new(1_790_000_000_000_000)
    };
    let console = Console::new(&setup);
    for stream in Stream::ALL {
        let kind = kind_of(stream);
        let mut records: Vec<String> = probes(stream).iter().map(Value::to_string).collect();
        // GraphQL sends only the requested fields, and the emulator stores more.
        let is_whole = stream.description().frame == Frame::List;
        for id in console.ids(kind).into_iter().filter(|_| is_whole) {
            records.push(String::from_utf8(console.record(kind, id).unwrap()).unwrap());
        }
        let found: BTreeSet<String> = records.iter().flat_map(|record| unknown(stream, record)).collect();
        assert_eq!(found, BTreeSet::new(), "{stream}");
        for record in records {
            for schema in [Schema::Ecs, Schema::Ocsf] {
                assert_eq!(counted(schema, stream, &record), 0, "{schema:?}: {record}");
            }
        }
    }
}

/// A console that has changed sends the new fields with each record.
#[test]
fn a_record_is_walked_for_leaves_that_were_not_there_before() {
    for schema in [Schema::Ecs, Schema::Ocsf] {
        let mut mapper = mapper_to(schema, Stream::Groups, false);
        let mut map = |record: serde_json::Value| {
            let mapped = mapper.map(record.to_string().as_bytes(), &mut Vec::new()).unwrap();
            (mapped.unknown_leaves, mapped.drifted)
        };
        assert_eq!(map(json!({ "id": "1", "new": { "a": 1, "list": [1, 2, 3] } })), (4, true));
        assert_eq!(map(json!({ "id": "2", "new": { "a": 7, "list": [1, 2, 3, 4, 5] } })), (6, false));
        assert_eq!(map(json!({ "id": "3", "new": { "a": null }, "other": {} })), (0, false));
        assert_eq!(
            map(json!({ "id": "4", "new": { "b": 1 } })),
            (1, true),
            "{schema:?}: below a key that is there before"
        );
        assert_eq!(map(json!({ "id": "5", "a": 1 })), (1, true), "{schema:?}: elsewhere");
        // Keys that are data count as one key.
        assert_eq!(map(json!({ "id": "6", "by_host": { "SRV01": 1, "SRV02": 2 } })), (2, true));
        assert_eq!(map(json!({ "id": "7", "by_host": { "SRV03": 1 } })), (1, false));
        // An unlimited number of names causes at most a thousand walks.
        let walks = (0..2_000).filter(|number| {
            let name: String = number.to_string().bytes().map(|digit| char::from(b'a' + digit - b'0')).collect();
            map(json!({ "id": "8", "many": { name: 1 } })).1
        });
        assert!((900..1_000).contains(&walks.count()), "{schema:?}");
        assert_eq!(map(json!({ "id": "9", "late": 1 })), (1, false), "{schema:?}: it counts");
    }
}

#[test]
fn a_path_has_names_of_fields_only() {
    for (key, shown) in [
        ("brandNewField2", "brandNewField2"),
        ("k8s_cluster_name", "k8s_cluster_name"),
        ("John Smith", "*"),
        ("acme-prod-eu", "*"),
        ("LAPTOP-JSMITH", "*"),
        ("SRV01", "*"),
        ("escapedMaliciousProcessArguments", "escapedMaliciousProcessArguments"),
        ("225494730938493804", "*"),
        ("f47ac10b-58cc-4372-a567-0e02b2c3d479", "*"),
        ("da39a3ee5e6b4b0d3255bfef95601890afd80709", "*"),
        ("jane@acme.example", "*"),
        ("198.51.100.7", "*"),
        ("a\u{1b}[31mb", "*"),
        ("line\nbreak", "*"),
        ("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "*"),
        ("wJalrXUtnFEMIbPxRfiCYEXAMPLEKEYabc", "*"),
        ("", "*"),
        ("é", "*"),
    ] {
        let record = json!({ "id": "1", "new": { key: "the value" } }).to_string();
        assert_eq!(unknown(Stream::Groups, &record), [format!("new.{shown}")], "{key}");
    }
    // A path ends somewhere, and so does the search.
    let nested = |levels: usize, end: &str| {
        format!(r#"{{"id":"1","new":{}{end}{}}}"#, r#"{"a":"#.repeat(levels), "}".repeat(levels))
    };
    let path = format!("new{}", ".a".repeat(7));
    assert_eq!(unknown(Stream::Groups, &nested(10, "1")), [path.as_str()]);
    assert_eq!(unknown(Stream::Groups, &nested(30, r#"[1,2,{"b":3}]"#)), [path.as_str()]);
}

/// Only `streams` reads the console's keys: the other folders get parts. `ocsf/v1_3` reads finished events.
#[test]
fn only_streams_look_for_keys_in_records() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for part in ["common", "ecs", "ocsf", "parts"] {
        let files = std::fs::read_dir(folder.join(part)).unwrap().map(|file| file.unwrap().path());
        for file in files.filter(|file| file.is_file()) {
            let text = std::fs::read_to_string(&file).unwrap();
            for look in [".get(\"", ".get(key)", ".entries()", "Cursor::new(", ".get(name)"] {
                assert!(!text.contains(look), "{look} in {}", file.display());
            }
        }
    }
}

/// A key by which `streams` look into a record is one that consoles are known to send.
#[test]
fn keys_that_the_mapping_reads_by_name_are_known() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/streams");
    let files = [folder.clone(), folder.join("activity")].map(|folder| std::fs::read_dir(folder).unwrap());
    let known = include_str!("../../src/data/known-fields.txt");
    let parts: BTreeSet<&str> = known.split([' ', '.', '\n']).collect();
    let mut count = 0;
    for file in files.into_iter().flatten().map(|file| file.unwrap().path()) {
        // `unread.rs` reads keys of typed fields, and `enrichment.rs` does not read records.
        if file.is_dir() || file.ends_with("unread.rs") || file.ends_with("enrichment.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for look in ["get(\"", "other(\""] {
            for (at, _) in text.match_indices(look) {
                let key = text[at + look.len()..].split('"').next().unwrap();
                let is_known = look != "other(\"" || known.contains(&format!("activities data.{key}\n"));
                assert!(is_known && parts.contains(key), "{key} of {} is not in known-fields.txt", file.display());
                count += 1;
            }
        }
    }
    assert!(count > 60, "{count}");
}
