//! Maps `/threats` to Detection Finding.

use s1_forwarder_record::threat::Threat;
use s1_forwarder_record::{Escaped, Value};

use super::attack::{AttackBuffers, Attacks};
use super::class::Class;
use super::event::{Event, Profile};
use super::file::{File, FileType};
use super::finding::{Malware, Verdict, activity};
use super::metadata::{CommonFields, Metadata};
use super::mitigation::{Reports, StatedMitigation};
use super::user::{UserType, mark_account, mark_process_user, names_in};
use super::{device, enrichment, unmapped, workload};
use crate::common::account::Account;
use crate::common::classification::{OUTCOMES, Outcome};
use crate::common::image::Image;
use crate::common::missing::{boolean, first_scalar, is_set};
use crate::common::threat::{is_version, unless_zero};
use crate::common::word::Word;
use crate::common::words::Words;
use crate::parts::{Acting, DetectedFile};
use crate::streams::enrichment::Enrichment;
use crate::streams::threat::{Mitigation, ThreatParts};

pub(super) fn map(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    threat: &Threat<'_>,
    enrichment: Option<&Enrichment>,
    attack_buffers: &mut AttackBuffers,
) {
    let parts = ThreatParts::of(threat);
    let attacks = Attacks::of_threat(attack_buffers, &parts);
    let endpoint = &parts.endpoint;
    event.begin(Class::DetectionFinding, activity(parts.is_new(), parts.status), "");
    let mut metadata = Metadata {
        record_id: parts.id,
        logged: parts.created,
        modified: parts.updated,
        correlation: parts.id,
        event_code: parts.detection_type,
        tenant: first_scalar(endpoint.owner.account_ids),
        ..Metadata::default()
    };
    // `start_time` has the time of the detection.
    let times = if parts.is_new() {
        [parts.created.unmarked(), parts.identified.unmarked(), parts.updated]
    } else {
        parts.times()
    };
    metadata.time(event, times);
    event.time("start_time", parts.identified.unmarked());
    event.severity(parts.severity);
    event.sentence("message", &parts.message());
    malware(event, &parts);
    finding_info(event, common, &parts, enrichment, &attacks);
    event.own_attacks(&attacks);
    let reports = Reports::of(parts.mitigation.reports());
    states(event, &parts, &reports);
    event.ticket(parts.ticket);
    if let Some(enrichment) = enrichment {
        enrichment::notes(event, enrichment);
    }
    let in_device = device(event, &parts);
    workload::cloud(event, &endpoint.cloud);
    actor(event, &parts);
    evidences(event, &parts, in_device);
    reports.write_remediation(event);
    device::observe_external(event, endpoint);
    event.tail(common, &metadata);
    unmapped::write(event, threat, &enrichment::NAMES, |event| {
        if let Some(enrichment) = enrichment {
            enrichment::write_unmapped(event, enrichment);
        }
    });
}

/// Writes `malware`. The list is left out without a known kind of malware, or if an analyst or the mitigation status
/// says that there is none.
fn malware(event: &mut Event<'_>, parts: &ThreatParts<'_>) {
    let is_harmless = Verdict::of(parts.verdict).is_some_and(Verdict::is_harmless);
    if is_harmless || OUTCOMES.of(parts.mitigation.status) == Some(Outcome::Benign) {
        return;
    }
    let file = &parts.file;
    let is_malicious = file.is_malicious();
    let malware = Malware {
        name: file.threat_name.escaped(),
        uid: file.sha1().escaped().filter(|_| is_malicious),
        classification: parts.classification,
        provider: parts.engines.first(),
        severity: parts.severity,
    };
    malware.write(event, |event| {
        if !is_malicious {
            return;
        }
        let list = event.open_list("files");
        let element = event.open_element();
        // The evidence has these values too, and marks them.
        let kept = DetectedFile { path: file.path.unmarked(), hashes: file.hashes.map(Value::unmarked), ..*file };
        object(&kept, &parts.process.acting).write_element(event);
        event.close(element);
        event.close(list);
    });
}

fn object<'a>(file: &DetectedFile<'a>, acting: &Acting<'_>) -> File<'a, 3> {
    File {
        name: file.image.map(Image::text),
        path: file.path,
        hashes: file.hashes,
        kind: if file.is_executable || acting.is_file { FileType::Executable } else { FileType::Regular },
    }
}

fn finding_info(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    parts: &ThreatParts<'_>,
    enrichment: Option<&Enrichment>,
    attacks: &Attacks<'_>,
) {
    let id = parts.id;
    let open = event.open("finding_info");
    event.finding_uid(common, id.escaped());
    event.mark_set([parts.record_id]);
    if is_set(id) && parts.threat_id.text() == id.text() {
        event.mark(parts.threat_id);
    } else {
        event.text("uid_alt", parts.threat_id);
    }
    if event.title(parts.file.threat_name).is_none()
        && event.title(parts.file.display_name.unmarked()).is_none()
        && let Some(id) = id.escaped()
    {
        event.sentence("title", &[("", Some(Escaped::plain("SentinelOne threat "))), ("", Some(id))]);
    }
    parts.engines.describe(event, parts.classification.escaped());
    event.time("created_time", parts.created);
    event.time("modified_time", parts.updated);
    event.time("first_seen_time", parts.identified);
    event.list_of("types", parts.classification.escaped());
    event.list_of("data_sources", parts.classification_source.escaped());
    if is_set(id) {
        event.threat_url(common, id.escaped());
    }
    parts.engines.write(event, parts.detection_type);
    attacks.write(&mut event.json);
    if let Some(enrichment) = enrichment {
        enrichment::related_events(event, common, enrichment);
    }
    event.close(open);
    event.mark_set([parts.classification, parts.classification_source, parts.detection_type]);
    parts.engines.mark(event);
    if is_set(id) {
        event.using(Profile::Incident);
        event.threat_url(common, id.escaped());
    }
}

