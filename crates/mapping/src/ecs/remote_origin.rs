//! Writes the remote origin of a record as `source.ip`.

use super::event::Event;
use crate::common::remote_origin::RemoteOrigin;

impl RemoteOrigin<'_> {
    /// Writes `source.ip`.
    pub(super) fn write_source(self, event: &mut Event<'_>) {
        let Some(address) = self.address else { return };
        let open = event.open("source");
        event.json.escaped("ip", address.as_escaped());
        event.close(open);
        event.related.add_ip(&address);
    }
}
