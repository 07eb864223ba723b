use std::borrow::Cow;

use super::copy::{self, Sibling};
use crate::record::{Escaped, Kind, Value, string_end};

/// Writes JSON into the output buffer, front to back. Objects and arrays in which nothing was written vanish.
#[derive(Debug)]
pub(super) struct Json<'o> {
    out: &'o mut Vec<u8>,
    siblings: &'o mut Vec<Sibling>,
}

/// An object or array that is being written.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub(super) struct Open {
    start: usize,
    inside: usize,
}

/// How the keys of a copied object are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Each `camelCase` part in `snake_case`.
    Snake,
    /// As received.
    Kept,
}

impl<'o> Json<'o> {
    /// `siblings` is scratch space that is worth keeping from event to event.
    pub fn new(out: &'o mut Vec<u8>, siblings: &'o mut Vec<Sibling>) -> Self {
        Self { out, siblings }
    }

    /// Bytes that are JSON already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    #[inline]
    fn comma(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b'\n')) {
            self.out.push(b',');
        }
    }

    /// The name of what is written next; `name` needs no escapes.
    #[inline]
    pub fn name(&mut self, name: &str) {
        self.out.reserve(name.len() + 4);
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    #[inline]
    pub fn open(&mut self, name: &str) -> Open {
        let start = self.out.len();
        self.name(name);
        self.out.push(b'{');
        Open { start, inside: self.out.len() }
    }

    #[inline]
    pub fn open_list(&mut self, name: &str) -> Open {
        let start = self.out.len();
        self.name(name);
        self.out.push(b'[');
        Open { start, inside: self.out.len() }
    }

    /// An object as an element of a list.
    pub fn open_element(&mut self) -> Open {
        let start = self.out.len();
        self.comma();
        self.out.push(b'{');
        Open { start, inside: self.out.len() }
    }

    /// Whether nothing was written inside.
    #[inline]
    pub fn is_empty(&self, open: Open) -> bool {
        self.out.len() == open.inside
    }

    #[inline]
    pub fn close(&mut self, open: Open) {
        let close = if self.out[open.inside - 1] == b'{' { b'}' } else { b']' };
        if self.is_empty(open) { self.out.truncate(open.start) } else { self.out.push(close) }
    }

    /// Text that needs no escapes.
    #[inline]
    pub fn word(&mut self, name: &str, word: &str) {
        self.escaped(name, Escaped::plain(word));
    }

    #[inline]
    pub fn escaped(&mut self, name: &str, text: Escaped<'_>) {
        self.name(name);
        self.string(text);
    }

    /// Text of any kind.
    pub fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.out.push(b'"');
        escape_into(self.out, text.as_bytes());
        self.out.push(b'"');
    }

    /// As [`Json::text`], under a name that may need escapes too.
    pub fn text_named(&mut self, name: &str, text: &str) {
        self.text(&escape(name), text);
    }

    /// Text in lower case.
    pub fn lower_case(&mut self, name: &str, text: Escaped<'_>) {
        if text.raw().is_ascii() {
            // Also with its escapes: they are in lower case, or hexadecimal digits.
            self.name(name);
            self.out.push(b'"');
            self.out.extend(text.raw().bytes().map(|byte| byte.to_ascii_lowercase()));
            self.out.push(b'"');
        } else {
            self.text(name, &text.decode().to_lowercase());
        }
    }

    /// A JSON text (valid) as a string, white space between its tokens left out.
    pub fn quoted_json(&mut self, name: &str, json: &str, spaced: bool) {
        self.name(name);
        self.out.push(b'"');
        quote_json_into(self.out, json.as_bytes(), spaced);
        self.out.push(b'"');
    }

    #[inline]
    pub fn number(&mut self, name: &str, digits: &str) {
        self.name(name);
        self.raw(digits.as_bytes());
    }

    #[inline]
    pub fn boolean(&mut self, name: &str, value: bool) {
        self.number(name, if value { "true" } else { "false" });
    }

    /// A string as an element of a list.
    #[inline]
    pub fn element(&mut self, text: Escaped<'_>) {
        self.comma();
        self.string(text);
    }

    #[inline]
    fn string(&mut self, text: Escaped<'_>) {
        let text = text.raw().as_bytes();
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        self.out.extend_from_slice(text);
        self.out.push(b'"');
    }

    /// Copies a value of the record; what is empty at any depth is left out. An unfit scalar becomes text. False when
    /// nothing was written.
    pub fn value(&mut self, name: &str, value: Value<'_>, names: Names) -> bool {
        let start = self.out.len();
        self.name(name);
        self.copied(start, value, names)
    }

    /// As [`Json::value`], under a name made from a key of the record. `siblings` are the names that were made for this
    /// object so far, `taken` tells which others it has.
    pub fn keyed_value(
        &mut self,
        key: &str,
        value: Value<'_>,
        names: Names,
        siblings: &mut Vec<Sibling>,
        taken: impl Fn(&str) -> bool,
    ) {
        let start = self.out.len();
        self.comma();
        let sibling = copy::name(self.out, &escape(key), names, siblings, taken);
        if self.copied(start, value, names) {
            siblings.push(sibling);
        }
    }

    fn copied(&mut self, start: usize, value: Value<'_>, names: Names) -> bool {
        let wrote = match (value.kind(), value.is_unfit()) {
            (Kind::Absent | Kind::Null, _) => false,
            (Kind::Number | Kind::Bool, true) => {
                self.string(Escaped::plain(value.raw()));
                true
            }
            _ => copy::value(self.out, self.siblings, value.raw(), names),
        };
        if !wrote {
            self.out.truncate(start);
        }
        wrote
    }
}

