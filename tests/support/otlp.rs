//! The rules of an OTLP receiver of logs, for [`Receiver`](super::receiver::Receiver).

use serde_json::Value;

use super::double::{Received, Refusal};
use super::receiver::{Format, all_or_nothing, event};

/// An OTLP receiver of logs, both encodings.
pub const OTLP: Format = Format { read: |request| all_or_nothing(otlp(request)), success: (200, "") };

fn otlp(request: &Received) -> Result<Vec<Value>, Refusal> {
    if request.path != "/v1/logs" {
        return Err((404, "404 page not found"));
    }
    let records = match request.header("content-type") {
        "application/json" => otlp_json(&request.bytes),
        "application/x-protobuf" => otlp_protobuf(&request.bytes),
        _ => return Err((415, "")),
    };
    records.ok_or((400, r#"{"code":3,"message":"not an ExportLogsServiceRequest"}"#))
}

fn otlp_json(body: &[u8]) -> Option<Vec<Value>> {
    let request: Value = serde_json::from_slice(body).ok()?;
    let mut events = Vec::new();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for resource in list(&request["resourceLogs"]) {
        resource["resource"]["attributes"].as_array()?;
        for record in list(&resource["scopeLogs"]).iter().flat_map(|scope| list(&scope["logRecords"])) {
            record["timeUnixNano"].as_str()?.parse::<u64>().ok()?;
            record["observedTimeUnixNano"].as_str()?.parse::<u64>().ok()?;
            record["attributes"].as_array()?.iter().all(|pair| pair["key"].is_string()).then_some(())?;
            events.push(event(record["body"]["stringValue"].as_str()?));
        }
    }
    Some(events)
}

fn otlp_protobuf(body: &[u8]) -> Option<Vec<Value>> {
    let mut events = Vec::new();
    for resource_logs in messages(body, 1)? {
        messages(resource_logs, 1)?.first()?;
        for scope_logs in messages(resource_logs, 2)? {
            for record in messages(scope_logs, 2)? {
                let body = messages(record, 5)?.pop()?;
                events.push(event(std::str::from_utf8(messages(body, 1)?.pop()?).ok()?));
            }
        }
    }
    Some(events)
}

/// The fields of bytes with this number in a protobuf message.
fn messages(mut message: &[u8], wanted: u64) -> Option<Vec<&[u8]>> {
    fn varint(message: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        let mut shift = 0;
        loop {
            let (byte, rest) = message.split_first()?;
            *message = rest;
            value += u64::from(byte % 128).checked_shl(shift)?;
            shift += 7;
            if *byte < 128 {
                return Some(value);
            }
        }
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let length = match tag % 8 {
            0 => varint(&mut message).map(|_| 0)?,
            1 => 8,
            2 => varint(&mut message)? as usize,
            5 => 4,
            _ => return None,
        };
        let (content, rest) = message.split_at_checked(length)?;
        message = rest;
        if tag == wanted * 8 + 2 {
            found.push(content);
        }
    }
    Some(found)
}
