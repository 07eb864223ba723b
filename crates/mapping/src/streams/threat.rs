//! Threats: `/threats`.

use s1_forwarder_record::threat::{Threat, ThreatInfo};
use s1_forwarder_record::{Cursor, Escaped, Value};

use super::cloud::of_providers;
use crate::common::account::ProcessUser;
use crate::common::attack::Attack;
use crate::common::image::{Image, NamedFile};
use crate::common::missing::{boolean, domain, first_scalar, is_set, trimmed};
use crate::common::os::architecture_of_system;
use crate::common::remote_origin::RemoteOrigin;
use crate::common::severity::Severity;
use crate::common::threat::{DETECTION_TYPES, DetectionType, is_new, timestamp};
use crate::common::word::Word;
use crate::common::words::Words;
use crate::parts::{
    Acting, Clues, Container, DetectedFile, DetectedProcess, EcsTask, Endpoint, Engines, Interactive, Interfaces, Os,
    Owner, Pod, Sentence, is_bundle,
};

/// The parts of a threat's record that the schemas write.
#[derive(Debug, Clone, Copy)]
pub struct ThreatParts<'a> {
    /// The id of the record, else `threatId`.
    pub id: Value<'a>,
    pub record_id: Value<'a>,
    pub threat_id: Value<'a>,
    /// The severity of the threat. An analyst's verdict does not change it.
    pub severity: Option<Severity>,
    pub classification: Value<'a>,
    pub classification_source: Value<'a>,
    pub confidence: Value<'a>,
    pub verdict: Value<'a>,
    pub status: Value<'a>,
    pub ticket: Value<'a>,
    pub storyline: Value<'a>,
    /// `static` or `dynamic`
    pub detection_type: Value<'a>,
    pub created: Value<'a>,
    pub updated: Value<'a>,
    pub identified: Value<'a>,
    indicators: Value<'a>,
    pub engines: Engines<'a>,
    pub mitigation: Mitigation<'a>,
    pub file: DetectedFile<'a>,
    pub process: DetectedProcess<'a>,
    pub initiator: Initiator<'a>,
    /// The principal name of the user of the first process.
    pub root_user: Value<'a>,
    pub endpoint: Endpoint<'a>,
    /// The user who was logged in at the detection.
    pub user: Interactive<'a>,
    pub container: Container<'a>,
    pub pod: Pod<'a>,
    /// The task of Amazon ECS, only if there is no pod.
    pub task: Option<EcsTask<'a>>,
}

/// The statements of a threat's indicators, in their order.
pub enum Indication<'a> {
    Description(Value<'a>),
    /// The name of a tactic, before its techniques.
    Tactic(Option<Escaped<'a>>),
    Technique(Attack<'a>),
    TacticEnd,
}

/// An action against a threat.
#[derive(Debug, Clone, Copy)]
pub struct MitigationReport<'a> {
    pub ended: Value<'a>,
    pub action: Value<'a>,
    pub status: Value<'a>,
    pub counters: Counters,
}

/// Numbers of the objects of an action; `None` for a number that the report does not have.
#[derive(Debug, Clone, Copy)]
pub struct Counters {
    pub success: Option<u32>,
    pub failed: Option<u32>,
    pub not_found: Option<u32>,
    pub pending: Option<u32>,
    pub total: Option<u32>,
}

/// How an action ended, according to its report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Success,
    /// The action succeeded for some of its objects.
    Partial,
    Failed,
    Pending,
}

pub const ENDED: Words<Ended> = Words {
    field: "disposition",
    rows: &[
        ("success", Ended::Success),
        ("partial", Ended::Partial),
        ("failed", Ended::Failed),
        ("pending", Ended::Pending),
        ("pending_reboot", Ended::Pending),
    ],
};

