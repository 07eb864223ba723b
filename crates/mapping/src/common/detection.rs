//! What alerts share with hits of detection rules in the activity log, which spell their keys differently.

use s1_forwarder_record::{Escaped, Value};

use super::account::ProcessUser;
use super::event_kind::EventKind;
use super::os::Os;
use super::placeholder::{is_placeholder, is_set};
use super::registry::Registry;

/// The values of a detection.
pub struct Detection<'a> {
    pub kind: Option<EventKind>,
    pub event_type: Value<'a>,
    pub rule: Rule<'a>,
    pub source: Peer<'a>,
    pub destination: Peer<'a>,
    pub direction: Value<'a>,
    pub machine_ip: Value<'a>,
    pub dns_request: Value<'a>,
    pub dns_response: Value<'a>,
    pub login: Login<'a>,
    pub registry: Registry<'a>,
    pub module_path: Value<'a>,
    pub module_sha1: Value<'a>,
    pub indicator_type: Value<'a>,
    pub indicator_value: Value<'a>,
    pub indicator_source: Value<'a>,
    pub process: Process<'a>,
    pub parent: Process<'a>,
    pub target: Target<'a>,
    pub file: File<'a>,
    pub host: Host<'a>,
    pub container: Container<'a>,
    pub pod: Pod<'a>,
}

pub struct Rule<'a> {
    pub id: Value<'a>,
    pub name: Value<'a>,
    pub description: Value<'a>,
    pub category: Value<'a>,
}

pub struct Peer<'a> {
    pub ip: Value<'a>,
    pub port: Value<'a>,
}

/// The user of a login.
pub struct Login<'a> {
    pub name: Value<'a>,
    pub domain: Value<'a>,
    pub sid: Value<'a>,
}

/// A process. Its user stays in the record, because the event has only a part of the text.
pub struct Process<'a> {
    pub name: Value<'a>,
    pub pid: Value<'a>,
    pub command_line: Value<'a>,
    pub executable: Value<'a>,
    pub md5: Value<'a>,
    pub sha1: Value<'a>,
    pub sha256: Value<'a>,
    pub entity_id: Value<'a>,
    pub start: Value<'a>,
    pub signer: Value<'a>,
    pub user: ProcessUser<'a>,
}

/// The process that the process acted on.
pub struct Target<'a> {
    pub name: Value<'a>,
    pub pid: Value<'a>,
    pub command_line: Value<'a>,
    pub executable: Value<'a>,
    pub entity_id: Value<'a>,
    pub start: Value<'a>,
}

/// The file that the process acted on.
pub struct File<'a> {
    pub path: Value<'a>,
    pub sha1: Value<'a>,
    pub sha256: Value<'a>,
    pub created: Value<'a>,
    pub mtime: Value<'a>,
    pub is_signed: Value<'a>,
}

pub struct Host<'a> {
    pub names: [Value<'a>; 2],
    pub id: Value<'a>,
    pub kind: Value<'a>,
    pub os: Os<'a>,
    pub addresses: [Value<'a>; 2],
    pub mac: Value<'a>,
}

pub struct Container<'a> {
    pub id: Value<'a>,
    pub name: Value<'a>,
    pub image: Value<'a>,
    pub labels: Value<'a>,
}

pub struct Pod<'a> {
    pub is_set: bool,
    pub cluster: Value<'a>,
    pub namespace: Value<'a>,
    pub name: Value<'a>,
    pub controller_kind: Value<'a>,
}

impl Target<'_> {
    pub fn is_set(&self) -> bool {
        [self.name, self.executable, self.command_line].into_iter().any(is_set)
    }
}

/// A value of a login. Windows writes `-` for one that is missing.
pub fn of_login(value: Value<'_>) -> Option<Escaped<'_>> {
    value.escaped().filter(|text| !text.is("-") && !is_placeholder(*text))
}
