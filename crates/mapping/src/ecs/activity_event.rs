//! What the events of all activities have, whatever they are about.

use s1_forwarder_record::activity::Activity;
use s1_forwarder_record::block::Block;
use s1_forwarder_record::{Kind, Value};

use super::common_fields::CommonFields;
use super::event::Event;
use super::organization;
use super::vendor::{self, JoinKeys};
use crate::common::activity_class::number;
use crate::common::severity::Severity;
use crate::copy::KeyCase;
use crate::parts::Owner;

/// Names of the vendor object that do not come from keys of the record.
const RESERVED: &[&str] = &["severity", "type", "agent", "site", "data"];

pub(super) fn head(event: &mut Event<'_>, common: &CommonFields<'_>, activity: &Activity<'_>, version: Value<'_>) {
    // `event.created` marks its date.
    event.head(common, [activity.created_at.kept(), activity.updated_at.kept()], [version]);
    event.text("message", activity.primary_description);
}

/// Writes the fields of the open event object that do not depend on the class.
pub(super) fn fields(event: &mut Event<'_>, common: &CommonFields<'_>, activity: &Activity<'_>, severity: Severity) {
    event.severity(severity);
    event.optional("code", activity.activity_type.escaped());
    event.text("id", activity.id);
    event.threat_url(common, activity.threat_id);
    event.date("created", activity.created_at);
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
    event.tail();
    let vendor = vendor::open(event, common, &tail.keys, tail.owner);
    let object = event.json.open("activity");
    event.json.word("severity", tail.severity.word());
    if let Some(number) = number(activity) {
        event.json.number("type", itoa::Buffer::new().format(number));
        event.used.mark(activity.activity_type);
    }
    organization::agent_and_site(event, activity.agent_id, tail.owner);
    let open = event.json.open("data");
    if tail.is_system {
        event.json.boolean("system", true);
    }
    let flattened = event.json.open("flattened");
    match activity.data.kind() {
        Kind::Object => event.remaining_data(data),
        // An ECS flattened field must be an object.
        _ => drop(event.json.value("value", activity.data, KeyCase::AsReceived)),
    }
    event.json.close(flattened);
    event.json.close(open);
    event.used.mark(activity.data);
    vendor::close(event, activity, RESERVED, [object, vendor]);
}
