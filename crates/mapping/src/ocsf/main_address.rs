//! The one IP address and the one MAC address of a device that has several.

use s1_forwarder_record::{Escaped, Kind, Value};

use super::event::address;
use crate::common::address::Address;
use crate::common::word::Word;
use crate::common::words::Words;
use crate::parts::{Endpoint, Interface, Interfaces};

/// The one IP address of a device, and the MAC address of the interface that has it.
pub(super) struct MainAddress<'a> {
    pub ip: Option<Address>,
    pub mac: Option<Escaped<'a>>,
}

impl<'a> MainAddress<'a> {
    /// Addresses that the console names come before those of interfaces, IPv4 before IPv6, and link-local ones last.
    /// Without any, the address is the external one.
    pub fn of(endpoint: &Endpoint<'a>) -> Self {
        let rank = |address: &Address, is_named: bool| (address.is_link_local(), !is_named, address.is_v6());
        let mut best = None;
        let mut consider = |address: Address| {
            let rank = rank(&address, true);
            if best.is_none_or(|(known, _)| rank < known) && !is_on_bridge(endpoint.interfaces, &address) {
                best = Some((rank, address));
            }
        };
        for value in endpoint.addresses {
            each_element(value, &mut |value| each_address(value, &mut consider));
        }
        let [mut mac, mut first_mac] = [None; 2];
        endpoint.interfaces.each(|interface| {
            if is_bridge(interface) {
                return;
            }
            let own_mac = mac_of(interface).filter(|mac| !is_zero(*mac));
            first_mac = first_mac.or(own_mac);
            let mut consider = |address: Address| {
                let rank = rank(&address, false);
                match best {
                    Some((_, known)) if known.is(&address) => mac = own_mac,
                    Some((known, _)) if known <= rank => {}
                    _ if interface.name.is_empty() && address.is_of_docker() => {}
                    _ => {
                        best = Some((rank, address));
                        mac = own_mac;
                    }
                }
            };
            interface.addresses.into_iter().for_each(|value| {
                each_element(value, &mut |value| each_address(value, &mut consider));
            });
        });
        let mut macs = endpoint.macs.escaped().into_iter().flat_map(|text| text.split(','));
        let other_mac = macs.find(|mac| is_mac(*mac) && !is_zero(*mac));
        Self {
            ip: best.map(|(_, address)| address).or_else(|| address(endpoint.external)),
            mac: mac.or(first_mac).or(other_mac),
        }
    }
}

/// Calls `visit` with the addresses of a text with commas that are not those of every machine.
fn each_address(value: Value<'_>, visit: &mut impl FnMut(Address)) {
    let texts = value.escaped().into_iter().flat_map(|text| text.split(','));
    texts.filter_map(Address::of).filter(Address::is_own).for_each(visit);
}

/// Interfaces of containers and virtual machines within an endpoint: their addresses are the same on many endpoints.
pub(super) const BRIDGES: Words<bool> = Words {
    field: "device.ip",
    rows: &[
        ("docker*", true),
        ("vethernet_(wsl*", true),
        ("vethernet_(default_switch*", true),
        ("vethernet_(nat*", true),
        // Another switch of Hyper-V has the address of the endpoint.
        ("vethernet*", false),
        ("veth*", true),
        ("virbr*", true),
        ("cni*", true),
        ("cali*", true),
        ("cilium*", true),
        ("flannel*", true),
        ("kube_bridge", true),
        ("kube_ipvs*", true),
        ("lxc*", true),
        ("lxdbr*", true),
        ("podman*", true),
        ("weave*", true),
        ("vmnet*", true),
        ("vmware_network_adapter*", true),
        ("vboxnet*", true),
        ("virtualbox*", true),
        ("bridge100", true),
        ("bridge101", true),
    ],
};

fn is_bridge(interface: &Interface<'_>) -> bool {
    let word = Word::of_value(interface.name);
    // Docker names its networks by their id.
    let is_network = |id: &str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    word.as_str().strip_prefix("br_").is_some_and(is_network) || BRIDGES.find(word.as_str()) == Some(true)
}

/// Whether the address is that of a bridge. An address in Docker's form is one, unless another interface has it.
fn is_on_bridge(interfaces: Interfaces<'_>, address: &Address) -> bool {
    let mut is_on_bridge = address.is_of_docker();
    interfaces.each(|interface| {
        let is_bridge = is_bridge(interface);
        if is_bridge != is_on_bridge && !interface.name.is_empty() && has(interface, address) {
            is_on_bridge = is_bridge;
        }
    });
    is_on_bridge
}

fn has(interface: &Interface<'_>, address: &Address) -> bool {
    let mut has_it = false;
    for value in interface.addresses {
        each_element(value, &mut |value| {
            has_it |= value.escaped().and_then(Address::of).is_some_and(|other| other.is(address))
        });
    }
    has_it
}

pub(super) fn each_element(value: Value<'_>, visit: &mut impl FnMut(Value<'_>)) {
    if value.kind() == Kind::Array {
        value.elements().for_each(visit);
    } else {
        visit(value);
    }
}

/// Whether the text is a MAC address in the form of OCSF.
fn is_mac(text: Escaped<'_>) -> bool {
    let bytes = text.raw().as_bytes();
    bytes.len() == 17
        && bytes.iter().enumerate().all(|(at, byte)| match at % 3 {
            2 => matches!(byte, b':' | b'-'),
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether this is the MAC address of a loopback interface.
pub(super) fn is_zero(mac: Escaped<'_>) -> bool {
    mac.raw().bytes().all(|byte| matches!(byte, b'0' | b':' | b'-'))
}

pub(super) fn mac_of<'a>(interface: &Interface<'a>) -> Option<Escaped<'a>> {
    interface.mac.escaped().filter(|mac| is_mac(*mac))
}
