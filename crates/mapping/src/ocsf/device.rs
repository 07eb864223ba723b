//! `device`: an endpoint with an agent.

use s1_forwarder_record::{Escaped, Kind, Value};

use super::event::{Event, Profile, address};
use super::main_address::{MainAddress, each_element, mac_of};
use super::observables::ObservableType;
use super::user::{UserType, mark_account};
use crate::common::account::Account;
use crate::common::address::Address;
use crate::common::mac::Mac;
use crate::common::machine::MACHINES;
use crate::common::missing::{first_scalar, is_set};
use crate::common::os::{ARCHITECTURES, Architecture, BITS};
use crate::common::words::{Choice, Words};
use crate::parts::{Endpoint, Interactive, Interface, Interfaces, Os, Owner};

/// Returns whether the endpoint has one of the values that OCSF requires of a device.
pub(super) fn is_device(endpoint: &Endpoint<'_>) -> bool {
    is_set(endpoint.agent_id)
        || endpoint.names.into_iter().any(is_set)
        || MainAddress::of(endpoint).ip.is_some()
        || is_set(endpoint.cloud.instance)
}

/// Writes `device`; `more` adds attributes. Returns false, and writes nothing, without one of the values that OCSF
/// requires.
pub(super) fn write(event: &mut Event<'_>, endpoint: &Endpoint<'_>, more: impl FnOnce(&mut Event<'_>)) -> bool {
    if !is_device(endpoint) {
        return false;
    }
    if !event.class.definition().has_device {
        event.using(Profile::Host);
    }
    let open = event.open("device");
    write_fields(event, endpoint);
    more(event);
    event.close(open);
    true
}

/// Writes the attributes of the open device object.
fn write_fields(event: &mut Event<'_>, endpoint: &Endpoint<'_>) {
    let MainAddress { ip, mac } = MainAddress::of(endpoint);
    let uid = event.text("uid", endpoint.agent_id);
    let uid_alt = event.first("uid_alt", endpoint.agent_uuids);
    if let Some(name) = event.first("hostname", endpoint.names) {
        event.observe(ObservableType::Hostname, "hostname", name);
        event.json.escaped("name", name);
    }
    event.first("domain", endpoint.domains);
    machine_type(event, endpoint.machine_type);
    if let Some(ip) = ip {
        event.address("ip", &ip);
    }
    write_mac(event, mac);
    interfaces(event, endpoint.interfaces);
    os(event, &endpoint.os);
    group(event, &endpoint.owner);
    org(event, &endpoint.owner);
    agent(event, uid, uid_alt, endpoint.agent_versions);
    event.json.boolean("is_managed", endpoint.is_managed);
    let cloud = &endpoint.cloud;
    for (name, value) in [("instance_uid", cloud.instance), ("vpc_uid", cloud.network)] {
        event.optional(name, value.escaped());
    }
    let image = event.open("image");
    event.optional("uid", cloud.image.escaped());
    event.close(image);
}

/// Writes the user who is logged in as the owner of the open device.
pub(super) fn owner(event: &mut Event<'_>, endpoint: &Endpoint<'_>, user: &Interactive<'_>) {
    let name = user.name();
    let Some(account) = Account::of(name) else { return };
    let open = event.open("owner");
    event.account(account, UserType::of_owner(account, endpoint.names));
    if !event.person(account) {
        event.email("email_addr", user.email);
    }
    event.text("uid_alt", user.principal_name);
    event.close(open);
    mark_account(event, name);
}

/// Adds the address that the console sees to the observables, with its path in `unmapped`: it is not an address of the
/// device.
pub(super) fn observe_external(event: &mut Event<'_>, endpoint: &Endpoint<'_>) {
    let external = endpoint.external;
    if let Some(address) = address(external)
        && let Some(path) = endpoint.external_path
        && external.escaped() == Some(address.as_escaped())
    {
        event.observe_unmapped(ObservableType::IpAddress, path, address.as_escaped());
    }
}

/// Writes the endpoint as the resource of a finding; `more` adds attributes.
pub(super) fn resource(event: &mut Event<'_>, endpoint: &Endpoint<'_>, more: impl FnOnce(&mut Event<'_>)) {
    let id = endpoint.agent_id;
    let name = endpoint.name();
    if !is_set(id) && !is_set(name) {
        return;
    }
    let list = event.open_list("resources");
    let element = event.open_element();
    event.optional("uid", id.escaped());
    event.optional("name", name.escaped());
    event.json.word("type", "Endpoint");
    more(event);
    event.close(element);
    event.close(list);
}

/// Writes the operating system. OCSF requires a name; without one, the name is the system's type.
fn os(event: &mut Event<'_>, os: &Os<'_>) {
    let known = os.types.into_iter().find_map(|word| SYSTEMS.of(word));
    let word = first_scalar(os.types).escaped();
    let [name, other_name] = os.names;
    let names = [name, other_name, os.full];
    if known.is_none() && word.is_none() && !names.into_iter().any(is_set) {
        return;
    }
    let open = event.open("os");
    if event.first("name", names).is_none() {
        event.optional("name", known.map(|(_, caption)| Escaped::plain(caption)).or(word));
    }
    match (known, word) {
        (Some((id, caption)), _) => event.choice("type", id, caption),
        (None, Some(word)) => {
            event.other("type", word);
        }
        (None, None) => event.choice("type", 0, "Unknown"),
    }
    event.first("version", os.versions);
    if let Some(bits) = bits(os.bits) {
        event.json.number("cpu_bits", bits);
    }
    event.close(open);
}

fn group(event: &mut Event<'_>, owner: &Owner<'_>) {
    let list = event.open_list("groups");
    let element = event.open_element();
    let has_id = event.first("uid", owner.group_ids).is_some();
    if event.first("name", owner.group_names).is_some() || has_id {
        event.json.word("type", "SentinelOne group");
    }
    event.close(element);
    event.close(list);
}

/// Writes the account and the site. An organization needs an id or a name, so a site alone is not written.
fn org(event: &mut Event<'_>, owner: &Owner<'_>) {
    if !owner.account_ids.into_iter().chain(owner.account_names).any(is_set) {
        return;
    }
    let open = event.open("org");
    event.first("uid", owner.account_ids);
    event.first("name", owner.account_names);
    event.first("ou_uid", owner.site_ids);
    event.first("ou_name", owner.site_names);
    event.close(open);
}

fn agent(event: &mut Event<'_>, uid: Option<Escaped<'_>>, uid_alt: Option<Escaped<'_>>, versions: [Value<'_>; 2]) {
    if uid.or(uid_alt).is_none() && !versions.iter().any(|version| is_set(*version)) {
        return;
    }
    let list = event.open_list("agent_list");
    let element = event.open_element();
    event.optional("uid", uid);
    event.optional("uid_alt", uid_alt);
    event.json.word("name", "SentinelOne Agent");
    event.json.word("vendor_name", "SentinelOne");
    event.choice("type", 1, "Endpoint Detection and Response");
    event.first("version", versions);
    event.close(element);
    event.close(list);
}

/// Writes the type of a machine. A word that OCSF does not have stays in the record.
fn machine_type(event: &mut Event<'_>, kind: Value<'_>) {
    if let Some((id, caption)) = MACHINES.of(kind) {
        event.choice("type", id, caption);
        if kind.escaped().is_some_and(|text| text.is(caption)) {
            event.mark_set([kind]);
        }
    } else if !event.other_value("type", kind) {
        event.choice("type", 0, "Unknown");
    }
}

pub(super) const SYSTEMS: Words<Choice> = Words {
    field: "device.os.type",
    rows: &[
        ("windows", (100, "Windows")),
        ("windows_legacy", (100, "Windows")),
        ("windows_mobile", (101, "Windows Mobile")),
        ("linux", (200, "Linux")),
        ("android", (201, "Android")),
        ("macos", (300, "macOS")),
        ("ios", (301, "iOS")),
        ("ipados", (302, "iPadOS")),
        ("solaris", (400, "Solaris")),
        ("aix", (401, "AIX")),
        ("hp_ux", (402, "HP-UX")),
    ],
};

pub(super) fn bits(architecture: Value<'_>) -> Option<&'static str> {
    BITS.of(architecture).or_else(|| ARCHITECTURES.of(architecture).map(cpu_bits))
}

pub(super) fn cpu_bits(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86 | Architecture::Arm => "32",
        Architecture::X86_64 | Architecture::Arm64 => "64",
    }
}

/// Writes `network_interfaces` with an entry for each address. An interface without an address also has an entry.
fn interfaces(event: &mut Event<'_>, interfaces: Interfaces<'_>) {
    let list = event.open_list("network_interfaces");
    interfaces.each(|interface| {
        let mut has_address = false;
        let mut visit = |value: Value<'_>| {
            if let Some(address) = address(value) {
                has_address = true;
                write_interface(event, interface, Some(&address));
            }
        };
        interface.addresses.into_iter().for_each(|value| each_element(value, &mut visit));
        let Interface { id, name, .. } = *interface;
        if !has_address && (mac_of(interface).is_some() || is_set(name) || is_set(id)) {
            write_interface(event, interface, None);
        }
    });
    event.close(list);
}

