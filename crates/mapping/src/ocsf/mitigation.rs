//! Actions against a threat: `disposition`, `action` and `remediation`.

use s1_forwarder_record::{Escaped, Value};
use smallvec::SmallVec;

use super::event::{Event, time};
use super::finding::{Action, disposition_of};
use crate::common::classification::{OUTCOMES, Outcome};
use crate::common::missing::is_missing_word;
use crate::common::words::Words;
use crate::streams::threat::{Ended, MitigationReport, is_some};

/// The reports of a threat's actions in the order of their end.
#[derive(Debug)]
pub(super) struct Reports<'a>(SmallVec<[MitigationReport<'a>; 8]>);

impl MitigationReport<'_> {
    /// Returns whether the action was applied to an object, according to the counters.
    fn has_effect(&self) -> bool {
        self.counters.success != Some(0) || self.counters.total == Some(0)
    }

    fn is_success(&self) -> bool {
        self.has_effect()
            && (matches!(self.ended(), Some(Ended::Success | Ended::Partial)) || is_some(self.counters.success))
    }

    fn is_pending(&self) -> bool {
        self.ended() == Some(Ended::Pending) || is_some(self.counters.pending)
    }

    /// Returns whether the action did not find its object.
    fn is_not_found(&self) -> bool {
        !self.has_effect() && is_some(self.counters.not_found)
    }
}

/// The effect of a successful action on a threat. An effect that is listed later is stronger. Times do not decide,
/// because reports have times of different clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    Corrected,
    Isolated,
    Killed,
    Quarantined,
    Restored,
}

/// Effects of actions. All other actions count as [`Effect::Corrected`].
pub(super) const EFFECTS: Words<Effect> = Words {
    field: "disposition",
    rows: &[
        ("quarantine", Effect::Quarantined),
        ("kill", Effect::Killed),
        ("network_quarantine", Effect::Isolated),
        ("unquarantine", Effect::Restored),
        ("un_quarantine", Effect::Restored),
        ("restore_macros", Effect::Restored),
    ],
};

impl Effect {
    fn of(action: Value<'_>) -> Self {
        EFFECTS.of(action).unwrap_or(Self::Corrected)
    }

    /// Returns `disposition_id`.
    pub fn disposition(self) -> u16 {
        match self {
            Self::Corrected => 11,
            Self::Isolated => 4,
            Self::Killed => 2,
            Self::Quarantined => 3,
            Self::Restored => 9,
        }
    }
}

/// Returns the strongest effect of these successful actions, which are in the order of time. A quarantine after a
/// restoration counts as a quarantine.
fn strongest<'a>(actions: impl Iterator<Item = Value<'a>>) -> Option<Effect> {
    let mut strongest = None;
    for effect in actions.map(Effect::of) {
        strongest = match (strongest, effect) {
            (Some(Effect::Restored), Effect::Quarantined) => Some(Effect::Quarantined),
            _ => strongest.max(Some(effect)),
        };
    }
    strongest
}

/// Returns `disposition_id` and `action` of a detection that these successful actions mitigated or blocked. `left` is
/// the action for a restored object.
pub(super) fn mitigated<'a>(outcome: Outcome, actions: impl Iterator<Item = Value<'a>>, left: Action) -> (u16, Action) {
    match strongest(actions) {
        Some(effect @ Effect::Restored) => (effect.disposition(), left),
        Some(effect) => (effect.disposition(), Action::Denied),
        None => (disposition_of(outcome), Action::Denied),
    }
}

/// What a threat says of its mitigation, apart from the reports.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StatedMitigation<'a> {
    pub status: Value<'a>,
    pub is_preemptive: bool,
    /// Whether the console says that actions failed.
    pub is_failed: bool,
    /// Whether the agent only detects.
    pub is_detecting: bool,
}

