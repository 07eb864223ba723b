//! The vendor namespace: values of a record without an ECS field, under their own path.

use s1_forwarder_record::block::Block;
use s1_forwarder_record::{Identity, Value};

use super::common_fields::CommonFields;
use super::event::Event;
use crate::common::placeholder::first_scalar;
use crate::copy::KeyCase;
use crate::json::{Json, OpenContainer};
use crate::parts::Owner;

/// Ids that have the same path in all streams, so that the events of one detection can be joined, and values at the
/// paths that Elastic's package has since its version 2. A stream with such a path in its own object leaves it empty.
#[derive(Debug, Default)]
pub(super) struct JoinKeys<'a> {
    pub agent_uuid: Value<'a>,
    pub alert_id: Value<'a>,
    pub threat_id: Value<'a>,
    pub storyline: Value<'a>,
    /// `threat.confidence_level` of a stream that has no such path of its own.
    pub confidence: Value<'a>,
    /// Classification and its source.
    pub classification: [Value<'a>; 2],
}

/// Opens `sentinel_one` and writes what is there in the events of all streams.
pub(super) fn open(
    event: &mut Event<'_>,
    common: &CommonFields<'_>,
    keys: &JoinKeys<'_>,
    owner: &Owner<'_>,
) -> OpenContainer {
    let open = open_with_identity(&mut event.json, common.identity);
    event.optional("storyline_id", keys.storyline.escaped());
    object(event, "agent", [("uuid", keys.agent_uuid)]);
    object(event, "alert", [("id", keys.alert_id)]);
    object(event, "threat", [("id", keys.threat_id), ("confidence_level", keys.confidence)]);
    let [name, source] = keys.classification;
    object(event, "threat_classification", [("name", name), ("source", source)]);
    object(event, "site", [("id", first_scalar(owner.site_ids)), ("name", first_scalar(owner.site_names))]);
    object(event, "account", [("name", first_scalar(owner.account_names))]);
    open
}

/// Writes the rest of the record into the stream's object, which has the names `reserved` already. Closes that object,
/// the vendor namespace, and the event.
pub(super) fn close<'a>(event: &mut Event<'_>, block: &impl Block<'a>, reserved: &[&str], open: [OpenContainer; 2]) {
    event.remaining(block, KeyCase::Snake, reserved);
    open.into_iter().for_each(|object| event.json.close(object));
    event.json.raw(b"}");
}

/// Writes an object with the values that say something: the same `N/A` in two events would join strangers.
fn object<const N: usize>(event: &mut Event<'_>, name: &str, values: [(&str, Value<'_>); N]) {
    let open = event.json.open(name);
    for (name, value) in values {
        event.optional(name, value.escaped());
    }
    event.json.close(open);
}

pub(super) fn open_with_identity(json: &mut Json<'_>, identity: Identity) -> OpenContainer {
    let open = json.open("sentinel_one");
    json.word("identity", std::str::from_utf8(&identity.hex()).unwrap_or_default());
    open
}
