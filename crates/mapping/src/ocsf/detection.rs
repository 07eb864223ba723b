//! Writes what alerts share with hits of detection rules in the activity log.

use s1_forwarder_record::{Escaped, Value};

use super::event::{Event, address, integer};
use super::file::{File, FileType};
use super::metadata::Common;
use super::observables::Kind;
use super::user::UserType;
use super::workload;
use crate::common::account::Account;
use crate::common::address::Address;
use crate::common::classification::Word;
use crate::common::detection::{self as view, Detection, Process, of_login};
use crate::common::event_kind::EventKind;
use crate::common::hash::hash;
use crate::common::placeholder::{is_placeholder, is_set};
use crate::common::registry::{hive, set};
use crate::common::threat::{ALERT_PAGE, alert_page_id};

/// Values of an alert that a hit does not have.
#[derive(Debug, Default)]
pub(super) struct Extra<'a> {
    pub storyline: Value<'a>,
    /// The integrity levels of the process and of its parent.
    pub integrity: [Value<'a>; 2],
    pub file_id: Value<'a>,
}

/// Writes `actor` and `evidences`.
pub(super) fn write<'a>(event: &mut Event<'_>, detection: &Detection<'a>, extra: &Extra<'a>) {
    actor(event, detection, &extra.integrity);
    let list = event.open_list("evidences");
    source_process(event, &detection.process);
    target_process(event, &detection.target);
    target_file(event, &detection.file, extra.file_id);
    network(event, detection);
    dns(event, detection);
    registry(event, detection);
    module(event, detection);
    login(event, &detection.login);
    data(event, detection, extra.storyline);
    event.close(list);
}

/// Whether there is one of the values that a process needs.
pub(super) fn is_process(pid: Value<'_>, id: Value<'_>) -> bool {
    integer(pid).is_some() || is_set(id)
}

/// The process that acted. Without a number or an id, OCSF has no process, and the actor is its user.
fn actor(event: &mut Event<'_>, detection: &Detection<'_>, integrity: &[Value<'_>; 2]) {
    let has_process = is_process(detection.process.pid, detection.process.entity_id);
    let account = detection.process.user.effective;
    if !has_process && account.is_none() {
        return;
    }
    let open = event.open_actor();
    if has_process {
        let process = event.open("process");
        process_fields(event, &detection.process, integrity[0]);
        if is_process(detection.parent.pid, detection.parent.entity_id) {
            let parent = event.open("parent_process");
            process_fields(event, &detection.parent, integrity[1]);
            event.close(parent);
        }
        event.close(process);
    } else if let Some(account) = account {
        event.user("user", account, UserType::User);
    }
    event.close(open);
}

fn process_fields(event: &mut Event<'_>, process: &Process<'_>, integrity: Value<'_>) {
    let name = process.name.escaped();
    event.observed(Kind::ProcessName, "name", process.name);
    event.integer("pid", process.pid);
    event.text("uid", process.entity_id);
    event.observed(Kind::CommandLine, "cmd_line", process.command_line);
    event.time("created_time", process.start);
    let level = match Word::of_value(integrity).as_str() {
        "unknown" => Some((0, "Unknown")),
        "untrusted" => Some((1, "Untrusted")),
        "low" => Some((2, "Low")),
        "medium" => Some((3, "Medium")),
        "high" => Some((4, "High")),
        "system" => Some((5, "System")),
        _ => None,
    };
    if let Some((id, caption)) = level {
        event.choice("integrity", id, caption);
    }
    if let Some(account) = process.user.effective {
        event.user("user", account, UserType::User);
    }
    let file = File {
        name,
        path: process.executable,
        hashes: [process.md5, process.sha1, process.sha256],
        kind: FileType::Executable,
    };
    let signer = process.signer;
    file.write(event, "file", |event| {
        event.text("company_name", signer);
    });
}

/// The process that acted: `actor` says more of it.
fn source_process(event: &mut Event<'_>, process: &Process<'_>) {
    if !is_process(process.pid, process.entity_id) {
        return;
    }
    let element = event.open_element();
    let open = event.open("process");
    event.optional("name", process.name.escaped());
    event.integer("pid", process.pid.kept());
    event.optional("uid", process.entity_id.escaped());
    event.optional("cmd_line", process.command_line.escaped());
    event.close(open);
    event.close(element);
}

fn target_process(event: &mut Event<'_>, target: &view::Target<'_>) {
    if !is_process(target.pid, target.entity_id) {
        return;
    }
    let element = event.open_element();
    let process = event.open("process");
    event.observed(Kind::ProcessName, "name", target.name);
    event.integer("pid", target.pid);
    event.text("uid", target.entity_id);
    event.observed(Kind::CommandLine, "cmd_line", target.command_line);
    event.text("path", target.executable);
    event.time("created_time", target.start);
    event.close(process);
    event.close(element);
}

fn target_file<'a>(event: &mut Event<'_>, file: &view::File<'a>, id: Value<'a>) {
    let element = event.open_element();
    let created = file.created;
    let modified = file.mtime;
    let object = File { name: None, path: file.path, hashes: [file.sha1, file.sha256], kind: FileType::Unknown };
    object.write(event, "file", |event| {
        event.text("uid", id);
        event.time("created_time", created);
        event.time("modified_time", modified);
    });
    event.close(element);
}

