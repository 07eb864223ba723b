//! Finds leaves of records that no mapping knows: the sign that a console has changed. A leaf is a scalar that is not
//! empty. The fields of the record types and of `data/known-fields.txt` are known.
//!
//! [`unknown_leaves`] walks a record and names the leaves. That is too slow for each record of a lane, so the writers
//! check the keys that they copy anyway (`keys.rs`). They count the leaves below unknown keys. A record is walked only
//! if one of its unknown keys is new to the lane.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use s1_forwarder_record::activity::{Activity, ActivityData, RuleHit};
use s1_forwarder_record::block::{Block, KeyTable, Member, Visitor, read_inside};
use s1_forwarder_record::{Kind, Stream, Value, read_object, repair};

use super::common::remaining::{RemainingWriter, write_remaining_data};
use super::copy::{self, KeyCase};
use super::fnv::fnv1a;
use super::json::Json;
use super::keys::{Keys, MAX_LEVELS, Place, Places, name_of};
use super::mapping::check;
use super::names::DistinctNames;
use super::record;
use super::secret_keys::is_secret;
use super::used::Used;

/// `STREAM PATH` in each line.
const KNOWN_FIELDS: &str = include_str!("data/known-fields.txt");

/// Maximum number of keys in a path. Leaves further below count, under the truncated path.
const MAX_KEYS: usize = 8;

/// Calls `visit` with the path of each leaf that no mapping knows, such as `threatInfo.newField`. A list adds nothing
/// to a path. A path is safe for logs: it has no value of the record. `*` stands for a key that is not the name of a
/// field, such as an id or an address. A record that is not JSON is repaired first; if that fails, it has no leaves.
pub fn unknown_leaves(stream: Stream, record: &[u8], visit: &mut dyn FnMut(&str)) {
    let text = match check(record) {
        Ok(text) if read_object(text).is_ok() => Cow::Borrowed(text),
        _ => match repair(record) {
            Some(text) => Cow::Owned(text),
            None => return,
        },
    };
    let mut walk = Walk { known: Some(known(stream)), path: Vec::new(), levels: 0, visit };
    // The text was read before.
    let _ = record::read(stream, &text, |record| record.fields.visit(&mut walk));
}

/// The fields below a path.
#[derive(Debug, Default)]
struct Fields(BTreeMap<&'static str, Fields>);

impl Fields {
    fn add(&mut self, path: &'static str) {
        path.split('.').fold(self, |fields, key| fields.0.entry(key).or_default());
    }

    fn below(&self, key: &str) -> Option<&Self> {
        self.0.get(key).or_else(|| self.0.get("*"))
    }

    /// Returns whether everything below is known.
    fn is_open(&self) -> bool {
        self.0.contains_key("**")
    }

    /// Returns an object with all fields.
    fn to_json(&self) -> serde_json::Value {
        if self.0.is_empty() {
            return 1.into();
        }
        self.0.iter().map(|(key, fields)| ((*key).to_owned(), fields.to_json())).collect()
    }
}

/// Returns the known fields that the record types of a stream do not have, and all fields of an activity's `data`.
fn known(stream: Stream) -> &'static Fields {
    static KNOWN: LazyLock<BTreeMap<&str, Fields>> = LazyLock::new(|| {
        let mut known: BTreeMap<&str, Fields> =
            Stream::ALL.iter().map(|stream| (stream.name(), Fields::default())).collect();
        for line in KNOWN_FIELDS.lines().filter(|line| !line.starts_with('#')) {
            let (stream, path) = line.split_once(' ').unwrap_or_default();
            known.entry(stream).or_default().add(path);
        }
        let data = known.entry(Stream::Activities.name()).or_default().0.entry("data").or_default();
        for keys in [ActivityData::keys(), RuleHit::keys()] {
            keys.names().iter().for_each(|key| data.add(key));
        }
        known
    });
    static NONE: Fields = Fields(BTreeMap::new());
    KNOWN.get(stream.name()).unwrap_or(&NONE)
}