fn write_interface(event: &mut Event<'_>, interface: &Interface<'_>, address: Option<&Address>) {
    let element = event.open_element();
    event.optional("name", interface.name.escaped());
    event.optional("uid", interface.id.escaped());
    write_mac(event, mac_of(interface));
    if let Some(address) = address {
        event.address("ip", address);
    }
    event.choice("type", 0, "Unknown");
    event.close(element);
}

fn write_mac(event: &mut Event<'_>, mac: Option<Mac>) {
    let Some(mac) = mac else { return };
    let Some(text) = mac.of_6_bytes() else { return };
    event.json.escaped("mac", text.as_escaped());
    if !mac.is_of_many() {
        event.observe(ObservableType::MacAddress, "mac", text.as_escaped());
    }
}

/// Returns whether the attribute has the MAC address as received.
fn is_mac_as_received(interface: &Interface<'_>) -> bool {
    let text = mac_of(interface).and_then(|mac| mac.of_6_bytes());
    text.is_some_and(|text| interface.mac.escaped() == Some(text.as_escaped()))
}

/// Marks the list of interfaces if each of its values is in an attribute.
pub(super) fn mark_interfaces(event: &mut Event<'_>, interfaces: Interfaces<'_>) {
    let mut is_mapped = interfaces.list.kind() == Kind::Array;
    let is_text = |value: Value<'_>| value.is_empty() || is_set(value);
    interfaces.each(|interface| {
        is_mapped &= !interface.has_more
            && interface.gateway.is_empty()
            && is_text(interface.name)
            && is_text(interface.id)
            && (interface.mac.is_empty() || is_mac_as_received(interface));
        let mut visit = |value: Value<'_>| {
            is_mapped &=
                value.is_empty() || address(value).is_some_and(|address| value.escaped() == Some(address.as_escaped()));
        };
        interface.addresses.into_iter().for_each(|value| each_element(value, &mut visit));
    });
    if is_mapped {
        event.mark(interfaces.list);
    }
}
