//! Maps `/threats` to ECS.

use s1_forwarder_record::threat::{Threat, ThreatInfo};
use s1_forwarder_record::{Escaped, Value};

use super::common_fields::CommonFields;
use super::endpoint;
use super::event::{Event, boolean, is_placeholder, is_set};
use super::vendor::{self, JoinKeys};
use super::{cloud, organization, user, workload};
use crate::common::account::{Account, ProcessUser};
use crate::common::classification::{self, Word};
use crate::common::enrichment::Enrichment;
use crate::common::os::Os;
use crate::common::placeholder::first_scalar;
use crate::common::remaining::write_remaining;
use crate::common::remote_origin::{self, RemoteOrigin};
use crate::common::severity::Severity;
use crate::common::threat::{file_name, file_size, fileless_process, is_new, is_without_file, severity, time};
use crate::copy::KeyCase;

/// Names of the vendor object that do not come from keys of the record.
const RESERVED: &[&str] = &[
    "severity",
    "id",
    "original_id",
    "name",
    "created_at",
    "identified_at",
    "confidence_level",
    "engines",
    "detection",
    "agent",
    "site",
];

pub(super) fn map(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    threat: &Threat<'_>,
    enrichment: Option<Enrichment>,
) {
    let threat_ids = if enrichment.is_some() { threat_ids(threat) } else { Vec::new() };
    let id = first_scalar([threat.id, threat.threat_info.threat_id]);
    let info = &threat.threat_info;
    let repeated = [
        ("id", id),
        ("name", info.threat_name),
        ("created_at", info.created_at),
        ("identified_at", info.identified_at),
        ("confidence_level", info.confidence_level),
    ];
    let agent_id = threat.agent_realtime_info.agent_id;
    let severity = severity(threat);
    let origin = RemoteOrigin::of(info.originator_process);
    let current = &threat.agent_realtime_info;
    let detected = &threat.agent_detection_info;
    let keys = JoinKeys {
        agent_uuid: first_scalar([current.agent_uuid, detected.agent_uuid]),
        storyline: info.storyline,
        classification: [info.classification, info.classification_source],
        site: [
            first_scalar([current.site_id, detected.site_id]),
            first_scalar([current.site_name, detected.site_name]),
        ],
        account_name: first_scalar([current.account_name, detected.account_name]),
        ..JoinKeys::default()
    };

    head(event, common, threat);
    message(event, threat);
    event_object(event, common, threat, id, severity);
    rule(event, &threat.threat_info);
    threat_object(event, threat);
    file(event, &threat.threat_info);
    user_object(event, threat, origin);
    if let Some(origin) = origin {
        origin.write_source(event);
    }
    host(event, threat);
    let current = &threat.agent_realtime_info;
    let detected = &threat.agent_detection_info;
    organization::write(
        event,
        [current.account_id, detected.account_id],
        [current.account_name, detected.account_name],
    );
    organization::group(event, [current.group_id, detected.group_id], [current.group_name, detected.group_name]);
    let on_ecs = threat.kubernetes_info.is_empty() && !threat.ecs_info.is_empty();
    cloud::write(event, threat.agent_detection_info.cloud_providers, on_ecs);
    workload::container(event, &threat.container_info);
    if on_ecs {
        workload::ecs_task(event, &threat.ecs_info);
    } else {
        workload::kubernetes(event, &threat.kubernetes_info);
    }
    if let Some(enrichment) = &enrichment {
        enrichment.add_related(event);
    }
    event.tail();

    let vendor = vendor::open(event, common, &keys);
    let object = event.json.open("threat");
    event.json.word("severity", severity.word());
    for (name, value) in repeated {
        event.json.value(name, value, KeyCase::Snake);
    }
    engines(event, &threat.threat_info);
    let current = &threat.agent_realtime_info;
    let detected = &threat.agent_detection_info;
    organization::agent_and_site(
        event,
        agent_id,
        [current.site_id, detected.site_id],
        [current.site_name, detected.site_name],
    );
    // An id that is no id would repeat the name of the one above.
    let original = event.used.left(threat.id);
    event.json.value("original_id", original, KeyCase::Snake);
    event.used.mark(threat.id);
    write_remaining(&mut event.json, event.used, threat, KeyCase::Snake, RESERVED);
    if let Some(enrichment) = &enrichment {
        enrichment.write(event, &threat_ids);
    }
    event.json.close(object);
    event.json.close(vendor);
    event.json.raw(b"}");
}

