//! What makes an event of a record: the mapping, which is the crate `s1-forwarder-mapping`, and after it what the user
//! wants done to events (`steps.rs`).

mod mapped;
mod mapper;
#[cfg(not(feature = "remap"))]
mod no_remap;
mod redact;
mod redaction;
#[cfg(feature = "remap")]
mod remap;
mod schema_paths;
mod settings;
mod steps;
mod tree;
mod words;

pub use s1_forwarder_mapping::{
    Labeler, MapError, OTHER, OcsfVersion, Origin, Schema, Snapshot, UNKNOWN, check_label, coverage,
    knows_activity_type, schema_name, unknown_leaves,
};

pub use self::mapped::{Dropped, Mapped};
pub use self::mapper::{Mapper, to_version};
pub use self::redact::Keys;
pub use self::redaction::{Redaction, With};
#[cfg(all(any(test, feature = "testing"), feature = "remap"))]
pub use self::remap::COMPILATIONS;
pub use self::settings::{OnError, TransformSettings};
pub use self::steps::{Compiler, FAILED_TAG, OVERRAN_TAG, Steps, StepsError, forget_unused_programs};
