//! Maps `/groups` to the base event: a snapshot is not a change, so it is not entity management.

use s1_forwarder_record::group::Group;

use super::class::{Class, OTHER};
use super::event::Event;
use super::metadata::{CommonFields, Metadata};
use super::unmapped;
use crate::common::severity::Severity;
use crate::streams::group::GroupParts;

pub(super) fn map(event: &mut Event<'_>, common: &CommonFields<'_>, group: &Group<'_>) {
    let parts = GroupParts::of(group);
    event.begin(Class::BaseEvent, OTHER, "group-inventory");
    let mut metadata =
        Metadata { record_id: parts.id(), logged: parts.updated, modified: parts.updated, ..Metadata::default() };
    metadata.time(event, [parts.updated, parts.created]);
    event.severity(Some(Severity::Informational));
    event.sentence("message", &parts.message());
    event.tail(common, &metadata);
    unmapped::write(event, group, &[], |_| {});
}
