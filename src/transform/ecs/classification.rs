//! `event.category` from the console's classification of a threat.

use crate::record::{Escaped, Value};

/// A normalised word for table lookups: trimmed, in lower case, with underscores for spaces and hyphens. "" for a text
/// that is not ASCII or longer than all words of the tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    bytes: [u8; 48],
    length: usize,
}

impl Word {
    pub fn of(text: Escaped<'_>) -> Self {
        let text = text.raw().trim().as_bytes();
        let mut word = Self { bytes: [0; 48], length: 0 };
        if text.len() <= word.bytes.len() && text.is_ascii() {
            for (target, byte) in word.bytes.iter_mut().zip(text) {
                *target = if matches!(byte, b' ' | b'-') { b'_' } else { byte.to_ascii_lowercase() };
            }
            word.length = text.len();
        }
        word
    }

    /// The word of a scalar; "" for other values.
    pub fn of_value(value: Value<'_>) -> Self {
        Self::of(value.escaped().unwrap_or(Escaped::plain("")))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// With hyphens instead of underscores.
    pub fn hyphenated(mut self) -> Self {
        for byte in self.bytes.iter_mut().filter(|byte| **byte == b'_') {
            *byte = b'-';
        }
        self
    }

    /// Whether the word of `value` is `word`.
    pub fn is(value: Value<'_>, word: &str) -> bool {
        Self::of_value(value).as_str() == word
    }
}

/// The categories of a classification. All classes are malware; three are also typical of an intrusion detection
/// system. ECS uses the category `threat` for indicator feeds, not for detections on a host.
pub(super) fn categories(classification: Value<'_>) -> &'static [&'static str] {
    match Word::of_value(classification).as_str() {
        "exploit" | "lateral_movement" | "network" => &["malware", "intrusion_detection"],
        _ => &["malware"],
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
        assert_eq!(word("é"), "");
        assert_eq!(word(&"x".repeat(49)), "");
        assert!(Word::is(Value::new("\"N/A\""), "n/a") && !Word::is(Value::new("null"), "null"));
    }
}
