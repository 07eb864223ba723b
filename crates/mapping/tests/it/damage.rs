//! Records that are not JSON, which a console may send nevertheless.

use proptest::prelude::*;
use s1_forwarder_mapping::{MapError, Mapped, Mapper, MappingSettings, Origin, Schema};
use s1_forwarder_record::{Stream, facts};
use serde_json::{Value, json};

use super::support::read_event;

const SCHEMAS: [Schema; 3] = [Schema::Ecs, Schema::Ocsf, Schema::Raw];

/// Returns a ransomware threat with `text` in its name, `key` in a key, and `number`.
fn threat(text: &[u8], key: &[u8], number: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 7] = [
        br#"{"agentRealtimeInfo":{"agentComputerName":"PC1","agentId":"12","odd"#,
        key,
        br#"":1},"id":"1000000000000000001","threatInfo":{"threatId":"1000000000000000001","threatName":"evil"#,
        text,
        br#".exe","confidenceLevel":"malicious","classification":"Ransomware","createdAt":"2026-11-26T20:00:00Z","#,
        br#""updatedAt":"2026-11-26T20:00:01Z","odd":"#,
        number,
    ];
    [&parts.concat()[..], b"}}"].concat()
}

/// Returns damaged records, each with the same record without its damage.
fn damaged() -> Vec<(Vec<u8>, Vec<u8>)> {
    let texts: [(&[u8], &str); 9] = [
        (br"\ud83d", "\u{fffd}"),
        (br"\ude00", "\u{fffd}"),
        (br"\ude00\ud83d", "\u{fffd}\u{fffd}"),
        (b"\xff\xfe", "\u{fffd}\u{fffd}"),
        (b"\xed\xa0\xbd\xed\xb8\x80", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        (b"\n", r"\n"),
        (b"\t", r"\t"),
        (b"\0", r"\u0000"),
        (br"\x", r"\\x"),
    ];
    let in_texts = texts.iter().flat_map(|(damage, repaired)| {
        let repaired = repaired.as_bytes();
        [
            (threat(damage, b"", b"1"), threat(repaired, b"", b"1")),
            (threat(b"", damage, b"1"), threat(b"", repaired, b"1")),
        ]
    });
    let numbers: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    let in_numbers = numbers.map(|number| (threat(b"", b"", number), threat(b"", b"", b"null")));
    in_texts.chain(in_numbers).collect()
}

fn mapper(schema: Schema, stream: Stream, embeds_raw: bool) -> Mapper {
    let settings = MappingSettings { schema, keep_original: true, ..MappingSettings::default() };
    let origin = Origin { pipeline: "acme".to_owned(), console_host: "console.example".to_owned(), stream };
    Mapper::new(&settings, origin).with_raw_embedded(embeds_raw)
}

fn map(mapper: &mut Mapper, record: &[u8]) -> (Result<Mapped, MapError>, Vec<u8>) {
    let mut event = Vec::new();
    let mapped = mapper.map(record, &mut event);
    assert!(!event.contains(&b'\n'), "{}", String::from_utf8_lossy(&event));
    (mapped, event)
}

/// Reads an event. Raw records may have `null`, which no mapped event has.
fn read(schema: Schema, event: &[u8]) -> Value {
    if schema == Schema::Raw { serde_json::from_slice(event).unwrap() } else { read_event(event) }
}

#[test]
fn a_damaged_record_is_mapped_as_if_it_were_whole() {
    for schema in SCHEMAS {
        let mut mapper = mapper(schema, Stream::Threats, true);
        for (damaged, whole) in damaged() {
            let (mapped, event) = map(&mut mapper, &damaged);
            let (undamaged, expected) = map(&mut mapper, &whole);
            assert_eq!((mapped.unwrap().repaired, undamaged.unwrap().repaired), (true, false));
            let event = read(schema, &event);
            let mut comparable = event.clone();
            let mut expected = read(schema, &expected);
            // A text may be escaped in two ways.
            for event in [&mut comparable, &mut expected] {
                for path in ["/event/original", "/raw_data"] {
                    if let Some(original) = event.pointer_mut(path) {
                        *original = serde_json::from_str(original.as_str().unwrap()).unwrap();
                    }
                }
            }
            assert_eq!(comparable, expected, "{}", String::from_utf8_lossy(&damaged));
            let id = "1000000000000000001";
            let (shown, expected) = match schema {
                Schema::Ecs => (
                    json!([
                        event["event"]["kind"],
                        event["event"]["severity"],
                        event["event"]["id"],
                        event["host"]["name"]
                    ]),
                    json!(["alert", 99, id, "PC1"]),
                ),
                Schema::Ocsf => (
                    json!([event["severity"], event["metadata"]["original_event_uid"], event["device"]["hostname"]]),
                    json!(["Critical", id, "PC1"]),
                ),
                Schema::Raw => (event["id"].clone(), json!(id)),
            };
            assert_eq!(shown, expected);
            let time = event["@timestamp"].as_str().unwrap_or("2026-11-26T20:00:00");
            assert!(time.starts_with("2026-11-26T20:00:00"), "{time}");
        }
    }
}

/// Lines and Kafka messages are the console's bytes, but stay lines.
#[test]
fn raw_bytes_stay_as_they_are_where_nothing_has_to_read_them() {
    let mut mapper = mapper(Schema::Raw, Stream::Threats, false);
    for (damaged, whole) in damaged() {
        let (mapped, event) = map(&mut mapper, &damaged);
        let expected = if damaged.contains(&b'\n') { whole } else { damaged.clone() };
        assert_eq!(event, expected);
        assert!(mapped.is_err() || !mapped.unwrap().repaired);
    }
}

#[test]
fn what_cannot_be_repaired_keeps_id_time_and_severity() {
    let record = threat(b"", b"", b"[1,,2]");
    let (mapped, event) = map(&mut mapper(Schema::Ecs, Stream::Threats, false), &record);
    let event = read_event(&event);
    assert!(mapped.is_err());
    assert_eq!(
        json!([event["event"]["kind"], event["event"]["id"], event["event"]["severity"], event["@timestamp"]]),
        json!(["pipeline_error", "1000000000000000001", 99, "2026-11-26T20:00:01.000000Z"])
    );
    let (mapped, event) = map(&mut mapper(Schema::Ocsf, Stream::Threats, false), &record);
    let event = read_event(&event);
    assert!(mapped.is_err());
    assert_eq!(
        json!([event["severity"], event["metadata"]["original_event_uid"], event["time"]]),
        json!(["Critical", "1000000000000000001", 1_795_723_201_000_u64])
    );
    // The severity is unknown, which is not "Informational".
    let (_, event) = map(&mut mapper(Schema::Ocsf, Stream::Threats, false), b"nonsense");
    assert_eq!(read_event(&event)["severity"], "Unknown");

    let (mapped, event) = map(&mut mapper(Schema::Raw, Stream::Threats, true), &record);
    assert!(mapped.is_err());
    assert_eq!(serde_json::from_slice::<String>(&event).unwrap().as_bytes(), record, "a string is JSON");
    let (_, event) = map(&mut mapper(Schema::Raw, Stream::Threats, false), &record);
    assert_eq!(event, record);
}

fn examples() -> Vec<(Stream, Vec<u8>)> {
    let examples: Value = serde_json::from_str(include_str!("../data/examples.json")).unwrap();
    Stream::ALL.into_iter().map(|stream| (stream, examples[stream.name()].to_string().into_bytes())).collect()
}

/// Bytes that are inserted into a record at random places.
const DAMAGES: [&[u8]; 16] = [
    br"\ud83d",
    br"\ude00",
    b"\xff",
    b"\xed\xa0\xbd",
    b"\n",
    b"\0",
    b"NaN",
    b"-Infinity",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"]",
    b",",
    b":",
    b"7",
];

proptest! {
    /// If the id of a damaged record can be read, its event has the id, even an error event.
    #[test]
    fn the_id_of_a_damaged_record_is_in_its_event(
        example in 0..Stream::ALL.len(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(DAMAGES.to_vec()), 0..3_usize), 1..4),
    ) {
        let (stream, mut record) = examples().swap_remove(example);
        for (place, damage, removed) in damages {
            let at = place.index(record.len());
            let end = (at + removed).min(record.len());
            record.splice(at..end, damage.iter().copied());
        }
        let id = facts(stream, &record).id.into_owned();
        let is_number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        for schema in [Schema::Ecs, Schema::Ocsf] {
            let (_, event) = map(&mut mapper(schema, stream, true), &record);
            let event = read_event(&event);
            let found = match schema {
                Schema::Ecs => &event["event"]["id"],
                _ => &event["metadata"]["original_event_uid"],
            };
            let has_id = found.as_str().is_some_and(|found| found.split(':').next() == Some(&*id));
            prop_assert!(!is_number || has_id, "{stream}: {id} is not in {event:#} of {}", String::from_utf8_lossy(&record));
        }
        let (_, event) = map(&mut mapper(Schema::Raw, stream, true), &record);
        prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&event).is_ok());
        let (_, event) = map(&mut mapper(Schema::Raw, stream, false), &record);
        prop_assert_eq!(event.contains(&b'\n'), false);
    }
}
