//! The parts of records, whatever their stream. Parts are plain values, each of which knows its field of the record.
//! `streams` selects them from the records; `ecs` and `ocsf` write them.
//!
//! If a part has several values in a list, they are in order of preference: the first that is not a placeholder counts.

mod acting;
mod cloud;
mod detection;
mod endpoint;
mod threat;
mod workload;

pub use acting::{Acting, Clues, is_bundle};
pub use cloud::Cloud;
pub use detection::{
    DIRECTIONS, Detection, Direction, INDICATORS, Indicator, IndicatorKind, Login, Peer, Process, Registry, Rule,
    TargetFile, TargetProcess,
};
pub use endpoint::{Endpoint, Interactive, Interface, Interfaces, Os, Owner};
pub use threat::{DetectedFile, DetectedProcess, Engine, Engines, Signature, VERIFICATIONS};
pub use workload::{Container, EcsTask, Pod};

use s1_forwarder_record::Escaped;

/// The parts of a sentence, each with the separator before it. The writer leaves out missing parts, and the separator
/// of the first part.
pub type Sentence<'a, const N: usize> = [(&'static str, Option<Escaped<'a>>); N];
