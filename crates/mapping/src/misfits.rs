//! Values that do not have the shape of their place: an object where a scalar belongs, or the other way round. An index
//! knows one of the two under each name, so such a value would decide what becomes of all later events.

use std::collections::BTreeMap;

/// A value that was not written in its place.
#[derive(Debug)]
pub(crate) struct Misfit {
    /// The names on the way to it, the last first, as they are in JSON.
    path: Vec<Vec<u8>>,
    /// JSON.
    value: Vec<u8>,
}

/// Those of one event.
#[derive(Debug, Default)]
pub(crate) struct Misfits(Vec<Misfit>);

impl Misfits {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[cold]
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.0.push(Misfit { path: vec![name.to_vec()], value: value.to_vec() });
    }

    /// Those after the first `before` are in an object of this name.
    #[inline]
    pub fn enclose(&mut self, before: usize, name: &[u8]) {
        for misfit in self.0.iter_mut().skip(before) {
            misfit.path.push(name.to_vec());
        }
    }

    /// A JSON object with all of them under their names, and none is left. `None` if there is none.
    pub fn take(&mut self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let mut tree = Node::default();
        for Misfit { path, value } in self.0.drain(..) {
            let node = path.into_iter().rev().fold(&mut tree, |node, name| node.below.entry(name).or_default());
            node.values.push(value);
        }
        let mut json = Vec::new();
        tree.write(&mut json);
        String::from_utf8(json).ok()
    }
}

#[derive(Debug, Default)]
struct Node {
    values: Vec<Vec<u8>>,
    below: BTreeMap<Vec<u8>, Node>,
}

impl Node {
    /// Elements of a list have one path: their values become a list again.
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
