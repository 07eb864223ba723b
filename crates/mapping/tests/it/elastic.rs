//! Elastic's own package as a reference. Every ECS field that it makes of a record must be in our event with the same
//! value. `docs/mapping-ecs.md` lists the exceptions, where our event is better. Its test data carries the Elastic
//! License, so it is not in this repository: `S1_FORWARDER_ELASTIC_FIXTURES` names the directory that holds it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use s1_forwarder_mapping::Schema;
use s1_forwarder_mapping::coverage::Coverage;
use s1_forwarder_record::{Stream, Timestamp};
use serde_json::Value;

use super::schema;
use super::support::{at, map};

/// Intended differences: stream, field or its beginning, reason.
pub const DIFFERENCES: &[(&str, &str, &str)] = &[
    (
        "activity",
        "event.kind",
        "a new threat is an alert; what became of one is an event, although it has a confidence",
    ),
    ("activity", "event.type", "a failed login is a start too; English words do not say what was created or changed"),
    ("activity", "event.category", "the administration of users is iam"),
    ("activity", "user.email", "a recovery address is not the address of the user who acted"),
    ("activity", "host.os.family", "the platform of a blocklist entry is no endpoint's"),
    (
        "activity",
        "message",
        "the primary description is the text for people; `description` may be the dump of an object",
    ),
    ("activity", "user.full_name", "`username` is the name; `user.full_name` is `data.fullName`"),
    ("activity", "user.group", "an endpoint group is `group.*`: no user is in it"),
    ("activity", "observer.os.family", "the family is the endpoint's: `host.os.family`"),
    ("activity", "process.hash", "the hash of a block-list entry is a file's: `file.hash.*`"),
    ("activity", "file.hash.sha1", "no hash: not 32, 40 or 64 hexadecimal digits"),
    ("activity", "related.hash", "no hash: not 32, 40 or 64 hexadecimal digits"),
    ("activity", "related.user", "`unknown` is no user"),
    ("activity", "host.ip", "the address of a console user is `source.ip`, not the host's"),
    ("agent", "event.kind", "an inventory is a state"),
    ("agent", "host.domain", "WORKGROUP means that there is no domain"),
    ("agent", "related.hosts", "WORKGROUP is no host to pivot on"),
    ("alert", "event.kind", "a detection is an alert"),
    ("alert", "event.category", "by the type of the event that was hit, not malware whatever it is"),
    ("alert", "host.ip", "the machine that logged in is the source, not the host"),
    ("alert", "source.ip", "the machine that logged in is the source"),
    ("alert", "file.created", "1970 means that there is no file"),
    ("alert", "file.mtime", "1970 means that there is no file"),
    ("alert", "registry.value", "it is the data of the value: `registry.data.strings`"),
    ("alert", "observer.serial_number", "the uuid is the agent's, not the observer's: vendor namespace"),
    ("alert", "process.code_signature.signing_id", "it is a signer's name: `subject_name`"),
    ("alert", "process.parent.code_signature.signing_id", "it is a signer's name: `subject_name`"),
    ("alert", "process.user.name", "without the domain; the whole text is in the vendor namespace"),
    ("alert", "process.parent.user.name", "without the domain; the whole text is in the vendor namespace"),
    ("alert", "process", "a started process is `process.*`, and the one that started it its parent"),
    ("group", "event.kind", "an inventory is a state"),
    ("group", "event.category", "an endpoint group holds machines: configuration, not identity management"),
    ("unified_alert", "@timestamp", "a new alert is dated by its detection"),
    ("unified_alert", "event.end", "not before its start"),
    ("unified_alert", "file.name", "`Unknown file` means that there is no file"),
    ("unified_alert", "file.path", "`Unknown file` means that there is no file"),
    ("unified_alert", "file.hash", "no hash: not 32, 40 or 64 hexadecimal digits"),
    ("unified_alert", "related.hash", "no hash: not 32, 40 or 64 hexadecimal digits"),
    ("unified_alert", "event.outcome", "not mitigated says what became of the file, not that an action failed"),
    ("unified_alert", "message", "with the host's name"),
    ("unified_alert", "observer.serial_number", "the uuid is the agent's, not the observer's: vendor namespace"),
    ("unified_alert", "host.type", "in lower case"),
    ("unified_alert", "related.hosts", "an asset's own id is no host"),
    ("unified_alert", "related.user", "an assignee's id is no name"),
    ("unified_alert", "process.parent.command_line", "it is a name: `process.parent.name`"),
    ("unified_alert", "container.image.name", "the tag is `container.image.tag`"),
    ("vulnerability", "event.id", "with the hash of its content, since each change is a new event"),
    ("vulnerability", "event.outcome", "how the last scan went is no outcome of the finding"),
    ("vulnerability", "host.name", "the endpoint's, not the analyst's who marked it"),
    ("vulnerability", "resource", "no field of ECS: the endpoint is `host.*`"),
    ("vulnerability", "vulnerability.cve", "no field of ECS: `vulnerability.id`"),
    ("vulnerability", "vulnerability.package", "no field of ECS: vendor namespace"),
    ("threat", "@timestamp", "a threat seen for the first time is dated by its detection"),
    ("threat", "event.action", "what became of the threat; the engines are `rule.*` and vendor"),
    ("threat", "event.category", "a detection on a host is malware; `threat` is for indicator feeds"),
    ("threat", "event.type", "a detection on a host is malware; `indicator` is for indicator feeds"),
    ("threat", "threat.tactic.id", "ATT&CK's ids, not SentinelOne's own numbers of indicators"),
    ("threat", "threat.framework", "MITRE ATT&CK, not the source of the indicator"),
    (
        "threat",
        "threat.technique.reference",
        "the technique's own page; that of a sub-technique is with the sub-technique",
    ),
    ("threat", "host.domain", "WORKGROUP means that there is no domain"),
    ("threat", "threat.indicator.file.extension", "in lower case"),
    ("threat", "process.name", "who wrote or opened a text is the parent of what ran, which the record does not name"),
];

