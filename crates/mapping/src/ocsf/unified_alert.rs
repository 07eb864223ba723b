//! Maps unified alerts to Detection Finding.

use s1_forwarder_record::unified_alert::UnifiedAlert;
use s1_forwarder_record::{Kind, Value};

use super::attack::{AttackBuffers, Attacks};
use super::class::Class;
use super::event::{Event, Profile, severity_id, time};
use super::file::{File, FileType};
use super::finding::{Action, Malware, Verdict, activity, disposition_of};
use super::metadata::{CommonFields, Metadata};
use super::mitigation::mitigated;
use super::observables::ObservableType;
use super::user::{UserType, mark_account, mark_process_user};
use super::{device, unmapped, workload};
use crate::common::account::Account;
use crate::common::classification::{OUTCOMES, Outcome};
use crate::common::image::Image;
use crate::common::missing::{first_scalar, is_missing_word, is_set};
use crate::common::page;
use crate::common::severity::Severity;
use crate::common::threat::unless_zero;
use crate::common::word::Word;
use crate::common::words::{Choice, Words};
use crate::parts::Acting;
use crate::streams::unified_alert::{AlertedFile, AssetClass, Attacker, Observed, TargetUser, UnifiedParts};

pub(super) fn map(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    alert: &UnifiedAlert<'_>,
    attack_buffers: &mut AttackBuffers,
) {
    let parts = UnifiedParts::of(alert);
    let attacks = Attacks::of_alert(attack_buffers, &parts);
    event.begin(Class::DetectionFinding, activity(parts.is_new(), parts.status), "");
    let mut metadata = Metadata {
        record_id: parts.id,
        logged: parts.created,
        modified: parts.updated,
        correlation: first_scalar([parts.threat_id(), parts.alert_id(), parts.storyline]),
        tenant: first_scalar(parts.endpoint.owner.account_ids),
        ..Metadata::default()
    };
    let [created, detected, updated] = [parts.created, parts.detected, parts.updated].map(Value::unmarked);
    let times = if parts.is_new() { [created, detected, updated] } else { parts.times() };
    metadata.time(event, times);
    let seen = [parts.first_seen, parts.detected].into_iter().find(|value| time(*value).is_some()).unwrap_or_default();
    event.time("start_time", seen.unmarked());
    event.time("end_time", parts.last_seen.unmarked());
    // The event has the time of the detection under another name.
    if [metadata.original_time, seen].into_iter().any(|value| value.escaped() == parts.detected.escaped()) {
        event.mark_times([parts.detected]);
    }
    event.severity(parts.known_severity());
    if parts.known_severity().is_some() {
        event.mark(parts.severity);
    }
    event.sentence("message", &parts.message());
    malware(event, &parts);
    finding_info(event, common, &parts, &attacks);
    event.own_attacks(&attacks);
    states(event, &parts);
    event.ticket(parts.ticket);
    event.assignee(parts.assignee.id, parts.assignee.full_name, parts.assignee.email);
    let has_container = device(event, &parts);
    workload::cloud(event, &parts.endpoint.cloud);
    resources(event, &parts);
    if let Some(account) = parts.process.user.effective {
        let open = event.open_actor();
        event.user("user", account);
        event.close(open);
    }
    evidences(event, &parts, has_container);
    observables(event, &parts);
    event.tail(common, &metadata);
    unmapped::write(event, alert, &[], |_| {});
}

fn malware(event: &mut Event<'_>, parts: &UnifiedParts<'_>) {
    let is_harmless = Verdict::of(parts.verdict).is_some_and(Verdict::is_harmless);
    // A shell is not malware, although the program that opened it may be.
    let is_shell = Word::is(parts.classification, "remote_shell");
    if is_harmless || is_shell || OUTCOMES.of(parts.result) == Some(Outcome::Benign) || !parts.is_malware() {
        return;
    }
    let file = &parts.file;
    let is_malicious = file.is_malicious();
    let malware = Malware {
        name: first_scalar([parts.name, file.name]).escaped(),
        uid: file.sha1().escaped().filter(|_| is_malicious),
        classification: parts.classification,
        provider: parts.analytic.category.escaped(),
        severity: parts.known_severity(),
    };
    malware.write(event, |event| {
        if !is_malicious {
            return;
        }
        let list = event.open_list("files");
        let element = event.open_element();
        // The evidence has these values too, and marks them.
        let kept = AlertedFile { path: file.path.unmarked(), hashes: file.hashes.map(Value::unmarked), ..*file };
        object(&kept, &parts.process.acting).write_element(event);
        event.close(element);
        event.close(list);
    });
}

