//! Writes the attributes that alerts share with hits of detection rules in the activity log.

use s1_forwarder_record::{Escaped, Value};

use super::class::Class;
use super::event::{Event, Profile, address, integer};
use super::file::{File, FileType};
use super::metadata::CommonFields;
use super::observables::ObservableType;
use super::user::{UserType, mark_process_user};
use super::{device, workload};
use crate::common::account::Account;
use crate::common::address::Address;
use crate::common::image::Image;
use crate::common::missing::{boolean, is_set, text};
use crate::common::page;
use crate::common::registry::hive;
use crate::common::words::{Choice, Words};
use crate::parts::{
    Detection, Direction, Endpoint, INDICATORS, IndicatorKind, Login, Process, TargetFile, TargetProcess,
};

pub(super) const INTEGRITY: Words<Choice> = Words {
    field: "actor.process.integrity",
    rows: &[
        ("unknown", (0, "Unknown")),
        ("untrusted", (1, "Untrusted")),
        ("low", (2, "Low")),
        ("medium", (3, "Medium")),
        ("high", (4, "High")),
        ("system", (5, "System")),
        ("protected", (6, "Protected")),
    ],
};

/// Writes `actor` and `evidences`. `has_container` means that the device has the container.
pub(super) fn write(event: &mut Event<'_>, detection: &Detection<'_>, has_container: bool) {
    actor(event, detection);
    let list = event.open_list("evidences");
    source_process(event, &detection.process);
    target_process(event, &detection.target);
    target_file(event, &detection.file);
    network(event, detection);
    dns(event, detection);
    registry(event, detection);
    module(event, detection);
    login(event, &detection.login);
    data(event, detection, has_container);
    event.close(list);
}

/// Writes the device with its container, and the device as a resource of a finding. Returns whether there was a
/// container.
pub(super) fn device(event: &mut Event<'_>, detection: &Detection<'_>, endpoint: &Endpoint<'_>) -> bool {
    let mut has_container = false;
    device::write(event, endpoint, |event| {
        has_container = workload::container(event, &detection.container, detection.pod.is_set);
        if has_container {
            event.using(Profile::Container);
        }
    });
    if event.class == Class::DetectionFinding {
        device::resource(event, endpoint, |_| {});
    }
    has_container
}

/// Returns whether a process has a number or an id, one of which OCSF requires.
fn is_process(pid: Value<'_>, id: Value<'_>) -> bool {
    integer(pid).is_some() || is_set(id)
}

/// Writes the process that acted. Without a number or an id, OCSF has no process, and the actor is its user.
fn actor(event: &mut Event<'_>, detection: &Detection<'_>) {
    let has_process = is_process(detection.process.pid, detection.process.entity_id);
    let account = detection.process.user.effective;
    if !has_process && account.is_none() {
        return;
    }
    let open = event.open_actor();
    if has_process {
        let process = event.open("process");
        process_fields(event, &detection.process);
        if is_process(detection.parent.pid, detection.parent.entity_id) {
            let parent = event.open("parent_process");
            process_fields(event, &detection.parent);
            event.close(parent);
        }
        event.close(process);
    } else if let Some(account) = account {
        event.user("user", account);
    }
    event.close(open);
}

fn process_fields(event: &mut Event<'_>, process: &Process<'_>) {
    let name = process.name.escaped();
    process_name(event, process.name, process.executable);
    event.integer("pid", process.pid);
    event.text("uid", process.entity_id);
    command_line(event, process.command_line);
    event.time("created_time", process.start);
    if let Some((id, caption)) = INTEGRITY.of(process.integrity) {
        event.choice("integrity", id, caption);
    }
    if let Some(account) = process.user.effective {
        event.user("user", account);
    }
    let file = File { name, path: process.executable, hashes: process.hashes, kind: FileType::Executable };
    file.write(event, "file", |event| {
        event.text("company_name", process.signer);
    });
    mark_process_user(event, process.user_text);
}

