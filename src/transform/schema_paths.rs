//! Places in mapped events that steps after the mapping have to know.

/// Where events have their identity, which never changes.
pub(super) const IDENTITIES: [&str; 2] = ["sentinel_one.identity", "metadata.uid"];
/// Where events keep the record, as a text.
pub(super) const ORIGINALS: [&str; 2] = ["event.original", "raw_data"];
