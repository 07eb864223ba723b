//! Maps `/threats` to ECS.

use s1_forwarder_record::threat::Threat;
use s1_forwarder_record::{Escaped, Value};

use super::attack::{AttackBuffers, Techniques};
use super::common_fields::CommonFields;
use super::event::{Event, is_missing_word, is_set};
use super::vendor::{JoinKeys, VendorObject};
use super::{cloud, endpoint, organization, outcome, remote_origin, user, workload};
use crate::common::account::Account;
use crate::common::category::{Category, EventType};
use crate::common::classification::{OUTCOMES, Outcome, categories};
use crate::common::missing::first_scalar;
use crate::common::threat::{DETECTION_TYPES, DetectionType, extension, is_version, unless_zero};
use crate::common::word::Word;
use crate::common::words::Words;
use crate::parts::{DetectedFile, Engines, Signature};
use crate::streams::enrichment::Enrichment;
use crate::streams::threat::ThreatParts;

pub(super) const CONFIDENCE: Words<&str> = Words {
    field: "threat.indicator.confidence",
    rows: &[("malicious", "High"), ("suspicious", "Medium"), ("n/a", "Not Specified"), ("n_a", "Not Specified")],
};

pub(super) fn map(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    threat: &Threat<'_>,
    enrichment: Option<Enrichment>,
    attack_buffers: &mut AttackBuffers,
) {
    let parts = ThreatParts::of(threat);
    let techniques = Techniques::of_threat(attack_buffers, &parts);
    let endpoint = &parts.endpoint;
    event.head(common, parts.times(), endpoint.agent_versions);
    event.sentence("message", &parts.message());
    event_object(event, common, &parts, &techniques);
    rule(event, parts.engines);
    threat_object(event, &parts, &techniques);
    file_and_process(event, &parts);
    user_object(event, &parts);
    if let Some(origin) = parts.process.origin {
        remote_origin::write(event, &origin);
    }
    let open = event.open("host");
    endpoint::write_fields(event, endpoint);
    event.close(open);
    organization::write(event, &endpoint.owner);
    cloud::write(event, &endpoint.cloud, parts.task.is_some());
    workload::container(event, &parts.container);
    match &parts.task {
        Some(task) => workload::ecs_task(event, task),
        None => workload::kubernetes(event, &parts.pod),
    }
    if let Some(enrichment) = &enrichment {
        enrichment.add_related(event);
    }
    event.tail();
    vendor_object(event, common, threat, &parts, enrichment.as_ref());
}

fn vendor_object(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    threat: &Threat<'_>,
    parts: &ThreatParts<'_>,
    enrichment: Option<&Enrichment>,
) {
    let owner = &parts.endpoint.owner;
    let keys = JoinKeys {
        agent_uuid: first_scalar(parts.endpoint.agent_uuids),
        storyline: parts.storyline,
        classification: [parts.classification, parts.classification_source],
        ..JoinKeys::default()
    };
    event.mark(parts.record_id);
    event.mark_mismatched(parts.threat_id);
    let mut vendor = VendorObject::open(event, common, &keys, owner, "threat");
    vendor.severity(parts.severity);
    vendor.optional("id", parts.id);
    vendor.value("name", parts.file.threat_name);
    vendor.value("created_at", parts.created);
    vendor.value("identified_at", parts.identified);
    vendor.value("confidence_level", parts.confidence);
    vendor.value("engines", parts.engines.titles);
    vendor.object("detection", |event| engine_keys(event, parts.engines));
    vendor.agent(parts.endpoint.agent_id);
    vendor.site(owner);
    // A valid id would repeat the id above.
    vendor.value("original_id", if is_set(parts.record_id) { Value::default() } else { parts.record_id });
    let threat_ids = if enrichment.is_some() { repeated_ids(parts) } else { Vec::new() };
    enrichment.unwrap_or(&Enrichment::default()).write(&mut vendor, &threat_ids);
    vendor.close(threat);
}

