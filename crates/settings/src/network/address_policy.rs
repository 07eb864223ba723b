//! Addresses that requests may go to. Pipeline files that are not the operator's must not reach what only the worker
//! can: the metadata servers of clouds, services of its cluster, itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::resolver::lookup;

/// A host that the requests of a tenant's pipeline file may not go to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReachable {
    /// A host has no address that everybody can reach, and none that the operator allows.
    #[error(
        "{host} is at {address}, which is not a public address; pipeline files of tenants reach it only if \
         --allow-private-destinations names its network"
    )]
    NotPublic { host: String, address: IpAddr },
    /// The name belongs to a proxy, and is resolved without a look at its addresses. So nothing else may use it.
    #[error(
        "{host} is the operator's proxy, which pipeline files of tenants reach as a proxy only; give the destination \
         another name"
    )]
    Proxy { host: String },
}

/// Owner of settings, and so the addresses that their requests may go to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum AddressPolicy {
    /// The operator's settings: everywhere.
    #[default]
    Everywhere,
    /// A tenant's settings: public addresses, and private ones that the operator allows.
    Tenant {
        private: PrivateDestinations,
        /// Whether the settings' `proxy` is the operator's too, as the environment's proxy always is.
        is_operators_proxy: bool,
    },
}

impl AddressPolicy {
    /// Returns the restrictions of a tenant.
    pub(crate) fn private(&self) -> Option<&PrivateDestinations> {
        match self {
            Self::Everywhere => None,
            Self::Tenant { private, .. } => Some(private),
        }
    }

    /// Refuses a URL that has an address in place of a name, if requests may not go there.
    ///
    /// # Errors
    /// If requests may not go there, with the address.
    pub(crate) fn check(&self, url: &Url) -> Result<(), NotReachable> {
        match self {
            Self::Everywhere => Ok(()),
            Self::Tenant { private, .. } => private.check(url),
        }
    }
}

/// The private addresses that tenants' files reach: `--allow-private-destinations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct PrivateDestinations {
    /// Whether the flag has no network: it allows all addresses, apart from those where clouds give out credentials.
    pub all: bool,
    networks: Arc<[IpNet]>,
}

/// A value of `--allow-private-destinations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrivateDestination {
    All,
    None,
    Network(IpNet),
}

/// The text is not a [`PrivateDestination`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("not a network such as 10.20.0.0/16 or fd12:3456::/32 (without a value: all private addresses)")]
    Unreadable,
    #[error("the address has bits beyond the network; write {0} for the whole network, or the address alone")]
    HostBits(IpNet),
}

impl std::str::FromStr for PrivateDestination {
    type Err = NetworkError;

    /// Parses a value of the flag. `true` and `false` are for the environment variable.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "true" => Ok(Self::All),
            "false" => Ok(Self::None),
            address if let Ok(address) = address.parse::<IpAddr>() => Ok(Self::Network(address.into())),
            network => {
                let network: IpNet = network.parse().map_err(|_| NetworkError::Unreadable)?;
                if network.trunc() == network {
                    Ok(Self::Network(network))
                } else {
                    Err(NetworkError::HostBits(network.trunc()))
                }
            }
        }
    }
}

impl FromIterator<PrivateDestination> for PrivateDestinations {
    fn from_iter<I: IntoIterator<Item = PrivateDestination>>(destinations: I) -> Self {
        let mut all = false;
        let mut networks = Vec::new();
        for destination in destinations {
            match destination {
                PrivateDestination::All => all = true,
                PrivateDestination::None => {}
                PrivateDestination::Network(network) => networks.push(plain_network(network)),
            }
        }
        Self { all, networks: networks.into() }
    }
}

impl PrivateDestinations {
    fn allow(&self, address: IpAddr) -> bool {
        let address = plain(address);
        let is_special = is_special(address);
        (!is_special && (self.all || is_public(address)))
            || self.networks.iter().any(|network| {
                // The network is for such addresses alone, and not one that happens to contain them.
                let is_own = network.prefix_len() == network.max_prefix_len()
                    || CREDENTIALS.iter().any(|credentials| credentials.contains(network));
                network.contains(&address) && (!is_special || is_own)
            })
    }

