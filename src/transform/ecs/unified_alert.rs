//! Unified alerts → ECS. The host is the asset that the console calls primary, else the first, now and at detection.

use super::classification::Word;
use super::endpoint::{self, first};
use super::event::{Event, boolean, says_nothing};
use super::severity::{self, Severity};
use super::vendor::write_rest;
use super::{Frame, cloud, mitre, organization, user, workload};
use crate::record::unified_alert::UnifiedAlert;
use crate::record::{Escaped, Timestamp, Value};
use crate::transform::json::Names;

/// Names that the vendor object has beside the record's own.
const RESERVED: &[&str] = &["severity", "original_severity", "agent", "site"];

/// The host, as it is now and as it was at detection.
#[derive(Clone, Copy, Default)]
struct Host<'a> {
    now: Value<'a>,
    then: Value<'a>,
}

impl<'a> Host<'a> {
    /// What the asset said of itself at detection.
    fn at_detection(self, key: &str) -> Value<'a> {
        self.then.get("asset").get(key)
    }

    fn is_machine(self) -> bool {
        let category = Word::in_value(self.now.get("category"));
        matches!(category.as_str(), "server" | "workstation") || self.now.get("agentUuid").escaped().is_some()
    }
}

pub(super) fn map(event: &mut Event<'_>, frame: &Frame<'_>, alert: &mut UnifiedAlert<'_>) {
    let host = Host { now: primary(alert.assets), then: primary(alert.detection_time.assets) };
    let own_word = alert.severity.take();
    let severity = own_word.escaped().and_then(Severity::of_word).unwrap_or(Severity::Informational);
    let threat = threat_id(alert);

    head(event, frame, alert, host);
    event.sentence("message", &[("", alert.name.escaped()), (" on ", host.now.get("name").escaped())]);
    event_object(event, frame, alert, severity);
    rule(event, alert);
    let open = event.open("threat");
    mitre::write(event);
    event.close(open);
    process(event, alert);
    file(event, alert);
    user_object(event, alert, host);
    source(event, alert);
    host_object(event, host);
    let (now, then) = (&mut alert.real_time.scope, &mut alert.detection_time.scope);
    organization::write(
        event,
        [&mut now.account.id, &mut then.account_id],
        [&mut now.account.name, &mut then.account_name],
    );
    organization::group(event, [&mut now.group.id, &mut then.group_id], [&mut now.group.name, &mut then.group_name]);
    cloud::write_detected(event, host.then.get("cloud"));
    kubernetes(event, host.then.get("kubernetes"));
    related(event, alert);
    event.tail();

    let vendor = event.json.open("sentinel_one");
    let own = event.json.open("unified_alert");
    let word = own_word.escaped().map_or_else(|| severity.word().to_owned(), |word| word.decode().to_lowercase());
    severity::words(event, &word, own_word);
    let agent = event.json.open("agent");
    event.optional("uuid", host.now.get("agentUuid").escaped());
    event.json.close(agent);
    let (now, then) = (&alert.real_time.scope, &alert.detection_time.scope);
    organization::agent_and_site(event, Value::default(), [now.site.id, then.site_id], [now.site.name, then.site_name]);
    write_rest(&mut event.json, alert, Names::Snake, RESERVED);
    event.json.close(own);
    if let Some(id) = threat {
        let threat = event.json.open("threat");
        event.json.escaped("id", id);
        event.json.close(threat);
    }
    event.json.close(vendor);
    event.json.raw(b"}");
}

/// The element of a list that says `primary: true`, else the first.
fn primary(assets: Value<'_>) -> Value<'_> {
    let is_primary = |asset: &Value<'_>| boolean(asset.get("primary")) == Some(true);
    assets.elements().find(is_primary).or_else(|| assets.elements().next()).unwrap_or_default()
}

/// Detections of the agent's own engines are threats too, and this is their id there.
fn threat_id<'a>(alert: &UnifiedAlert<'a>) -> Option<Escaped<'a>> {
    let id = alert.external_id.escaped()?;
    let is_id = (17..=19).contains(&id.raw().len()) && id.raw().bytes().all(|byte| byte.is_ascii_digit());
    (is_id && is_sentinel_one(alert) && is_engine(alert)).then_some(id)
}

