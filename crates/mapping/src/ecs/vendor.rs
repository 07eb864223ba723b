//! The vendor namespace: values of a record without an ECS field, under their own path.

use s1_forwarder_record::block::Block;
use s1_forwarder_record::{Identity, Value};
use smallvec::{SmallVec, smallvec};

use super::common_fields::CommonFields;
use super::event::Event;
use crate::common::missing::first_scalar;
use crate::common::severity::Severity;
use crate::copy::KeyCase;
use crate::json::{Json, OpenContainer};
use crate::keys::OVERFLOW;
use crate::parts::Owner;

/// The field for values that do not have the shape of their place, and for objects under unknown keys. It is a text of
/// JSON: an object would set the type of its field in an index, which then refuses all other types.
pub const UNEXPECTED: &str = "unexpected";

/// Ids that have the same path in all streams, so that the events of one detection can be joined. Also values at paths
/// of Elastic's package since its version 2. A stream with such a path in its own object leaves the value empty.
#[derive(Debug, Default)]
pub(super) struct JoinKeys<'a> {
    pub agent_uuid: Value<'a>,
    pub alert_id: Value<'a>,
    pub threat_id: Value<'a>,
    pub storyline: Value<'a>,
    /// `threat.confidence_level`, for a stream whose own object lacks this path.
    pub confidence: Value<'a>,
    /// Classification and its source.
    pub classification: [Value<'a>; 2],
}

/// Opens `sentinel_one` and writes the fields that all streams share.
fn open(event: &mut Event<'_>, common: &CommonFields<'_>, keys: &JoinKeys<'_>, owner: &Owner<'_>) -> OpenContainer {
    let open = open_with_identity(&mut event.json, common.identity);
    event.optional("storyline_id", keys.storyline.escaped());
    object(event, "agent", [("uuid", keys.agent_uuid)]);
    object(event, "alert", [("id", keys.alert_id)]);
    object(event, "threat", [("id", keys.threat_id), ("confidence_level", keys.confidence)]);
    let [name, source] = keys.classification;
    object(event, "threat_classification", [("name", name), ("source", source)]);
    site(event, owner);
    object(event, "account", [("name", first_scalar(owner.account_names))]);
    open
}

/// The object of a stream in the vendor namespace. It reserves all names that it may write, with a value or without, so
/// that no unknown key of the record gets one of them.
pub(super) struct VendorObject<'e, 'o> {
    event: &'e mut Event<'o>,
    open: [OpenContainer; 2],
    names: SmallVec<[&'static str; 25]>,
}

impl<'e, 'o> VendorObject<'e, 'o> {
    /// Opens `sentinel_one`, with the fields that all streams share, and the object.
    pub fn open(
        event: &'e mut Event<'o>,
        common: &CommonFields<'_>,
        keys: &JoinKeys<'_>,
        owner: &Owner<'_>,
        name: &'static str,
    ) -> Self {
        let vendor = open(event, common, keys, owner);
        let object = event.json.open(name);
        event.json.keys.be_strict();
        Self { event, open: [object, vendor], names: smallvec![UNEXPECTED, OVERFLOW] }
    }

    /// Reserves this name, and returns the event to write the value.
    fn named(&mut self, name: &'static str) -> &mut Event<'o> {
        self.names.push(name);
        self.event
    }

    pub fn severity(&mut self, severity: Option<Severity>) {
        self.text("severity", severity.map(severity_word));
    }

    /// Writes `severity` for records with their own severity: `word`, else the console's word in lower case. If the
    /// console spells it differently, the console's text is kept as `original_severity`.
    pub fn own_severity(&mut self, word: Option<&str>, original: Value<'_>) {
        let text = match word {
            Some(word) => Some(word.to_owned()),
            None => original.escaped().map(|text| text.decode().to_lowercase()),
        };
        self.text("severity", text.as_deref());
        let is_same = original.text().is_some_and(|original| Some(&*original) == text.as_deref());
        self.value("original_severity", if is_same { Value::default() } else { original });
    }

    pub fn text(&mut self, name: &'static str, text: Option<&str>) {
        let event = self.named(name);
        if let Some(text) = text {
            event.json.text(name, text);
        }
    }

    pub fn number(&mut self, name: &'static str, number: Option<u64>) {
        let event = self.named(name);
        if let Some(number) = number {
            event.json.number(name, itoa::Buffer::new().format(number));
        }
    }

    /// Writes a scalar, unless it is a placeholder.
    pub fn optional(&mut self, name: &'static str, value: Value<'_>) {
        self.named(name).optional(name, value.escaped());
    }

    /// Copies a scalar, or a list of scalars.
    pub fn value(&mut self, name: &'static str, value: Value<'_>) {
        self.named(name).json.scalar(name, value);
    }

    /// Writes an object with the fields that `write` writes.
    pub fn object(&mut self, name: &'static str, write: impl FnOnce(&mut Event<'o>)) {
        let event = self.named(name);
        let open = event.open(name);
        write(event);
        event.close(open);
    }

    /// Writes a list, unless it is empty.
    pub fn list(&mut self, name: &'static str, items: Vec<serde_json::Value>) {
        let event = self.named(name);
        if !items.is_empty() {
            event.json.name(name);
            event.json.raw(serde_json::Value::Array(items).to_string().as_bytes());
        }
    }

    /// Adds a misfit: the value `name` of an element of `list`, if it does not have the shape of its place.
    pub fn misfit(&mut self, list: &'static str, name: &str, value: &serde_json::Value) {
        let name = serde_json::Value::from(name).to_string();
        let misfits = &mut self.event.json.keys.misfits;
        let before = misfits.len();
        misfits.add(name.trim_matches('"').as_bytes(), value.to_string().as_bytes());
        misfits.enclose(before, list.as_bytes());
    }

    /// Writes the agent under the name that all streams share, in addition to its own path.
    pub fn agent(&mut self, id: Value<'_>) {
        object(self.named("agent"), "agent", [("id", id)]);
    }

    /// Writes the site under the name that all streams share, as [`Self::agent`] does for the agent.
    pub fn site(&mut self, owner: &Owner<'_>) {
        site(self.named("site"), owner);
    }

    /// Writes the rest of the record, and closes the event.
    pub fn close<'a>(self, block: &impl Block<'a>) {
        self.event.remaining(block, KeyCase::Snake, &self.names);
        if let Some(misfits) = self.event.json.keys.misfits.take() {
            self.event.json.text(UNEXPECTED, &misfits);
        }
        if let Some(overflow) = self.event.json.keys.overflow.take() {
            self.event.json.text(OVERFLOW, &overflow);
        }
        self.open.into_iter().for_each(|object| self.event.json.close(object));
        self.event.json.raw(b"}");
    }
}

/// Writes an object without placeholders: the same `N/A` would join unrelated events.
fn object<const N: usize>(event: &mut Event<'_>, name: &str, values: [(&str, Value<'_>); N]) {
    let open = event.json.open(name);
    for (name, value) in values {
        event.optional(name, value.escaped());
    }
    event.json.close(open);
}

fn site(event: &mut Event<'_>, owner: &Owner<'_>) {
    object(event, "site", [("id", first_scalar(owner.site_ids)), ("name", first_scalar(owner.site_names))]);
}

pub(super) fn open_with_identity(json: &mut Json<'_>, identity: Identity) -> OpenContainer {
    let open = json.open("sentinel_one");
    json.word("identity", std::str::from_utf8(&identity.hex()).unwrap_or_default());
    open
}

/// Returns the value of `sentinel_one.<stream>.severity`.
pub(super) fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Informational => "informational",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}
