//! The facts of a record that was not read: it is broken or truncated, or no schema maps it. Values are found by their
//! keys, up to the end of the record.

use std::borrow::Cow;

use s1_forwarder_record::{Level, Owner, Path, SeverityKeys, Stream, Timestamp, Value, facts};

use crate::common::severity::Severity;

/// The known facts of a record that cannot be mapped. The record is read without checking the grammar, up to the place
/// where it is broken.
#[derive(Debug, Default)]
pub struct UnreadFacts {
    pub id: Option<String>,
    pub time: Option<Timestamp>,
    pub severity: Option<Severity>,
}

impl UnreadFacts {
    pub fn of(stream: Stream, record: &[u8]) -> Self {
        let facts = facts(stream, record);
        Self {
            id: Some(facts.id.into_owned()).filter(|id| !id.is_empty()),
            time: facts.time.or(facts.created),
            severity: severity(stream, Value::new(String::from_utf8_lossy(record).trim())),
        }
    }
}

/// The value that identifies an account, a site or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerField {
    Id,
    Name,
}

/// Returns the id or the name of the account, the site or the group that a record belongs to.
pub fn owner<'a>(stream: Stream, record: Value<'a>, level: Level, field: OwnerField) -> Option<Cow<'a, str>> {
    let (word, id, name) = match level {
        Level::Account => ("account", "accountId", "accountName"),
        Level::Site => ("site", "siteId", "siteName"),
        Level::Group => ("group", "groupId", "groupName"),
    };
    let (flat, own) = if field == OwnerField::Id { (id, "id") } else { (name, "name") };
    let places = stream.description().owners.iter().filter_map(|owner| match *owner {
        Owner::Itself(own_level) => (own_level == level).then(|| record.get(own)),
        Owner::Flat(path) => Some(at(record, path).get(flat)),
        Owner::Nested(path) => Some(at(record, path).get(word).get(own)),
    });
    places.filter_map(Value::text).find(|text| !text.trim().is_empty())
}

fn at<'a>(record: Value<'a>, path: Path) -> Value<'a> {
    path.iter().fold(record, |value, key| value.get(key))
}

/// Returns the severity of a detection. Other records have no severity.
fn severity(stream: Stream, record: Value<'_>) -> Option<Severity> {
    match stream.description().severity {
        SeverityKeys::Nowhere => None,
        SeverityKeys::Word(path) => Severity::of_value(at(record, path)),
        SeverityKeys::Confidence { level, classification } => {
            Severity::of_confidence(at(record, level), at(record, classification))
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
        let known = UnreadFacts::of(Stream::Threats, threat);
        let time = Timestamp::parse("2026-11-26T20:00:00Z").ok();
        assert_eq!((known.id.as_deref(), known.time, known.severity), (Some("7"), time, Some(Severity::Critical)));
        let alert =
            br#"{"ruleInfo":{"severity":"High"},"alertInfo":{"alertId":"8","createdAt":"2026-11-26T20:00:00Z"},x"#;
        let known = UnreadFacts::of(Stream::Alerts, alert);
        assert_eq!((known.id.as_deref(), known.time, known.severity), (Some("8"), time, Some(Severity::High)));
        let known = UnreadFacts::of(Stream::UnifiedAlerts, br#"{"severity":"MEDIUM","id":"u",]"#);
        assert_eq!((known.id.as_deref(), known.time, known.severity), (Some("u"), None, Some(Severity::Medium)));
        let known = UnreadFacts::of(Stream::Threats, b"nonsense");
        assert_eq!((known.id, known.time, known.severity), (None, None, None));
    }
}
