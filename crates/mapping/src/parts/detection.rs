//! The detection of a custom rule: of an alert, or of its hit in the activity log.

use s1_forwarder_record::{Escaped, Value};

use super::{Container, Endpoint, Pod};
use crate::common::account::{Account, ProcessUser};
use crate::common::address::Address;
use crate::common::event_kind::EventKind;
use crate::common::image::Image;
use crate::common::matched::Matched;
use crate::common::missing::{is_missing_word, is_set, text};
use crate::common::severity::Severity;
use crate::common::sid;
use crate::common::words::Words;

#[derive(Debug, Clone, Copy)]
pub struct Detection<'a> {
    pub alert_id: Value<'a>,
    pub severity: Option<Severity>,
    pub rule: Rule<'a>,
    pub matched: Matched<'a>,
    /// The id of the event that the rule matched.
    pub event_id: Value<'a>,
    pub storyline: Value<'a>,
    pub source: Peer<'a>,
    pub destination: Peer<'a>,
    pub direction: Option<Direction>,
    /// The address of the machine that logged in.
    pub machine_ip: Value<'a>,
    pub dns_request: Value<'a>,
    pub dns_response: Value<'a>,
    pub login: Login<'a>,
    pub registry: Registry<'a>,
    pub module_path: Value<'a>,
    pub module_sha1: Value<'a>,
    pub indicator: Indicator<'a>,
    pub process: Process<'a>,
    pub parent: Process<'a>,
    pub target: TargetProcess<'a>,
    pub file: TargetFile<'a>,
    pub endpoint: Endpoint<'a>,
    pub container: Container<'a>,
    pub pod: Pod<'a>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Rule<'a> {
    pub id: Value<'a>,
    pub name: Value<'a>,
    pub description: Value<'a>,
    pub category: Value<'a>,
}

impl<'a> Detection<'a> {
    /// Returns whether the registry path ends in the name of a value. It does in events about a value, and in all
    /// events with data.
    pub fn is_registry_value(&self) -> bool {
        let event_type = self.matched.event_type.escaped();
        is_set(self.registry.data) || event_type.is_some_and(|text| text.raw().to_ascii_uppercase().contains("VALUE"))
    }

    /// Returns the address of the source, and the other known address. The machine that logged in is the source of a
    /// login.
    pub fn source_ips(&self) -> [Value<'a>; 2] {
        let is_login = self.matched.kind == Some(EventKind::Login);
        if is_login && Address::of_value(self.machine_ip).is_some() {
            [self.machine_ip, self.source.host]
        } else {
            [self.source.host, self.machine_ip]
        }
    }
}

/// One end of a connection: an address or, in firewall activities, the name of a host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peer<'a> {
    pub host: Value<'a>,
    pub port: Value<'a>,
}

/// The user of a login.
#[derive(Debug, Clone, Copy, Default)]
pub struct Login<'a> {
    pub name: Value<'a>,
    pub domain: Value<'a>,
    pub sid: Value<'a>,
    /// The user has the rights of an administrator there.
    pub is_administrator: Value<'a>,
}

impl<'a> Login<'a> {
    /// Returns a login. The id and the domain are left out if they belong to another account: the console may have the
    /// account that requested the login.
    pub fn new(name: Value<'a>, sid: Value<'a>, domain: Value<'a>, is_administrator: Value<'a>) -> Self {
        let is_one = Account::of(name).zip(sid.escaped()).is_none_or(|(account, sid)| sid::may_be_of(sid, account));
        let [sid, domain] = if is_one { [sid, domain] } else { [Value::default(); 2] };
        Self { name, domain, sid, is_administrator }
    }

    /// Returns a value of a login, unless it is a placeholder. For a failed login, Windows writes the id of `Nobody`.
    pub fn text(value: Value<'a>) -> Option<Escaped<'a>> {
        value.escaped().filter(|text| !text.is("S-1-0-0") && !is_missing_word(*text))
    }
}

/// A key of the registry, or a value in it. The path may be in either of two keys of the record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Registry<'a> {
    pub key_path: Value<'a>,
    pub path: Value<'a>,
    /// The data that was written.
    pub data: Value<'a>,
    pub old_data_type: Value<'a>,
}

