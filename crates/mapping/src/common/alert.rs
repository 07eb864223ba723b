//! The detection in an alert.

use s1_forwarder_record::alert::{Alert, AlertInfo, AlertProcess, AlertTarget};
use s1_forwarder_record::{Escaped, Value};

use super::account::{Account, ProcessUser};
use super::detection::{Container, Detection, File, Host, Login, Peer, Pod, Process, Rule, Target};
use super::event_kind::EventKind;
use super::matched::Matched;
use super::os::Os;
use super::placeholder::first_scalar;
use super::registry::Registry;
use super::severity::Severity;
use super::threat::is_new;

pub fn matched<'a>(info: &AlertInfo<'a>, target: &AlertTarget<'a>) -> Matched<'a> {
    let login = [info.login_is_successful, info.logins_user_name, info.login_account_sid, info.login_type];
    let target = [target.tgt_proc_name, target.tgt_proc_image_path, target.tgt_proc_cmd_line];
    let mut matched = Matched::new(info.event_type, login, target);
    if info.event_type.is_empty() && matched.kind.is_none() && !info.indicator_category.is_empty() {
        matched.kind = Some(EventKind::Indicator);
    }
    matched
}

/// The severity of the rule. A verdict does not change it.
pub fn severity(alert: &Alert<'_>) -> Severity {
    alert.rule_info.severity.escaped().and_then(Severity::of_word).unwrap_or(Severity::Informational)
}

/// What the time of the event is: that of a new alert, later that of its change.
pub fn times<'a>(info: &AlertInfo<'a>) -> [Value<'a>; 3] {
    if is_new(info.created_at, info.updated_at) {
        [info.created_at, info.reported_at.kept(), info.updated_at.kept()]
    } else {
        [info.updated_at, info.created_at, info.reported_at.kept()]
    }
}

/// The process that the message names: the one that was started, else the one that acted.
pub fn subject<'a>(alert: &Alert<'a>, kind: Option<EventKind>) -> Option<Escaped<'a>> {
    let target = &alert.target_process_info;
    let started = if kind == Some(EventKind::ProcessCreation) { target.tgt_proc_name } else { Value::default() };
    first_scalar([started, alert.source_process_info.name]).escaped()
}

/// The fields of a detection in an alert. Alerts have no addresses.
pub fn detection<'a>(alert: &Alert<'a>, kind: Option<EventKind>) -> Detection<'a> {
    let info = &alert.alert_info;
    let rule = &alert.rule_info;
    let target = &alert.target_process_info;
    let current = &alert.agent_realtime_info;
    let detected = &alert.agent_detection_info;
    let container = &alert.container_info;
    let pod = &alert.kubernetes_info;
    Detection {
        kind,
        event_type: info.event_type,
        rule: Rule { id: rule.id, name: rule.name, description: rule.description, category: rule.query_type },
        source: Peer { ip: info.src_ip, port: info.src_port },
        destination: Peer { ip: info.dst_ip, port: info.dst_port },
        direction: info.net_event_direction,
        machine_ip: info.src_machine_ip,
        dns_request: info.dns_request,
        dns_response: info.dns_response,
        login: Login { name: info.logins_user_name, domain: info.login_account_domain, sid: info.login_account_sid },
        registry: Registry {
            key_path: info.registry_key_path,
            path: info.registry_path,
            data: info.registry_value,
            old_data_type: info.registry_old_value_type,
        },
        module_path: info.module_path,
        module_sha1: info.module_sha1,
        indicator_type: info.ti_indicator_type,
        indicator_value: info.ti_indicator_value,
        indicator_source: info.ti_indicator_source,
        process: process(&alert.source_process_info),
        parent: process(&alert.source_parent_process_info),
        target: Target {
            name: target.tgt_proc_name,
            pid: target.tgt_proc_pid,
            command_line: target.tgt_proc_cmd_line,
            executable: target.tgt_proc_image_path,
            entity_id: target.tgt_proc_uid,
            start: target.tgt_process_start_time,
        },
        file: File {
            path: target.tgt_file_path,
            sha1: target.tgt_file_hash_sha1,
            sha256: target.tgt_file_hash_sha256,
            created: target.tgt_file_created_at,
            mtime: target.tgt_file_modified_at,
            is_signed: target.tgt_file_is_signed,
        },
        host: Host {
            names: [current.name, detected.name],
            id: current.id,
            kind: if current.machine_type.is_empty() { detected.machine_type } else { current.machine_type },
            os: Os {
                kind: [detected.os_family, current.os],
                family: detected.os_family,
                name: if detected.os_name.is_empty() { current.os } else { detected.os_name },
                version: detected.os_revision,
            },
            addresses: [Value::default(); 2],
            mac: Value::default(),
        },
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
        },
    }
}

fn process<'a>(process: &AlertProcess<'a>) -> Process<'a> {
    let user = users(process);
    Process {
        name: process.name,
        pid: process.pid,
        command_line: process.commandline,
        executable: process.file_path,
        md5: process.file_hash_md5,
        sha1: process.file_hash_sha1,
        sha256: process.file_hash_sha256,
        entity_id: process.unique_id,
        start: process.pid_starttime,
        signer: process.file_signer_identity,
        user,
    }
}

/// Newer consoles have the users of a Linux process one by one.
fn users<'a>(process: &AlertProcess<'a>) -> ProcessUser<'a> {
    let together = ProcessUser::of(process.user);
    ProcessUser {
        effective: Account::of(process.effective_user).or(together.effective),
        real: Account::of(process.real_user).or(together.real),
        login: Account::of(process.login_user).or(together.login),
    }
}
