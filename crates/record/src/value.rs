//! A JSON value of a record, borrowed from its bytes.

use std::borrow::Cow;

use super::scan;

/// The JSON type of a [`Value`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The object does not have the key.
    Absent,
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A value of a record, borrowed and never converted: digits and escapes are as received. The default is an absent
/// value. Values are equal if their texts are, wherever they are from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Value<'a> {
    raw: &'a str,
    /// The number of its field in the record, from 1. 0 for other values: those without a field, and parts of a value.
    slot: u16,
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Value<'_> {}

impl<'a> Value<'a> {
    /// `raw` is one JSON value without white space around it; "" is an absent value.
    #[inline]
    pub const fn new(raw: &'a str) -> Self {
        Self { raw, slot: 0 }
    }

    /// Creates the value of the field with this number.
    #[inline]
    pub(crate) const fn of_field(raw: &'a str, slot: u16) -> Self {
        Self { raw, slot }
    }

    /// Returns the number of the value's field in the record; 0 if the value belongs to no field.
    #[inline]
    pub const fn slot(self) -> u16 {
        self.slot
    }

    /// Returns the value without its number. A caller that uses it leaves the field to others.
    #[inline]
    pub const fn unmarked(self) -> Self {
        Self { slot: 0, ..self }
    }

    /// Returns the JSON text as received.
    #[inline]
    pub const fn raw(self) -> &'a str {
        self.raw
    }

    /// Returns the type, judged by the first byte.
    #[inline]
    pub fn kind(self) -> Kind {
        match self.raw.as_bytes().first() {
            None => Kind::Absent,
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            Some(_) => Kind::Number,
        }
    }

    /// Returns whether the value is absent, `null`, `""`, `[]` or `{}`.
    #[inline]
    pub fn is_empty(self) -> bool {
        match self.raw.as_bytes() {
            [] | b"null" | b"\"\"" | b"[]" | b"{}" => true,
            [b'[' | b'{', inner @ .., _] => inner.iter().all(u8::is_ascii_whitespace),
            _ => false,
        }
    }

    /// Returns the text of a scalar, escaped as received; `None` as for [`Value::text`].
    #[inline]
    pub fn escaped(self) -> Option<Escaped<'a>> {
        match self.kind() {
            Kind::String => {
                let inner = self.raw.get(1..self.raw.len().checked_sub(1)?)?;
                if inner.is_empty() { None } else { Some(Escaped(inner)) }
            }
            Kind::Number | Kind::Bool => Some(Escaped(self.raw)),
            _ => None,
        }
    }

    /// Returns the text of a scalar: a string without quotes and escapes, the digits of a number, or `true` or `false`.
    /// `None` for empty values, arrays and objects.
    #[inline]
    pub fn text(self) -> Option<Cow<'a, str>> {
        self.escaped().map(Escaped::decode)
    }

    /// Returns the elements of an array; nothing for other types.
    #[inline]
    pub fn elements(self) -> Elements<'a> {
        let at = if self.kind() == Kind::Array { 1 } else { self.raw.len() };
        Elements { raw: self.raw, at }
    }

    /// Returns the entries of an object in source order; nothing for other types.
    #[inline]
    pub fn entries(self) -> Entries<'a> {
        let at = if self.kind() == Kind::Object { 1 } else { self.raw.len() };
        Entries { raw: self.raw, at }
    }

    /// Returns the first value under `name` in an object, else an absent value.
    #[inline]
    pub fn get(self, name: &str) -> Value<'a> {
        self.entries().find(|(key, _)| key == name).map(|(_, value)| value).unwrap_or_default()
    }
}

/// The text of a scalar with its JSON escapes as received: it can be copied into the event without decoding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Escaped<'a>(&'a str);

impl<'a> Escaped<'a> {
    /// `text` must not need escapes: digits, words, addresses.
    #[inline]
    pub const fn plain(text: &'a str) -> Self {
        Self(text)
    }

