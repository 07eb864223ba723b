//! The emulator's records: every field of the console's record types, distributed as on a real console.

use s1_forwarder_emulator::{Console, Kind, Setup};
use s1_forwarder_mapping::coverage::Coverage;
use s1_forwarder_mapping::{CompleteSnapshot, Schema};
use s1_forwarder_record::{Identity, Stream, Timestamp};
use serde_json::Value;

use super::schema;
use super::support::{assert_fields, faults, mapper, verbatim_mapper};

const SCHEMAS: [Schema; 2] = [Schema::Ecs, Schema::Ocsf];

/// The emulator's name of a stream.
pub fn kind_of(stream: Stream) -> Kind {
    let name = format!("{stream:?}");
    Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == name).unwrap_or_else(|| panic!("no records of {stream}"))
}

/// Each event is valid and keeps the leaves of its record. `S1_FORWARDER_GENERATED_RECORDS` is the number of records of
/// each kind.
#[test]
fn generated_records_are_valid_in_every_schema_and_keep_every_leaf() {
    let count = std::env::var("S1_FORWARDER_GENERATED_RECORDS").map_or(500, |count| count.parse().unwrap());
    let console = Console::new(&Setup {
        activities: count,
        threats: count,
        agents: count,
        alerts: count,
        unified_alerts: count,
        vulnerabilities: count,
        ..Setup::new(1_767_225_600_000_000)
    });
    println!(
        "{:<16}{:>9}{:>9}{:>9}{:>18}{:>9}{:>6}",
        "stream", "records", "leaves", "mapped", "vendor", "dropped", "lost"
    );
    for (schema, stream) in SCHEMAS.into_iter().flat_map(|schema| Stream::ALL.map(|stream| (schema, stream))) {
        let kind = kind_of(stream);
        let mut mapper = verbatim_mapper(schema, stream);
        let mut coverage = Coverage::default();
        let mut unknown = 0;
        let mut masked = 0;
        let mut has_class = false;
        let ids = console.ids(kind);
        assert!(!ids.is_empty(), "{stream}");
        for id in &ids {
            let record = console.record(kind, *id).unwrap();
            let mut out = Vec::new();
            unknown += usize::from(mapper.map(&record, &mut out).unwrap().unknown_activity);
            let event: Value = serde_json::from_slice(&out).unwrap();
            let faults = faults(schema, &event);
            assert!(faults.is_empty(), "{faults:#?}\n{}\n{event:#}", String::from_utf8_lossy(&record));
            let has_masked = String::from_utf8_lossy(&record).contains("922.174.1.225");
            masked += usize::from(has_masked);
            assert!(event.get("error").is_none() || has_masked, "{event:#}");
            let record: Value = serde_json::from_slice(&record).unwrap();
            let original = match schema {
                Schema::Ocsf => &event["raw_data"],
                _ => &event["event"]["original"],
            };
            let original: Value = serde_json::from_str(original.as_str().unwrap()).unwrap();
            assert_eq!(original, record);
            has_class |= event["class_uid"] != 0;
            coverage.add(schema, stream, &record, &event);
        }
        assert_eq!(masked > 0, stream == Stream::Threats);
        println!(
            "{stream:<16}{:>9}{:>9}{:>9}{:>18}{:>9}{:>6}",
            ids.len(),
            coverage.leaves,
            coverage.mapped,
            coverage.vendor,
            coverage.dropped,
            coverage.lost.len()
        );
        assert!(coverage.lost.is_empty(), "{:?}", &coverage.lost[..coverage.lost.len().min(10)]);
        // A base event has its whole record in `unmapped`.
        assert!((coverage.mapped > 0 || !has_class) && coverage.vendor > 0, "{stream}");
        assert!(unknown < ids.len() / 2, "{unknown} activities of {} are of unknown types", ids.len());
    }
}

/// Shapes of real records that the mapping once got wrong.
#[test]
fn the_emulator_makes_the_shapes_of_real_consoles() {
    let records = |kind, older| {
        let console = Console::new(&Setup {
            activities: 500,
            threats: 200,
            alerts: 20,
            unified_alerts: 20,
            older,
            ..Setup::new(1_767_225_600_000_000)
        });
        let ids = console.ids(kind);
        let read = |id| serde_json::from_slice(&console.record(kind, id).unwrap()).unwrap();
        ids.into_iter().map(read).collect::<Vec<Value>>()
    };
    let alerts = records(Kind::Alerts, false);
    assert!(alerts.iter().all(|alert| alert["agentRealtimeInfo"]["id"].is_string()));
    for older in [true, false] {
        let unified = records(Kind::UnifiedAlerts, older);
        assert!(unified.iter().all(|alert| alert["asset"]["name"].is_string() == older));
        assert!(unified.iter().all(|alert| alert["detectionTime"]["asset"]["osType"].is_string() == older));
    }
    let threats = records(Kind::Threats, false);
    let is_fileless = |threat: &&Value| threat["threatInfo"]["isFileless"] == true;
    let fileless: Vec<_> = threats.iter().filter(is_fileless).map(|threat| &threat["threatInfo"]).collect();
    assert!(!fileless.is_empty());
    assert!(fileless.iter().all(|info| info["filePath"] == "" && info["sha1"] == "" && info["fileSize"] == 0));
    let activities = records(Kind::Activities, false);
    let hits: Vec<_> = activities.iter().filter(|activity| activity["activityType"] == 3608).collect();
    assert!(!hits.is_empty());
    assert!(hits.iter().all(|hit| hit["data"]["rulename"].is_string() && hit["data"].get("ruleName").is_none()));
}

#[test]
fn the_event_that_ends_a_snapshot_is_valid_ecs_and_says_what_is_complete() {
    let time = Timestamp::parse("2026-01-31T06:00:00Z").unwrap();
    let mut out = Vec::new();
    mapper(Stream::Agents, true).map_snapshot(
        CompleteSnapshot { time, records: 1_234 },
        Identity::from_bytes([7; 16]),
        &mut out,
    );
    let event: Value = serde_json::from_slice(&out).unwrap();
    let faults = schema::faults(&event);
    assert!(faults.is_empty(), "{faults:#?}\n{event:#}");
    assert_fields(
        &event,
        &[
            ("@timestamp", "2026-01-31T06:00:00.000000Z".into()),
            ("event.action", "snapshot-complete".into()),
            ("event.dataset", "sentinel_one.agent".into()),
            ("sentinel_one.identity", "07070707070707070707070707070707".into()),
            ("sentinel_one.snapshot.records", 1_234.into()),
            ("labels.customer", "acme".into()),
        ],
    );
}