/// The ids that timeline items repeat.
fn threat_ids(threat: &Threat<'_>) -> Vec<String> {
    let current = &threat.agent_realtime_info;
    let detected = &threat.agent_detection_info;
    let ids = [
        threat.id,
        threat.threat_info.threat_id,
        current.agent_id,
        current.account_id,
        detected.account_id,
        current.site_id,
    ];
    let more = [detected.site_id, current.group_id, detected.group_id];
    ids.into_iter().chain(more).filter_map(|id| id.text().map(|id| id.into_owned())).collect()
}

/// `@timestamp` of a new threat (created and updated within a minute) is its detection time, later the time of its
/// change.
fn head(event: &mut Event<'_>, common: &CommonFields<'_>, threat: &Threat<'_>) {
    let info = &threat.threat_info;
    // `event.start` and `event.created` have these two, and mark them.
    let identified = info.identified_at.kept();
    let created = info.created_at.kept();
    let versions = [threat.agent_realtime_info.agent_version, threat.agent_detection_info.agent_version];
    if is_new(info.created_at, info.updated_at) && time(identified).is_some() {
        event.head(common, [identified], versions);
    } else {
        event.head(common, [info.updated_at, identified, created], versions);
    }
}

fn message(event: &mut Event<'_>, threat: &Threat<'_>) {
    let info = &threat.threat_info;
    event.sentence(
        "message",
        &[
            ("", info.classification.escaped()),
            (" ", info.threat_name.escaped()),
            (" on ", computer_name(threat).escaped()),
            (": ", info.mitigation_status_description.escaped()),
        ],
    );
}

fn computer_name<'a>(threat: &Threat<'a>) -> Value<'a> {
    first_scalar([threat.agent_realtime_info.agent_computer_name, threat.agent_detection_info.agent_computer_name])
}

fn event_object(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    threat: &Threat<'_>,
    id: Value<'_>,
    severity: Severity,
) {
    let info = &threat.threat_info;
    let mitigation = Word::of_value(info.mitigation_status);
    let open = event.open("event");
    event.json.word("kind", "alert");
    event.words("category", categories(info));
    event.words("type", ["info"]);
    if !mitigation.as_str().is_empty() {
        event.json.name("action");
        event.json.raw(b"\"threat-");
        event.json.raw(mitigation.hyphenated().as_str().as_bytes());
        event.json.raw(b"\"");
    }
    event.json.word("outcome", classification::outcome(mitigation.as_str(), boolean(info.failed_actions)));
    event.severity(severity);
    event.optional("id", id.escaped());
    event.threat_url(common, id);
    if !id.is_empty() {
        event.used.mark(if threat.id == id { threat.id } else { info.threat_id });
    }
    event.date("created", info.created_at);
    event.date("start", info.identified_at);
    event.techniques.read(threat.indicators);
    event.reasons();
    event.provenance(common);
    event.close(open);
}

