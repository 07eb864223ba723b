use std::collections::BTreeMap;

use s1_forwarder::record::Stream;
use s1_forwarder::transform::{Mapper, Origin, Schema, TransformSettings};
use serde_json::Value;

pub const HOST: &str = "console.example.com";

pub fn mapper(stream: Stream, keep_original: bool) -> Mapper {
    let labels = BTreeMap::from([("customer".to_owned(), "acme".to_owned())]);
    let settings = TransformSettings { keep_original: Some(keep_original), labels, ..TransformSettings::default() };
    let origin = Origin { pipeline: "acme-eu".to_owned(), console_host: HOST.to_owned(), stream };
    Mapper::new(&settings, Schema::Ecs, origin)
}

/// The event of a record that must map.
pub fn map(stream: Stream, record: &Value) -> Value {
    let mut out = Vec::new();
    mapper(stream, false).map(record.to_string().as_bytes(), &mut out).expect("maps");
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

/// The value at a dotted path; null where there is none.
pub fn at<'v>(event: &'v Value, path: &str) -> &'v Value {
    path.split('.').try_fold(event, |value, name| value.get(name)).unwrap_or(&Value::Null)
}

/// One assertion per path, all reported at once.
#[track_caller]
pub fn assert_fields(event: &Value, expected: &[(&str, Value)]) {
    let wrong: Vec<String> = expected
        .iter()
        .filter(|(path, value)| at(event, path) != value)
        .map(|(path, value)| format!("{path}: {} instead of {value}", at(event, path)))
        .collect();
    assert!(wrong.is_empty(), "{}\n{event:#}", wrong.join("\n"));
}
