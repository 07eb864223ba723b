//! Notes and timeline of a threat, which the lane fetches in addition to the record.

use s1_forwarder_record::Timestamp;
use serde_json::{Map, Value};

/// The enrichment of one threat.
#[derive(Debug, Default)]
pub struct Enrichment(Map<String, Value>);

impl Enrichment {
    /// Reads the JSON object that the lane fetched.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().map(Self)
    }

    pub fn notes(&self) -> impl Iterator<Item = Item<'_>> {
        self.items("notes")
    }

    pub fn timeline(&self) -> impl Iterator<Item = Item<'_>> {
        self.items("timeline")
    }

    fn items(&self, name: &str) -> impl Iterator<Item = Item<'_>> {
        let items = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_object).map(|entries| Item { entries })
    }

    /// Returns the number of notes on the console.
    pub fn notes_count(&self) -> Option<u64> {
        self.0.get("notesCount").and_then(Value::as_u64)
    }

    pub fn timeline_count(&self) -> Option<u64> {
        self.0.get("timelineCount").and_then(Value::as_u64)
    }

    /// Returns the reason why a request failed.
    pub fn error(&self) -> Option<&str> {
        self.0.get("error").and_then(Value::as_str)
    }
}

/// Ids that an item of the timeline repeats from its threat.
pub const REPEATED_IDS: [&str; 5] = ["agentId", "siteId", "accountId", "groupId", "threatId"];

/// Keys of an item's descriptions, and their names in ECS.
pub const DESCRIPTIONS: [(&str, &str); 2] = [("primaryDescription", "primary"), ("secondaryDescription", "secondary")];

/// A note, or an activity of the timeline.
#[derive(Debug, Clone, Copy)]
pub struct Item<'e> {
    pub entries: &'e Map<String, Value>,
}

impl<'e> Item<'e> {
    fn get(self, key: &str) -> Option<&'e str> {
        self.entries.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    pub fn id(self) -> Option<&'e str> {
        self.get("id")
    }

    /// Returns the time of the item, as received.
    pub fn created_text(self) -> &'e str {
        self.get("createdAt").unwrap_or_default()
    }

    pub fn created(self) -> Option<Timestamp> {
        Timestamp::parse_of_record(self.created_text()).ok()
    }

    /// Returns the time at which a note was changed.
    pub fn updated(self) -> Option<Timestamp> {
        Timestamp::parse_of_record(self.get("updatedAt")?).ok()
    }

    /// Returns the author of a note.
    pub fn creator(self) -> Option<&'e str> {
        self.get("creator")
    }

    pub fn creator_id(self) -> Option<&'e str> {
        self.get("creatorId")
    }

    /// Returns the text of a note.
    pub fn text(self) -> Option<&'e str> {
        self.get("text")
    }

    pub fn hash(self) -> Option<&'e str> {
        self.get("hash")
    }

    pub fn activity_type(self) -> Option<u32> {
        self.entries.get("activityType").and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok())
    }

    /// Returns the primary and the secondary description.
    pub fn descriptions(self) -> [Option<&'e str>; 2] {
        DESCRIPTIONS.map(|(key, _)| self.get(key))
    }

    /// Returns whether [`Self::descriptions`] or [`Self::created`] has the value of this key.
    pub fn is_in_related_event(key: &str) -> bool {
        key == "createdAt" || DESCRIPTIONS.iter().any(|(known, _)| *known == key)
    }

    /// Returns whether the event's note has the value of this key.
    pub fn is_in_note(self, key: &str) -> bool {
        match key {
            "text" | "creator" | "creatorId" => true,
            "createdAt" => self.created().is_some(),
            "updatedAt" => self.updated().is_some(),
            _ => false,
        }
    }
}

/// Returns whether a value is `null`, or an empty text, list or object.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}
