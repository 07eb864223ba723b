//! Checks whether the keys that the writers copy from a record into an event are known at their places.

use std::collections::{HashMap, HashSet};

use s1_forwarder_record::{Kind, Value, string_end};

use super::fnv::fnv1a;
use super::misfits::Misfits;
use super::secret_keys::is_secret;

/// The field for the parts that exceed the bounds of a record: a text of JSON.
pub const OVERFLOW: &str = "overflow";

/// Identifies a key of a record by the keys around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place(u64);

impl Place {
    /// A place below which no key is checked.
    pub const ANY: Self = Self(0);
    /// The record itself.
    pub const TOP: Self = Self(!MIX);

    /// Returns the place of a field; [`Self::ANY`] for other values.
    #[inline]
    pub fn of_field(value: Value<'_>) -> Self {
        Self(u64::from(value.slot()).wrapping_mul(MIX))
    }

    /// Returns the place of a key inside this place. `fingerprint` is the fingerprint of the key.
    #[inline]
    pub fn below(self, fingerprint: u64) -> Self {
        Self((self.0 ^ fingerprint).wrapping_mul(MIX) | 1)
    }
}

/// Spreads bits (the golden ratio).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The place belongs to a known key.
const KNOWN: u64 = 1;
/// The place belongs to an object: keys are known below it.
const OBJECT: u64 = 2;
const FLAGS: u64 = KNOWN | OBJECT;

/// The places of all known keys that the writers of one schema may see: a hash table whose empty slots are 0. The
/// lowest bits of a slot are the flags, the other bits are the place.
#[derive(Debug)]
pub(crate) struct Places {
    slots: Box<[u64]>,
    shift: u32,
}

impl Places {
    fn new(places: &HashMap<Place, u64>) -> Self {
        let size = (places.len() * 4).next_power_of_two().max(64);
        let mut table = Self { slots: vec![0; size].into(), shift: u64::BITS - size.trailing_zeros() };
        for (place, flags) in places {
            let mut at = table.first(*place);
            while table.slots[at] != 0 {
                at = (at + 1) % size;
            }
            table.slots[at] = place.0 & !FLAGS | flags;
        }
        table
    }

    #[inline]
    fn first(&self, place: Place) -> usize {
        ((place.0 & !FLAGS).wrapping_mul(MIX) >> self.shift) as usize
    }

    /// Returns the flags of a place; 0 if the place is unknown.
    #[inline]
    fn flags(&self, place: Place) -> u64 {
        let mut at = self.first(place);
        loop {
            match self.slots[at] {
                0 => return 0,
                found if (found ^ place.0) & !FLAGS == 0 => return found & FLAGS,
                _ => at = (at + 1) % self.slots.len(),
            }
        }
    }

    fn knows(&self, place: Place) -> bool {
        self.flags(place) & KNOWN != 0
    }
}

/// The shape that the values of a place have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The shape is not checked.
    Any,
    /// Objects, or lists of them.
    Object,
    /// No objects.
    Plain,
}

impl Shape {
    #[inline]
    fn of(flags: u64) -> Self {
        if flags & OBJECT == 0 { Self::Plain } else { Self::Object }
    }
}

/// Number of levels that are read inside a field. A deeper object or list counts as one leaf, because each level is
/// scanned again. Records of the console have eight levels.
pub(crate) const MAX_LEVELS: u32 = 16;

/// Longest key that a path names, in bytes.
const MAX_KEY: usize = 48;

/// Number of unknown leaves that a lane remembers. A record with new ones is walked, until this number is reached.
const MAX_SEEN: usize = 1_000;

/// The unknown leaves that a lane has seen, by a hash of their paths.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(HashSet<u64>);

impl Seen {
    /// Adds leaves. Returns whether one of them is new.
    pub fn add(&mut self, leaves: &[u64]) -> bool {
        let mut is_new = false;
        for leaf in leaves {
            is_new |= self.0.len() < MAX_SEEN && self.0.insert(*leaf);
        }
        is_new
    }
}

/// Checks the keys that a writer copies.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    known: Option<&'static Places>,
    /// Set while the places of known keys are being collected.
    learned: Option<HashMap<Place, u64>>,
    /// Whether values must have the shape of their place.
    is_strict: bool,
    /// Values that do not have the shape of their place.
    pub misfits: Misfits,
    /// The part of the record beyond its bounds; `None` if there is none.
    pub overflow: Option<Box<str>>,
    /// A hash of the path of each leaf that was written below an unknown key.
    strange: Vec<u64>,
    has_secret: bool,
    /// Whether a time without a zone was written.
    pub without_zone: bool,
}

impl Keys {
    pub fn new(known: &'static Places, overflow: Option<&str>) -> Self {
        Self { known: Some(known), overflow: overflow.map(Box::from), ..Self::default() }
    }

    /// Returns keys that collect the places of the written keys.
    pub fn learning() -> Self {
        Self { learned: Some(HashMap::new()), ..Self::default() }
    }

    pub fn into_learned(self) -> Places {
        Places::new(&self.learned.unwrap_or_default())
    }

    pub fn is_learning(&self) -> bool {
        self.learned.is_some()
    }

    /// Notes that an object has this place, if places are being collected.
    pub fn learn_object(&mut self, place: Place) {
        if let Some(learned) = &mut self.learned {
            *learned.entry(place).or_default() |= OBJECT;
        }
    }

