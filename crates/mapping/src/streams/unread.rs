//! What a record says that was not read: one that is broken or cut off, or that no schema maps. Values are found by
//! their keys, as far as the record goes.

use std::borrow::Cow;

use s1_forwarder_record::{Level, Stream, Value};

use crate::common::severity::Severity;

/// What names an account, a site or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerField {
    Id,
    Name,
}

/// Id or name of the account, the site or the group that a record belongs to.
pub fn owner<'a>(stream: Stream, record: Value<'a>, level: Level, field: OwnerField) -> Option<Cow<'a, str>> {
    let (word, id, name) = match level {
        Level::Account => ("account", "accountId", "accountName"),
        Level::Site => ("site", "siteId", "siteName"),
        Level::Group => ("group", "groupId", "groupName"),
    };
    let (flat, own) = if field == OwnerField::Id { (id, "id") } else { (name, "name") };
    // A group is its own group.
    let at_top = if stream == Stream::Groups && level == Level::Group { own } else { flat };
    let places = [
        record.get(at_top),
        record.get("agentRealtimeInfo").get(flat),
        record.get("agentDetectionInfo").get(flat),
        record.get("realTime").get("scope").get(word).get(own),
        record.get("detectionTime").get("scope").get(flat),
        record.get("data").get(flat),
    ];
    places.into_iter().filter_map(Value::text).find(|text| !text.trim().is_empty())
}

/// The severity of a detection. Other records say nothing of theirs.
pub fn severity(stream: Stream, record: Value<'_>) -> Option<Severity> {
    match stream {
        Stream::Threats => {
            let info = record.get("threatInfo");
            Severity::of_confidence(info.get("confidenceLevel"), info.get("classification"), false)
        }
        Stream::Alerts => Severity::of_value(record.get("ruleInfo").get("severity")),
        Stream::UnifiedAlerts | Stream::Vulnerabilities => Severity::of_value(record.get("severity")),
        Stream::Activities | Stream::Agents | Stream::Groups => None,
    }
}
