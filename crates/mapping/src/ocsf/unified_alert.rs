//! Maps unified alerts to Detection Finding. The device is the primary asset, else the first one.

use s1_forwarder_record::Value;
use s1_forwarder_record::unified_alert::UnifiedAlert;

use super::class::DETECTION_FINDING;
use super::device::{Device, Place};
use super::event::{Event, Profile, address, is_email, severity_id};
use super::file::{File, FileType};
use super::finding::{Action, Malware, Verdict};
use super::metadata::{Common, Metadata};
use super::mitigation::mitigated;
use super::observables::Kind;
use super::unmapped;
use super::user::{UserType, mark_account, mark_process_user};
use super::workload::{self, Cloud};
use crate::common::account::Account;
use crate::common::address::Address;
use crate::common::classification::Word;
use crate::common::hash::hash;
use crate::common::os::Os;
use crate::common::placeholder::{boolean, first_scalar, is_placeholder, is_set};
use crate::common::severity::Severity;
use crate::common::threat::file_size;
use crate::common::unified_alert::{Host, is_new, process_user, severity, threat_id};

const CREATE: u8 = 1;
const UPDATE: u8 = 2;
const CLOSE: u8 = 3;

pub(super) fn map(event: &mut Event<'_>, common: &Common<'_>, alert: &UnifiedAlert<'_>) {
    let host = Host::of(alert);
    let severity = severity(alert);
    let activity = match () {
        () if is_new(alert) => CREATE,
        () if Word::is(alert.status, "resolved") => CLOSE,
        () => UPDATE,
    };
    event.begin(&DETECTION_FINDING, activity, "");
    let current = &alert.real_time.scope;
    let detected = &alert.detection_time.scope;
    let mut metadata = Metadata {
        record_id: alert.id,
        logged: alert.created_at,
        modified: alert.updated_at,
        correlation: first_scalar([threat_id(alert), alert.storyline_id]),
        tenant: first_scalar([current.account.id, detected.account_id]),
        ..Metadata::default()
    };
    match activity {
        CREATE => metadata.time(event, [alert.detected_at, alert.updated_at, alert.created_at]),
        _ => metadata.time(event, [alert.updated_at, alert.detected_at, alert.created_at]),
    }
    if metadata.original_time == alert.detected_at {
        event.used.mark(alert.detected_at);
    }
    event_severity(event, alert, severity);
    event.sentence("message", &[("", alert.name.escaped()), (" on ", host.current.get("name").escaped())]);
    event.attacks.read_attacks(alert.indicators);
    malware(event, alert, severity);
    finding_info(event, common, alert);
    event.write_own_attacks();
    states(event, alert, host);
    event.ticket(alert.ticket_id);
    assignee(event, alert);
    device(event, alert, host);
    Cloud::detected(host.cloud()).write(event);
    resources(event, alert.assets, host.current);
    if let Some(account) = process_user(alert).effective {
        let open = event.open_actor();
        event.user("user", account, UserType::User);
        event.close(open);
    }
    evidences(event, alert, host);
    observables(event, alert.observables);
    event.tail(common, &metadata);
    unmapped::write(event, alert, &[], |_| {});
}

/// `UNKNOWN` and a missing severity are no severity.
fn event_severity(event: &mut Event<'_>, alert: &UnifiedAlert<'_>, severity: Severity) {
    match alert.severity.escaped().filter(|word| !is_placeholder(*word)).and_then(Severity::of_word) {
        Some(_) => {
            event.severity(severity);
            event.used.mark(alert.severity);
        }
        None => event.choice("severity", 0, "Unknown"),
    }
}

fn malware(event: &mut Event<'_>, alert: &UnifiedAlert<'_>, severity: Severity) {
    let file = &alert.process.file;
    let malware = Malware {
        name: first_scalar([alert.name, file.name]).escaped(),
        uid: file.sha1.escaped(),
        classification: alert.classification,
        provider: alert.analytics.category.escaped(),
        severity,
    };
    malware.write(event, |event| {
        let list = event.open_list("files");
        let element = event.open_element();
        // The values are in the evidence too, which marks them.
        let object = File {
            name: file.name.escaped(),
            path: file.path.kept(),
            hashes: [file.md5, file.sha1, file.sha256].map(Value::kept),
            kind: FileType::Regular,
        };
        object.write_element(event);
        event.close(element);
        event.close(list);
    });
}