fn fixtures() -> Option<PathBuf> {
    let directory = std::env::var_os("S1_FORWARDER_ELASTIC_FIXTURES").map(PathBuf::from).filter(|path| path.is_dir());
    if directory.is_none() {
        let message = "skipped: S1_FORWARDER_ELASTIC_FIXTURES names no directory with Elastic's fixtures";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
        println!("{message}");
    }
    directory
}

/// Returns the streams that Elastic's package has. Fails if it has another one.
fn streams(directory: &Path) -> Vec<Stream> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir());
    let of = |name: String| {
        let mut streams = Stream::ALL.into_iter();
        streams.find(|stream| theirs(*stream) == name).unwrap_or_else(|| panic!("no stream has the records of {name}"))
    };
    folders.map(|folder| of(folder.file_name().into_string().unwrap())).collect()
}

/// Returns Elastic's name of a stream.
fn theirs(stream: Stream) -> &'static str {
    if stream == Stream::Vulnerabilities { "application_risk" } else { stream.singular() }
}

fn pairs(directory: &Path, stream: Stream) -> Vec<(String, Value, Value)> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory.join(theirs(stream)).join("pairs")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let pair: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            (file.display().to_string(), pair["input"].clone(), pair["expected"].clone())
        })
        .collect()
}

#[test]
fn what_elastic_maps_is_mapped_alike_or_better() {
    let Some(directory) = fixtures() else { return };
    let mut used: BTreeMap<usize, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    let streams = streams(&directory);
    assert!(streams.len() >= 7, "{streams:?}");
    for stream in streams {
        let mut coverage = Coverage::default();
        let mut compared = 0;
        let mut alike = 0;
        let pairs = pairs(&directory, stream);
        assert!(!pairs.is_empty());
        for (name, input, expected) in pairs {
            let event = map(stream, &input);
            assert_eq!(schema::faults(&event), Vec::<String>::new(), "{name}");
            coverage.add(Schema::Ecs, stream, &input, &event);
            let mut leaves = BTreeMap::new();
            flatten(&expected, "", &mut leaves);
            for (field, theirs) in leaves.into_iter().filter(|(field, _)| is_compared(field)) {
                compared += 1;
                if agrees(at(&event, &field), &theirs) {
                    alike += 1;
                    continue;
                }
                let difference =
                    DIFFERENCES.iter().position(|(of, at, _)| *of == stream.singular() && field.starts_with(at));
                match difference {
                    Some(index) => *used.entry(index).or_default() += 1,
                    None => wrong.push(format!("{name}: {field}: {theirs} there, {} here", at(&event, &field))),
                }
            }
        }
        println!(
            "{stream}: {alike} of {compared} values alike; {} leaves, {} to ECS, {} to sentinel_one.*, {} dropped on purpose, {} lost",
            coverage.leaves,
            coverage.mapped,
            coverage.vendor,
            coverage.dropped,
            coverage.lost.len()
        );
        assert!(coverage.lost.is_empty(), "{:?}", coverage.lost);
    }
    for (index, count) in &used {
        let (stream, field, reason) = DIFFERENCES[*index];
        println!("{count:>3} values of {stream} {field}: {reason}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unused: Vec<_> =
        (0..DIFFERENCES.len()).filter(|index| !used.contains_key(index)).map(|index| DIFFERENCES[index]).collect();
    assert!(unused.is_empty(), "differences that no longer exist: {unused:?}");
}

/// Returns whether a field is compared. Not compared: fields of the test harness and of a GeoIP database, and the
/// vendor namespace, which has its own names.
fn is_compared(field: &str) -> bool {
    let left_out = ["sentinel_one.", "ecs.version", "tags", "event.original", "host.geo"];
    !left_out.iter().any(|prefix| field.starts_with(prefix))
}

/// Returns whether our value agrees with theirs. Their times are truncated to milliseconds. Our lists may have more
/// elements.
fn agrees(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => theirs.iter().all(|element| ours.contains(element)),
        (Value::String(one), Value::String(other)) if one != other => {
            let millis = |text: &str| Timestamp::parse(text).map(Timestamp::millis);
            matches!((millis(one), millis(other)), (Ok(one), Ok(other)) if one == other)
        }
        _ => ours == theirs,
    }
}

fn flatten(value: &Value, path: &str, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(value, &path, leaves);
            }
        }
        _ => drop(leaves.insert(path.to_owned(), value.clone())),
    }
}
