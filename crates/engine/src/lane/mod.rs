//! A lane: it joins source, transform, sink and checkpoint store.
//!
//! A lane sleeps between polls as one small future. A poll runs three stages over bounded channels: pull, map, send.
//! When the send stage falls behind, the channels fill, and the pull stage stops asking the console. The map stage is a
//! task of its own, begun with the first page, and so is each delivery: most polls bring nothing, and start no task at
//! all. What the sink has settled moves the position, and the position goes to the store.

mod backoff;
mod budget;
mod change_log;
mod checkpoint_copy;
mod checkpoint_writer;
mod clocks;
mod enrich;
mod in_store;
mod known_threats;
mod lane_checkpoint;
#[cfg(test)]
mod lane_of_tests;
mod map;
mod open_lane;
mod pending_batch;
mod poll_schedule;
mod programs;
mod pull;
mod remembered;
mod run;
mod send;
mod session;
mod sizing;
mod startup;
mod token_user;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::{CheckpointBackend, CheckpointKey};
use crate::console::Client;
use crate::sink::TransactionalSink;
use crate::sink::deliver::Delivery;
use crate::source::{PullSettings, RecordFilter};
use crate::transform::{Labeler, OcsfVersion, Schema, Steps, TransformSettings};

pub use backoff::ConsecutiveRefusals;
pub use budget::{Budget, LaneBudget, Reservation};
pub use checkpoint_copy::{claim_copy, copy_of};
pub use in_store::InStore;
pub use lane_checkpoint::{LaneCheckpoint, LaneCheckpointError, Target};
pub use poll_schedule::until_lanes_wake;
pub use programs::LanePrograms;
pub use remembered::{LaneMemory, Remembered};

/// One stream of one pipeline going to one sink.
#[derive(Debug)]
pub struct Lane {
    /// What its checkpoint is stored under.
    pub key: CheckpointKey,
    /// The directory or namespace of the tenant whose lane it is. Only lanes of the same tenant may learn its name.
    /// `None` for a lane of the operator, which may learn all names.
    pub tenant: Option<Arc<str>>,
    /// Where the events go: `SinkSettings::target`.
    pub target: u64,
    /// Access to the console.
    pub client: Arc<Client>,
    /// What to pull, and how often.
    pub pull: Arc<PullSettings>,
    /// How records are mapped, except for the schema.
    pub transform: Arc<TransformSettings>,
    /// The schema of the events.
    pub schema: Schema,
    pub ocsf_version: OcsfVersion,
    /// See [`Transformer::with_raw_embedded`](crate::transform::Transformer::with_raw_embedded).
    pub embeds_raw: bool,
    /// What the user has done to mapped events.
    pub steps: Option<Arc<Steps>>,
    /// Set for a lane whose steps have programs.
    pub programs: Option<LanePrograms>,
    /// Makes the labels of each record, if they differ.
    pub labeler: Option<Arc<Labeler>>,
    /// Delivers batches.
    pub delivery: Arc<Delivery>,
    /// How long an event may wait for its batch to fill.
    pub batch_timeout: Duration,
    /// How many batches may be in flight.
    pub concurrency: usize,
    /// Stores the checkpoint, or its copy where the sink stores the checkpoint.
    pub store: Arc<dyn CheckpointBackend>,
    /// The flags of a command that uses the same store, for texts.
    pub state_flags: Arc<str>,
    /// The pipeline's file, for a command.
    pub file: Box<str>,
    /// `--checkpoint-interval`.
    pub checkpoint_interval: Duration,
    pub budget: LaneBudget,
    /// What it remembers of records.
    pub memory: LaneMemory,
    /// Spreads the waits between attempts and between polls.
    pub random: fastrand::Rng,
    /// Wait before the first poll.
    pub first_poll_after: Duration,
    /// End when everything up to the start is delivered.
    pub once: bool,
    /// The records that a repair delivers; `None`: all.
    pub wanted: Option<RecordFilter>,
}

/// Why a lane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneEnd {
    /// It was asked to stop; what was in flight is delivered and stored.
    Drained,
    /// `once`: everything up to the start is delivered and stored.
    Complete,
    /// `once`: console, sink, state store or store of dead letters refuses, and another attempt soon would not help.
    Refused,
    /// Another process writes the lane's checkpoint now; this one writes nothing more.
    TakenOver,
    /// It did not drain in time. The next start delivers again what was in flight.
    Aborted,
    /// `once`: it made no progress for the `once_timeout`.
    GivenUp,
}

impl Lane {
    /// The sink, when it stores the lane's checkpoint. Backfills and repairs run next to the worker's lane: they leave
    /// its checkpoint alone and deliver at least once.
    fn transactional_sink(&self) -> Option<Arc<dyn TransactionalSink>> {
        if self.pull.window.is_none() { self.delivery.sink.clone().transactional() } else { None }
    }

    /// The backend of its checkpoint and, where that is a transactional sink, the one for a copy.
    fn backends(&self) -> (Arc<dyn CheckpointBackend>, Option<Arc<dyn CheckpointBackend>>) {
        match self.transactional_sink() {
            Some(sink) => (sink, Some(self.store.clone())),
            None => (self.store.clone(), None),
        }
    }
}
