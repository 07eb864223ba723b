//! The rules of Datadog, Loki and OTLP receivers, for [`Receiver`](super::receiver::Receiver).

use serde_json::{Value, json};

use super::double::{Received, Refusal};
use super::receiver::{Accepted, Format};

/// Datadog's logs intake, version 2.
pub const DATADOG: Format = Format { read: |request| all_or_nothing(datadog(request)), success: (202, "{}") };
/// Loki's push endpoint, JSON form. It refuses entries that are too old, ahead, or far behind the newest of their
/// stream; the others are stored all the same.
pub const LOKI: Format = Format { read: loki, success: (204, "") };
/// An OTLP receiver of logs, both encodings.
pub const OTLP: Format = Format { read: |request| all_or_nothing(otlp(request)), success: (200, "") };

const HOUR: i64 = 3_600_000;

/// Now in milliseconds.
fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

fn all_or_nothing(read: Result<Vec<Value>, Refusal>) -> Accepted {
    match read {
        Ok(events) => (events, Ok(())),
        Err(refusal) => (Vec::new(), Err(refusal)),
    }
}

fn event(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!({ "text": text }))
}

fn datadog(request: &Received) -> Result<Vec<Value>, Refusal> {
    const BAD: Refusal = (400, r#"{"errors":[{"status":"400","title":"Bad Request"}]}"#);
    if request.path != "/api/v2/logs" {
        return Err((404, ""));
    }
    if request.header("content-type") != "application/json" {
        return Err((415, ""));
    }
    let Some(Value::Array(logs)) = request.json() else { return Err(BAD) };
    if request.bytes.len() > 5_000_000 || logs.len() > 1_000 {
        return Err((413, ""));
    }
    let mut events = Vec::new();
    for log in &logs {
        let text = |key: &str| log[key].as_str().filter(|text| !text.is_empty()).ok_or(BAD);
        text("ddsource")?;
        text("service")?;
        text("hostname")?;
        let tagged = text("ddtags")?.split(',').all(|tag| tag.split_once(':').is_some_and(|(key, _)| !key.is_empty()));
        if !tagged || !(log["timestamp"].is_i64() || log["timestamp"].is_null()) {
            return Err(BAD);
        }
        // A log that is too long is cut, with a 202: its event does not arrive.
        let whole = log.to_string().len() <= 1_000_000;
        let event = if whole { event(text("message")?) } else { json!({ "id": "cut" }) };
        // One that is too old or ahead is dropped, with the same 202.
        if official_dates(log)
            .chain(official_dates(&event))
            .all(|date| (-18 * HOUR..=2 * HOUR).contains(&(date - now())))
        {
            events.push(event);
        }
    }
    Ok(events)
}

/// The attributes that Datadog takes a log's date from, also where it finds them in a message of JSON, in milliseconds.
fn official_dates(log: &Value) -> impl Iterator<Item = i64> {
    const NAMES: [&str; 7] =
        ["timestamp", "@timestamp", "_timestamp", "Timestamp", "date", "eventTime", "published_date"];
    let millis = |text: &str| text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond());
    NAMES.iter().filter_map(move |name| log[name].as_i64().or_else(|| millis(log[name].as_str()?)))
}

fn loki(request: &Received) -> Accepted {
    if request.path != "/loki/api/v1/push" {
        return (vec![], Err((404, "404 page not found")));
    }
    if request.header("content-type") != "application/json" {
        return (vec![], Err((415, "")));
    }
    let Some(push) = request.json() else { return (vec![], Err((400, "no JSON"))) };
    let mut events = Vec::new();
    let mut refusal = Ok(());
    let streams = push["streams"].as_array().cloned().unwrap_or_default();
    if streams.is_empty() {
        return (vec![], Err((422, "at least one valid stream is required for ingestion")));
    }
    for stream in &streams {
        if let Err(wrong) = labels(&stream["stream"]) {
            return (vec![], Err(wrong));
        }
        let values = stream["values"].as_array().unwrap();
        let newest = values.iter().filter_map(nanoseconds).max().unwrap_or_default();
        for entry in values {
            match loki_entry(entry, newest) {
                Ok(line) => events.push(event(line)),
                Err(wrong) => refusal = Err(wrong),
            }
        }
    }
    (events, refusal)
}

fn labels(labels: &Value) -> Result<(), Refusal> {
    let labels = labels.as_object().filter(|labels| !labels.is_empty()).ok_or((400, "error parsing labels"))?;
    if labels.len() > 15 {
        return Err((400, "stream '{…}' has 16 label names; limit 15"));
    }
    let named = |name: &str| {
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    if labels.iter().all(|(name, value)| named(name) && value.is_string()) {
        Ok(())
    } else {
        Err((400, "error parsing labels"))
    }
}

/// The time of an entry, which must be a string.
fn nanoseconds(entry: &Value) -> Option<u64> {
    entry[0].as_str()?.parse().ok()
}

/// `newest` is the time of the newest entry of the stream.
fn loki_entry(entry: &Value, newest: u64) -> Result<&str, Refusal> {
    let time = nanoseconds(entry).ok_or((400, "the timestamp is no string of nanoseconds"))?;
    let line = entry[1].as_str().ok_or((400, "the line is no string"))?;
    let metadata = entry[2].as_object().into_iter().flatten();
    let metadata: Vec<_> = metadata.map(|(_, value)| value).collect();
    if metadata.len() > 128 || !metadata.into_iter().all(Value::is_string) {
        return Err((400, "structured metadata"));
    }
    if line.len() > 256 * 1024 {
        return Err((400, "Max entry size '262144' bytes exceeded"));
    }
    let millis = |nanoseconds: u64| (nanoseconds / 1_000_000) as i64;
    match millis(time) - now() {
        age if age < -7 * 24 * HOUR => Err((400, "entry has timestamp too old")),
        age if age > HOUR / 6 => Err((400, "entry has timestamp too new")),
        _ if millis(newest) - millis(time) > HOUR => Err((400, "entry too far behind")),
        _ => Ok(line),
    }
}

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
