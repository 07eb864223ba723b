//! The console's words in one normal form.

use s1_forwarder_record::{Escaped, Value};

use super::missing::trimmed;

/// A normalised word for table lookups: trimmed, in lower case, with one underscore for consecutive spaces and hyphens.
/// It is "" for a text that is not ASCII, or longer than all words of the tables.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    bytes: [u8; 48],
    length: usize,
}

impl Word {
    pub fn of(text: Escaped<'_>) -> Self {
        let text = text.raw().trim().as_bytes();
        let mut word = Self { bytes: [0; 48], length: 0 };
        if text.len() <= word.bytes.len() && text.is_ascii() {
            let mut is_after_separator = false;
            for byte in text {
                let is_separator = matches!(byte, b' ' | b'-');
                if is_separator && is_after_separator {
                    continue;
                }
                is_after_separator = is_separator;
                word.bytes[word.length] = if is_separator { b'_' } else { byte.to_ascii_lowercase() };
                word.length += 1;
            }
        }
        word
    }

    /// Returns the word of a scalar; "" for other values.
    pub fn of_value(value: Value<'_>) -> Self {
        Self::of(value.escaped().unwrap_or(Escaped::plain("")))
    }

    /// Returns the word of a scalar; "" for placeholders and other values.
    pub fn of_set(value: Value<'_>) -> Self {
        Self::of(trimmed(value).unwrap_or(Escaped::plain("")))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// Returns the word with hyphens instead of underscores.
    pub fn hyphenated(mut self) -> Self {
        for byte in self.bytes.iter_mut().filter(|byte| **byte == b'_') {
            *byte = b'-';
        }
        self
    }

    /// Returns only the alphanumeric characters.
    pub fn joined(mut self) -> Self {
        let mut length = 0;
        for index in 0..self.length {
            if self.bytes[index].is_ascii_alphanumeric() {
                self.bytes[length] = self.bytes[index];
                length += 1;
            }
        }
        self.length = length;
        self
    }

    /// Returns whether this word ends in one of these words.
    pub fn ends_in(&self, words: &[&str]) -> bool {
        let is_last = |rest: &str| rest.is_empty() || rest.ends_with('_');
        words.iter().any(|last| self.as_str().strip_suffix(last).is_some_and(is_last))
    }

    /// Returns whether the word of `value` is `word`.
    pub fn is(value: Value<'_>, word: &str) -> bool {
        Self::of_value(value).as_str() == word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_normalised() {
        let word = |text| Word::of(Escaped::plain(text)).as_str().to_owned();
        assert_eq!(word(" Lateral-Movement "), "lateral_movement");
        assert_eq!(word("64 bit"), "64_bit");
        assert_eq!(word("True positive - Benign"), "true_positive_benign");
        assert_eq!(word("a -- b__c_ d-"), "a_b__c__d_");
        assert_eq!(word("é"), "");
        assert_eq!(word(&"x".repeat(49)), "");
        assert_eq!(Word::of(Escaped::plain("Process Creation-2")).joined().as_str(), "processcreation2");
        let ends_in = |text, last| Word::of(Escaped::plain(text)).ends_in(&[last]);
        assert!(ends_in("Set", "set") && ends_in("Scale Set", "set") && !ends_in("Asset", "set"));
        assert!(Word::is(Value::new("\"N/A\""), "n/a") && !Word::is(Value::new("null"), "null"));
    }
}
