//! Looks at the keys of a record that the writers copy into an event: whether each is known at its place.

use std::collections::HashSet;

use s1_forwarder_record::Value;

use super::fnv::fnv1a;

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

    /// Collects the places of the keys that are written.
    pub fn learning() -> Self {
        Self { learned: Some(HashSet::new()), ..Self::default() }
    }

    pub fn into_learned(self) -> Places {
        Places::new(&self.learned.unwrap_or_default())
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
}
