//! Maps unified alerts to ECS.

use s1_forwarder_record::unified_alert::UnifiedAlert;
use s1_forwarder_record::{Value, hostname};

use super::attack::{AttackBuffers, Techniques};
use super::common_fields::CommonFields;
use super::event::{Event, is_missing_word, is_set};
use super::vendor::{JoinKeys, VendorObject};
use super::{cloud, endpoint, organization, outcome, user, workload};
use crate::common::account::Account;
use crate::common::address::Address;
use crate::common::category::{Category, EventType};
use crate::common::classification::OUTCOMES;
use crate::common::missing::first_scalar;
use crate::common::page;
use crate::common::threat::{DETECTION_TYPES, DetectionType, extension, timestamp, unless_zero};
use crate::common::word::Word;
use crate::streams::unified_alert::{AlertedFile, AssetClass, Attacker, Observed, UnifiedParts};

pub(super) fn map(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    alert: &UnifiedAlert<'_>,
    attack_buffers: &mut AttackBuffers,
) {
    let parts = UnifiedParts::of(alert);
    let techniques = Techniques::of_alert(attack_buffers, &parts);
    let owner = &parts.endpoint.owner;
    event.mark(parts.severity);
    head(event, common, &parts);
    event.sentence("message", &parts.message());
    event_object(event, common, &parts);
    rule(event, &parts);
    let open = event.open("threat");
    techniques.write(&mut event.json);
    event.close(open);
    process(event, &parts);
    file(event, &parts.file);
    user_object(event, &parts);
    source(event, &parts.attacker);
    host(event, &parts);
    organization::write(event, owner);
    cloud::write(event, &parts.endpoint.cloud, false);
    workload::container(event, &parts.container);
    workload::kubernetes(event, &parts.pod);
    related(event, &parts);
    event.tail();

    let mut vendor = VendorObject::open(event, common, &join_keys(&parts), owner, "unified_alert");
    vendor.own_severity(None, parts.severity);
    vendor.site(owner);
    vendor.close(alert);
}

/// Returns the ids that the same detection has in other streams.
fn join_keys<'a>(parts: &UnifiedParts<'a>) -> JoinKeys<'a> {
    JoinKeys {
        agent_uuid: first_scalar(parts.endpoint.agent_uuids),
        alert_id: parts.alert_id(),
        threat_id: parts.threat_id(),
        storyline: parts.storyline,
        ..JoinKeys::default()
    }
}

/// Writes the beginning of the event. The observer is the detecting product.
fn head(event: &mut Event<'_>, common: &CommonFields<'_>, parts: &UnifiedParts<'_>) {
    event.times(parts.times());
    event.json.raw(b",");
    event.json.raw(common.head);
    let open = event.json.open("observer");
    if event.optional("vendor", parts.vendor.escaped()).is_none() {
        event.json.word("vendor", "SentinelOne");
    }
    if event.optional("product", parts.product.escaped()).is_none() {
        event.json.word("product", "Singularity");
    }
    if parts.is_engine() {
        event.json.word("type", "edr");
    }
    event.json.text("hostname", hostname(common.console_host));
    if parts.is_sentinel_one() {
        event.optional("version", first_scalar(parts.endpoint.agent_versions).escaped());
    }
    event.json.close(open);
}