fn finding_info(event: &mut Event<'_>, common: &Common<'_>, alert: &UnifiedAlert<'_>) {
    let id = alert.id;
    let open = event.open("finding_info");
    event.finding_uid(common, alert.id.escaped());
    if is_set(alert.id) {
        event.used.mark(alert.id);
    }
    event.text("uid_alt", alert.external_id);
    event.text("title", alert.name);
    event.text("desc", alert.description);
    event.list_of("types", alert.classification.escaped());
    for (name, value) in [
        ("created_time", alert.created_at),
        ("modified_time", alert.updated_at),
        ("first_seen_time", alert.first_seen_at),
        ("last_seen_time", alert.last_seen_at),
    ] {
        event.time(name, value);
    }
    let list = event.json.open_list("data_sources");
    let sources = || alert.data_sources.elements().map(|source| source.escaped().filter(|text| !is_placeholder(*text)));
    let is_complete = sources().all(|source| source.is_some());
    sources().flatten().for_each(|source| event.json.element(source));
    event.json.close(list);
    if is_complete && alert.data_sources.kind() == s1_forwarder_record::Kind::Array {
        event.used.mark(alert.data_sources);
    }
    let product = event.open("product");
    let name = event.text("name", alert.detection_source.product);
    if event.optional("vendor_name", alert.detection_source.vendor.escaped()).is_some() && name.is_some() {
        event.used.mark(alert.detection_source.vendor);
    }
    event.close_if(product, name.is_some());
    analytic(event, alert);
    let link = alert.self_link;
    url(event, common, link, id);
    event.write_attacks();
    related_events(event, alert.indicators);
    event.close(open);
    if url(event, common, link, id) {
        event.using(Profile::Incident);
    }
    for value in [alert.classification, alert.self_link] {
        if is_set(value) {
            event.used.mark(value);
        }
    }
}

fn url(event: &mut Event<'_>, common: &Common<'_>, link: Value<'_>, id: Value<'_>) -> bool {
    if event.optional("src_url", link.escaped()).is_some() {
        return true;
    }
    let Some(id) = id.escaped().filter(|id| !is_placeholder(*id)) else { return false };
    event.url(&["https://", common.console_host, "/incidents/unified-alerts?alertId=", id.raw()]);
    true
}

fn analytic(event: &mut Event<'_>, alert: &UnifiedAlert<'_>) {
    let analytics = &alert.analytics;
    if ![analytics.uid, analytics.name, analytics.category].into_iter().any(is_set) {
        return;
    }
    let kind = Word::of_value(analytics.type_value);
    let is_reputation = Word::is(analytics.category, "reputation");
    let open = event.open("analytic");
    event.text("uid", analytics.uid);
    if event.text("name", analytics.name).is_none() {
        event.optional("name", analytics.category.escaped());
    }
    event.text("category", analytics.category);
    let (id, caption) = match kind.as_str() {
        "rule" => (1, "Rule"),
        "behavioral" | "dynamic" => (2, "Behavioral"),
        "statistical" => (3, "Statistical"),
        "learning" => (4, "Learning (ML/DL)"),
        "static" if is_reputation => (5, "Fingerprinting"),
        "static" => (4, "Learning (ML/DL)"),
        "fingerprinting" => (5, "Fingerprinting"),
        "tagging" => (6, "Tagging"),
        "keyword_match" => (7, "Keyword Match"),
        "regular_expressions" => (8, "Regular Expressions"),
        "exact_data_match" => (9, "Exact Data Match"),
        "partial_data_match" => (10, "Partial Data Match"),
        "indexed_data_match" => (11, "Indexed Data Match"),
        _ => (0, "Unknown"),
    };
    match analytics.type_value.escaped().filter(|text| id == 0 && !is_placeholder(*text)) {
        Some(word) => {
            event.json.number("type_id", "99");
            event.json.escaped("type", word);
            event.used.mark(analytics.type_value);
        }
        None => event.choice("type", id, caption),
    }
    event.close(open);
}

fn related_events(event: &mut Event<'_>, indicators: Value<'_>) {
    let list = event.open_list("related_events");
    for indicator in indicators.elements() {
        let get = |key| indicator.get(key);
        let id = first_scalar([get("uid"), get("id"), get("eventUid")]);
        if !is_set(id) {
            continue;
        }
        let element = event.open_element();
        event.optional("uid", id.escaped());
        event.optional("title", first_scalar([get("title"), get("type")]).escaped());
        event.optional("type", get("type").escaped());
        event.optional("desc", get("message").escaped());
        event.time("created_time", first_scalar([get("eventTime"), get("createdAt")]).kept());
        if let Some(severity) = get("severity").escaped().and_then(Severity::of_word) {
            event.choice("severity", severity_id(severity), severity.capitalised());
        }
        event.close(element);
    }
    event.close(list);
}

