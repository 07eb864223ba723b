//! The columns that Microsoft's data collection rules declare for SentinelOne, and rows of them. A column has the name
//! of the record's key. The rules drop what they do not declare.

use std::borrow::Cow;
use std::ops::ControlFlow;

use s1_forwarder_engine::sink::Event;
use s1_forwarder_record::{Stream, for_each_entry};

use crate::http::transport::framing::write_string;

/// The type of a column in a rule's stream declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    String,
    Datetime,
    Boolean,
    Real,
    Dynamic,
}

pub(super) type Column = (&'static str, Type);

/// Names that Microsoft's function reads in `data` of an activity, each with the name that consoles write.
const ALIASES: [(&str, &str); 2] = [("userName", "username"), ("rulename", "ruleName")];

/// Azure Monitor truncates a column above 64 KB without an error, and truncated JSON is none.
pub(super) const COLUMN_BYTES: usize = 60_000;

const ACTIVITIES: [Column; 22] = [
    ("agentUpdatedVersion", Type::String),
    ("userId", Type::String),
    ("threatId", Type::String),
    ("primaryDescription", Type::String),
    ("secondaryDescription", Type::String),
    ("id", Type::String),
    ("groupId", Type::String),
    ("createdAt", Type::Datetime),
    ("accountName", Type::String),
    ("data", Type::String),
    ("agentId", Type::String),
    ("hash", Type::String),
    ("updatedAt", Type::Datetime),
    ("description", Type::String),
    ("activityUuid", Type::String),
    ("siteId", Type::String),
    ("activityType", Type::Real),
    ("siteName", Type::String),
    ("accountId", Type::String),
    ("osFamily", Type::String),
    ("groupName", Type::String),
    ("comments", Type::String),
];

const AGENTS: [Column; 68] = [
    ("uuid", Type::String),
    ("mitigationMode", Type::String),
    ("networkStatus", Type::String),
    ("installerType", Type::String),
    ("mitigationModeSuspicious", Type::String),
    ("isPendingUninstall", Type::Boolean),
    ("inRemoteShellSession", Type::Boolean),
    ("lastLoggedInUserName", Type::String),
    ("osRevision", Type::String),
    ("osArch", Type::String),
    ("id", Type::String),
    ("computerName", Type::String),
    ("totalMemory", Type::Real),
    ("createdAt", Type::Datetime),
    ("groupId", Type::String),
    ("lastActiveDate", Type::Datetime),
    ("fullDiskScanLastUpdatedAt", Type::Datetime),
    ("allowRemoteShell", Type::Boolean),
    ("rangerVersion", Type::String),
    ("accountName", Type::String),
    ("scanStatus", Type::String),
    ("domain", Type::String),
    ("missingPermissions", Type::String),
    ("isActive", Type::Boolean),
    ("groupIp", Type::String),
    ("threatRebootRequired", Type::Boolean),
    ("groupUpdatedAt", Type::Datetime),
    ("externalId", Type::String),
    ("machineType", Type::String),
    ("registeredAt", Type::Datetime),
    ("appsVulnerabilityStatus", Type::String),
    ("coreCount", Type::Real),
    ("locations", Type::String),
    ("scanFinishedAt", Type::Datetime),
    ("updatedAt", Type::Datetime),
    ("externalIp", Type::String),
    ("locationType", Type::String),
    ("policyUpdatedAt", Type::Datetime),
    ("isDecommissioned", Type::Boolean),
    ("cpuId", Type::String),
    ("networkInterfaces", Type::String),
    ("isUninstalled", Type::Boolean),
    ("activeDirectory", Type::String),
    ("scanStartedAt", Type::Datetime),
    ("rangerStatus", Type::String),
    ("siteId", Type::String),
    ("agentVersion", Type::String),
    ("osUsername", Type::String),
    ("encryptedApplications", Type::Boolean),
    ("lastIpToMgmt", Type::String),
    ("cpuCount", Type::Real),
    ("scanAbortedAt", Type::Datetime),
    ("siteName", Type::String),
    ("activeThreats", Type::Real),
    ("infected", Type::Boolean),
    ("consoleMigrationStatus", Type::String),
    ("osType", Type::String),
    ("accountId", Type::String),
    ("groupName", Type::String),
    ("osName", Type::String),
    ("isUpToDate", Type::Boolean),
    ("licenseKey", Type::String),
    ("userActionsNeeded", Type::String),
    ("modelName", Type::String),
    ("osStartTime", Type::Datetime),
    ("networkQuarantineEnabled", Type::Boolean),
    ("operationalStateExpiration", Type::String),
    ("remoteProfilingState", Type::String),
];

const GROUPS: [Column; 15] = [
    ("creator", Type::String),
    ("registrationToken", Type::String),
    ("isDefault", Type::String),
    ("updatedAt", Type::Datetime),
    ("totalAgents", Type::String),
    ("inherits", Type::String),
    ("name", Type::String),
    ("rank", Type::Real),
    ("filterName", Type::String),
    ("type", Type::String),
    ("id", Type::String),
    ("createdAt", Type::Datetime),
    ("creatorId", Type::String),
    ("siteId", Type::String),
    ("filterId", Type::String),
];

const THREATS: [Column; 6] = [
    ("threatInfo", Type::String),
    ("agentDetectionInfo", Type::String),
    ("agentRealtimeInfo", Type::String),
    ("indicators", Type::String),
    ("whiteningOptions", Type::String),
    ("id", Type::String),
];

const ALERTS: [Column; 8] = [
    ("sourceProcessInfo", Type::String),
    ("alertInfo", Type::String),
    ("agentDetectionInfo", Type::String),
    ("ruleInfo", Type::String),
    ("containerInfo", Type::String),
    ("sourceParentProcessInfo", Type::String),
    ("targetProcessInfo", Type::String),
    ("kubernetesInfo", Type::String),
];

const UNIFIED_ALERTS: [Column; 18] = [
    ("id", Type::String),
    ("name", Type::String),
    ("description", Type::String),
    ("detectedAt", Type::Datetime),
    ("createdAt", Type::Datetime),
    ("updatedAt", Type::Datetime),
    ("status", Type::String),
    ("severity", Type::String),
    ("analystVerdict", Type::String),
    ("externalId", Type::String),
    ("storylineId", Type::String),
    ("attackSurfaces", Type::Dynamic),
    ("confidenceLevel", Type::String),
    ("classification", Type::String),
    ("assets", Type::Dynamic),
    ("dataSources", Type::Dynamic),
    ("detectionSource", Type::Dynamic),
    ("assignee", Type::Dynamic),
];

/// The rows of one stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Declared {
    columns: &'static [Column],
    /// The column for a record that cannot be read.
    unreadable: &'static str,
    /// Whether `data` gets the names of [`ALIASES`].
    has_aliases: bool,
}

