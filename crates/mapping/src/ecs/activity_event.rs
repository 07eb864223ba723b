//! The fields that the events of all activities have, whatever their subject.

use s1_forwarder_record::activity::Activity;
use s1_forwarder_record::block::Block;
use s1_forwarder_record::{Kind, Value};

use super::common_fields::CommonFields;
use super::event::Event;
use super::vendor::{JoinKeys, VendorObject};
use crate::common::severity::Severity;
use crate::copy::KeyCase;
use crate::parts::Owner;
use crate::streams::activity::LogEntry;

pub(super) fn head(event: &mut Event<'_>, common: &CommonFields<'_>, entry: &LogEntry<'_>, version: Value<'_>) {
    // `event.created` marks its date.
    event.head(common, [entry.created.unmarked(), entry.updated.unmarked()], [version]);
    event.text("message", entry.message);
}

/// Writes the fields of the open event object that do not depend on the class.
pub(super) fn fields(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    entry: &LogEntry<'_>,
    severity: Option<Severity>,
) {
    event.severity(severity);
    event.optional("code", entry.activity_type.escaped());
    event.text("id", entry.id);
    event.threat_url(common, entry.threat_id);
    event.date("created", entry.created);
    event.provenance(common);
}

/// Values for the end of an activity's event, in addition to the rest of the record.
pub(super) struct Tail<'t, 'a> {
    pub owner: &'t Owner<'a>,
    pub severity: Option<Severity>,
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
    if entry.number.is_some() {
        event.mark(entry.activity_type);
    }
    event.mark(entry.data);
    let mut vendor = VendorObject::open(event, common, &tail.keys, tail.owner, "activity");
    vendor.severity(tail.severity);
    vendor.number("type", entry.number.map(u64::from));
    vendor.agent(entry.agent_id);
    vendor.site(tail.owner);
    vendor.object("data", |event| {
        if tail.is_system {
            event.json.boolean("system", true);
        }
        let flattened = event.json.open("flattened");
        match entry.data.kind() {
            Kind::Object => event.remaining_data(data),
            // An ECS flattened field must be an object.
            _ => event.json.value("value", entry.data, KeyCase::AsReceived),
        }
        event.json.close(flattened);
    });
    vendor.close(activity);
}