fn states(event: &mut Event<'_>, alert: &UnifiedAlert<'_>, host: Host<'_>) {
    let verdict = Verdict::of(alert.analyst_verdict);
    event.json.boolean("is_alert", verdict != Some(Verdict::FalsePositive));
    event.incident_status(alert.status);
    event.confidence(alert.confidence_level);
    if let Some(verdict) = verdict {
        event.verdict(verdict);
        if verdict == Verdict::Unknown {
            event.used.mark(alert.analyst_verdict);
        }
    }
    let is_done = |report: &Value<'_>| !report.get("successCount").escaped().is_some_and(|count| count.is("0"));
    let reports = alert.mitigation_details.get("reports").elements().filter(is_done);
    let actions = reports.map(|report| report.get("mitigationActionType"));
    let is_detecting = Word::is(host.current.get("policy"), "detect");
    let left = if is_detecting { Action::Observed } else { Action::Allowed };
    let (disposition, action) = match Word::of_value(alert.result).as_str() {
        "mitigated" | "blocked" => mitigated(actions, left),
        "unmitigated" | "not_mitigated" => (15, left),
        "benign" | "marked_as_benign" => (10, Action::Allowed),
        _ => (19, Action::Observed),
    };
    event.disposition(disposition);
    event.action(action);
}

fn assignee(event: &mut Event<'_>, alert: &UnifiedAlert<'_>) {
    let assignee = &alert.assignee;
    // A user needs an id or a name.
    if !is_set(assignee.user_id) {
        return;
    }
    event.using(Profile::Incident);
    let open = event.open("assignee");
    event.text("uid", assignee.user_id);
    event.text("full_name", assignee.full_name);
    event.email("email_addr", assignee.email);
    event.user_type(UserType::Admin);
    event.close(open);
}

/// The id of the agent is not in the record, so the device has none.
fn device<'a>(event: &mut Event<'_>, alert: &UnifiedAlert<'a>, host: Host<'a>) {
    if !host.is_machine() {
        return;
    }
    let current = &alert.real_time.scope;
    let detected = &alert.detection_time.scope;
    let at_detection = |key: &str| host.at_detection(key);
    let get = |key: &str| host.current.get(key);
    let kind = [get("subcategory"), get("category")]
        .into_iter()
        .find(|kind| {
            matches!(
                Word::of_value(*kind).as_str(),
                "desktop" | "laptop" | "virtual_machine" | "server" | "workstation"
            )
        })
        .unwrap_or_default();
    let device = Device {
        uid_alt: [get("agentUuid"), Value::default()],
        names: [get("name"), Value::default()],
        domains: [at_detection("domain"), Value::default()],
        kind: kind.kept(),
        os: Os {
            kind: [at_detection("osType"), get("osType")],
            name: first_scalar([at_detection("osName"), get("osVersion")]).kept(),
            version: at_detection("osRevision"),
            ..Os::default()
        },
        addresses: ["ipV4", "ipV4Addresses", "ipV6", "ipV6Addresses"].map(at_detection),
        external: at_detection("consoleIpAddress"),
        agent_versions: [get("agentVersion"), Value::default()],
        is_managed: is_set(get("agentUuid")) && boolean(get("decommissioned")) != Some(true),
        place: Place {
            account_id: [current.account.id, detected.account_id],
            account_name: [current.account.name, detected.account_name],
            site_id: [current.site.id, detected.site_id],
            site_name: [current.site.name, detected.site_name],
            group_id: [current.group.id, detected.group_id],
            group_name: [current.group.name, detected.group_name],
        },
        cloud: Cloud::detected(host.cloud()),
        ..Device::default()
    };
    device.write(event, |event| {
        let user = first_scalar([at_detection("lastLoggedInUser"), get("lastLoggedInUser")]);
        if let Some(account) = Account::of(user) {
            event.user("owner", account, UserType::User);
        }
    });
}

