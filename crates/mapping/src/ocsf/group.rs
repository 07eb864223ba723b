//! Maps `/groups` to the base event: a snapshot is no change, so it is no entity management.

use s1_forwarder_record::group::Group;

use super::class::{BASE_EVENT, OTHER};
use super::event::Event;
use super::metadata::{Common, Metadata};
use super::unmapped;
use crate::common::severity::Severity;

pub(super) fn map<'a>(event: &mut Event<'_>, common: &Common<'_>, group: &Group<'a>) {
    event.begin(&BASE_EVENT, OTHER, "group-inventory");
    let mut metadata =
        Metadata { record_id: group.id, logged: group.updated_at, modified: group.updated_at, ..Metadata::default() };
    metadata.time(event, [group.updated_at, group.created_at]);
    event.severity(Severity::Informational);
    event.sentence("message", &[("Group ", group.name.escaped())]);
    event.tail(common, &metadata);
    unmapped::write(event, group, &[], |_| {});
}
