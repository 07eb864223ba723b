//! What was done about a threat: `disposition`, `action` and `remediation`.

use s1_forwarder_record::{Escaped, Timestamp, Value};
use smallvec::SmallVec;

use super::event::{Event, time};
use super::finding::Action;
use crate::common::classification::Word;
use crate::common::placeholder::is_placeholder;

/// The reports of `mitigationStatus[]` in the order of their end.
#[derive(Debug)]
pub(super) struct Mitigation<'a>(SmallVec<[Report<'a>; 8]>);

#[derive(Debug, Clone, Copy)]
struct Report<'a> {
    ended: Option<Timestamp>,
    action: Value<'a>,
    status: Value<'a>,
}

impl Report<'_> {
    fn is(&self, status: &str) -> bool {
        Word::is(self.status, status)
    }
}

impl<'a> Mitigation<'a> {
    pub fn of(reports: Value<'a>) -> Self {
        let mut reports: SmallVec<[Report<'a>; 8]> = reports
            .elements()
            .map(|report| Report {
                ended: time(report.get("mitigationEndedAt")),
                action: report.get("action"),
                status: report.get("status"),
            })
            .collect();
        // The sort is stable: reports of one time stay in the order of the record.
        reports.sort_by_key(|report| report.ended);
        Self(reports)
    }

    /// `disposition_id` and `action` of a threat with this mitigation status; `None` for a status that says nothing.
    pub fn outcome(
        &self,
        status: Value<'_>,
        preemptively: bool,
        has_failed: bool,
        is_detecting: bool,
    ) -> Option<(u16, Action)> {
        let any = |status: &str| self.0.iter().any(|report| report.is(status));
        let (success, failed) = (any("success"), any("failed"));
        let last = self.0.iter().rev().find(|report| report.is("success")).map(|report| Word::of_value(report.action));
        let allowed = if is_detecting { Action::Observed } else { Action::Allowed };
        let (is_mitigated, action) = match Word::of_value(status).as_str() {
            "marked_as_benign" => return Some((10, Action::Allowed)),
            "mitigated" => (true, Action::Denied),
            "not_mitigated" | "active" => (false, allowed),
            _ if preemptively => (true, Action::Denied),
            _ => return None,
        };
        let disposition = match last.as_ref().map(Word::as_str) {
            _ if preemptively => return Some((2, Action::Denied)),
            Some("unquarantine" | "restore_macros") => return Some((9, allowed)),
            _ if success && failed => 12,
            _ if !success && (any("pending") || any("pending_reboot")) => 14,
            None if has_failed => 13,
            _ if !is_mitigated => 15,
            Some("quarantine") => 3,
            Some("network_quarantine") => 4,
            Some("kill") => 2,
            _ => 11,
        };
        Some((disposition, action))
    }

    /// Writes `remediation`: each action with its status.
    pub fn write_remediation(&self, event: &mut Event<'_>) {
        let present = |value: Value<'a>| value.escaped().filter(|text| !is_placeholder(*text));
        let mut parts: SmallVec<[(&str, Option<Escaped<'_>>); 16]> = SmallVec::new();
        for report in &self.0 {
            let Some(action) = present(report.action) else { continue };
            parts.push((if parts.is_empty() { "" } else { "; " }, Some(action)));
            parts.push((": ", present(report.status)));
        }
        if !parts.is_empty() {
            let open = event.open("remediation");
            event.sentence("desc", &parts);
            event.close(open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_successful_action_decides() {
        let report = |action: &str, status: &str, ended: &str| {
            format!(r#"{{"action":"{action}","status":"{status}","mitigationEndedAt":"2026-01-01T00:00:{ended}Z"}}"#)
        };
        let outcome = |status: &str, reports: &[String]| {
            let (status, list) = (format!("\"{status}\""), format!("[{}]", reports.join(",")));
            Mitigation::of(Value::new(&list)).outcome(Value::new(&status), false, false, false)
        };
        let (kill, quarantine) = (report("kill", "success", "01"), report("quarantine", "success", "02"));
        assert_eq!(outcome("mitigated", &[]), Some((11, Action::Denied)));
        assert_eq!(outcome("mitigated", &[quarantine.clone(), kill.clone()]), Some((3, Action::Denied)));
        assert_eq!(
            outcome("mitigated", &[kill.clone(), report("rollback", "success", "03")]),
            Some((11, Action::Denied))
        );
        assert_eq!(
            outcome("mitigated", &[kill.clone(), report("quarantine", "failed", "03")]),
            Some((12, Action::Denied))
        );
        let restored = [quarantine, report("unquarantine", "success", "04")];
        assert_eq!(outcome("not_mitigated", &restored), Some((9, Action::Allowed)));
        assert_eq!(outcome("not_mitigated", &[report("kill", "pending-reboot", "01")]), Some((14, Action::Allowed)));
        assert_eq!(outcome("not_mitigated", &[]), Some((15, Action::Allowed)));
        assert_eq!(outcome("marked_as_benign", &[kill]), Some((10, Action::Allowed)));
        assert_eq!(outcome("", &[]), None);
        let none = Mitigation::of(Value::default());
        let status = Value::new("\"not_mitigated\"");
        assert_eq!(none.outcome(status, false, true, false), Some((13, Action::Allowed)));
        assert_eq!(none.outcome(status, false, false, true), Some((15, Action::Observed)));
        assert_eq!(none.outcome(status, true, false, true), Some((2, Action::Denied)));
    }
}
