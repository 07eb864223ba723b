//! Writes the values of a record that have no field in the schema.

use s1_forwarder_record::Value;
use s1_forwarder_record::block::{Block, Visitor};

use crate::copy::{KeyCase, Sibling};
use crate::fnv::fnv1a;
use crate::json::Json;
use crate::keys::Place;
use crate::used::Used;

/// Writes the values of `block` that are not `used` into the open object, which already has the names `reserved`.
pub fn write_remaining<'a>(
    json: &mut Json<'_>,
    used: &Used,
    block: &impl Block<'a>,
    key_case: KeyCase,
    reserved: &[&str],
) {
    write_block(json, used, block, key_case, reserved, &Path { outer: None, key: "" });
}

/// As [`write_remaining`], for `data` of an activity, with the console's keys.
pub fn write_remaining_data<'a>(json: &mut Json<'_>, used: &Used, data: &impl Block<'a>) {
    let record = Path { outer: None, key: "" };
    write_block(json, used, data, KeyCase::AsReceived, &[], &Path { outer: Some(&record), key: "data" });
}

fn write_block<'a>(
    json: &mut Json<'_>,
    used: &Used,
    block: &impl Block<'a>,
    key_case: KeyCase,
    reserved: &[&str],
    path: &Path<'_>,
) {
    block.visit(&mut RemainingWriter { json, used, key_case, reserved, path, siblings: Vec::new() });
}

/// Where a block is in the record.
struct Path<'p> {
    /// None for the record itself.
    outer: Option<&'p Path<'p>>,
    key: &'static str,
}

impl Path<'_> {
    fn place(&self) -> Place {
        self.outer.map_or(Place::TOP, |outer| outer.place().below(fnv1a(self.key.as_bytes())))
    }
}

struct RemainingWriter<'j, 'o, 'r> {
    json: &'j mut Json<'o>,
    used: &'j Used,
    key_case: KeyCase,
    reserved: &'r [&'r str],
    path: &'r Path<'r>,
    siblings: Vec<Sibling>,
}

impl<'a> Visitor<'a> for RemainingWriter<'_, '_, '_> {
    fn field(&mut self, name: &'static str, key: &'static str, value: Value<'a>) {
        if self.json.keys.is_secret(key) || self.used.has(value) {
            return;
        }
        let name = if self.key_case == KeyCase::Snake { name } else { key };
        if self.used.is_mismatched(value)
            && let Some(text) = value.escaped()
        {
            self.json.escaped(name, text);
        } else {
            self.json.value(name, value, self.key_case);
        }
    }

    fn block(&mut self, name: &'static str, key: &'static str, block: &impl Block<'a>) {
        let open = self.json.open(if self.key_case == KeyCase::Snake { name } else { key });
        write_block(self.json, self.used, block, self.key_case, &[], &Path { outer: Some(self.path), key });
        self.json.close(open);
    }

    fn other(&mut self, owner: &impl Block<'a>, key: &str, value: Value<'a>) {
        if self.json.keys.is_secret(key) {
            return;
        }
        let key_case = self.key_case;
        let reserved = self.reserved;
        let used = self.used;
        let is_left = |value: Value<'a>| !used.has(value);
        let is_used = |name: &str| {
            reserved.contains(&name)
                || match key_case {
                    KeyCase::Snake => owner.has_field(name, is_left),
                    KeyCase::AsReceived => owner.has_key(name, is_left),
                }
        };
        self.json.keyed_value(self.path.place(), key, value, key_case, &mut self.siblings, is_used);
    }
}
