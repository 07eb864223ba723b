//! Notes and timeline of a threat.

use s1_forwarder_record::{Identity, Stream};
use serde_json::{Map, Value};

use super::activity_class::type_of;
use super::event::Event;
use super::metadata::Common;
use crate::streams::enrichment::{Enrichment, Item, is_empty};

/// Names of [`write_unmapped`]: notes, timeline, count of the notes, reason of a failure.
pub(super) const NAMES: [&str; 4] = ["notes", "timeline", "notes_count", "enrichment_error"];
const MOST_NOTES: usize = 100;
const MOST_EVENTS: usize = 200;

/// The newest items, in the order of their creation.
fn newest<'e>(items: impl Iterator<Item = Item<'e>>, most: usize) -> Vec<Item<'e>> {
    let mut items: Vec<_> = items.collect();
    items.sort_by_key(|item| item.created());
    items.split_off(items.len().saturating_sub(most))
}

/// Writes `comment`: a line for each note.
pub(super) fn comment(event: &mut Event<'_>, enrichment: &Enrichment) {
    let line = |note: Item<'_>| {
        let [creator, text] = [note.creator(), note.text()].map(Option::unwrap_or_default);
        format!("{} {creator}: {text}", note.created_text())
    };
    let lines: Vec<String> = newest(enrichment.notes(), MOST_NOTES).into_iter().map(line).collect();
    if !lines.is_empty() {
        event.json.text("comment", &lines.join("\n"));
    }
}

/// Writes `related_events` of the open `finding_info`. The `uid` of an item is the `metadata.uid` of its activity.
pub(super) fn related_events(event: &mut Event<'_>, common: &Common<'_>, enrichment: &Enrichment) {
    let list = event.json.open_list("related_events");
    for item in newest(enrichment.timeline(), MOST_EVENTS) {
        let Some(id) = item.id() else { continue };
        let element = event.json.open_element();
        let identity = Identity::of(common.console_host, Stream::Activities, id, "");
        event.json.text("uid", &identity.to_string());
        for (name, text) in ["title", "desc"].into_iter().zip(item.descriptions()) {
            if let Some(text) = text {
                event.json.text(name, text);
            }
        }
        if let Some(time) = item.created() {
            event.timestamp("created_time", time);
        }
        match item.activity_type().map(|number| (number, type_of(number))) {
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
    let known = enrichment.timeline().count() as u64;
    let count = enrichment.timeline_count().unwrap_or(known);
    if known > 0 || count > 0 {
        event.json.number("related_events_count", itoa::Buffer::new().format(count));
    }
}

/// Writes the notes, what the timeline says in addition, and why a request failed.
pub(super) fn write_unmapped(event: &mut Event<'_>, enrichment: &Enrichment) {
    let has_all = enrichment.timeline().count() <= MOST_EVENTS;
    let notes: Vec<Value> = enrichment.notes().map(|item| left(item, false)).collect();
    // An item beyond the newest, or without an id, is no related event, so it is kept as a whole.
    let is_mapped = |item: &Item<'_>| has_all && item.id().is_some() && item.created().is_some();
    let timeline: Vec<Value> = enrichment.timeline().map(|item| left(item, is_mapped(&item))).collect();
    let [notes_name, timeline_name, count_name, error_name] = NAMES;
    for (name, items) in [(notes_name, notes), (timeline_name, timeline)] {
        if !items.is_empty() {
            event.json.name(name);
            event.json.raw(Value::Array(items).to_string().as_bytes());
        }
    }
    if let Some(count) = enrichment.notes_count() {
        event.json.number(count_name, itoa::Buffer::new().format(count));
    }
    if let Some(error) = enrichment.error() {
        event.json.text(error_name, error);
    }
}

/// An item without empty values and, if it is a related event, without what that has. A class does not tell the type.
fn left(item: Item<'_>, is_mapped: bool) -> Value {
    let is_there = |key: &str, value: &Value| is_mapped && value.is_string() && Item::is_read(key);
    let is_left = |(key, value): &(&String, &Value)| !is_empty(value) && !is_there(key, value);
    let entries: Map<_, _> =
        item.entries.iter().filter(is_left).map(|(key, value)| (key.clone(), value.clone())).collect();
    Value::Object(entries)
}
