//! `host.*`.

use s1_forwarder_record::{Escaped, Value};

use super::event::{Event, is_missing_word};
use crate::common::address::Address;
use crate::common::mac::Mac;
use crate::common::os::{Architecture, os_type};
use crate::parts::{Endpoint, Os};

/// Writes the fields of the open host object.
pub(super) fn write_fields(event: &mut Event<'_>, endpoint: &Endpoint<'_>) {
    names(event, endpoint.names);
    event.text("id", endpoint.agent_id);
    domain(event, endpoint.domains);
    machine_type(event, endpoint.machine_type);
    write_architecture(event, endpoint);
    os(event, &endpoint.os);
    macs(event, endpoint.macs);
    addresses(event, endpoint);
}

pub(super) fn write_architecture(event: &mut Event<'_>, endpoint: &Endpoint<'_>) {
    if let Some(architecture) = endpoint.architecture {
        event.json.word("architecture", self::architecture(architecture));
    }
}

/// Returns the word of `host.architecture`.
pub(super) fn architecture(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86 => "x86",
        Architecture::X86_64 => "x86_64",
        Architecture::Arm => "arm",
        Architecture::Arm64 => "arm64",
    }
}

/// Writes `host.type` in lower case, so that a type has one spelling in all streams.
pub(super) fn machine_type(event: &mut Event<'_>, value: Value<'_>) {
    let Some(text) = value.escaped().filter(|text| !is_missing_word(*text)) else { return };
    event.json.lower_case("type", text);
    if text.raw().bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        event.mark(value);
    }
}

/// Writes `host.name` and `host.hostname`.
pub(super) fn names(event: &mut Event<'_>, names: [Value<'_>; 2]) {
    if let Some(name) = event.first("name", names) {
        event.json.escaped("hostname", name);
        event.related.add_host(name);
    }
}

/// Writes `host.domain`. `WORKGROUP` is the console's word for a host without a domain.
pub(super) fn domain(event: &mut Event<'_>, domains: [Value<'_>; 2]) {
    let is_workgroup = |value: &Value<'_>| value.escaped().is_some_and(|domain| domain.is("workgroup"));
    let mut domains = domains.into_iter().filter(|value| !is_workgroup(value));
    if let Some(domain) = domains.find_map(|value| event.text("domain", value)) {
        event.related.hosts.add(domain);
    }
}

/// Writes `host.os.*`.
fn os(event: &mut Event<'_>, os: &Os<'_>) {
    let open = event.open("os");
    if let [Some(name), version] = os_fields(event, os) {
        event.sentence("full", &[("", Some(name)), (" ", version)]);
    }
    event.close(open);
}

/// Writes the fields of the open `host.os` except `full`, and returns the name and the version. Type and family stay in
/// the record: ECS does not have all words of the console.
pub(super) fn os_fields<'a>(event: &mut Event<'_>, os: &Os<'a>) -> [Option<Escaped<'a>>; 2] {
    if let Some(kind) = os.types.into_iter().find_map(os_type) {
        event.json.word("type", kind);
    }
    if let Some(word) = os.family.escaped().filter(|word| !is_missing_word(*word)) {
        event.json.lower_case("family", word);
    }
    [event.first("name", os.names), event.first("version", os.versions)]
}

/// Writes `host.ip` and `host.mac`. The addresses that the console names come first, then the interfaces, then the
/// external address. All values stay in the record.
pub(super) fn addresses(event: &mut Event<'_>, endpoint: &Endpoint<'_>) {
    let [mut ips, mut macs] = event.take_sets();
    for value in endpoint.addresses {
        event.addresses("ip", value, |address| ips.insert(address.as_escaped()));
    }
    endpoint.interfaces.each(|interface| {
        if let Some(gateway) = interface.gateway.escaped().and_then(Address::of) {
            event.related.add_ip(&gateway);
        }
        for value in interface.addresses {
            event.addresses("ip", value, |address| ips.insert(address.as_escaped()));
        }
        if let Some(mac) = interface.mac.escaped().and_then(own_mac) {
            macs.insert(mac.with_hyphens().as_escaped());
        }
    });
    event.addresses("ip", endpoint.external, |address| ips.insert(address.as_escaped()));
    ips.write(&mut event.json, "ip");
    macs.write(&mut event.json, "mac");
    event.return_sets([ips, macs]);
}

/// Marks the addresses outside the interfaces as used, if `host.ip` has them in the same spelling.
pub(super) fn mark_addresses(event: &mut Event<'_>, endpoint: &Endpoint<'_>) {
    endpoint.addresses.into_iter().chain([endpoint.external]).for_each(|value| event.mark_address(value));
}

/// Writes `host.mac` from a text with one or more addresses. The value stays in the record.
fn macs(event: &mut Event<'_>, value: Value<'_>) {
    let list = event.json.open_list("mac");
    for mac in value.escaped().into_iter().flat_map(|text| text.split(',')).filter_map(own_mac) {
        event.json.element(mac.with_hyphens().as_escaped());
    }
    event.json.close(list);
}

/// Reads a MAC address; `None` if many machines have it.
fn own_mac(text: Escaped<'_>) -> Option<Mac> {
    Mac::of(text).filter(|mac| !mac.is_of_many())
}
