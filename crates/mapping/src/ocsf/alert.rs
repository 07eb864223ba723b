//! Maps `/cloud-detection/alerts` to Detection Finding.

use s1_forwarder_record::Value;
use s1_forwarder_record::alert::Alert;

use super::class::DETECTION_FINDING;
use super::detection::{self, Extra, Finding, is_process};
use super::device::{Device, Place};
use super::event::{Event, Profile};
use super::finding::{Action, Verdict};
use super::metadata::{Common, Metadata};
use super::threat::resource;
use super::unmapped;
use super::user::mark_process_user;
use super::workload;
use crate::common::alert::{detection as view, matched, severity, subject, times};
use crate::common::classification::Word;
use crate::common::os::Os;
use crate::common::placeholder::{boolean, first_scalar, is_set};
use crate::common::threat::is_new;

const CREATE: u8 = 1;
const UPDATE: u8 = 2;
const CLOSE: u8 = 3;

pub(super) fn map(event: &mut Event<'_>, common: &Common<'_>, alert: &Alert<'_>) {
    let info = &alert.alert_info;
    let severity = severity(alert);
    let activity = match () {
        () if is_new(info.created_at, info.updated_at) => CREATE,
        () if Word::is(info.incident_status, "resolved") => CLOSE,
        () => UPDATE,
    };
    event.begin(&DETECTION_FINDING, activity, "");
    let mut metadata = Metadata {
        record_id: info.alert_id,
        logged: first_scalar([info.reported_at, info.created_at]),
        modified: info.updated_at,
        correlation: alert.source_process_info.storyline,
        event_code: info.event_type,
        tenant: alert.agent_detection_info.account_id,
        ..Metadata::default()
    };
    metadata.time(event, times(info));
    event.severity(severity);
    let kind = matched(info, &alert.target_process_info).kind;
    let name = first_scalar([alert.agent_realtime_info.name, alert.agent_detection_info.name]);
    event.sentence(
        "message",
        &[("", alert.rule_info.name.escaped()), (" on ", name.escaped()), (": ", subject(alert, kind))],
    );
    finding(event, common, alert);
    states(event, alert);
    device(event, alert);
    let extra = Extra {
        storyline: alert.source_process_info.storyline,
        integrity: [alert.source_process_info.integrity_level, alert.source_parent_process_info.integrity_level],
        file_id: alert.target_process_info.tgt_file_id,
    };
    let is_actor = is_process(alert.source_process_info.pid, alert.source_process_info.unique_id);
    let parent = &alert.source_parent_process_info;
    let has_parent = is_actor && is_process(parent.pid, parent.unique_id);
    detection::write(event, &view(alert, kind), &extra);
    if is_actor && alert.source_process_info.effective_user.is_empty() {
        mark_process_user(event, alert.source_process_info.user);
    }
    if has_parent && alert.source_parent_process_info.effective_user.is_empty() {
        mark_process_user(event, alert.source_parent_process_info.user);
    }
    mark_repeated(event, alert);
    event.tail(common, &metadata);
    unmapped::write(event, alert, &[], |_| {});
}

fn finding(event: &mut Event<'_>, common: &Common<'_>, alert: &Alert<'_>) {
    let info = &alert.alert_info;
    let rule = &alert.rule_info;
    let finding = Finding {
        uid: info.alert_id,
        rule: [rule.id, rule.name, rule.description, rule.query_type],
        created: info.created_at,
        modified: info.updated_at,
        matched: [info.dv_event_id, info.event_type],
    };
    finding.write(event, common);
}

fn states(event: &mut Event<'_>, alert: &Alert<'_>) {
    let info = &alert.alert_info;
    let rule = &alert.rule_info;
    let verdict = Verdict::of(info.analyst_verdict);
    event.json.boolean("is_alert", verdict != Some(Verdict::FalsePositive));
    event.incident_status(info.incident_status);
    if let Some(verdict) = verdict {
        event.verdict(verdict);
        Verdict::mark(event, info.analyst_verdict);
    }
    // The word stays in the record: it says how the alert is treated.
    event.confidence(rule.treat_as_threat.kept());
    event.disposition(19);
    event.action(Action::Observed);
}

fn device(event: &mut Event<'_>, alert: &Alert<'_>) {
    let current = &alert.agent_realtime_info;
    let detected = &alert.agent_detection_info;
    let container = &alert.container_info;
    let in_kubernetes = !alert.kubernetes_info.is_empty();
    let device = Device {
        uid: current.id,
        uid_alt: [current.uuid, detected.uuid],
        names: [current.name, detected.name],
        kind: if is_set(current.machine_type) { current.machine_type } else { detected.machine_type },
        os: Os {
            kind: [detected.os_family, current.os],
            name: if is_set(detected.os_name) { detected.os_name } else { current.os },
            version: detected.os_revision,
            ..Os::default()
        },
        agent_versions: [detected.version, Value::default()],
        is_managed: boolean(current.is_decommissioned) != Some(true),
        place: Place {
            account_id: [detected.account_id, Value::default()],
            site_id: [detected.site_id, Value::default()],
            ..Place::default()
        },
        ..Device::default()
    };
    let id = device.uid;
    let name = first_scalar([device.names[0], device.names[1]]);
    device.write(event, |event| {
        if workload::container(event, container, in_kubernetes) {
            event.using(Profile::Container);
        }
    });
    resource(event, id, name);
}

/// Marks the values that the event has in more than one place.
fn mark_repeated(event: &mut Event<'_>, alert: &Alert<'_>) {
    let info = &alert.alert_info;
    for value in [
        info.alert_id,
        info.event_type,
        info.dv_event_id,
        alert.source_process_info.storyline,
        alert.agent_detection_info.account_id,
    ] {
        if is_set(value) {
            event.used.mark(value);
        }
    }
    for value in [info.created_at, info.updated_at, info.reported_at] {
        if super::event::time(value).is_some() {
            event.used.mark(value);
        }
    }
}