/// Returns the declared columns of a stream; `None` if the stream has no table.
pub(super) fn declared(stream: Stream) -> Option<Declared> {
    let has_aliases = stream == Stream::Activities;
    let (columns, unreadable): (&[Column], _) = match stream {
        Stream::Threats => (&THREATS, "threatInfo"),
        Stream::Activities => (&ACTIVITIES, "description"),
        Stream::Agents => (&AGENTS, "computerName"),
        Stream::Alerts => (&ALERTS, "alertInfo"),
        Stream::Groups => (&GROUPS, "name"),
        Stream::UnifiedAlerts => (&UNIFIED_ALERTS, "description"),
        _ => return None,
    };
    Some(Declared { columns, unreadable, has_aliases })
}

impl Declared {
    /// Writes the record as a row. Returns false if a part of it was left out because a column has no room for it.
    pub(super) fn write(&self, event: Event<'_>, out: &mut Vec<u8>) -> bool {
        let mut is_whole = true;
        // One bit for each column: of a key that occurs twice, the first value counts.
        let mut written: u128 = 0;
        out.push(b'{');
        let start = out.len();
        for_each_entry(event.body, |key, value| {
            let aliased = if self.has_aliases && key == b"data" { with_aliases(value) } else { Cow::Borrowed(value) };
            let value = &*aliased;
            let place = self.columns.iter().position(|(name, _)| name.as_bytes() == key);
            let column = place.and_then(|place| Some((1_u128 << place, self.columns.get(place)?)));
            let Some((bit, (name, kind))) = column else { return ControlFlow::Continue(()) };
            if written & bit == 0 && value != b"null" {
                written |= bit;
                begin_column(name, start, out);
                is_whole &= write_value(*kind, value, out);
            }
            ControlFlow::Continue(())
        });
        if event.error.is_some() && out.len() == start {
            begin_column(self.unreadable, start, out);
            is_whole &= write_text(event.body, out);
        }
        out.push(b'}');
        is_whole
    }
}

