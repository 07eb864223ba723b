//! Looks at the keys of a record that the writers copy into an event: whether each is known at its place.

use std::collections::HashSet;

use s1_forwarder_record::{Kind, Value, string_end, value_end};

use super::fnv::fnv1a;
use super::misfits::Misfits;
use super::secret_keys::is_secret;

/// Identifies a key of a record by the keys around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place(u64);

impl Place {
    /// Nobody looks at the keys that are below.
    pub const ANY: Self = Self(0);
    /// The record itself.
    pub const TOP: Self = Self(!MIX);
    /// Of a value of its own, below which no key is known.
    pub const SCALAR: Self = Self(1);

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
    known: Table,
    /// Those of objects: keys are known below them.
    objects: Table,
}

/// A hash table whose empty slots are 0.
#[derive(Debug)]
struct Table {
    slots: Box<[u64]>,
    shift: u32,
}

impl Table {
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
}

/// Objects and lists inside a field that are looked into; what is deeper is one leaf, since each level is scanned
/// again. Records of the console have eight.
pub(crate) const MOST_LEVELS: u32 = 16;

/// Longest key that a path names.
const LONGEST_KEY: usize = 48;

/// Strange leaves that a lane remembers. A record with others is walked; after so many, none is.
const MOST_SEEN: usize = 1_000;

/// The strange leaves that a lane has come across.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(HashSet<u64>);

impl Seen {
    /// True if one of them is new.
    pub fn add(&mut self, leaves: &[u64]) -> bool {
        let mut is_new = false;
        for leaf in leaves {
            is_new |= self.0.len() < MOST_SEEN && self.0.insert(*leaf);
        }
        is_new
    }
}

#[derive(Debug, Default)]
struct Learned {
    known: HashSet<Place>,
    objects: HashSet<Place>,
}

/// Looks at the keys that a writer copies.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    known: Option<&'static Places>,
    /// While the places of known keys are being collected.
    learned: Option<Learned>,
    /// Whether each place has values of one shape.
    is_strict: bool,
    /// The others.
    pub misfits: Misfits,
    /// A hash of the path of each leaf that was written below a strange key.
    strange: Vec<u64>,
    has_secret: bool,
}

impl Keys {
    pub fn new(known: &'static Places) -> Self {
        Self { known: Some(known), ..Self::default() }
    }

    /// Collects the places of the keys that are written.
    pub fn learning() -> Self {
        Self { learned: Some(Learned::default()), ..Self::default() }
    }

    pub fn into_learned(self) -> Places {
        let Learned { known, objects } = self.learned.unwrap_or_default();
        Places { known: Table::new(&known), objects: Table::new(&objects) }
    }

    /// An object has this place, while places are collected.
    pub fn learn_object(&mut self, place: Place) {
        if let Some(learned) = &mut self.learned {
            learned.objects.insert(place);
        }
    }

    /// Leaves values of another shape than that of their place to [`Self::misfits`] from now on.
    pub fn be_strict(&mut self) {
        self.is_strict = true;
    }

    /// What is copied next is a misfit already: it is copied as it is. Returns what [`Self::end_misfit`] needs.
    pub fn begin_misfit(&mut self, is_misfit: bool) -> bool {
        let was_strict = self.is_strict;
        self.is_strict = was_strict && !is_misfit;
        was_strict
    }

    pub fn end_misfit(&mut self, was_strict: bool) {
        self.is_strict = was_strict;
    }

    /// Whether the value at the beginning of `text` has the shape of its place: objects where keys are known below it,
    /// else none. A value that is not copied has every shape.
    #[inline]
    pub fn fits(&self, place: Place, text: &str) -> bool {
        if !self.is_strict || place == Place::ANY {
            return true;
        }
        let is_object = self.known.is_some_and(|known| known.objects.has(place));
        match text.as_bytes().first() {
            Some(b'{') => is_object,
            Some(b'[') if is_object => {
                elements(text).all(|element| matches!(element.kind(), Kind::Object) || element.is_empty())
            }
            Some(b'[') => !has_object(text),
            Some(b'n') | None => true,
            Some(b'"') if text.starts_with("\"\"") => true,
            Some(_) => !is_object,
        }
    }