/// What the assets say in addition stays in `unmapped.assets`.
fn resources(event: &mut Event<'_>, assets: Value<'_>, only: Value<'_>) {
    let list = event.open_list("resources");
    // Older consoles have one asset in the place of the list.
    let only = Some(only).filter(|_| assets.elements().next().is_none());
    for asset in assets.elements().chain(only) {
        let get = |key| asset.get(key);
        if !is_set(get("id")) && !is_set(get("name")) {
            continue;
        }
        let element = event.open_element();
        event.optional("uid", get("id").escaped());
        event.optional("uid_alt", get("agentUuid").escaped());
        event.optional("name", get("name").escaped());
        event.optional("type", first_scalar([get("assetTypeClassifier"), get("subcategory")]).escaped());
        match Word::of_value(get("role")).as_str() {
            "target" => event.choice("role", 1, "Target"),
            "actor" => event.choice("role", 2, "Actor"),
            "affected" => event.choice("role", 3, "Affected"),
            "related" => event.choice("role", 4, "Related"),
            _ => {
                if let Some(word) = get("role").escaped().filter(|word| !is_placeholder(*word)) {
                    event.json.number("role_id", "99");
                    event.json.escaped("role", word);
                }
            }
        }
        event.close(element);
    }
    event.close(list);
}

/// The process has neither number nor id, so its file and its command line are evidence without it.
fn evidences(event: &mut Event<'_>, alert: &UnifiedAlert<'_>, host: Host<'_>) {
    let list = event.open_list("evidences");
    let element = event.open_element();
    let process = &alert.process;
    let file = &process.file;
    let company = file.cert_subject;
    let size = file.size;
    let name = file.name;
    let object = File {
        name: name.escaped(),
        path: file.path,
        hashes: [file.md5, file.sha1, file.sha256],
        kind: FileType::Regular,
    };
    let written = object.name();
    object.write(event, "file", |event| {
        event.text("company_name", company);
        event.integer("size", file_size(size));
    });
    if written.is_some() && written == name.escaped() {
        event.used.mark(file.name);
    }
    let data = event.open("data");
    event.text("cmd_line", process.cmd_line);
    event.text("parent_name", process.parent_name);
    event.text("storyline", alert.storyline_id);
    event.close(data);
    // A container alone is no evidence.
    if !event.is_empty(&element) {
        let kubernetes = host.kubernetes();
        let values = ["containerId", "containerName", "containerImageName"].map(|key| kubernetes.get(key));
        workload::fields(event, values, kubernetes.get("containerLabels"), true);
    }
    event.close(element);
    if process.user_domain.is_empty() {
        mark_process_user(event, process.username);
    }
    attacker(event, alert);
    target_user(event, alert);
    event.close(list);
}

fn attacker(event: &mut Event<'_>, alert: &UnifiedAlert<'_>) {
    let attacker = &alert.detection_time.attacker;
    let element = event.open_element();
    let endpoint = event.open("src_endpoint");
    let has_ip = event.ip("ip", attacker.ip);
    match address(attacker.host) {
        Some(_) if !has_ip => _ = event.ip("ip", attacker.host),
        Some(_) => {}
        None if attacker.host.escaped().and_then(Address::of).is_some() => {}
        None => _ = event.observed(Kind::Hostname, "hostname", attacker.host),
    }
    event.close(endpoint);
    event.close(element);
}

fn target_user(event: &mut Event<'_>, alert: &UnifiedAlert<'_>) {
    let target = &alert.detection_time.target_user;
    let Some(account) = Account::of(target.name) else { return };
    let element = event.open_element();
    let user = event.open("user");
    if is_set(target.domain) {
        event.text("domain", target.domain);
        event.account(account.without_domain(), UserType::User);
        if account.domain.is_none() {
            event.used.mark(target.name);
        }
    } else {
        event.account(account, UserType::User);
        mark_account(event, target.name);
    }
    event.email("email_addr", target.email_address);
    event.text("full_name", target.display_name);
    event.close(user);
    event.close(element);
}

/// Adds the console's observables that the event has in `unmapped.observables`.
fn observables(event: &mut Event<'_>, observables: Value<'_>) {
    for observable in observables.elements() {
        let value = observable.get("value");
        // A number in `unmapped` is no text.
        let is_text = value.kind() == s1_forwarder_record::Kind::String;
        let Some(text) = value.escaped().filter(|text| is_text && !is_placeholder(*text)) else { continue };
        let kind = match Word::of_value(observable.get("type")).as_str() {
            "ip" | "ip_address" if Address::of(text).is_some() => Kind::IpAddress,
            "hostname" => Kind::Hostname,
            "username" => Kind::UserName,
            "email_address" if is_email(text) => Kind::EmailAddress,
            "file_hash" if hash(text).is_some() => Kind::Hash,
            "file_name" => Kind::FileName,
            "url" => Kind::Url,
            _ => continue,
        };
        event.observe_unmapped(kind, "observables[].value", text);
    }
}
