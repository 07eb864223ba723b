//! Writes the fields that alerts share with hits of detection rules in the activity log, which spell their keys
//! differently.

use super::event::{Event, is_missing_word, is_set};
use super::{dns, endpoint, network, registry, user, workload};
use crate::common::account::Account;
use crate::common::address::Address;
use crate::common::event_kind::EventKind;
use crate::common::words::Words;
use crate::parts::{
    Detection, Endpoint, INDICATORS, Indicator, IndicatorKind, Login, Process, Rule, TargetFile, TargetProcess,
};

pub(super) const SIGNATURES: Words<bool> = Words {
    field: "file.code_signature.exists",
    rows: &[
        ("signed", true),
        ("true", true),
        ("unsigned", false),
        ("notsigned", false),
        ("not_signed", false),
        ("false", false),
    ],
};

/// Writes all objects of the event except `event`, `organization`, `group` and the objects after them.
pub(super) fn write(event: &mut Event<'_>, detection: &Detection<'_>) {
    rule(event, &detection.rule);
    connection(event, detection);
    dns::write(event, detection.dns_request, detection.dns_response);
    user_object(event, detection);
    registry::write(event, detection);
    process(event, detection);
    file(event, &detection.file);
    dll(event, detection);
    indicator(event, &detection.indicator);
    host(event, &detection.endpoint);
    workload::container(event, &detection.container);
    workload::kubernetes(event, &detection.pod);
}

fn rule(event: &mut Event<'_>, rule: &Rule<'_>) {
    let open = event.open("rule");
    event.text("id", rule.id);
    event.text("name", rule.name);
    event.text("description", rule.description);
    event.text("category", rule.category);
    event.json.word("ruleset", "STAR");
    event.close(open);
}

/// Writes `source`, `destination` and `network`. The addresses are never the endpoint's own.
fn connection(event: &mut Event<'_>, detection: &Detection<'_>) {
    let open = event.open("source");
    let [ip, other] = detection.source_ips();
    event.ip("ip", ip);
    if let Some(other) = Address::of_value(other) {
        event.related.add_ip(&other);
    }
    event.port("port", detection.source.port);
    event.close(open);
    let open = event.open("destination");
    event.ip("ip", detection.destination.host);
    event.port("port", detection.destination.port);
    event.close(open);
    let open = event.open("network");
    let is_dns = is_set(detection.dns_request) || is_set(detection.dns_response);
    network::by_event_type(event, &detection.matched, is_dns);
    network::direction(event, detection.direction);
    event.close(open);
}

/// Writes the user who logged in, else the user of the process.
fn user_object(event: &mut Event<'_>, detection: &Detection<'_>) {
    let login = &detection.login;
    let is_login = [login.name, login.domain, login.sid].into_iter().any(|value| Login::text(value).is_some());
    let open = event.open("user");
    if is_login {
        login_user(event, login);
    } else if let Some(account) = detection.process.user.effective {
        user::write_account(event, account);
    }
    event.close(open);
}

fn login_user(event: &mut Event<'_>, login: &Login<'_>) {
    if Login::text(login.sid).is_some() {
        event.text("id", login.sid);
    }
    let has_domain = Login::text(login.domain).is_some();
    if has_domain {
        event.text("domain", login.domain);
    }
    let Some(account) = Login::text(login.name).and_then(Account::of_text) else { return };
    if has_domain {
        user::write_account(event, account.without_domain());
    } else {
        user::write_account(event, account);
    }
    if account.domain.is_none() && account.email().is_none() {
        event.mark(login.name);
    }
}

fn dll(event: &mut Event<'_>, detection: &Detection<'_>) {
    let open = event.open("dll");
    event.text("path", detection.module_path);
    event.hashes([detection.module_sha1]);
    event.close(open);
}

