//! Addresses that requests may go to. Pipeline files from other hands than the operator's must not reach what only the
//! worker can: the metadata servers of clouds, services of its cluster, itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::lookup::lookup;

/// A host has no address that everybody can reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} is at {address}, which is not a public address; pipeline files of tenants reach such addresses only with \
     --allow-private-destinations"
)]
pub struct NotPublic {
    pub host: String,
    pub address: IpAddr,
}

/// True for addresses that are reached from everywhere on the Internet. The others are those of this machine, its link,
/// private networks, and ranges that are reserved (IANA's special-purpose registries).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(address) => is_public_v4(address),
            None => is_public_v6(address),
        },
    }
}

/// The address in a URL, if it has one in place of a name, and it is not public.
pub fn not_public(url: &Url) -> Option<NotPublic> {
    let address = match url.host()? {
        Host::Ipv4(address) => IpAddr::from(address),
        Host::Ipv6(address) => IpAddr::from(address),
        Host::Domain(_) => return None,
    };
    (!is_public(address)).then(|| NotPublic { host: address.to_string(), address })
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_benchmark = a == 198 && (18..20).contains(&b);
    let is_protocol = a == 192 && b == 0 && c == 0;
    // Azure's platform, which answers on virtual machines there only.
    let is_azure = address == Ipv4Addr::new(168, 63, 129, 16);
    !(a == 0
        || a >= 240
        || is_shared
        || is_benchmark
        || is_protocol
        || is_azure
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

/// Only 2000::/3 is given out. Of it, 2001:db8::/32 is for documentation.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    first & 0xe000 == 0x2000 && !(first == 0x2001 && second == 0xdb8)
}

/// The address that a router or a translator would forward to: mapped (::ffff:0:0/96), compatible (::/96), translated
/// (64:ff9b::/96) and 6to4 (2002::/16).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// Resolves names for each connection. If a client reaches `public_only`, it refuses names with an address that is not
/// public, since a connection uses any of them: a name that changes its address later is refused then.
#[derive(Debug)]
pub(super) struct Resolver {
    pub public_only: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let public_only = self.public_only;
        Box::pin(async move {
            let host = name.as_str();
            let found = lookup(host).await?;
            match found.iter().find(|address| public_only && !is_public(address.ip())) {
                Some(address) => Err(NotPublic { host: host.to_owned(), address: address.ip() }.into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_worker_reaches_is_not_public() {
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.96.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "169.254.170.2",
            "100.64.0.1",
            "192.0.0.192",
            "168.63.129.16",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "fc00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_is_refused_by_its_address() {
        let resolver = |public_only| Resolver { public_only };
        let refused = resolver(true).resolve("localhost".parse().unwrap()).await.err().unwrap().to_string();
        assert!(refused.starts_with("localhost is at ") && refused.contains("not a public address"), "{refused}");
        assert!(resolver(false).resolve("localhost".parse().unwrap()).await.unwrap().count() > 0);
    }
}