/// Writes the name of a process, else the name of its executable.
pub(super) fn process_name(event: &mut Event<'_>, name: Value<'_>, executable: Value<'_>) {
    let Some(image) = Image::of(name).or_else(|| Image::at(executable)) else { return };
    if let Some(text) = event.optional("name", Some(image.name)) {
        event.observe(ObservableType::ProcessName, "name", text);
        event.mark_if(name, text.raw());
    }
}

fn command_line(event: &mut Event<'_>, value: Value<'_>) {
    if let Some(text) = event.command_line("cmd_line", value) {
        event.observe(ObservableType::CommandLine, "cmd_line", text);
    }
}

/// Writes the process that acted. `actor` has more of its values.
fn source_process(event: &mut Event<'_>, process: &Process<'_>) {
    if !is_process(process.pid, process.entity_id) {
        return;
    }
    let element = event.open_element();
    let open = event.open("process");
    let image = Image::of(process.name).or_else(|| Image::at(process.executable));
    event.optional("name", image.map(|image| image.name));
    event.integer("pid", process.pid.unmarked());
    event.optional("uid", process.entity_id.escaped());
    event.command_line("cmd_line", process.command_line.unmarked());
    event.close(open);
    event.close(element);
}

fn target_process(event: &mut Event<'_>, target: &TargetProcess<'_>) {
    if !is_process(target.pid, target.entity_id) {
        return;
    }
    let element = event.open_element();
    let process = event.open("process");
    process_name(event, target.name, target.executable);
    event.integer("pid", target.pid);
    event.text("uid", target.entity_id);
    command_line(event, target.command_line);
    if let Some(path) = Image::at(target.executable).or(Image::of(target.name)).and_then(|image| image.path) {
        event.json.escaped("path", path);
        event.mark_if(target.executable, path.raw());
    }
    event.time("created_time", target.start);
    event.close(process);
    event.close(element);
}

fn target_file(event: &mut Event<'_>, file: &TargetFile<'_>) {
    let element = event.open_element();
    let object = File { name: None, path: file.path, hashes: file.hashes, kind: FileType::Unknown };
    object.write(event, "file", |event| {
        event.text("uid", file.id);
        event.time("created_time", file.created);
        event.time("modified_time", file.modified);
    });
    event.close(element);
}

/// Writes `connection_info` of an evidence or a network activity.
pub(super) fn direction(event: &mut Event<'_>, direction: Option<Direction>) {
    let (id, caption) = direction.map_or((0, "Unknown"), direction_choice);
    event.choice("direction", id, caption);
}

pub(super) fn direction_choice(direction: Direction) -> Choice {
    match direction {
        Direction::Inbound => (1, "Inbound"),
        Direction::Outbound => (2, "Outbound"),
    }
}

fn network(event: &mut Event<'_>, detection: &Detection<'_>) {
    let element = event.open_element();
    let mut has_peer = false;
    let [source_ip, _] = detection.source_ips();
    for (name, ip, port) in [
        ("src_endpoint", source_ip, detection.source.port),
        ("dst_endpoint", detection.destination.host, detection.destination.port),
    ] {
        if address(ip).is_none() {
            continue;
        }
        let endpoint = event.open(name);
        event.ip("ip", ip);
        event.port("port", port);
        event.close(endpoint);
        has_peer = true;
    }
    if has_peer {
        let open = event.open("connection_info");
        direction(event, detection.direction);
        if let Some(transport) = detection.matched.transport() {
            event.json.word("protocol_name", transport);
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
        event.observe(ObservableType::Hostname, "hostname", name);
    }
    event.close(query);
    event.close(element);
}

/// Writes the registry key or value. The path of a value ends in the value's name.
fn registry(event: &mut Event<'_>, detection: &Detection<'_>) {
    let registry = &detection.registry;
    let Some(path) = text(registry.longest_path()) else { return };
    event.uses_windows = true;
    let of_value = detection.is_registry_value();
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
                event.mark(registry.longest_path());
            }
            event.close(open);
        }
    }
    event.close(element);
}