/// Writes `connection_info` of an evidence or a network activity.
pub(super) fn direction(event: &mut Event<'_>, direction: Value<'_>) {
    match Word::of_value(direction).as_str() {
        "incoming" | "inbound" => event.choice("direction", 1, "Inbound"),
        "outgoing" | "outbound" => event.choice("direction", 2, "Outbound"),
        _ => event.choice("direction", 0, "Unknown"),
    }
}

/// The address of the machine that logged in is the source of a login.
fn network(event: &mut Event<'_>, detection: &Detection<'_>) {
    let of_login = detection.kind == Some(EventKind::Login) && address(detection.machine_ip).is_some();
    let element = event.open_element();
    let mut has_peer = false;
    for (name, peer) in [("src_endpoint", &detection.source), ("dst_endpoint", &detection.destination)] {
        let ip = if of_login && name == "src_endpoint" { detection.machine_ip } else { peer.ip };
        if address(ip).is_none() {
            continue;
        }
        let endpoint = event.open(name);
        event.ip("ip", ip);
        event.port("port", peer.port);
        event.close(endpoint);
        has_peer = true;
    }
    if has_peer {
        let open = event.open("connection_info");
        direction(event, detection.direction);
        let word = Word::of_value(detection.event_type);
        if let Some(protocol @ ("tcp" | "udp")) = word.as_str().get(..3) {
            event.json.word("protocol_name", protocol);
        }
        event.close(open);
    }
    event.close(element);
}

fn dns(event: &mut Event<'_>, detection: &Detection<'_>) {
    let element = event.open_element();
    let query = event.open("query");
    if let Some(name) = event.text("hostname", detection.dns_request)
        && Address::of(name).is_none()
    {
        event.observe(Kind::Hostname, "hostname", name);
    }
    event.close(query);
    event.close(element);
}

/// The path of a value ends in the value's name: of an event about a value, and of any event with data.
fn registry(event: &mut Event<'_>, detection: &Detection<'_>) {
    let registry = &detection.registry;
    let Some(path) = set(registry.longest_path()) else { return };
    event.uses_windows = true;
    let of_value = set(registry.data).is_some()
        || detection.event_type.escaped().is_some_and(|text| text.raw().to_ascii_uppercase().contains("VALUE"));
    let element = event.open_element();
    match path.rsplit_backslash().filter(|(key, value)| of_value && !key.raw().is_empty() && !value.raw().is_empty()) {
        Some((key, value)) => {
            let open = event.open("reg_value");
            event.json.escaped("name", value);
            registry_path(event, key);
            event.text("reg_string_data", registry.data);
            event.close(open);
        }
        None => {
            let open = event.open("reg_key");
            if registry_path(event, path) {
                event.used.mark(registry.longest_path());
            }
            event.close(open);
        }
    }
    event.close(element);
}

/// Writes `path` with the short name of its hive. Returns whether that is the text as received.
fn registry_path(event: &mut Event<'_>, path: Escaped<'_>) -> bool {
    let known = hive(path).filter(|(hive, _)| !path.raw().starts_with(hive));
    let short = known.map(|(hive, rest)| {
        let separator = if rest.raw().is_empty() { "" } else { r"\\" };
        [hive, separator, rest.raw()].concat()
    });
    let path = short.as_deref().map_or(path, Escaped::plain);
    event.json.escaped("path", path);
    event.observe(Kind::RegistryKey, "path", path);
    short.is_none()
}

