use super::json;
use super::value::{Kind, Value};

/// Walks a value of a record once, however deep: [`Value::elements`] and [`Value::entries`] pass over what is inside an
/// element before they give it out, so nesting them reads the inner parts again and again. The value must be JSON.
#[derive(Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `value`.
    pub fn new(value: Value<'a>) -> Self {
        Self { text: value.raw(), at: 0 }
    }

    /// Passes the next value and gives it.
    pub fn value(&mut self) -> Value<'a> {
        self.space();
        let start = self.at;
        // A cursor that cannot go on is at its end: it must not stand still.
        self.at = json::value_end(self.text.as_bytes(), start).filter(|end| *end > start).unwrap_or(self.text.len());
        Value::new(self.text.get(start..self.at).unwrap_or_default())
    }

    /// Calls `visit` for each element of the list that comes next; it must pass the element. Another value is passed.
    pub fn each_element(&mut self, mut visit: impl FnMut(&mut Self)) {
        if !self.open(b'[') {
            return;
        }
        while self.next(b']') {
            visit(self);
        }
    }

    /// Calls `visit` with each key (escapes as received) of the object that comes next; it must pass the value. Another
    /// value is passed.
    pub fn each_entry(&mut self, mut visit: impl FnMut(&mut Self, &'a str)) {
        if !self.open(b'{') {
            return;
        }
        while self.next(b'}') {
            let key = self.value();
            self.space();
            self.at += usize::from(self.byte() == Some(b':'));
            let inner = if key.kind() == Kind::String { key.raw().get(1..key.raw().len() - 1) } else { None };
            visit(self, inner.unwrap_or_default());
        }
    }

    fn open(&mut self, bracket: u8) -> bool {
        self.space();
        if self.byte() == Some(bracket) {
            self.at += 1;
            return true;
        }
        self.value();
        false
    }

    /// Before another element or entry; else behind the closing bracket.
    fn next(&mut self, close: u8) -> bool {
        loop {
            self.space();
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

    fn space(&mut self) {
        self.at = json::skip_space(self.text.as_bytes(), self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        let mut cursor = Cursor::new(Value::new(text));
        cursor.each_element(|cursor| {
            cursor.each_entry(|cursor, key| match key {
                "list" => cursor.each_element(|cursor| seen.push(cursor.value().raw().to_owned())),
                _ => seen.push(format!("{key}={}", cursor.value().raw())),
            });
        });
        seen
    }

    #[test]
    fn nested_parts_are_walked_once_and_other_shapes_passed() {
        let text = r#"[ {"a" : "]", "list":[1 , {"x":[2]}],"b":null}, 7, {"list":{"y":1},"c":[]} , [] ]"#;
        assert_eq!(walk(text), ["a=\"]\"", "1", r#"{"x":[2]}"#, "b=null", "c=[]"]);
        assert_eq!(walk(r#"{"a":1}"#), Vec::<String>::new());
        assert_eq!(walk(""), Vec::<String>::new());
    }

    #[test]
    fn what_is_cut_off_ends_the_walk() {
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
            walk(text);
        }
    }
}
