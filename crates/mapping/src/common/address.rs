//! IP addresses in one spelling, so that equal addresses are equal texts.

use std::fmt::{self, Write};
use std::net::IpAddr;

use s1_forwarder_record::{Escaped, Value};

/// The longest text: `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`.
const LENGTH: usize = 45;

/// An address in the form of RFC 5952, without the zone of `fe80::1%eth0`. `::ffff:192.0.2.1` is written as
/// `192.0.2.1`: it is the same node.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    ip: IpAddr,
    text: [u8; LENGTH],
    length: usize,
}

impl Address {
    pub fn of(text: Escaped<'_>) -> Option<Self> {
        let text = text.trim().raw();
        let text = text.split_once('%').map_or(text, |(address, _)| address);
        let ip = text.parse::<IpAddr>().ok()?;
        let mut address = Self { ip: ip.to_canonical(), text: [0; LENGTH], length: 0 };
        match ip {
            // An IPv4 address has only one spelling, which was just read.
            IpAddr::V4(_) => address.write_str(text).ok()?,
            IpAddr::V6(_) => write!(address, "{}", ip.to_canonical()).ok()?,
        }
        Some(address)
    }

    /// Reads an address. Returns `None` for `0.0.0.0` and `::`, which mean that there is no address.
    pub fn of_value(value: Value<'_>) -> Option<Self> {
        Self::of(value.escaped()?).filter(|address| !address.is_unspecified())
    }

    pub fn as_escaped(&self) -> Escaped<'_> {
        Escaped::plain(std::str::from_utf8(&self.text[..self.length]).unwrap_or_default())
    }

    pub fn is_v6(&self) -> bool {
        self.ip.is_ipv6()
    }

    pub fn is_loopback(&self) -> bool {
        self.ip.is_loopback()
    }

    /// Returns whether the address may belong to one machine: neither loopback nor unspecified.
    pub fn is_own(&self) -> bool {
        !self.is_loopback() && !self.is_unspecified()
    }

    pub fn is_link_local(&self) -> bool {
        match self.ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }
    }

    /// Returns whether the address may be a bridge of Docker, which has `172.17.0.1` to `172.31.0.1`.
    pub fn is_of_docker(&self) -> bool {
        matches!(self.ip, IpAddr::V4(ip) if matches!(ip.octets(), [172, 17..=31, 0, 1]))
    }

    /// Returns whether the address belongs to a network that only a machine itself or its VPN has. These are the
    /// networks of VirtualBox and of shared connections of Windows, and `100.64.0.0/10`.
    pub fn is_of_virtual_network(&self) -> bool {
        matches!(self.ip, IpAddr::V4(ip) if matches!(ip.octets(), [192, 168, 56 | 137, 1] | [100, 64..=127, ..]))
    }

    /// Returns whether both are the same address.
    pub fn is(&self, other: &Self) -> bool {
        self.ip == other.ip
    }

    /// Returns whether this is `0.0.0.0` or `::`, which the console writes if there is no address.
    pub fn is_unspecified(&self) -> bool {
        self.ip.is_unspecified()
    }
}

impl Write for Address {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.length + part.len();
        self.text.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        let text = |text| Address::of(Escaped::plain(text)).map(|address| address.as_escaped().raw().to_owned());
        for (received, written) in [
            ("10.0.0.1", "10.0.0.1"),
            (" 10.0.0.1 ", "10.0.0.1"),
            ("FE80:0:0:0:0:0:0:1", "fe80::1"),
            ("fe80::0001%eth0", "fe80::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("::FFFF:192.0.2.1", "192.0.2.1"),
            ("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            assert_eq!(text(received).as_deref(), Some(written));
        }
        for text in ["", "10.0.0", "010.0.0.1", "10.0.0.1:80", "host", "fe80::1::2"] {
            assert!(Address::of(Escaped::plain(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn loopback_and_unspecified_addresses_are_recognised() {
        let address = |text| Address::of(Escaped::plain(text)).unwrap();
        for text in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert!(address(text).is_loopback() && !address(text).is_unspecified(), "{text}");
        }
        for text in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            assert!(address(text).is_unspecified() && !address(text).is_loopback(), "{text}");
        }
        assert!(!address("fe80::1").is_loopback() && !address("10.0.0.1").is_unspecified());
    }
}