fn object<'a>(file: &AlertedFile<'a>, acting: &Acting<'_>) -> File<'a, 3> {
    File {
        name: file.image.map(Image::text),
        path: file.path,
        hashes: file.hashes,
        kind: if acting.is_file { FileType::Executable } else { FileType::Regular },
    }
}

fn finding_info(event: &mut Event<'_>, common: &CommonFields<'_>, parts: &UnifiedParts<'_>, attacks: &Attacks<'_>) {
    let open = event.open("finding_info");
    event.finding_uid(common, parts.id.escaped());
    event.text("uid_alt", parts.external_id);
    event.title(parts.name);
    event.text("desc", parts.description);
    event.list_of("types", parts.classification.escaped());
    for (name, value) in [
        ("created_time", parts.created),
        ("modified_time", parts.updated),
        ("first_seen_time", parts.first_seen),
        ("last_seen_time", parts.last_seen),
    ] {
        event.time(name, value);
    }
    data_sources(event, parts.data_sources);
    let product = event.open("product");
    let name = event.text("name", parts.product);
    if event.optional("vendor_name", parts.vendor.escaped()).is_some() && name.is_some() {
        event.mark(parts.vendor);
    }
    event.close_if(product, name.is_some());
    analytic(event, parts);
    url(event, common, parts);
    attacks.write(&mut event.json);
    related_events(event, parts);
    event.close(open);
    if url(event, common, parts) {
        event.using(Profile::Incident);
    }
    event.mark_set([parts.id, parts.classification, parts.link]);
}

fn data_sources(event: &mut Event<'_>, sources: Value<'_>) {
    let list = event.json.open_list("data_sources");
    let mut is_complete = sources.kind() == Kind::Array;
    for source in sources.elements() {
        match source.escaped().filter(|text| !is_missing_word(*text)) {
            Some(text) => event.json.element(text),
            None => is_complete = false,
        }
    }
    event.json.close(list);
    if is_complete {
        event.mark(sources);
    }
}

fn url(event: &mut Event<'_>, common: &CommonFields<'_>, parts: &UnifiedParts<'_>) -> bool {
    if event.optional("src_url", parts.link.escaped()).is_some() {
        return true;
    }
    let Some(id) = parts.id.escaped().filter(|id| !is_missing_word(*id)) else { return false };
    event.url(&page::unified_alert(common.console_host, id));
    true
}

/// Types of analytics. A `static` detection of the category `reputation` is fingerprinting instead: the agent knows the
/// file by its reputation.
pub(super) const ANALYTICS: Words<Choice> = Words {
    field: "finding_info.analytic.type",
    rows: &[
        ("rule", (1, "Rule")),
        ("behavioral", (2, "Behavioral")),
        ("dynamic", (2, "Behavioral")),
        ("statistical", (3, "Statistical")),
        ("learning", (4, "Learning (ML/DL)")),
        ("learning_(ml/dl)", (4, "Learning (ML/DL)")),
        ("static", (4, "Learning (ML/DL)")),
        ("fingerprinting", (5, "Fingerprinting")),
        ("tagging", (6, "Tagging")),
        ("keyword_match", (7, "Keyword Match")),
        ("regular_expressions", (8, "Regular Expressions")),
        ("exact_data_match", (9, "Exact Data Match")),
        ("partial_data_match", (10, "Partial Data Match")),
        ("indexed_data_match", (11, "Indexed Data Match")),
    ],
};

fn analytic(event: &mut Event<'_>, parts: &UnifiedParts<'_>) {
    let analytic = &parts.analytic;
    if ![analytic.id, analytic.name, analytic.category].into_iter().any(is_set) {
        return;
    }
    let is_reputation = Word::is(analytic.category, "reputation");
    let open = event.open("analytic");
    event.text("uid", analytic.id);
    if event.text("name", analytic.name).is_none() {
        event.optional("name", analytic.category.escaped());
    }
    event.text("category", analytic.category);
    let is_fingerprint = is_reputation && Word::is(analytic.kind, "static");
    let known = if is_fingerprint { ANALYTICS.find("fingerprinting") } else { ANALYTICS.of(analytic.kind) };
    if let Some((id, caption)) = known {
        event.choice("type", id, caption);
    } else if !event.other_value("type", analytic.kind) {
        event.choice("type", 0, "Unknown");
    }
    sensor(event, parts);
    event.close(open);
}

