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
use crate::common::threat::{file_name, is_new, severity, time};
use crate::copy::KeyCase;

/// Names of the vendor object that do not come from keys of the record.
const RESERVED: &[&str] =
    &["severity", "id", "original_id", "name", "created_at", "identified_at", "engines", "detection", "agent", "site"];

pub(super) fn map(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    threat: &mut Threat<'_>,
    enrichment: Option<Enrichment>,
) {
    let threat_ids = if enrichment.is_some() { threat_ids(threat) } else { Vec::new() };
    // The vendor namespace repeats these values, so they are copied before they are taken.
    let id = first_scalar([threat.id, threat.threat_info.threat_id]);
    let info = &threat.threat_info;
    let repeated = [
        ("id", id),
        ("name", info.threat_name),
        ("created_at", info.created_at),
        ("identified_at", info.identified_at),
    ];
    let agent_id = threat.agent_realtime_info.agent_id;
    let severity = severity(threat);
    let origin = RemoteOrigin::of(info.originator_process);
    let keys = JoinKeys {
        agent_uuid: first_scalar([threat.agent_realtime_info.agent_uuid, threat.agent_detection_info.agent_uuid]),
        storyline: info.storyline,
        ..JoinKeys::default()
    };

    head(event, common, threat);
    message(event, threat);
    event_object(event, common, threat, id, severity);
    rule(event, &threat.threat_info);
    threat_object(event, threat);
    file(event, &mut threat.threat_info);
    user_object(event, threat, origin);
    if let Some(origin) = origin {
        origin.write_source(event);
    }
    host(event, threat);
    let (current, detected) = (&mut threat.agent_realtime_info, &mut threat.agent_detection_info);
    organization::write(
        event,
        [&mut current.account_id, &mut detected.account_id],
        [&mut current.account_name, &mut detected.account_name],
    );
    organization::group(
        event,
        [&mut current.group_id, &mut detected.group_id],
        [&mut current.group_name, &mut detected.group_name],
    );
    let on_ecs = threat.kubernetes_info.is_empty() && !threat.ecs_info.is_empty();
    cloud::write(event, threat.agent_detection_info.cloud_providers, on_ecs);
    workload::container(event, &mut threat.container_info);
    if on_ecs {
        workload::ecs_task(event, &mut threat.ecs_info);
    } else {
        workload::kubernetes(event, &mut threat.kubernetes_info);
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
    let (current, detected) = (&threat.agent_realtime_info, &threat.agent_detection_info);
    organization::agent_and_site(
        event,
        agent_id,
        [current.site_id, detected.site_id],
        [current.site_name, detected.site_name],
    );
    // An id that is no id would repeat the name of the one above.
    event.json.value("original_id", threat.id.take(), KeyCase::Snake);
    write_remaining(&mut event.json, threat, KeyCase::Snake, RESERVED);
    if let Some(enrichment) = &enrichment {
        enrichment.write(event, &threat_ids);
    }
    event.json.close(object);
    event.json.close(vendor);
    event.json.raw(b"}");
}

/// The ids that timeline items repeat.
fn threat_ids(threat: &Threat<'_>) -> Vec<String> {
    let (current, detected) = (&threat.agent_realtime_info, &threat.agent_detection_info);
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
fn head(event: &mut Event<'_>, common: &CommonFields<'_>, threat: &mut Threat<'_>) {
    let info = &mut threat.threat_info;
    // Uses copies: fields of `event` take these two.
    let (mut identified, mut created) = (info.identified_at, info.created_at);
    let versions = [&mut threat.agent_realtime_info.agent_version, &mut threat.agent_detection_info.agent_version];
    if is_new(info.created_at, info.updated_at) && time(identified).is_some() {
        event.head(common, [&mut identified], versions);
    } else {
        event.head(common, [&mut info.updated_at, &mut identified, &mut created], versions);
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
    threat: &mut Threat<'_>,
    id: Value<'_>,
    severity: Severity,
) {
    let info = &mut threat.threat_info;
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
        if threat.id == id { &mut threat.id } else { &mut info.threat_id }.take();
    }
    event.date("created", &mut info.created_at);
    event.date("start", &mut info.identified_at);
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
    // Uses copies: `file` takes these values.
    let open_file = event.open("file");
    let hashes = [&mut { info.md5 }, &mut { info.sha1 }, &mut { info.sha256 }];
    file_fields(event, info, &mut { info.file_path }, &mut { info.file_extension }, &mut { info.file_size }, hashes);
    event.close(open_file);
    event.close(indicator);
    event.close(open);
}

fn file_fields<'a>(
    event: &mut Event<'_>,
    info: &ThreatInfo<'a>,
    path: &mut Value<'a>,
    extension: &mut Value<'a>,
    size: &mut Value<'a>,
    hashes: [&mut Value<'a>; 3],
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
                extension.take();
            }
        }
    }
    event.long("size", size);
    event.hashes(hashes);
}

