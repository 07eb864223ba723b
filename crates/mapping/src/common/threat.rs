//! What is decided about a threat in all schemas.

use s1_forwarder_record::threat::Threat;
use s1_forwarder_record::{Escaped, Timestamp, Value};

use super::classification::Word;
use super::placeholder::boolean;
use super::severity::Severity;

pub fn time(value: Value<'_>) -> Option<Timestamp> {
    value.escaped().and_then(|text| Timestamp::parse(text.raw()).ok())
}

/// Whether a threat or an alert was created and updated within a minute.
pub fn is_new(created: Value<'_>, updated: Value<'_>) -> bool {
    match (time(created), time(updated)) {
        (Some(created), Some(updated)) => created.since(updated).max(updated.since(created)).as_secs_f64() <= 60.0,
        (_, updated) => updated.is_none(),
    }
}

/// A threat is critical if it is still active on an infected endpoint.
pub fn severity(threat: &Threat<'_>) -> Severity {
    let info = &threat.threat_info;
    let is_active = Word::is(info.mitigation_status, "not_mitigated")
        && boolean(threat.agent_realtime_info.agent_infected) == Some(true);
    Severity::of_confidence(info.confidence_level, info.classification, is_active)
        .unwrap_or(Severity::Informational)
        .judged([info.analyst_verdict, info.classification, info.mitigation_status])
}

/// The name at the end of a path. A root has none.
pub fn file_name(path: Escaped<'_>) -> Option<Escaped<'_>> {
    Some(path.last_segment()).filter(|name| !name.raw().is_empty())
}
