//! The parts of an activity's event that come from `data`.

use s1_forwarder_record::activity::{Activity, ActivityData};
use s1_forwarder_record::{Escaped, Value};

use super::endpoint;
use super::event::{Event, is_placeholder};
use super::network;
use crate::common::activity_class::Class;
use crate::common::address::Address;
use crate::common::connection::Connection;
use crate::common::placeholder::first_scalar;
use crate::common::remote_origin;
use crate::common::word::Word;
use crate::parts::{Endpoint, Os, Peer};

/// Writes `package.*`: the agent, unless the console itself or an app of the marketplace was changed. The console does
/// not name the app.
pub(super) fn package(event: &mut Event<'_>, class: &Class, version: Value<'_>) {
    if !class.is("package") {
        return;
    }
    let open = event.open("package");
    match class.object {
        "console" => event.json.word("name", "SentinelOne Management Console"),
        "marketplace app" => {}
        _ => event.json.word("name", "SentinelOne Agent"),
    }
    event.text("version", version);
    event.close(open);
}

/// Writes the address of a console user.
pub(super) fn source(event: &mut Event<'_>, data: &ActivityData<'_>) {
    let open = event.open("source");
    event.ip("ip", data.ip_address);
    event.close(open);
}

/// Writes `host.*` of an endpoint, and returns its platform. Without an endpoint, the platform is that of an exclusion
/// or a blocklist entry.
pub(super) fn host<'a>(event: &mut Event<'_>, endpoint: &Endpoint<'a>) -> Value<'a> {
    let open = event.open("host");
    endpoint::names(event, endpoint.names);
    event.text("id", endpoint.agent_id);
    endpoint::addresses(event, endpoint);
    endpoint::mark_addresses(event, endpoint);
    let platform = if event.is_empty(&open) { Value::default() } else { platform(event, &endpoint.os) };
    event.close(open);
    platform
}

/// Writes `host.os`. The event has no capitals of the family.
fn platform<'a>(event: &mut Event<'_>, os: &Os<'a>) -> Value<'a> {
    let open = event.open("os");
    endpoint::os_fields(event, os);
    event.close(open);
    let is_lower_case = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if os.family.escaped().is_some_and(|text| text.raw().bytes().all(is_lower_case)) {
        os.types.into_iter().filter(|word| *word == os.family).for_each(|word| event.used.mark(word));
    }
    os.family
}

/// Writes `file.*`: the file that was detected, fetched, blocked or excluded. `of_endpoint` is the endpoint's platform.
pub(super) fn file<'a>(
    event: &mut Event<'_>,
    activity: &Activity<'a>,
    data: &ActivityData<'a>,
    class: &Class,
    of_endpoint: Value<'a>,
) {
    let open = event.open("file");
    let excluded = if class.is("configuration") { Excluded::of(activity, data, class, of_endpoint) } else { None };
    let path = event.text("path", data.file_path);
    let path = match excluded {
        Some(Excluded::Path) if path.is_none() => event.text("path", data.value),
        _ => path,
    };
    let has_name = remote_origin::name_of(data.file_display_name).is_some()
        && event.text("name", data.file_display_name).is_some();
    if !has_name {
        event.optional("name", path.map(Escaped::last_segment).filter(|name| !name.raw().is_empty()));
    }
    let repeated = activity.hash;
    let none = Value::default();
    let excluded_hash = if excluded == Some(Excluded::Hash) { data.value } else { none };
    event.hashes([activity.hash, data.file_content_hash, excluded_hash]);
    for value in [data.file_content_hash, excluded_hash] {
        if event.used.left(activity.hash).is_empty() && value == repeated {
            event.used.mark(value);
        }
    }
    match (excluded, data.value.escaped()) {
        (Some(Excluded::Signer), _) => {
            let signature = event.open("code_signature");
            event.text("subject_name", data.value);
            event.close(signature);
        }
        // The text stays in the record: ECS has extensions without the dot.
        (Some(Excluded::FileType), Some(text)) => {
            let extension = Escaped::plain(text.raw().trim_start_matches(['*', '.']));
            if !is_placeholder(extension) {
                event.json.lower_case("extension", extension);
            }
        }
        (Some(Excluded::Path), _) if data.file_path.is_empty() => event.extension(data.value),
        _ => event.extension(first_scalar([data.file_path, data.file_display_name])),
    }
    event.close(open);
}

