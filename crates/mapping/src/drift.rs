//! Leaves of records that no mapping knows: the sign that a console has changed. A leaf is a scalar that is not empty.
//! Known are the fields of the record types and what `data/known-fields.txt` lists.
//!
//! [`unknown_leaves`] walks a record and names the leaves. That is too dear for each record of a lane, so the writers
//! look at the keys that they copy anyway ([`Keys`]): only a record of which they copied a strange key is walked.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use s1_forwarder_record::activity::{Activity, ActivityData, RuleHit};
use s1_forwarder_record::agent::Agent;
use s1_forwarder_record::alert::Alert;
use s1_forwarder_record::block::{Block, KeyTable, Visitor, read_block, read_inside};
use s1_forwarder_record::group::Group;
use s1_forwarder_record::threat::Threat;
use s1_forwarder_record::unified_alert::UnifiedAlert;
use s1_forwarder_record::vulnerability::Vulnerability;
use s1_forwarder_record::{Kind, Reader, Stream, Value, read_object, repair};

use super::common::remaining::{write_remaining, write_remaining_data};
use super::copy::{KeyCase, is_secret};
use super::fnv::fnv1a;
use super::json::Json;
use super::mapping::check;
use super::used::Used;

/// `STREAM PATH` in each line.
const KNOWN_FIELDS: &str = include_str!("data/known-fields.txt");

/// A path goes no deeper. What is below counts, without a name of its own.
const MOST_KEYS: usize = 8;

/// Longest key that a path names.
const LONGEST_KEY: usize = 48;

/// Calls `visit` with the path of each leaf that no mapping knows, such as `threatInfo.newField`. A list adds nothing to
/// a path. A path is made for logs: it has no value of the record, and `*` stands for a key that is not the name of a
/// field, such as an id or an address. A record that is not JSON is repaired first; one that cannot be has no leaves.
pub fn unknown_leaves(stream: Stream, record: &[u8], visit: &mut dyn FnMut(&str)) {
    let text = match check(record) {
        Ok(text) if read_object(text).is_ok() => Cow::Borrowed(text),
        _ => match repair(record) {
            Some(text) => Cow::Owned(text),
            None => return,
        },
    };
    let mut walk = Walk { known: Some(known(stream)), path: Vec::new(), visit };
    match stream {
        Stream::Threats => walk_record::<Threat<'_>>(&text, &mut walk),
        Stream::Activities => walk_record::<Activity<'_>>(&text, &mut walk),
        Stream::Agents => walk_record::<Agent<'_>>(&text, &mut walk),
        Stream::Alerts => walk_record::<Alert<'_>>(&text, &mut walk),
        Stream::Groups => walk_record::<Group<'_>>(&text, &mut walk),
        Stream::UnifiedAlerts => walk_record::<UnifiedAlert<'_>>(&text, &mut walk),
        Stream::Vulnerabilities => walk_record::<Vulnerability<'_>>(&text, &mut walk),
    }
}

fn read<'a, B: Block<'a>>(text: &'a str) -> B {
    let mut block = B::default();
    // The text was read before, or is made here.
    let _ = read_block(&mut block, &mut Reader::new(text), 1);
    block
}

fn walk_record<'a, B: Block<'a>>(text: &'a str, walk: &mut Walk<'_>) {
    read::<B>(text).visit(walk);
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
        match value.kind() {
            Kind::Object => {
                for (key, value) in value.entries().filter(|(key, _)| !is_secret(key)) {
                    self.enter(&key, |walk| walk.value(value));
                }
            }
            Kind::Array => value.elements().for_each(|element| self.value(element)),
            _ if self.known.is_some() => {}
            _ => (self.visit)(&self.path[..self.path.len().min(MOST_KEYS)].join(".")),
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
                walk.known = walk.known.filter(|_| !in_place_of_block);
                walk.value(value);
            });
        }
    }
}

fn keys_of<'a, B: Block<'a>>(_: &B) -> &'static KeyTable {
    B::keys()
}

/// The key, or `*` if it is no name that somebody gave to a field: it has strange characters or many digits, or its
/// case changes as in a random text.
fn name_of(key: &str) -> &str {
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    let most_digits = if key.len() > 20 { 1 } else { 4 };
    let cases: Vec<bool> = key.bytes().filter(u8::is_ascii_alphabetic).map(|byte| byte.is_ascii_uppercase()).collect();
    let changes = cases.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$' | b' ');
    let is_name = key.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$'))
        && key.len() <= LONGEST_KEY
        && key.bytes().all(is_word)
        && digits <= most_digits
        && changes <= 2 + cases.len() / 4;
    if is_name { key } else { "*" }
}

/// Identifies a key of a record by the keys around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place(u64);

impl Place {
    /// Nobody looks at the keys that are below.
    pub const ANY: Self = Self(0);
    /// The record itself.
    pub const TOP: Self = Self(MIX);

    /// The place of a field; [`Self::ANY`] for other values.
    #[inline]
    pub fn of_field(value: Value<'_>) -> Self {
        Self(u64::from(value.slot()).wrapping_mul(MIX))
    }

    /// `fingerprint` is that of the key.
    #[inline]
    pub fn below(self, fingerprint: u64) -> Self {
        Self((self.0 ^ fingerprint).wrapping_mul(MIX) | 1)
    }
}