fn is_sentinel_one(alert: &UnifiedAlert<'_>) -> bool {
    Word::is(alert.detection_source.vendor, "sentinelone")
}

fn is_engine(alert: &UnifiedAlert<'_>) -> bool {
    matches!(Word::in_value(alert.detection_source.product).as_str(), "edr" | "cws" | "cwp")
}

fn time(value: Value<'_>) -> Option<Timestamp> {
    value.escaped().and_then(|text| Timestamp::parse(text.raw()).ok())
}

/// A new alert is dated by its detection, one that has changed by its change. The observer is whose product detected it.
fn head(event: &mut Event<'_>, frame: &Frame<'_>, alert: &UnifiedAlert<'_>, host: Host<'_>) {
    let (mut detected, mut updated, mut created) = (alert.detected_at, alert.updated_at, alert.created_at);
    let is_new = match (time(updated), time(created).or_else(|| time(detected))) {
        // Of two times the later less the earlier, and nothing the other way round.
        (Some(updated), Some(created)) => updated.since(created).as_secs_f64() < 60.0,
        (updated, _) => updated.is_none(),
    };
    match is_new {
        true => event.times([&mut detected, &mut updated, &mut created]),
        false => event.times([&mut updated, &mut detected, &mut created]),
    }
    event.json.raw(b",");
    event.json.raw(frame.head);
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
    event.json.text("hostname", frame.console_host);
    if is_sentinel_one(alert) {
        event.optional("version", host.now.get("agentVersion").escaped());
    }
    event.json.close(open);
}

fn event_object(event: &mut Event<'_>, frame: &Frame<'_>, alert: &mut UnifiedAlert<'_>, severity: Severity) {
    let result = Word::in_value(alert.result);
    let open = event.open("event");
    event.json.word("kind", "alert");
    event.words("category", categories(alert));
    event.words("type", ["info"]);
    match result.as_str() {
        "" => event.json.word("action", "unified-alert-raised"),
        word => event.json.word("action", &format!("unified-alert-{}", word.replace('_', "-"))),
    }
    event.json.word("outcome", if matches!(result.as_str(), "mitigated" | "benign") { "success" } else { "unknown" });
    event.severity(severity);
    let id = alert.id.escaped();
    event.keyword("id", &mut alert.id);
    if event.keyword("url", &mut alert.self_link).is_none()
        && let Some(id) = id
    {
        event.json.name("url");
        for part in ["\"https://", frame.console_host, "/incidents/unified-alerts?alertId=", id.raw(), "\""] {
            event.json.raw(part.as_bytes());
        }
    }
    event.date("created", &mut alert.created_at);
    let start = time(alert.first_seen_at);
    event.date("start", &mut alert.first_seen_at);
    if !matches!((start, time(alert.last_seen_at)), (Some(start), Some(end)) if end < start) {
        event.date("end", &mut alert.last_seen_at);
    }
    if alert.description.escaped().is_some_and(|text| !text.is("not available")) {
        event.keyword("reason", &mut alert.description);
    }
    event.techniques.read_attacks(alert.indicators);
    event.provenance(frame);
    // The maker stands beside the observer's name for it.
    if event.optional("provider", alert.detection_source.vendor.escaped()).is_none() {
        event.json.word("provider", "SentinelOne");
    }
    event.close(open);
}

