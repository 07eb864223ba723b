//! The rules of Loki's push endpoint, for [`Receiver`](super::receiver::Receiver).

use serde_json::Value;

use super::double::{Received, Refusal};
use super::receiver::{Accepted, Format, HOUR, event, now};

/// Loki's push endpoint, JSON form. It refuses entries that are too old, ahead, or far behind the newest of their
/// stream; the others are stored all the same.
pub const LOKI: Format = Format { read: loki, success: (204, "") };

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
