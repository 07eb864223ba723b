//! Addresses of the console's pages, in parts.

use s1_forwarder_record::{Escaped, Value};

pub fn threat<'a>(host: &'a str, id: Escaped<'a>) -> [&'a str; 5] {
    ["https://", host, "/incidents/threats/", id.raw(), "/overview"]
}

pub fn unified_alert<'a>(host: &'a str, id: Escaped<'a>) -> [&'a str; 4] {
    ["https://", host, "/incidents/unified-alerts?alertId=", id.raw()]
}

/// Returns the page of a custom rule's alert: the list of alerts, filtered by the alert's id. `None` if the value is
/// not an id.
pub fn alert<'a>(host: &'a str, id: Value<'a>) -> Option<[&'a str; 4]> {
    let id = id.escaped().filter(|id| !id.raw().is_empty() && id.raw().bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(["https://", host, "/incidents/unified-alerts?alertsTable.filters=externalId__FULLTEXT%3D", id.raw()])
}
