//! Writes the remote origin of a record as `source.ip`.

use super::event::Event;
use crate::common::remote_origin::RemoteOrigin;

pub(super) fn write(event: &mut Event<'_>, origin: &RemoteOrigin<'_>) {
    let Some(address) = origin.address else { return };
    let open = event.open("source");
    event.json.escaped("ip", address.as_escaped());
    event.close(open);
    event.related.add_ip(&address);
}
