//! Selects one IP address and one MAC address of a device that has several.

use s1_forwarder_record::{Kind, Value};
use smallvec::SmallVec;

use super::event::address;
use crate::common::address::Address;
use crate::common::mac::Mac;
use crate::common::word::Word;
use crate::common::words::Words;
use crate::parts::{Endpoint, Interface};

/// The main IP address of a device, and the MAC address of the interface with this IP address.
pub(super) struct MainAddress {
    pub ip: Option<Address>,
    pub mac: Option<Mac>,
}

/// An address of an interface.
struct Listed {
    address: Address,
    /// The MAC address of the interface.
    mac: Option<Mac>,
    has_name: bool,
    is_bridge: bool,
    is_virtual: bool,
}

impl MainAddress {
    /// Selects the addresses. Addresses that the console names come before addresses of interfaces, IPv4 before IPv6.
    /// Addresses of virtual networks follow, then the external address, and link-local addresses last.
    pub fn of(endpoint: &Endpoint<'_>) -> Self {
        let mut listed = SmallVec::<[Listed; 8]>::new();
        let mut macs = OnlyMac::default();
        endpoint.interfaces.each(|interface| {
            let mac = mac_of(interface);
            let has_name = !interface.name.is_empty();
            let name = Word::of_value(interface.name);
            let name = name.as_str();
            // Most tunnels have no MAC address.
            let is_virtual =
                is_tunnel(name) || mac.filter(|mac| !mac.is_zero()).map_or(has_name, |mac| mac.is_virtual());
            let mac = mac.filter(|mac| !mac.is_of_many());
            let is_bridge = is_bridge(name);
            let mut is_own = !is_bridge && !is_virtual;
            let mut has_address = false;
            let mut add = |address: Address| {
                is_own &= !address.is_of_virtual_network();
                has_address |= !address.is_link_local();
                listed.push(Listed { address, mac, has_name, is_bridge, is_virtual });
            };
            for value in interface.addresses {
                each_element(value, &mut |value| each_address(value, &mut add));
            }
            if is_own {
                macs.add(mac, has_address);
            }
        });
        for mac in endpoint.macs.escaped().into_iter().flat_map(|text| text.split(',')) {
            macs.add(Mac::of(mac).filter(|mac| !mac.is_virtual()), false);
        }
        let mut best: Option<(_, Address, Option<&Listed>)> = None;
        let mut consider = |address: Address, is_named: bool| {
            let interface = listed.iter().find(|listed| listed.address.is(&address));
            let is_bridge = match interface.filter(|interface| interface.has_name) {
                Some(interface) => interface.is_bridge,
                // An address in Docker's form is a bridge, unless a named interface has it.
                None => address.is_of_docker(),
            };
            let is_virtual = address.is_of_virtual_network() || interface.is_some_and(|interface| interface.is_virtual);
            let has_no_mac = interface.is_some_and(|interface| interface.mac.is_none());
            let rank = (address.is_link_local(), is_virtual, !is_named, has_no_mac, address.is_v6());
            if !is_bridge && best.as_ref().is_none_or(|(known, ..)| rank < *known) {
                best = Some((rank, address, interface));
            }
        };
        for value in endpoint.addresses {
            each_element(value, &mut |value| each_address(value, &mut |address| consider(address, true)));
        }
        listed.iter().for_each(|listed| consider(listed.address, false));
        let external = address(endpoint.external);
        // Every machine has link-local addresses.
        let best = best.filter(|(_, address, _)| external.is_none() || !address.is_link_local());
        let (ip, interface) = best.map(|(_, address, interface)| (address, interface)).unzip();
        Self {
            ip: ip.or(external),
            mac: match interface.flatten() {
                Some(interface) => interface.mac,
                None => macs.get(),
            },
        }
    }
}

/// The MAC address of an endpoint that has only one. Virtual networks do not count. If an interface has an IP address,
/// interfaces without one do not count either.
#[derive(Default)]
struct OnlyMac {
    first: Option<Mac>,
    has_address: bool,
    has_other: bool,
}

impl OnlyMac {
    fn add(&mut self, mac: Option<Mac>, has_address: bool) {
        let Some(mac) = mac else { return };
        match self.first {
            Some(first) if has_address == self.has_address => self.has_other |= mac != first,
            Some(_) if self.has_address => {}
            _ => *self = Self { first: Some(mac), has_address, has_other: false },
        }
    }

