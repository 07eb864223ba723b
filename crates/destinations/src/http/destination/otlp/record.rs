//! Events as OTLP log records, in both encodings.
//! <https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto>

use std::collections::BTreeMap;
use std::io::Write;

use s1_forwarder_engine::sink::{Batch, Event};
use s1_forwarder_record::Timestamp;
use serde_json::json;

use super::encoding::Encoding;
use super::protobuf;
use crate::http::Framing;
use crate::http::transport::framing::write_body_as_string;

const SCOPE: &str = env!("CARGO_PKG_NAME");
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// `SEVERITY_NUMBER_ERROR`.
const ERROR: u8 = 17;

/// Writes the requests of one lane.
#[derive(Debug)]
pub(super) struct Writer {
    encoding: Encoding,
    head: Head,
}

#[derive(Debug)]
struct Head {
    /// Protobuf: field `resource` of `ResourceLogs`. JSON: everything before the records.
    resource: Vec<u8>,
    /// Protobuf: field `scope` of `ScopeLogs`.
    scope: Vec<u8>,
}

impl Writer {
    /// `attributes` are the attributes of the resource.
    pub(super) fn new(encoding: Encoding, attributes: &BTreeMap<String, String>) -> Self {
        let mut resource = Vec::new();
        let mut scope = Vec::new();
        match encoding {
            Encoding::Protobuf => {
                protobuf::message(1, &mut resource, |out| {
                    attributes.iter().for_each(|(key, value)| protobuf_attribute(1, key, value, out));
                });
                protobuf::message(1, &mut scope, |out| {
                    protobuf::bytes(1, SCOPE.as_bytes(), out);
                    protobuf::bytes(2, VERSION.as_bytes(), out);
                });
            }
            Encoding::Json => {
                let attributes: Vec<_> = attributes
                    .iter()
                    .map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } }))
                    .collect();
                // Writing into a Vec cannot fail.
                let _ = write!(
                    resource,
                    r#"{{"resourceLogs":[{{"resource":{{"attributes":{}}},"scopeLogs":[{{"scope":{{"name":"{SCOPE}","version":"{VERSION}"}},"logRecords":["#,
                    json!(attributes)
                );
            }
        }
        Self { encoding, head: Head { resource, scope } }
    }

    pub(super) fn framing(&self) -> Framing<'_> {
        match self.encoding {
            Encoding::Protobuf => Framing::NONE,
            Encoding::Json => Framing { open: &self.head.resource, separator: b",", close: b"]}]}]}" },
        }
    }

    /// Writes everything before the first record.
    pub(super) fn open(&self, batch: &Batch, out: &mut Vec<u8>) {
        let Head { resource, scope } = &self.head;
        if self.encoding == Encoding::Json {
            out.extend_from_slice(self.framing().open);
            return;
        }
        // In protobuf a message's length precedes it, so the records are measured first.
        let mut record = Vec::new();
        let records: usize = batch
            .events()
            .map(|event| {
                record.clear();
                protobuf_record(event, &mut record);
                record.len()
            })
            .sum();
        let scope_logs = scope.len() + records;
        let mut scope_header = Vec::new();
        protobuf::header(2, scope_logs, &mut scope_header);
        protobuf::header(1, resource.len() + scope_header.len() + scope_logs, out);
        out.extend_from_slice(resource);
        out.extend_from_slice(&scope_header);
        out.extend_from_slice(scope);
    }

    pub(super) fn record(&self, event: Event<'_>, out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Protobuf => protobuf_record(event, out),
            Encoding::Json => json_record(event, out),
        }
    }
}

/// Returns the attributes of a log record that have a value.
fn attributes(event: Event<'_>) -> impl Iterator<Item = (&'static str, String)> {
    let record_id = Some(event.record_id).filter(|id| !id.is_empty());
    [
        ("event.id", Some(event.identity.to_string())),
        ("record.id", record_id.map(str::to_owned)),
        ("error.message", event.error.map(str::to_owned)),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
}

fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.micros()).unwrap_or(0).saturating_mul(1_000)
}

fn protobuf_record(event: Event<'_>, out: &mut Vec<u8>) {
    protobuf::message(2, out, |out| {
        if let Some(time) = event.time {
            protobuf::fixed64(1, nanoseconds(time), out);
        }
        if event.error.is_some() {
            protobuf::number(2, ERROR.into(), out);
            protobuf::bytes(3, b"ERROR", out);
        }
        protobuf::message(5, out, |out| {
            protobuf::bytes(1, String::from_utf8_lossy(event.body).as_bytes(), out);
        });
        attributes(event).for_each(|(key, value)| protobuf_attribute(6, key, &value, out));
        protobuf::fixed64(11, nanoseconds(Timestamp::now()), out);
    });
}

fn protobuf_attribute(field: u8, key: &str, value: &str, out: &mut Vec<u8>) {
    protobuf::message(field, out, |out| {
        protobuf::bytes(1, key.as_bytes(), out);
        protobuf::message(2, out, |out| protobuf::bytes(1, value.as_bytes(), out));
    });
}

/// 64-bit numbers are strings, as in protobuf's JSON, and enumerations are numbers, as OTLP requires.
fn json_record(event: Event<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    if let Some(time) = event.time {
        let _ = write!(out, r#""timeUnixNano":"{}","#, nanoseconds(time));
    }
    if event.error.is_some() {
        let _ = write!(out, r#""severityNumber":{ERROR},"severityText":"ERROR","#);
    }
    let _ = write!(out, r#""observedTimeUnixNano":"{}","body":{{"stringValue":"#, nanoseconds(Timestamp::now()));
    write_body_as_string(event, out);
    out.extend_from_slice(br#"},"attributes":["#);
    for (index, (key, value)) in attributes(event).enumerate() {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(out, r#"{comma}{{"key":"{key}","value":{{"stringValue":{}}}}}"#, json!(value));
    }
    out.extend_from_slice(b"]}");
}
