//! Reads a JSON value in one pass.

use super::scan;
use super::value::{Kind, Value};

/// Reads a value in a single pass, at any depth. [`Value::elements`] and [`Value::entries`] scan each element before
/// they return it, so nested iteration scans inner parts several times. The value must be valid JSON.
#[derive(Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(value: Value<'a>) -> Self {
        Self { text: value.raw(), at: 0 }
    }

    /// Returns the next value and moves after it.
    pub fn value(&mut self) -> Value<'a> {
        self.skip_space();
        let start = self.at;
        // Invalid JSON moves the cursor to the end, so that a loop over it terminates.
        self.at = scan::value_end(self.text.as_bytes(), start).filter(|end| *end > start).unwrap_or(self.text.len());
        Value::new(self.text.get(start..self.at).unwrap_or_default())
    }

    /// Calls `visit` for each element if the next value is a list; `visit` must read the element. Skips any other
    /// value.
    pub fn each_element(&mut self, mut visit: impl FnMut(&mut Self)) {
        if !self.open(b'[') {
            return;
        }
        while self.next(b']') {
            visit(self);
        }
    }

    /// Calls `visit` with each key (escapes as received) if the next value is an object; `visit` must read the value.
    /// Skips any other value.
    pub fn each_entry(&mut self, mut visit: impl FnMut(&mut Self, &'a str)) {
        if !self.open(b'{') {
            return;
        }
        while self.next(b'}') {
            let key = self.value();
            self.skip_space();
            self.at += usize::from(self.byte() == Some(b':'));
            let inner = if key.kind() == Kind::String { key.raw().get(1..key.raw().len() - 1) } else { None };
            visit(self, inner.unwrap_or_default());
        }
    }

    fn open(&mut self, bracket: u8) -> bool {
        self.skip_space();
        if self.byte() == Some(bracket) {
            self.at += 1;
            return true;
        }
        self.value();
        false
    }

    /// Moves to the next element or entry and returns true, or moves after the closing bracket.
    fn next(&mut self, close: u8) -> bool {
        loop {
            self.skip_space();
            match self.byte() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => {
                    self.at += 1;
                    return false;
                }
                Some(_) => return true,
                None => return false,
            }
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        self.at = scan::skip_space(self.text.as_bytes(), self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let mut values = Vec::new();
        let mut cursor = Cursor::new(Value::new(text));
        cursor.each_element(|cursor| {
            cursor.each_entry(|cursor, key| match key {
                "list" => cursor.each_element(|cursor| values.push(cursor.value().raw().to_owned())),
                _ => values.push(format!("{key}={}", cursor.value().raw())),
            });
        });
        values
    }

    #[test]
    fn nested_values_are_read_and_other_shapes_are_skipped() {
        let text = r#"[ {"a" : "]", "list":[1 , {"x":[2]}],"b":null}, 7, {"list":{"y":1},"c":[]} , [] ]"#;
        assert_eq!(read(text), ["a=\"]\"", "1", r#"{"x":[2]}"#, "b=null", "c=[]"]);
        assert_eq!(read(r#"{"a":1}"#), Vec::<String>::new());
        assert_eq!(read(""), Vec::<String>::new());
    }

    #[test]
    fn truncated_json_ends_the_loop() {
        for text in [
            "[",
            "[{",
            "[{\"a",
            "[{\"a\"",
            "[{\"a\":",
            "[{\"list\":[",
            "[{\"list\":[1,",
            "[}",
            "[{]",
            "[{\"a\":1]",
            "[:",
        ] {
            read(text);
        }
    }
}