/// The counters are more precise than the status, which is one word for all objects of an action.
impl MitigationReport<'_> {
    pub fn ended(&self) -> Option<Ended> {
        ENDED.of(self.status)
    }

    pub fn has_failed(&self) -> bool {
        matches!(self.ended(), Some(Ended::Failed | Ended::Partial)) || is_some(self.counters.failed)
    }
}

pub fn is_some(count: Option<u32>) -> bool {
    count.is_some_and(|count| count > 0)
}

/// The actions against a threat, and their results.
#[derive(Debug, Clone, Copy)]
pub struct Mitigation<'a> {
    pub status: Value<'a>,
    pub description: Value<'a>,
    reports: Value<'a>,
    /// Whether the console says that actions failed.
    pub is_failed: bool,
    pub is_preemptive: bool,
    /// Whether the agent only detects.
    pub is_detecting: bool,
}

/// The user of the console who made the detection, if `by` says that a user did.
#[derive(Debug, Clone, Copy)]
pub struct Initiator<'a> {
    pub by: Value<'a>,
    pub id: Value<'a>,
    pub name: Value<'a>,
}

impl<'a> ThreatParts<'a> {
    pub fn of(threat: &Threat<'a>) -> Self {
        let info = &threat.threat_info;
        let container = &threat.container_info;
        let task = &threat.ecs_info;
        let pod = pod(threat);
        let has_task = !pod.is_set && !task.is_empty();
        let file = file(info, threat.agent_realtime_info.agent_os_type);
        Self {
            id: first_scalar([threat.id, info.threat_id]),
            record_id: threat.id,
            threat_id: info.threat_id,
            severity: Severity::of_confidence(info.confidence_level, info.classification),
            classification: info.classification,
            classification_source: info.classification_source,
            confidence: info.confidence_level,
            verdict: info.analyst_verdict,
            status: info.incident_status,
            ticket: info.external_ticket_id,
            storyline: info.storyline,
            detection_type: info.detection_type,
            created: info.created_at,
            updated: info.updated_at,
            identified: info.identified_at,
            indicators: threat.indicators,
            engines: Engines { list: info.detection_engines, titles: info.engines },
            mitigation: mitigation(threat),
            file,
            process: process(threat, &file),
            initiator: Initiator { by: info.initiated_by, id: info.initiating_user_id, name: info.initiating_username },
            root_user: info.root_process_upn,
            endpoint: endpoint(threat),
            user: user(threat),
            container: Container {
                id: container.id,
                name: container.name,
                image: container.image,
                labels: container.labels,
            },
            pod,
            task: has_task.then_some(EcsTask { cluster: task.cluster_name, service: task.service_name }),
        }
    }

    /// Returns whether the threat was last updated within a minute of its creation, or never.
    pub fn is_new(&self) -> bool {
        is_new(self.created, self.updated)
    }

    /// Returns the times for the event, the preferred one first: the detection while the threat is new, later its last
    /// change.
    pub fn times(&self) -> [Value<'a>; 3] {
        // Other fields have these two times as well, and mark them.
        let identified = self.identified.unmarked();
        let created = self.created.unmarked();
        if self.is_new() && [identified, created].into_iter().any(|time| timestamp(time).is_some()) {
            [identified, created, self.updated]
        } else {
            [self.updated, identified, created]
        }
    }

    /// Reads the indicators in one pass.
    pub fn each_indication(&self, mut visit: impl FnMut(Indication<'a>)) {
        Cursor::new(self.indicators).each_element(|cursor| {
            cursor.each_entry(|cursor, key| match key {
                "description" => visit(Indication::Description(cursor.value())),
                "tactics" => cursor.each_element(|cursor| each_technique(cursor, &mut visit)),
                _ => _ = cursor.value(),
            });
        });
    }

    pub fn message(&self) -> Sentence<'a, 4> {
        [
            ("", trimmed(self.classification)),
            (" ", trimmed(self.file.threat_name)),
            (" on ", trimmed(self.endpoint.name())),
            (": ", trimmed(self.mitigation.description)),
        ]
    }
}