    /// Refuses a URL that has an address in place of a name, if a tenant may not go there.
    ///
    /// # Errors
    /// If requests may not go there, with the address.
    pub fn check(&self, url: &Url) -> Result<(), NotReachable> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::from(address),
            Some(Host::Ipv6(address)) => IpAddr::from(address),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        if self.allow(address) { Ok(()) } else { Err(NotReachable::NotPublic { host: address.to_string(), address }) }
    }
}

/// Networks where clouds give credentials, or the data of a machine, to everybody who asks. The chart's network policy
/// has them too.
///
/// The link: the metadata of AWS, Google, Azure, OpenStack and most others at 169.254.169.254 and fe80::a9fe:a9fe, ECS
/// at 169.254.170.2, EKS Pod Identity at 169.254.170.23. Beyond it:
///
/// - fd00:ec2::/32, AWS: metadata at ::254, EKS Pod Identity at ::23
///   (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>,
///   <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html>)
/// - fd20:ce::254, Google (<https://docs.cloud.google.com/compute/docs/metadata/querying-metadata>)
/// - fd00:c1::/32, Oracle: metadata at ::a9fe:a9fe; 192.0.0.192 is its older address
///   (<https://docs.oracle.com/en-us/iaas/Content/Compute/Tasks/gettingmetadata.htm>)
/// - fd00:42::42, Scaleway (<https://www.scaleway.com/en/docs/instances/how-to/use-cloud-init/>)
/// - 100.100.100.200, Alibaba (<https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata>)
/// - 168.63.129.16, Azure's platform
///   (<https://learn.microsoft.com/en-us/azure/virtual-network/what-is-ip-address-168-63-129-16>)
const CREDENTIALS: [IpNet; 9] = [
    v4([169, 254, 0, 0], 16),
    v4([100, 100, 100, 200], 32),
    v4([168, 63, 129, 16], 32),
    v4([192, 0, 0, 192], 32),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32),
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
    v6([0xfd00, 0xc1, 0, 0, 0, 0, 0, 0], 32),
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128),
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length))
}

/// Returns whether an address is in [`CREDENTIALS`], also if a translator may forward to such an address.
fn is_special(address: IpAddr) -> bool {
    let is_listed = |address: IpAddr| CREDENTIALS.iter().any(|network| network.contains(&address));
    match address {
        IpAddr::V4(_) => is_listed(address),
        IpAddr::V6(v6) => is_listed(address) || translations(v6).any(|v4| is_listed(v4.into())),
    }
}

/// Returns the IPv4 addresses that an IPv6 address may stand for if a network translates it by a prefix of its own. The
/// prefix has 32, 40, 48, 56, 64 or 96 bits (RFC 6052, section 2.2), or 16 bits as the prefix of 6to4. Public prefixes
/// mostly have 96 bits. Under a shorter one, an address that its owner chose may look like a translated one.
fn translations(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let bytes = address.octets();
    let lengths: &[usize] = if is_public_v6(address) { &[12] } else { &[2, 4, 5, 6, 7, 8, 12] };
    lengths.iter().map(move |prefix| {
        // Byte 8 is never a part of the IPv4 address.
        let at = |index: usize| {
            let place = prefix + index;
            let is_behind = *prefix > 2 && *prefix <= 8 && place >= 8;
            bytes[place + usize::from(is_behind)]
        };
        Ipv4Addr::new(at(0), at(1), at(2), at(3))
    })
}

/// Returns the one form of an address: IPv4 where IPv6 only wraps it.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) if let Some(embedded) = embedded_v4(address) => embedded.into(),
        other => other,
    }
}

/// Returns the plain form of a network that wraps IPv4 in its last 32 bits; any other network as it is.
fn plain_network(network: IpNet) -> IpNet {
    let (IpNet::V6(wrapped), IpAddr::V4(address)) = (network, plain(network.addr())) else { return network };
    if wrapped.addr().segments()[0] == 0x2002 {
        return network;
    }
    let length = wrapped.prefix_len().checked_sub(96);
    length.and_then(|length| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::from)
}

