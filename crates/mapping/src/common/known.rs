//! What is known of a record that cannot be mapped.

use s1_forwarder_record::{Stream, Timestamp, Value, facts};

use super::severity::Severity;
use crate::streams::unread::severity;

/// Read without checking the grammar: as much as stands before the place where a record is broken.
#[derive(Debug, Default)]
pub struct Known {
    pub id: Option<String>,
    pub time: Option<Timestamp>,
    pub severity: Option<Severity>,
}

impl Known {
    pub fn of(stream: Stream, record: &[u8]) -> Self {
        let facts = facts(stream, record);
        Self {
            id: Some(facts.id.into_owned()).filter(|id| !id.is_empty()),
            time: facts.time.or(facts.created),
            severity: severity(stream, Value::new(String::from_utf8_lossy(record).trim())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_the_break_is_known() {
        let threat = br#"{"id":"7","threatInfo":{"confidenceLevel":"malicious","classification":"Ransomware",
            "updatedAt":"2026-11-26T20:00:00Z","analystVerdict":"undefined"},"agent":[}"#;
        let known = Known::of(Stream::Threats, threat);
        let time = Timestamp::parse("2026-11-26T20:00:00Z").ok();
        assert_eq!((known.id.as_deref(), known.time, known.severity), (Some("7"), time, Some(Severity::Critical)));
        let alert =
            br#"{"ruleInfo":{"severity":"High"},"alertInfo":{"alertId":"8","createdAt":"2026-11-26T20:00:00Z"},x"#;
        let known = Known::of(Stream::Alerts, alert);
        assert_eq!((known.id.as_deref(), known.time, known.severity), (Some("8"), time, Some(Severity::High)));
        let known = Known::of(Stream::UnifiedAlerts, br#"{"severity":"MEDIUM","id":"u",]"#);
        assert_eq!((known.id.as_deref(), known.time, known.severity), (Some("u"), None, Some(Severity::Medium)));
        let known = Known::of(Stream::Threats, b"nonsense");
        assert_eq!((known.id, known.time, known.severity), (None, None, None));
    }
}
