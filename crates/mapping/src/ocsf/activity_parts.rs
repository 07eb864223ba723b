//! The attributes of some classes of activities: applications, scans, connections, peripheral devices.

use s1_forwarder_record::{Escaped, Value};

use super::detection;
use super::event::{Event, Profile, address};
use super::observables::ObservableType;
use crate::common::activity_types::Object;
use crate::common::address::Address;
use crate::common::missing::{domain, is_set};
use crate::common::words::{Choice, Words};
use crate::parts::{Direction, Peer};
use crate::streams::activity::{ActivityClass, ActivityParts, Peripheral, Subject};

/// The console, as a product and as the service that users log in to.
pub(super) const CONSOLE: &str = "SentinelOne Management Console";
const AGENT: &str = "SentinelOne Agent";

/// Writes the application: the agent, unless the console itself or an app of the marketplace was changed.
pub(super) fn application(event: &mut Event<'_>, class: &ActivityClass, parts: &ActivityParts<'_, '_>) {
    let product = match class.object {
        Some(Object::Console) => Some(CONSOLE),
        Some(Object::MarketplaceApp) => None,
        _ => Some(AGENT),
    };
    let version = parts.package_version();
    let open = event.open("application");
    match product {
        Some(name) => event.json.word("name", name),
        None if event.optional("name", parts.app_name().escaped()).is_some() => {}
        None => event.json.word("name", "Singularity Marketplace app"),
    }
    event.text("version", version);
    if let Some(name) = product {
        let product = event.open("product");
        event.json.word("vendor_name", "SentinelOne");
        event.json.word("name", name);
        event.optional("version", version.escaped());
        event.close(product);
    }
    event.close(open);
}

pub(super) fn scan(event: &mut Event<'_>, class: &ActivityClass, by_user: bool) {
    let open = event.open("scan");
    let name = match class.object {
        Some(Object::CisScan) => "CIS scan",
        Some(Object::InventoryScan) => "inventory scan",
        Some(Object::OnDemandScan) => "on-demand scan",
        _ => "full disk scan",
    };
    event.json.word("name", name);
    if by_user {
        event.choice("type", 1, "Manual");
    } else if class.is_system {
        event.other("type", Escaped::plain("System"));
    } else {
        // An agent reports the result of a scan, and not who ordered it.
        event.choice("type", 0, "Unknown");
    }
    event.close(open);
}

/// Writes the connection of a firewall activity, or the connection to an endpoint's shell.
pub(super) fn connection(event: &mut Event<'_>, class: &ActivityClass, parts: &ActivityParts<'_, '_>) {
    let agent_id = parts.entry.agent_id;
    let computer_name = parts.computer_name();
    if class.subject != Subject::Firewall {
        let open = event.open("src_endpoint");
        let has_source = event.ip("ip", parts.address());
        event.close(open);
        let open = event.open("dst_endpoint");
        event.optional("hostname", computer_name.escaped());
        event.optional("uid", agent_id.escaped());
        event.close(open);
        initiator(event, has_source);
        return;
    }
    let connection = parts.connection();
    let (local, remote) = match connection.direction {
        Some(Direction::Inbound) => ("dst_endpoint", "src_endpoint"),
        _ => ("src_endpoint", "dst_endpoint"),
    };
    let none = Value::default();
    peer(event, local, connection.local, [computer_name, agent_id]);
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
    initiator(event, connection.direction.is_some());
    let rule = parts.rule();
    if is_set(rule.id) || is_set(rule.name) {
        event.using(Profile::SecurityControl);
        let open = event.open("firewall_rule");
        event.text("uid", rule.id);
        event.text("name", rule.name);
        event.text("desc", rule.description);
        event.close(open);
    }
}

/// Writes which end began the connection. The ends are in the order of the connection's direction, so the source began
/// it if the direction is known. The user of the console began a shell, and is the source if the record has an address.
fn initiator(event: &mut Event<'_>, is_known: bool) {
    let (id, caption) = if is_known { (1, "Source Endpoint") } else { (0, "Unknown") };
    event.choice("initiator", id, caption);
}

/// Writes an end of a connection, which needs an address or a name. The local end is at least the device.
fn peer<'a>(event: &mut Event<'_>, name: &str, peer: Peer<'a>, device: [Value<'a>; 2]) {
    let open = event.open(name);
    if address(peer.host).is_some() {
        event.ip("ip", peer.host);
    } else if peer.host.escaped().and_then(Address::of).is_none() {
        event.observed(ObservableType::Hostname, "hostname", domain(peer.host));
    }
    let [name, id] = device;
    event.optional("name", name.escaped());
    event.optional("uid", id.escaped());
    if !event.is_empty(&open) {
        event.port("port", peer.port);
    }
    event.close(open);
}

/// Types of devices by their class.
pub(super) const PERIPHERALS: Words<Choice> = Words {
    field: "peripheral_device.type",
    rows: &[
        ("*storage*", (1, "External Storage")),
        ("*keyboard*", (2, "Keyboard")),
        ("*mouse*", (3, "Mouse")),
        ("*printer*", (4, "Printer")),
    ],
};

pub(super) fn peripheral(event: &mut Event<'_>, device: &Peripheral<'_>) {
    let word = device.class.text().unwrap_or_default().to_lowercase();
    let (id, caption) = PERIPHERALS.find(&word).unwrap_or((0, "Unknown"));
    let open = event.open("peripheral_device");
    event.optional("name", device.label().escaped());
    event.optional("class", device.class.escaped());
    event.first("uid", device.ids);
    event.text("serial_number", device.serial_number);
    event.text("vendor_name", device.manufacturer);
    event.list_of("vendor_id_list", device.vendor_id.escaped());
    event.mark_set([device.name, device.vendor_id]);
    event.choice("type", id, caption);
    event.close(open);
}
