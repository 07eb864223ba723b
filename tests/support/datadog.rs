//! The rules of Datadog's intake, for [`Receiver`](super::receiver::Receiver).

use serde_json::{Value, json};

use super::double::{Received, Refusal};
use super::receiver::{Format, HOUR, all_or_nothing, event, now};

/// Datadog's logs intake, version 2.
pub const DATADOG: Format = Format { read: |request| all_or_nothing(datadog(request)), success: (202, "{}") };

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