    /// Returns the text between the quotes.
    #[inline]
    pub const fn raw(self) -> &'a str {
        self.0
    }

    #[inline]
    pub fn decode(self) -> Cow<'a, str> {
        unescape(self.0)
    }

    /// Returns whether the text equals `word`, ignoring case; `word` is ASCII without escapes.
    #[inline]
    pub fn is(self, word: &str) -> bool {
        self.0.eq_ignore_ascii_case(word)
    }

    /// Splits `DOMAIN\name` or `a\b\c` at the first backslash, which belongs to neither part.
    pub fn split_backslash(self) -> Option<(Self, Self)> {
        let at = separators(self.0).find(|&(at, _)| self.0.as_bytes()[at] == b'\\')?.0;
        Some((Self(&self.0[..at]), Self(&self.0[at + 2..])))
    }

    /// Splits `a\b\c` at the last backslash, which belongs to neither part.
    #[inline]
    pub fn rsplit_backslash(self) -> Option<(Self, Self)> {
        let at = separators(self.0).filter(|&(at, _)| self.0.as_bytes()[at] == b'\\').last()?.0;
        Some((Self(&self.0[..at]), Self(&self.0[at + 2..])))
    }

    /// Returns the text after the last `\` or `/`: the file name of a path.
    #[inline]
    pub fn last_segment(self) -> Self {
        separators(self.0).last().map_or(self, |(_, end)| Self(&self.0[end..]))
    }

    /// Returns the parts of a list, trimmed and without empty ones. `separator` is not a quote, a backslash or an
    /// escaped character.
    pub fn split(self, separator: char) -> impl Iterator<Item = Self> {
        self.0.split(separator).map(|part| Self(part.trim())).filter(|part| !part.0.is_empty())
    }

    #[inline]
    pub fn trim(self) -> Self {
        Self(self.0.trim())
    }
}

/// Returns start and end of each path separator in escaped text.
fn separators(escaped: &str) -> impl Iterator<Item = (usize, usize)> {
    let bytes = escaped.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at;
            match bytes.get(at)? {
                b'/' => {
                    at += 1;
                    return Some((start, at));
                }
                b'\\' => {
                    at += 2;
                    if bytes.get(start + 1) == Some(&b'\\') {
                        return Some((start, at));
                    }
                }
                _ => at += 1,
            }
        }
    })
}

/// Decodes the escapes of a JSON string; an invalid escape is kept as it is.
pub(super) fn unescape(inner: &str) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', inner.as_bytes()) else { return Cow::Borrowed(inner) };
    // JSON in a text has many of them, a few bytes from each other.
    let next = |rest: &str| {
        let near = rest.bytes().take(16).position(|byte| byte == b'\\');
        near.or_else(|| memchr::memchr(b'\\', rest.as_bytes()))
    };
    let mut text = String::with_capacity(inner.len());
    let mut rest = inner;
    let mut at = Some(first);
    while let Some(escape) = at {
        text.push_str(&rest[..escape]);
        let (character, length) = unescape_one(&rest[escape..]);
        text.push(character);
        rest = rest.get(escape + length..).unwrap_or_default();
        at = next(rest);
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// Decodes the escape that `escape` begins with. Returns its character and its length in bytes.
fn unescape_one(escape: &str) -> (char, usize) {
    let character = match escape.as_bytes().get(1) {
        Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let unit = |at: usize| escape.get(at..at + 4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
            let pair = [unit(2), if escape.get(6..8) == Some("\\u") { unit(8) } else { None }];
            return match char::decode_utf16(pair.into_iter().flatten()).next() {
                Some(Ok(character)) => (character, if character.len_utf16() == 2 { 12 } else { 6 }),
                _ => ('\\', 1),
            };
        }
        _ => return ('\\', 1),
    };
    (character, 2)
}

/// See [`Value::elements`].
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    raw: &'a str,
    at: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let bytes = self.raw.as_bytes();
        let start = scan::skip_space(bytes, self.at);
        if matches!(bytes.get(start)?, b']' | b'}' | b',' | b':') {
            return None;
        }
        let end = scan::value_end(bytes, start)?;
        self.at = after_comma(bytes, end);
        self.raw.get(start..end).map(Value::new)
    }
}

/// See [`Value::entries`].
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    raw: &'a str,
    at: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.raw.as_bytes();
        let key = scan::skip_space(bytes, self.at);
        if *bytes.get(key)? != b'"' {
            return None;
        }
        let (name, key_end) = self.key(key)?;
        let colon = scan::skip_space(bytes, key_end);
        if *bytes.get(colon)? != b':' {
            return None;
        }
        let start = scan::skip_space(bytes, colon + 1);
        let end = scan::value_end(bytes, start)?;
        self.at = after_comma(bytes, end);
        Some((name, Value::new(self.raw.get(start..end)?)))
    }
}

