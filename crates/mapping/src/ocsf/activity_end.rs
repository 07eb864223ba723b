//! The end of an activity's event.

use s1_forwarder_record::Kind;
use s1_forwarder_record::activity::Activity;
use s1_forwarder_record::block::Block;

use super::event::Event;
use super::unmapped;
use crate::copy::KeyCase;
use crate::streams::activity::LogEntry;

/// Marks the values that `metadata` of each activity has, and writes the remaining values.
pub(super) fn finish<'a>(event: &mut Event<'_>, activity: &Activity<'a>, data: &impl Block<'a>) {
    let entry = LogEntry::of(activity);
    event.mark_set([entry.id, entry.activity_type, entry.account_id]);
    event.mark_times([entry.created, entry.updated]);
    event.mark(entry.data);
    unmapped::write(event, activity, &["data"], |event| {
        if entry.data.kind() == Kind::Object {
            let open = event.json.open("data");
            event.remaining_data(data);
            event.json.close(open);
        } else {
            event.json.value("data", entry.data, KeyCase::AsReceived);
        }
    });
}