    fn get(&self) -> Option<Mac> {
        self.first.filter(|_| !self.has_other)
    }
}

/// Calls `visit` with the addresses of a text with commas, except addresses that every machine has.
fn each_address(value: Value<'_>, visit: &mut impl FnMut(Address)) {
    let texts = value.escaped().into_iter().flat_map(|text| text.split(','));
    texts.filter_map(Address::of).filter(Address::is_own).for_each(visit);
}

/// Interfaces of containers and virtual machines within an endpoint: their addresses are the same on many endpoints.
pub(super) const BRIDGES: Words<bool> = Words {
    field: "device.ip",
    rows: &[
        ("docker*", true),
        ("nerdctl*", true),
        ("vethernet_(wsl*", true),
        ("vethernet_(default_switch*", true),
        ("vethernet_(nat*", true),
        ("vethernet_(docker*", true),
        ("vethernet_(hns*", true),
        ("vethernet_(container*", true),
        ("vethernet_(internal*", true),
        ("vethernet_(minikube*", true),
        ("vethernet_(multipass*", true),
        ("hns_internal*", true),
        // Another switch of Hyper-V has the address of the endpoint.
        ("vethernet*", false),
        ("veth*", true),
        ("virbr*", true),
        ("vnet*", true),
        ("vmenet*", true),
        ("cni*", true),
        ("cali*", true),
        ("azv*", true),
        ("eni*", true),
        ("gke*", true),
        ("vxlan*", true),
        ("vx_submariner*", true),
        ("geneve*", true),
        ("genev_sys*", true),
        ("tunl0*", true),
        ("cilium*", true),
        ("flannel*", true),
        ("ovn_k8s*", true),
        ("ovs_system", true),
        // Bridges of Open vSwitch within a host. `br_ex` has the address of the endpoint.
        ("br_int", true),
        ("br_tun", true),
        ("antrea*", true),
        ("cbr0", true),
        ("kube_bridge", true),
        ("kube_dummy*", true),
        ("kube_ipvs*", true),
        ("nodelocaldns", true),
        ("dummy*", true),
        ("waydroid*", true),
        // Interfaces that join a virtual machine to a bridge of its host (Proxmox, OpenStack).
        ("fwbr*", true),
        ("fwpr*", true),
        ("fwln*", true),
        ("qbr*", true),
        ("qvb*", true),
        ("qvo*", true),
        ("lxc*", true),
        ("lxdbr*", true),
        ("incusbr*", true),
        ("podman*", true),
        ("nomad", true),
        ("weave*", true),
        ("vmnet*", true),
        ("vmware_network_adapter*", true),
        ("vboxnet*", true),
        ("virtualbox*", true),
        ("vnic*", true),
        ("parallels*", true),
        ("mpqemubr*", true),
        ("crc", true),
        ("npcap*", true),
        ("microsoft_km_test_loopback*", true),
        // Links between Apple's machines.
        ("llw*", true),
        ("awdl*", true),
        ("anpi*", true),
        ("p2p*", true),
        ("ap1", true),
        // Bridges of a Mac. Another bridge has the address of the endpoint.
        ("bridge100", true),
        ("bridge101", true),
        ("bridge102", true),
        ("bridge103", true),
        ("bridge104", true),
        ("bridge105", true),
        ("bridge106", true),
        ("bridge107", true),
        ("bridge108", true),
        ("bridge109", true),
    ],
};

/// Returns whether an interface is a tunnel that may have a MAC address: of OpenVPN, ZeroTier (`feth` on a Mac) or
/// OpenShift. `name` is a [`Word`].
fn is_tunnel(name: &str) -> bool {
    ["tap", "tun", "zt", "zerotier", "feth"].into_iter().any(|tunnel| name.starts_with(tunnel))
}

/// Returns whether an interface is a bridge. `name` is a [`Word`].
fn is_bridge(name: &str) -> bool {
    // Docker names its networks by their id.
    let is_network = |id: &str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.strip_prefix("br_").is_some_and(is_network) || BRIDGES.find(name) == Some(true)
}

pub(super) fn each_element(value: Value<'_>, visit: &mut impl FnMut(Value<'_>)) {
    if value.kind() == Kind::Array {
        value.elements().for_each(visit);
    } else {
        visit(value);
    }
}

pub(super) fn mac_of(interface: &Interface<'_>) -> Option<Mac> {
    Mac::of(interface.mac.escaped()?)
}
