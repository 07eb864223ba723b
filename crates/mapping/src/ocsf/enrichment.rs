//! Notes and timeline of a threat.

use s1_forwarder_record::{Identity, Stream};
use serde_json::{Map, Value};

use super::activity_class::type_of;
use super::event::Event;
use super::metadata::CommonFields;
use super::user::UserType;
use crate::common::account::{Account, display_name, name_and_address};
use crate::streams::enrichment::{Enrichment, Item, is_empty};

/// Names of [`write_unmapped`]: notes, timeline, count of the notes, reason of a failure.
pub(super) const NAMES: [&str; 4] = ["notes", "timeline", "notes_count", "enrichment_error"];
const MAX_NOTES: usize = 100;
const MAX_EVENTS: usize = 200;

/// Returns the `most` newest items, in the order of their creation.
fn newest<'e>(items: impl Iterator<Item = Item<'e>>, most: usize) -> Vec<Item<'e>> {
    let mut items: Vec<_> = items.collect();
    items.sort_by_key(|item| item.created());
    items.split_off(items.len().saturating_sub(most))
}

/// Writes `notes`. Notes without a text are left out.
pub(super) fn notes(event: &mut Event<'_>, enrichment: &Enrichment) {
    let list = event.json.open_list("notes");
    for note in newest(enrichment.notes(), MAX_NOTES) {
        let Some(text) = note.text() else { continue };
        let element = event.json.open_element();
        event.json.text("comment", text);
        if let Some(id) = note.id() {
            event.json.text("uid", id);
        }
        for (name, time) in [("created_time", note.created()), ("modified_time", note.updated())] {
            if let Some(time) = time {
                event.timestamp(name, time);
            }
        }
        owner(event, note);
        event.json.close(element);
    }
    event.json.close(list);
}

/// Writes the author of a note.
fn owner(event: &mut Event<'_>, note: Item<'_>) {
    if note.creator().is_none() && note.creator_id().is_none() {
        return;
    }
    let open = event.json.open("owner");
    if let Some(creator) = note.creator() {
        let quoted = Value::from(creator).to_string();
        creator_names(event, s1_forwarder_record::Value::new(&quoted));
    }
    if let Some(id) = note.creator_id() {
        event.json.text("uid", id);
    }
    event.user_type(UserType::Unknown);
    event.json.close(open);
}

/// Writes the name of the open user object. For `Jane Doe (jane@acme.example)`, also writes the full name and the
/// address.
fn creator_names(event: &mut Event<'_>, creator: s1_forwarder_record::Value<'_>) {
    let Some(text) = creator.escaped() else { return };
    match Account::of_text(text).filter(|_| name_and_address(text).is_some()) {
        Some(account) => {
            event.json.escaped("name", account.name);
            event.optional("full_name", display_name(creator));
            event.json.escaped("email_addr", account.text);
        }
        None => event.json.escaped("name", text),
    }
}

/// Writes `related_events` of the open `finding_info`. The `uid` of an item is the `metadata.uid` of its activity.
pub(super) fn related_events(event: &mut Event<'_>, common: &CommonFields<'_>, enrichment: &Enrichment) {
    let list = event.json.open_list("related_events");
    for item in newest(enrichment.timeline(), MAX_EVENTS) {
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

/// Writes the values of notes and timeline that have no attribute, the number of notes, and why a request failed.
pub(super) fn write_unmapped(event: &mut Event<'_>, enrichment: &Enrichment) {
    // A list with too many items, or an item that lacks a required value of a note or a related event, is kept
    // completely.
    let has_notes = enrichment.notes().count() <= MAX_NOTES;
    let is_note = |item: &Item<'_>| has_notes && item.text().is_some();
    let notes =
        enrichment.notes().map(|item| (is_note(&item), left(item, |key| is_note(&item) && item.is_in_note(key))));
    // The id shows which note the remaining values belong to.
    let has_rest = |note: &Value| note.as_object().is_some_and(|left| left.keys().any(|key| key != "id"));
    let notes = notes.filter(|(is_note, left)| !is_note || has_rest(left));
    let notes: Vec<Value> = notes.map(|(_, left)| left).collect();
    let has_all = enrichment.timeline().count() <= MAX_EVENTS;
    let is_mapped = |item: &Item<'_>| has_all && item.id().is_some() && item.created().is_some();
    let timeline = enrichment.timeline();
    let timeline = timeline.map(|item| left(item, |key| is_mapped(&item) && Item::is_in_related_event(key)));
    let timeline: Vec<Value> = timeline.collect();
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

/// Returns an item without empty values, and without the texts that `is_there` reports: the event's note or related
/// event has them. A class of OCSF does not tell the type of the activity, so the type stays.
fn left(item: Item<'_>, is_there: impl Fn(&str) -> bool) -> Value {
    let is_left = |(key, value): &(&String, &Value)| !(is_empty(value) || value.is_string() && is_there(key));
    let entries: Map<_, _> =
        item.entries.iter().filter(is_left).map(|(key, value)| (key.clone(), value.clone())).collect();
    Value::Object(entries)
}