/// Writes `path` with the short name of its hive. Returns whether it is the text as received.
fn registry_path(event: &mut Event<'_>, path: Escaped<'_>) -> bool {
    let known = hive(path).filter(|(hive, _)| !path.raw().starts_with(hive));
    let short = known.map(|(hive, rest)| {
        let separator = if rest.raw().is_empty() { "" } else { r"\\" };
        [hive, separator, rest.raw()].concat()
    });
    let path = short.as_deref().map_or(path, Escaped::plain);
    event.json.escaped("path", path);
    event.observe(ObservableType::RegistryKey, "path", path);
    short.is_none()
}

fn module(event: &mut Event<'_>, detection: &Detection<'_>) {
    let element = event.open_element();
    let file =
        File { name: None, path: detection.module_path, hashes: [detection.module_sha1], kind: FileType::Unknown };
    file.write(event, "file", |_| {});
    event.close(element);
}

fn login(event: &mut Event<'_>, login: &Login<'_>) {
    let account = Login::text(login.name).and_then(Account::of_text);
    if account.is_none() && Login::text(login.sid).is_none() {
        return;
    }
    // `false` does not say which type the user has.
    let is_administrator = boolean(login.is_administrator) == Some(true);
    let kind = if is_administrator { UserType::Admin } else { UserType::Unknown };
    let element = event.open_element();
    let user = event.open("user");
    match account {
        Some(account) if Login::text(login.domain).is_some() => {
            event.text("domain", login.domain);
            event.account(account.without_domain(), kind);
        }
        Some(account) => event.account(account, kind),
        None if is_administrator => event.user_type(kind),
        None => {}
    }
    if let Some(account) = account {
        event.person(account);
    }
    if Login::text(login.sid).is_some() {
        event.text("uid", login.sid);
    }
    event.close(user);
    event.close(element);
}

/// Writes values that have no attribute: the storyline, DNS answers, the indicator of a feed.
fn data(event: &mut Event<'_>, detection: &Detection<'_>, has_container: bool) {
    let indicator = &detection.indicator;
    let element = event.open_element();
    let data = event.open("data");
    event.optional("storyline", detection.storyline.escaped());
    event.text("dns_response", detection.dns_response);
    event.optional("indicator_type", indicator.kind.escaped());
    event.text("indicator_value", indicator.value);
    event.text("indicator_source", indicator.source);
    if let Some(kind) = INDICATORS.of(indicator.kind) {
        event.observe_received(indicator_type(kind), "indicator_value", indicator.value);
    }
    event.close(data);
    // A container alone is not evidence.
    if !has_container && !event.is_empty(&element) {
        workload::container(event, &detection.container, detection.pod.is_set);
    }
    event.close(element);
}

pub(super) fn indicator_type(kind: IndicatorKind) -> ObservableType {
    match kind {
        IndicatorKind::Address => ObservableType::IpAddress,
        IndicatorKind::Hash => ObservableType::Hash,
        IndicatorKind::Url => ObservableType::Url,
        IndicatorKind::Domain => ObservableType::Hostname,
    }
}

/// Writes `finding_info` of a rule's finding. `uid` is the id of the alert, else the id of the threat.
pub(super) fn finding_info(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    detection: &Detection<'_>,
    uid: Value<'_>,
    [created, modified]: [Value<'_>; 2],
) {
    let rule = &detection.rule;
    let open = event.open("finding_info");
    event.finding_uid(common, uid.escaped());
    event.title(rule.name.unmarked());
    event.optional("desc", rule.description.escaped());
    event.list_of("types", Some(Escaped::plain("Custom rule")));
    event.time("created_time", created.unmarked());
    event.time("modified_time", modified.unmarked());
    if is_set(rule.id) || is_set(rule.name) {
        let analytic = event.open("analytic");
        event.text("uid", rule.id);
        event.text("name", rule.name);
        event.text("desc", rule.description);
        event.choice("type", 1, "Rule");
        event.text("category", rule.category);
        event.agent_sensor();
        event.close(analytic);
    }
    if let Some(page) = page::alert(common.console_host, uid) {
        event.url(&page);
    }
    if is_set(detection.event_id) {
        let list = event.open_list("related_events");
        let element = event.open_element();
        event.optional("uid", detection.event_id.escaped());
        event.optional("type", detection.matched.event_type.escaped());
        event.close(element);
        event.close(list);
    }
    event.close(open);
}
