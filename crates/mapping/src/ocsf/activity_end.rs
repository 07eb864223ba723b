//! The end of the event of any activity.

use s1_forwarder_record::Kind;
use s1_forwarder_record::activity::Activity;
use s1_forwarder_record::block::Block;

use super::event::{Event, time};
use super::metadata::Metadata;
use super::unmapped;
use crate::common::placeholder::is_set;
use crate::copy::KeyCase;

/// Marks what `metadata` has and writes the rest.
pub(super) fn finish<'a>(
    event: &mut Event<'_>,
    activity: &Activity<'a>,
    metadata: &Metadata<'a>,
    data: &impl Block<'a>,
) {
    for value in [activity.id, activity.activity_type, activity.account_id, activity.threat_id] {
        let is_there =
            [metadata.record_id, metadata.event_code, metadata.tenant, metadata.correlation].contains(&value);
        if is_there && is_set(value) {
            event.used.mark(value);
        }
    }
    for value in [activity.created_at, activity.updated_at] {
        if time(value).is_some() {
            event.used.mark(value);
        }
    }
    let is_object = activity.data.kind() == Kind::Object;
    event.used.mark(activity.data);
    unmapped::write(event, activity, &["data"], |event| {
        if is_object {
            let open = event.json.open("data");
            event.remaining_data(data);
            event.json.close(open);
        } else {
            event.json.value("data", activity.data, KeyCase::AsReceived);
        }
    });
}