impl<'a> Registry<'a> {
    /// Returns the path of the key, or the other path if it is longer by the name of a value.
    pub fn longest_path(&self) -> Value<'a> {
        let is_within = match (text(self.key_path), text(self.path)) {
            (Some(key), Some(path)) => path.raw().strip_prefix(key.raw()).is_some_and(|rest| rest.starts_with(r"\\")),
            (key, _) => key.is_none(),
        };
        if is_within { self.path } else { self.key_path }
    }
}

/// The indicator of a threat intelligence feed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Indicator<'a> {
    pub kind: Value<'a>,
    pub value: Value<'a>,
    pub source: Value<'a>,
}

/// The kind of a feed's indicator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndicatorKind {
    Address,
    Hash,
    Url,
    Domain,
}

pub const INDICATORS: Words<IndicatorKind> = Words {
    field: "threat.indicator.type",
    rows: &[
        ("ip", IndicatorKind::Address),
        ("ipv4", IndicatorKind::Address),
        ("ipv6", IndicatorKind::Address),
        ("ipv4_addr", IndicatorKind::Address),
        ("ipv6_addr", IndicatorKind::Address),
        ("md5", IndicatorKind::Hash),
        ("sha1", IndicatorKind::Hash),
        ("sha256", IndicatorKind::Hash),
        ("sha_1", IndicatorKind::Hash),
        ("sha_256", IndicatorKind::Hash),
        ("hash", IndicatorKind::Hash),
        ("file", IndicatorKind::Hash),
        ("url", IndicatorKind::Url),
        ("dns", IndicatorKind::Domain),
        ("domain", IndicatorKind::Domain),
        ("domain_name", IndicatorKind::Domain),
    ],
};

/// The direction of a connection, as the endpoint sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Inbound,
    Outbound,
}

pub const DIRECTIONS: Words<Direction> = Words {
    field: "network.direction",
    rows: &[
        ("inbound", Direction::Inbound),
        ("incoming", Direction::Inbound),
        ("outbound", Direction::Outbound),
        ("outgoing", Direction::Outbound),
    ],
};

#[derive(Debug, Clone, Copy, Default)]
pub struct Process<'a> {
    pub name: Value<'a>,
    pub pid: Value<'a>,
    pub command_line: Value<'a>,
    pub executable: Value<'a>,
    /// MD5, SHA-1, SHA-256
    pub hashes: [Value<'a>; 3],
    /// Hashes of the command line, and not of the image.
    pub hashes_of_command_line: [Value<'a>; 3],
    pub entity_id: Value<'a>,
    pub start: Value<'a>,
    pub signer: Value<'a>,
    pub integrity: Value<'a>,
    pub user: ProcessUser<'a>,
    /// The text that names the users, if they have no separate values.
    pub user_text: Value<'a>,
}

/// The process that the process acted on.
#[derive(Debug, Clone, Copy, Default)]
pub struct TargetProcess<'a> {
    pub name: Value<'a>,
    pub pid: Value<'a>,
    pub command_line: Value<'a>,
    pub executable: Value<'a>,
    pub entity_id: Value<'a>,
    pub start: Value<'a>,
}

impl<'a> Process<'a> {
    /// Sets the hashes. Hashes of a command line are kept apart from hashes of the image.
    pub fn with_hashes(self, hashes: [Value<'a>; 3]) -> Self {
        let mut images = [self.name, self.executable].into_iter().filter_map(Image::at);
        let decorated = images.find(|image| image.addition.is_some());
        let [hashes, hashes_of_command_line] = Image::hashes(decorated, hashes);
        Self { hashes, hashes_of_command_line, ..self }
    }
}

impl<'a> TargetFile<'a> {
    /// Sets the hashes as [`Process::with_hashes`] does.
    pub fn with_hashes(self, hashes: [Value<'a>; 2]) -> Self {
        let [hashes, hashes_of_command_line] = Image::hashes(Image::at(self.path), hashes);
        Self { hashes, hashes_of_command_line, ..self }
    }
}

impl TargetProcess<'_> {
    pub fn is_set(&self) -> bool {
        [self.name, self.executable, self.command_line].into_iter().any(is_set)
    }
}

/// The file that the process acted on.
#[derive(Debug, Clone, Copy, Default)]
pub struct TargetFile<'a> {
    pub id: Value<'a>,
    pub path: Value<'a>,
    /// SHA-1, SHA-256
    pub hashes: [Value<'a>; 2],
    /// Hashes of a command line, and not of a file.
    pub hashes_of_command_line: [Value<'a>; 2],
    pub created: Value<'a>,
    pub modified: Value<'a>,
    pub is_signed: Value<'a>,
}
