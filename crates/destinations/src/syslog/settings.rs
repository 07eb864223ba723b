//! `type: syslog`.

use std::time::Duration;

use s1_forwarder_engine::sink::Limits;
use s1_forwarder_settings::{ByteSize, SettingKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::{Carrier, SyslogAddress};
use super::notification::Dialect;
use crate::BuildError;
use crate::integration::Content;
use crate::sink_type::{Compression, SinkDefaults};

/// The largest payload of a UDP datagram over IPv4.
const MAX_DATAGRAM: u64 = 65_507;
/// Size of a message, in bytes, that every receiver accepts (RFC 5424, section 6.1).
const MIN_MESSAGE: u64 = 480;

pub(super) const DEFAULTS: SinkDefaults = SinkDefaults {
    limits: Limits { events: 1_000, bytes: 1 << 20, framing: 256, copies: 2, ..Limits::NONE },
    batch_timeout: Duration::from_secs(1),
    concurrency: 4,
    concurrency_max: 64,
    compressions: &[Compression::None],
};

/// `type: syslog`: one message for each event, as JSON, CEF or the console's own line, over TLS, TCP or UDP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyslogSettings {
    /// The receiver: `tls://HOST:PORT`, `tcp://HOST:PORT` or `udp://HOST:PORT`.
    pub address: Option<SyslogAddress>,
    /// Several receivers instead of `address`: one is used until it is unavailable.
    #[serde(default)]
    pub addresses: Vec<SyslogAddress>,
    /// Whose lines the messages are. `integration`: those of the console's own notifications.
    #[serde(default)]
    pub content: Content,
    /// The form of the header; default: `rfc5424`, with `content: integration` `sentinelone`.
    pub format: Option<Format>,
    /// Where a message ends on a connection; default: `octet_counting`, with `content: integration` `newline`.
    pub framing: Option<Framing>,
    /// What a message contains; default: `json`, with `content: integration` `cef`. There `cef` and `cef2` are the
    /// console's dialects; otherwise `cef` implies `schema: ecs`.
    pub payload: Option<Payload>,
    /// The facility of all messages; default: `local0`, with `content: integration` `user`.
    pub facility: Option<Facility>,
    /// Name of the application in the header, and the tag of RFC 3164; default: `s1-forwarder`, with `content:
    /// integration` `sentinel`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9._/-]{1,48}$"))]
    #[schemars(extend("x-kind" = SettingKind::Text))]
    pub app_name: Option<String>,
    /// Maximum size of a message. Longer ones are shortened.
    #[serde(default = "max_bytes")]
    pub max_bytes: ByteSize,
}

/// The name in the header of [`Format::SentinelOne`].
const SENTINEL: &str = "sentinel";

fn max_bytes() -> ByteSize {
    ByteSize(8 * 1024)
}

/// `format:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// With a complete time, the stream, and structured data.
    Rfc5424,
    /// The older form, which has a time to the second without a year.
    Rfc3164,
    /// The console's own, for `content: integration`: a time and the name `sentinel`.
    SentinelOne,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// The event.
    Json,
    /// ArcSight's Common Event Format, made from the ECS event; with `content: integration`, the console's CEF:0.
    Cef,
    /// The console's CEF:2, for `content: integration`.
    Cef2,
}

/// `facility:`, by the names of RFC 5424.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

/// The content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Json,
    Cef,
    Notification(Dialect),
}

impl SyslogSettings {
    /// Returns the receivers, all with the same carrier.
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

    /// Returns the content of the messages.
    ///
    /// # Errors
    /// If `payload` and `content` exclude each other.
    pub(super) fn body(&self) -> Result<Body, BuildError> {
        match (self.content, self.payload) {
            (Content::Forwarder, None | Some(Payload::Json)) => Ok(Body::Json),
            (Content::Forwarder, Some(Payload::Cef)) => Ok(Body::Cef),
            (Content::Integration, None | Some(Payload::Cef)) => Ok(Body::Notification(Dialect::Cef)),
            (Content::Integration, Some(Payload::Cef2)) => Ok(Body::Notification(Dialect::Cef2)),
            (Content::Forwarder, Some(Payload::Cef2)) => {
                let problem = "`cef2` is a dialect of the console's own notifications: it needs `content: integration`";
                Err(BuildError::value("payload", problem))
            }
            (Content::Integration, Some(Payload::Json)) => {
                let problem = "`json` excludes `content: integration`, whose lines are `cef` or `cef2`";
                Err(BuildError::value("payload", problem))
            }
        }
    }

    pub(super) fn format(&self) -> Format {
        self.format.unwrap_or(match self.content {
            Content::Forwarder => Format::Rfc5424,
            Content::Integration => Format::SentinelOne,
        })
    }

    pub(super) fn facility(&self) -> Facility {
        self.facility.unwrap_or(match self.content {
            Content::Forwarder => Facility::Local0,
            Content::Integration => Facility::User,
        })
    }

    pub(super) fn app_name(&self) -> &str {
        self.app_name.as_deref().unwrap_or(match self.content {
            Content::Forwarder => "s1-forwarder",
            Content::Integration => SENTINEL,
        })
    }

    /// Returns the framing; `None` for datagrams, which have none.
    pub(super) fn framing(&self, carrier: Carrier) -> Result<Option<Framing>, BuildError> {
        match (carrier, self.framing) {
            (Carrier::Udp, Some(_)) => {
                Err(BuildError::value("framing", "each datagram is one message; leave the key out with udp://"))
            }
            (Carrier::Udp, None) => Ok(None),
            (Carrier::Tls | Carrier::Tcp, framing) => Ok(Some(framing.unwrap_or(match self.content {
                Content::Forwarder => Framing::OctetCounting,
                Content::Integration => Framing::Newline,
            }))),
        }
    }

    pub(super) fn check(&self, carrier: Carrier) -> Result<(), BuildError> {
        let name = self.app_name();
        let longest_name = match self.format() {
            Format::Rfc5424 => 48,
            Format::Rfc3164 => 32,
            Format::SentinelOne if self.content == Content::Forwarder => {
                let problem = "`sentinelone` is the header of the console's own notifications: it needs `content: \
                               integration`";
                return Err(BuildError::value("format", problem));
            }
            Format::SentinelOne if name != SENTINEL => {
                let problem = "is `sentinel` with `format: sentinelone`, which readers look for: leave the key out";
                return Err(BuildError::value("app_name", problem));
            }
            Format::SentinelOne => SENTINEL.len(),
        };
        let is_name = |character: char| character.is_ascii_alphanumeric() || "._/-".contains(character);
        if name.is_empty() || name.len() > longest_name || !name.chars().all(is_name) {
            let problem = format!("expected 1 to {longest_name} letters, digits and `._/-`");
            return Err(BuildError::value("app_name", problem));
        }
        if self.max_bytes.0 < MIN_MESSAGE {
            return Err(BuildError::value("max_bytes", "expected at least 480 bytes, which every receiver accepts"));
        }
        if carrier == Carrier::Udp && self.max_bytes.0 > MAX_DATAGRAM {
            return Err(BuildError::value("max_bytes", "a datagram has at most 65507 bytes"));
        }
        Ok(())
    }
}
