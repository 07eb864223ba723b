//! Maps `/cloud-detection/alerts` to ECS.

use super::common::CommonFields;
use super::detection::{self, Container, Detection, File, Host, Kind, Login, Peer, Pod, Process, Rule};
use super::endpoint::{Os, first_scalar};
use super::event::Event;
use super::organization;
use super::severity::Severity;
use super::vendor::write_remaining;
use crate::record::Value;
use crate::record::alert::{Alert, AlertProcess};
use crate::transform::copy::KeyCase;

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, alert: &mut Alert<'_>) {
    let severity = alert.rule_info.severity.escaped().and_then(Severity::of_word).unwrap_or(Severity::Informational);
    let agent_id = alert.agent_realtime_info.id;
    let info = &alert.alert_info;
    // Uses copies: `event.created` takes the date.
    let times = [&mut { info.created_at }, &mut { info.reported_at }, &mut { info.updated_at }];
    event.head(common, times, [&mut alert.agent_detection_info.version]);
    let name = first_scalar([alert.agent_realtime_info.name, alert.agent_detection_info.name]);
    event.sentence(
        "message",
        &[
            ("", alert.rule_info.name.escaped()),
            (" on ", name.escaped()),
            (": ", alert.source_process_info.name.escaped()),
        ],
    );
    event_object(event, common, alert, severity);
    detection::write(event, &mut detection(alert, &mut [Value::default(); 2]));
    organization::write(event, [&mut alert.agent_detection_info.account_id], [&mut Value::default()]);
    event.tail();

    let vendor = event.json.open("sentinel_one");
    let object = event.json.open("alert");
    event.json.word("severity", severity.word());
    organization::agent_and_site(event, agent_id, [alert.agent_detection_info.site_id], [Value::default()]);
    write_remaining(&mut event.json, alert, KeyCase::Snake, &["severity", "agent", "site"]);
    event.json.close(object);
    event.json.close(vendor);
    event.json.raw(b"}");
}

fn event_object(event: &mut Event<'_>, common: &CommonFields<'_>, alert: &mut Alert<'_>, severity: Severity) {
    let info = &mut alert.alert_info;
    let by_indicator = info.event_type.is_empty() && !info.indicator_category.is_empty();
    let kind = if by_indicator { Some(Kind::Indicator) } else { detection::kind(info.event_type) };
    let (category, kind_of_type) = kind.map(Kind::class).unzip();
    let open = event.open("event");
    event.json.word("kind", "alert");
    event.words("category", ["intrusion_detection"].into_iter().chain(category));
    event.words("type", ["info"].into_iter().chain(kind_of_type.filter(|word| *word != "info")));
    match info.event_type.escaped() {
        Some(event_type) => event.json.text("action", &format!("alert-{}", event_type.decode().to_lowercase())),
        None => event.json.word("action", "alert-raised"),
    }
    if matches!(kind, Some(Kind::Login | Kind::Logout))
        && let Some(outcome) = detection::login_outcome(info.login_is_successful)
    {
        event.json.word("outcome", outcome);
    }
    event.severity(severity);
    event.keyword("id", &mut info.alert_id);
    event.date("created", &mut info.created_at);
    event.provenance(common);
    event.close(open);
}

/// The fields of a detection in an alert. `none` replaces addresses, which alerts do not have.
fn detection<'v, 'a>(alert: &'v mut Alert<'a>, none: &'v mut [Value<'a>; 2]) -> Detection<'v, 'a> {
    let (info, rule, target) = (&mut alert.alert_info, &mut alert.rule_info, &mut alert.target_process_info);
    let (current, detected) = (&mut alert.agent_realtime_info, &mut alert.agent_detection_info);
    let (container, pod) = (&mut alert.container_info, &mut alert.kubernetes_info);
    Detection {
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
        registry_key: &mut info.registry_key_path,
        registry_path: &mut info.registry_path,
        registry_value: &mut info.registry_value,
        module_path: &mut info.module_path,
        module_sha1: &mut info.module_sha1,
        indicator_type: info.ti_indicator_type,
        indicator_value: &mut info.ti_indicator_value,
        indicator_source: &mut info.ti_indicator_source,
        process: process(&mut alert.source_process_info),
        parent: process(&mut alert.source_parent_process_info),
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
        },
        container: Container { id: &mut container.id, name: &mut container.name, image: &mut container.image },
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
        user: process.user,
    }
}