/// Spreads bits (the golden ratio).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The places of all known keys that the writers of one schema may come across.
#[derive(Debug)]
pub(crate) struct Places {
    /// A hash table whose empty slots are 0.
    slots: Box<[u64]>,
    shift: u32,
}

impl Places {
    fn new(places: &HashSet<Place>) -> Self {
        let size = (places.len() * 4).next_power_of_two().max(64);
        let mut table = Self { slots: vec![0; size].into(), shift: u64::BITS - size.trailing_zeros() };
        for place in places {
            let mut at = table.first(*place);
            while table.slots[at] != 0 {
                at = (at + 1) % size;
            }
            table.slots[at] = place.0;
        }
        table
    }

    #[inline]
    fn first(&self, place: Place) -> usize {
        (place.0.wrapping_mul(MIX) >> self.shift) as usize
    }

    #[inline]
    fn has(&self, place: Place) -> bool {
        let mut at = self.first(place);
        loop {
            match self.slots[at] {
                0 => return false,
                found if found == place.0 => return true,
                _ => at = (at + 1) % self.slots.len(),
            }
        }
    }

    /// Those of a stream, in events whose vendor namespace has keys in this case.
    pub fn of(stream: Stream, key_case: KeyCase) -> &'static Self {
        static ALL: LazyLock<BTreeMap<(&str, bool), Places>> = LazyLock::new(|| {
            let cases = [KeyCase::Snake, KeyCase::AsReceived];
            let pairs = Stream::ALL.iter().flat_map(|stream| cases.map(|key_case| (*stream, key_case)));
            pairs.map(|(stream, case)| ((stream.name(), case == KeyCase::Snake), Places::learn(stream, case))).collect()
        });
        static NONE: LazyLock<Places> = LazyLock::new(|| Places::new(&HashSet::new()));
        ALL.get(&(stream.name(), key_case == KeyCase::Snake)).unwrap_or(&NONE)
    }

    /// The places that the writers come across in a record with all known fields.
    fn learn(stream: Stream, key_case: KeyCase) -> Self {
        let record = known(stream).to_json();
        let text = record.to_string();
        let data = record.get("data").unwrap_or(&record).to_string();
        let mut keys = Keys { learned: Some(HashSet::new()), ..Keys::default() };
        match stream {
            Stream::Threats => keys.learn(&read::<Threat<'_>>(&text), key_case),
            Stream::Activities => {
                keys.learn(&read::<Activity<'_>>(&text), key_case);
                keys.learn_data(&read_inside::<Activity<'_>, ActivityData<'_>>(&data).unwrap_or_default());
                keys.learn_data(&read_inside::<Activity<'_>, RuleHit<'_>>(&data).unwrap_or_default());
            }
            Stream::Agents => keys.learn(&read::<Agent<'_>>(&text), key_case),
            Stream::Alerts => keys.learn(&read::<Alert<'_>>(&text), key_case),
            Stream::Groups => keys.learn(&read::<Group<'_>>(&text), key_case),
            Stream::UnifiedAlerts => keys.learn(&read::<UnifiedAlert<'_>>(&text), key_case),
            Stream::Vulnerabilities => keys.learn(&read::<Vulnerability<'_>>(&text), key_case),
        }
        Self::new(&keys.learned.unwrap_or_default())
    }
}

/// Looks at the keys that a writer copies.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    known: Option<&'static Places>,
    /// While the places of known keys are being collected.
    learned: Option<HashSet<Place>>,
    has_strange: bool,
}

impl Keys {
    pub fn new(known: &'static Places) -> Self {
        Self { known: Some(known), ..Self::default() }
    }

    /// A key that may be unknown was written with its value.
    pub fn has_strange(&self) -> bool {
        self.has_strange
    }

    /// The place of a key inside `outer`, by its fingerprint; `None` if the key is strange.
    #[inline]
    pub fn place(&mut self, outer: Place, fingerprint: u64) -> Option<Place> {
        if outer == Place::ANY {
            return Some(Place::ANY);
        }
        let place = outer.below(fingerprint);
        match self.known {
            Some(known) if known.has(place) => Some(place),
            known => self.other_place(known, outer, place),
        }
    }

    #[cold]
    fn other_place(&mut self, known: Option<&Places>, outer: Place, place: Place) -> Option<Place> {
        if let Some(learned) = &mut self.learned {
            learned.insert(place);
            return Some(place);
        }
        let known = known?;
        let any_key = outer.below(fnv1a(b"*"));
        match () {
            () if known.has(any_key) => Some(any_key),
            () if known.has(outer.below(fnv1a(b"**"))) => Some(Place::ANY),
            () => None,
        }
    }

    /// A value was written whose key has no place.
    pub fn note(&mut self, place: Option<Place>) {
        self.has_strange |= place.is_none();
    }

    fn learn<'a>(&mut self, block: &impl Block<'a>, key_case: KeyCase) {
        self.learning(|json| write_remaining(json, &Used::default(), block, key_case, &[]));
    }

    fn learn_data<'a>(&mut self, data: &impl Block<'a>) {
        self.learning(|json| write_remaining_data(json, &Used::default(), data));
    }

    fn learning(&mut self, write: impl FnOnce(&mut Json<'_>)) {
        let (mut out, mut siblings) = (b"{".to_vec(), Vec::new());
        let mut json = Json::new(&mut out, &mut siblings).looking_at(std::mem::take(self));
        write(&mut json);
        *self = json.keys;
    }
}
