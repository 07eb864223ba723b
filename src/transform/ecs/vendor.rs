//! The vendor namespace: values of a record without an ECS field, under their own path.

use super::common::CommonFields;
use super::event::{Event, is_placeholder};
use crate::record::block::{Block, Visitor};
use crate::record::{Identity, Value};
use crate::transform::copy::{KeyCase, Sibling, is_secret};
use crate::transform::json::{Json, OpenContainer};

/// Ids that have the same path in all streams, so that the events of one detection can be joined. A stream whose own
/// object has such a path leaves it empty here.
#[derive(Debug, Default)]
pub(super) struct JoinKeys<'a> {
    pub agent_uuid: Value<'a>,
    pub alert_id: Value<'a>,
    pub threat_id: Value<'a>,
    pub storyline: Value<'a>,
}

/// Opens `sentinel_one` and writes what is there in the events of all streams.
pub(super) fn open(event: &mut Event<'_>, common: &CommonFields<'_>, keys: &JoinKeys<'_>) -> OpenContainer {
    let open = open_with_identity(&mut event.json, common.identity);
    event.optional("storyline_id", keys.storyline.escaped());
    for (object, name, value) in
        [("agent", "uuid", keys.agent_uuid), ("alert", "id", keys.alert_id), ("threat", "id", keys.threat_id)]
    {
        // The same `N/A` in two events would join strangers.
        if let Some(text) = value.escaped().filter(|text| !is_placeholder(*text)) {
            let object = event.json.open(object);
            event.json.escaped(name, text);
            event.json.close(object);
        }
    }
    open
}

pub(super) fn open_with_identity(json: &mut Json<'_>, identity: Identity) -> OpenContainer {
    let open = json.open("sentinel_one");
    json.word("identity", std::str::from_utf8(&identity.hex()).unwrap_or_default());
    open
}

/// Writes the values that were not taken from `block` into the open object, which already has the names `reserved`.
pub(super) fn write_remaining<'a>(json: &mut Json<'_>, block: &impl Block<'a>, key_case: KeyCase, reserved: &[&str]) {
    block.visit(&mut VendorWriter { json, key_case, reserved, siblings: Vec::new() });
}

struct VendorWriter<'j, 'o, 'r> {
    json: &'j mut Json<'o>,
    key_case: KeyCase,
    reserved: &'r [&'r str],
    siblings: Vec<Sibling>,
}

impl<'a> Visitor<'a> for VendorWriter<'_, '_, '_> {
    fn field(&mut self, name: &'static str, key: &'static str, value: Value<'a>) {
        if is_secret(key) {
            return;
        }
        self.json.value(if self.key_case == KeyCase::Snake { name } else { key }, value, self.key_case);
    }

    fn block(&mut self, name: &'static str, key: &'static str, block: &impl Block<'a>) {
        let open = self.json.open(if self.key_case == KeyCase::Snake { name } else { key });
        write_remaining(self.json, block, self.key_case, &[]);
        self.json.close(open);
    }

    fn other(&mut self, owner: &impl Block<'a>, key: &str, value: Value<'a>) {
        if is_secret(key) {
            return;
        }
        let (key_case, reserved) = (self.key_case, self.reserved);
        let is_used = |name: &str| {
            reserved.contains(&name)
                || match key_case {
                    KeyCase::Snake => owner.has_field(name),
                    KeyCase::AsReceived => owner.has_key(name),
                }
        };
        self.json.keyed_value(key, value, key_case, &mut self.siblings, is_used);
    }
}
