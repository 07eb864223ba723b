//! Writes the values of a record that have no field in the schema.

use s1_forwarder_record::Value;
use s1_forwarder_record::block::{Block, Visitor};

use crate::copy::{KeyCase, Sibling, is_secret};
use crate::json::Json;
use crate::used::Used;

/// Writes the values of `block` that are not `used` into the open object, which already has the names `reserved`.
pub fn write_remaining<'a>(
    json: &mut Json<'_>,
    used: &Used,
    block: &impl Block<'a>,
    key_case: KeyCase,
    reserved: &[&str],
) {
    block.visit(&mut RemainingWriter { json, used, key_case, reserved, siblings: Vec::new() });
}

struct RemainingWriter<'j, 'o, 'r> {
    json: &'j mut Json<'o>,
    used: &'j Used,
    key_case: KeyCase,
    reserved: &'r [&'r str],
    siblings: Vec<Sibling>,
}

impl<'a> Visitor<'a> for RemainingWriter<'_, '_, '_> {
    fn field(&mut self, name: &'static str, key: &'static str, value: Value<'a>) {
        if is_secret(key) || self.used.has(value) {
            return;
        }
        let value = if self.used.is_mismatched(value) { value.mismatched() } else { value };
        self.json.value(if self.key_case == KeyCase::Snake { name } else { key }, value, self.key_case);
    }

    fn block(&mut self, name: &'static str, key: &'static str, block: &impl Block<'a>) {
        let open = self.json.open(if self.key_case == KeyCase::Snake { name } else { key });
        write_remaining(self.json, self.used, block, self.key_case, &[]);
        self.json.close(open);
    }

    fn other(&mut self, owner: &impl Block<'a>, key: &str, value: Value<'a>) {
        if is_secret(key) {
            return;
        }
        let (key_case, reserved, used) = (self.key_case, self.reserved, self.used);
        let is_left = |value: Value<'a>| !used.has(value);
        let is_used = |name: &str| {
            reserved.contains(&name)
                || match key_case {
                    KeyCase::Snake => owner.has_field(name, is_left),
                    KeyCase::AsReceived => owner.has_key(name, is_left),
                }
        };
        self.json.keyed_value(key, value, key_case, &mut self.siblings, is_used);
    }
}