/// Writes the indicator of a threat intelligence feed. If its type is unknown, its type and value stay in the record.
fn indicator(event: &mut Event<'_>, indicator: &Indicator<'_>) {
    let threat = event.open("threat");
    let open = event.open("indicator");
    let value = indicator.value;
    match INDICATORS.of(indicator.kind) {
        Some(IndicatorKind::Address) => {
            let is_v6 = value.escaped().is_some_and(|text| text.raw().contains(':'));
            event.json.word("type", if is_v6 { "ipv6-addr" } else { "ipv4-addr" });
            event.ip("ip", value);
        }
        Some(IndicatorKind::Hash) => {
            event.json.word("type", "file");
            let file = event.open("file");
            event.hashes([value]);
            event.close(file);
        }
        Some(IndicatorKind::Url) => {
            event.json.word("type", "url");
            let url = event.open("url");
            event.text("original", value);
            event.close(url);
        }
        Some(IndicatorKind::Domain) => {
            event.json.word("type", "domain-name");
            let url = event.open("url");
            event.optional("domain", value.escaped());
            event.close(url);
            if let Some(name) = event.text("name", value) {
                event.related.hosts.add(name);
            }
        }
        None => {}
    }
    event.text("provider", indicator.source);
    event.close(open);
    event.close(threat);
}

/// Returns the values of `threat.indicator.type` for a kind of indicator, for the manual.
pub(super) fn indicator_type(kind: IndicatorKind) -> &'static str {
    match kind {
        IndicatorKind::Address => "ipv4-addr or ipv6-addr",
        IndicatorKind::Hash => "file",
        IndicatorKind::Url => "url",
        IndicatorKind::Domain => "domain-name",
    }
}

/// Writes the process. If a process was started, ECS has the started process and its parent. The parent's parent stays
/// in the record. In all other events, this is the process that acted.
fn process(event: &mut Event<'_>, detection: &Detection<'_>) {
    let is_start = detection.matched.kind == Some(EventKind::ProcessCreation) && detection.target.is_set();
    let open = event.open("process");
    let parent = if is_start {
        target_fields(event, &detection.target);
        relate_process(event, &detection.parent);
        &detection.process
    } else {
        process_fields(event, &detection.process);
        &detection.parent
    };
    let open_parent = event.open("parent");
    process_fields(event, parent);
    event.close(open_parent);
    event.close(open);
}

fn target_fields(event: &mut Event<'_>, target: &TargetProcess<'_>) {
    event.name_and_executable(target.name, target.executable);
    event.long("pid", target.pid);
    event.command_line("command_line", target.command_line);
    event.text("entity_id", target.entity_id);
    event.date("start", target.start);
}

/// Adds a process without a field to `related`.
fn relate_process(event: &mut Event<'_>, process: &Process<'_>) {
    let hashes = process.hashes.into_iter().chain(process.hashes_of_command_line);
    hashes.for_each(|hash| event.relate_hash(hash));
    user::relate_process_user(event, process.user);
}

fn process_fields(event: &mut Event<'_>, process: &Process<'_>) {
    event.name_and_executable(process.name, process.executable);
    event.long("pid", process.pid);
    event.command_line("command_line", process.command_line);
    event.hashes(process.hashes);
    process.hashes_of_command_line.into_iter().for_each(|hash| event.relate_hash(hash));
    event.text("entity_id", process.entity_id);
    event.date("start", process.start);
    let signature = event.open("code_signature");
    event.text("subject_name", process.signer);
    event.close(signature);
    user::write_process_user(event, process.user);
}

/// Writes `file`. Without a path and hashes there is no file: dates and signature are then the console's defaults.
fn file(event: &mut Event<'_>, file: &TargetFile<'_>) {
    let [sha1, sha256] = file.hashes;
    file.hashes_of_command_line.into_iter().for_each(|hash| event.relate_hash(hash));
    if [file.path, sha1, sha256].into_iter().all(|value| value.escaped().is_none_or(is_missing_word)) {
        return;
    }
    let open = event.open("file");
    if let Some(image) = event.path("path", file.path) {
        event.optional("name", Some(image.name));
        event.extension(file.path);
    }
    event.hashes(file.hashes);
    event.date("created", file.created);
    event.date("mtime", file.modified);
    if let Some(signed) = SIGNATURES.of(file.is_signed) {
        let signature = event.open("code_signature");
        event.json.boolean("exists", signed);
        event.close(signature);
    }
    event.close(open);
}

fn host(event: &mut Event<'_>, endpoint: &Endpoint<'_>) {
    let open = event.open("host");
    endpoint::write_fields(event, endpoint);
    endpoint::mark_addresses(event, endpoint);
    event.close(open);
}
