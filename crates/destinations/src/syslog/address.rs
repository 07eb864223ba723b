//! `tls://HOST:PORT`, `tcp://HOST:PORT` or `udp://HOST:PORT`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use s1_forwarder_settings::SettingKind;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::{Host, Url};

/// The transport of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    Tls,
    Tcp,
    Udp,
}

impl Carrier {
    const ALL: [Self; 3] = [Self::Tls, Self::Tcp, Self::Udp];

    fn scheme(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The address at which a syslog receiver listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogAddress {
    pub carrier: Carrier,
    pub host: Host<String>,
    pub port: u16,
}

/// A text that is not a [`SyslogAddress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SyslogAddressError {
    #[error("expected tls://HOST:PORT, tcp://HOST:PORT or udp://HOST:PORT")]
    Scheme,
    #[error("expected a port after the host, such as tls://siem.example:6514")]
    Port,
    #[error("expected a name or an address before the port, such as tls://siem.example:6514")]
    Host,
    #[error("expected nothing but host and port after `//`, such as tls://siem.example:6514")]
    Extra,
}

impl FromStr for SyslogAddress {
    type Err = SyslogAddressError;

    fn from_str(text: &str) -> Result<Self, SyslogAddressError> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(SyslogAddressError::Scheme)?;
        let carrier = Carrier::ALL.into_iter().find(|carrier| carrier.scheme().eq_ignore_ascii_case(scheme));
        let carrier = carrier.ok_or(SyslogAddressError::Scheme)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '@', '?', '#']) {
            return Err(SyslogAddressError::Extra);
        }
        let (host, port) = rest.rsplit_once(':').ok_or(SyslogAddressError::Port)?;
        let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or(SyslogAddressError::Port)?;
        // The URLs of other sinks are read in the same way: names are converted to ASCII, and every spelling of an
        // address is read.
        let url = Url::parse(&format!("http://{host}/")).map_err(|_| SyslogAddressError::Host)?;
        let host = url.host().ok_or(SyslogAddressError::Host)?.to_owned();
        if url.port().is_some() {
            return Err(SyslogAddressError::Host);
        }
        Ok(Self { carrier, host, port })
    }
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}:{}", self.carrier.scheme(), self.host, self.port)
    }
}

impl Serialize for SyslogAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SyslogAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for SyslogAddress {
    fn schema_name() -> Cow<'static, str> {
        "SyslogAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "address",
            "x-kind": SettingKind::Address,
            "description": "tls://HOST:PORT, tcp://HOST:PORT or udp://HOST:PORT",
            "type": "string",
            "pattern": "^\\s*([tT][lL][sS]|[tT][cC][pP]|[uU][dD][pP])://",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_carrier_a_host_and_a_port() {
        for (text, read) in [
            ("tls://siem.example:6514", "tls://siem.example:6514"),
            (" TCP://10.0.0.1:514/ ", "tcp://10.0.0.1:514"),
            ("udp://[2001:db8::1]:514", "udp://[2001:db8::1]:514"),
            ("tls://2130706433:6514", "tls://127.0.0.1:6514"),
            ("tls://bücher.example:443", "tls://xn--bcher-kva.example:443"),
        ] {
            assert_eq!(text.parse::<SyslogAddress>().map(|address| address.to_string()).as_deref(), Ok(read));
        }
        for (text, error) in [
            ("siem.example:6514", SyslogAddressError::Scheme),
            ("https://siem.example:6514", SyslogAddressError::Scheme),
            ("tls://siem.example", SyslogAddressError::Port),
            ("tls://siem.example:0", SyslogAddressError::Port),
            ("tls://siem.example:x", SyslogAddressError::Port),
            ("tls://:6514", SyslogAddressError::Host),
            ("tls://a b:6514", SyslogAddressError::Host),
            ("tls://user@siem.example:6514", SyslogAddressError::Extra),
            ("tls://siem.example:6514/path", SyslogAddressError::Extra),
        ] {
            assert_eq!(text.parse::<SyslogAddress>(), Err(error), "{text}");
        }
    }
}