/// Visits a tactic and its techniques. Keys are in alphabetical order, so the name of a tactic comes before its
/// techniques. If it does not, the techniques are read after the name.
fn each_technique<'a>(cursor: &mut Cursor<'a>, visit: &mut impl FnMut(Indication<'a>)) {
    let mut tactic = None;
    let mut nameless = Value::default();
    cursor.each_entry(|cursor, key| match key {
        "name" => {
            tactic = cursor.value().escaped();
            visit(Indication::Tactic(tactic));
        }
        "techniques" if tactic.is_none() => nameless = cursor.value(),
        "techniques" => each_technique_of(tactic, cursor, visit),
        _ => _ = cursor.value(),
    });
    each_technique_of(tactic, &mut Cursor::new(nameless), visit);
    visit(Indication::TacticEnd);
}

fn each_technique_of<'a>(tactic: Option<Escaped<'a>>, cursor: &mut Cursor<'a>, visit: &mut impl FnMut(Indication<'a>)) {
    cursor.each_element(|cursor| {
        let mut attack = Attack { tactic, ..Attack::default() };
        cursor.each_entry(|cursor, key| {
            let text = cursor.value().escaped();
            match key {
                "name" => attack.technique = text,
                "link" => attack.link = text,
                _ => {}
            }
        });
        visit(Indication::Technique(attack));
    });
}

impl<'a> Mitigation<'a> {
    pub fn reports(&self) -> impl Iterator<Item = MitigationReport<'a>> {
        reports(self.reports)
    }

    /// Returns whether actions failed. Older consoles say so only in the reports.
    pub fn has_failed(&self) -> bool {
        self.is_failed || self.reports().any(|report| report.has_failed())
    }
}

pub fn reports<'a>(list: Value<'a>) -> impl Iterator<Item = MitigationReport<'a>> {
    list.elements().map(|report| {
        let counters = report.get("actionsCounters");
        let count = |key: &str| counters.get(key).escaped().and_then(|text| text.raw().parse().ok());
        MitigationReport {
            ended: report.get("mitigationEndedAt"),
            action: report.get("action"),
            status: report.get("status"),
            counters: Counters {
                success: count("success"),
                failed: count("failed"),
                not_found: count("notFound"),
                pending: count("pendingReboot"),
                total: count("total"),
            },
        }
    })
}

fn mitigation<'a>(threat: &Threat<'a>) -> Mitigation<'a> {
    let info = &threat.threat_info;
    let modes = [threat.agent_detection_info.agent_mitigation_mode, threat.agent_realtime_info.agent_mitigation_mode];
    Mitigation {
        status: info.mitigation_status,
        description: info.mitigation_status_description,
        reports: threat.mitigation_status,
        is_failed: boolean(info.failed_actions) == Some(true),
        is_preemptive: boolean(info.mitigated_preemptively) == Some(true),
        is_detecting: Word::is(first_scalar(modes), "detect"),
    }
}

fn file<'a>(info: &ThreatInfo<'a>, os_type: Value<'a>) -> DetectedFile<'a> {
    let shown = first_scalar([info.file_display_name, info.threat_name]);
    let file = NamedFile::of(info.file_path, shown);
    let [hashes, hashes_of_command_line] = file.hashes([info.md5, info.sha1, info.sha256]);
    // The size and the signature belong to the same object as the hashes.
    let is_of_file = !hashes_of_command_line.into_iter().any(is_set);
    let of_file = |value: Value<'a>| if is_of_file { value } else { Value::default() };
    DetectedFile {
        image: file.image,
        process: file.process,
        path: file.path,
        display_name: info.file_display_name,
        threat_name: info.threat_name,
        extension: info.file_extension,
        is_executable: info.file_extension_type.escaped().is_some_and(|text| text.is("executable"))
            && !file.image.is_some_and(|image| is_bundle(image, os_type)),
        size: of_file(info.file_size),
        hashes,
        hashes_of_command_line,
        verification: of_file(info.file_verification_type),
        publisher: of_file(info.publisher_name),
        certificate_id: of_file(info.certificate_id),
        is_valid_certificate: of_file(info.is_valid_certificate),
        is_fileless: boolean(info.is_fileless) == Some(true),
    }
}

