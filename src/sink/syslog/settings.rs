//! `type: syslog`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::{Carrier, SyslogAddress};
use crate::settings::{ByteSize, SettingKind};
use crate::sink::common::{Compression, Defaults};
use crate::sink::{BuildError, Limits};

/// The largest payload of a UDP datagram over IPv4.
const MAX_DATAGRAM: u64 = 65_507;
/// What every receiver accepts (RFC 5424, section 6.1).
const LEAST_MESSAGE: u64 = 480;

pub(super) const DEFAULTS: Defaults = Defaults {
    limits: Limits { events: 1_000, bytes: 1 << 20, framing: 256, copies: 2, ..Limits::NONE },
    flush: Duration::from_secs(1),
    concurrency: 4,
    concurrency_max: 64,
    compressions: &[Compression::None],
};

/// `type: syslog`: one message for each event, as JSON or CEF, over TLS, TCP or UDP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyslogSettings {
    /// The receiver: `tls://HOST:PORT`, `tcp://HOST:PORT` or `udp://HOST:PORT`.
    pub address: Option<SyslogAddress>,
    /// Several receivers instead of `address`: one is used until it is unavailable.
    #[serde(default)]
    pub addresses: Vec<SyslogAddress>,
    /// The form of the header.
    #[serde(default)]
    pub format: Format,
    /// Where a message ends on a connection; default: `octet_counting`.
    pub framing: Option<Framing>,
    /// What a message contains. `cef` implies `schema: ecs`.
    #[serde(default)]
    pub payload: Payload,
    /// The facility of all messages.
    #[serde(default)]
    pub facility: Facility,
    /// Name of the application in the header, and the tag of RFC 3164.
    #[serde(default = "app_name")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9._/-]{1,48}$"))]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub app_name: String,
    /// Maximum size of a message. Longer ones are shortened.
    #[serde(default = "max_bytes")]
    pub max_bytes: ByteSize,
}

fn app_name() -> String {
    "s1-forwarder".to_owned()
}

fn max_bytes() -> ByteSize {
    ByteSize(8 * 1024)
}

/// `format:`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// With a complete time, the stream, and structured data.
    #[default]
    Rfc5424,
    /// The older form, which has a time to the second without a year.
    Rfc3164,
}

/// `framing:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// The length before each message.
    OctetCounting,
    /// A line feed after each message.
    Newline,
}

/// `payload:`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// The event.
    #[default]
    Json,
    /// ArcSight's Common Event Format, made from the ECS event.
    Cef,
}

/// `facility:`, by the names of RFC 5424.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Facility {
    Kern = 0,
    User,
    Mail,
    Daemon,
    Auth,
    Syslog,
    Lpr,
    News,
    Uucp,
    Cron,
    Authpriv,
    Ftp,
    Ntp,
    Audit,
    Alert,
    Clock,
    #[default]
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

impl SyslogSettings {
    /// The receivers, all with the same carrier.
    pub(super) fn receivers(&self) -> Result<Vec<SyslogAddress>, BuildError> {
        let receivers = match (&self.address, self.addresses.as_slice()) {
            (Some(address), []) => vec![address.clone()],
            (None, [_, ..]) => self.addresses.clone(),
            (Some(_), [_, ..]) => {
                return Err(BuildError::value("addresses", "excludes `address`: give all receivers in `addresses`"));
            }
            (None, []) => {
                let problem = "is missing: the sink needs `address`, or several `addresses`";
                return Err(BuildError::value("address", problem));
            }
        };
        let carrier = receivers.first().map(|first| first.carrier);
        if receivers.iter().any(|receiver| Some(receiver.carrier) != carrier) {
            return Err(BuildError::value("addresses", "all must begin with the same of tls://, tcp:// and udp://"));
        }
        Ok(receivers)
    }

    /// The framing, which datagrams do not have.
    pub(super) fn framing(&self, carrier: Carrier) -> Result<Option<Framing>, BuildError> {
        match (carrier, self.framing) {
            (Carrier::Udp, Some(_)) => {
                Err(BuildError::value("framing", "each datagram is one message; leave the key out with udp://"))
            }
            (Carrier::Udp, None) => Ok(None),
            (Carrier::Tls | Carrier::Tcp, framing) => Ok(Some(framing.unwrap_or(Framing::OctetCounting))),
        }
    }

    pub(super) fn check(&self, carrier: Carrier) -> Result<(), BuildError> {
        let longest_name = match self.format {
            Format::Rfc5424 => 48,
            Format::Rfc3164 => 32,
        };
        let is_name = |character: char| character.is_ascii_alphanumeric() || "._/-".contains(character);
        if self.app_name.is_empty() || self.app_name.len() > longest_name || !self.app_name.chars().all(is_name) {
            let problem = format!("expected 1 to {longest_name} letters, digits and `._/-`");
            return Err(BuildError::value("app_name", problem));
        }
        if self.max_bytes.0 < LEAST_MESSAGE {
            return Err(BuildError::value("max_bytes", "expected at least 480 bytes, which every receiver accepts"));
        }
        if carrier == Carrier::Udp && self.max_bytes.0 > MAX_DATAGRAM {
            return Err(BuildError::value("max_bytes", "a datagram has at most 65507 bytes"));
        }
        Ok(())
    }
}
