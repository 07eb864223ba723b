//! Notes and timeline of a threat.

use s1_forwarder_record::{Identity, Stream, Timestamp};
use serde_json::{Map, Value, json};

use super::activity_class::type_of;
use super::event::Event;
use super::metadata::Common;
use crate::common::enrichment::{Enrichment, is_empty};

/// The names that [`write_unmapped`] writes.
pub(super) const RESERVED: [&str; 4] = ["notes", "timeline", "notes_count", "enrichment_error"];
const MOST_NOTES: usize = 100;
const MOST_EVENTS: usize = 200;
/// Keys of timeline items whose text is in an attribute of `related_events[]`. A class does not tell the type.
const MAPPED: [&str; 3] = ["primaryDescription", "secondaryDescription", "createdAt"];

fn created(item: &Map<String, Value>) -> Option<Timestamp> {
    item.get("createdAt").and_then(Value::as_str).and_then(|text| Timestamp::parse(text).ok())
}

/// The newest items, in the order of their creation.
fn newest<'e>(enrichment: &'e Enrichment, name: &str, most: usize) -> Vec<&'e Map<String, Value>> {
    let mut items: Vec<_> = enrichment.items(name).collect();
    items.sort_by_key(|item| created(item));
    items.split_off(items.len().saturating_sub(most))
}

/// Writes `comment`: a line for each note.
pub(super) fn comment(event: &mut Event<'_>, enrichment: &Enrichment) {
    let text =
        |note: &Map<String, Value>, key: &str| note.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let lines: Vec<String> = newest(enrichment, "notes", MOST_NOTES)
        .into_iter()
        .map(|note| format!("{} {}: {}", text(note, "createdAt"), text(note, "creator"), text(note, "text")))
        .collect();
    if !lines.is_empty() {
        event.json.text("comment", &lines.join("\n"));
    }
}

/// Writes `related_events` of the open `finding_info`. The `uid` of an item is the `metadata.uid` of its activity.
pub(super) fn related_events(event: &mut Event<'_>, common: &Common<'_>, enrichment: &Enrichment) {
    let items = newest(enrichment, "timeline", MOST_EVENTS);
    let list = event.json.open_list("related_events");
    for item in items {
        let text = |key: &str| item.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(id) = text("id") else { continue };
        let element = event.json.open_element();
        let identity = Identity::of(common.console_host, Stream::Activities, id, "");
        event.json.text("uid", &identity.to_string());
        for (name, key) in [("title", "primaryDescription"), ("desc", "secondaryDescription")] {
            if let Some(text) = text(key) {
                event.json.text(name, text);
            }
        }
        if let Some(time) = created(item) {
            event.timestamp("created_time", time);
        }
        let number = item.get("activityType").and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
        match number.map(|number| (number, type_of(number))) {
            Some((_, Some((uid, name)))) => {
                event.json.number("type_uid", itoa::Buffer::new().format(uid));
                event.json.text("type_name", &name);
            }
            Some((number, None)) => event.json.text("type", &format!("activity-{number}")),
            None => {}
        }
        event.json.close(element);
    }
    event.json.close(list);
    let known = enrichment.items("timeline").count() as u64;
    let count = enrichment.0.get("timelineCount").and_then(Value::as_u64).unwrap_or(known);
    if known > 0 || count > 0 {
        event.json.number("related_events_count", itoa::Buffer::new().format(count));
    }
}

/// Writes the notes, what the timeline says in addition, and why a request failed.
pub(super) fn write_unmapped(event: &mut Event<'_>, enrichment: &Enrichment) {
    for name in ["notes", "timeline"] {
        // An item beyond the newest, or without an id, is no related event, so it is kept as a whole.
        let is_mapped = |item: &Map<String, Value>| {
            name == "timeline"
                && item.get("id").and_then(Value::as_str).is_some_and(|id| !id.is_empty())
                && created(item).is_some()
                && enrichment.items(name).count() <= MOST_EVENTS
        };
        let items: Vec<Value> = enrichment
            .items(name)
            .map(|item| {
                let is_left = |(key, value): &(&String, &Value)| {
                    !is_empty(value) && (!is_mapped(item) || !value.is_string() || !MAPPED.contains(&key.as_str()))
                };
                item.iter().filter(is_left).map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>()
            })
            .map(Value::Object)
            .collect();
        if !items.is_empty() {
            event.json.name(name);
            event.json.raw(json!(items).to_string().as_bytes());
        }
    }
    if let Some(count) = enrichment.0.get("notesCount").and_then(Value::as_u64) {
        event.json.number("notes_count", itoa::Buffer::new().format(count));
    }
    if let Some(error) = enrichment.0.get("error").and_then(Value::as_str) {
        event.json.text("enrichment_error", error);
    }
}
