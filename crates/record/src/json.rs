//! The JSON grammar over borrowed bytes, on which the views of this module are built. [`Reader`] checks all of it, once
//! per record, before a mapping copies anything into an event. `scan.rs` finds the ends of values without that.

use super::scan::{is_same, skip_space, string_stop, value_end};

/// Levels of a record. Deeper values are an error; records of the console have eight levels.
pub const MAX_DEPTH: u32 = 120;

/// Levels of an event: the levels of a record, and the levels that its event has around them. Most readers of JSON
/// accept 127.
pub const MAX_EVENT_DEPTH: u32 = MAX_DEPTH + 7;

/// The text is not JSON. Offsets are in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("the JSON ends too early, after {0} bytes")]
    Truncated(usize),
    /// The grammar does not allow this byte here.
    #[error("not JSON at byte {0}")]
    Unexpected(usize),
    #[error("nested deeper than {MAX_DEPTH} levels at byte {0}")]
    TooDeep(usize),
}

/// Reads JSON value by value and checks the whole grammar.
#[derive(Debug)]
pub struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    has_spaces: bool,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, has_spaces: false }
    }

    /// Returns whether there was white space between tokens so far.
    pub fn has_spaces(&self) -> bool {
        self.has_spaces
    }

    /// Returns the next byte that is not white space, without consuming it.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        if byte > b' ' {
            return Some(byte);
        }
        let next = skip_space(self.bytes, self.at);
        self.has_spaces |= next != self.at;
        self.at = next;
        self.bytes.get(next).copied()
    }

    /// Consumes `byte` if it is the next one, and returns whether it was.
    #[inline]
    pub fn consume(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Returns the error for the current position.
    pub fn syntax_error(&self) -> JsonError {
        if self.at >= self.bytes.len() { JsonError::Truncated(self.at) } else { JsonError::Unexpected(self.at) }
    }

    /// Checks that the text has ended.
    ///
    /// # Errors
    /// If anything but white space follows.
    pub fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(JsonError::Unexpected(self.at)),
        }
    }

    /// Consumes `key` and its colon if they are next, without white space, and returns the key then.
    #[inline]
    pub fn consume_key(&mut self, key: &str) -> Option<&'a str> {
        let start = self.at + 1;
        let end = start + key.len();
        let is_next = self.bytes.get(end..end + 2) == Some(b"\":")
            && self.bytes[self.at] == b'"'
            && is_same(&self.bytes[start..end], key.as_bytes());
        if !is_next {
            return None;
        }
        self.at = end + 2;
        self.text.get(start..end)
    }

    /// Consumes a key and its colon. Returns the key without quotes, its escapes as received, and whether it has
    /// escapes.
    ///
    /// # Errors
    /// If the next tokens are not a string and a colon.
    #[inline]
    pub fn key(&mut self) -> Result<(&'a str, bool), JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax_error());
        }
        let start = self.at + 1;
        let is_escaped = self.string()?;
        let key = &self.text[start..self.at - 1];
        if self.consume(b':') { Ok((key, is_escaped)) } else { Err(self.syntax_error()) }
    }

    /// Consumes one value of any type and returns its text.
    ///
    /// # Errors
    /// If the next token does not begin a value.
    #[inline]
    pub fn value(&mut self) -> Result<&'a str, JsonError> {
        self.peek();
        let start = self.at;
        match self.bytes.get(self.at) {
            Some(b'{' | b'[') => self.container()?,
            _ => self.scalar()?,
        }
        Ok(&self.text[start..self.at])
    }

    /// Passes over one value, at any depth, without a check of its grammar.
    ///
    /// # Errors
    /// If the value does not end.
    pub fn skip(&mut self) -> Result<(), JsonError> {
        self.peek();
        self.at = value_end(self.bytes, self.at).ok_or(JsonError::Truncated(self.bytes.len()))?;
        Ok(())
    }

    fn container(&mut self) -> Result<(), JsonError> {
        // One bit for each open level, set for an object: more than `MAX_DEPTH` fit.
        let mut objects: u128 = 0;
        let mut depth = 0;
        loop {
            let is_object = match self.peek() {
                Some(b'{') => true,
                Some(b'[') => false,
                _ => {
                    self.scalar()?;
                    if !self.next_member(&mut objects, &mut depth)? {
                        return Ok(());
                    }
                    continue;
                }
            };
            if depth >= MAX_DEPTH {
                return Err(JsonError::TooDeep(self.at));
            }
            self.at += 1;
            depth += 1;
            objects = objects << 1 | u128::from(is_object);
            if self.consume(if is_object { b'}' } else { b']' }) {
                objects >>= 1;
                depth -= 1;
                if depth == 0 {
                    return Ok(());
                }
                if !self.next_member(&mut objects, &mut depth)? {
                    return Ok(());
                }
            } else if is_object {
                self.key()?;
            }
        }
    }

    /// Consumes closing brackets after a value, then the comma (and key) before the next value. Returns false if the
    /// outermost container was closed.
    #[inline]
    fn next_member(&mut self, objects: &mut u128, depth: &mut u32) -> Result<bool, JsonError> {
        loop {
            let in_object = *objects & 1 == 1;
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    if in_object {
                        self.key()?;
                    }
                    return Ok(true);
                }
                Some(b'}') if in_object => {}
                Some(b']') if !in_object => {}
                _ => return Err(self.syntax_error()),
            }
            self.at += 1;
            *objects >>= 1;
            *depth -= 1;
            if *depth == 0 {
                return Ok(false);
            }
        }
    }

    #[inline]
    fn scalar(&mut self) -> Result<(), JsonError> {
        match self.bytes.get(self.at) {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => Err(self.syntax_error()),
        }
    }

    fn literal(&mut self, literal: &[u8]) -> Result<(), JsonError> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(literal) {
            self.at += literal.len();
            return Ok(());
        }
        Err(if literal.starts_with(rest) { JsonError::Truncated(self.bytes.len()) } else { self.syntax_error() })
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.at += usize::from(self.bytes[self.at] == b'-');
        let first = self.bytes.get(self.at).copied();
        let digits = self.digits()?;
        if first == Some(b'0') && digits > 1 {
            return Err(JsonError::Unexpected(self.at - digits + 1));
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<usize, JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax_error()) } else { Ok(self.at - start) }
    }

    #[inline]
    fn string(&mut self) -> Result<bool, JsonError> {
        self.at += 1;
        let mut is_escaped = false;
        loop {
            self.at = string_stop(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(is_escaped);
                }
                Some(b'\\') => {
                    self.escape()?;
                    is_escaped = true;
                }
                _ => return Err(self.syntax_error()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let start = self.at;
                let unit = self.unit(start)?;
                self.at += 6;
                // Half of a surrogate pair is not a character: a destination may reject it, and the whole batch with
                // it.
                let paired = match unit {
                    0xd800..=0xdbff if self.bytes.get(self.at..self.at + 2) == Some(br"\u") => {
                        let low = self.unit(self.at)?;
                        self.at += 6;
                        (0xdc00..=0xdfff).contains(&low)
                    }
                    0xd800..=0xdfff => false,
                    _ => true,
                };
                if paired { Ok(()) } else { Err(JsonError::Unexpected(start)) }
            }
            None => Err(JsonError::Truncated(self.bytes.len())),
            Some(_) => Err(JsonError::Unexpected(self.at)),
        }
    }

    fn unit(&self, at: usize) -> Result<u32, JsonError> {
        let digits = self.bytes.get(at + 2..at + 6).ok_or(JsonError::Truncated(self.bytes.len()))?;
        digits.iter().try_fold(0, |unit, &byte| {
            let digit = char::from(byte).to_digit(16).ok_or(JsonError::Unexpected(at))?;
            Ok(unit << 4 | digit)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &str) -> bool {
        let mut reader = Reader::new(text);
        reader.value().and_then(|_| reader.end()).is_ok()
    }

    #[test]
    fn the_grammar_is_that_of_serde_json() {
        for text in [
            "",
            " ",
            "1",
            "-0",
            "-",
            "01",
            "1.",
            "1.5e3",
            "1e",
            "1E+2",
            ".5",
            "true",
            "tru",
            "nul",
            "nullx",
            "\"",
            "\"a\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u00e9\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ud83dx\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"\n\"",
            "[]",
            "[",
            "[1,]",
            "[1 2]",
            "[1]]",
            "{}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{\"a\":[}]",
            "[{]}",
            " {\"a\" : [ 1 , {} ] } ",
            "[[],[[]],{}]",
            "[[[]],1]",
            "{\"a\":{},\"b\":[{}]}",
            "abc",
            "<html>",
        ] {
            let expected = serde_json::from_str::<serde_json::Value>(text).is_ok();
            assert_eq!(accepts(text), expected, "{text:?}");
        }
    }

    #[test]
    fn depth_is_limited_and_costs_no_stack() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(accepts(&nested(MAX_DEPTH as usize)));
        let mut reader = Reader::new("");
        let deep = nested(1_000_000);
        reader.text = &deep;
        reader.bytes = deep.as_bytes();
        assert_eq!(reader.value(), Err(JsonError::TooDeep(MAX_DEPTH as usize)));
        assert_eq!(crate::value_end(deep.as_bytes(), 0), Some(deep.len()));
    }

    #[test]
    fn truncation_is_distinguished_from_other_errors() {
        for text in ["{\"a\":\"b", "[1", "tr", "\"\\u00", "{\"a\"", "-"] {
            let error = Reader::new(text).value().unwrap_err();
            assert!(matches!(error, JsonError::Truncated(_)), "{text}: {error}");
        }
    }

    proptest! {
        /// With an expected key, a reader comes to the same place as without one.
        #[test]
        fn an_expected_key_is_read_as_any_other(
            key in "[a-z]{0,20}", expected in "[a-z]{0,20}", is_same in any::<bool>(), space in "[ ]{0,1}", end in "[:}]{0,1}",
        ) {
            let expected = if is_same { &key } else { &expected };
            let text = format!("\"{key}\"{space}{end}");
            let mut one = Reader::new(&text);
            let mut other = Reader::new(&text);
            match one.consume_key(expected) {
                Some(read) => {
                    prop_assert_eq!((read, expected), (key.as_str(), &key));
                    prop_assert_eq!(other.key(), Ok((read, false)));
                    prop_assert_eq!(one.at, other.at);
                }
                None => prop_assert!(one.at == 0 && (key != *expected || !space.is_empty() || end != ":")),
            }
        }

        #[test]
        fn any_text_is_accepted_as_by_serde_json(text in r#"[\[\]{}",:\\u0-9a-e\. -]{0,24}"#) {
            let expected = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            // serde_json rejects numbers beyond f64. They are valid JSON and are kept as they are here.
            prop_assert!(accepts(&text) == expected || text.contains('e'), "{}", text);
        }
    }
}
