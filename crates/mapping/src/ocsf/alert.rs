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
use super::user::take_process_user;
use super::workload::{self, Cloud};
use crate::common::alert::{detection as view, matched};
use crate::common::classification::Word;
use crate::common::os::Os;
use crate::common::placeholder::{boolean, first_scalar, is_set};
use crate::common::severity::Severity;
use crate::common::threat::is_new;

const CREATE: u8 = 1;
const UPDATE: u8 = 2;
const CLOSE: u8 = 3;

pub(super) fn map(event: &mut Event<'_>, common: &Common<'_>, alert: &mut Alert<'_>) {
    let info = &alert.alert_info;
    let severity = alert.rule_info.severity.escaped().and_then(Severity::of_word).unwrap_or(Severity::Informational);
    let severity = severity.judged([info.analyst_verdict]);
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
    metadata.time(event, [info.created_at, info.reported_at, info.updated_at]);
    event.severity(severity);
    let name = first_scalar([alert.agent_realtime_info.name, alert.agent_detection_info.name]);
    event.sentence(
        "message",
        &[
            ("", alert.rule_info.name.escaped()),
            (" on ", name.escaped()),
            (": ", alert.source_process_info.name.escaped()),
        ],
    );
    let kind = matched(info, &alert.target_process_info).kind;
    finding(event, common, alert);
    states(event, alert);
    device(event, alert);
    let mut extra = Extra {
        storyline: alert.source_process_info.storyline,
        integrity: [alert.source_process_info.integrity_level, alert.source_parent_process_info.integrity_level],
        file_id: alert.target_process_info.tgt_file_id,
    };
    let is_actor = is_process(alert.source_process_info.pid, alert.source_process_info.unique_id);
    let parent = &alert.source_parent_process_info;
    let has_parent = is_actor && is_process(parent.pid, parent.unique_id);
    detection::write(event, &mut view(alert, kind, &mut [Value::default(); 2]), &mut extra);
    alert.target_process_info.tgt_file_id = extra.file_id;
    if is_actor && alert.source_process_info.effective_user.is_empty() {
        take_process_user(&mut alert.source_process_info.user);
    }
    if has_parent && alert.source_parent_process_info.effective_user.is_empty() {
        take_process_user(&mut alert.source_parent_process_info.user);
    }
    take_repeated(alert);
    event.tail(common, &metadata);
    unmapped::write(event, alert, &[], |_| {});
}

fn finding(event: &mut Event<'_>, common: &Common<'_>, alert: &mut Alert<'_>) {
    let (info, rule) = (&mut alert.alert_info, &mut alert.rule_info);
    let finding = Finding {
        uid: info.alert_id.escaped(),
        rule: [&mut rule.id, &mut rule.name, &mut rule.description, &mut rule.query_type],
        created: info.created_at,
        modified: info.updated_at,
        matched: [info.dv_event_id, info.event_type],
    };
    finding.write(event, common);
}

fn states(event: &mut Event<'_>, alert: &mut Alert<'_>) {
    let (info, rule) = (&mut alert.alert_info, &alert.rule_info);
    let verdict = Verdict::of(info.analyst_verdict);
    event.json.boolean("is_alert", verdict != Some(Verdict::FalsePositive));
    event.incident_status(&mut info.incident_status);
    if let Some(verdict) = verdict {
        event.verdict(verdict);
        Verdict::take(&mut info.analyst_verdict);
    }
    // The word stays in the record: it says how the alert is treated.
    event.confidence(&mut { rule.treat_as_threat });
    event.disposition(19);
    event.action(Action::Observed);
}

fn device(event: &mut Event<'_>, alert: &mut Alert<'_>) {
    let (current, detected) = (&mut alert.agent_realtime_info, &mut alert.agent_detection_info);
    let (container, in_kubernetes) = (&mut alert.container_info, !alert.kubernetes_info.is_empty());
    let none = Value::default();
    let mut device = Device {
        uid: &mut current.id,
        uid_alt: [&mut current.uuid, &mut detected.uuid],
        names: [&mut current.name, &mut detected.name],
        domains: [&mut Value::default(), &mut Value::default()],
        kind: if is_set(current.machine_type) { &mut current.machine_type } else { &mut detected.machine_type },
        os: Os {
            kind: [detected.os_family, current.os],
            family: none,
            name: if is_set(detected.os_name) { &mut detected.os_name } else { &mut current.os },
            version: &mut detected.os_revision,
        },
        os_arch: none,
        interfaces: none,
        addresses: [none; 4],
        external: none,
        macs: none,
        agent_versions: [&mut detected.version, &mut Value::default()],
        is_managed: boolean(current.is_decommissioned) != Some(true),
        place: Place {
            account_id: [&mut detected.account_id, &mut Value::default()],
            account_name: [&mut Value::default(), &mut Value::default()],
            site_id: [&mut detected.site_id, &mut Value::default()],
            site_name: [&mut Value::default(), &mut Value::default()],
            group_id: [&mut Value::default(), &mut Value::default()],
            group_name: [&mut Value::default(), &mut Value::default()],
        },
        cloud: Cloud::default(),
    };
    let (id, name) = (*device.uid, first_scalar([*device.names[0], *device.names[1]]));
    device.write(event, |event| {
        if workload::container(event, container, in_kubernetes) {
            event.using(Profile::Container);
        }
    });
    resource(event, id, name);
}

/// Takes the values that the event has in more than one place.
fn take_repeated(alert: &mut Alert<'_>) {
    let info = &mut alert.alert_info;
    for value in [
        &mut info.alert_id,
        &mut info.event_type,
        &mut info.dv_event_id,
        &mut alert.source_process_info.storyline,
        &mut alert.agent_detection_info.account_id,
    ] {
        if is_set(*value) {
            value.take();
        }
    }
    for value in [&mut info.created_at, &mut info.updated_at, &mut info.reported_at] {
        if super::event::time(*value).is_some() {
            value.take();
        }
    }
}