impl<'a> Reports<'a> {
    pub fn of(reports: impl Iterator<Item = MitigationReport<'a>>) -> Self {
        let mut reports: SmallVec<[MitigationReport<'a>; 8]> = reports.collect();
        // The sort is stable: reports of the same time stay in the order of the record.
        reports.sort_by_key(|report| time(report.ended));
        Self(reports)
    }

    /// Returns `disposition_id` and `action` of a threat with this mitigation. For an unknown status, the successful
    /// actions decide; without one, returns `None`.
    pub fn outcome(&self, mitigation: &StatedMitigation<'_>) -> Option<(u16, Action)> {
        let StatedMitigation { status, is_preemptive, is_failed, is_detecting } = *mitigation;
        let effect = strongest(self.0.iter().filter(|report| report.is_success()).map(|report| report.action));
        let any_failed = self.0.iter().any(MitigationReport::has_failed);
        let allowed = if is_detecting { Action::Observed } else { Action::Allowed };
        let outcome = OUTCOMES.of(status).or(is_preemptive.then_some(Outcome::Blocked));
        let outcome = outcome.or_else(|| effect.map(|_| Outcome::Mitigated))?;
        let action = match outcome {
            Outcome::Benign => return Some((disposition_of(outcome), Action::Allowed)),
            Outcome::Mitigated | Outcome::Blocked => Action::Denied,
            Outcome::Active => allowed,
        };
        let disposition = match effect {
            _ if is_preemptive => return Some((2, Action::Denied)),
            Some(Effect::Restored) => return Some((9, allowed)),
            // The status belongs to the whole threat, and the file of a killed process may still exist.
            Some(_) if any_failed => return Some((12, Action::Denied)),
            Some(effect) => return Some((effect.disposition(), Action::Denied)),
            None if self.0.iter().any(MitigationReport::is_pending) => 14,
            None if is_failed || any_failed => 13,
            None => disposition_of(outcome),
        };
        Some((disposition, action))
    }

    /// Writes each action with its status as `remediation`.
    pub fn write_remediation(&self, event: &mut Event<'_>) {
        let present = |value: Value<'a>| value.escaped().filter(|text| !is_missing_word(*text));
        let mut parts: SmallVec<[(&str, Option<Escaped<'_>>); 16]> = SmallVec::new();
        for report in &self.0 {
            let Some(action) = present(report.action) else { continue };
            parts.push((if parts.is_empty() { "" } else { "; " }, Some(action)));
            let status = match report.ended() {
                Some(Ended::Success) if report.is_not_found() => Some(Escaped::plain("not found")),
                Some(Ended::Success) if !report.has_effect() => Some(Escaped::plain("without effect")),
                _ => present(report.status),
            };
            parts.push((": ", status));
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
    use crate::streams::threat::reports as read;

    fn stated(status: Value<'_>) -> StatedMitigation<'_> {
        StatedMitigation { status, ..StatedMitigation::default() }
    }

    #[test]
    fn the_strongest_successful_action_decides() {
        let report = |action: &str, status: &str, ended: &str| {
            format!(r#"{{"action":"{action}","status":"{status}","mitigationEndedAt":"2026-01-01T00:00:{ended}Z"}}"#)
        };
        let outcome = |status: &str, reports: &[String]| {
            let status = format!("\"{status}\"");
            let list = format!("[{}]", reports.join(","));
            Reports::of(read(Value::new(&list))).outcome(&stated(Value::new(&status)))
        };
        let kill = report("kill", "success", "01");
        let quarantine = report("quarantine", "success", "02");
        assert_eq!(outcome("mitigated", &[]), Some((11, Action::Denied)));
        assert_eq!(outcome("mitigated", &[quarantine.clone(), kill.clone()]), Some((3, Action::Denied)));
        assert_eq!(
            outcome("mitigated", &[kill.clone(), report("rollback", "success", "03")]),
            Some((2, Action::Denied))
        );
        assert_eq!(
            outcome("mitigated", &[kill.clone(), report("quarantine", "failed", "03")]),
            Some((12, Action::Denied))
        );
        for ended in ["00", "02"] {
            let two = [report("kill", "success", ended), report("quarantine", "success", "01")];
            assert_eq!(outcome("mitigated", &two), Some((3, Action::Denied)), "{ended}");
        }
        let restored_before = [report("unquarantine", "success", "01"), quarantine.clone()];
        assert_eq!(outcome("mitigated", &restored_before), Some((3, Action::Denied)));
        let restored = [quarantine, report("unquarantine", "success", "04")];
        assert_eq!(outcome("not_mitigated", &restored), Some((9, Action::Allowed)));
        assert_eq!(outcome("not_mitigated", &[report("kill", "pending-reboot", "01")]), Some((14, Action::Allowed)));
        assert_eq!(outcome("not_mitigated", std::slice::from_ref(&kill)), Some((2, Action::Denied)));
        let one_failed = [kill.clone(), report("quarantine", "failed", "02")];
        assert_eq!(outcome("not_mitigated", &one_failed), Some((12, Action::Denied)));
        assert_eq!(outcome("not_mitigated", &[]), Some((15, Action::Allowed)));
        assert_eq!(outcome("marked_as_benign", &[kill]), Some((10, Action::Allowed)));
        assert_eq!(outcome("", &[]), None);
        let none = Reports::of(read(Value::default()));
        let status = Value::new("\"not_mitigated\"");
        let failed = StatedMitigation { is_failed: true, ..stated(status) };
        assert_eq!(none.outcome(&failed), Some((13, Action::Allowed)));
        let detecting = StatedMitigation { is_detecting: true, ..stated(status) };
        assert_eq!(none.outcome(&detecting), Some((15, Action::Observed)));
        let preemptive = StatedMitigation { is_preemptive: true, ..detecting };
        assert_eq!(none.outcome(&preemptive), Some((2, Action::Denied)));
    }

    #[test]
    fn a_report_with_nothing_found_has_no_effect() {
        let outcome = |counters: &str| {
            let list = format!(r#"[{{"action":"quarantine","status":"success","actionsCounters":{counters}}}]"#);
            Reports::of(read(Value::new(&list))).outcome(&stated(Value::new("\"mitigated\"")))
        };
        assert_eq!(outcome(r#"{"success":0,"notFound":1,"total":1}"#), Some((11, Action::Denied)));
        assert_eq!(outcome(r#"{"success":0,"failed":1,"total":1}"#), Some((13, Action::Denied)));
        assert_eq!(outcome(r#"{"success":0,"pendingReboot":1,"total":1}"#), Some((14, Action::Denied)));
        assert_eq!(outcome(r#"{"success":1,"failed":1,"total":2}"#), Some((12, Action::Denied)));
        assert_eq!(outcome(r#"{"success":1,"notFound":1,"total":2}"#), Some((3, Action::Denied)));
        for unknown in ["null", "{}", r#"{"success":0,"total":0}"#] {
            assert_eq!(outcome(unknown), Some((3, Action::Denied)), "{unknown}");
        }
    }
}
