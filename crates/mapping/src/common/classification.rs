//! `event.category` and `event.outcome` from the console's words for a detection.

use s1_forwarder_record::{Escaped, Value};

use crate::words::Words;

/// A normalised word for table lookups: trimmed, in lower case, with underscores for spaces and hyphens. "" for a text
/// that is not ASCII or longer than all words of the tables.
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

    /// Only the alphanumeric characters.
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

    /// Whether the word of `value` is `word`.
    pub fn is(value: Value<'_>, word: &str) -> bool {
        Self::of_value(value).as_str() == word
    }
}

const MALWARE: &[&str] = &["malware"];
const INTRUSION: &[&str] = &["intrusion_detection"];
const MALWARE_INTRUSION: &[&str] = &["malware", "intrusion_detection"];

/// The categories of a classification, in all streams. ECS uses the category `threat` for indicator feeds, not for
/// detections on a host. A detection by a person or a custom rule, and a benign one, say nothing about malware.
pub const CATEGORIES: Words<&[&str]> = Words {
    field: "event.category",
    rows: &[
        ("exploit", MALWARE_INTRUSION),
        ("lateral_movement", MALWARE_INTRUSION),
        ("network", MALWARE_INTRUSION),
        ("manual", INTRUSION),
        ("benign", INTRUSION),
        ("command_and_control", INTRUSION),
        ("enumeration", INTRUSION),
        ("phishing", &["email", "intrusion_detection"]),
        ("malware", MALWARE),
        ("ransomware", MALWARE),
        ("trojan", MALWARE),
        ("worm", MALWARE),
        ("virus", MALWARE),
        ("rootkit", MALWARE),
        ("backdoor", MALWARE),
        ("downloader", MALWARE),
        ("dropper", MALWARE),
        ("spyware", MALWARE),
        ("keylogger", MALWARE),
        ("info_stealer", MALWARE),
        ("coinminer", MALWARE),
        ("cryptominer", MALWARE),
        ("miner", MALWARE),
        ("dialer", MALWARE),
        ("rogue", MALWARE),
        ("toolbar", MALWARE),
        ("pua", MALWARE),
        ("packed", MALWARE),
        ("linux_malware", MALWARE),
        ("generic_heuristic", MALWARE),
        ("hacktool", MALWARE),
        ("interactive_shell", MALWARE),
        ("remote_shell", MALWARE),
        ("browser", MALWARE),
        ("application_control", MALWARE),
    ],
};

/// The categories of a classification; `None` for a word that is not in the table.
pub fn known_categories(classification: Value<'_>) -> Option<&'static [&'static str]> {
    let word = Word::of_value(classification);
    let is_malicious = word.as_str().starts_with("malicious_");
    CATEGORIES.find(word.as_str()).or(is_malicious.then_some(MALWARE))
}

/// The categories of a threat: without a known classification it is malware.
pub fn categories(classification: Value<'_>) -> &'static [&'static str] {
    known_categories(classification).unwrap_or(&["malware"])
}

/// `event.outcome` of a detection: what became of it, in all streams.
pub fn outcome(mitigation: &str, failed: Option<bool>) -> &'static str {
    match mitigation {
        "mitigated" | "marked_as_benign" | "benign" | "blocked" => "success",
        "not_mitigated" | "unmitigated" | "active" if failed == Some(true) => "failure",
        _ => "unknown",
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
        assert_eq!(Word::of(Escaped::plain("Process Creation-2")).joined().as_str(), "processcreation2");
        assert!(Word::is(Value::new("\"N/A\""), "n/a") && !Word::is(Value::new("null"), "null"));
    }
}
