//! Writes the notes and the timeline of a threat, which the lane fetches in addition to the record.

use s1_forwarder_record::Escaped;
use serde_json::{Map, Value, json};

use super::event::Event;
use super::user;
use super::vendor::VendorObject;
use crate::common::hash::hash;
use crate::streams::enrichment::{DESCRIPTIONS, Enrichment, Item, REPEATED_IDS, is_empty};

/// The only object of an item. Its keys depend on the type of the activity.
const DATA: &str = "data";

impl Enrichment {
    /// Adds authors of notes and hashes of the timeline to `related`, which must not be written yet.
    pub(super) fn add_related(&self, event: &mut Event<'_>) {
        for creator in self.notes().filter_map(Item::creator) {
            let quoted = Value::from(creator).to_string();
            user::related(event, s1_forwarder_record::Value::new(&quoted));
        }
        for text in self.timeline().filter_map(Item::hash).map(Escaped::plain) {
            if hash(text).is_some() {
                event.related.hash.add_lower_case(text);
            }
        }
    }

    /// Writes the lists into the vendor object. `threat_ids` are the ids in the threat's record.
    pub(super) fn write(&self, vendor: &mut VendorObject<'_, '_>, threat_ids: &[String]) {
        write_items(vendor, "notes", self.notes(), threat_ids);
        vendor.number("notes_count", self.notes_count());
        write_items(vendor, "timeline", self.timeline(), threat_ids);
        vendor.number("timeline_count", self.timeline_count());
        vendor.text("enrichment_error", self.error());
    }
}

fn write_items<'e>(
    vendor: &mut VendorObject<'_, '_>,
    name: &'static str,
    items: impl Iterator<Item = Item<'e>>,
    threat_ids: &[String],
) {
    let items = items.map(|item| item_of(item, threat_ids, |key, value| vendor.misfit(name, key, value))).collect();
    vendor.list(name, items);
}

/// Returns an item with the names of the vendor namespace, without empty values and ids of the threat. `misfit` gets
/// the values that do not have the shape of their place.
fn item_of(item: Item<'_>, threat_ids: &[String], mut misfit: impl FnMut(&str, &Value)) -> Value {
    let mut named = Map::new();
    let mut described = Map::new();
    for (key, value) in item.entries {
        let is_repeated = REPEATED_IDS.contains(&key.as_str())
            && value.as_str().is_some_and(|id| threat_ids.iter().any(|known| known == id));
        if is_repeated || is_empty(value) {
            continue;
        }
        let fits = if key == DATA { value.is_object() } else { !has_object(value) };
        if !fits {
            misfit(&snake(key), value);
            continue;
        }
        match DESCRIPTIONS.iter().find(|(known, _)| known == key) {
            Some((_, name)) => described.insert((*name).to_owned(), value.clone()),
            None => named.insert(snake(key), value.clone()),
        };
    }
    if !described.is_empty() {
        named.insert("description".to_owned(), json!(described));
    }
    Value::Object(named)
}

fn has_object(value: &Value) -> bool {
    value.is_object() || value.as_array().is_some_and(|items| items.iter().any(has_object))
}

fn snake(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}
