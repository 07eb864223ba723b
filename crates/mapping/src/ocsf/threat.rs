//! Maps `/threats` to Detection Finding.

use s1_forwarder_record::threat::{Threat, ThreatInfo};
use s1_forwarder_record::{Escaped, Value};

use super::class::DETECTION_FINDING;
use super::device::{Device, Place, are_interfaces_mapped};
use super::engines::Engines;
use super::enrichment;
use super::event::{Event, Profile, address};
use super::file::{File, FileType};
use super::finding::{Malware, Verdict};
use super::metadata::{Common, Metadata};
use super::mitigation::Mitigation;
use super::observables::Kind;
use super::unmapped;
use super::user::{UserType, mark_account, mark_process_user};
use super::workload::{self, Cloud};
use crate::common::account::{Account, ProcessUser};
use crate::common::classification::Word;
use crate::common::enrichment::Enrichment;
use crate::common::os::Os;
use crate::common::placeholder::{boolean, first_scalar, is_set};
use crate::common::remote_origin::{self, RemoteOrigin};
use crate::common::severity::Severity;
use crate::common::threat::{file_size, fileless_process, is_new, is_without_file, severity, time};

const CREATE: u8 = 1;
const UPDATE: u8 = 2;
const CLOSE: u8 = 3;

pub(super) fn map(event: &mut Event<'_>, common: &Common<'_>, threat: &Threat<'_>, enrichment: Option<&Enrichment>) {
    let severity = severity(threat);
    let id = first_scalar([threat.id, threat.threat_info.threat_id]);
    let info = &threat.threat_info;
    let activity = match () {
        () if is_new(info.created_at, info.updated_at) => CREATE,
        () if Word::is(info.incident_status, "resolved") => CLOSE,
        () => UPDATE,
    };
    event.begin(&DETECTION_FINDING, activity, "");
    let current = &threat.agent_realtime_info;
    let detected = &threat.agent_detection_info;
    let mut metadata = Metadata {
        record_id: id,
        logged: info.created_at,
        modified: info.updated_at,
        correlation: id,
        event_code: info.detection_type,
        tenant: first_scalar([current.account_id, detected.account_id]),
        ..Metadata::default()
    };
    if activity == CREATE && time(info.identified_at).is_some() {
        metadata.time(event, [info.identified_at, info.created_at]);
    } else {
        metadata.time(event, [info.updated_at, info.identified_at, info.created_at]);
    }
    event.severity(severity);
    message(event, threat);
    event.attacks.read(threat.indicators);
    malware(event, &threat.threat_info, severity);
    finding_info(event, common, threat, id, enrichment);
    event.write_own_attacks();
    let mitigation = Mitigation::of(threat.mitigation_status);
    states(event, threat, &mitigation);
    event.ticket(threat.threat_info.external_ticket_id);
    if let Some(enrichment) = enrichment {
        enrichment::comment(event, enrichment);
    }
    let in_device = device(event, threat);
    Cloud::of(threat.agent_detection_info.cloud_providers).write(event);
    actor(event, &threat.threat_info);
    evidences(event, threat, in_device);
    mitigation.write_remediation(event);
    observe_external(event, threat.agent_detection_info.external_ip);
    event.tail(common, &metadata);
    unmapped::write(event, threat, &enrichment::RESERVED, |event| {
        if let Some(enrichment) = enrichment {
            enrichment::write_unmapped(event, enrichment);
        }
    });
}

fn message(event: &mut Event<'_>, threat: &Threat<'_>) {
    let info = &threat.threat_info;
    let names = [threat.agent_realtime_info.agent_computer_name, threat.agent_detection_info.agent_computer_name];
    event.sentence(
        "message",
        &[
            ("", info.classification.escaped()),
            (" ", info.threat_name.escaped()),
            (" on ", first_scalar(names).escaped()),
            (": ", info.mitigation_status_description.escaped()),
        ],
    );
}

/// The address that the console sees is no address of the device, so it is an observable in `unmapped`.
fn observe_external(event: &mut Event<'_>, external: Value<'_>) {
    if let Some(address) = address(external)
        && external.escaped() == Some(address.as_escaped())
    {
        event.observe_unmapped(Kind::IpAddress, "agentDetectionInfo.externalIp", address.as_escaped());
    }
}

/// Without a known kind of malware, the list is left out.
fn malware(event: &mut Event<'_>, info: &ThreatInfo<'_>, severity: Severity) {
    let malware = Malware {
        name: info.threat_name.escaped(),
        uid: info.sha1.escaped(),
        classification: info.classification,
        provider: Engines::of(info).first(),
        severity,
    };
    malware.write(event, |event| {
        if is_without_file(info) {
            return;
        }
        let list = event.open_list("files");
        let element = event.open_element();
        // The values are in the evidence too, which marks them.
        let hashes = [info.md5, info.sha1, info.sha256].map(Value::kept);
        file_of(info, info.threat_name, info.file_path.kept(), hashes).write_element(event);
        event.close(element);
        event.close(list);
    });
}