/// Returns the ids that timeline items repeat.
fn repeated_ids(parts: &ThreatParts<'_>) -> Vec<String> {
    let owner = &parts.endpoint.owner;
    let ids = [parts.record_id, parts.threat_id, parts.endpoint.agent_id];
    let owners = [owner.account_ids, owner.site_ids, owner.group_ids];
    let all = ids.into_iter().chain(owners.into_iter().flatten());
    all.filter_map(|id| id.text().map(|id| id.into_owned())).collect()
}

fn event_object(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    parts: &ThreatParts<'_>,
    techniques: &Techniques<'_>,
) {
    let mitigation = Word::of_set(parts.mitigation.status);
    let outcome = OUTCOMES.find(mitigation.as_str());
    let open = event.open("event");
    event.json.word("kind", "alert");
    event.categories(all_categories(parts));
    event.types([EventType::Info]);
    if !mitigation.as_str().is_empty() {
        event.json.name("action");
        event.json.raw(b"\"threat-");
        event.json.raw(mitigation.hyphenated().as_str().as_bytes());
        event.json.raw(b"\"");
    }
    let has_failed = outcome == Some(Outcome::Active) && parts.mitigation.has_failed();
    event.outcome(outcome::of_detection(outcome, has_failed));
    event.severity(parts.severity);
    event.optional("id", parts.id.escaped());
    event.threat_url(common, parts.id);
    event.mark(parts.id);
    event.date("created", parts.created);
    event.date("start", parts.identified);
    techniques.write_reason(&mut event.json);
    event.provenance(common);
    event.close(open);
}

/// Returns the categories. A file that was found without being run is `file`; another detection that names a process is
/// `process`. A threat from another host is an intrusion.
fn all_categories(parts: &ThreatParts<'_>) -> impl Iterator<Item = Category> {
    let class = categories(parts.classification);
    let is_static = DETECTION_TYPES.of(parts.detection_type) == Some(DetectionType::Static);
    let is_program = parts.file.is_malicious();
    let subject = if is_static && is_program && parts.file.is_named() {
        Some(Category::File)
    } else if (!is_static || !is_program) && parts.process.is_named(&parts.file) {
        Some(Category::Process)
    } else {
        None
    };
    let is_remote = parts.process.origin.is_some();
    let more = (is_remote && !class.contains(&Category::Intrusion)).then_some(Category::Intrusion);
    class.iter().copied().chain(more).chain(subject)
}

/// Writes the first engine with a name, else the first engine with a key.
fn rule(event: &mut Event<'_>, engines: Engines<'_>) {
    let titled = engines.detected().find(|engine| is_set(engine.title));
    let engine = titled.or_else(|| engines.detected().find(|engine| is_set(engine.key))).unwrap_or_default();
    let title = engines.titles.elements().find(|title| is_set(*title)).unwrap_or_default();
    let open = event.open("rule");
    event.optional("name", first_scalar([engine.title, title]).escaped());
    event.optional("ruleset", engine.key.escaped());
    event.close(open);
}

/// Writes the engines' keys as `engines` of the open object.
fn engine_keys(event: &mut Event<'_>, engines: Engines<'_>) {
    let list = event.json.open_list("engines");
    let keys = engines.detected().filter_map(|engine| engine.key.escaped());
    keys.for_each(|key| event.json.element(key));
    event.json.close(list);
}

/// Writes the techniques, and the file as the indicator.
fn threat_object(event: &mut Event<'_>, parts: &ThreatParts<'_>, techniques: &Techniques<'_>) {
    let open = event.open("threat");
    techniques.write(&mut event.json);
    let indicator = event.open("indicator");
    let has_file = || parts.file.image.is_some() || parts.file.hashes.into_iter().any(is_set);
    let is_file = !parts.file.is_fileless && parts.file.is_malicious();
    if is_file && (parts.process.origin.is_none() || has_file()) {
        event.json.word("type", "file");
    }
    if let Some(word) = CONFIDENCE.of(parts.confidence) {
        event.json.word("confidence", word);
    }
    // `file` has these values too, and marks them.
    let file = &parts.file;
    let kept = DetectedFile {
        path: file.path.unmarked(),
        extension: file.extension.unmarked(),
        size: file.size.unmarked(),
        hashes: file.hashes.map(Value::unmarked),
        ..*file
    };
    let open_file = event.open("file");
    if file.is_malicious() {
        file_fields(event, &kept);
    }
    event.close(open_file);
    event.close(indicator);
    event.close(open);
}

