//! Writes the JSON of an event front to back. Both schemas use it.

use std::borrow::Cow;

use s1_forwarder_record::{Escaped, Kind, Value, quotes_and_backslashes, string_end, string_stop};

use super::copy::{self, KeyCase};
use super::keys::{Keys, Place, Shape};
use super::names::DistinctNames;

/// Writes JSON into the output buffer, front to back. Objects and arrays without content are not written.
#[derive(Debug)]
pub(super) struct Json<'o> {
    out: &'o mut Vec<u8>,
    names: &'o mut DistinctNames,
    /// Sees the copied keys of the record.
    pub keys: Keys,
}

/// An object or array that is not closed yet.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub(super) struct OpenContainer {
    start: usize,
    inside: usize,
}

impl<'o> Json<'o> {
    /// `names` is scratch space, to be reused for the next event.
    pub fn new(out: &'o mut Vec<u8>, names: &'o mut DistinctNames) -> Self {
        Self { out, names, keys: Keys::default() }
    }

    /// Returns the bytes that were written so far.
    pub fn written(&self) -> &[u8] {
        self.out
    }

    /// Writes bytes that are JSON.
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

    /// Writes the name of the next value; `name` must not need escapes. Most names are literals, whose copies are a few
    /// instructions.
    #[inline(always)]
    pub fn name(&mut self, name: &str) {
        self.out.reserve(name.len() + 4);
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    #[inline]
    pub fn open(&mut self, name: &str) -> OpenContainer {
        let start = self.out.len();
        self.name(name);
        self.out.push(b'{');
        OpenContainer { start, inside: self.out.len() }
    }

    #[inline]
    pub fn open_list(&mut self, name: &str) -> OpenContainer {
        let start = self.out.len();
        self.name(name);
        self.out.push(b'[');
        OpenContainer { start, inside: self.out.len() }
    }

    /// Opens an object as an element of a list.
    pub fn open_element(&mut self) -> OpenContainer {
        let start = self.out.len();
        self.comma();
        self.out.push(b'{');
        OpenContainer { start, inside: self.out.len() }
    }

    #[inline]
    pub fn is_empty(&self, open: OpenContainer) -> bool {
        self.out.len() == open.inside
    }

    #[inline]
    pub fn close(&mut self, open: OpenContainer) {
        let close = if self.out[open.inside - 1] == b'{' { b'}' } else { b']' };
        if self.is_empty(open) { self.out.truncate(open.start) } else { self.out.push(close) }
    }

    /// Removes an open object or list and its contents.
    pub fn discard(&mut self, open: OpenContainer) {
        self.out.truncate(open.start);
    }

    /// Writes a text that does not need escapes.
    #[inline]
    pub fn word(&mut self, name: &str, word: &str) {
        self.escaped(name, Escaped::plain(word));
    }

    #[inline]
    pub fn escaped(&mut self, name: &str, text: Escaped<'_>) {
        self.name(name);
        self.string(text);
    }

    /// Writes any text, escaped.
    pub fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.out.push(b'"');
        escape_into(self.out, text.as_bytes());
        self.out.push(b'"');
    }

    /// Writes any text, escaped, with a name that may need escapes.
    pub fn text_named(&mut self, name: &str, text: &str) {
        self.text(&escape(name), text);
    }

    /// Writes a text in lower case.
    pub fn lower_case(&mut self, name: &str, text: Escaped<'_>) {
        if text.raw().is_ascii() {
            // Escapes contain only lower-case characters or hexadecimal digits, so the conversion does not change their
            // meaning.
            self.name(name);
            self.out.push(b'"');
            self.out.extend(text.raw().bytes().map(|byte| byte.to_ascii_lowercase()));
            self.out.push(b'"');
        } else {
            self.text(name, &text.decode().to_lowercase());
        }
    }

    /// Writes valid JSON as a string, without white space between its tokens.
    pub fn quoted_json(&mut self, name: &str, json: &str, has_spaces: bool) {
        self.name(name);
        self.out.push(b'"');
        quote_json_into(self.out, json.as_bytes(), has_spaces);
        self.out.push(b'"');
    }

    #[inline]
    pub fn number(&mut self, name: &str, digits: &str) {
        self.name(name);
        self.raw(digits.as_bytes());
    }

    /// Writes `NAME_id` and `NAME`; `caption` must not need escapes.
    pub fn choice(&mut self, name: &str, id: &str, caption: &str) {
        self.out.reserve(2 * name.len() + caption.len() + 20);
        self.comma();
        for part in ["\"", name, "_id\":", id, ",\"", name, "\":\"", caption, "\""] {
            self.out.extend_from_slice(part.as_bytes());
        }
    }

