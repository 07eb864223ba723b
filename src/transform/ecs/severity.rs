use crate::record::Escaped;

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
