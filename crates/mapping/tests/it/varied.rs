//! Records with any of the console's keys and any of its texts for missing values. They are of every activity type and
//! of every Deep Visibility event type.

use std::collections::{BTreeMap, BTreeSet};

use s1_forwarder_mapping::Schema;
use s1_forwarder_mapping::coverage::Coverage;
use s1_forwarder_record::Stream;
use serde_json::{Map, Value, json};

use super::support::{faults, mapper_to};

/// Elasticsearch's default limit of fields for one index.
const FIELD_LIMIT: usize = 1_000;

/// Objects that the shipped templates index as one field.
pub const FREE_FORM: &[&str] = &[
    "container.labels",
    "sentinel_one.activity.data",
    "sentinel_one.agent.containerized_workload_counts",
    "sentinel_one.threat.timeline.data",
    "sentinel_one.unified_alert.raw_data",
];

const EVENT_TYPES: &str = "BEHAVIORALINDICATORS COMMANDSCRIPT CONNECT CROSSPROCESS DELETE DNS DRIVERLOAD \
    DUPLICATEPROCESS DUPLICATETHREAD FILECREATION FILEDELETION FILEMODIFICATION FILERENAME FILESCAN GET HEAD HTTP \
    IPCONNECT IPLISTEN LOGIN LOGINS LOGOUT MODULELOAD NAMEDPIPECONNECTION NAMEDPIPECREATION NETWORKCONNECTION \
    OPENPROCESS OPTIONS POST PROCESSCREATION PROCESSEXIT PROCESSMODIFICATION PROCESSTERMINATION PUT REGKEYCREATE \
    REGKEYDELETE REGKEYEXPORT REGKEYIMPORT REGKEYRENAME REGKEYSECURITYCHANGED REGVALUECREATE REGVALUEDELETE \
    REGVALUEMODIFIED REGISTRYKEYCREATE REGISTRYVALUEMODIFIED REMOTETHREAD SCHEDTASKDELETE SCHEDTASKREGISTER \
    SCHEDTASKSTART SCHEDTASKTRIGGER SCHEDTASKUPDATE SCRIPTS TCPV4 TCPV4LISTEN TCPV6 TCPV6LISTEN URL \
    WINDOWSEVENTLOGCREATION WINLOGONATTEMPT";

/// Hits of rules also have unknown types.
const UNKNOWN_HIT: u32 = 99_998;

/// Returns a text that the console writes for a missing value, or an address in an unusual spelling.
fn placeholder(random: &mut fastrand::Rng) -> Value {
    let choices = [
        json!("N/A"),
        json!("unknown"),
        json!("None"),
        json!("-1"),
        json!("0"),
        json!(0),
        json!("1970-01-01T00:00:00Z"),
        json!("0001-01-01T00:00:00Z"),
        json!("\\\\Unknown device\\Unknown file"),
        json!("0.0.0.0"),
        json!("::1"),
        json!("FE80:0:0:0:0:0:0:1"),
        json!("::ffff:10.0.0.1"),
        json!("WORKGROUP"),
    ];
    choices[random.usize(..choices.len())].clone()
}

/// Returns a copy in which each value is missing, replaced or kept.
fn varied(value: &Value, random: &mut fastrand::Rng) -> Value {
    match value {
        Value::Object(entries) => {
            let mut kept = Map::new();
            for (key, value) in entries {
                if random.u8(..10) < 7 {
                    kept.insert(key.clone(), varied(value, random));
                }
            }
            Value::Object(kept)
        }
        Value::Array(elements) => elements.iter().map(|element| varied(element, random)).collect(),
        _ if random.u8(..20) == 0 => placeholder(random),
        scalar => scalar.clone(),
    }
}

/// Returns records with all keys, from the probes of the manual. For activities, `data` has the keys of all types
/// except hits of rules.
pub fn complete_records(stream: Stream) -> Vec<Value> {
    let probes: Value = serde_json::from_str(include_str!("../data/probes.json")).unwrap();
    let Some(kinds) = probes[stream.name()].as_array() else { return vec![probes[stream.name()].clone()] };
    let (hits, others): (Vec<&Value>, Vec<&Value>) =
        kinds.iter().map(|kind| &kind["record"]).partition(|record| record["activityType"] == 3608);
    let mut complete = others[0].clone();
    for (key, value) in others.iter().flat_map(|record| record["data"].as_object().unwrap()) {
        complete["data"][key] = value.clone();
    }
    vec![complete, hits[0].clone()]
}