    /// Writes a sentence of the present parts. Each part except the first follows its separator.
    pub fn sentence(&mut self, name: &str, parts: &[(&str, Option<Escaped<'_>>)]) {
        let mut first = true;
        for (separator, part) in parts {
            let Some(part) = part else { continue };
            if first {
                self.name(name);
                self.raw(b"\"");
            } else {
                self.raw(separator.as_bytes());
            }
            self.raw(part.raw().as_bytes());
            first = false;
        }
        if !first {
            self.raw(b"\"");
        }
    }

    #[inline]
    pub fn boolean(&mut self, name: &str, value: bool) {
        self.number(name, if value { "true" } else { "false" });
    }

    /// Writes a string as an element of a list.
    #[inline]
    pub fn element(&mut self, text: Escaped<'_>) {
        self.comma();
        self.string(text);
    }

    /// Writes a value that is JSON as an element of a list.
    pub fn json_element(&mut self, value: &str) {
        self.comma();
        self.raw(value.as_bytes());
    }

    /// Writes a string in parts without escapes as an element of a list.
    pub fn element_of(&mut self, parts: &[&str]) {
        self.comma();
        self.out.push(b'"');
        for part in parts {
            self.out.extend_from_slice(part.as_bytes());
        }
        self.out.push(b'"');
    }

    #[inline]
    fn string(&mut self, text: Escaped<'_>) {
        let text = text.raw().as_bytes();
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        self.out.extend_from_slice(text);
        self.out.push(b'"');
    }

    /// Copies a value of the record without parts that are empty.
    pub fn value(&mut self, name: &str, value: Value<'_>, key_case: KeyCase) {
        let place = Place::of_field(value);
        let shape = if key_case == KeyCase::Snake { self.keys.shape(place) } else { Shape::Any };
        self.named_value(name, value, key_case, place, shape);
    }

    /// Copies a value as [`Json::value`] does, for a place without objects.
    pub fn scalar(&mut self, name: &str, value: Value<'_>) {
        self.named_value(name, value, KeyCase::Snake, Place::of_field(value), Shape::Plain);
    }

    fn named_value(&mut self, name: &str, value: Value<'_>, key_case: KeyCase, place: Place, shape: Shape) {
        let start = self.out.len();
        self.name(name);
        let written = Written { start, name: self.out.len() - name.len() - "\":".len() };
        self.copy_value(written, value, key_case, place, shape);
    }

    /// Copies a value as [`Json::value`] does, with a name made from a key of the record. `names` are the names that
    /// were made for this object so far; `is_used` reports its other names. `outer` is the place of the object in the
    /// record.
    pub fn keyed_value(
        &mut self,
        outer: Place,
        key: &str,
        value: Value<'_>,
        key_case: KeyCase,
        names: &mut DistinctNames,
        is_used: impl Fn(&str) -> bool,
    ) {
        let start = self.out.len();
        self.comma();
        let made = copy::name(self.out, &escape(key), key_case, names, is_used);
        let (place, shape) = self.keys.place(outer, made.fingerprint());
        let shape = if key_case == KeyCase::Snake { shape } else { Shape::Any };
        let written = Written { start, name: made.range().start };
        let copied = self.copy_value(written, value, key_case, place.unwrap_or(Place::ANY), shape);
        if copied != Copied::Nothing {
            self.keys.note(place, outer, key, value);
        }
        if copied == Copied::InPlace {
            names.add(self.out, made);
        }
    }

    /// Copies a value after its name. `place` is the place of the keys in the value.
    fn copy_value(
        &mut self,
        written: Written,
        value: Value<'_>,
        key_case: KeyCase,
        place: Place,
        shape: Shape,
    ) -> Copied {
        if !shape.fits(value.raw()) {
            return self.copy_misfit(written, value, key_case, place);
        }
        let wrote = match value.kind() {
            Kind::Absent | Kind::Null => false,
            // Most values are scalars, which are copied as they are.
            Kind::String if value.raw() == "\"\"" => false,
            Kind::String | Kind::Number | Kind::Bool => {
                self.raw(value.raw().as_bytes());
                return Copied::InPlace;
            }
            Kind::Array | Kind::Object => {
                let misfits = self.keys.misfits.len();
                let name = written.name..self.out.len() - "\":".len();
                let wrote = copy::value(self.out, self.names, value.raw(), key_case, &mut self.keys, place);
                self.keys.misfits.enclose(misfits, &self.out[name]);
                wrote
            }
        };
        if wrote {
            return Copied::InPlace;
        }
        self.out.truncate(written.start);
        Copied::Nothing
    }

    #[cold]
    fn copy_misfit(&mut self, written: Written, value: Value<'_>, key_case: KeyCase, place: Place) -> Copied {
        let begin = self.out.len();
        let (out, names) = (&mut *self.out, &mut *self.names);
        let wrote = self.keys.misfit(|keys| copy::value(out, names, value.raw(), key_case, keys, place));
        if wrote {
            let name = written.name..begin - "\":".len();
            self.keys.misfits.add(&self.out[name], &self.out[begin..]);
        }
        self.out.truncate(written.start);
        if wrote { Copied::Apart } else { Copied::Nothing }
    }
}

/// Where the name of a value begins in the output.
#[derive(Debug, Clone, Copy)]
struct Written {
    /// Index of the comma or the quote before the name.
    start: usize,
    name: usize,
}

/// The result of copying a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// The value is empty.
    Nothing,
    InPlace,
    /// The value was copied to the misfits.
    Apart,
}

/// Appends any text as a JSON string.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    let text = text.as_bytes();
    out.push(b'"');
    if string_stop(text, 0) == text.len() {
        out.extend_from_slice(text);
    // Checks the whole text without an early exit, so that the compiler uses vectors.
    } else if text.iter().fold(false, |found, byte| found | (*byte < 0x20)) {
        escape_into(out, text);
    } else {
        quote_json_into(out, text, false);
    }
    out.push(b'"');
}

