use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use s1_forwarder_mapping::{Mapper, MappingSettings, Origin, Schema};
use s1_forwarder_record::Stream;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

pub const HOST: &str = "console.example.com";

pub fn mapper(stream: Stream, keep_original: bool) -> Mapper {
    mapper_to(Schema::Ecs, stream, keep_original)
}

pub fn mapper_to(schema: Schema, stream: Stream, keep_original: bool) -> Mapper {
    mapper_with(MappingSettings { schema, keep_original, ..MappingSettings::default() }, stream)
}

/// Returns a mapper that keeps the original unchanged, with the console's own secrets.
pub fn verbatim_mapper(schema: Schema, stream: Stream) -> Mapper {
    let settings =
        MappingSettings { schema, keep_original: true, keep_console_secrets: true, ..MappingSettings::default() };
    mapper_with(settings, stream)
}

fn mapper_with(settings: MappingSettings, stream: Stream) -> Mapper {
    let labels = BTreeMap::from([("customer".to_owned(), "acme".to_owned())]);
    let settings = MappingSettings { labels, ..settings };
    let origin = Origin { pipeline: "acme-eu".to_owned(), console_host: HOST.to_owned(), stream };
    Mapper::new(&settings, origin)
}

/// Returns the ECS event of a record that must map.
pub fn map(stream: Stream, record: &Value) -> Value {
    map_to(Schema::Ecs, stream, record)
}

/// Returns the event of a record that must map, without OCSF's time of mapping.
pub fn map_to(schema: Schema, stream: Stream, record: &Value) -> Value {
    let mut out = Vec::new();
    mapper_to(schema, stream, false).map(record.to_string().as_bytes(), &mut out).expect("maps");
    read_event(&out)
}

pub fn read_event(event: &[u8]) -> Value {
    serde_json::from_slice::<DistinctKeys>(event)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(event)));
    let mut event: Value = serde_json::from_slice(event).unwrap();
    if let Some(metadata) = event.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("processed_time");
    }
    event
}

/// Returns the faults of an event by its schema.
pub fn faults(schema: Schema, event: &Value) -> Vec<String> {
    match schema {
        Schema::Ocsf => super::ocsf::validity::faults(event),
        _ => super::schema::faults(event),
    }
}

/// Returns the value at a dotted path; null if there is no value.
pub fn at<'v>(event: &'v Value, path: &str) -> &'v Value {
    path.split('.').try_fold(event, |value, name| value.get(name)).unwrap_or(&Value::Null)
}

/// Makes one assertion per path, and reports all failures at once.
#[track_caller]
pub fn assert_fields(event: &Value, expected: &[(&str, Value)]) {
    let wrong: Vec<String> = expected
        .iter()
        .filter(|(path, value)| at(event, path) != value)
        .map(|(path, value)| format!("{path}: {} instead of {value}", at(event, path)))
        .collect();
    assert!(wrong.is_empty(), "{}\n{event:#}", wrong.join("\n"));
}

/// Checks the whole event of each schema, and its expected fields.
#[track_caller]
pub fn check(name: &str, stream: Stream, record: &Value, ecs: &[(&str, Value)], ocsf: &[(&str, Value)]) {
    for (schema, prefix, expected) in [(Schema::Ecs, "", ecs), (Schema::Ocsf, "ocsf-", ocsf)] {
        let event = map_to(schema, stream, record);
        assert_eq!(faults(schema, &event), Vec::<String>::new(), "{name}: {event:#}");
        assert_fields(&event, expected);
        insta::assert_snapshot!(format!("{prefix}{name}"), format!("{event:#}"));
    }
}

/// JSON in which no object has a key twice. Readers would keep only one of the values.
#[derive(Debug)]
pub struct DistinctKeys;

impl<'de> Deserialize<'de> for DistinctKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for DistinctKeys {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON without repeated keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        let mut keys = BTreeSet::new();
        while let Some((key, Self)) = entries.next_entry::<String, Self>()? {
            if !keys.insert(key.clone()) {
                return Err(A::Error::custom(format!("{key} is repeated")));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
        while let Some(Self) = elements.next_element()? {}
        Ok(self)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
}
