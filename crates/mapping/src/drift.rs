//! Leaves of records that no mapping knows: the sign that a console has changed. A leaf is a scalar that is not empty.
//! Known are the fields of the record types and what `data/known-fields.txt` lists.
//!
//! [`unknown_leaves`] walks a record and names the leaves. That is too dear for each record of a lane, so the writers
//! look at the keys that they copy anyway (`keys.rs`). They count the leaves below strange keys, and a record is walked
//! if the lane has not come across one of these before.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use s1_forwarder_record::activity::{Activity, ActivityData, RuleHit};
use s1_forwarder_record::block::{Block, KeyTable, Visitor, read_inside};
use s1_forwarder_record::{Kind, Stream, Value, read_object, repair};

use super::common::remaining::{RemainingWriter, write_remaining_data};
use super::copy::KeyCase;
use super::json::Json;
use super::keys::{Keys, MOST_LEVELS, Places, name_of};
use super::mapping::check;
use super::record;
use super::secret_keys::is_secret;
use super::used::Used;

/// `STREAM PATH` in each line.
const KNOWN_FIELDS: &str = include_str!("data/known-fields.txt");

/// A path has no more keys. What is below counts, without a name of its own.
const MOST_KEYS: usize = 8;

/// Calls `visit` with the path of each leaf that no mapping knows, such as `threatInfo.newField`. A list adds nothing
/// to a path. A path is made for logs: it has no value of the record, and `*` stands for a key that is not the name of
/// a field, such as an id or an address. A record that is not JSON is repaired first; one that cannot be has no leaves.
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

    /// Whatever is below is known.
    fn is_open(&self) -> bool {
        self.0.contains_key("**")
    }

    /// An object with all of them.
    fn to_json(&self) -> serde_json::Value {
        if self.0.is_empty() {
            return 1.into();
        }
        self.0.iter().map(|(key, fields)| ((*key).to_owned(), fields.to_json())).collect()
    }
}

/// The fields that the record types of a stream do not have, and all of an activity's `data`.
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

/// Walks a record, and calls `visit` with the path of each leaf that is not known.
struct Walk<'v> {
    /// The fields at the path; `None` below a strange key.
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
            Kind::Object | Kind::Array if self.levels > MOST_LEVELS => self.leaf(),
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
            (self.visit)(&self.path[..self.path.len().min(MOST_KEYS)].join("."));
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
        // A key that is there twice is known.
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

/// The places of the known keys of a stream, in events whose vendor namespace has keys in this case.
pub(crate) fn places(stream: Stream, key_case: KeyCase) -> &'static Places {
    static ALL: LazyLock<BTreeMap<(&str, bool), Places>> = LazyLock::new(|| {
        let cases = [KeyCase::Snake, KeyCase::AsReceived];
        let pairs = Stream::ALL.iter().flat_map(|stream| cases.map(|key_case| (*stream, key_case)));
        pairs.map(|(stream, case)| ((stream.name(), case == KeyCase::Snake), learn(stream, case))).collect()
    });
    static NONE: LazyLock<Places> = LazyLock::new(|| Keys::learning().into_learned());
    ALL.get(&(stream.name(), key_case == KeyCase::Snake)).unwrap_or(&NONE)
}

/// The places that the writers come across in a record with all known fields.
fn learn(stream: Stream, key_case: KeyCase) -> Places {
    let known = known(stream).to_json();
    let text = known.to_string();
    let mut keys = learn_what(Keys::learning(), |json| {
        let used = Used::default();
        let mut writer = RemainingWriter::new(json, &used, key_case);
        // The text was made here.
        let _ = record::read(stream, &text, |record| record.fields.visit(&mut writer));
    });
    if stream == Stream::Activities {
        let data = known["data"].to_string();
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
    let mut siblings = Vec::new();
    let mut json = Json::new(&mut out, &mut siblings);
    json.keys = keys;
    writes(&mut json);
    json.keys
}