/// A file that was found without being run is `file`; another detection that names a process is `process`. A threat
/// from another host is an intrusion.
fn categories(info: &ThreatInfo<'_>) -> impl Iterator<Item = &'static str> {
    let class = classification::categories(info.classification);
    let is_static = Word::is(info.detection_type, "static");
    let subject = match () {
        () if is_static && names_file(info) => Some("file"),
        () if !is_static && names_process(info) => Some("process"),
        () => None,
    };
    let is_remote = RemoteOrigin::of(info.originator_process).is_some();
    let more = (is_remote && !class.contains(&"intrusion_detection")).then_some("intrusion_detection");
    class.iter().copied().chain(more).chain(subject)
}

fn rule(event: &mut Event<'_>, info: &ThreatInfo<'_>) {
    let engine = info.detection_engines.elements().next().unwrap_or_default();
    let title = first_scalar([engine.get("title"), info.engines.elements().next().unwrap_or_default()]);
    let open = event.open("rule");
    event.optional("name", title.escaped());
    event.optional("ruleset", first_scalar([engine.get("key"), engine]).escaped());
    event.close(open);
}

/// Writes `engines` (titles) and `detection.engines` (keys) of the vendor namespace.
fn engines(event: &mut Event<'_>, info: &ThreatInfo<'_>) {
    event.json.value("engines", info.engines, KeyCase::Snake);
    let open = event.json.open("detection");
    let list = event.json.open_list("engines");
    for engine in info.detection_engines.elements() {
        if let Some(key) = first_scalar([engine.get("key"), engine]).escaped() {
            event.json.element(key);
        }
    }
    event.json.close(list);
    event.json.close(open);
}

/// Writes the techniques, and the file as the indicator.
fn threat_object(event: &mut Event<'_>, threat: &Threat<'_>) {
    let info = &threat.threat_info;
    let open = event.open("threat");
    event.techniques.write(&mut event.json);
    let indicator = event.open("indicator");
    if boolean(info.is_fileless) != Some(true) && RemoteOrigin::of(info.originator_process).is_none() {
        event.json.word("type", "file");
    }
    match Word::of_value(info.confidence_level).as_str() {
        "malicious" => event.json.word("confidence", "High"),
        "suspicious" => event.json.word("confidence", "Medium"),
        "n/a" => event.json.word("confidence", "Not Specified"),
        _ => {}
    }
    // `file` has these values too, and marks them.
    let open_file = event.open("file");
    let hashes = [info.md5.kept(), info.sha1.kept(), info.sha256.kept()];
    if !is_without_file(info) {
        file_fields(event, info, info.file_path.kept(), info.file_extension.kept(), info.file_size.kept(), hashes);
    }
    event.close(open_file);
    event.close(indicator);
    event.close(open);
}

fn file_fields<'a>(
    event: &mut Event<'_>,
    info: &ThreatInfo<'a>,
    path: Value<'a>,
    extension: Value<'a>,
    size: Value<'a>,
    hashes: [Value<'a>; 3],
) {
    let of_path = path.escaped().filter(|path| !is_placeholder(*path)).and_then(file_name);
    let given = || remote_origin::name_of(first_scalar([info.file_display_name, info.threat_name]));
    event.optional("name", of_path.or_else(given));
    event.keyword("path", path);
    if let Some(text) = extension.escaped() {
        let plain = Escaped::plain(text.raw().trim_start_matches('.'));
        if !is_placeholder(plain) {
            event.json.lower_case("extension", plain);
            let is_lower_case = plain.raw().bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
            if plain == text && is_lower_case {
                event.used.mark(extension);
            }
        }
    } else {
        event.extension(path);
    }
    event.long("size", file_size(size));
    event.hashes(hashes);
}

/// Writes `file` and `process`. If the behaviour of an executable was detected, the file is also the process.
fn file(event: &mut Event<'_>, info: &ThreatInfo<'_>) {
    let is = |value: Value<'_>, word: &str| value.escaped().is_some_and(|text| text.is(word));
    let executable = info.file_path.escaped().filter(|path| {
        !is_placeholder(*path)
            && is(info.detection_type, "dynamic")
            && is(info.file_extension_type, "executable")
            && boolean(info.is_fileless) != Some(true)
    });

    let is_file = names_file(info) || [info.md5, info.sha1, info.sha256].into_iter().any(is_set);
    let open = event.open("file");
    let hashes = [info.md5, info.sha1, info.sha256];
    if !is_without_file(info) {
        file_fields(event, info, info.file_path, info.file_extension, info.file_size, hashes);
    }
    // The console has `NotSigned` for what is no file as well.
    if is_file {
        signature(event, info);
    }
    event.close(open);

    let open = event.open("process");
    let fileless = if is_without_file(info) { fileless_process(info) } else { None };
    if let Some(name) = fileless {
        event.json.escaped("name", name);
        if info.originator_process.escaped() == Some(name) {
            event.used.mark(info.originator_process);
        } else {
            originator(event, info);
        }
    } else if let Some(executable) = executable {
        event.optional("name", file_name(executable));
        event.json.escaped("executable", executable);
        originator(event, info);
    } else if RemoteOrigin::of(info.originator_process).is_none() {
        event.keyword("name", info.originator_process);
    }
    event.keyword("command_line", info.malicious_process_arguments);
    ProcessUser::of(info.process_user).write(event);
    event.close(open);
}

/// Writes the parent of the open process.
fn originator(event: &mut Event<'_>, info: &ThreatInfo<'_>) {
    if RemoteOrigin::of(info.originator_process).is_none() {
        let parent = event.open("parent");
        event.keyword("name", info.originator_process);
        event.close(parent);
    }
}

/// Writes `code_signature`. For a file without a signature, `valid` is left out.
fn signature(event: &mut Event<'_>, info: &ThreatInfo<'_>) {
    let exists = match Word::of_value(info.file_verification_type).as_str() {
        word if word.starts_with("signed") => Some(true),
        "notsigned" | "not_signed" | "unsigned" => Some(false),
        _ => None,
    };
    let open = event.open("code_signature");
    if let Some(exists) = exists {
        event.json.boolean("exists", exists);
    }
    let has_certificate = first_scalar([info.publisher_name, info.certificate_id]).escaped().is_some();
    if exists == Some(true) || (exists.is_none() && has_certificate) {
        event.boolean("valid", info.is_valid_certificate);
    }
    event.keyword("subject_name", info.publisher_name);
    event.close(open);
}

/// Whether the detection names a process, so that the event has a `process.*` field: it is fileless or has an
/// originator.
fn names_process(info: &ThreatInfo<'_>) -> bool {
    let is_fileless = boolean(info.is_fileless) == Some(true);
    (is_set(info.originator_process) && remote_origin::name_of(info.originator_process).is_some())
        || (is_fileless && (is_set(info.malicious_process_arguments) || is_set(info.process_user)))
        || (is_without_file(info) && fileless_process(info).is_some())
}

fn names_file(info: &ThreatInfo<'_>) -> bool {
    let name = remote_origin::name_of(first_scalar([info.file_display_name, info.threat_name]));
    !is_without_file(info) && (is_set(info.file_path) || name.is_some())
}

/// The user is the one who came from another host, or the one of the malicious process. Only if neither is known, it is
/// the one who was logged in to the endpoint.
fn user_object(event: &mut Event<'_>, threat: &Threat<'_>, origin: Option<RemoteOrigin<'_>>) {
    let detected = &threat.agent_detection_info;
    let process_user = ProcessUser::of(threat.threat_info.process_user).effective;
    let actor = origin.and_then(|origin| origin.user).or(process_user);
    let interactive = Account::of(detected.agent_last_logged_in_user_name);
    let open = event.open("user");
    match actor {
        Some(actor) => actor.write(event),
        None => drop(user::name_and_domain(event, detected.agent_last_logged_in_user_name)),
    }
    let is_interactive = match (actor, interactive) {
        (Some(actor), Some(interactive)) => actor.may_be(interactive),
        (actor, _) => actor.is_none(),
    };
    if is_interactive {
        user::email(event, detected.agent_last_logged_in_user_mail);
    }
    event.close(open);
    user::related(event, detected.agent_last_logged_in_user_name);
    user::related(event, detected.agent_last_logged_in_user_mail);
    for named in
        [detected.agent_last_logged_in_upn, threat.threat_info.initiating_username, threat.threat_info.root_process_upn]
    {
        user::related(event, named);
    }
}

fn host(event: &mut Event<'_>, threat: &Threat<'_>) {
    let current = &threat.agent_realtime_info;
    let detected = &threat.agent_detection_info;
    let open = event.open("host");
    endpoint::names(event, [current.agent_computer_name, detected.agent_computer_name]);
    event.keyword("id", current.agent_id);
    endpoint::domain(event, [current.agent_domain, detected.agent_domain]);
    event.keyword("type", current.agent_machine_type);
    let os = Os {
        name: if current.agent_os_name.is_empty() { detected.agent_os_name } else { current.agent_os_name },
        version: if current.agent_os_revision.is_empty() {
            detected.agent_os_revision
        } else {
            current.agent_os_revision
        },
        kind: [current.agent_os_type, Value::default()],
        family: current.agent_os_type,
    };
    endpoint::os(event, &os);
    endpoint::addresses(
        event,
        current.network_interfaces,
        &[detected.agent_ip_v4, detected.agent_ip_v6, detected.external_ip],
    );
    event.close(open);
}