/// Appends `text` as the inside of a JSON string.
pub(super) fn escape_into(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(br#"\""#),
            b'\\' => out.extend_from_slice(br"\\"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\t' => out.extend_from_slice(br"\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn escape(key: &str) -> Cow<'_, str> {
    if key.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        return Cow::Borrowed(key);
    }
    let mut escaped = Vec::with_capacity(key.len() + 2);
    escape_into(&mut escaped, key.as_bytes());
    Cow::Owned(String::from_utf8(escaped).unwrap_or_default())
}

/// Appends a JSON text that is known to be valid as the inside of a JSON string, white space between its tokens left
/// out: what `event.original` holds. Its strings hold no control characters, so only quotes and backslashes count.
pub(super) fn quote_json_into(out: &mut Vec<u8>, json: &[u8], spaced: bool) {
    if spaced {
        let mut compact = Vec::with_capacity(json.len());
        let mut at = 0;
        while let Some(&byte) = json.get(at) {
            let end = if byte == b'"' { string_end(json, at).unwrap_or(json.len()) } else { at + 1 };
            if !byte.is_ascii_whitespace() {
                compact.extend_from_slice(&json[at..end]);
            }
            at = end;
        }
        return quote_json_into(out, &compact, false);
    }
    let start = out.len();
    // Room for the worst case and for the eight bytes that are written at once.
    out.resize(start + json.len() * 2 + 8, 0);
    let room = &mut out[start..];
    let (mut from, mut to) = (0, 0);
    while let Some(chunk) = json.get(from..).and_then(|rest| rest.first_chunk::<8>()) {
        // All eight are written; what is behind the first quote or backslash is written again from there.
        room[to..to + 8].copy_from_slice(chunk);
        let clean = leading_plain_bytes(*chunk);
        (from, to) = (from + clean, to + clean);
        if clean < 8 {
            room[to] = b'\\';
            room[to + 1] = json[from];
            (from, to) = (from + 1, to + 2);
        }
    }
    for &byte in &json[from..] {
        if byte == b'"' || byte == b'\\' {
            room[to] = b'\\';
            to += 1;
        }
        room[to] = byte;
        to += 1;
    }
    out.truncate(start + to);
}

/// How many bytes come before the first quote or backslash.
fn leading_plain_bytes(chunk: [u8; 8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(chunk);
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES * 0x80);
    let stops = zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64));
    (stops.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    proptest! {
        #[test]
        fn a_quoted_json_text_reads_back_as_itself(texts in prop::collection::vec("[a-c\"\\\\ é]{0,20}", 0..6), pretty in any::<bool>()) {
            let value = Value::from(texts);
            let json = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let mut out = b"\"".to_vec();
            quote_json_into(&mut out, json.as_bytes(), pretty);
            out.push(b'"');
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), value.to_string());
        }

        #[test]
        fn escaped_text_reads_back_as_itself(text in any::<String>()) {
            let mut out = b"\"".to_vec();
            escape_into(&mut out, text.as_bytes());
            out.push(b'"');
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn what_is_empty_vanishes() {
        let (mut out, mut siblings) = (Vec::new(), Vec::new());
        let mut json = Json::new(&mut out, &mut siblings);
        json.raw(b"{");
        let (outer, inner) = (json.open("a"), json.open_list("b"));
        json.close(inner);
        json.close(outer);
        json.word("c", "d");
        let outer = json.open("e");
        json.boolean("f", false);
        json.close(outer);
        json.raw(b"}");
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"c":"d","e":{"f":false}}"#);
    }
}
