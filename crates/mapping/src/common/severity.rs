//! The severities of all streams, and the console's words for them.

use s1_forwarder_record::Value;

use super::word::Word;
use super::words::Words;

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
    /// Returns the severity in the spelling of vulnerability databases.
    pub fn capitalised(self) -> &'static str {
        match self {
            Self::Informational => "Informational",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        }
    }

    /// Reads `severity_id` of the table of activity types.
    pub fn of_id(id: u8) -> Self {
        match id {
            0 | 1 => Self::Informational,
            2 => Self::Low,
            3 => Self::Medium,
            4 => Self::High,
            _ => Self::Critical,
        }
    }

    /// Returns the severity for the confidence of a detection, in all streams. Malicious ransomware is critical. `None`
    /// for words that [`BY_CONFIDENCE`] does not have.
    pub fn of_confidence(confidence: Value<'_>, classification: Value<'_>) -> Option<Self> {
        let severity = BY_CONFIDENCE.of(confidence)?;
        let is_critical = severity == Self::High && Word::is(classification, "ransomware");
        Some(if is_critical { Self::Critical } else { severity })
    }

    /// Reads the severity of a custom rule (`Low`) or of its hit (`E_LOW`).
    pub fn of_value(value: Value<'_>) -> Option<Self> {
        let word = Word::of_value(value);
        SEVERITIES.find(word.as_str().strip_prefix("e_").unwrap_or(word.as_str()))
    }
}

pub const SEVERITIES: Words<Severity> = Words {
    field: "event.severity",
    rows: &[
        ("info", Severity::Informational),
        ("informational", Severity::Informational),
        ("low", Severity::Low),
        ("medium", Severity::Medium),
        ("high", Severity::High),
        ("critical", Severity::Critical),
    ],
};

/// Prints the severity of a confidence in the words of a schema, for the manual.
pub fn print_confidence(severity: Severity, print: impl Fn(Severity) -> String) -> String {
    let text = print(severity) + " (confidence)";
    match severity {
        Severity::High => format!("{text}, {} if it is ransomware", print(Severity::Critical)),
        _ => text,
    }
}

/// Severities by the confidence of a detection.
pub const BY_CONFIDENCE: Words<Severity> = Words {
    field: "event.severity",
    rows: &[
        ("malicious", Severity::High),
        ("suspicious", Severity::Medium),
        ("informational", Severity::Informational),
    ],
};
