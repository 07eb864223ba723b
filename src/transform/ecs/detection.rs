//! Writes the fields that alerts share with hits of custom rules in the activity log, which spell their keys
//! differently.

use super::classification::Word;
use super::endpoint::{self, Os};
use super::event::{Event, address, boolean};
use super::user;
use super::workload;
use crate::record::Value;

/// References to the fields of a detection in its record.
pub(super) struct Detection<'v, 'a> {
    pub event_type: Value<'a>,
    pub rule: Rule<'v, 'a>,
    pub source: Peer<'v, 'a>,
    pub destination: Peer<'v, 'a>,
    pub direction: Value<'a>,
    pub machine_ip: &'v mut Value<'a>,
    pub dns_request: &'v mut Value<'a>,
    pub dns_response: &'v mut Value<'a>,
    pub login: Login<'v, 'a>,
    pub registry_key: &'v mut Value<'a>,
    pub registry_path: &'v mut Value<'a>,
    pub registry_value: &'v mut Value<'a>,
    pub module_path: &'v mut Value<'a>,
    pub module_sha1: &'v mut Value<'a>,
    pub indicator_type: Value<'a>,
    pub indicator_value: &'v mut Value<'a>,
    pub indicator_source: &'v mut Value<'a>,
    pub process: Process<'v, 'a>,
    pub parent: Process<'v, 'a>,
    pub file: File<'v, 'a>,
    pub host: Host<'v, 'a>,
    pub container: Container<'v, 'a>,
    pub pod: Pod<'v, 'a>,
}

pub(super) struct Rule<'v, 'a> {
    pub id: &'v mut Value<'a>,
    pub name: &'v mut Value<'a>,
    pub description: &'v mut Value<'a>,
    pub category: &'v mut Value<'a>,
}

pub(super) struct Peer<'v, 'a> {
    pub ip: &'v mut Value<'a>,
    pub port: &'v mut Value<'a>,
}

/// The user of a login.
pub(super) struct Login<'v, 'a> {
    pub name: &'v mut Value<'a>,
    pub domain: &'v mut Value<'a>,
    pub sid: &'v mut Value<'a>,
}

/// A process. Its user stays in the record, because the event has only a part of the text.
pub(super) struct Process<'v, 'a> {
    pub name: &'v mut Value<'a>,
    pub pid: &'v mut Value<'a>,
    pub command_line: &'v mut Value<'a>,
    pub executable: &'v mut Value<'a>,
    pub md5: &'v mut Value<'a>,
    pub sha1: &'v mut Value<'a>,
    pub sha256: &'v mut Value<'a>,
    pub entity_id: &'v mut Value<'a>,
    pub start: &'v mut Value<'a>,
    pub signer: &'v mut Value<'a>,
    pub user: Value<'a>,
}

/// The file that the process acted on.
pub(super) struct File<'v, 'a> {
    pub path: &'v mut Value<'a>,
    pub sha1: &'v mut Value<'a>,
    pub sha256: &'v mut Value<'a>,
    pub created: &'v mut Value<'a>,
    pub mtime: &'v mut Value<'a>,
    pub is_signed: Value<'a>,
}

pub(super) struct Host<'v, 'a> {
    pub names: [&'v mut Value<'a>; 2],
    pub id: &'v mut Value<'a>,
    pub kind: &'v mut Value<'a>,
    pub os: Os<'v, 'a>,
    pub addresses: [&'v mut Value<'a>; 2],
}

pub(super) struct Container<'v, 'a> {
    pub id: &'v mut Value<'a>,
    pub name: &'v mut Value<'a>,
    pub image: &'v mut Value<'a>,
}

pub(super) struct Pod<'v, 'a> {
    pub is_set: bool,
    pub cluster: &'v mut Value<'a>,
    pub namespace: &'v mut Value<'a>,
    pub name: &'v mut Value<'a>,
    pub controller_kind: &'v mut Value<'a>,
}

/// Writes all objects of the event except `event`, `organization`, `group` and those after them.
pub(super) fn write(event: &mut Event<'_>, detection: &mut Detection<'_, '_>) {
    let is_login = kind(detection.event_type) == Some(Kind::Login);
    rule(event, &mut detection.rule);
    connection(event, detection, is_login);
    dns(event, detection);
    login_user(event, &mut detection.login);
    registry(event, detection);
    let open = event.open("process");
    process_fields(event, &mut detection.process);
    let parent = event.open("parent");
    process_fields(event, &mut detection.parent);
    event.close(parent);
    event.close(open);
    file(event, &mut detection.file);
    dll(event, detection);
    indicator(event, detection);
    host(event, detection, is_login);
    let container = &mut detection.container;
    // The labels are a single text, which stays in the record.
    workload::container_fields(event, container.id, container.name, container.image, Value::default());
    let pod = &mut detection.pod;
    if pod.is_set {
        let none = Value::default();
        workload::kubernetes_fields(event, pod.cluster, pod.namespace, pod.name, pod.controller_kind, none);
    }
}

