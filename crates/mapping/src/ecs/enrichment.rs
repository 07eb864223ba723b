//! Notes and timeline of a threat, which the lane fetches in addition to the record.

use s1_forwarder_record::Escaped;
use serde_json::{Map, Value, json};

use super::event::Event;
use super::vendor::VendorObject;
use crate::common::hash::hash;
use crate::streams::enrichment::{DESCRIPTIONS, Enrichment, Item, REPEATED_IDS, is_empty};

impl Enrichment {
    /// Adds authors of notes and hashes of the timeline to `related`, which must not be written yet.
    pub(super) fn add_related(&self, event: &mut Event<'_>) {
        for creator in self.notes().filter_map(Item::creator) {
            let quoted = Value::from(creator).to_string();
            event.related.user.insert(Escaped::plain(quoted.get(1..quoted.len() - 1).unwrap_or_default()));
        }
        for text in self.timeline().filter_map(Item::hash).map(Escaped::plain) {
            if hash(text).is_some() {
                event.related.hash.add_lower_case(text);
            }
        }
    }

    /// Writes the lists into the vendor object. `threat_ids` are the ids in the threat's record.
    pub(super) fn write(&self, vendor: &mut VendorObject<'_, '_>, threat_ids: &[String]) {
        vendor.list("notes", self.notes().map(|item| item_of(item, threat_ids)).collect());
        vendor.number("notes_count", self.notes_count());
        vendor.list("timeline", self.timeline().map(|item| item_of(item, threat_ids)).collect());
        vendor.number("timeline_count", self.timeline_count());
        vendor.text("enrichment_error", self.error());
    }
}

/// An item with the names of the vendor namespace, without empty values and ids of the threat.
fn item_of(item: Item<'_>, threat_ids: &[String]) -> Value {
    let mut named = Map::new();
    let mut described = Map::new();
    for (key, value) in item.entries {
        let is_repeated = REPEATED_IDS.contains(&key.as_str())
            && value.as_str().is_some_and(|id| threat_ids.iter().any(|known| known == id));
        if is_repeated || is_empty(value) {
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