fn file_of<'a>(info: &ThreatInfo<'a>, name: Value<'a>, path: Value<'a>, hashes: [Value<'a>; 3]) -> File<'a, 3> {
    let is_executable = info.file_extension_type.escaped().is_some_and(|text| text.is("executable"));
    File {
        name: remote_origin::name_of(first_scalar([info.file_display_name, name])),
        path,
        hashes,
        kind: if is_executable { FileType::Executable } else { FileType::Regular },
    }
}

fn finding_info<'a>(
    event: &mut Event<'_>,
    common: &Common<'_>,
    threat: &Threat<'a>,
    id: Value<'a>,
    enrichment: Option<&Enrichment>,
) {
    let info = &threat.threat_info;
    let engines = Engines::of(info);
    let open = event.open("finding_info");
    event.finding_uid(common, id.escaped());
    if is_set(threat.id) {
        event.used.mark(threat.id);
    }
    if is_set(id) && info.threat_id.text() == id.text() {
        event.used.mark(info.threat_id);
    } else {
        event.text("uid_alt", info.threat_id);
    }
    if event.text("title", info.threat_name).is_none()
        && event.optional("title", info.file_display_name.escaped()).is_none()
        && let Some(id) = id.escaped()
    {
        event.sentence("title", &[("", Some(Escaped::plain("SentinelOne threat "))), ("", Some(id))]);
    }
    engines.describe(event, info.classification.escaped());
    event.time("created_time", info.created_at);
    event.time("modified_time", info.updated_at);
    event.time("first_seen_time", info.identified_at);
    for (name, value) in [("types", info.classification), ("data_sources", info.classification_source)] {
        event.list_of(name, value.escaped());
        if is_set(value) {
            event.used.mark(value);
        }
    }
    if is_set(id) {
        event.threat_url(common, id.escaped());
    }
    engines.write(event, info.detection_type);
    event.write_attacks();
    if let Some(enrichment) = enrichment {
        enrichment::related_events(event, common, enrichment);
    }
    event.close(open);
    // `metadata.event_code` has it too.
    if is_set(info.detection_type) {
        event.used.mark(info.detection_type);
    }
    engines.mark(event, info);
    if is_set(id) {
        event.using(Profile::Incident);
        event.threat_url(common, id.escaped());
    }
}

fn states(event: &mut Event<'_>, threat: &Threat<'_>, mitigation: &Mitigation<'_>) {
    let is_detecting =
        [threat.agent_detection_info.agent_mitigation_mode, threat.agent_realtime_info.agent_mitigation_mode]
            .into_iter()
            .find(|mode| is_set(*mode))
            .is_some_and(|mode| Word::is(mode, "detect"));
    let info = &threat.threat_info;
    let is_benign = Word::is(info.mitigation_status, "marked_as_benign");
    let verdict = Verdict::of(info.analyst_verdict);
    event.json.boolean("is_alert", verdict != Some(Verdict::FalsePositive));
    event.incident_status(info.incident_status);
    event.confidence(info.confidence_level);
    if let Some(verdict) = verdict {
        event.verdict(if verdict == Verdict::Unknown && is_benign { Verdict::Benign } else { verdict });
        Verdict::mark(event, info.analyst_verdict);
    }
    if let Some((disposition, action)) = mitigation.outcome(
        info.mitigation_status,
        boolean(info.mitigated_preemptively) == Some(true),
        boolean(info.failed_actions) == Some(true),
        is_detecting,
    ) {
        event.disposition(disposition);
        event.action(action);
    }
}

/// Returns whether the container is in the device.
fn device(event: &mut Event<'_>, threat: &Threat<'_>) -> bool {
    let current = &threat.agent_realtime_info;
    let detected = &threat.agent_detection_info;
    let is_gone = boolean(current.agent_is_decommissioned) == Some(true);
    let container = &threat.container_info;
    let in_kubernetes = !threat.kubernetes_info.is_empty();
    let mut has_container = false;
    let device = Device {
        uid: current.agent_id,
        uid_alt: [current.agent_uuid, detected.agent_uuid],
        names: [current.agent_computer_name, detected.agent_computer_name],
        domains: [current.agent_domain, detected.agent_domain],
        kind: current.agent_machine_type,
        os: Os {
            kind: [current.agent_os_type, Value::default()],
            name: if is_set(current.agent_os_name) { current.agent_os_name } else { detected.agent_os_name },
            version: if is_set(current.agent_os_revision) {
                current.agent_os_revision
            } else {
                detected.agent_os_revision
            },
            ..Os::default()
        },
        interfaces: current.network_interfaces,
        addresses: [detected.agent_ip_v4, detected.agent_ip_v6, Value::default(), Value::default()],
        external: detected.external_ip,
        agent_versions: [current.agent_version, detected.agent_version],
        is_managed: !is_gone,
        place: Place {
            account_id: [current.account_id, detected.account_id],
            account_name: [current.account_name, detected.account_name],
            site_id: [current.site_id, detected.site_id],
            site_name: [current.site_name, detected.site_name],
            group_id: [current.group_id, detected.group_id],
            group_name: [current.group_name, detected.group_name],
        },
        cloud: Cloud::of(detected.cloud_providers),
        ..Device::default()
    };
    let id = device.uid;
    let name = first_scalar([device.names[0], device.names[1]]);
    let is_device = device.write(event, |event| {
        let name = detected.agent_last_logged_in_user_name;
        if let Some(account) = Account::of(name) {
            let owner = event.open("owner");
            event.account(account, UserType::User);
            event.email("email_addr", detected.agent_last_logged_in_user_mail);
            event.text("uid_alt", detected.agent_last_logged_in_upn);
            event.close(owner);
            mark_account(event, name);
        }
        has_container = workload::container(event, container, in_kubernetes);
        if has_container {
            event.using(Profile::Container);
        }
    });
    resource(event, id, name);
    if is_device && are_interfaces_mapped(threat.agent_realtime_info.network_interfaces) {
        event.used.mark(threat.agent_realtime_info.network_interfaces);
    }
    has_container
}

