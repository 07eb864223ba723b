//! The vendor namespace: values of a record without an ECS field, under their own path.

use s1_forwarder_record::{Identity, Value};

use super::common_fields::CommonFields;
use super::event::{Event, is_placeholder};
use crate::json::{Json, OpenContainer};

/// Ids that have the same path in all streams, so that the events of one detection can be joined. A stream whose own
/// object has such a path leaves it empty here.
#[derive(Debug, Default)]
pub(super) struct JoinKeys<'a> {
    pub agent_uuid: Value<'a>,
    pub alert_id: Value<'a>,
    pub threat_id: Value<'a>,
    pub storyline: Value<'a>,
}

/// Opens `sentinel_one` and writes what is there in the events of all streams.
pub(super) fn open(event: &mut Event<'_>, common: &CommonFields<'_>, keys: &JoinKeys<'_>) -> OpenContainer {
    let open = open_with_identity(&mut event.json, common.identity);
    event.optional("storyline_id", keys.storyline.escaped());
    for (object, name, value) in
        [("agent", "uuid", keys.agent_uuid), ("alert", "id", keys.alert_id), ("threat", "id", keys.threat_id)]
    {
        // The same `N/A` in two events would join strangers.
        if let Some(text) = value.escaped().filter(|text| !is_placeholder(*text)) {
            let object = event.json.open(object);
            event.json.escaped(name, text);
            event.json.close(object);
        }
    }
    open
}

pub(super) fn open_with_identity(json: &mut Json<'_>, identity: Identity) -> OpenContainer {
    let open = json.open("sentinel_one");
    json.word("identity", std::str::from_utf8(&identity.hex()).unwrap_or_default());
    open
}
