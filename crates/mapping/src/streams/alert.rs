//! Alerts of custom rules: `/cloud-detection/alerts`. They have no addresses.

use s1_forwarder_record::alert::{Alert, AlertInfo, AlertProcess, AlertTarget};
use s1_forwarder_record::{Escaped, Value};

use crate::common::account::{Account, ProcessUser};
use crate::common::event_kind::EventKind;
use crate::common::matched::Matched;
use crate::common::missing::{boolean, domain, first_scalar, trimmed};
use crate::common::os::architecture_of_system;
use crate::common::severity::Severity;
use crate::common::threat::{is_new, unless_zero};
use crate::parts::{
    Container, DIRECTIONS, Detection, Endpoint, Indicator, Login, Os, Owner, Peer, Pod, Process, Registry, Rule,
    Sentence, TargetFile, TargetProcess,
};

#[derive(Debug, Clone, Copy)]
pub struct AlertParts<'a> {
    pub detection: Detection<'a>,
    pub created: Value<'a>,
    pub updated: Value<'a>,
    pub reported: Value<'a>,
    pub status: Value<'a>,
    pub verdict: Value<'a>,
    /// The confidence that the rule gives to its alerts.
    pub treat_as_threat: Value<'a>,
}

impl<'a> AlertParts<'a> {
    pub fn of(alert: &Alert<'a>) -> Self {
        let info = &alert.alert_info;
        Self {
            detection: detection(alert),
            created: info.created_at,
            updated: info.updated_at,
            reported: info.reported_at,
            status: info.incident_status,
            verdict: info.analyst_verdict,
            treat_as_threat: alert.rule_info.treat_as_threat,
        }
    }

    /// Returns whether the alert was last updated within a minute of its creation, or never.
    pub fn is_new(&self) -> bool {
        is_new(self.created, self.updated)
    }

    /// Returns the times for the event, the preferred one first: the creation of a new alert, later its last change.
    pub fn times(&self) -> [Value<'a>; 3] {
        if self.is_new() {
            [self.created, self.reported.unmarked(), self.updated.unmarked()]
        } else {
            [self.updated, self.created, self.reported.unmarked()]
        }
    }

    pub fn message(&self) -> Sentence<'a, 3> {
        let detection = &self.detection;
        [("", trimmed(detection.rule.name)), (" on ", trimmed(detection.endpoint.name())), (": ", self.subject())]
    }

    /// Returns the process that the message names: the started process, else the process that acted.
    fn subject(&self) -> Option<Escaped<'a>> {
        let Detection { matched, target, process, .. } = &self.detection;
        let started = if matched.kind == Some(EventKind::ProcessCreation) { target.name } else { Value::default() };
        first_scalar([started, process.name]).escaped()
    }
}

