//! The parts of `host.*` that several streams share.

use s1_forwarder_record::{Cursor, Escaped, Value};

use super::event::{Event, is_placeholder};
use crate::common::address::Address;
use crate::common::os::{Os, os_type};

/// Writes `host.name` and `host.hostname`.
pub(super) fn names<const N: usize>(event: &mut Event<'_>, names: [Value<'_>; N]) {
    for value in names {
        if let Some(name) = event.keyword("name", value) {
            event.json.escaped("hostname", name);
            event.related.add_host(name);
            return;
        }
    }
}

/// Writes `host.domain`. `WORKGROUP` is the console's word for a host without a domain.
pub(super) fn domain<const N: usize>(event: &mut Event<'_>, domains: [Value<'_>; N]) {
    for value in domains {
        if value.escaped().is_some_and(|domain| domain.is("workgroup")) {
            continue;
        }
        if let Some(domain) = event.keyword("domain", value) {
            event.related.hosts.add(domain);
            return;
        }
    }
}

/// Writes `host.os.*`. Type and family stay in the record: ECS does not have all words of the console.
pub(super) fn os(event: &mut Event<'_>, os: &Os<'_>) {
    let open = event.open("os");
    if let Some(kind) = os.kind.into_iter().find_map(os_type) {
        event.json.word("type", kind);
    }
    family(event, os.family);
    let name = event.keyword("name", os.name);
    let version = event.keyword("version", os.version);
    if name.is_some() {
        event.sentence("full", &[("", name), (" ", version)]);
    }
    event.close(open);
}

/// Writes `family` of the open `host.os` in lower case, as ECS wants it.
pub(super) fn family(event: &mut Event<'_>, word: Value<'_>) {
    if let Some(word) = word.escaped().filter(|word| !is_placeholder(*word)) {
        event.json.lower_case("family", word);
    }
}

/// Writes `host.ip` (addresses of the interfaces, then `others`) and `host.mac`. All values stay in the record.
pub(super) fn addresses(event: &mut Event<'_>, interfaces: Value<'_>, others: &[Value<'_>]) {
    let [mut ips, mut macs] = event.take_sets();
    Cursor::new(interfaces).each_element(|cursor| {
        cursor.each_entry(|cursor, key| {
            let value = cursor.value();
            match key {
                "inet" | "inet6" => event.addresses("ip", value, |address| ips.insert(address.as_escaped())),
                "gatewayIp" => {
                    if let Some(gateway) = value.escaped().and_then(Address::of) {
                        event.related.add_ip(&gateway);
                    }
                }
                "physical" => {
                    if let Some(mac) = value.escaped().and_then(Mac::of) {
                        macs.insert(Escaped::plain(mac.as_str()));
                    }
                }
                _ => {}
            }
        });
    });
    for value in others {
        event.addresses("ip", *value, |address| ips.insert(address.as_escaped()));
    }
    ips.write(&mut event.json, "ip");
    macs.write(&mut event.json, "mac");
    event.return_sets([ips, macs]);
}

/// Writes `host.mac` from a text with one or more addresses. The value stays in the record.
pub(super) fn macs(event: &mut Event<'_>, value: Value<'_>) {
    let list = event.json.open_list("mac");
    for mac in value.escaped().into_iter().flat_map(|text| text.split(',')).filter_map(Mac::of) {
        event.json.element(Escaped::plain(mac.as_str()));
    }
    event.json.close(list);
}

/// A MAC address of 6 or 8 bytes in the ECS form `00-25-96-FF-FE-12`.
struct Mac {
    text: [u8; 23],
    length: usize,
}

impl Mac {
    fn of(text: Escaped<'_>) -> Option<Self> {
        let mut mac = Self { text: [b'-'; 23], length: 0 };
        let mut digits = 0;
        for byte in text.trim().raw().bytes().filter(|byte| !matches!(byte, b':' | b'-' | b'.')) {
            if !byte.is_ascii_hexdigit() || digits == 16 {
                return None;
            }
            mac.text[digits + digits / 2] = byte.to_ascii_uppercase();
            digits += 1;
        }
        mac.length = digits + digits / 2 - 1.min(digits);
        matches!(digits, 12 | 16).then_some(mac)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_are_written_in_ecs_form() {
        let mac = |text| Mac::of(Escaped::plain(text)).map(|mac| mac.as_str().to_owned());
        for text in ["00:00:5e:00:53:00", "00-00-5E-00-53-00", "0000.5e00.5300", "00005e005300"] {
            assert_eq!(mac(text).as_deref(), Some("00-00-5E-00-53-00"), "{text}");
        }
        assert_eq!(mac("00:25:96:FF:FE:12:34:56").as_deref(), Some("00-25-96-FF-FE-12-34-56"));
        for text in ["", "x", "00:00", "zz:zz:zz:zz:zz:zz", "00:25:96:FF:FE:12:34:56:78"] {
            assert_eq!(mac(text), None);
        }
    }
}
