//! The attributes of some classes of activities: applications, scans, connections, peripheral devices.

use s1_forwarder_record::Value;
use s1_forwarder_record::activity::{Activity, ActivityData};

use super::activity_values::{other, peripheral_name};
use super::detection;
use super::event::{Event, Profile, address};
use super::observables::ObservableType;
use crate::common::activity_class::{Class, Subject};
use crate::common::address::Address;
use crate::common::connection::Connection;
use crate::common::placeholder::{is_placeholder, is_set};
use crate::parts::Peer;
use crate::streams::activity::package_version;

/// The console, as a product and as the service that users log in to.
pub(super) const CONSOLE: &str = "SentinelOne Management Console";

/// The agent, unless the console itself or an app of the marketplace was changed.
pub(super) fn app<'a>(event: &mut Event<'_>, class: &Class, activity: &Activity<'a>, data: &ActivityData<'a>) {
    let open = event.open("app");
    match class.object {
        "console" => {
            event.json.word("vendor_name", "SentinelOne");
            event.json.word("name", CONSOLE);
        }
        "marketplace app" => {
            let name = other(data, "appName").escaped();
            if event.optional("name", name).is_none() {
                event.json.word("name", "Singularity Marketplace app");
            }
        }
        _ => {
            event.json.word("vendor_name", "SentinelOne");
            event.json.word("name", "SentinelOne Agent");
        }
    }
    event.text("version", package_version(activity, data));
    event.close(open);
}

pub(super) fn scan(event: &mut Event<'_>, class: &Class, by_user: bool) {
    let open = event.open("scan");
    event.json.word("name", if class.object.is_empty() { "full disk scan" } else { class.object });
    if by_user {
        event.choice("type", 1, "Manual");
    } else {
        event.json.number("type_id", "99");
        event.json.word("type", "System");
    }
    event.close(open);
}

/// The connection of a firewall activity, or the one to an endpoint's shell.
pub(super) fn connection<'a>(event: &mut Event<'_>, class: &Class, activity: &Activity<'a>, data: &ActivityData<'a>) {
    if class.subject != Subject::Firewall {
        let open = event.open("src_endpoint");
        event.ip("ip", data.ip_address);
        event.close(open);
        let open = event.open("dst_endpoint");
        event.optional("hostname", data.computer_name.escaped());
        event.optional("uid", activity.agent_id.escaped());
        event.close(open);
        return;
    }
    let connection = Connection::of(data);
    let (local, remote) =
        if connection.is_inbound() { ("dst_endpoint", "src_endpoint") } else { ("src_endpoint", "dst_endpoint") };
    let none = Value::default();
    peer(event, local, connection.local, [data.computer_name, activity.agent_id]);
    peer(event, remote, connection.remote, [none, none]);
    let open = event.open("connection_info");
    detection::direction(event, connection.direction);
    match connection.protocol.escaped() {
        Some(text) if text.raw().parse::<u8>().is_ok() => {
            event.json.number("protocol_num", text.raw().trim_start_matches('+'))
        }
        Some(text) => event.json.lower_case("protocol_name", text),
        None => {}
    }
    event.close(open);
    if is_set(data.rule_id) || is_set(data.rule_name) {
        event.using(Profile::SecurityControl);
        let rule = event.open("firewall_rule");
        event.text("uid", data.rule_id);
        event.text("name", data.rule_name);
        event.text("desc", data.rule_description);
        event.close(rule);
    }
}

/// An endpoint needs an address or a name. The local one is the device at least.
fn peer<'a>(event: &mut Event<'_>, name: &str, peer: Peer<'a>, device: [Value<'a>; 2]) {
    let open = event.open(name);
    if address(peer.host).is_some() {
        event.ip("ip", peer.host);
    } else if peer.host.escaped().and_then(Address::of).is_none() {
        event.observed(ObservableType::Hostname, "hostname", peer.host);
    }
    let [name, id] = device;
    event.optional("name", name.escaped());
    event.optional("uid", id.escaped());
    if !event.is_empty(&open) {
        event.port("port", peer.port);
    }
    event.close(open);
}

pub(super) fn peripheral(event: &mut Event<'_>, data: &ActivityData<'_>) {
    let open = event.open("peripheral_device");
    let name = peripheral_name(data);
    event.optional("name", name.and_then(Value::escaped));
    if name == Some(data.device_name) {
        event.used.mark(data.device_name);
    }
    let class = other(data, "deviceClass");
    event.optional("class", class.escaped());
    event.first("uid", [data.u_id, data.uid]);
    event.text("serial_number", data.serial);
    event.text("vendor_name", data.manufacturer_name);
    let list = event.json.open_list("vendor_id_list");
    if let Some(id) = data.vendor_id.escaped().filter(|id| !is_placeholder(*id)) {
        event.json.element(id);
        event.used.mark(data.vendor_id);
    }
    event.json.close(list);
    match class.text().unwrap_or_default().to_lowercase() {
        word if word.contains("storage") => event.choice("type", 1, "External Storage"),
        word if word.contains("keyboard") => event.choice("type", 2, "Keyboard"),
        word if word.contains("mouse") => event.choice("type", 3, "Mouse"),
        word if word.contains("printer") => event.choice("type", 4, "Printer"),
        _ => event.choice("type", 0, "Unknown"),
    }
    event.close(open);
}