    /// The leaves that were written below keys that may be unknown, by a hash of their paths.
    pub fn strange(&self) -> &[u64] {
        &self.strange
    }

    /// Whether a value of this key must not be copied.
    #[inline]
    pub fn is_secret(&mut self, key: &str) -> bool {
        let is_secret = is_secret(key);
        self.has_secret |= is_secret;
        is_secret
    }

    /// True if one of the keys was that of a secret.
    pub fn has_secret(&self) -> bool {
        self.has_secret
    }

    /// The place of a key inside `outer`, by its fingerprint; `None` if the key is strange.
    #[inline]
    pub fn place(&mut self, outer: Place, fingerprint: u64) -> Option<Place> {
        if outer == Place::ANY {
            return Some(Place::ANY);
        }
        let place = outer.below(fingerprint);
        match self.known {
            Some(known) if known.known.has(place) => Some(place),
            known => self.other_place(known, outer, place),
        }
    }

    #[cold]
    fn other_place(&mut self, known: Option<&Places>, outer: Place, place: Place) -> Option<Place> {
        if let Some(learned) = &mut self.learned {
            learned.known.insert(place);
            learned.objects.insert(outer);
            return Some(place);
        }
        let known = known?;
        let any_key = outer.below(fnv1a(b"*"));
        if known.known.has(any_key) {
            Some(any_key)
        } else if known.known.has(outer.below(fnv1a(b"**"))) {
            Some(Place::ANY)
        } else {
            None
        }
    }

    /// A value of an object at `outer` was written whose key has this place.
    #[inline]
    pub fn note(&mut self, place: Option<Place>, outer: Place, key: &str, value: Value<'_>) {
        if place.is_none() {
            self.note_strange(outer, key, value);
        }
    }

    #[cold]
    fn note_strange(&mut self, outer: Place, key: &str, value: Value<'_>) {
        let place = outer.below(fnv1a(name_of(key).as_bytes()));
        add_leaves(&mut self.strange, place, value, 1);
    }
}

/// The elements of the list at the beginning of `text`.
fn elements(text: &str) -> impl Iterator<Item = Value<'_>> {
    let end = value_end(text.as_bytes(), 0).unwrap_or(text.len());
    Value::new(text.get(..end).unwrap_or_default()).elements()
}

/// Whether an object is anywhere in the list at the beginning of `text`.
fn has_object(text: &str) -> bool {
    let bytes = text.as_bytes();
    let end = value_end(bytes, 0).unwrap_or(bytes.len());
    let mut at = 0;
    while at < end {
        match bytes.get(at) {
            Some(b'{') => return true,
            Some(b'"') => at = string_end(bytes, at).unwrap_or(end),
            _ => at += 1,
        }
    }
    false
}

fn add_leaves(leaves: &mut Vec<u64>, place: Place, value: Value<'_>, level: u32) {
    match value.kind() {
        _ if value.is_empty() => {}
        Kind::Object | Kind::Array if level > MOST_LEVELS => leaves.push(place.0),
        Kind::Object => {
            for (key, value) in value.entries().filter(|(key, _)| !is_secret(key)) {
                add_leaves(leaves, place.below(fnv1a(name_of(&key).as_bytes())), value, level + 1);
            }
        }
        Kind::Array => value.elements().for_each(|element| add_leaves(leaves, place, element, level + 1)),
        _ => leaves.push(place.0),
    }
}

/// The key, or `*` if nobody seems to have named a field so, and it may be a person, a host, a customer or a random
/// text: it has blanks or hyphens, no lower case, many digits, or its case changes often.
pub(crate) fn name_of(key: &str) -> &str {
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    let most_digits = if key.len() > 20 { 1 } else { 4 };
    let cases: Vec<bool> = key.bytes().filter(u8::is_ascii_alphabetic).map(|byte| byte.is_ascii_uppercase()).collect();
    let changes = cases.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    let is_name = key.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$'))
        && key.len() <= LONGEST_KEY
        && key.bytes().any(|byte| byte.is_ascii_lowercase())
        && key.bytes().all(is_word)
        && digits <= most_digits
        && changes <= 2 + cases.len() / 4;
    if is_name { key } else { "*" }
}