/// The kind of event that a rule matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Process,
    File(&'static str),
    Connection,
    Dns,
    Registry(&'static str),
    Login,
    Logout,
    Module,
    Indicator,
}

impl Kind {
    /// Category and type, in addition to `intrusion_detection` and `info`.
    pub fn class(self) -> (&'static str, &'static str) {
        match self {
            Self::Process => ("process", "start"),
            Self::File(change) => ("file", change),
            Self::Connection => ("network", "connection"),
            Self::Dns => ("network", "protocol"),
            Self::Registry(change) => ("registry", change),
            Self::Login => ("authentication", "start"),
            Self::Logout => ("authentication", "end"),
            Self::Module => ("library", "start"),
            Self::Indicator => ("malware", "info"),
        }
    }
}

/// Uses the prefix of the type's name: consoles spell the remaining part in several ways.
pub(super) fn kind(event_type: Value<'_>) -> Option<Kind> {
    let text = event_type.escaped()?;
    let word: String =
        text.raw().chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect();
    let change = if word.contains("CREAT") {
        "creation"
    } else if word.contains("DELET") {
        "deletion"
    } else {
        "change"
    };
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| word.starts_with(prefix));
    Some(match () {
        () if starts(&["PROCESS"]) => Kind::Process,
        () if starts(&["FILE"]) => Kind::File(change),
        () if starts(&["TCPV4", "TCPV6", "NETWORK", "IPCONNECT"]) => Kind::Connection,
        () if starts(&["DNS"]) => Kind::Dns,
        () if starts(&["REGISTRY", "REGKEY", "REGVALUE"]) => Kind::Registry(change),
        () if starts(&["LOGIN"]) => Kind::Login,
        () if starts(&["LOGOUT"]) => Kind::Logout,
        () if starts(&["MODULE"]) => Kind::Module,
        () if starts(&["INDICATOR", "BEHAVIORALINDICATOR"]) => Kind::Indicator,
        () => return None,
    })
}

fn rule(event: &mut Event<'_>, rule: &mut Rule<'_, '_>) {
    let open = event.open("rule");
    event.keyword("id", rule.id);
    event.keyword("name", rule.name);
    event.keyword("description", rule.description);
    event.keyword("category", rule.category);
    event.json.word("ruleset", "STAR");
    event.close(open);
}

fn connection(event: &mut Event<'_>, detection: &mut Detection<'_, '_>, is_login: bool) {
    let open = event.open("source");
    if detection.source.ip.escaped().is_none() && is_login {
        // For a login, this is the address of the client.
        event.ip("ip", detection.machine_ip);
    } else {
        event.ip("ip", detection.source.ip);
    }
    event.port("port", detection.source.port);
    event.close(open);
    let open = event.open("destination");
    event.ip("ip", detection.destination.ip);
    event.port("port", detection.destination.port);
    event.close(open);
    let open = event.open("network");
    match Word::of_value(detection.direction).as_str() {
        "outgoing" | "outbound" => event.json.word("direction", "egress"),
        "incoming" | "inbound" => event.json.word("direction", "ingress"),
        _ => {}
    }
    event.close(open);
}

/// The answers are one text with semicolons, which stays in the record unless there is a single answer.
fn dns(event: &mut Event<'_>, detection: &mut Detection<'_, '_>) {
    let open = event.open("dns");
    let question = event.open("question");
    event.keyword("name", detection.dns_request);
    event.close(question);
    if let Some(text) = detection.dns_response.escaped() {
        let list = event.json.open_list("answers");
        for answer in text.split(';') {
            let element = event.json.open_element();
            event.json.escaped("data", answer);
            event.json.close(element);
        }
        event.json.close(list);
        let list = event.json.open_list("resolved_ip");
        for address in text.split(';').filter_map(address) {
            event.json.element(address);
            event.related.ip.add(address);
        }
        event.json.close(list);
        if text.split(';').next() == Some(text) {
            detection.dns_response.take();
        }
    }
    event.close(open);
}

fn login_user(event: &mut Event<'_>, login: &mut Login<'_, '_>) {
    let open = event.open("user");
    event.keyword("id", login.sid);
    if login.domain.escaped().is_some() {
        event.keyword("domain", login.domain);
        if let Some(text) = login.name.escaped() {
            let name = user::split(text).1;
            event.json.escaped("name", name);
            event.related.user.add(name);
            if name == text {
                login.name.take();
            }
        }
    } else {
        user::name_and_domain(event, login.name);
    }
    event.close(open);
}