fn process<'a>(threat: &Threat<'a>, file: &DetectedFile<'a>) -> DetectedProcess<'a> {
    let info = &threat.threat_info;
    let origin = RemoteOrigin::of(info.originator_process);
    let acting = Acting::of(&Clues {
        image: file.image,
        process: file.process,
        is_missing: file.is_missing(),
        extension: info.file_extension,
        extension_type: info.file_extension_type,
        os_type: threat.agent_realtime_info.agent_os_type,
        is_fileless: file.is_fileless,
        has_run: DETECTION_TYPES.of(info.detection_type).map(|kind| kind == DetectionType::Dynamic),
        arguments: info.malicious_process_arguments,
        originator: Image::of(info.originator_process),
    });
    DetectedProcess {
        acting,
        originator: info.originator_process,
        arguments: info.malicious_process_arguments,
        user: ProcessUser::of(info.process_user),
        user_text: info.process_user,
        origin,
    }
}

/// Returns the current endpoint, else the endpoint at the time of the detection. Only the latter has addresses outside
/// the interfaces.
fn endpoint<'a>(threat: &Threat<'a>) -> Endpoint<'a> {
    let current = &threat.agent_realtime_info;
    let detected = &threat.agent_detection_info;
    let none = Value::default();
    let os = Os {
        names: [current.agent_os_name, detected.agent_os_name],
        versions: [current.agent_os_revision, detected.agent_os_revision],
        types: [current.agent_os_type, none, none],
        family: current.agent_os_type,
        ..Os::default()
    };
    Endpoint {
        agent_id: current.agent_id,
        agent_uuids: [current.agent_uuid, detected.agent_uuid],
        agent_versions: [current.agent_version, detected.agent_version],
        is_managed: boolean(current.agent_is_decommissioned) != Some(true),
        names: [current.agent_computer_name, detected.agent_computer_name],
        domains: [domain(current.agent_domain), domain(detected.agent_domain)],
        machine_type: current.agent_machine_type,
        os,
        architecture: architecture_of_system([os.names[0], os.versions[0], os.names[1], os.versions[1]]),
        interfaces: Interfaces { list: current.network_interfaces },
        addresses: [detected.agent_ip_v4, detected.agent_ip_v6, none, none],
        external: detected.external_ip,
        external_path: Some("agentDetectionInfo.externalIp"),
        cloud: of_providers(detected.cloud_providers),
        owner: Owner {
            account_ids: [current.account_id, detected.account_id],
            account_names: [current.account_name, detected.account_name, none],
            site_ids: [current.site_id, detected.site_id],
            site_names: [current.site_name, detected.site_name],
            group_ids: [current.group_id, detected.group_id],
            group_names: [current.group_name, detected.group_name, none],
        },
        ..Endpoint::default()
    }
}

fn user<'a>(threat: &Threat<'a>) -> Interactive<'a> {
    let detected = &threat.agent_detection_info;
    Interactive {
        names: [detected.agent_last_logged_in_user_name, Value::default()],
        email: detected.agent_last_logged_in_user_mail,
        principal_name: detected.agent_last_logged_in_upn,
    }
}

fn pod<'a>(threat: &Threat<'a>) -> Pod<'a> {
    let pod = &threat.kubernetes_info;
    Pod {
        is_set: !pod.is_empty(),
        cluster: pod.cluster,
        namespace: pod.namespace,
        name: pod.pod,
        controller_kind: pod.controller_kind,
        labels: Value::default(),
    }
}
