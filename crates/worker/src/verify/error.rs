//! The error of a comparison that could not be made.

use std::io;

use s1_forwarder_engine::checkpoint::StateError;
use s1_forwarder_engine::console::ConsoleError;
use s1_forwarder_engine::lane::LaneCheckpointError;
use s1_forwarder_record::LaneId;
use s1_forwarder_settings::ClientError;

use crate::lanes::builder::BuildLaneError;

/// The comparison failed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The worker's state or the area of repairs cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A checkpoint cannot be read.
    #[error(transparent)]
    LaneCheckpoint(#[from] LaneCheckpointError),
    #[error("console: {0}")]
    Client(#[from] ClientError),
    /// The lane cannot be built.
    #[error(transparent)]
    Lane(#[from] BuildLaneError),
    #[error("console: {0}")]
    Console(#[from] ConsoleError),
    /// The pipeline has no such lane.
    #[error("{0}")]
    NoLane(String),
    #[error("lane {0} has no checkpoint in this state: it has delivered nothing yet")]
    NoCheckpoint(LaneId),
    #[error(
        "segment {segment} of the ledger of lane {lane} is missing or damaged: the lane does without it, and its hours \
         cannot be compared; restore checkpoint and journal from a backup, or wait until they are older than 90 days"
    )]
    Ledger { lane: LaneId, segment: u64 },
    #[error("the dead letters, which are not missing, cannot be read: {0}")]
    DeadLetters(io::Error),
    #[error("the list of missing records cannot be written: {0}")]
    List(io::Error),
    #[error("what was delivered again earlier cannot be read: {0}")]
    Returned(String),
}