fn module(event: &mut Event<'_>, detection: &Detection<'_>) {
    let element = event.open_element();
    let file =
        File { name: None, path: detection.module_path, hashes: [detection.module_sha1], kind: FileType::Unknown };
    file.write(event, "file", |_| {});
    event.close(element);
}

fn login(event: &mut Event<'_>, login: &view::Login<'_>) {
    let account = of_login(login.name).and_then(Account::of_text);
    if account.is_none() && of_login(login.sid).is_none() {
        return;
    }
    let element = event.open_element();
    let user = event.open("user");
    match account {
        Some(account) if of_login(login.domain).is_some() => {
            event.text("domain", login.domain);
            event.account(account.without_domain(), UserType::User);
        }
        Some(account) => event.account(account, UserType::User),
        None => {}
    }
    if of_login(login.sid).is_some() {
        event.text("uid", login.sid);
    }
    event.close(user);
    event.close(element);
}

/// What has no attribute of its own: the storyline, DNS answers, the indicator of a feed.
fn data(event: &mut Event<'_>, detection: &Detection<'_>, storyline: Value<'_>) {
    let element = event.open_element();
    let data = event.open("data");
    event.optional("storyline", storyline.escaped());
    event.text("dns_response", detection.dns_response);
    event.optional("indicator_type", detection.indicator_type.escaped());
    let value = event.text("indicator_value", detection.indicator_value);
    event.text("indicator_source", detection.indicator_source);
    if let Some(value) = value {
        observe_indicator(event, detection.indicator_type, value);
    }
    event.close(data);
    // A container alone is no evidence. Usually it is in the device.
    if !event.is_empty(&element) {
        let container = &detection.container;
        let values = [container.id, container.name, container.image].map(|value| event.used.left(value));
        workload::fields(event, values, container.labels, detection.pod.is_set);
    }
    event.close(element);
}

fn observe_indicator(event: &mut Event<'_>, kind: Value<'_>, value: Escaped<'_>) {
    let kind = match Word::of_value(kind).as_str() {
        "ip" | "ipv4" | "ipv6" | "ipv4_addr" | "ipv6_addr" if Address::of(value).is_some() => Kind::IpAddress,
        "md5" | "sha1" | "sha256" | "sha_1" | "sha_256" | "hash" | "file" if hash(value).is_some() => Kind::Hash,
        "url" => Kind::Url,
        "dns" | "domain" | "domain_name" => Kind::Hostname,
        _ => return,
    };
    if !is_placeholder(value) {
        event.observe(kind, "indicator_value", value);
    }
}

/// The values of the rule that made an alert or a hit.
pub(super) struct Finding<'a> {
    pub uid: Value<'a>,
    pub rule: [Value<'a>; 4],
    pub created: Value<'a>,
    pub modified: Value<'a>,
    /// Id and type of the event that the rule matched.
    pub matched: [Value<'a>; 2],
}

impl Finding<'_> {
    /// Writes `finding_info`.
    pub fn write(self, event: &mut Event<'_>, common: &Common<'_>) {
        let [id, name, description, category] = self.rule;
        let title = name.escaped();
        let open = event.open("finding_info");
        event.finding_uid(common, self.uid.escaped());
        event.optional("title", title);
        event.optional("desc", description.escaped());
        event.list_of("types", Some(Escaped::plain("Custom rule")));
        event.time("created_time", self.created.kept());
        event.time("modified_time", self.modified.kept());
        if is_set(id) || is_set(name) {
            let analytic = event.open("analytic");
            event.text("uid", id);
            event.text("name", name);
            event.text("desc", description);
            event.choice("type", 1, "Rule");
            event.text("category", category);
            event.close(analytic);
        }
        if let Some(id) = alert_page_id(self.uid) {
            event.url(&["https://", common.console_host, ALERT_PAGE, id.raw()]);
        }
        let [matched, kind] = self.matched;
        if is_set(matched) {
            let list = event.open_list("related_events");
            let element = event.open_element();
            event.optional("uid", matched.escaped());
            event.optional("type", kind.escaped());
            event.close(element);
            event.close(list);
        }
        event.close(open);
    }
}
