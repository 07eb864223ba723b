use s1_forwarder_record::{Escaped, Value};

use super::word::Word;

/// The severity scale of all streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// The value of `event.severity`: the scale that Elastic Security uses for its rules.
    pub fn score(self) -> &'static str {
        match self {
            Self::Informational | Self::Low => "21",
            Self::Medium => "47",
            Self::High => "73",
            Self::Critical => "99",
        }
    }

    /// The value of `sentinel_one.<stream>.severity`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The spelling of vulnerability databases.
    pub fn capitalised(self) -> &'static str {
        match self {
            Self::Informational => "Informational",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        }
    }

    /// From `severity_id` of the table of activity types.
    pub fn of_id(id: u8) -> Self {
        match id {
            0 | 1 => Self::Informational,
            2 => Self::Low,
            3 => Self::Medium,
            4 => Self::High,
            _ => Self::Critical,
        }
    }

    /// From the confidence of a detection, in all streams: malicious is high, and critical if it is ransomware or still
    /// active. `None` for other words.
    pub fn of_confidence(confidence: Value<'_>, classification: Value<'_>, is_active: bool) -> Option<Self> {
        match Word::of_value(confidence).as_str() {
            "malicious" if is_active || Word::is(classification, "ransomware") => Some(Self::Critical),
            "malicious" => Some(Self::High),
            "suspicious" => Some(Self::Medium),
            _ => None,
        }
    }

    /// As [`Self::of_word`], from a value.
    pub fn of_value(value: Value<'_>) -> Option<Self> {
        value.escaped().and_then(Self::of_word)
    }

    /// From the severity of a custom rule (`Low`) or of its hit (`E_LOW`).
    pub fn of_word(word: Escaped<'_>) -> Option<Self> {
        let word = word.raw().to_ascii_lowercase();
        match word.strip_prefix("e_").unwrap_or(&word) {
            "info" | "informational" | "unknown" => Some(Self::Informational),
            "low" => Some(Self::Low),
            "medium" => Some(Self::Medium),
            "high" => Some(Self::High),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }
}
