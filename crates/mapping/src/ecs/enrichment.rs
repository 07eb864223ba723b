//! Notes and timeline of a threat, which the lane fetches in addition to the record.

use s1_forwarder_record::Escaped;
use serde_json::{Map, Value, json};

use super::event::Event;
use crate::common::enrichment::{Enrichment, is_empty};

/// Keys of timeline items that are left out if they repeat an id of the threat.
const REPEATED_IDS: [&str; 5] = ["agentId", "siteId", "accountId", "groupId", "threatId"];

impl Enrichment {
    /// Adds authors of notes and hashes of the timeline to `related`, which must not be written yet.
    pub(super) fn add_related(&self, event: &mut Event<'_>) {
        for creator in self.items("notes").filter_map(|note| note.get("creator")?.as_str()) {
            let quoted = Value::from(creator).to_string();
            event.related.user.insert(Escaped::plain(quoted.get(1..quoted.len() - 1).unwrap_or_default()));
        }
        for hash in self.items("timeline").filter_map(|item| item.get("hash")?.as_str()) {
            if matches!(hash.len(), 32 | 40 | 64) && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                event.related.hash.add_lower_case(Escaped::plain(hash));
            }
        }
    }

    /// Writes the lists into the vendor object. `threat_ids` are the ids in the threat's record.
    pub(super) fn write(&self, event: &mut Event<'_>, threat_ids: &[String]) {
        for (name, count) in [("notes", "notesCount"), ("timeline", "timelineCount")] {
            let items: Vec<Value> = self.items(name).map(|item| Value::Object(item_of(item, threat_ids))).collect();
            if !items.is_empty() {
                event.json.name(name);
                event.json.raw(Value::Array(items).to_string().as_bytes());
            }
            if let Some(count) = self.0.get(count).and_then(Value::as_u64) {
                event.json.number(&format!("{name}_count"), &count.to_string());
            }
        }
        if let Some(error) = self.0.get("error").and_then(Value::as_str) {
            event.json.text("enrichment_error", error);
        }
    }
}

/// An item with the names of the vendor namespace, without empty values and ids of the threat.
fn item_of(item: &Map<String, Value>, threat_ids: &[String]) -> Map<String, Value> {
    let mut named = Map::new();
    let mut description = Map::new();
    for (key, value) in item {
        let is_repeated = REPEATED_IDS.contains(&key.as_str())
            && value.as_str().is_some_and(|id| threat_ids.iter().any(|known| known == id));
        if is_repeated || is_empty(value) {
            continue;
        }
        match key.as_str() {
            "primaryDescription" => description.insert("primary".to_owned(), value.clone()),
            "secondaryDescription" => description.insert("secondary".to_owned(), value.clone()),
            _ => named.insert(snake(key), value.clone()),
        };
    }
    if !description.is_empty() {
        named.insert("description".to_owned(), json!(description));
    }
    named
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
