//! `device`: an endpoint with an agent.

use s1_forwarder_record::{Cursor, Escaped, Value};

use super::event::{Event, Profile, address};
use super::observables::Kind;
use super::workload::Cloud;
use crate::common::classification::Word;
use crate::common::os::{Os, os_type};
use crate::common::placeholder::{first_scalar, is_placeholder, is_set};

/// The values of an endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Device<'a> {
    pub uid: Value<'a>,
    pub uid_alt: [Value<'a>; 2],
    pub names: [Value<'a>; 2],
    pub domains: [Value<'a>; 2],
    /// The console's word for the type of the machine.
    pub kind: Value<'a>,
    pub os: Os<'a>,
    /// `64 bit`
    pub os_arch: Value<'a>,
    pub interfaces: Value<'a>,
    /// Internal addresses, if no interface has one.
    pub addresses: [Value<'a>; 4],
    /// The address that the console sees, used if there is no other.
    pub external: Value<'a>,
    pub macs: Value<'a>,
    pub agent_versions: [Value<'a>; 2],
    pub is_managed: bool,
    pub place: Place<'a>,
    pub cloud: Cloud<'a>,
}

/// The account, the site and the group of an endpoint, in order of preference.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place<'a> {
    pub account_id: [Value<'a>; 2],
    pub account_name: [Value<'a>; 2],
    pub site_id: [Value<'a>; 2],
    pub site_name: [Value<'a>; 2],
    pub group_id: [Value<'a>; 2],
    pub group_name: [Value<'a>; 2],
}

impl Device<'_> {
    /// Whether there is one of the values that a device needs.
    pub fn is_set(&self) -> bool {
        is_set(self.uid)
            || self.names.iter().any(|name| is_set(*name))
            || self.ip().is_some()
            || is_set(self.cloud.instance)
    }

    /// The first internal IPv4 address, else another internal one, else the external one.
    fn ip(&self) -> Option<crate::common::address::Address> {
        let mut v4 = None;
        let mut v6 = None;
        let mut visit = |value: Value<'_>| {
            for text in value.escaped().into_iter().flat_map(|text| text.split(',')) {
                let Some(address) = super::event::address_of(text) else { continue };
                let first = if address.is_v6() { &mut v6 } else { &mut v4 };
                first.get_or_insert(address);
            }
        };
        each_address(self.interfaces, &mut visit);
        self.addresses.into_iter().for_each(|value| each_element(value, &mut visit));
        v4.or(v6).or_else(|| address(self.external))
    }

    /// Writes the object with what `more` writes into it. Without one of the values that OCSF requires, there is no
    /// device.
    pub fn write(&self, event: &mut Event<'_>, more: impl FnOnce(&mut Event<'_>)) -> bool {
        if !self.is_set() {
            return false;
        }
        if !event.class.has_device {
            event.using(Profile::Host);
        }
        let open = event.open("device");
        self.write_fields(event);
        more(event);
        event.close(open);
        true
    }

    /// Writes the attributes of the open device object.
    pub fn write_fields(&self, event: &mut Event<'_>) {
        let ip = self.ip();
        let uid = event.text("uid", self.uid);
        let [first, second] = self.uid_alt;
        let uid_alt = event.first("uid_alt", [first, second]);
        let [first, second] = self.names;
        if let Some(name) = event.first("hostname", [first, second]) {
            event.observe(Kind::Hostname, "hostname", name);
            event.json.escaped("name", name);
        }
        let [first, second] = self.domains;
        event.first("domain", [first, second]);
        type_of(event, self.kind);
        if let Some(ip) = ip {
            event.address("ip", &ip);
        }
        interfaces(event, self.interfaces, self.macs);
        self.os(event);
        self.place.group(event);
        self.place.org(event);
        let versions = self.agent_versions;
        agent(event, uid, uid_alt, versions);
        event.json.boolean("is_managed", self.is_managed);
        for (name, value) in
            [("instance_uid", self.cloud.instance), ("vpc_uid", self.cloud.network), ("subnet_uid", self.cloud.subnet)]
        {
            event.optional(name, value.escaped());
        }
        let image = event.open("image");
        event.optional("uid", self.cloud.image.escaped());
        event.close(image);
    }

    /// OCSF requires the name of a system; without one it is that of its type.
    fn os(&self, event: &mut Event<'_>) {
        let os = &self.os;
        let known = os.kind.into_iter().find_map(os_choice);
        let word = first_scalar(os.kind).escaped();
        if known.is_none() && word.is_none() && !is_set(os.name) {
            return;
        }
        let open = event.open("os");
        if event.text("name", os.name).is_none() {
            event.optional("name", known.map(|(_, caption)| Escaped::plain(caption)).or(word));
        }
        match (known, word) {
            (Some((id, caption)), _) => event.choice("type", id, caption),
            (None, Some(word)) => {
                event.json.number("type_id", "99");
                event.json.escaped("type", word);
            }
            (None, None) => event.choice("type", 0, "Unknown"),
        }
        event.text("version", os.version);
        if let Some(bits) = bits(self.os_arch) {
            event.json.number("cpu_bits", bits);
        }
        event.close(open);
    }
}

impl Place<'_> {
    fn group(&self, event: &mut Event<'_>) {
        let list = event.open_list("groups");
        let element = event.open_element();
        let [id, other_id] = self.group_id;
        let [name, other_name] = self.group_name;
        let has_id = event.first("uid", [id, other_id]).is_some();
        if event.first("name", [name, other_name]).is_some() || has_id {
            event.json.word("type", "SentinelOne group");
        }
        event.close(element);
        event.close(list);
    }

    /// Writes account and site. An organization needs an id or a name, so a site alone has no place there.
    pub fn org(&self, event: &mut Event<'_>) {
        let any = |values: &[Value<'_>; 2]| values.iter().any(|value| is_set(*value));
        if !any(&self.account_id) && !any(&self.account_name) {
            return;
        }
        let open = event.open("org");
        for (name, values) in [
            ("uid", self.account_id),
            ("name", self.account_name),
            ("ou_uid", self.site_id),
            ("ou_name", self.site_name),
        ] {
            let [first, second] = values;
            event.first(name, [first, second]);
        }
        event.close(open);
    }
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
    let [first, second] = versions;
    event.first("version", [first, second]);
    event.close(element);
    event.close(list);
}

/// Writes the type of a machine. A word that OCSF does not have stays in the record.
fn type_of(event: &mut Event<'_>, kind: Value<'_>) {
    let (id, caption) = match Word::of_value(kind).as_str() {
        "server" => (1, "Server"),
        "desktop" | "workstation" => (2, "Desktop"),
        "laptop" => (3, "Laptop"),
        "tablet" => (4, "Tablet"),
        "mobile" => (5, "Mobile"),
        "kubernetes_node" | "kubernetes_pod" | "ecs_task" | "virtual_machine" => {
            return event.choice("type", 6, "Virtual");
        }
        "unknown" | "" => return event.choice("type", 0, "Unknown"),
        _ => match kind.escaped().filter(|text| !is_placeholder(*text)) {
            Some(text) => {
                event.json.number("type_id", "99");
                event.json.escaped("type", text);
                event.used.mark(kind);
                return;
            }
            None => return event.choice("type", 0, "Unknown"),
        },
    };
    event.choice("type", id, caption);
    if kind.escaped().is_some_and(|text| text.is(caption)) {
        event.used.mark(kind);
    }
}

/// `type_id` and `type` of an operating system.
fn os_choice(value: Value<'_>) -> Option<(u16, &'static str)> {
    Some(match os_type(value)? {
        "windows" => (100, "Windows"),
        "macos" => (300, "macOS"),
        "linux" => (200, "Linux"),
        "ios" => (301, "iOS"),
        "android" => (201, "Android"),
        _ => match Word::of_value(value).as_str() {
            "solaris" => (400, "Solaris"),
            "aix" => (401, "AIX"),
            "hp_ux" => (402, "HP-UX"),
            _ => return None,
        },
    })
}

/// `cpu_bits` of an architecture.
pub(super) fn bits(architecture: Value<'_>) -> Option<&'static str> {
    match Word::of_value(architecture).as_str() {
        "32_bit" | "x86" => Some("32"),
        "64_bit" | "x86_64" | "amd64" | "arm64" | "aarch64" => Some("64"),
        _ => None,
    }
}

fn each_element(value: Value<'_>, visit: &mut impl FnMut(Value<'_>)) {
    if value.kind() == s1_forwarder_record::Kind::Array {
        value.elements().for_each(visit);
    } else {
        visit(value);
    }
}

fn each_address(interfaces: Value<'_>, visit: &mut impl FnMut(Value<'_>)) {
    Cursor::new(interfaces).each_element(|cursor| {
        cursor.each_entry(|cursor, key| {
            let value = cursor.value();
            if matches!(key, "inet" | "inet6") {
                each_element(value, visit);
            }
        });
    });
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

fn mac_of(interface: Value<'_>) -> Option<Escaped<'_>> {
    interface.get("physical").escaped().filter(|mac| is_mac(*mac))
}

/// Writes `mac`, and `network_interfaces` with an entry for each address. An interface without an address has an entry
/// too.
fn interfaces(event: &mut Event<'_>, interfaces: Value<'_>, macs: Value<'_>) {
    let own = macs.escaped().into_iter().flat_map(|text| text.split(',')).find(|mac| is_mac(*mac));
    if let Some(mac) = interfaces.elements().find_map(mac_of).or(own) {
        event.json.escaped("mac", mac);
        event.observe(Kind::MacAddress, "mac", mac);
    }
    let list = event.open_list("network_interfaces");
    for interface in interfaces.elements() {
        let mut has_address = false;
        let mut write = |address: Option<&crate::common::address::Address>| {
            let [name, id] = ["name", "id"].map(|key| interface.get(key));
            let mac = mac_of(interface);
            if address.is_none() && mac.is_none() && !is_set(name) && !is_set(id) {
                return;
            }
            let element = event.open_element();
            event.optional("name", name.escaped());
            event.optional("uid", id.escaped());
            if let Some(mac) = mac {
                event.json.escaped("mac", mac);
                event.observe(Kind::MacAddress, "mac", mac);
            }
            if let Some(address) = address {
                event.address("ip", address);
            }
            event.choice("type", 0, "Unknown");
            event.close(element);
        };
        let mut visit = |value: Value<'_>| {
            if let Some(address) = address(value) {
                has_address = true;
                write(Some(&address));
            }
        };
        ["inet", "inet6"].into_iter().for_each(|key| each_element(interface.get(key), &mut visit));
        if !has_address {
            write(None);
        }
    }
    event.close(list);
}

/// Whether every value of the interfaces is in an attribute, so that the list need not be repeated.
pub(super) fn are_interfaces_mapped(interfaces: Value<'_>) -> bool {
    let is_plain = |value: Value<'_>| value.escaped().is_none_or(|text| !is_placeholder(text));
    use s1_forwarder_record::Kind::{Array, Object};
    interfaces.kind() == Array
        && interfaces.elements().all(|interface| {
            interface.kind() == Object
                && interface.entries().all(|(key, value)| match &*key {
                    "inet" | "inet6" => {
                        let mut is_mapped = true;
                        let mut visit = |value: Value<'_>| {
                            is_mapped &= value.is_empty()
                                || address(value).is_some_and(|address| value.escaped() == Some(address.as_escaped()));
                        };
                        each_element(value, &mut visit);
                        is_mapped
                    }
                    "physical" => value.is_empty() || value.escaped().is_some_and(is_mac),
                    "name" | "id" => value.is_empty() || (value.escaped().is_some() && is_plain(value)),
                    _ => value.is_empty(),
                })
        })
}