fn event_object(event: &mut Event<'_>, common: &CommonFields<'_>, parts: &UnifiedParts<'_>) {
    let result = Word::of_set(parts.result);
    let open = event.open("event");
    event.json.word("kind", "alert");
    event.categories(parts.categories().chain(subject(parts)));
    event.types([EventType::Info]);
    match result.as_str() {
        "" => event.json.word("action", "unified-alert-raised"),
        word => event.json.word("action", &format!("unified-alert-{}", word.replace('_', "-"))),
    }
    event.outcome(outcome::of_detection(OUTCOMES.find(result.as_str()), false));
    event.severity(parts.known_severity());
    event.text("id", parts.id);
    if event.text("url", parts.link).is_none()
        && let Some(id) = parts.id.escaped().filter(|id| !is_missing_word(*id))
    {
        event.url(&page::unified_alert(common.console_host, id));
    }
    event.date("created", parts.created);
    let start = timestamp(parts.first_seen);
    event.date("start", parts.first_seen);
    if !matches!((start, timestamp(parts.last_seen)), (Some(start), Some(end)) if end < start) {
        event.date("end", parts.last_seen);
    }
    if parts.description.escaped().is_some_and(|text| !text.is("not available")) {
        event.text("reason", parts.description);
    }
    event.provenance(common);
    if event.optional("provider", parts.vendor.escaped()).is_none() {
        event.json.word("provider", "SentinelOne");
    }
    event.close(open);
}

/// Returns the subject of a detection by the agent's engines. A file that was found without being run is `file`; a
/// detection of behaviour is `process`. `None` for other detections.
fn subject(parts: &UnifiedParts<'_>) -> Option<Category> {
    let acting = &parts.process.acting;
    let has_file = parts.file.is_malicious() && parts.file.image.is_some();
    let has_process = is_set(parts.process.command_line) || acting.process.is_some() || acting.parent.is_some();
    let kind = DETECTION_TYPES.of(parts.analytic.kind)?;
    let is_process = kind == DetectionType::Dynamic || !parts.file.is_malicious();
    match kind {
        DetectionType::Static if parts.is_engine() && has_file => Some(Category::File),
        _ if parts.is_engine() && is_process && has_process => Some(Category::Process),
        _ => None,
    }
}

fn rule(event: &mut Event<'_>, parts: &UnifiedParts<'_>) {
    let analytic = &parts.analytic;
    if analytic.id.is_empty() && analytic.name.is_empty() && analytic.category.is_empty() {
        return;
    }
    let is_custom = Word::is(analytic.category, "custom_rule");
    let open = event.open("rule");
    event.text("id", analytic.id);
    if event.text("name", analytic.name).is_none() && is_custom {
        event.optional("name", parts.name.escaped());
    }
    event.text("category", analytic.category);
    event.optional("ruleset", parts.product.escaped());
    event.close(open);
}

fn process(event: &mut Event<'_>, parts: &UnifiedParts<'_>) {
    let process = &parts.process;
    let acting = &process.acting;
    let open = event.open("process");
    event.command_line("command_line", process.command_line);
    event.image(acting.process, Value::default());
    if acting.is_file {
        event.hashes(parts.file.hashes.map(Value::unmarked));
    }
    let parent = event.open("parent");
    event.image(acting.parent, process.parent_name);
    event.close(parent);
    user::write_process_user(event, process.user);
    event.close(open);
}

fn file(event: &mut Event<'_>, file: &AlertedFile<'_>) {
    file.hashes_of_command_line.into_iter().for_each(|hash| event.relate_hash(hash));
    if file.is_missing() {
        return;
    }
    let open = event.open("file");
    if let Some(image) = file.image {
        event.optional("name", Some(image.name));
        event.mark_if(file.name, image.name.raw());
        if let Some(extension) = extension(image.name) {
            event.json.lower_case("extension", extension);
        }
    }
    event.path("path", file.path);
    event.hashes(file.hashes);
    event.long("size", unless_zero(file.size));
    let signature = event.open("code_signature");
    if let Some(known) = file.signature() {
        event.json.boolean("exists", known.exists());
    }
    event.text("subject_name", file.signer);
    event.close(signature);
    event.close(open);
}