fn file_fields(event: &mut Event<'_>, file: &DetectedFile<'_>) {
    file.hashes_of_command_line.into_iter().for_each(|hash| event.relate_hash(hash));
    if file.is_missing() {
        return;
    }
    if let Some(image) = file.image {
        event.optional("name", Some(image.name));
    }
    event.path("path", file.path);
    file_extension(event, file);
    event.long("size", unless_zero(file.size));
    event.hashes(file.hashes);
}

/// Writes the console's extension, else the extension of the name.
fn file_extension(event: &mut Event<'_>, file: &DetectedFile<'_>) {
    let given = file.extension.escaped();
    let of_name = || file.image.and_then(|image| extension(image.name));
    let plain = given.map(|text| Escaped::plain(text.raw().trim_start_matches('.')));
    let is_extension = |text: &Escaped<'_>| !is_missing_word(*text) && !is_version(*text);
    let Some(plain) = plain.or_else(of_name).filter(is_extension) else { return };
    event.json.lower_case("extension", plain);
    let is_lower_case = plain.raw().bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if given == Some(plain) && is_lower_case {
        event.mark(file.extension);
    }
}

/// Writes `file` and `process`.
fn file_and_process(event: &mut Event<'_>, parts: &ThreatParts<'_>) {
    let file = &parts.file;
    let process = &parts.process;
    let open = event.open("file");
    file_fields(event, file);
    // The console also has `NotSigned` if there is no file.
    if !file.is_missing() && (file.is_named() || file.hashes.into_iter().any(is_set)) {
        signature(event, file);
    }
    event.close(open);

    let acting = &process.acting;
    let open = event.open("process");
    event.image(acting.process, process.originator);
    let parent = event.open("parent");
    event.image(acting.parent, process.originator);
    event.close(parent);
    if acting.has_arguments {
        event.command_line("command_line", process.arguments);
        user::write_process_user(event, process.user);
    } else {
        user::relate_process_user(event, process.user);
    }
    event.close(open);
}

/// Writes `code_signature`. For a file without a signature, `valid` is left out.
fn signature(event: &mut Event<'_>, file: &DetectedFile<'_>) {
    let exists = file.signature().map(Signature::exists);
    let open = event.open("code_signature");
    if let Some(exists) = exists {
        event.json.boolean("exists", exists);
    }
    let has_certificate = is_set(file.publisher) || is_set(file.certificate_id);
    if exists == Some(true) || (exists.is_none() && has_certificate) {
        event.boolean("valid", file.is_valid_certificate);
    }
    event.text("subject_name", file.publisher);
    event.close(open);
}

/// Writes the user who came from another host, or the user of the malicious process. If neither is known, writes the
/// user who was logged in to the endpoint.
fn user_object(event: &mut Event<'_>, parts: &ThreatParts<'_>) {
    let name = parts.user.name();
    let actor = parts.process.actor();
    let open = event.open("user");
    let written = match actor {
        Some(actor) => {
            user::write_account(event, actor);
            Some(actor)
        }
        None => user::name_and_domain(event, name),
    };
    let is_interactive = match (actor, Account::of(name)) {
        (Some(actor), Some(interactive)) => actor.may_be(interactive),
        (actor, _) => actor.is_none(),
    };
    let has_email = written.and_then(Account::email).is_some();
    if is_interactive && !has_email && !user::email(event, parts.user.address()) {
        user::email_of_principal(event, parts.user.principal_name);
    }
    event.close(open);
    for named in [name, parts.user.email, parts.user.principal_name, parts.initiator.name, parts.root_user] {
        user::related(event, named);
    }
}
