//! The end of the event of any activity.

use s1_forwarder_record::Kind;
use s1_forwarder_record::activity::Activity;
use s1_forwarder_record::block::Block;

use super::event::{Event, time};
use super::metadata::Metadata;
use super::unmapped;
use crate::common::placeholder::is_set;
use crate::common::remaining::write_remaining;
use crate::copy::KeyCase;

/// Takes what `metadata` has and writes the rest.
pub(super) fn finish<'a>(
    event: &mut Event<'_>,
    activity: &mut Activity<'a>,
    metadata: &Metadata<'a>,
    data: &impl Block<'a>,
) {
    for value in [&mut activity.id, &mut activity.activity_type, &mut activity.account_id, &mut activity.threat_id] {
        let is_there = [metadata.record_id, metadata.event_code, metadata.tenant, metadata.correlation].contains(value);
        if is_there && is_set(*value) {
            value.take();
        }
    }
    for value in [&mut activity.created_at, &mut activity.updated_at] {
        if time(*value).is_some() {
            value.take();
        }
    }
    let is_object = activity.data.kind() == Kind::Object;
    let whole = activity.data.take();
    unmapped::write(event, activity, &["data"], |event| {
        if is_object {
            let open = event.json.open("data");
            write_remaining(&mut event.json, data, KeyCase::AsReceived, &[]);
            event.json.close(open);
        } else {
            event.json.value("data", whole, KeyCase::AsReceived);
        }
    });
}
