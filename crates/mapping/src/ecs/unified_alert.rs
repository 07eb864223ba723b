//! Maps unified alerts to ECS. The host is the primary asset, else the first one.

use s1_forwarder_record::unified_alert::UnifiedAlert;
use s1_forwarder_record::{Escaped, Value};

use super::command_line;
use super::common_fields::CommonFields;
use super::endpoint;
use super::event::{Event, is_placeholder, is_set};
use super::vendor::{self, JoinKeys};
use super::{cloud, organization, user, workload};
use crate::common::account::Account;
use crate::common::address::Address;
use crate::common::classification::{self, Word};
use crate::common::os::os_type;
use crate::common::placeholder::first_scalar;
use crate::common::remaining::write_remaining;
use crate::common::severity::Severity;
use crate::common::threat::file_size;
use crate::common::unified_alert::{
    Host, alert_id, is_engine, is_new, is_sentinel_one, process_user, severity, threat_id, time,
};
use crate::copy::KeyCase;

/// Names of the vendor object that do not come from keys of the record.
const RESERVED: &[&str] = &["severity", "original_severity", "site"];

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, alert: &UnifiedAlert<'_>) {
    let host = Host::of(alert);
    let severity = severity(alert);
    let console_severity = alert.severity;
    event.used.mark(console_severity);
    let keys = join_keys(alert, host);

    head(event, common, alert, host);
    event.sentence("message", &[("", alert.name.escaped()), (" on ", host.current.get("name").escaped())]);
    event_object(event, common, alert, severity);
    rule(event, alert);
    let open = event.open("threat");
    event.techniques.write(&mut event.json);
    event.close(open);
    process(event, alert);
    file(event, alert);
    user_object(event, alert, host);
    source(event, alert);
    host_object(event, host);
    let current = &alert.real_time.scope;
    let detected = &alert.detection_time.scope;
    organization::write(
        event,
        [current.account.id, detected.account_id],
        [current.account.name, detected.account_name],
    );
    organization::group(event, [current.group.id, detected.group_id], [current.group.name, detected.group_name]);
    cloud::write_detected(event, host.cloud());
    kubernetes(event, host.kubernetes());
    related(event, alert);
    event.tail();

    let vendor = vendor::open(event, common, &keys);
    let object = event.json.open("unified_alert");
    let word = match console_severity.escaped() {
        Some(word) => word.decode().to_lowercase(),
        None => severity.word().to_owned(),
    };
    event.vendor_severity(&word, console_severity);
    let current = &alert.real_time.scope;
    let detected = &alert.detection_time.scope;
    organization::agent_and_site(
        event,
        Value::default(),
        [current.site.id, detected.site_id],
        [current.site.name, detected.site_name],
    );
    write_remaining(&mut event.json, event.used, alert, KeyCase::Snake, RESERVED);
    event.json.close(object);
    event.json.close(vendor);
    event.json.raw(b"}");
}

/// The ids of the same detection in other streams.
fn join_keys<'a>(alert: &UnifiedAlert<'a>, host: Host<'a>) -> JoinKeys<'a> {
    let current = &alert.real_time.scope;
    let detected = &alert.detection_time.scope;
    JoinKeys {
        agent_uuid: host.current.get("agentUuid"),
        alert_id: alert_id(alert),
        threat_id: threat_id(alert),
        storyline: alert.storyline_id,
        site: [
            first_scalar([current.site.id, detected.site_id]),
            first_scalar([current.site.name, detected.site_name]),
        ],
        account_name: first_scalar([current.account.name, detected.account_name]),
        ..JoinKeys::default()
    }
}

