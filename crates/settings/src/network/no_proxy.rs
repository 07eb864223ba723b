//! `NO_PROXY`: the hosts that are reached without the proxy of the environment, as Go's `httpproxy` reads them.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

/// The entries of `NO_PROXY`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NoProxy(Box<[Entry]>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    /// Port of the requests; `None` for every port.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    Network(IpNet),
    /// A name in ASCII and lower case.
    Name {
        name: Box<str>,
        /// Whether the name itself is meant too, and not only names below it.
        is_included: bool,
    },
}

impl NoProxy {
    /// Reads the entries. An entry that names no host is ignored.
    pub fn parse(text: &str) -> Self {
        Self(text.split(',').filter_map(|entry| Entry::parse(entry.trim())).collect())
    }

    /// Returns whether a request for this URL uses no proxy.
    pub fn contains(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        let port = url.port_or_known_default();
        let of_port = |entry: &&Entry| entry.port.is_none() || entry.port == port;
        self.0.iter().filter(of_port).any(|entry| entry.hosts.contain(&host))
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self { hosts: Hosts::All, port: None });
        }
        if let Ok(network) = text.parse() {
            return Some(Self { hosts: Hosts::Network(network), port: None });
        }
        if let Some(address) = address(text) {
            return Some(Self { hosts: Hosts::Network(address.into()), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, None),
        };
        let hosts = match address(host) {
            Some(address) => Hosts::Network(address.into()),
            None => Hosts::named(host)?,
        };
        Some(Self { hosts, port })
    }
}

impl Hosts {
    /// Reads the hosts of an entry. `example.com` is the host and all hosts below it, `.example.com` and
    /// `*.example.com` are those below it.
    fn named(text: &str) -> Option<Self> {
        let below = text.strip_prefix("*.").or_else(|| text.strip_prefix('.'));
        let name = below.unwrap_or(text);
        if name.is_empty() {
            return None;
        }
        let name = match Host::parse(name) {
            Ok(Host::Domain(ascii)) => ascii.into(),
            // No request has such a host.
            _ => name.to_ascii_lowercase().into(),
        };
        Some(Self::Name { name, is_included: below.is_none() })
    }

    fn contain(&self, host: &Host<&str>) -> bool {
        let address = match host {
            Host::Ipv4(address) => Some(IpAddr::from(*address)),
            Host::Ipv6(address) => Some(IpAddr::from(*address).to_canonical()),
            Host::Domain(_) => None,
        };
        match (self, host) {
            (Self::All, _) => true,
            (Self::Network(network), _) => address.is_some_and(|address| network.contains(&address)),
            (Self::Name { name, is_included }, Host::Domain(host)) => match host.strip_suffix(&**name) {
                Some("") => *is_included,
                Some(below) => below.ends_with('.'),
                None => false,
            },
            (Self::Name { .. }, _) => false,
        }
    }
}

/// Reads an address. An IPv6 address may have brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_go_reads_them() {
        for (entries, direct, proxied) in [
            ("*", &["http://10.1.2.3", "https://[::1]", "http://acme.example"][..], &[][..]),
            (" , x ,* ", &["http://acme.example"], &[]),
            ("", &[], &["http://acme.example"]),
            (
                "acme.example",
                &["https://acme.example/x", "http://a.b.acme.example:81"],
                &["http://notacme.example", "http://acme.example.com"],
            ),
            ("ACME.Example", &["https://acme.example", "https://EU.acme.example"], &[]),
            (".acme.example", &["https://eu.acme.example"], &["https://acme.example", "https://xacme.example"]),
            ("*.acme.example", &["https://eu.acme.example"], &["https://acme.example"]),
            (
                "acme.example:443",
                &["https://acme.example", "https://eu.acme.example:443", "http://acme.example:443"],
                &["http://acme.example", "https://acme.example:8443"],
            ),
            (".acme.example:8443", &["https://eu.acme.example:8443"], &["https://eu.acme.example"]),
            ("bücher.example", &["https://bücher.example", "https://xn--bcher-kva.example"], &["https://example"]),
            ("10.1.2.3", &["http://10.1.2.3:81", "http://[::ffff:10.1.2.3]"], &["http://10.1.2.4"]),
            ("10.1.2.3:81", &["http://10.1.2.3:81"], &["http://10.1.2.3", "http://10.1.2.3:82"]),
            ("10.0.0.0/8", &["http://10.200.2.3:81"], &["http://11.0.0.1", "http://10.example"]),
            ("10.9.9.9/8", &["http://10.200.2.3"], &[]),
            ("fd00::/8", &["http://[fd12::1]:81"], &["http://[fe80::1]", "http://10.0.0.1"]),
            ("::1", &["http://[::1]:81"], &["http://[::2]"]),
            ("[::1]", &["http://[::1]:81"], &[]),
            ("[::1]:81", &["http://[::1]:81"], &["http://[::1]"]),
            // These entries name no host.
            ("10.0.0.*,*acme.example,:80,.,acme.example:http", &[], &["http://10.0.0.1", "http://acme.example"]),
            ("x, acme.example , 10.0.0.1", &["http://acme.example", "http://10.0.0.1"], &["http://10.0.0.2"]),
        ] {
            let no_proxy = NoProxy::parse(entries);
            let contains = |url: &str| no_proxy.contains(&url.parse().unwrap());
            assert_eq!(
                direct.iter().filter(|url| !contains(url)).collect::<Vec<_>>(),
                <[&&str; 0]>::default(),
                "{entries}"
            );
            assert_eq!(
                proxied.iter().filter(|url| contains(url)).collect::<Vec<_>>(),
                <[&&str; 0]>::default(),
                "{entries}"
            );
        }
    }
}