/// Layers of sensors, by the detecting product, else by the surface of the attack.
pub(super) const LAYERS: Words<Choice> = Words {
    field: "finding_info.analytic.sensor_info_list[].sensor_layer",
    rows: &[
        ("edr", (2, "Endpoint")),
        ("cws", (2, "Endpoint")),
        ("cwp", (2, "Endpoint")),
        ("star", (2, "Endpoint")),
        ("endpoint", (2, "Endpoint")),
        ("network", (1, "Network")),
        ("email", (3, "Email")),
        ("identity", (4, "IAM")),
    ],
};

/// Writes the detecting product as the sensor of the open analytic.
fn sensor(event: &mut Event<'_>, parts: &UnifiedParts<'_>) {
    let layer =
        LAYERS.of(parts.product).or_else(|| parts.attack_surfaces.elements().find_map(|surface| LAYERS.of(surface)));
    let Some((id, caption)) = layer.filter(|_| is_set(parts.product)) else { return };
    let list = event.open_list("sensor_info_list");
    let element = event.open_element();
    event.optional("name", parts.product.escaped());
    event.choice("sensor_layer", id, caption);
    event.close(element);
    event.close(list);
}

fn related_events(event: &mut Event<'_>, parts: &UnifiedParts<'_>) {
    let list = event.open_list("related_events");
    for indicator in parts.indicators().filter(|indicator| is_set(indicator.id)) {
        let element = event.open_element();
        event.optional("uid", indicator.id.escaped());
        event.optional("title", indicator.title.escaped());
        event.optional("type", indicator.kind.escaped());
        event.optional("desc", indicator.message.escaped());
        event.time("created_time", indicator.time);
        if let Some(severity) = Severity::of_value(indicator.severity) {
            event.choice("severity", severity_id(severity), severity.capitalised());
        }
        event.close(element);
    }
    event.close(list);
}

fn states(event: &mut Event<'_>, parts: &UnifiedParts<'_>) {
    let verdict = Verdict::of(parts.verdict);
    event.json.boolean("is_alert", verdict != Some(Verdict::FalsePositive));
    event.incident_status(parts.status);
    event.confidence(parts.confidence);
    match verdict {
        Some(verdict) => {
            event.verdict(verdict);
            if verdict == Verdict::Unknown {
                event.mark(parts.verdict);
            }
        }
        None => event.other_verdict(parts.verdict),
    }
    let left = if parts.asset.is_detecting { Action::Observed } else { Action::Allowed };
    let (disposition, action) = match OUTCOMES.of(parts.result) {
        Some(outcome @ (Outcome::Mitigated | Outcome::Blocked)) => mitigated(outcome, parts.successful_actions(), left),
        Some(outcome @ Outcome::Active) => (disposition_of(outcome), left),
        Some(outcome @ Outcome::Benign) => (disposition_of(outcome), Action::Allowed),
        // It is unclear what an unknown word means for the alert.
        None if is_set(parts.result) => return,
        None => (19, Action::Observed),
    };
    event.disposition(disposition);
    event.action(action);
}

/// Writes the device with its container. Returns whether there was a container.
fn device(event: &mut Event<'_>, parts: &UnifiedParts<'_>) -> bool {
    let mut has_container = false;
    if parts.asset.class == AssetClass::Host {
        device::write(event, &parts.endpoint, |event| {
            device::owner(event, &parts.endpoint, &parts.user);
            has_container = workload::container(event, &parts.container, parts.pod.is_set);
            if has_container {
                event.using(Profile::Container);
            }
        });
    }
    has_container
}

pub(super) const ROLES: Words<Choice> = Words {
    field: "resources[].role",
    rows: &[
        ("target", (1, "Target")),
        ("actor", (2, "Actor")),
        ("affected", (3, "Affected")),
        ("related", (4, "Related")),
    ],
};

/// Writes the assets as `resources`. Their other values stay in `unmapped.assets`.
fn resources(event: &mut Event<'_>, parts: &UnifiedParts<'_>) {
    let list = event.open_list("resources");
    for asset in parts.assets().chain(parts.only_asset()) {
        if !is_set(asset.id()) && !is_set(asset.name()) {
            continue;
        }
        let element = event.open_element();
        event.optional("uid", asset.id().escaped());
        event.optional("uid_alt", asset.agent_uuid().escaped());
        event.optional("name", asset.name().escaped());
        event.optional("type", asset.kind().escaped());
        if let Some((id, caption)) = ROLES.of(asset.role()) {
            event.choice("role", id, caption);
        } else if let Some(word) = asset.role().escaped().filter(|word| !is_missing_word(*word)) {
            event.other("role", word);
        }
        event.close(element);
    }
    event.close(list);
}