/// `@timestamp` of a new alert is its detection time, else the time of its change. The observer is the detecting
/// product.
fn head(event: &mut Event<'_>, common: &CommonFields<'_>, alert: &UnifiedAlert<'_>, host: Host<'_>) {
    let [detected, updated, created] = [alert.detected_at, alert.updated_at, alert.created_at].map(Value::kept);
    match is_new(alert) {
        true => event.times([detected, updated, created]),
        false => event.times([updated, detected, created]),
    }
    event.json.raw(b",");
    event.json.raw(common.head);
    let source = &alert.detection_source;
    let open = event.json.open("observer");
    if event.optional("vendor", source.vendor.escaped()).is_none() {
        event.json.word("vendor", "SentinelOne");
    }
    if event.optional("product", source.product.escaped()).is_none() {
        event.json.word("product", "Singularity");
    }
    if is_engine(alert) {
        event.json.word("type", "edr");
    }
    event.json.text("hostname", common.console_host);
    if is_sentinel_one(alert) {
        event.optional("version", host.current.get("agentVersion").escaped());
    }
    event.json.close(open);
}

fn event_object(event: &mut Event<'_>, common: &CommonFields<'_>, alert: &UnifiedAlert<'_>, severity: Severity) {
    let result = Word::of_value(alert.result);
    let open = event.open("event");
    event.json.word("kind", "alert");
    event.words("category", categories(alert));
    event.words("type", ["info"]);
    match result.as_str() {
        "" => event.json.word("action", "unified-alert-raised"),
        word => event.json.word("action", &format!("unified-alert-{}", word.replace('_', "-"))),
    }
    event.json.word("outcome", classification::outcome(result.as_str(), None));
    event.severity(severity);
    let id = alert.id.escaped();
    event.keyword("id", alert.id);
    if event.keyword("url", alert.self_link).is_none()
        && let Some(id) = id.filter(|id| !is_placeholder(*id))
    {
        event.url(&[common.console_host, "/incidents/unified-alerts?alertId=", id.raw()]);
    }
    event.date("created", alert.created_at);
    let start = time(alert.first_seen_at);
    event.date("start", alert.first_seen_at);
    if !matches!((start, time(alert.last_seen_at)), (Some(start), Some(end)) if end < start) {
        event.date("end", alert.last_seen_at);
    }
    if alert.description.escaped().is_some_and(|text| !text.is("not available")) {
        event.keyword("reason", alert.description);
    }
    event.techniques.read_attacks(alert.indicators);
    event.provenance(common);
    if event.optional("provider", alert.detection_source.vendor.escaped()).is_none() {
        event.json.word("provider", "SentinelOne");
    }
    event.close(open);
}