/// Returns whether a plain address is reached from everywhere on the Internet. Other addresses belong to this machine,
/// its link, private networks, or reserved ranges (IANA's special-purpose registries).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
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

/// Returns whether an address is public. Only 2000::/3 is given out. Within it, 2001:db8::/32 is for documentation.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    first & 0xe000 == 0x2000 && !(first == 0x2001 && second == 0xdb8)
}

/// Returns the IPv4 address that a router or a translator would forward to. The IPv6 address is mapped (::ffff:0:0/96),
/// compatible (::/96, apart from this machine's own two), translated (64:ff9b::/96, ::ffff:0:0:0/96) or 6to4
/// (2002::/16).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        _ if address.is_loopback() || address.is_unspecified() => return None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => (high, low),
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some((u32::from(high) << 16 | u32::from(low)).into())
}

/// Returns the addresses of `host`.
///
/// # Errors
/// If it has none, or one that the tenant's `private` does not allow, since a connection uses any of them.
pub(crate) async fn resolve(
    host: &str,
    private: Option<&PrivateDestinations>,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let found = lookup(host).await.map_err(ResolveError::Lookup)?;
    let refused = found.iter().find(|address| private.is_some_and(|private| !private.allow(address.ip())));
    match refused {
        Some(address) => Err(NotReachable::NotPublic { host: host.to_owned(), address: address.ip() }.into()),
        None => Ok(found),
    }
}

/// A name has no address that may be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The resolver's message.
    #[error("{0}")]
    Lookup(String),
    #[error(transparent)]
    NotReachable(#[from] NotReachable),
}

/// Resolves names for each connection. For a tenant's settings, it refuses a name if the tenant may not reach one of
/// its addresses, since a connection uses any of them. A name that changes its address later is refused then.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub address_policy: AddressPolicy,
    /// Names of the operator's proxies, which may have any address.
    pub proxies: Vec<String>,
}

impl Resolver {
    fn is_proxy(&self, name: &str) -> bool {
        self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private = if self.is_proxy(name.as_str()) { None } else { self.address_policy.private().cloned() };
        Box::pin(async move {
            let found = resolve(name.as_str(), private.as_ref()).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
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
            "::ffff:0:169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "2600:1f00::a9fe:a9fe",
        ] {
            assert!(!PrivateDestinations::default().allow(address.parse().unwrap()), "{address}");
        }
        for address in ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(PrivateDestinations::default().allow(address.parse().unwrap()), "{address}");
        }
    }

    fn destinations(texts: &[&str]) -> PrivateDestinations {
        texts.iter().map(|text| text.parse::<PrivateDestination>().unwrap()).collect()
    }