/// By class, and by the surface that was attacked where the class does not tell.
fn categories(alert: &UnifiedAlert<'_>) -> impl Iterator<Item = &'static str> {
    let on = |surface: &str| alert.attack_surfaces.elements().any(|element| Word::is(element, surface));
    let only = |words: &[&'static str]| words.to_vec();
    let words = match Word::in_value(alert.classification).as_str() {
        "malware" | "ransomware" | "trojan" | "worm" | "virus" | "rootkit" | "backdoor" | "downloader" | "dropper"
        | "spyware" | "keylogger" | "info_stealer" | "coinminer" | "cryptominer" | "miner" | "dialer" | "rogue"
        | "toolbar" | "pua" | "packed" | "linux_malware" | "generic_heuristic" | "benign" => only(&["malware"]),
        word if word.starts_with("malicious_") => only(&["malware"]),
        "hacktool" | "interactive_shell" | "remote_shell" | "manual" | "browser" | "application_control" => {
            only(&[if on("endpoint") { "malware" } else { "intrusion_detection" }])
        }
        "exploit" | "lateral_movement" => only(&["malware", "intrusion_detection"]),
        "network" => only(&["malware", "intrusion_detection", "network"]),
        "command_and_control" | "enumeration" => only(&["intrusion_detection"]),
        "phishing" => only(&["email", "intrusion_detection"]),
        _ => {
            let mut words = only(&["intrusion_detection"]);
            let more = [("identity", "iam"), ("email", "email"), ("network", "network")];
            words.extend(more.into_iter().filter(|(surface, _)| on(surface)).map(|(_, word)| word));
            words
        }
    };
    words.into_iter()
}

fn rule(event: &mut Event<'_>, alert: &mut UnifiedAlert<'_>) {
    let analytics = &mut alert.analytics;
    if analytics.uid.is_empty() && analytics.name.is_empty() && analytics.category.is_empty() {
        return;
    }
    let is_custom = Word::is(analytics.category, "custom_rule");
    let open = event.open("rule");
    event.keyword("id", &mut analytics.uid);
    if event.keyword("name", &mut analytics.name).is_none() && is_custom {
        event.optional("name", alert.name.escaped());
    }
    event.keyword("category", &mut analytics.category);
    event.optional("ruleset", alert.detection_source.product.escaped());
    event.close(open);
}

/// The file is the process's image when the command line names it; else it is what was detected.
fn process(event: &mut Event<'_>, alert: &mut UnifiedAlert<'_>) {
    let process = &mut alert.process;
    let name = process.file.name.text().unwrap_or_default().to_lowercase();
    let is_image = !name.is_empty() && process.cmd_line.text().is_some_and(|line| line.to_lowercase().contains(&name));
    let open = event.open("process");
    event.keyword("command_line", &mut process.cmd_line);
    if is_image {
        event.optional("name", process.file.name.escaped());
        event.optional("executable", process.file.path.escaped());
        event.hashes([&mut { process.file.md5 }, &mut { process.file.sha1 }, &mut { process.file.sha256 }]);
    }
    let parent = event.open("parent");
    event.keyword("name", &mut process.parent_name);
    event.close(parent);
    user::process_user(event, process.username);
    event.close(open);
}

fn file(event: &mut Event<'_>, alert: &mut UnifiedAlert<'_>) {
    let file = &mut alert.process.file;
    let open = event.open("file");
    event.keyword("name", &mut file.name);
    event.keyword("path", &mut file.path);
    event.hashes([&mut file.md5, &mut file.sha1, &mut file.sha256]);
    event.long("size", &mut file.size);
    let signature = event.open("code_signature");
    event.keyword("subject_name", &mut file.cert_subject);
    event.close(signature);
    event.close(open);
}

fn user_object(event: &mut Event<'_>, alert: &mut UnifiedAlert<'_>, host: Host<'_>) {
    let target = &mut alert.detection_time.target_user;
    let open = event.open("user");
    if target.name.escaped().is_some_and(|name| !says_nothing(name)) {
        if target.domain.escaped().is_some() {
            if let Some(name) = event.keyword("name", &mut target.name) {
                event.related.user.add(name);
            }
            event.keyword("domain", &mut target.domain);
        } else {
            user::name_and_domain(event, &mut target.name);
        }
    } else if !target.domain.is_empty() || !target.email_address.is_empty() {
        event.keyword("domain", &mut target.domain);
    } else {
        let is_identity = Word::is(host.now.get("category"), "identity");
        let identity = if is_identity { host.now.get("name") } else { Value::default() };
        let seen = [identity, host.at_detection("lastLoggedInUser"), host.now.get("lastLoggedInUser")];
        user::name_and_domain(event, &mut first(seen));
    }
    user::email(event, &mut target.email_address);
    if let Some(name) = event.keyword("full_name", &mut target.display_name) {
        event.related.user.add(name);
    }
    event.close(open);
}

fn source(event: &mut Event<'_>, alert: &mut UnifiedAlert<'_>) {
    let attacker = &mut alert.detection_time.attacker;
    let open = event.open("source");
    event.optional("address", first([attacker.ip, attacker.host]).escaped());
    event.ip("ip", &mut attacker.ip);
    if let Some(host) = event.keyword("domain", &mut attacker.host) {
        event.related.hosts.add(host);
    }
    event.close(open);
}

fn host_object(event: &mut Event<'_>, host: Host<'_>) {
    if !host.is_machine() {
        return;
    }
    let open = event.open("host");
    endpoint::names(event, [&mut { host.now.get("name") }]);
    endpoint::domain(event, [&mut { host.at_detection("domain") }]);
    if let Some(kind) = host.now.get("subcategory").escaped() {
        event.json.lower_case("type", kind);
    }
    let os = event.open("os");
    let kinds = [host.at_detection("osType"), host.now.get("osType")];
    if let Some(kind) = kinds.into_iter().find_map(endpoint::os_type) {
        event.json.word("type", kind);
    }
    event.optional("name", host.at_detection("osName").escaped());
    event.optional("version", host.at_detection("osRevision").escaped());
    event.optional("full", host.now.get("osVersion").escaped());
    event.close(os);
    let addresses = ["ipV4", "ipV4Addresses", "ipV6", "ipV6Addresses", "consoleIpAddress"];
    endpoint::addresses(event, Value::default(), &addresses.map(|key| host.at_detection(key)));
    event.close(open);
}

/// On plain hosts the object is there with nothing in it.
fn kubernetes(event: &mut Event<'_>, kubernetes: Value<'_>) {
    let says = |value: Value<'_>| match value.elements().next() {
        Some(_) => value.elements().any(|element| !element.is_empty()),
        None => !value.is_empty(),
    };
    if !kubernetes.entries().any(|(_, value)| says(value)) {
        return;
    }
    let mut text = ["containerId", "containerName", "containerImageName"].map(|key| kubernetes.get(key));
    let [id, name, image] = text.each_mut();
    workload::container_fields(event, id, name, image, kubernetes.get("containerLabels"));
    let mut text = ["clusterName", "namespaceName", "podName", "controllerType"].map(|key| kubernetes.get(key));
    let [cluster, namespace, pod, controller] = text.each_mut();
    workload::kubernetes_fields(event, cluster, namespace, pod, controller, kubernetes.get("podLabels"));
}

/// What else an analyst pivots on: the other assets, who works on it, what the detail query observed.
fn related(event: &mut Event<'_>, alert: &UnifiedAlert<'_>) {
    for asset in alert.assets.elements() {
        event.related.hosts.add_value(asset.get("name"));
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
        match Word::in_value(observable.get("type")).as_str() {
            "ip" | "ip_address" => event.addresses("ip", value, drop),
            "hostname" => drop(value.escaped().map(|text| event.related.hosts.add(text))),
            "username" | "email_address" => event.related.user.add_value(value),
            "file_hash" => drop(value.escaped().map(|text| event.related.hash.add_lower_case(text))),
            _ => {}
        }
    }
}
