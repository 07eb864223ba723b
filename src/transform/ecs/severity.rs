use super::event::Event;
use crate::record::{Escaped, Value};
use crate::transform::json::Names;

/// One scale for all streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Informational,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// `event.severity`: the steps that Elastic Security uses for its rules.
    pub fn score(self) -> &'static str {
        match self {
            Self::Informational | Self::Low => "21",
            Self::Medium => "47",
            Self::High => "73",
            Self::Critical => "99",
        }
    }

    /// `sentinel_one.<stream>.severity`
    pub fn word(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// As vulnerability databases spell it.
    pub fn capitalised(self) -> &'static str {
        match self {
            Self::Informational => "Informational",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        }
    }

    /// From the `severity_id` of the table of activities.
    pub fn of_id(id: u8) -> Self {
        match id {
            0 | 1 => Self::Informational,
            2 => Self::Low,
            3 => Self::Medium,
            4 => Self::High,
            _ => Self::Critical,
        }
    }

    /// From the words of custom rules (`Low`) and of their hits (`E_LOW`).
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

/// `severity` of the vendor object that is open, where the record has one of that name itself: what the console wrote stays
/// beside it when it is spelt otherwise.
pub(super) fn words(event: &mut Event<'_>, word: &str, own: Value<'_>) {
    event.json.text("severity", word);
    if own.text().is_none_or(|own| own != word) {
        event.json.value("original_severity", own, Names::Snake);
    }
}