/// Writes `file` and `process`. If the behaviour of an executable was detected, the file is also the process.
fn file(event: &mut Event<'_>, info: &mut ThreatInfo<'_>) {
    let is = |value: Value<'_>, word: &str| value.escaped().is_some_and(|text| text.is(word));
    let executable = info.file_path.escaped().filter(|path| {
        !is_placeholder(*path)
            && is(info.detection_type, "dynamic")
            && is(info.file_extension_type, "executable")
            && boolean(info.is_fileless) != Some(true)
    });

    let is_file = names_file(info) || [info.md5, info.sha1, info.sha256].into_iter().any(is_set);
    let open = event.open("file");
    let (mut path, mut extension, mut size) = (info.file_path, info.file_extension, info.file_size);
    let (mut md5, mut sha1, mut sha256) = (info.md5, info.sha1, info.sha256);
    file_fields(event, info, &mut path, &mut extension, &mut size, [&mut md5, &mut sha1, &mut sha256]);
    (info.file_path, info.file_extension, info.file_size) = (path, extension, size);
    (info.md5, info.sha1, info.sha256) = (md5, sha1, sha256);
    // The console has `NotSigned` for what is no file as well.
    if is_file {
        signature(event, info);
    }
    event.close(open);

    let open = event.open("process");
    if let Some(executable) = executable {
        event.optional("name", file_name(executable));
        event.json.escaped("executable", executable);
        if RemoteOrigin::of(info.originator_process).is_none() {
            let parent = event.open("parent");
            event.keyword("name", &mut info.originator_process);
            event.close(parent);
        }
    } else if RemoteOrigin::of(info.originator_process).is_none() {
        event.keyword("name", &mut info.originator_process);
    }
    event.keyword("command_line", &mut info.malicious_process_arguments);
    ProcessUser::of(info.process_user).write(event);
    event.close(open);
}

/// Writes `code_signature`. For a file without a signature, `valid` is left out.
fn signature(event: &mut Event<'_>, info: &mut ThreatInfo<'_>) {
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
        event.boolean("valid", &mut info.is_valid_certificate);
    }
    event.keyword("subject_name", &mut info.publisher_name);
    event.close(open);
}

/// Whether the detection names a process, so that the event has a `process.*` field: it is fileless or has an
/// originator.
fn names_process(info: &ThreatInfo<'_>) -> bool {
    let is_fileless = boolean(info.is_fileless) == Some(true);
    (is_set(info.originator_process) && remote_origin::name_of(info.originator_process).is_some())
        || (is_fileless && (is_set(info.malicious_process_arguments) || is_set(info.process_user)))
}

fn names_file(info: &ThreatInfo<'_>) -> bool {
    let name = remote_origin::name_of(first_scalar([info.file_display_name, info.threat_name]));
    is_set(info.file_path) || name.is_some()
}

/// The user is the one who came from another host, or the one of the malicious process. Only if neither is known, it is
/// the one who was logged in to the endpoint.
fn user_object(event: &mut Event<'_>, threat: &mut Threat<'_>, origin: Option<RemoteOrigin<'_>>) {
    let detected = &mut threat.agent_detection_info;
    let process_user = ProcessUser::of(threat.threat_info.process_user).effective;
    let actor = origin.and_then(|origin| origin.user).or(process_user);
    let interactive = Account::of(detected.agent_last_logged_in_user_name);
    let open = event.open("user");
    match actor {
        Some(actor) => actor.write(event),
        None => drop(user::name_and_domain(event, &mut detected.agent_last_logged_in_user_name)),
    }
    let is_interactive = match (actor, interactive) {
        (Some(actor), Some(interactive)) => actor.may_be(interactive),
        (actor, _) => actor.is_none(),
    };
    if is_interactive {
        user::email(event, &mut detected.agent_last_logged_in_user_mail);
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

fn host(event: &mut Event<'_>, threat: &mut Threat<'_>) {
    let (current, detected) = (&mut threat.agent_realtime_info, &mut threat.agent_detection_info);
    let open = event.open("host");
    endpoint::names(event, [&mut current.agent_computer_name, &mut detected.agent_computer_name]);
    event.keyword("id", &mut current.agent_id);
    endpoint::domain(event, [&mut current.agent_domain, &mut detected.agent_domain]);
    event.keyword("type", &mut current.agent_machine_type);
    let mut os = Os {
        name: if current.agent_os_name.is_empty() { &mut detected.agent_os_name } else { &mut current.agent_os_name },
        version: if current.agent_os_revision.is_empty() {
            &mut detected.agent_os_revision
        } else {
            &mut current.agent_os_revision
        },
        kind: [current.agent_os_type, Value::default()],
        family: Value::default(),
    };
    endpoint::os(event, &mut os);
    endpoint::addresses(
        event,
        current.network_interfaces,
        &[detected.agent_ip_v4, detected.agent_ip_v6, detected.external_ip],
    );
    event.close(open);
}
