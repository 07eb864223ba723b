//! The detection in an alert.

use s1_forwarder_record::Value;
use s1_forwarder_record::alert::{Alert, AlertInfo, AlertProcess, AlertTarget};

use super::account::{Account, ProcessUser};
use super::detection::{Container, Detection, File, Host, Login, Peer, Pod, Process, Rule, Target};
use super::event_kind::EventKind;
use super::matched::Matched;
use super::os::Os;
use super::registry::Registry;

pub fn matched<'a>(info: &AlertInfo<'a>, target: &AlertTarget<'a>) -> Matched<'a> {
    let login = [info.login_is_successful, info.logins_user_name, info.login_account_sid, info.login_type];
    let target = [target.tgt_proc_name, target.tgt_proc_image_path, target.tgt_proc_cmd_line];
    let mut matched = Matched::new(info.event_type, login, target);
    if info.event_type.is_empty() && matched.kind.is_none() && !info.indicator_category.is_empty() {
        matched.kind = Some(EventKind::Indicator);
    }
    matched
}

/// The fields of a detection in an alert. `none` replaces addresses, which alerts do not have.
pub fn detection<'v, 'a>(
    alert: &'v mut Alert<'a>,
    kind: Option<EventKind>,
    none: &'v mut [Value<'a>; 2],
) -> Detection<'v, 'a> {
    let (info, rule, target) = (&mut alert.alert_info, &mut alert.rule_info, &mut alert.target_process_info);
    let (current, detected) = (&mut alert.agent_realtime_info, &mut alert.agent_detection_info);
    let (container, pod) = (&mut alert.container_info, &mut alert.kubernetes_info);
    Detection {
        kind,
        event_type: info.event_type,
        rule: Rule {
            id: &mut rule.id,
            name: &mut rule.name,
            description: &mut rule.description,
            category: &mut rule.query_type,
        },
        source: Peer { ip: &mut info.src_ip, port: &mut info.src_port },
        destination: Peer { ip: &mut info.dst_ip, port: &mut info.dst_port },
        direction: info.net_event_direction,
        machine_ip: &mut info.src_machine_ip,
        dns_request: &mut info.dns_request,
        dns_response: &mut info.dns_response,
        login: Login {
            name: &mut info.logins_user_name,
            domain: &mut info.login_account_domain,
            sid: &mut info.login_account_sid,
        },
        registry: Registry {
            key_path: &mut info.registry_key_path,
            path: &mut info.registry_path,
            data: &mut info.registry_value,
            old_data_type: info.registry_old_value_type,
        },
        module_path: &mut info.module_path,
        module_sha1: &mut info.module_sha1,
        indicator_type: info.ti_indicator_type,
        indicator_value: &mut info.ti_indicator_value,
        indicator_source: &mut info.ti_indicator_source,
        process: process(&mut alert.source_process_info),
        parent: process(&mut alert.source_parent_process_info),
        target: Target {
            name: &mut target.tgt_proc_name,
            pid: &mut target.tgt_proc_pid,
            command_line: &mut target.tgt_proc_cmd_line,
            executable: &mut target.tgt_proc_image_path,
            entity_id: &mut target.tgt_proc_uid,
            start: &mut target.tgt_process_start_time,
        },
        file: File {
            path: &mut target.tgt_file_path,
            sha1: &mut target.tgt_file_hash_sha1,
            sha256: &mut target.tgt_file_hash_sha256,
            created: &mut target.tgt_file_created_at,
            mtime: &mut target.tgt_file_modified_at,
            is_signed: target.tgt_file_is_signed,
        },
        host: Host {
            names: [&mut current.name, &mut detected.name],
            id: &mut current.id,
            kind: if current.machine_type.is_empty() { &mut detected.machine_type } else { &mut current.machine_type },
            os: Os {
                kind: [detected.os_family, current.os],
                family: detected.os_family,
                name: if detected.os_name.is_empty() { &mut current.os } else { &mut detected.os_name },
                version: &mut detected.os_revision,
            },
            addresses: none.each_mut(),
            mac: Value::default(),
        },
        container: Container {
            id: &mut container.id,
            name: &mut container.name,
            image: &mut container.image,
            labels: container.labels,
        },
        pod: Pod {
            is_set: !pod.is_empty(),
            cluster: &mut pod.cluster,
            namespace: &mut pod.namespace,
            name: &mut pod.pod,
            controller_kind: &mut pod.controller_kind,
        },
    }
}

fn process<'v, 'a>(process: &'v mut AlertProcess<'a>) -> Process<'v, 'a> {
    let user = users(process);
    Process {
        name: &mut process.name,
        pid: &mut process.pid,
        command_line: &mut process.commandline,
        executable: &mut process.file_path,
        md5: &mut process.file_hash_md5,
        sha1: &mut process.file_hash_sha1,
        sha256: &mut process.file_hash_sha256,
        entity_id: &mut process.unique_id,
        start: &mut process.pid_starttime,
        signer: &mut process.file_signer_identity,
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