/// The console has one field for the name of a value and its data.
fn registry(event: &mut Event<'_>, detection: &mut Detection<'_, '_>) {
    let open = event.open("registry");
    event.keyword("key", detection.registry_key);
    event.keyword("path", detection.registry_path);
    if let Some(value) = event.keyword("value", detection.registry_value) {
        let data = event.open("data");
        let list = event.json.open_list("strings");
        event.json.element(value);
        event.json.close(list);
        event.close(data);
    }
    event.close(open);
}

fn dll(event: &mut Event<'_>, detection: &mut Detection<'_, '_>) {
    let open = event.open("dll");
    event.keyword("path", detection.module_path);
    event.hashes([&mut *detection.module_sha1]);
    event.close(open);
}

/// The indicator of a threat intelligence feed. If its type is unknown, type and value stay in the record.
fn indicator(event: &mut Event<'_>, detection: &mut Detection<'_, '_>) {
    let threat = event.open("threat");
    let open = event.open("indicator");
    let kind = Word::of_value(detection.indicator_type);
    let value = &mut *detection.indicator_value;
    match kind.as_str() {
        "ip" | "ipv4" | "ipv6" | "ipv4_addr" | "ipv6_addr" => {
            let is_v6 = value.escaped().is_some_and(|text| text.raw().contains(':'));
            event.json.word("type", if is_v6 { "ipv6-addr" } else { "ipv4-addr" });
            event.ip("ip", value);
        }
        "md5" | "sha1" | "sha256" | "sha_1" | "sha_256" | "hash" | "file" => {
            event.json.word("type", "file");
            let file = event.open("file");
            event.hashes([value]);
            event.close(file);
        }
        "url" => {
            event.json.word("type", "url");
            let url = event.open("url");
            event.keyword("original", value);
            event.close(url);
        }
        "dns" | "domain" | "domain_name" => {
            event.json.word("type", "domain-name");
            event.keyword("name", value);
        }
        _ => {}
    }
    event.keyword("provider", detection.indicator_source);
    event.close(open);
    event.close(threat);
}

fn process_fields(event: &mut Event<'_>, process: &mut Process<'_, '_>) {
    event.keyword("name", process.name);
    event.long("pid", process.pid);
    event.keyword("command_line", process.command_line);
    event.keyword("executable", process.executable);
    event.hashes([&mut *process.md5, &mut *process.sha1, &mut *process.sha256]);
    event.keyword("entity_id", process.entity_id);
    event.date("start", process.start);
    let signature = event.open("code_signature");
    event.keyword("subject_name", process.signer);
    event.close(signature);
    user::process_user(event, process.user);
}

fn file(event: &mut Event<'_>, file: &mut File<'_, '_>) {
    let open = event.open("file");
    if let Some(path) = event.keyword("path", file.path) {
        event.optional("name", Some(path.last_segment()).filter(|name| !name.raw().is_empty()));
    }
    event.hashes([&mut *file.sha1, &mut *file.sha256]);
    event.date("created", file.created);
    event.date("mtime", file.mtime);
    let signed = match Word::of_value(file.is_signed).as_str() {
        "signed" | "true" => Some(true),
        "unsigned" | "notsigned" | "not_signed" | "false" => Some(false),
        _ => None,
    };
    if let Some(signed) = signed {
        let signature = event.open("code_signature");
        event.json.boolean("exists", signed);
        event.close(signature);
    }
    event.close(open);
}

fn host(event: &mut Event<'_>, detection: &mut Detection<'_, '_>, is_login: bool) {
    let host = &mut detection.host;
    let open = event.open("host");
    let [first, second] = &mut host.names;
    endpoint::names(event, [&mut **first, &mut **second]);
    event.keyword("id", host.id);
    event.keyword("type", host.kind);
    endpoint::os(event, &mut host.os);
    // For a login, this is the address of the client, not of the host.
    let machine = if is_login { &mut Value::default() } else { &mut *detection.machine_ip };
    let [first, second] = &mut host.addresses;
    let values = [machine, &mut **first, &mut **second];
    endpoint::addresses(event, Value::default(), &values.each_ref().map(|value| **value));
    values.into_iter().for_each(Event::take_address);
    event.close(open);
}

/// The value of `event.outcome` of a login.
pub(super) fn login_outcome(is_successful: Value<'_>) -> Option<&'static str> {
    boolean(is_successful).map(|success| if success { "success" } else { "failure" })
}