/// Returns all known fields of a stream's records, by their names in the vendor namespace of ECS. They are nested
/// objects with 1 for each value. `*` is any name, `**` everything below. In an event, the vendor namespace lacks the
/// values that are in a field of the schema.
pub fn vendor_fields(stream: Stream) -> serde_json::Map<String, serde_json::Value> {
    let text = text_of_known(stream);
    let mut names = Names::default();
    // The text was made here.
    let _ = record::read(stream, &text, |record| {
        record.fields.visit(&mut names);
        record.fields.describe(&mut |path, is_block| names.describe(path, is_block));
    });
    names.0
}

/// Collects the names of fields.
#[derive(Default)]
struct Names(serde_json::Map<String, serde_json::Value>);

impl Names {
    /// Adds a field or a block that the text does not have.
    fn describe(&mut self, path: &[Member], is_block: bool) {
        let Some((last, way)) = path.split_last() else { return };
        if path.iter().any(|(_, key)| is_secret(key)) {
            return;
        }
        let mut below = &mut self.0;
        for (name, _) in way {
            let Some(inner) = below.get_mut(*name).and_then(serde_json::Value::as_object_mut) else { return };
            below = inner;
        }
        let value = if is_block { serde_json::Map::new().into() } else { 1.into() };
        below.entry(last.0).or_insert(value);
    }

    fn add(&mut self, name: &str, value: Value<'_>) {
        let mut out = Vec::new();
        let is_written = copy::value(
            &mut out,
            &mut DistinctNames::default(),
            value.raw(),
            KeyCase::Snake,
            &mut Keys::default(),
            Place::ANY,
        );
        let below = serde_json::from_slice(&out).ok().filter(|_| is_written);
        self.0.insert(name.to_owned(), below.unwrap_or_else(|| 1.into()));
    }
}

impl<'a> Visitor<'a> for Names {
    fn field(&mut self, name: &'static str, key: &'static str, value: Value<'a>) {
        if !is_secret(key) {
            self.add(name, if value.is_empty() { Value::new("1") } else { value });
        }
    }

    fn block(&mut self, name: &'static str, _: &'static str, block: &impl Block<'a>) {
        let mut below = Self::default();
        block.visit(&mut below);
        self.0.insert(name.to_owned(), below.0.into());
    }

    fn other(&mut self, _: &impl Block<'a>, key: &str, value: Value<'a>) {
        if !is_secret(key) {
            let mut name = Vec::new();
            copy::snake_case_into(&mut name, key.as_bytes());
            self.add(&String::from_utf8_lossy(&name), value);
        }
    }
}

/// Returns a record with the known fields that its type does not have.
fn text_of_known(stream: Stream) -> String {
    let known = known(stream);
    if known.0.is_empty() { "{}".to_owned() } else { known.to_json().to_string() }
}

/// Walks a record, and calls `visit` with the path of each unknown leaf.
struct Walk<'v> {
    /// The fields at the path; `None` below an unknown key.
    known: Option<&'static Fields>,
    path: Vec<Box<str>>,
    levels: u32,
    visit: &'v mut dyn FnMut(&str),
}

impl Walk<'_> {
    fn enter(&mut self, key: &str, walk: impl FnOnce(&mut Self)) {
        let outside = self.known;
        self.known = outside.and_then(|fields| fields.below(key));
        self.path.push(name_of(key).into());
        walk(self);
        self.path.pop();
        self.known = outside;
    }

    fn value(&mut self, value: Value<'_>) {
        if value.is_empty() || self.known.is_some_and(Fields::is_open) {
            return;
        }
        self.levels += 1;
        match value.kind() {
            Kind::Object | Kind::Array if self.levels > MAX_LEVELS => self.leaf(),
            Kind::Object => {
                for (key, value) in value.entries().filter(|(key, _)| !is_secret(key)) {
                    self.enter(&key, |walk| walk.value(value));
                }
            }
            Kind::Array => value.elements().for_each(|element| self.value(element)),
            _ => self.leaf(),
        }
        self.levels -= 1;
    }

    fn leaf(&mut self) {
        if self.known.is_none() {
            (self.visit)(&self.path[..self.path.len().min(MAX_KEYS)].join("."));
        }
    }
}