/// Writes `evidences`. The process has neither a number nor an id, so its file and its command line are written without
/// a process. `has_container` means that the device has the container.
fn evidences(event: &mut Event<'_>, parts: &UnifiedParts<'_>, has_container: bool) {
    let list = event.open_list("evidences");
    let element = event.open_element();
    let file = &parts.file;
    let process = &parts.process;
    if !file.is_missing() {
        let written = object(file, &process.acting).write(event, "file", |event| {
            event.text("company_name", file.signer);
            event.integer("size", unless_zero(file.size));
            event.signature(file.signature(), None);
        });
        if written.is_some() && written == file.name.escaped() {
            event.mark(file.name);
        }
    }
    let data = event.open("data");
    event.optional("process", process.acting.process.map(Image::text));
    event.command_line("cmd_line", process.command_line);
    if let Some(parent) = process.acting.parent {
        event.optional("parent_name", Some(parent.name));
        event.mark_if(process.parent_name, parent.name.raw());
    }
    event.text("storyline", parts.storyline);
    event.close(data);
    // A container alone is not evidence.
    if !has_container && !event.is_empty(&element) {
        workload::container(event, &parts.container, parts.pod.is_set);
    }
    event.close(element);
    mark_process_user(event, parts.process.user_text);
    attacker(event, &parts.attacker);
    if is_set(parts.target.name) {
        target_user(event, &parts.target);
    } else if let Some(account) = parts.identity() {
        let element = event.open_element();
        event.user("user", account);
        event.close(element);
    }
    event.close(list);
}

fn attacker(event: &mut Event<'_>, attacker: &Attacker<'_>) {
    let element = event.open_element();
    let endpoint = event.open("src_endpoint");
    let [ip, other_ip] = attacker.ips;
    if !event.ip("ip", ip) {
        event.ip("ip", other_ip);
    }
    event.observed(ObservableType::Hostname, "hostname", attacker.name);
    event.close(endpoint);
    event.close(element);
}

fn target_user(event: &mut Event<'_>, target: &TargetUser<'_>) {
    let Some(account) = Account::of(target.name) else { return };
    let element = event.open_element();
    let user = event.open("user");
    if is_set(target.domain) {
        event.text("domain", target.domain);
        event.account(account.without_domain(), UserType::Unknown);
        if account.domain.is_none() {
            event.mark_if(target.name, account.name.raw());
        }
    } else {
        event.account(account, UserType::Unknown);
        mark_account(event, target.name);
    }
    if !event.person(account) {
        event.email("email_addr", target.email);
    }
    if account.full_name.is_none() {
        event.text("full_name", target.display_name);
    }
    event.close(user);
    event.close(element);
}

/// Adds the console's observables, which the event has in `unmapped`. A name with an addition of the console is left
/// out.
fn observables(event: &mut Event<'_>, parts: &UnifiedParts<'_>) {
    let mut observe = |path: &str, (kind, value): (Observed, Value<'_>)| {
        let is_image = matches!(kind, Observed::ProcessName | Observed::FileName | Observed::FilePath);
        let image = value.escaped().filter(|_| is_image).and_then(Image::named);
        let kind = match image {
            Some(Image { addition: Some(_), .. }) => return,
            Some(Image { path: Some(_), .. }) => ObservableType::FilePath,
            _ => observable_type(kind),
        };
        // A number in `unmapped` is not a text.
        if value.kind() == Kind::String {
            event.observe_received(kind, path, value);
        }
    };
    parts.observables().for_each(|observable| observe("unmapped.observables[].value", observable));
    let path = "unmapped.indicators[].observables[].value";
    parts.observables_of_indicators().for_each(|observable| observe(path, observable));
    // An older console has one asset in place of the list.
    let path = if parts.assets().next().is_some() {
        "unmapped.assets[].lastLoggedInUser"
    } else {
        "unmapped.asset.lastLoggedInUser"
    };
    parts.logged_in().for_each(|user| observe(path, (Observed::User, user)));
}

pub(super) fn observable_type(kind: Observed) -> ObservableType {
    match kind {
        Observed::Address => ObservableType::IpAddress,
        Observed::Host => ObservableType::Hostname,
        Observed::User => ObservableType::UserName,
        Observed::Email => ObservableType::EmailAddress,
        Observed::Hash => ObservableType::Hash,
        Observed::FileName => ObservableType::FileName,
        Observed::FilePath => ObservableType::FilePath,
        Observed::Url => ObservableType::Url,
        Observed::MacAddress => ObservableType::MacAddress,
        Observed::ProcessName => ObservableType::ProcessName,
        Observed::CommandLine => ObservableType::CommandLine,
        Observed::RegistryKey => ObservableType::RegistryKey,
    }
}