/// Writes the attacked user, or the user of the process. If neither is known, writes the user who was logged in.
fn user_object(event: &mut Event<'_>, parts: &UnifiedParts<'_>) {
    let interactive = Account::of(first_scalar(parts.user.names));
    let target = &parts.target;
    let open = event.open("user");
    let account = Account::of(target.name);
    let mut written = account;
    if let Some(account) = account {
        if is_set(target.domain) {
            user::write_account(event, account.without_domain());
            event.text("domain", target.domain);
            if account.domain.is_none() {
                event.mark_if(target.name, account.name.raw());
            }
        } else {
            user::name_and_domain(event, target.name);
        }
    } else if is_set(target.domain) || is_set(target.email) {
        event.text("domain", target.domain);
    } else {
        written = parts.identity().or(parts.process.user.effective).or(interactive);
        if let Some(account) = written {
            user::write_account(event, account);
        }
    }
    if written.and_then(Account::email).is_none() {
        user::email(event, target.email);
    }
    if written.and_then(|account| account.full_name).is_none()
        && let Some(name) = event.text("full_name", target.display_name)
    {
        event.related.user.add(name);
    }
    event.close(open);
    if let Some(account) = interactive {
        user::relate_account(event, account);
    }
}

fn source(event: &mut Event<'_>, attacker: &Attacker<'_>) {
    let open = event.open("source");
    let [ip, other_ip] = attacker.ips;
    let [address, other_address] = attacker.ips.map(Address::of_value);
    match address.or(other_address) {
        Some(address) => event.json.escaped("address", address.as_escaped()),
        None => {
            let name = first_scalar([attacker.name, ip]).escaped();
            event.optional("address", name.filter(|name| Address::of(*name).is_none()));
        }
    }
    event.ip("ip", ip);
    match other_address {
        Some(other) if address.is_some() => event.related.add_ip(&other),
        _ => event.ip("ip", other_ip),
    }
    if let Some(name) = event.text("domain", attacker.name) {
        event.related.hosts.add(name);
    }
    event.close(open);
}

fn host(event: &mut Event<'_>, parts: &UnifiedParts<'_>) {
    if parts.asset.class != AssetClass::Host {
        return;
    }
    let endpoint = &parts.endpoint;
    let open = event.open("host");
    endpoint::names(event, endpoint.names);
    endpoint::domain(event, endpoint.domains);
    endpoint::machine_type(event, first_scalar([endpoint.machine_type, parts.asset.kind]).unmarked());
    endpoint::write_architecture(event, endpoint);
    let os = event.open("os");
    let [name, version] = endpoint::os_fields(event, &endpoint.os);
    if event.optional("full", endpoint.os.full.escaped()).is_none() && name.is_some() {
        event.sentence("full", &[("", name), (" ", version)]);
    }
    event.close(os);
    endpoint::addresses(event, endpoint);
    event.close(open);
}

/// Adds values that analysts search by: other assets, the assignee, and the observables.
fn related(event: &mut Event<'_>, parts: &UnifiedParts<'_>) {
    for asset in parts.assets() {
        let Some(name) = asset.name().escaped() else { continue };
        match asset.class() {
            AssetClass::Host => event.related.add_host(name),
            AssetClass::User => user::related(event, asset.name()),
            AssetClass::Other => {}
        }
    }
    parts.logged_in().for_each(|name| user::related(event, name));
    for address in parts.detected_addresses() {
        event.addresses("ip", address, drop);
    }
    for name in [parts.assignee.full_name, parts.assignee.email] {
        user::related(event, name);
    }
    for (kind, value) in parts.observables().chain(parts.observables_of_indicators()) {
        match (kind, value.escaped()) {
            (Observed::Address, _) => event.addresses("ip", value, drop),
            (Observed::Host, Some(name)) => event.related.add_host(name),
            (Observed::User | Observed::Email, _) => user::related(event, value),
            (Observed::Hash, _) => event.relate_hash(value),
            _ => {}
        }
    }
}

/// Returns the field of `related` for an observable, for the manual.
pub(super) fn related_field(kind: Observed) -> &'static str {
    match kind {
        Observed::Address => "`ip`",
        Observed::Host => "`hosts`",
        Observed::User | Observed::Email => "`user`",
        Observed::Hash => "`hash`",
        Observed::FileName
        | Observed::FilePath
        | Observed::Url
        | Observed::MacAddress
        | Observed::ProcessName
        | Observed::CommandLine
        | Observed::RegistryKey => "none",
    }
}