impl<'a> Visitor<'a> for Walk<'_> {
    fn field(&mut self, _: &'static str, key: &'static str, value: Value<'a>) {
        if matches!(value.kind(), Kind::Object | Kind::Array) {
            static FIELD: Fields = Fields(BTreeMap::new());
            self.enter(key, |walk| {
                walk.known = walk.known.or(Some(&FIELD));
                walk.value(value);
            });
        }
    }

    fn block(&mut self, _: &'static str, key: &'static str, block: &impl Block<'a>) {
        self.enter(key, |walk| block.visit(walk));
    }

    fn other(&mut self, owner: &impl Block<'a>, key: &str, value: Value<'a>) {
        // A key that occurs twice is known.
        if !is_secret(key) && !owner.has_key(key, |_| true) {
            let in_place_of_block = keys_of(owner).find(key).is_some();
            self.enter(key, |walk| {
                if in_place_of_block {
                    walk.known = None;
                }
                walk.value(value);
            });
        }
    }
}

fn keys_of<'a, B: Block<'a>>(_: &B) -> &'static KeyTable {
    B::keys()
}

/// Returns the places of a stream's known keys, in events whose vendor namespace has keys in this case.
pub(crate) fn places(stream: Stream, key_case: KeyCase) -> &'static Places {
    static ALL: LazyLock<BTreeMap<(&str, bool), Places>> = LazyLock::new(|| {
        let cases = [KeyCase::Snake, KeyCase::AsReceived];
        let pairs = Stream::ALL.iter().flat_map(|stream| cases.map(|key_case| (*stream, key_case)));
        pairs.map(|(stream, case)| ((stream.name(), case == KeyCase::Snake), learn(stream, case))).collect()
    });
    static NONE: LazyLock<Places> = LazyLock::new(|| Keys::learning().into_learned());
    ALL.get(&(stream.name(), key_case == KeyCase::Snake)).unwrap_or(&NONE)
}

/// Returns the place of another key that is written under the name of this block.
fn place_by_name(path: &[Member]) -> Place {
    let Some(((name, _), way)) = path.split_last() else { return Place::TOP };
    let outer = way.iter().fold(Place::TOP, |place, (_, key)| place.below(fnv1a(key.as_bytes())));
    outer.below(fnv1a(name.as_bytes()))
}

/// Returns the places that the writers see in a record with all known fields.
fn learn(stream: Stream, key_case: KeyCase) -> Places {
    let text = text_of_known(stream);
    let mut keys = learn_what(Keys::learning(), |json| {
        let used = Used::default();
        let mut writer = RemainingWriter::new(json, &used, key_case);
        // The text was made here.
        let _ = record::read(stream, &text, |record| record.fields.visit(&mut writer));
    });
    let _ = record::read(stream, &text, |record| {
        record.fields.describe(&mut |path, is_block| {
            if is_block {
                keys.learn_object(place_by_name(path));
            }
        });
    });
    if stream == Stream::Activities {
        let data = known(stream).to_json()["data"].to_string();
        keys = learn_data(keys, &read_inside::<Activity<'_>, ActivityData<'_>>(&data).unwrap_or_default());
        keys = learn_data(keys, &read_inside::<Activity<'_>, RuleHit<'_>>(&data).unwrap_or_default());
    }
    keys.into_learned()
}

fn learn_data<'a>(keys: Keys, data: &impl Block<'a>) -> Keys {
    learn_what(keys, |json| write_remaining_data(json, &Used::default(), data))
}

fn learn_what(keys: Keys, writes: impl FnOnce(&mut Json<'_>)) -> Keys {
    let mut out = b"{".to_vec();
    let mut names = DistinctNames::default();
    let mut json = Json::new(&mut out, &mut names);
    json.keys = keys;
    writes(&mut json);
    json.keys
}
