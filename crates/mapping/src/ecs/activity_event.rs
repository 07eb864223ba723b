//! What the events of all activities have, whatever they are about.

use s1_forwarder_record::activity::Activity;
use s1_forwarder_record::block::Block;
use s1_forwarder_record::{Kind, Value};

use super::common_fields::CommonFields;
use super::event::Event;
use super::organization;
use super::vendor::{self, JoinKeys};
use crate::common::severity::Severity;
use crate::copy::KeyCase;
use crate::parts::Owner;
use crate::streams::activity::LogEntry;

/// Names of the vendor object that do not come from keys of the record.
const RESERVED: &[&str] = &["severity", "type", "agent", "site", "data"];

pub(super) fn head(event: &mut Event<'_>, common: &CommonFields<'_>, entry: &LogEntry<'_>, version: Value<'_>) {
    // `event.created` marks its date.
    event.head(common, [entry.created.kept(), entry.updated.kept()], [version]);
    event.text("message", entry.message);
}

/// Writes the fields of the open event object that do not depend on the class.
pub(super) fn fields(event: &mut Event<'_>, common: &CommonFields<'_>, entry: &LogEntry<'_>, severity: Severity) {
    event.severity(severity);
    event.optional("code", entry.activity_type.escaped());
    event.text("id", entry.id);
    event.threat_url(common, entry.threat_id);
    event.date("created", entry.created);
    event.provenance(common);
}

/// What the end of an activity's event says in addition to the rest of the record.
pub(super) struct Tail<'t, 'a> {
    pub owner: &'t Owner<'a>,
    pub severity: Severity,
    pub keys: JoinKeys<'a>,
    pub is_system: bool,
}

/// Writes the fields that follow in all activities, and the vendor namespace.
pub(super) fn tail<'a>(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    activity: &Activity<'a>,
    tail: &Tail<'_, 'a>,
    data: &impl Block<'a>,
) {
    let entry = LogEntry::of(activity);
    event.tail();
    let vendor = vendor::open(event, common, &tail.keys, tail.owner);
    let object = event.json.open("activity");
    event.json.word("severity", tail.severity.word());
    if let Some(number) = entry.number {
        event.json.number("type", itoa::Buffer::new().format(number));
        event.mark(entry.activity_type);
    }
    organization::agent_and_site(event, entry.agent_id, tail.owner);
    let open = event.json.open("data");
    if tail.is_system {
        event.json.boolean("system", true);
    }
    let flattened = event.json.open("flattened");
    match entry.data.kind() {
        Kind::Object => event.remaining_data(data),
        // An ECS flattened field must be an object.
        _ => drop(event.json.value("value", entry.data, KeyCase::AsReceived)),
    }
    event.json.close(flattened);
    event.json.close(open);
    event.mark(entry.data);
    vendor::close(event, activity, RESERVED, [object, vendor]);
}
