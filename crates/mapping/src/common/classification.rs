//! Reads categories and outcomes from the console's words for a detection.

use s1_forwarder_record::Value;

use super::category::Category;
use super::words::Words;

const MALWARE: &[Category] = &[Category::Malware];
const INTRUSION: &[Category] = &[Category::Intrusion];
const MALWARE_INTRUSION: &[Category] = &[Category::Malware, Category::Intrusion];

/// The categories of a classification, in all streams. A detection by a person or a custom rule, and a benign
/// detection, say nothing about malware.
pub const CATEGORIES: Words<&[Category]> = Words {
    field: "event.category",
    rows: &[
        ("exploit", MALWARE_INTRUSION),
        ("lateral_movement", MALWARE_INTRUSION),
        ("network", MALWARE_INTRUSION),
        ("manual", INTRUSION),
        ("benign", INTRUSION),
        ("command_and_control", INTRUSION),
        ("enumeration", INTRUSION),
        ("phishing", &[Category::Email, Category::Intrusion]),
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
        ("malicious_*", MALWARE),
        ("adware", MALWARE),
        ("bot", MALWARE),
        ("bootkit", MALWARE),
        ("ddos", MALWARE),
        ("exploit_kit", MALWARE),
        ("hack_tool", MALWARE),
        ("infostealer", MALWARE),
        ("pup", MALWARE),
        ("rat", MALWARE),
        ("remote_access_trojan", MALWARE),
        ("webshell", MALWARE),
        ("web_shell", MALWARE),
        ("wiper", MALWARE),
    ],
};

/// Returns the categories of a classification; `None` for a word that is not in the table.
pub fn known_categories(classification: Value<'_>) -> Option<&'static [Category]> {
    CATEGORIES.of(classification)
}

/// Returns the categories of a threat. Without a known classification, a threat is malware.
pub fn categories(classification: Value<'_>) -> &'static [Category] {
    known_categories(classification).unwrap_or(MALWARE)
}

/// The outcome of a detection, in all streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Mitigated,
    /// The threat was stopped before it ran.
    Blocked,
    Benign,
    Active,
}

pub const OUTCOMES: Words<Outcome> = Words {
    field: "event.outcome",
    rows: &[
        ("mitigated", Outcome::Mitigated),
        ("blocked", Outcome::Blocked),
        ("marked_as_benign", Outcome::Benign),
        ("benign", Outcome::Benign),
        ("not_mitigated", Outcome::Active),
        ("unmitigated", Outcome::Active),
        ("active", Outcome::Active),
    ],
};

/// The success or failure of the action that an event describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventOutcome {
    Success,
    Failure,
    Unknown,
}

impl EventOutcome {
    /// Reads a cell of the table of activity types.
    pub fn of_cell(cell: &str) -> Option<Self> {
        match cell {
            "success" => Some(Self::Success),
            "failure" => Some(Self::Failure),
            "unknown" => Some(Self::Unknown),
            _ => None,
        }
    }
}