    /// From now on, moves values that do not have the shape of their place to [`Self::misfits`].
    pub fn be_strict(&mut self) {
        self.is_strict = true;
    }

    /// Copies a misfit with `copy`, without checking shapes inside it.
    pub fn misfit<T>(&mut self, copy: impl FnOnce(&mut Self) -> T) -> T {
        self.is_strict = false;
        let copied = copy(self);
        self.is_strict = true;
        copied
    }

    /// Returns the shape of the values of this place.
    #[inline]
    pub fn shape(&self, place: Place) -> Shape {
        match self.known {
            Some(known) if self.is_strict && place != Place::ANY => Shape::of(known.flags(place)),
            _ => Shape::Any,
        }
    }

    /// Returns a hash of the path of each leaf that was written below an unknown key.
    pub fn strange(&self) -> &[u64] {
        &self.strange
    }

    /// Returns whether a value of this key must not be copied.
    #[inline]
    pub fn is_secret(&mut self, key: &str) -> bool {
        let is_secret = is_secret(key);
        self.has_secret |= is_secret;
        is_secret
    }

    /// Returns whether one of the keys was the key of a secret.
    pub fn has_secret(&self) -> bool {
        self.has_secret
    }

    /// Returns the place of a key inside `outer`, by its fingerprint, and the shape of its values. The place is `None`
    /// if the key is unknown.
    #[inline]
    pub fn place(&mut self, outer: Place, fingerprint: u64) -> (Option<Place>, Shape) {
        if outer == Place::ANY {
            return (Some(Place::ANY), Shape::Any);
        }
        let place = outer.below(fingerprint);
        let flags = self.known.map_or(0, |known| known.flags(place));
        let shape = if self.is_strict { Shape::of(flags) } else { Shape::Any };
        if flags & KNOWN != 0 { (Some(place), shape) } else { self.other_place(outer, place, shape) }
    }

    /// Returns what [`Self::place`] returns, for a key that is not known by its name. `shape` is the shape of other
    /// values under this name, if there are any.
    #[cold]
    fn other_place(&mut self, outer: Place, place: Place, shape: Shape) -> (Option<Place>, Shape) {
        if let Some(learned) = &mut self.learned {
            *learned.entry(place).or_default() |= KNOWN;
            *learned.entry(outer).or_default() |= OBJECT;
            return (Some(place), shape);
        }
        let Some(known) = self.known else { return (None, Shape::Any) };
        let any_key = outer.below(fnv1a(b"*"));
        if known.knows(any_key) {
            (Some(any_key), self.shape(any_key))
        } else if known.knows(outer.below(fnv1a(b"**"))) {
            (Some(Place::ANY), Shape::Any)
        } else {
            (None, shape)
        }
    }

    /// Notes that a value of an object at `outer` was written. `place` is the place of its key; `None` if the key is
    /// unknown.
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

impl Shape {
    /// Returns whether the value at the beginning of `text` has this shape. A value that is not copied has every shape.
    #[inline]
    pub fn fits(self, text: &str) -> bool {
        match (self, text.as_bytes()) {
            (Self::Any, _) | (_, [b'n', ..] | [b'"', b'"', ..] | []) => true,
            (_, [b'[', ..]) => self.fits_list(text),
            (_, [b'{', ..]) => self == Self::Object,
            (_, _) => self == Self::Plain,
        }
    }

    fn fits_list(self, text: &str) -> bool {
        if self == Self::Object {
            let mut elements = Value::new(text).elements();
            return elements.all(|element| element.kind() == Kind::Object || element.is_empty());
        }
        !has_object(text.as_bytes())
    }
}

/// Returns whether the list at the beginning of `text` has an object at any depth.
fn has_object(text: &[u8]) -> bool {
    let mut depth = 0;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' => return true,
            b'"' => {
                at = string_end(text, at).unwrap_or(text.len());
                continue;
            }
            b'[' => depth += 1,
            b']' if depth == 1 => return false,
            b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    false
}

fn add_leaves(leaves: &mut Vec<u64>, place: Place, value: Value<'_>, level: u32) {
    match value.kind() {
        _ if value.is_empty() => {}
        Kind::Object | Kind::Array if level > MAX_LEVELS => leaves.push(place.0),
        Kind::Object => {
            for (key, value) in value.entries().filter(|(key, _)| !is_secret(key)) {
                add_leaves(leaves, place.below(fnv1a(name_of(&key).as_bytes())), value, level + 1);
            }
        }
        Kind::Array => value.elements().for_each(|element| add_leaves(leaves, place, element, level + 1)),
        _ => leaves.push(place.0),
    }
}

/// Returns the key, or `*` if it does not look like the name of a field. It may then be a person, a host, a customer or
/// a random text. Such a key is long, or has blanks, hyphens, no lower case, many digits, or many changes of case.
pub(crate) fn name_of(key: &str) -> &str {
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    let max_digits = if key.len() > 20 { 1 } else { 4 };
    let cases: Vec<bool> = key.bytes().filter(u8::is_ascii_alphabetic).map(|byte| byte.is_ascii_uppercase()).collect();
    let changes = cases.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    let is_name = key.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$'))
        && key.len() <= MAX_KEY
        && key.bytes().any(|byte| byte.is_ascii_lowercase())
        && key.bytes().all(is_word)
        && digits <= max_digits
        && changes <= 2 + cases.len() / 4;
    if is_name { key } else { "*" }
}