/// What `value` of an exclusion or a blocklist entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excluded {
    Path,
    Hash,
    Signer,
    FileType,
}

impl Excluded {
    fn of(activity: &Activity<'_>, data: &ActivityData<'_>, class: &Class, of_endpoint: Value<'_>) -> Option<Self> {
        let text = data.value.escaped()?.raw();
        let kind = Word::of_value(data.exclusion_type);
        let is_hash = matches!(text.len(), 32 | 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let families = [data.os_family, activity.os_family];
        let has_platform = families.into_iter().any(|family| family.escaped().is_some() && family != of_endpoint);
        let is_entry = has_platform || class.object == "exclusion";
        let is_path = text.starts_with('/') || text.contains("\\\\");
        match kind.as_str() {
            "certificate" | "signer" | "signer_identity" => Some(Self::Signer),
            "file_type" => Some(Self::FileType),
            "" if !is_entry => None,
            _ if is_hash => Some(Self::Hash),
            "path" => Some(Self::Path),
            _ => is_path.then_some(Self::Path),
        }
    }
}

/// Writes `process.*`; only firewall activities contain the process itself.
pub(super) fn process(event: &mut Event<'_>, data: &ActivityData<'_>, is_firewall: bool) {
    let open = event.open("process");
    if is_firewall {
        let application = data.application.escaped();
        event.text("executable", data.application);
        if event.text("name", data.process_name).is_none() {
            event.optional("name", application.map(Escaped::last_segment).filter(|name| !name.raw().is_empty()));
        }
        event.long("pid", data.process_id);
    }
    event.text("command_line", data.escaped_malicious_process_arguments);
    event.close(open);
}

/// Writes `device.*` of device control. ECS also has fields for the vendor and product numbers of a USB device.
pub(super) fn device(event: &mut Event<'_>, data: &ActivityData<'_>) {
    let open = event.open("device");
    if event.text("id", data.u_id).is_none() {
        event.text("id", data.uid);
    }
    event.text("serial_number", data.serial);
    event.text("manufacturer", data.manufacturer_name);
    for (name, value) in [("vendor", data.vendor_id), ("product", data.product_id)] {
        let object = event.open(name);
        event.text("id", value);
        event.close(object);
    }
    let object = event.open("model");
    event.text("name", data.device_name);
    event.close(object);
    event.close(open);
}

/// Writes the rule that acted or was changed.
pub(super) fn rule(event: &mut Event<'_>, data: &ActivityData<'_>) {
    let open = event.open("rule");
    event.text("id", data.rule_id);
    event.text("name", data.rule_name);
    event.text("description", data.rule_description);
    event.close(open);
}

/// Writes `source`, `destination` and `network` of a firewall activity. For inbound traffic the remote host is the
/// source.
pub(super) fn connection(event: &mut Event<'_>, data: &ActivityData<'_>) {
    let connection = Connection::of(data);
    let inbound = connection.is_inbound();
    let (local, remote) = if inbound { ("destination", "source") } else { ("source", "destination") };
    peer(event, local, connection.local);
    peer(event, remote, connection.remote);
    let open = event.open("network");
    network::transport(event, connection.protocol);
    if inbound || connection.is_outbound() {
        event.json.word("direction", if inbound { "ingress" } else { "egress" });
    }
    event.close(open);
}

fn peer(event: &mut Event<'_>, name: &'static str, peer: Peer<'_>) {
    let Peer { host, port } = peer;
    let open = event.open(name);
    if let Some(text) = host.escaped() {
        if Address::of(text).is_some() {
            event.ip("ip", host);
        } else {
            event.text("domain", host);
            event.related.hosts.add(text);
        }
    }
    event.port("port", port);
    event.close(open);
}
