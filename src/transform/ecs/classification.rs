//! What kind of threat the console says it is → `event.category`.

use crate::record::Escaped;

/// A word of the console as look-up tables spell it: trimmed, lower case, blanks and hyphens as underscores.
pub(super) fn normal(word: &str) -> String {
    word.trim().chars().map(|c| if c == ' ' || c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// The categories of a classification. Every class is malware, known or not; these three are also what an intrusion
/// detection system reports. (`threat` is for indicator feeds, not for detections on a host.)
pub(super) fn categories(classification: Option<Escaped<'_>>) -> &'static [&'static str] {
    match classification.map(|text| normal(&text.decode())).as_deref() {
        Some("exploit" | "lateral_movement" | "network") => &["malware", "intrusion_detection"],
        _ => &["malware"],
    }
}