fn activity_types() -> Vec<u32> {
    let table = include_str!("../../../emulator/src/activity_types.csv");
    let known = table.lines().filter_map(|line| line.split(',').next()?.parse().ok());
    known.chain([3784, UNKNOWN_HIT, 99_999]).collect()
}

/// `S1_FORWARDER_VARIED_RECORDS` is the total number of records.
#[test]
fn any_choice_of_keys_of_any_type_is_valid_in_every_schema_and_ecs_has_few_fields() {
    let count: usize = std::env::var("S1_FORWARDER_VARIED_RECORDS").map_or(3_000, |count| count.parse().unwrap());
    // Half of the records are activities, a fifth alerts.
    let share = |stream| match stream {
        Stream::Activities => 50,
        Stream::Alerts => 20,
        Stream::Threats => 10,
        Stream::UnifiedAlerts => 8,
        _ => 4,
    };
    let results: Vec<(Stream, Seen)> = std::thread::scope(|scope| {
        let check = |stream| (stream, scope.spawn(move || map_varied(stream, count * share(stream) / 100)));
        let threads = Stream::ALL.map(check);
        threads.into_iter().map(|(stream, thread)| (stream, thread.join().unwrap())).collect()
    });
    for (stream, Seen { fields, faults }) in results {
        assert!(faults.is_empty(), "{stream}, {} faults: {faults:#?}", faults.len());
        println!("{stream}: {} fields", fields.len());
        assert!((20..FIELD_LIMIT).contains(&fields.len()), "{stream}: {} fields", fields.len());
    }
}

/// The findings in the events of a stream.
#[derive(Default)]
struct Seen {
    /// In ECS.
    fields: BTreeSet<String>,
    /// Each with the first record and event that have it.
    faults: BTreeMap<String, String>,
}

/// Maps `count` records of a stream to each schema.
fn map_varied(stream: Stream, count: usize) -> Seen {
    let numbers = activity_types();
    let event_types = EVENT_TYPES.split_whitespace().collect::<Vec<_>>();
    let mut random = fastrand::Rng::with_seed(19);
    let complete = complete_records(stream);
    let mut mappers = [Schema::Ecs, Schema::Ocsf].map(|schema| (schema, mapper_to(schema, stream, false)));
    let mut seen = Seen::default();
    for index in 0..count {
        let event_type = json!(event_types[index % event_types.len()]);
        let number = numbers[index % numbers.len()];
        let is_hit = matches!(number, 3608 | 3784 | UNKNOWN_HIT);
        let mut record = varied(&complete[usize::from(is_hit) % complete.len()], &mut random);
        match stream {
            Stream::Activities => {
                record["activityType"] = json!(number);
                record["data"]["dveventtype"] = event_type;
            }
            Stream::Alerts => record["alertInfo"]["eventType"] = event_type,
            _ => {}
        }
        for (schema, mapper) in &mut mappers {
            let mut out = Vec::new();
            mapper.map(record.to_string().as_bytes(), &mut out).unwrap();
            let event: Value = serde_json::from_slice(&out).unwrap();
            let mut coverage = Coverage::default();
            coverage.add(*schema, stream, &record, &event);
            let lost = coverage.lost.into_iter().map(|path| format!("{path} is lost"));
            for fault in faults(*schema, &event).into_iter().chain(lost) {
                seen.faults.entry(format!("{schema:?}: {fault}")).or_insert_with(|| format!("{record}\n{event}"));
            }
            if *schema == Schema::Ecs {
                collect_fields(&event, "", &mut seen.fields);
            }
        }
    }
    seen
}

/// Adds the paths of the leaves. A free-form object counts as one leaf.
fn collect_fields(value: &Value, path: &str, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) if !FREE_FORM.contains(&path) => {
            for (name, value) in entries {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect_fields(value, &path, fields);
            }
        }
        Value::Array(elements) if elements.iter().any(Value::is_object) => {
            elements.iter().for_each(|element| collect_fields(element, path, fields));
        }
        _ if fields.contains(path) => {}
        _ => drop(fields.insert(path.to_owned())),
    }
}
