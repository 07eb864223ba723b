use std::borrow::Cow;

use super::json;

/// What kind of JSON a [`Value`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The key was not there.
    Absent,
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// Any number, its digits as received.
    Number,
    /// A string, its escapes as received.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A value as it stands in the record: borrowed, never converted. The default is an absent value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Value<'a> {
    raw: &'a str,
}

impl<'a> Value<'a> {
    /// `raw` is one JSON value without space around it; "" is an absent one.
    pub const fn new(raw: &'a str) -> Self {
        Self { raw }
    }

    /// The JSON as received.
    pub const fn raw(self) -> &'a str {
        self.raw
    }

    /// Its kind, by its first byte.
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

    /// Absent, `null`, `""`, `[]` or `{}`.
    pub fn is_empty(self) -> bool {
        match self.raw.as_bytes() {
            [] | b"null" | b"\"\"" | b"[]" | b"{}" => true,
            [b'[' | b'{', inner @ .., _] => inner.iter().all(u8::is_ascii_whitespace),
            _ => false,
        }
    }

    /// What a scalar says: a string without its quotes and escapes, or the digits of a number, or `true`, `false`.
    /// `None` for everything empty and for arrays and objects.
    pub fn text(self) -> Option<Cow<'a, str>> {
        match self.kind() {
            Kind::String => self.string(),
            Kind::Number | Kind::Bool => Some(Cow::Borrowed(self.raw)),
            _ => None,
        }
    }

    /// What a string that is not empty says.
    pub fn string(self) -> Option<Cow<'a, str>> {
        let inner = self.raw.strip_prefix('"')?.strip_suffix('"')?;
        if inner.is_empty() { None } else { Some(unescape(inner)) }
    }

    /// The elements of an array; of anything else none.
    pub fn elements(self) -> Elements<'a> {
        let at = if self.kind() == Kind::Array { 1 } else { self.raw.len() };
        Elements { raw: self.raw, at }
    }

    /// The entries of an object in source order; of anything else none.
    pub fn entries(self) -> Entries<'a> {
        let at = if self.kind() == Kind::Object { 1 } else { self.raw.len() };
        Entries { raw: self.raw, at }
    }

    /// The first value under `name` in an object, else absent.
    pub fn get(self, name: &str) -> Value<'a> {
        self.entries().find(|(key, _)| key == name).map(|(_, value)| value).unwrap_or_default()
    }
}

/// Undoes the escapes of a JSON string; what is no valid escape stays as it is.
pub(super) fn unescape(inner: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    match serde_json::from_str::<String>(&format!("\"{inner}\"")) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(inner),
    }
}

/// The elements of an array.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    raw: &'a str,
    at: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let bytes = self.raw.as_bytes();
        let start = json::skip_space(bytes, self.at);
        if matches!(bytes.get(start)?, b']' | b'}' | b',' | b':') {
            return None;
        }
        let end = json::skip(bytes, start)?;
        self.at = behind_comma(bytes, end);
        self.raw.get(start..end).map(Value::new)
    }
}

/// The entries of an object.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    raw: &'a str,
    at: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.raw.as_bytes();
        let key = json::skip_space(bytes, self.at);
        if *bytes.get(key)? != b'"' {
            return None;
        }
        let key_end = json::skip_string(bytes, key)?;
        let colon = json::skip_space(bytes, key_end);
        if *bytes.get(colon)? != b':' {
            return None;
        }
        let start = json::skip_space(bytes, colon + 1);
        let end = json::skip(bytes, start)?;
        self.at = behind_comma(bytes, end);
        Some((unescape(self.raw.get(key + 1..key_end - 1)?), Value::new(self.raw.get(start..end)?)))
    }
}

fn behind_comma(bytes: &[u8], end: usize) -> usize {
    let at = json::skip_space(bytes, end);
    match bytes.get(at) {
        Some(b',') => at + 1,
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_say_their_text_and_empty_values_say_nothing() {
        let said = |raw| Value::new(raw).text().map(Cow::into_owned);
        assert_eq!(said("\"a\\u00e9\\\\b\""), Some("aé\\b".to_owned()));
        assert_eq!(said("225494730938493804"), Some("225494730938493804".to_owned()));
        assert_eq!(said("true"), Some("true".to_owned()));
        for raw in ["", "null", "\"\"", "[]", "{ }", "[\n]"] {
            assert!(Value::new(raw).is_empty(), "{raw}");
            assert_eq!(said(raw), None);
        }
        assert!(!Value::new("0").is_empty() && !Value::new("false").is_empty() && !Value::new("[null]").is_empty());
    }

    #[test]
    fn containers_are_walked_in_source_order() {
        let value = Value::new(r#"{ "a" : [1, "]" , {"x":"}"}] , "\u0062" : null, "a":2 }"#);
        let entries: Vec<_> = value.entries().map(|(key, value)| (key.into_owned(), value.raw())).collect();
        assert_eq!(entries, [("a".into(), r#"[1, "]" , {"x":"}"}]"#), ("b".into(), "null"), ("a".into(), "2")]);
        let elements: Vec<_> = value.get("a").elements().map(Value::raw).collect();
        assert_eq!(elements, ["1", "\"]\"", r#"{"x":"}"}"#]);
        assert_eq!(value.elements().count() + Value::new("\"x\"").entries().count(), 0);
    }

    #[test]
    fn what_is_cut_off_ends_the_walk() {
        for raw in ["[1,", "[", "[\"a", "{\"a\":", "{\"a", "{\"a\" 1}", "{,}", "[,]", "[:"] {
            assert!(Value::new(raw).elements().count() + Value::new(raw).entries().count() <= 1, "{raw}");
        }
    }
}
