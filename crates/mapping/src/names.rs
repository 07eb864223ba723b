//! The names of an object that is being written. Two keys of the console may become the same name. A repeated name in
//! an object would lose one of the values, so the second name gets a number.

use std::collections::HashMap;
use std::io::Write as _;

use super::fnv::fnv1a;

/// Maximum number of names of an object that are compared one by one. Nearly all objects have fewer.
const MAX_SEARCHED: usize = 16;

/// A name in the output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    fingerprint: u64,
    from: usize,
    to: usize,
}

impl Name {
    /// Returns the fingerprint of the bytes of the name.
    pub fn fingerprint(self) -> u64 {
        self.fingerprint
    }

    /// Returns the range of the name in the output.
    pub fn range(self) -> std::ops::Range<usize> {
        self.from..self.to
    }
}

/// The names of an object that were written so far. The names of the objects around it are below them on one stack, so
/// that most objects need no allocation.
#[derive(Debug, Clone, Default)]
pub(super) struct DistinctNames {
    stack: Vec<Name>,
    first: usize,
    /// Set once the object has more than `MAX_SEARCHED` names.
    many: Option<Box<Many>>,
}

/// The names of a large object. Boxed where it is used: few objects have such a map, but each object moves the field.
type Many = HashMap<Box<[u8]>, Known>;

/// The state of a name.
#[derive(Debug, Clone, Copy)]
struct Known {
    is_taken: bool,
    /// All smaller numbers of this name are taken.
    next: u64,
}

/// The names of the object around the current one.
#[must_use]
pub(super) struct Outer {
    first: usize,
    many: Option<Box<Many>>,
}

impl DistinctNames {
    /// Begins an object in the current one.
    #[inline]
    pub fn enter(&mut self) -> Outer {
        Outer { first: std::mem::replace(&mut self.first, self.stack.len()), many: self.many.take() }
    }

    /// Ends the current object.
    #[inline]
    pub fn leave(&mut self, outer: Outer) {
        self.stack.truncate(self.first);
        self.first = outer.first;
        self.many = outer.many;
    }

    /// Makes the end of the output, from `from` on, a unique name: neither the object nor `is_used` has it. A name that
    /// is taken gets `_2`, `_3` and so on. The object has the name once it is [added](Self::add).
    #[inline]
    pub fn distinguish(&mut self, out: &mut Vec<u8>, from: usize, is_used: impl Fn(&str) -> bool) -> Name {
        self.free(out, from, &is_used).unwrap_or_else(|| self.number(out, from, is_used))
    }

    /// Returns the name at the end of the output, if no other value has it.
    #[inline]
    fn free(&self, out: &[u8], from: usize, is_used: &impl Fn(&str) -> bool) -> Option<Name> {
        let name = &out[from..];
        let fingerprint = fnv1a(name);
        let is_free = !self.has(out, name, fingerprint) && !is_used(std::str::from_utf8(name).unwrap_or_default());
        is_free.then_some(Name { fingerprint, from, to: out.len() })
    }

    /// Appends a number to a name that is not free. The search continues where the last search for this name ended: a
    /// record may have any number of equal keys.
    #[cold]
    fn number(&mut self, out: &mut Vec<u8>, from: usize, is_used: impl Fn(&str) -> bool) -> Name {
        let end = out.len();
        let known = self.many.as_ref().and_then(|many| many.get(&out[from..end]));
        let mut number = known.map_or(2, |known| known.next);
        let name = loop {
            // Writing into a Vec cannot fail.
            let _ = write!(out, "_{number}");
            if let Some(name) = self.free(out, from, &is_used) {
                break name;
            }
            out.truncate(end);
            number += 1;
        };
        if let Some(many) = &mut self.many {
            let free = Known { is_taken: false, next: 2 };
            many.entry(out[from..end].into()).or_insert(free).next = number;
        }
        name
    }

    /// Notes that the object has this name.
    #[inline]
    pub fn add(&mut self, out: &[u8], name: Name) {
        self.stack.push(name);
        if self.stack.len() - self.first > MAX_SEARCHED {
            self.add_to_many(out);
        }
    }

    #[cold]
    fn add_to_many(&mut self, out: &[u8]) {
        let names = &self.stack[self.first..];
        let (many, new) = match &mut self.many {
            Some(many) => (many, &names[names.len() - 1..]),
            none => (none.insert(Box::default()), names),
        };
        for name in new {
            many.entry(out[name.range()].into()).or_insert(Known { is_taken: true, next: 2 }).is_taken = true;
        }
    }

    #[inline]
    fn has(&self, out: &[u8], name: &[u8], fingerprint: u64) -> bool {
        match &self.many {
            None => {
                let is_same = |other: &Name| other.fingerprint == fingerprint && &out[other.range()] == name;
                self.stack[self.first..].iter().any(is_same)
            }
            // An attacker can give any number of names the same fingerprint.
            Some(many) => many.get(name).is_some_and(|known| known.is_taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the name that [`DistinctNames`] gives, by a slow search.
    fn numbered(wanted: &str, taken: &[String], is_used: impl Fn(&str) -> bool) -> String {
        let is_free = |name: &String| !taken.contains(name) && !is_used(name);
        let numbered = (2..).map(|number| format!("{wanted}_{number}"));
        std::iter::once(wanted.to_owned()).chain(numbered).find(is_free).unwrap()
    }

    proptest! {
        /// Keys that equal each other, numbered names, or other names of the object. Some are not written in the end.
        #[test]
        fn each_name_is_the_first_that_is_free(keys in prop::collection::vec(("[ab](_[23]){0,2}", 0..6_u8), 0..80)) {
            let is_used = |name: &str| matches!(name, "a" | "b_3" | "a_2_2");
            let mut out = b"{".to_vec();
            let mut names = DistinctNames::default();
            let outside = names.enter();
            let mut expected = Vec::new();
            for (key, kind) in keys {
                let from = out.len();
                out.extend_from_slice(key.as_bytes());
                let name = names.distinguish(&mut out, from, is_used);
                let wanted = numbered(&key, &expected, is_used);
                prop_assert_eq!(std::str::from_utf8(&out[name.range()]).unwrap(), &wanted);
                let outer = names.enter();
                let from = out.len();
                out.extend_from_slice(wanted.as_bytes());
                let below = names.distinguish(&mut out, from, |_| false);
                names.add(&out, below);
                prop_assert_eq!(&out[below.range()], wanted.as_bytes(), "the names of an inner object are its own");
                names.leave(outer);
                if kind > 0 {
                    names.add(&out, name);
                    expected.push(wanted);
                } else {
                    out.truncate(name.range().start);
                }
            }
            names.leave(outside);
        }
    }
}
