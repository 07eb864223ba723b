use s1_forwarder_record::{Escaped, Value};

use super::placeholder::is_placeholder;
use crate::fnv::fnv1a;
use crate::json::Json;

/// Texts without duplicates, in one buffer that is reused for the next event.
#[derive(Debug, Clone, Default)]
pub struct TextSet {
    text: String,
    entries: Vec<(u64, usize)>,
}

impl TextSet {
    pub fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
    }

    /// Returns true if the text is new.
    pub fn add(&mut self, text: Escaped<'_>) -> bool {
        let text = text.raw();
        let fingerprint = fnv1a(text.as_bytes());
        let is_new = !text.is_empty() && !self.has(text, fingerprint);
        if is_new {
            self.text.push_str(text);
            self.entries.push((fingerprint, self.text.len()));
        }
        is_new
    }

    pub fn contains(&self, text: Escaped<'_>) -> bool {
        self.has(text.raw(), fnv1a(text.raw().as_bytes()))
    }

    fn has(&self, text: &str, fingerprint: u64) -> bool {
        self.entries.iter().enumerate().any(|(index, entry)| entry.0 == fingerprint && self.at(index) == text)
    }

    /// As [`TextSet::add`], without a result.
    pub fn insert(&mut self, text: Escaped<'_>) {
        self.add(text);
    }

    /// Adds the text of a scalar, unless it is a placeholder.
    pub fn add_value(&mut self, value: Value<'_>) {
        if let Some(text) = value.escaped().filter(|text| !is_placeholder(*text)) {
            self.add(text);
        }
    }

    /// For hashes, which are compared in lower case.
    pub fn add_lower_case(&mut self, text: Escaped<'_>) {
        if text.raw().bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.add(Escaped::plain(&text.raw().to_ascii_lowercase()));
        } else {
            self.add(text);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Writes a list, unless it is empty.
    pub fn write(&self, json: &mut Json<'_>, name: &str) {
        let list = json.open_list(name);
        self.iter().for_each(|text| json.element(text));
        json.close(list);
    }

    pub fn iter(&self) -> impl Iterator<Item = Escaped<'_>> {
        (0..self.entries.len()).map(|index| Escaped::plain(self.at(index)))
    }

    fn at(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].1);
        &self.text[start..self.entries[index].1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_left_out_and_the_order_is_kept() {
        let mut set = TextSet::default();
        for text in ["b", "a", "b", "", "ab", "a"] {
            set.add(Escaped::plain(text));
        }
        set.add_lower_case(Escaped::plain("AB"));
        assert_eq!(set.iter().map(Escaped::raw).collect::<Vec<_>>(), ["b", "a", "ab"]);
        set.clear();
        assert_eq!(set.iter().count(), 0);
    }
}