/// The categories by classification, and by attacked surface if the classification is not specific.
fn categories(alert: &UnifiedAlert<'_>) -> impl Iterator<Item = &'static str> {
    let on = |surface: &str| alert.attack_surfaces.elements().any(|element| Word::is(element, surface));
    let class = Word::of_value(alert.classification);
    let of_endpoint =
        matches!(class.as_str(), "hacktool" | "interactive_shell" | "remote_shell" | "browser" | "application_control");
    let known = classification::known_categories(alert.classification);
    let categories = known.filter(|_| !of_endpoint || on("endpoint")).unwrap_or(&["intrusion_detection"]);
    let surfaces = [
        ("iam", known.is_none() && on("identity")),
        ("email", known.is_none() && on("email")),
        ("network", (known.is_none() || class.as_str() == "network") && on("network")),
    ];
    let by_surface = surfaces.into_iter().filter(|(_, counts)| *counts).map(|(category, _)| category);
    categories.iter().copied().chain(by_surface).chain(subject(alert))
}

/// For the agent's engines, a file that was found without being run is `file`; a detection of behaviour is `process`.
fn subject(alert: &UnifiedAlert<'_>) -> Option<&'static str> {
    let any = |values: [Value<'_>; 2]| values.into_iter().any(is_set);
    let file = &alert.process.file;
    let process = &alert.process;
    match Word::of_value(alert.analytics.type_value).as_str() {
        "static" if is_engine(alert) && any([file.name, file.path]) => Some("file"),
        "dynamic" if is_engine(alert) && any([process.cmd_line, process.parent_name]) => Some("process"),
        _ => None,
    }
}

fn rule(event: &mut Event<'_>, alert: &UnifiedAlert<'_>) {
    let analytics = &alert.analytics;
    if analytics.uid.is_empty() && analytics.name.is_empty() && analytics.category.is_empty() {
        return;
    }
    let is_custom = Word::is(analytics.category, "custom_rule");
    let open = event.open("rule");
    event.keyword("id", analytics.uid);
    if event.keyword("name", analytics.name).is_none() && is_custom {
        event.optional("name", alert.name.escaped());
    }
    event.keyword("category", analytics.category);
    event.optional("ruleset", alert.detection_source.product.escaped());
    event.close(open);
}

/// The file is the process image if the command line contains its name; else it is the detected file, and the command
/// line names the image.
fn process(event: &mut Event<'_>, alert: &UnifiedAlert<'_>) {
    let user = process_user(alert);
    let process = &alert.process;
    let name = process.file.name.text().unwrap_or_default().to_lowercase();
    let is_image = !name.is_empty() && process.cmd_line.text().is_some_and(|line| line.to_lowercase().contains(&name));
    let is_file = |path: &Escaped<'_>| !path.last_segment().raw().is_empty();
    let executable = process.cmd_line.escaped().and_then(command_line::executable).filter(is_file);
    let open = event.open("process");
    event.keyword("command_line", process.cmd_line);
    if is_image {
        event.optional("name", process.file.name.escaped());
        event.optional("executable", process.file.path.escaped());
        event.hashes([process.file.md5.kept(), process.file.sha1.kept(), process.file.sha256.kept()]);
    } else if let Some(executable) = executable {
        event.optional("name", Some(executable.last_segment()));
        event.optional("executable", Some(executable).filter(|path| path.last_segment() != *path));
    }
    let parent = event.open("parent");
    event.keyword("name", process.parent_name);
    event.close(parent);
    user.write(event);
    event.close(open);
}

fn file(event: &mut Event<'_>, alert: &UnifiedAlert<'_>) {
    let file = &alert.process.file;
    let open = event.open("file");
    event.keyword("name", file.name);
    event.keyword("path", file.path);
    event.extension(first_scalar([file.path, file.name]));
    event.hashes([file.md5, file.sha1, file.sha256]);
    event.long("size", file_size(file.size));
    let signature = event.open("code_signature");
    event.keyword("subject_name", file.cert_subject);
    event.close(signature);
    event.close(open);
}

/// The user is the attacked one, or the one of the process. Only if neither is known, it is the one who was logged in.
fn user_object(event: &mut Event<'_>, alert: &UnifiedAlert<'_>, host: Host<'_>) {
    let process_user = process_user(alert).effective;
    let is_identity = Word::is(host.current.get("category"), "identity");
    let identity = Account::of(if is_identity { host.current.get("name") } else { Value::default() });
    let logged_in = [host.at_detection("lastLoggedInUser"), host.current.get("lastLoggedInUser")];
    let interactive = Account::of(first_scalar(logged_in));
    let target = &alert.detection_time.target_user;
    let open = event.open("user");
    if let Some(account) = Account::of(target.name) {
        if is_set(target.domain) {
            account.without_domain().write(event);
            event.keyword("domain", target.domain);
            if account.domain.is_none() {
                event.used.mark(target.name);
            }
        } else {
            user::name_and_domain(event, target.name);
        }
    } else if is_set(target.domain) || is_set(target.email_address) {
        event.keyword("domain", target.domain);
    } else if let Some(account) = identity.or(process_user).or(interactive) {
        account.write(event);
    }
    user::email(event, target.email_address);
    if let Some(name) = event.keyword("full_name", target.display_name) {
        event.related.user.add(name);
    }
    event.close(open);
    interactive.into_iter().for_each(|account| account.relate(event));
}

fn source(event: &mut Event<'_>, alert: &UnifiedAlert<'_>) {
    let attacker = &alert.detection_time.attacker;
    let open = event.open("source");
    let [ip, of_host] = [attacker.ip, attacker.host].map(|value| {
        let address = value.escaped().and_then(Address::of);
        address.filter(|address| !address.is_unspecified())
    });
    match ip.or(of_host) {
        Some(address) => event.json.escaped("address", address.as_escaped()),
        None => {
            let name = first_scalar([attacker.host, attacker.ip]).escaped();
            event.optional("address", name.filter(|name| Address::of(*name).is_none()));
        }
    }
    event.ip("ip", attacker.ip);
    // A host may be named by its address, which is no domain.
    match of_host {
        Some(_) if ip.is_none() => event.ip("ip", attacker.host),
        Some(address) => event.related.add_ip(&address),
        None if attacker.host.escaped().and_then(Address::of).is_some() => {}
        None => {
            if let Some(host) = event.keyword("domain", attacker.host) {
                event.related.hosts.add(host);
            }
        }
    }
    event.close(open);
}

fn host_object(event: &mut Event<'_>, host: Host<'_>) {
    if !host.is_machine() {
        return;
    }
    let open = event.open("host");
    endpoint::names(event, [host.current.get("name").kept()]);
    endpoint::domain(event, [host.at_detection("domain").kept()]);
    if let Some(kind) = host.current.get("subcategory").escaped().filter(|kind| !is_placeholder(*kind)) {
        event.json.lower_case("type", kind);
    }
    let os = event.open("os");
    let kinds = [host.at_detection("osType"), host.current.get("osType")];
    if let Some(kind) = kinds.into_iter().find_map(os_type) {
        event.json.word("type", kind);
    }
    endpoint::family(event, first_scalar(kinds));
    event.optional("name", host.at_detection("osName").escaped());
    event.optional("version", host.at_detection("osRevision").escaped());
    event.optional("full", host.current.get("osVersion").escaped());
    event.close(os);
    let addresses = ["ipV4", "ipV4Addresses", "ipV6", "ipV6Addresses", "consoleIpAddress"];
    endpoint::addresses(event, Value::default(), &addresses.map(|key| host.at_detection(key)));
    event.close(open);
}

/// For hosts outside Kubernetes the object has only empty values.
fn kubernetes(event: &mut Event<'_>, kubernetes: Value<'_>) {
    let is_present = |value: Value<'_>| match value.elements().next() {
        Some(_) => value.elements().any(|element| !element.is_empty()),
        None => !value.is_empty(),
    };
    if !kubernetes.entries().any(|(_, value)| is_present(value)) {
        return;
    }
    let [id, name, image] = ["containerId", "containerName", "containerImageName"].map(|key| kubernetes.get(key));
    workload::container_fields(event, id, name, image, kubernetes.get("containerLabels"));
    let pod = ["clusterName", "namespaceName", "podName", "controllerType"].map(|key| kubernetes.get(key));
    let [cluster, namespace, pod, controller] = pod;
    workload::kubernetes_fields(event, cluster, namespace, pod, controller, kubernetes.get("podLabels"));
}

/// Adds values that analysts search by: other assets, the assignee, and the observables.
fn related(event: &mut Event<'_>, alert: &UnifiedAlert<'_>) {
    for asset in alert.assets.elements() {
        asset.get("name").escaped().into_iter().for_each(|name| event.related.add_host(name));
    }
    for asset in alert.detection_time.assets.elements() {
        for key in ["ipV4", "ipV4Addresses", "ipV6", "ipV6Addresses", "consoleIpAddress"] {
            event.addresses("ip", asset.get("asset").get(key), drop);
        }
    }
    for name in [alert.assignee.full_name, alert.assignee.email] {
        event.related.user.add_value(name);
    }
    for observable in alert.observables.elements() {
        let value = observable.get("value");
        match Word::of_value(observable.get("type")).as_str() {
            "ip" | "ip_address" => event.addresses("ip", value, drop),
            "hostname" => value.escaped().into_iter().for_each(|name| event.related.add_host(name)),
            "username" | "email_address" => user::related(event, value),
            "file_hash" if is_set(value) => {
                value.escaped().into_iter().for_each(|text| event.related.hash.add_lower_case(text));
            }
            _ => {}
        }
    }
}