/// Appends `text`, escaped, without quotes.
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
            0x08 => out.extend_from_slice(br"\b"),
            0x0c => out.extend_from_slice(br"\f"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

pub(super) fn escape(key: &str) -> Cow<'_, str> {
    if key.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        return Cow::Borrowed(key);
    }
    let mut escaped = Vec::with_capacity(key.len() + 2);
    escape_into(&mut escaped, key.as_bytes());
    Cow::Owned(String::from_utf8(escaped).unwrap_or_default())
}

/// Appends valid JSON as the content of a JSON string, without white space between its tokens: the form of
/// `event.original`. Strings in valid JSON have no control characters, so only quotes and backslashes need escapes.
pub(super) fn quote_json_into(out: &mut Vec<u8>, json: &[u8], has_spaces: bool) {
    if has_spaces {
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
    json.chunks(64 * BLOCKS).for_each(|part| quote_part_into(out, part));
}

/// Appends at most [`BLOCKS`] blocks as [`quote_json_into`] does.
fn quote_part_into(out: &mut Vec<u8>, json: &[u8]) {
    let (blocks, rest) = json.as_chunks::<64>();
    let mut last = [b' '; 64];
    last[..rest.len()].copy_from_slice(rest);
    let mut stops = [0; BLOCKS + 1];
    let stops = &mut stops[..=blocks.len()];
    stops
        .iter_mut()
        .zip(blocks.iter().chain([&last]))
        .for_each(|(stops, block)| *stops = quotes_and_backslashes(block));
    let escapes: u32 = stops.iter().map(|stops| stops.count_ones()).sum();
    let start = out.len();
    out.resize(start + json.len() + escapes as usize + RUN, 0);
    let target = &mut out[start..];
    let mut from = 0;
    let mut to = 0;
    for (block, stops) in stops.iter_mut().enumerate() {
        while *stops != 0 {
            let stop = block * 64 + stops.trailing_zeros() as usize;
            *stops &= *stops - 1;
            copy_run(&mut target[to..], &json[from..], stop - from);
            to += stop - from;
            target[to] = b'\\';
            to += 1;
            from = stop;
        }
    }
    copy_run(&mut target[to..], &json[from..], json.len() - from);
    out.truncate(start + json.len() + escapes as usize);
}

/// Blocks of 64 bytes that are quoted at a time.
const BLOCKS: usize = 64;

/// Most runs between two quotes are shorter.
const RUN: usize = 16;

/// Copies the first `length` bytes. Up to [`RUN`] bytes may be overwritten.
#[inline]
fn copy_run(target: &mut [u8], source: &[u8], length: usize) {
    match (target.first_chunk_mut::<RUN>(), source.first_chunk::<RUN>()) {
        // A copy of a fixed length is faster.
        (Some(target), Some(source)) if length <= RUN => *target = *source,
        _ => target[..length].copy_from_slice(&source[..length]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_written_as_serde_json_does(text in "(\\PC|[\\x00-\\x7f]|\"|\\\\\\\\){0,200}") {
            let mut out = Vec::new();
            write_text(&mut out, &text);
            prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
        }

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
    fn empty_containers_are_not_written() {
        let mut out = Vec::new();
        let mut names = DistinctNames::default();
        let mut json = Json::new(&mut out, &mut names);
        json.raw(b"{");
        let outer = json.open("a");
        let inner = json.open_list("b");
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