fn begin_column(name: &str, start: usize, out: &mut Vec<u8>) {
    if out.len() > start {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Returns `data` of an activity with the names that Microsoft's function reads where the console has only its own
/// names.
fn with_aliases(data: &[u8]) -> Cow<'_, [u8]> {
    let mut members: [Option<&[u8]>; 2 * ALIASES.len()] = [None; 2 * ALIASES.len()];
    for_each_entry(data, |key, value| {
        let is_empty = value == b"null" || value == b"\"\"";
        let names = ALIASES.iter().flat_map(|(alias, own)| [alias, own]);
        if let Some(place) = names.into_iter().position(|name| name.as_bytes() == key).filter(|_| !is_empty)
            && let Some(member) = members.get_mut(place)
        {
            member.get_or_insert(value);
        }
        ControlFlow::Continue(())
    });
    let mut aliased = Vec::new();
    for ((alias, _), pair) in ALIASES.iter().zip(members.chunks(2)) {
        if let [None, Some(own)] = pair {
            aliased.extend_from_slice(format!("\"{alias}\":").as_bytes());
            aliased.extend_from_slice(own);
            aliased.push(b',');
        }
    }
    match data.strip_prefix(b"{") {
        Some(rest) if !aliased.is_empty() => Cow::Owned([b"{", &*aliased, rest].concat()),
        _ => Cow::Borrowed(data),
    }
}

/// Writes a value. Objects, lists, numbers and booleans become texts in columns for texts.
fn write_value(kind: Type, value: &[u8], out: &mut Vec<u8>) -> bool {
    let is_whole = value.len() <= COLUMN_BYTES;
    let is_container = value.starts_with(b"{") || value.starts_with(b"[");
    let value = if is_whole || !is_container { Cow::Borrowed(value) } else { Cow::Owned(shortened(value)) };
    if kind != Type::String || value.starts_with(b"\"") {
        out.extend_from_slice(&value);
    } else {
        write_text(&value, out);
    }
    is_whole
}

fn write_text(text: &[u8], out: &mut Vec<u8>) -> bool {
    write_string(&String::from_utf8_lossy(text), out);
    text.len() <= COLUMN_BYTES
}

/// Shortens an object or a list to [`COLUMN_BYTES`]. It leaves out whole parts, the largest first, so that the rest is
/// still JSON.
fn shortened(value: &[u8]) -> Vec<u8> {
    let (open, close) = if value.starts_with(b"[") { (b'[', b']') } else { (b'{', b'}') };
    let parts = parts(value);
    let mut by_size: Vec<usize> = (0..parts.len()).collect();
    by_size.sort_by_key(|index| std::cmp::Reverse(parts.get(*index).map_or(0, |part| part.len())));
    let mut length = value.len();
    let mut left_out = vec![false; parts.len()];
    for index in by_size {
        if length <= COLUMN_BYTES {
            break;
        }
        if let (Some(flag), Some(part)) = (left_out.get_mut(index), parts.get(index)) {
            *flag = true;
            length = length.saturating_sub(part.len() + 1);
        }
    }
    let kept = parts.iter().zip(&left_out).filter(|(_, is_out)| !**is_out).map(|(part, _)| *part);
    let kept: Vec<&[u8]> = kept.collect();
    [&[open][..], &kept.join(&b','), &[close]].concat()
}

/// Returns the elements of a list, or the members of an object with their names.
fn parts(container: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let inner = container.get(1..container.len().saturating_sub(1)).unwrap_or_default();
    let mut rest = inner.trim_ascii();
    while !rest.is_empty() {
        let mut end = s1_forwarder_record::value_end(rest, 0).unwrap_or(rest.len());
        let after = rest.get(end..).unwrap_or_default().trim_ascii_start();
        if let Some(value) = after.strip_prefix(b":") {
            let value_at = rest.len() - value.trim_ascii_start().len();
            end = s1_forwarder_record::value_end(rest, value_at).unwrap_or(rest.len());
        }
        let (part, after) = rest.split_at(end);
        parts.push(part);
        let after = after.trim_ascii_start();
        rest = after.strip_prefix(b",").unwrap_or_default().trim_ascii_start();
    }
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use s1_forwarder_engine::sink::Batch;
    use s1_forwarder_record::Identity;

    fn row(stream: Stream, record: &str, error: Option<&str>) -> (Value, bool) {
        let mut batch = Batch::new(stream);
        batch.push_with("1", Identity::of("h", stream, "1", ""), None, |out| {
            out.extend_from_slice(record.as_bytes());
            error.map(Into::into)
        });
        let mut out = Vec::new();
        let is_whole = declared(stream).unwrap().write(batch.event(0).unwrap(), &mut out);
        (serde_json::from_slice(&out).unwrap(), is_whole)
    }

    /// Microsoft's function reads other names in `data` than consoles write.
    #[test]
    fn data_of_an_activity_has_the_names_that_the_function_reads() {
        let data = |data: &str| {
            let (row, _) = row(Stream::Activities, &format!(r#"{{"activityType":27,"data":{data}}}"#), None);
            row["data"].as_str().unwrap().to_owned()
        };
        for (own, sent) in [
            (r#"{"username":"Jo"}"#, r#"{"userName":"Jo","username":"Jo"}"#),
            (r#"{"userName":"A","username":"Jo"}"#, r#"{"userName":"A","username":"Jo"}"#),
            (r#"{"username":null,"ruleName":"R\"1"}"#, r#"{"rulename":"R\"1","username":null,"ruleName":"R\"1"}"#),
            (r#"{"rulename":"r","ruleName":"R"}"#, r#"{"rulename":"r","ruleName":"R"}"#),
            (r#"{ }"#, r#"{ }"#),
            (r#"[1]"#, r#"[1]"#),
        ] {
            assert_eq!(data(own), sent);
        }
        let (threat, _) = row(Stream::Threats, r#"{"threatInfo":{"username":"Jo"}}"#, None);
        assert_eq!(threat["threatInfo"], r#"{"username":"Jo"}"#);
    }

    #[test]
    fn columns_take_what_they_are_declared_for() {
        let record = r#"{"id":"1","activityType":19,"data":{"a": [1]},"userId":null,"unknown":1,"createdAt":"2026-01-01T00:00:00Z",
            "id":"2","threatId":7,"hash":"a\"b"}"#;
        let expected = json!({
            "id": "1", "activityType": 19, "data": r#"{"a": [1]}"#, "createdAt": "2026-01-01T00:00:00Z",
            "threatId": "7", "hash": "a\"b",
        });
        assert_eq!(row(Stream::Activities, record, None), (expected, true));
        let alert = r#"{"assets":[{"id":"7"}],"name":{"a":1}}"#;
        let expected = json!({ "assets": [{ "id": "7" }], "name": r#"{"a":1}"# });
        assert_eq!(row(Stream::UnifiedAlerts, alert, None), (expected, true));
        let unreadable = row(Stream::Threats, r#""broken""#, Some("no JSON"));
        assert_eq!(unreadable, (json!({ "threatInfo": r#""broken""# }), true));
    }

    /// Azure Monitor would truncate the text, and readers could not parse it as JSON.
    #[test]
    fn what_a_column_has_no_room_for_is_left_out_in_whole_parts() {
        let indicators: Vec<_> = (0..20).map(|id| json!({ "id": id, "text": "x".repeat(4_000) })).collect();
        let record = json!({ "id": "1", "indicators": indicators, "threatInfo": { "a": 1 } }).to_string();
        let (row_, is_whole) = row(Stream::Threats, &record, None);
        let text = row_["indicators"].as_str().unwrap();
        let kept: Vec<Value> = serde_json::from_str(text).unwrap();
        assert!(!is_whole && text.len() <= COLUMN_BYTES && kept.len() == 14, "{} {}", text.len(), kept.len());
        let info = json!({ "id": "7", "large": "x".repeat(70_000), "name": "a, b: {" });
        let (row_, is_whole) = row(Stream::Threats, &json!({ "threatInfo": info }).to_string(), None);
        let kept: Value = serde_json::from_str(row_["threatInfo"].as_str().unwrap()).unwrap();
        assert_eq!((kept, is_whole), (json!({ "id": "7", "name": "a, b: {" }), false));
    }
}
