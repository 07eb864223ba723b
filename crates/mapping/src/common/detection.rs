//! What alerts share with hits of detection rules in the activity log, which spell their keys differently.

use s1_forwarder_record::{Escaped, Value};

use super::account::ProcessUser;
use super::event_kind::EventKind;
use super::os::Os;
use super::placeholder::{is_placeholder, is_set};
use super::registry::Registry;

/// References to the fields of a detection in its record.
pub struct Detection<'v, 'a> {
    pub kind: Option<EventKind>,
    pub event_type: Value<'a>,
    pub rule: Rule<'v, 'a>,
    pub source: Peer<'v, 'a>,
    pub destination: Peer<'v, 'a>,
    pub direction: Value<'a>,
    pub machine_ip: &'v mut Value<'a>,
    pub dns_request: &'v mut Value<'a>,
    pub dns_response: &'v mut Value<'a>,
    pub login: Login<'v, 'a>,
    pub registry: Registry<'v, 'a>,
    pub module_path: &'v mut Value<'a>,
    pub module_sha1: &'v mut Value<'a>,
    pub indicator_type: Value<'a>,
    pub indicator_value: &'v mut Value<'a>,
    pub indicator_source: &'v mut Value<'a>,
    pub process: Process<'v, 'a>,
    pub parent: Process<'v, 'a>,
    pub target: Target<'v, 'a>,
    pub file: File<'v, 'a>,
    pub host: Host<'v, 'a>,
    pub container: Container<'v, 'a>,
    pub pod: Pod<'v, 'a>,
}

pub struct Rule<'v, 'a> {
    pub id: &'v mut Value<'a>,
    pub name: &'v mut Value<'a>,
    pub description: &'v mut Value<'a>,
    pub category: &'v mut Value<'a>,
}

pub struct Peer<'v, 'a> {
    pub ip: &'v mut Value<'a>,
    pub port: &'v mut Value<'a>,
}

/// The user of a login.
pub struct Login<'v, 'a> {
    pub name: &'v mut Value<'a>,
    pub domain: &'v mut Value<'a>,
    pub sid: &'v mut Value<'a>,
}

/// A process. Its user stays in the record, because the event has only a part of the text.
pub struct Process<'v, 'a> {
    pub name: &'v mut Value<'a>,
    pub pid: &'v mut Value<'a>,
    pub command_line: &'v mut Value<'a>,
    pub executable: &'v mut Value<'a>,
    pub md5: &'v mut Value<'a>,
    pub sha1: &'v mut Value<'a>,
    pub sha256: &'v mut Value<'a>,
    pub entity_id: &'v mut Value<'a>,
    pub start: &'v mut Value<'a>,
    pub signer: &'v mut Value<'a>,
    pub user: ProcessUser<'a>,
}

/// The process that the process acted on.
pub struct Target<'v, 'a> {
    pub name: &'v mut Value<'a>,
    pub pid: &'v mut Value<'a>,
    pub command_line: &'v mut Value<'a>,
    pub executable: &'v mut Value<'a>,
    pub entity_id: &'v mut Value<'a>,
    pub start: &'v mut Value<'a>,
}

/// The file that the process acted on.
pub struct File<'v, 'a> {
    pub path: &'v mut Value<'a>,
    pub sha1: &'v mut Value<'a>,
    pub sha256: &'v mut Value<'a>,
    pub created: &'v mut Value<'a>,
    pub mtime: &'v mut Value<'a>,
    pub is_signed: Value<'a>,
}

pub struct Host<'v, 'a> {
    pub names: [&'v mut Value<'a>; 2],
    pub id: &'v mut Value<'a>,
    pub kind: &'v mut Value<'a>,
    pub os: Os<'v, 'a>,
    pub addresses: [&'v mut Value<'a>; 2],
    pub mac: Value<'a>,
}

pub struct Container<'v, 'a> {
    pub id: &'v mut Value<'a>,
    pub name: &'v mut Value<'a>,
    pub image: &'v mut Value<'a>,
    pub labels: Value<'a>,
}

pub struct Pod<'v, 'a> {
    pub is_set: bool,
    pub cluster: &'v mut Value<'a>,
    pub namespace: &'v mut Value<'a>,
    pub name: &'v mut Value<'a>,
    pub controller_kind: &'v mut Value<'a>,
}

impl Target<'_, '_> {
    pub fn is_set(&self) -> bool {
        [*self.name, *self.executable, *self.command_line].into_iter().any(is_set)
    }
}

/// A value of a login. Windows writes `-` for one that is missing.
pub fn of_login(value: Value<'_>) -> Option<Escaped<'_>> {
    value.escaped().filter(|text| !text.is("-") && !is_placeholder(*text))
}