    #[test]
    fn private_addresses_are_those_of_the_networks_that_are_named() {
        for (named, allowed, refused) in [
            (
                &["10.20.0.0/16", "fd12:3456::/32"][..],
                &["10.20.255.1", "::ffff:10.20.0.1", "64:ff9b::10.20.0.1", "fd12:3456::1", "8.8.8.8"][..],
                &["10.21.0.1", "127.0.0.1", "169.254.169.254", "::ffff:10.21.0.1", "fd12:3457::1", "::1"][..],
            ),
            (&["::ffff:10.20.0.0/112", "::1"], &["10.20.0.1", "::ffff:10.20.0.1", "::1"], &["10.21.0.1", "127.0.0.1"]),
            (
                &["true"],
                &["10.21.0.1", "127.0.0.1", "fd12:3456::1", "::1", "::ffff:192.168.0.1"],
                &[
                    "169.254.169.254",
                    "::ffff:169.254.169.254",
                    "64:ff9b::a9fe:a9fe",
                    "2002:a9fe:a9fe::1",
                    "fe80::1",
                    "fd00:ec2::254",
                    "fd00:ec2::23",
                    "fd20:ce::254",
                    "fd00:c1::a9fe:a9fe",
                    "fd00:42::42",
                    "100.100.100.200",
                    "168.63.129.16",
                    "192.0.0.192",
                    // Translated by well-known prefixes, and by prefixes of a network.
                    "::ffff:0:169.254.169.254",
                    "64:ff9b:1:a9fe:a9:fe00::",
                    "64:ff9b:1::a9fe:a9fe",
                    "fd00:a9fe:a9fe::1",
                    "fd00:1:a9fe:a9fe::1",
                    "fd00:1:a9:fea9:fe::1",
                    "fd00:1:2:a9fe:a9:fe00::1",
                    "fd00:1:2:a9:fe:a9fe::1",
                    "fd00:1:2:3:a9:fea9:fe00:0",
                    "fd00:1:2:3::a9fe:a9fe",
                    "2001:470:1:2::a9fe:a9fe",
                ],
            ),
            (
                &["fd00:1::/32", "fd00:1:2:3::a9fe:a9fe"],
                &["fd00:1:2:3::a9fe:a9fe", "fd00:1:2:3::1"],
                &["fd00:1:2:4::a9fe:a9fe"],
            ),
            (&["0.0.0.0/0", "::/0"], &["10.0.0.1", "::1", "fd00::1"], &["169.254.169.254", "fe80::1", "fd00:ec2::254"]),
            (
                &["fd00::/8"],
                &["fd00:1::1", "fd20:ce::253"],
                &["fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42"],
            ),
            (&["fd20:ce::254", "fd00:ec2::/64"], &["fd20:ce::254", "fd00:ec2::23"], &["fd00:c1::a9fe:a9fe"]),
            (&["169.254.169.0/24", "fe80::/10"], &["169.254.169.254", "fe80::1"], &["169.254.170.2", "10.0.0.1"]),
            (&["true", "169.254.170.2"], &["169.254.170.2", "10.0.0.1"], &["169.254.169.254"]),
            (&["false"], &["8.8.8.8"], &["10.0.0.1"]),
        ] {
            let destinations = destinations(named);
            for address in allowed {
                assert!(destinations.allow(address.parse().unwrap()), "{named:?} {address}");
            }
            for address in refused {
                assert!(!destinations.allow(address.parse().unwrap()), "{named:?} {address}");
            }
        }
    }

    #[test]
    fn the_charts_network_policy_keeps_from_the_same_networks() {
        let template = include_str!("../../../../deploy/helm/s1-forwarder/templates/networkpolicy.yaml");
        let values = include_str!("../../../../deploy/helm/s1-forwarder/values.yaml");
        for network in CREDENTIALS {
            let (file, text) = if network.addr().is_ipv4() { ("values", values) } else { ("template", template) };
            // An address in quotes or in a list.
            assert!(text.contains(&network.to_string()), "{file} lacks {network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_way_to_write_it() {
        let error = |text: &str| text.parse::<PrivateDestination>().unwrap_err().to_string();
        for text in ["", "siem.example", "10.20.0.0/33", "10.20/16", "10.20.0.0-10.20.0.9", "all"] {
            assert!(error(text).contains("10.20.0.0/16"), "{text}: {}", error(text));
        }
        assert!(error("10.20.1.0/16").contains("write 10.20.0.0/16"), "{}", error("10.20.1.0/16"));
    }

    #[tokio::test]
    async fn a_name_is_refused_by_its_address() {
        let tenants =
            |named: &[&str]| AddressPolicy::Tenant { private: destinations(named), is_operators_proxy: false };
        let resolve = async |address_policy: AddressPolicy, proxy: &str| {
            let resolver = Resolver { address_policy, proxies: vec![proxy.to_owned()] };
            resolver.resolve("localhost".parse().unwrap()).await.map(Iterator::count).map_err(|error| error.to_string())
        };
        for named in [&[][..], &["10.0.0.0/8"]] {
            let refused = resolve(tenants(named), "proxy.example").await.unwrap_err();
            assert!(refused.starts_with("localhost is at ") && refused.contains("not a public address"), "{refused}");
        }
        assert!(resolve(tenants(&["127.0.0.0/8", "::1"]), "proxy.example").await.unwrap() > 0);
        assert!(resolve(AddressPolicy::Everywhere, "proxy.example").await.unwrap() > 0);
        assert!(resolve(tenants(&[]), "localhost").await.unwrap() > 0, "the operator's proxy is where it is");
    }
}
