//! Places in mapped events that steps after the mapping have to know.

/// Paths of an event's identity, which never changes.
pub(super) const IDENTITIES: [&str; 2] = ["sentinel_one.identity", "metadata.uid"];
/// Paths that a program cannot change: the identity, and the origin of the event. The compiler refuses changes that are
/// plain to see, and `provenance.rs` puts back the rest.
#[cfg(feature = "remap")]
pub(super) const READ_ONLY: [&str; 5] =
    [IDENTITIES[0], IDENTITIES[1], "labels.pipeline", "observer.hostname", "metadata.log_source"];
/// Paths at which events keep the record, as a text.
pub(super) const ORIGINALS: [&str; 2] = ["event.original", "raw_data"];
