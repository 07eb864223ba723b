//! The vendor namespace: what of a record has no field in ECS, under its own path.

use crate::record::Value;
use crate::record::block::{Block, Visitor};
use crate::transform::copy::{Sibling, is_secret};
use crate::transform::json::{Json, Names};

/// Writes what has not been taken from `block` into the object that is open. `reserved` are names that this object has
/// already.
pub(super) fn write_rest<'a>(json: &mut Json<'_>, block: &impl Block<'a>, names: Names, reserved: &[&str]) {
    block.visit(&mut Rest { json, names, reserved, siblings: Vec::new() });
}

struct Rest<'j, 'o, 'r> {
    json: &'j mut Json<'o>,
    names: Names,
    reserved: &'r [&'r str],
    siblings: Vec<Sibling>,
}

impl<'a> Visitor<'a> for Rest<'_, '_, '_> {
    fn field(&mut self, name: &'static str, key: &'static str, value: Value<'a>) {
        if is_secret(key) {
            return;
        }
        self.json.value(if self.names == Names::Snake { name } else { key }, value, self.names);
    }

    fn block(&mut self, name: &'static str, key: &'static str, block: &impl Block<'a>) {
        let open = self.json.open(if self.names == Names::Snake { name } else { key });
        write_rest(self.json, block, self.names, &[]);
        self.json.close(open);
    }

    fn rest(&mut self, owner: &impl Block<'a>, key: &str, value: Value<'a>) {
        if is_secret(key) {
            return;
        }
        let (names, reserved) = (self.names, self.reserved);
        let taken = |name: &str| {
            reserved.contains(&name)
                || match names {
                    Names::Snake => owner.holds(name),
                    Names::Kept => owner.holds_key(name),
                }
        };
        self.json.keyed_value(key, value, names, &mut self.siblings, taken);
    }
}
