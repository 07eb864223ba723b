//! Tags of forwarded events.

/// Tag of a forwarded event that its program failed on, added to `tags` or to `metadata.labels`.
pub const FAILED_TAG: &str = "remap_failed";

/// Further tag, if the program took too long.
pub const OVERRAN_TAG: &str = "remap_overran";
