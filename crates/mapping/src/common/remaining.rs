//! Writes the values of a record that have no field in the schema.

use s1_forwarder_record::block::{Block, Visitor};
use s1_forwarder_record::{Kind, Value};

use crate::copy::KeyCase;
use crate::fnv::fnv1a;
use crate::json::Json;
use crate::keys::Place;
use crate::names::DistinctNames;
use crate::used::Used;

/// Writes the values of `block` that are not `used` into the open object, which already has the names `reserved`.
pub fn write_remaining<'a>(
    json: &mut Json<'_>,
    used: &Used,
    block: &impl Block<'a>,
    key_case: KeyCase,
    reserved: &[&str],
) {
    block.visit(&mut RemainingWriter { reserved, ..RemainingWriter::new(json, used, key_case) });
}

/// Writes the remaining values of an activity's `data`, as [`write_remaining`] does, with the console's keys.
pub fn write_remaining_data<'a>(json: &mut Json<'_>, used: &Used, data: &impl Block<'a>) {
    let path = &Path { outer: Some(&RECORD), key: "data" };
    data.visit(&mut RemainingWriter { path, ..RemainingWriter::new(json, used, KeyCase::AsReceived) });
}

/// The path of a block in the record.
struct Path<'p> {
    /// `None` for the record itself.
    outer: Option<&'p Path<'p>>,
    key: &'static str,
}

const RECORD: Path<'_> = Path { outer: None, key: "" };

impl Path<'_> {
    fn place(&self) -> Place {
        self.outer.map_or(Place::TOP, |outer| outer.place().below(fnv1a(self.key.as_bytes())))
    }
}

/// Writes the values that it visits, unless they are `used`, into the open object.
pub struct RemainingWriter<'j, 'o, 'r> {
    json: &'j mut Json<'o>,
    used: &'j Used,
    key_case: KeyCase,
    reserved: &'r [&'r str],
    path: &'r Path<'r>,
    names: DistinctNames,
}

impl<'j, 'o, 'r> RemainingWriter<'j, 'o, 'r> {
    /// Returns a writer for a record.
    pub fn new(json: &'j mut Json<'o>, used: &'j Used, key_case: KeyCase) -> Self {
        Self { json, used, key_case, reserved: &[], path: &RECORD, names: DistinctNames::default() }
    }
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
            if self.json.keys.is_learning() && value.kind() == Kind::Object {
                self.json.keys.learn_object(self.path.place().below(fnv1a(name.as_bytes())));
            }
            self.json.value(name, value, self.key_case);
        }
    }

    fn block(&mut self, name: &'static str, key: &'static str, block: &impl Block<'a>) {
        let misfits = self.json.keys.misfits.len();
        let open = self.json.open(if self.key_case == KeyCase::Snake { name } else { key });
        let path = &Path { outer: Some(self.path), key };
        block.visit(&mut RemainingWriter { path, ..RemainingWriter::new(self.json, self.used, self.key_case) });
        self.json.close(open);
        self.json.keys.misfits.enclose(misfits, name.as_bytes());
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
        self.json.keyed_value(self.path.place(), key, value, key_case, &mut self.names, is_used);
    }
}
