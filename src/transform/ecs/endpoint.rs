//! `host.*`: the parts that all streams about endpoints share.

use super::classification::normal;
use super::event::{Event, says_nothing};
use crate::record::{Escaped, Value};

/// The first value that says something, else an absent one.
pub(super) fn first<'a, const N: usize>(values: [Value<'a>; N]) -> Value<'a> {
    values.into_iter().find(|value| value.escaped().is_some()).unwrap_or_default()
}

/// `host.name` and `host.hostname`.
pub(super) fn names<const N: usize>(event: &mut Event<'_>, names: [&mut Value<'_>; N]) {
    for value in names {
        if let Some(name) = event.keyword("name", value) {
            event.json.escaped("hostname", name);
            event.related.hosts.add(name);
            return;
        }
    }
}

/// `host.domain`; a workgroup is no domain to pivot on.
pub(super) fn domain<const N: usize>(event: &mut Event<'_>, domains: [&mut Value<'_>; N]) {
    for value in domains {
        if let Some(domain) = event.keyword("domain", value) {
            if !domain.is("workgroup") && !says_nothing(domain) {
                event.related.hosts.add(domain);
            }
            return;
        }
    }
}

/// What is known of an operating system.
pub(super) struct Os<'v, 'a> {
    pub name: &'v mut Value<'a>,
    pub version: &'v mut Value<'a>,
    /// Where its type may be; the first that ECS knows counts.
    pub kind: [Value<'a>; 2],
    /// Its family, where the record has one beside the type.
    pub family: Value<'a>,
}

/// `host.os.*`. Type and family stay in the record: the console's words are not all
/// of ECS's.
pub(super) fn os(event: &mut Event<'_>, os: &mut Os<'_, '_>) {
    let open = event.open("os");
    if let Some(kind) = os.kind.into_iter().find_map(os_type) {
        event.json.word("type", kind);
    }
    event.optional("family", os.family.escaped());
    let name = event.keyword("name", os.name);
    let version = event.keyword("version", os.version);
    if name.is_some() {
        event.sentence("full", &[("", name), (" ", version)]);
    }
    event.close(open);
}

/// The types of `host.os.type`.
pub(super) fn os_type(value: Value<'_>) -> Option<&'static str> {
    match normal(&value.text()?).as_str() {
        "windows" | "windows_legacy" => Some("windows"),
        "macos" => Some("macos"),
        "linux" => Some("linux"),
        "ios" => Some("ios"),
        "android" => Some("android"),
        "unix" => Some("unix"),
        _ => None,
    }
}

/// `host.ip`: the addresses of the interfaces, then the others. All of them stay in the record too.
pub(super) fn addresses(event: &mut Event<'_>, interfaces: Value<'_>, others: &[Value<'_>]) {
    let list = event.json.open_list("ip");
    let mut seen: Vec<Escaped<'_>> = Vec::new();
    let values = || {
        let of_interfaces = interfaces.elements().flat_map(|interface| [interface.get("inet"), interface.get("inet6")]);
        of_interfaces.chain(others.iter().copied())
    };
    for value in values() {
        event.addresses("ip", value, |event, address| {
            if !seen.contains(&address) {
                seen.push(address);
                event.json.element(address);
            }
        });
    }
    event.json.close(list);
}

/// `host.mac` in the form of ECS.
pub(super) fn macs(event: &mut Event<'_>, interfaces: Value<'_>) {
    let list = event.json.open_list("mac");
    let mut seen: Vec<String> = Vec::new();
    for interface in interfaces.elements() {
        let Some(mac) = interface.get("physical").text().and_then(|text| mac(&text)) else { continue };
        if !seen.contains(&mac) {
            event.json.element(Escaped::plain(&mac));
            seen.push(mac);
        }
    }
    event.json.close(list);
}

/// `00:25:96:ff:fe:12` and its other spellings as `00-25-96-FF-FE-12`; 6 or 8 bytes.
fn mac(text: &str) -> Option<String> {
    let digits: Vec<u8> = text
        .trim()
        .bytes()
        .filter(|byte| !matches!(byte, b':' | b'-' | b'.'))
        .map(|byte| byte.to_ascii_uppercase())
        .collect();
    if !matches!(digits.len(), 12 | 16) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pairs: Vec<&str> = digits.chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok()).collect();
    Some(pairs.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_take_the_form_of_ecs() {
        for text in ["00:00:5e:00:53:00", "00-00-5E-00-53-00", "0000.5e00.5300", "00005e005300"] {
            assert_eq!(mac(text).as_deref(), Some("00-00-5E-00-53-00"), "{text}");
        }
        assert_eq!(mac("00:25:96:FF:FE:12:34:56").as_deref(), Some("00-25-96-FF-FE-12-34-56"));
        for text in ["", "x", "00:00", "zz:zz:zz:zz:zz:zz"] {
            assert_eq!(mac(text), None);
        }
    }
}
