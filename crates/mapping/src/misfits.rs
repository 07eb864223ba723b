//! Values that do not have the shape of their place: an object in place of a scalar, or the reverse. An index accepts
//! only one of the two under each name, so a misfit that came first would make it refuse later events.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The misfits of one event, and of the object that is being written. Each has the name that it is at or below.
#[derive(Debug, Default)]
pub(crate) struct Misfits(Vec<(RawName, Node)>);

/// A name as it is in JSON.
type RawName = Vec<u8>;

impl Misfits {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[cold]
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.0.push((name.to_vec(), Node { values: vec![value.to_vec()], below: BTreeMap::new() }));
    }

    /// Moves the misfits after the first `before` into an object of this name.
    #[inline]
    pub fn enclose(&mut self, before: usize, name: &[u8]) {
        if self.0.len() > before {
            self.enclose_all(before, name);
        }
    }

    #[cold]
    fn enclose_all(&mut self, before: usize, name: &[u8]) {
        let mut outer = Node::default();
        self.0.drain(before..).for_each(|(name, node)| outer.add(name, node));
        self.0.push((name.to_vec(), outer));
    }

    /// Removes all misfits and returns them as a JSON object, under their names. `None` if there are none.
    pub fn take(&mut self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let mut tree = Node::default();
        self.0.drain(..).for_each(|(name, node)| tree.add(name, node));
        let mut json = Vec::new();
        tree.write(&mut json);
        String::from_utf8(json).ok()
    }
}

/// The misfits at a name, and the misfits below it.
#[derive(Debug, Default)]
struct Node {
    values: Vec<Vec<u8>>,
    below: BTreeMap<RawName, Node>,
}

impl Node {
    fn add(&mut self, name: RawName, node: Self) {
        match self.below.entry(name) {
            Entry::Vacant(free) => _ = free.insert(node),
            Entry::Occupied(mut same) => {
                let same = same.get_mut();
                same.values.extend(node.values);
                node.below.into_iter().for_each(|(name, node)| same.add(name, node));
            }
        }
    }

    /// Writes the misfits. Elements of a list have the same path, so their values become a list again.
    fn write(&self, out: &mut Vec<u8>) {
        let parts = self.values.len() + usize::from(!self.below.is_empty());
        if parts > 1 {
            out.push(b'[');
        }
        for (index, value) in self.values.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(value);
        }
        if !self.below.is_empty() {
            if !self.values.is_empty() {
                out.push(b',');
            }
            out.push(b'{');
            for (index, (name, node)) in self.below.iter().enumerate() {
                out.extend_from_slice(if index > 0 { b",\"" } else { b"\"" });
                out.extend_from_slice(name);
                out.extend_from_slice(b"\":");
                node.write(out);
            }
            out.push(b'}');
        }
        if parts > 1 {
            out.push(b']');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_under_their_names() {
        let mut misfits = Misfits::default();
        assert_eq!(misfits.take(), None);
        for value in ["1", "2"] {
            misfits.add(b"c", value.as_bytes());
        }
        misfits.enclose(0, b"b");
        misfits.add(b"d", b"{\"x\":null}");
        misfits.enclose(0, b"a");
        misfits.add(b"a", b"\"t\"");
        misfits.add(b"e", b"[]");
        let expected = r#"{"a":["t",{"b":{"c":[1,2]},"d":{"x":null}}],"e":[]}"#;
        assert_eq!((misfits.take().as_deref(), misfits.len()), (Some(expected), 0));
    }
}