fn states(event: &mut Event<'_>, parts: &ThreatParts<'_>, reports: &Reports<'_>) {
    let status = parts.mitigation.status;
    let is_benign = Word::is(status, "marked_as_benign");
    let verdict = Verdict::of(parts.verdict);
    event.json.boolean("is_alert", verdict != Some(Verdict::FalsePositive));
    event.incident_status(parts.status);
    event.confidence(parts.confidence);
    match verdict {
        Some(verdict) => {
            event.verdict(if verdict == Verdict::Unknown && is_benign { Verdict::Benign } else { verdict });
            verdict.mark(event, parts.verdict);
        }
        None => event.other_verdict(parts.verdict),
    }
    let Mitigation { is_preemptive, is_failed, is_detecting, .. } = parts.mitigation;
    let stated = StatedMitigation { status, is_preemptive, is_failed, is_detecting };
    if let Some((disposition, action)) = reports.outcome(&stated) {
        event.disposition(disposition);
        event.action(action);
    }
}

/// Writes the device and the resource. Returns whether the device has a container.
fn device(event: &mut Event<'_>, parts: &ThreatParts<'_>) -> bool {
    let endpoint = &parts.endpoint;
    let mut has_container = false;
    let is_device = device::write(event, endpoint, |event| {
        device::owner(event, endpoint, &parts.user);
        has_container = workload::container(event, &parts.container, parts.pod.is_set);
        if has_container {
            event.using(Profile::Container);
        }
    });
    device::resource(event, endpoint, |_| {});
    if is_device {
        device::mark_interfaces(event, endpoint.interfaces);
    }
    has_container
}

/// Detections that users of the console made.
pub(super) const INITIATORS: Words<()> =
    Words { field: "actor.user", rows: &[("dv_command", ()), ("console_api", ()), ("star_manual", ())] };

/// Writes the actor: the user of the process, or the user who came from another host. A user of the console who made
/// the detection comes first; the other user is then in the evidence.
fn actor(event: &mut Event<'_>, parts: &ThreatParts<'_>) {
    let initiator = INITIATORS.of(parts.initiator.by).and_then(|()| Account::of_console(parts.initiator.name));
    let Some(account) = initiator.or(parts.process.actor()) else { return };
    let open = event.open_actor();
    let user = event.open("user");
    event.account(account, UserType::Unknown);
    if initiator.is_some() {
        event.text("uid", parts.initiator.id);
        names_in(event, parts.initiator.name);
        mark_account(event, parts.initiator.name);
    } else {
        event.person(account);
    }
    event.close(user);
    event.close(open);
}

/// Writes the file with the user and the other values of the process, and the host that an attack came from.
fn evidences(event: &mut Event<'_>, parts: &ThreatParts<'_>, in_device: bool) {
    let process = &parts.process;
    let list = event.open_list("evidences");
    let element = event.open_element();
    file(event, &parts.file, &process.acting);
    if let Some(account) = process.user.effective {
        event.user("user", account);
        mark_process_user(event, process.user_text);
    }
    let data = event.open("data");
    // OCSF has no process without a number.
    if process.acting.has_arguments {
        event.optional("process", process.acting.process.map(Image::text));
    }
    if let Some(originator) = Image::of(process.originator) {
        event.optional("originator_process", Some(originator.text()));
        event.mark_if(process.originator, originator.text().raw());
    }
    event.command_line("arguments", process.arguments);
    event.text("storyline", parts.storyline);
    event.close(data);
    // A container alone is not evidence.
    if !in_device && !event.is_empty(&element) {
        workload::container(event, &parts.container, parts.pod.is_set);
    }
    event.close(element);
    if let Some(address) = process.origin.and_then(|origin| origin.address) {
        let element = event.open_element();
        let endpoint = event.open("src_endpoint");
        event.address("ip", &address);
        event.close(endpoint);
        event.close(element);
    }
    event.close(list);
}

fn file(event: &mut Event<'_>, file: &DetectedFile<'_>, acting: &Acting<'_>) {
    if file.is_missing() {
        return;
    }
    object(file, acting).write(event, "file", |event| {
        extension(event, file.extension);
        event.integer("size", unless_zero(file.size));
        event.text("company_name", file.publisher);
        event.signature(file.signature(), boolean(file.is_valid_certificate));
    });
}

fn extension(event: &mut Event<'_>, value: Value<'_>) {
    let Some(text) = value.escaped() else { return };
    let plain = Escaped::plain(text.raw().trim_start_matches('.'));
    if is_set(value) && !is_version(plain) {
        event.json.lower_case("ext", plain);
        if plain == text {
            event.mark(value);
        }
    }
}