impl<'a> Entries<'a> {
    /// Returns the key whose opening quote is at `at`, and the position after it.
    #[inline]
    fn key(&self, at: usize) -> Option<(Cow<'a, str>, usize)> {
        let bytes = self.raw.as_bytes();
        let stop = scan::string_stop(bytes, at + 1);
        if bytes.get(stop) == Some(&b'"') {
            return Some((Cow::Borrowed(self.raw.get(at + 1..stop)?), stop + 1));
        }
        let end = scan::string_end(bytes, at)?;
        Some((unescape(self.raw.get(at + 1..end - 1)?), end))
    }
}

fn after_comma(bytes: &[u8], end: usize) -> usize {
    let at = scan::skip_space(bytes, end);
    match bytes.get(at) {
        Some(b',') => at + 1,
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_have_text_and_empty_values_have_none() {
        let text = |raw| Value::new(raw).text().map(Cow::into_owned);
        assert_eq!(text("\"a\\u00e9\\\\b\""), Some("aé\\b".to_owned()));
        assert_eq!(text("225494730938493804"), Some("225494730938493804".to_owned()));
        assert_eq!(text("true"), Some("true".to_owned()));
        for raw in ["", "null", "\"\"", "[]", "{ }", "[\n]"] {
            assert!(Value::new(raw).is_empty(), "{raw}");
            assert_eq!(text(raw), None);
        }
        assert!(!Value::new("0").is_empty() && !Value::new("false").is_empty() && !Value::new("[null]").is_empty());
    }

    #[test]
    fn escapes_are_decoded_and_paths_are_split_without_decoding() {
        let text = |raw| Value::new(raw).text().unwrap().into_owned();
        for raw in [r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00x""#, r#""plain""#, r#""\u0041""#] {
            assert_eq!(text(raw), serde_json::from_str::<String>(raw).unwrap());
        }
        assert_eq!(text(r#""\ud83d\u0041 \x \u12""#), "\\ud83dA \\x \\u12");
        let escaped = |raw| Value::new(raw).escaped().unwrap();
        assert_eq!(escaped(r#""C:\\new\\a\"b.exe""#).last_segment().raw(), r#"a\"b.exe"#);
        assert_eq!(escaped(r#""/usr/bin/x""#).last_segment().raw(), "x");
        assert_eq!(escaped(r#""x\n""#).last_segment().raw(), r"x\n");
        let (domain, name) = escaped(r#""NT AUTHORITY\\SYSTEM""#).split_backslash().unwrap();
        assert_eq!((domain.raw(), name.raw()), ("NT AUTHORITY", "SYSTEM"));
        let (key, value) = escaped(r#""SOFTWARE\\Run\\a/b""#).rsplit_backslash().unwrap();
        assert_eq!((key.raw(), value.raw()), (r"SOFTWARE\\Run", "a/b"));
        assert_eq!(escaped(r#""a/b\n""#).split_backslash(), None);
        assert_eq!(escaped(r#""a/b\n""#).rsplit_backslash(), None);
        let parts: Vec<_> = escaped(r#""10.0.0.1, 10.0.0.2,,""#).split(',').map(Escaped::raw).collect();
        assert_eq!(parts, ["10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn containers_are_iterated_in_source_order() {
        let value = Value::new(r#"{ "a" : [1, "]" , {"x":"}"}] , "\u0062" : null, "a":2 }"#);
        let entries: Vec<_> = value.entries().map(|(key, value)| (key.into_owned(), value.raw())).collect();
        assert_eq!(entries, [("a".into(), r#"[1, "]" , {"x":"}"}]"#), ("b".into(), "null"), ("a".into(), "2")]);
        let elements: Vec<_> = value.get("a").elements().map(Value::raw).collect();
        assert_eq!(elements, ["1", "\"]\"", r#"{"x":"}"}"#]);
        assert_eq!(value.elements().count() + Value::new("\"x\"").entries().count(), 0);
    }

    #[test]
    fn truncated_json_ends_the_iteration() {
        for raw in ["[1,", "[", "[\"a", "{\"a\":", "{\"a", "{\"a\" 1}", "{,}", "[,]", "[:"] {
            assert!(Value::new(raw).elements().count() + Value::new(raw).entries().count() <= 1, "{raw}");
        }
    }
}
