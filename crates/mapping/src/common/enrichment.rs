//! Notes and timeline of a threat, which the lane fetches in addition to the record.

use serde_json::{Map, Value};

/// The enrichment of one threat.
#[derive(Debug)]
pub struct Enrichment(pub Map<String, Value>);

impl Enrichment {
    /// Reads the JSON object that the lane fetched.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Self)
    }

    pub fn items(&self, name: &str) -> impl Iterator<Item = &Map<String, Value>> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
    }
}

/// Whether a value says nothing: `null`, or a text, a list or an object without content.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}
