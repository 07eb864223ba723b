//! Makes an event of a record: the mapping, which is the crate `s1-forwarder-mapping`, and after it the steps that the
//! user wants (`steps.rs`).

mod event_redactor;
#[cfg(feature = "remap")]
mod programs;
#[cfg(not(feature = "remap"))]
#[path = "no_remap.rs"]
mod programs;
mod redact;
mod redaction;
#[cfg(feature = "remap")]
mod remap;
mod schema_paths;
mod settings;
mod steps;
mod tags;
mod transformed;
mod transformer;
mod tree;
mod words;

pub use s1_forwarder_mapping::{
    CompleteSnapshot, Labeler, Labels, MapError, OTHER, OcsfVersion, Origin, Schema, TextPart, UNKNOWN, check_label,
    coverage, knows_activity_type, schema_name, text_parts, unknown_leaves,
};

pub use self::programs::{Compiler, forget_unused_programs};
pub use self::redact::RedactionKeys;
pub use self::redaction::{Redaction, With};
#[cfg(all(any(test, feature = "testing"), feature = "remap"))]
pub use self::remap::COMPILATIONS;
pub use self::settings::{OnError, TransformSettings};
pub use self::steps::{Steps, StepsError};
pub use self::tags::{FAILED_TAG, OVERRAN_TAG};
pub use self::transformed::{Dropped, Transformed};
pub use self::transformer::{Transformer, to_version};
