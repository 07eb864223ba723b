//! The places of the values in an activity about a unified alert. `/activities` has flat keys (`newStatus`);
//! ActivityFeed has objects (`payload.changes.new_status`), or their names in one key. A later key is one row here.

use std::ops::RangeInclusive;

use s1_forwarder_record::Value;

use crate::common::missing::is_set;

/// The types of activities about unified alerts.
pub const UNIFIED_ALERTS: RangeInclusive<u32> = 16000..=16008;

/// The paths of a value in `data`, in any case and with or without underscores.
#[derive(Debug)]
pub struct AlertKeys(&'static [&'static str]);

pub const ALERT_ID: AlertKeys = AlertKeys(&["alertId", "alert.id"]);
pub const ACTOR_ID: AlertKeys = AlertKeys(&["userId", "user.id"]);
pub const ACTOR_NAME: AlertKeys = AlertKeys(&["userName", "user.enrichedName"]);
pub const NEW_STATUS: AlertKeys = AlertKeys(&["newStatus", "payload.newStatus", "payload.changes.newStatus"]);
pub const NEW_VERDICT: AlertKeys =
    AlertKeys(&["newAnalystVerdict", "payload.newAnalystVerdict", "payload.changes.newAnalystVerdict"]);
pub const NEW_SEVERITY: AlertKeys = AlertKeys(&["newSeverity", "payload.newSeverity", "payload.changes.newSeverity"]);
pub const NEW_ASSIGNEE_ID: AlertKeys =
    AlertKeys(&["newAssigneeId", "payload.newAssigneeId", "payload.changes.newAssigneeId"]);
pub const NEW_ASSIGNEE_EMAIL: AlertKeys =
    AlertKeys(&["newAssigneeEmail", "payload.newAssigneeEmail", "payload.changes.newAssigneeEmail"]);
pub const OLD_ASSIGNEE_EMAIL: AlertKeys =
    AlertKeys(&["oldAssigneeEmail", "payload.oldAssigneeEmail", "payload.changes.oldAssigneeEmail"]);
pub const NOTE: AlertKeys = AlertKeys(&["noteText", "payload.noteText", "payload.changes.noteText"]);

impl AlertKeys {
    /// Returns the first value in `data` that is not a placeholder.
    pub fn find<'a>(&self, data: Value<'a>) -> Value<'a> {
        self.0.iter().map(|path| at(data, path, is_set)).find(|value| is_set(*value)).unwrap_or_default()
    }

    /// Returns the first value in `data` that is not a placeholder, else the first placeholder (`UNKNOWN`).
    pub fn find_word<'a>(&self, data: Value<'a>) -> Value<'a> {
        let mut word = Value::default();
        for path in self.0 {
            let found = at(data, path, |value| value.escaped().is_some_and(|text| !text.trim().raw().is_empty()));
            if is_set(found) {
                return found;
            }
            if word.is_empty() {
                word = found;
            }
        }
        word
    }
}

/// Returns the first value at a path below an object for which `is` returns true. A key may cover several steps of the
/// path.
fn at<'a>(object: Value<'a>, path: &str, is: fn(Value<'_>) -> bool) -> Value<'a> {
    let mut found = object.entries().filter_map(|(key, value)| match after(path, &key)? {
        "" => Some(value),
        rest => Some(at(value, rest.strip_prefix('.')?, is)),
    });
    found.find(|value| is(*value)).unwrap_or_default()
}

/// Returns the rest of a path that begins with a key.
fn after<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let mut rest = path;
    for byte in key.bytes().filter(|byte| *byte != b'_') {
        let (first, others) = rest.split_at_checked(1)?;
        rest = first.as_bytes().eq_ignore_ascii_case(&[byte]).then_some(others)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_whatever_the_spelling_and_the_objects() {
        let found = |data| NEW_STATUS.find(Value::new(data)).text().map(|text| text.into_owned());
        for data in [
            r#"{"newStatus":"A"}"#,
            r#"{"new_status":"A"}"#,
            r#"{"payload":{"changes":{"new_status":"A"}}}"#,
            r#"{"payload":{"changes.newStatus":"A"}}"#,
            r#"{"payload.changes":{"NEW_STATUS":"A"}}"#,
            r#"{"payload.changes.new_status":"A"}"#,
            r#"{"newStatus":null,"payload":{"new_status":"","changes":{"new_status":"A"}}}"#,
            r#"{"payload":null,"payload.changes":[],"payload.changes.new_status":"A"}"#,
        ] {
            assert_eq!(found(data).as_deref(), Some("A"), "{data}");
        }
        for data in [
            "{}",
            "[]",
            "null",
            r#""newStatus""#,
            r#"{"":{"newStatus":"A"}}"#,
            r#"{"newStatus":["A"],"payload":{"changes":[{"newStatus":"A"}]}}"#,
            r#"{"newStatuses":"A","payloads":{"newStatus":"A"},"newStatus.x":"A"}"#,
            r#"{"newStatüs":"A","é":"A"}"#,
        ] {
            assert_eq!(found(data), None, "{data}");
        }
    }
}
