//! A set of texts in one buffer, which is reused for the next event.

use std::collections::HashSet;

use s1_forwarder_record::{Escaped, Value};

use super::missing::is_missing_word;
use crate::fnv::fnv1a;
use crate::json::Json;

/// Maximum number of texts that are compared one by one. Nearly all sets have fewer.
const MAX_SEARCHED: usize = 16;

/// Texts without duplicates, in one buffer that is reused for the next event.
#[derive(Debug, Clone, Default)]
pub struct TextSet {
    text: String,
    entries: Vec<(u64, usize)>,
    /// Set once there are more than `MAX_SEARCHED` texts.
    many: Option<HashSet<Box<str>>>,
}

impl TextSet {
    pub fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
        self.many = None;
    }

    /// Adds a text, unless it is empty. Returns whether it is new.
    pub fn add(&mut self, text: Escaped<'_>) -> bool {
        let text = text.raw();
        let fingerprint = fnv1a(text.as_bytes());
        let is_new = !text.is_empty() && !self.has(text, fingerprint);
        if is_new {
            self.text.push_str(text);
            self.entries.push((fingerprint, self.text.len()));
            if self.entries.len() > MAX_SEARCHED {
                self.add_to_many(text);
            }
        }
        is_new
    }

    pub fn contains(&self, text: Escaped<'_>) -> bool {
        self.has(text.raw(), fnv1a(text.raw().as_bytes()))
    }

    #[cold]
    fn add_to_many(&mut self, text: &str) {
        if let Some(many) = &mut self.many {
            many.insert(text.into());
        } else {
            self.many = Some(self.iter().map(|text| text.raw().into()).collect());
        }
    }

    fn has(&self, text: &str, fingerprint: u64) -> bool {
        match &self.many {
            None => {
                self.entries.iter().enumerate().any(|(index, entry)| entry.0 == fingerprint && self.at(index) == text)
            }
            // An attacker can give any number of texts the same fingerprint.
            Some(many) => many.contains(text),
        }
    }

    /// Adds a text as [`TextSet::add`] does, without a result.
    pub fn insert(&mut self, text: Escaped<'_>) {
        self.add(text);
    }

    /// Adds the text of a scalar, unless it is a placeholder.
    pub fn add_value(&mut self, value: Value<'_>) {
        if let Some(text) = value.escaped().filter(|text| !is_missing_word(*text)) {
            self.add(text);
        }
    }

    /// Adds a text in lower case, such as a hash: hashes are compared in lower case.
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn any_number_of_texts_is_as_few(texts in prop::collection::vec("[a-f]{0,2}", 0..80)) {
            let mut set = TextSet::default();
            let mut expected: Vec<&str> = Vec::new();
            for text in &texts {
                let is_new = !text.is_empty() && !expected.contains(&text.as_str());
                prop_assert_eq!(set.add(Escaped::plain(text)), is_new);
                expected.extend(is_new.then_some(text.as_str()));
            }
            prop_assert!(expected.iter().all(|text| set.contains(Escaped::plain(text))));
            prop_assert_eq!(set.iter().map(Escaped::raw).collect::<Vec<_>>(), expected);
        }
    }
}
