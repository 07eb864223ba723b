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