/// The user whose process it was, or who came from another host. A user of the console who made the detection comes
/// first; the other one is in the evidence.
fn actor(event: &mut Event<'_>, info: &ThreatInfo<'_>) {
    let origin = RemoteOrigin::of(info.originator_process).and_then(|origin| origin.user);
    let of_process = origin.or(ProcessUser::of(info.process_user).effective);
    let by_user = matches!(Word::of_value(info.initiated_by).as_str(), "dv_command" | "console_api" | "star_manual");
    let initiator = Account::of(info.initiating_username).filter(|_| by_user);
    let Some(account) = initiator.or(of_process) else { return };
    let open = event.open_actor();
    let user = event.open("user");
    if initiator.is_some() {
        event.account(account, UserType::Admin);
        event.text("uid", info.initiating_user_id);
        mark_account(event, info.initiating_username);
    } else {
        event.account(account, UserType::Unknown);
    }
    event.close(user);
    event.close(open);
}

/// The file with the user and what else the record says of the process, and the host that an attack came from.
fn evidences(event: &mut Event<'_>, threat: &Threat<'_>, in_device: bool) {
    let info = &threat.threat_info;
    let origin = RemoteOrigin::of(info.originator_process);
    let list = event.open_list("evidences");
    let element = event.open_element();
    file(event, info);
    if let Some(account) = ProcessUser::of(info.process_user).effective {
        event.user("user", account, UserType::Unknown);
        mark_process_user(event, info.process_user);
    }
    let data = event.open("data");
    // OCSF has no process without a number.
    if is_without_file(info) {
        event.optional("process", fileless_process(info));
    }
    if origin.is_none() {
        event.text("originator_process", info.originator_process);
    }
    event.text("arguments", info.malicious_process_arguments);
    event.text("storyline", info.storyline);
    event.close(data);
    // A container alone is no evidence.
    if !in_device && !event.is_empty(&element) {
        workload::container(event, &threat.container_info, !threat.kubernetes_info.is_empty());
    }
    event.close(element);
    if let Some(address) = origin.and_then(|origin| origin.address) {
        let element = event.open_element();
        let endpoint = event.open("src_endpoint");
        event.address("ip", &address);
        event.close(endpoint);
        event.close(element);
    }
    event.close(list);
}

fn file(event: &mut Event<'_>, info: &ThreatInfo<'_>) {
    if is_without_file(info) {
        return;
    }
    let is_valid = boolean(info.is_valid_certificate) == Some(true);
    let is_signed = is_valid
        || info
            .file_verification_type
            .escaped()
            .is_some_and(|text| text.raw().to_ascii_lowercase().starts_with("signed"));
    let extension = info.file_extension;
    // Usually the threat's name is the title.
    let name = event.used.left(info.threat_name);
    let file = file_of(info, name, info.file_path, [info.md5, info.sha1, info.sha256]);
    file.write(event, "file", |event| {
        if let Some(text) = extension.escaped() {
            let plain = Escaped::plain(text.raw().trim_start_matches('.'));
            if is_set(extension) && !plain.raw().is_empty() {
                event.json.lower_case("ext", plain);
                if plain == text {
                    event.used.mark(extension);
                }
            }
        }
        event.integer("size", file_size(info.file_size));
        event.text("company_name", info.publisher_name);
        if is_signed {
            let list = event.open_list("signatures");
            let element = event.open_element();
            event.choice("algorithm", 0, "Unknown");
            let (id, caption) = if is_valid { (1, "Valid") } else { (6, "Untrusted") };
            event.choice("state", id, caption);
            event.close(element);
            event.close(list);
        }
    });
}

pub(super) fn resource(event: &mut Event<'_>, id: Value<'_>, name: Value<'_>) {
    if !is_set(id) && !is_set(name) {
        return;
    }
    let list = event.open_list("resources");
    let element = event.open_element();
    event.optional("uid", id.escaped());
    event.optional("name", name.escaped());
    event.json.word("type", "Endpoint");
    event.close(element);
    event.close(list);
}
