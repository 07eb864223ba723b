//! Notes and timeline inside a threat's event, as `lane/enrich.rs` put them beside its record.

use serde_json::{Map, Value, json};

use super::event::Event;
use crate::record::Escaped;

/// Keys of timeline items that repeat the threat's own when they are equal.
const OWN_IDS: [&str; 5] = ["agentId", "siteId", "accountId", "groupId", "threatId"];

/// What belongs to one threat beside its record.
#[derive(Debug)]
pub(super) struct Enrichment(Map<String, Value>);

impl Enrichment {
    /// From the object that was put beside the record.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Self)
    }

    fn items(&self, name: &str) -> impl Iterator<Item = &Map<String, Value>> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
    }

    /// Who wrote notes, and the hashes of the timeline; before `related` is written.
    pub fn relate(&self, event: &mut Event<'_>) {
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

    /// The lists, inside the vendor's object. `own` are the values that its record says of the threat.
    pub fn write(&self, event: &mut Event<'_>, own: &[String]) {
        for (name, count) in [("notes", "notesCount"), ("timeline", "timelineCount")] {
            let items: Vec<Value> = self.items(name).map(|item| Value::Object(item_of(item, own))).collect();
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

/// An item under the names of the vendor's namespace, without what is empty or the threat's own.
fn item_of(item: &Map<String, Value>, own: &[String]) -> Map<String, Value> {
    let (mut named, mut description) = (Map::new(), Map::new());
    for (key, value) in item {
        let is_own =
            OWN_IDS.contains(&key.as_str()) && value.as_str().is_some_and(|id| own.iter().any(|own| own == id));
        if is_own || is_empty(value) {
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

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
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