fn detection<'a>(alert: &Alert<'a>) -> Detection<'a> {
    let info = &alert.alert_info;
    let rule = &alert.rule_info;
    let target = &alert.target_process_info;
    let container = &alert.container_info;
    let pod = &alert.kubernetes_info;
    Detection {
        alert_id: info.alert_id,
        // A verdict does not change the severity of the rule.
        severity: Severity::of_value(rule.severity),
        rule: Rule { id: rule.id, name: rule.name, description: rule.description, category: rule.query_type },
        matched: matched(info, target),
        event_id: info.dv_event_id,
        storyline: alert.source_process_info.storyline,
        source: Peer { host: info.src_ip, port: info.src_port },
        destination: Peer { host: info.dst_ip, port: info.dst_port },
        direction: DIRECTIONS.of(info.net_event_direction),
        machine_ip: info.src_machine_ip,
        dns_request: info.dns_request,
        dns_response: info.dns_response,
        login: Login::new(
            info.logins_user_name,
            info.login_account_sid,
            domain(info.login_account_domain),
            info.login_is_administrator_equivalent,
        ),
        registry: Registry {
            key_path: info.registry_key_path,
            path: info.registry_path,
            data: info.registry_value,
            old_data_type: info.registry_old_value_type,
        },
        module_path: info.module_path,
        module_sha1: info.module_sha1,
        indicator: Indicator {
            kind: info.ti_indicator_type,
            value: info.ti_indicator_value,
            source: info.ti_indicator_source,
        },
        process: process(&alert.source_process_info),
        parent: process(&alert.source_parent_process_info),
        target: TargetProcess {
            name: target.tgt_proc_name,
            pid: unless_zero(target.tgt_proc_pid),
            command_line: target.tgt_proc_cmd_line,
            executable: target.tgt_proc_image_path,
            entity_id: target.tgt_proc_uid,
            start: target.tgt_process_start_time,
        },
        file: TargetFile {
            id: target.tgt_file_id,
            path: target.tgt_file_path,
            created: target.tgt_file_created_at,
            modified: target.tgt_file_modified_at,
            is_signed: target.tgt_file_is_signed,
            ..TargetFile::default()
        }
        .with_hashes([target.tgt_file_hash_sha1, target.tgt_file_hash_sha256]),
        endpoint: endpoint(alert),
        container: Container {
            id: container.id,
            name: container.name,
            image: container.image,
            labels: container.labels,
        },
        pod: Pod {
            is_set: !pod.is_empty(),
            cluster: pod.cluster,
            namespace: pod.namespace,
            name: pod.pod,
            controller_kind: pod.controller_kind,
            labels: Value::default(),
        },
    }
}

fn matched<'a>(info: &AlertInfo<'a>, target: &AlertTarget<'a>) -> Matched<'a> {
    let login = [info.login_is_successful, info.logins_user_name, info.login_account_sid, info.login_type];
    let target = [target.tgt_proc_name, target.tgt_proc_image_path, target.tgt_proc_cmd_line];
    Matched::new(info.event_type, info.indicator_category, login, target)
}

/// Returns the current endpoint, with its version, its system and its owner at the time of the detection.
fn endpoint<'a>(alert: &Alert<'a>) -> Endpoint<'a> {
    let current = &alert.agent_realtime_info;
    let detected = &alert.agent_detection_info;
    let none = Value::default();
    Endpoint {
        agent_id: current.id,
        agent_uuids: [current.uuid, detected.uuid],
        agent_versions: [detected.version, none],
        is_managed: boolean(current.is_decommissioned) != Some(true),
        names: [current.name, detected.name],
        machine_type: first_scalar([current.machine_type, detected.machine_type]),
        os: Os {
            names: [detected.os_name, current.os],
            versions: [detected.os_revision, none],
            types: [detected.os_family, current.os, none],
            family: detected.os_family,
            ..Os::default()
        },
        architecture: architecture_of_system([detected.os_name, detected.os_revision]),
        owner: Owner {
            account_ids: [detected.account_id, none],
            site_ids: [detected.site_id, none],
            ..Owner::default()
        },
        ..Endpoint::default()
    }
}

fn process<'a>(process: &AlertProcess<'a>) -> Process<'a> {
    // Newer consoles have a separate value for each user of a Linux process.
    let together = ProcessUser::of(process.user);
    let user = ProcessUser {
        effective: Account::of(process.effective_user).or(together.effective),
        real: Account::of(process.real_user).or(together.real),
        login: Account::of(process.login_user).or(together.login),
    };
    Process {
        name: process.name,
        pid: unless_zero(process.pid),
        command_line: process.commandline,
        executable: process.file_path,
        entity_id: process.unique_id,
        start: process.pid_starttime,
        signer: process.file_signer_identity,
        integrity: process.integrity_level,
        user,
        user_text: if process.effective_user.is_empty() { process.user } else { Value::default() },
        ..Process::default()
    }
    .with_hashes([process.file_hash_md5, process.file_hash_sha1, process.file_hash_sha256])
}
