//! A lane: it joins source, transform, sink and checkpoint store.
//!
//! A lane sleeps between polls as one small future. A poll runs three stages over bounded channels: pull, map, send.
//! When the send stage falls behind, the channels fill, and the pull stage stops asking the console. The map stage is a
//! task of its own, begun with the first page, and so is each delivery. Most polls bring nothing, and start no task at
//! all. Settled events move the position, and the position goes to the store.
//!
//! # Size
//!
//! A worker has tens of thousands of lanes, and most of them are idle. A future takes the space of the largest value
//! that it keeps across an `await`, in each lane, whether the lane comes there or not. It also stores a moved argument
//! twice. So fields and futures that few lanes need are boxed, here and in other crates: "Boxed: few lanes wait here."

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
mod poll_end;
mod poll_schedule;
mod programs;
mod pull;
mod remembered;
mod run;
mod send;
mod session;
mod sizing;
mod startup;
#[cfg(any(test, feature = "testing"))]
mod testing;
mod token_user;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_record::Timestamp;
use s1_forwarder_telemetry::{LaneMetrics, Meter};

use crate::checkpoint::{CheckpointBackend, CheckpointKey};
use crate::console::Client;
use crate::delivery::Delivery;
use crate::sink::TransactionalSink;
use crate::source::{PullSettings, RecordFilter};
use crate::transform::{Labeler, OcsfVersion, Schema, Steps, TransformSettings};

pub use backoff::ConsecutiveRefusals;
pub use budget::{Budget, LaneBudget, Reservation};
pub use checkpoint_copy::{claim_copy, copy_of};
pub use in_store::InStore;
pub use lane_checkpoint::{KeptDeadLetters, LaneCheckpoint, LaneCheckpointError, Target};
pub use poll_schedule::until_lanes_wake;
pub use programs::LanePrograms;
pub use remembered::{LaneMemory, Remembered};

/// One stream of one pipeline going to one sink.
#[derive(Debug)]
pub struct Lane {
    /// The key of the lane's checkpoint.
    pub key: CheckpointKey,
    /// The directory or namespace of the lane's tenant. Only lanes of the same tenant may learn the lane's name. `None`
    /// for a lane of the operator, which may learn all names.
    pub tenant: Option<Arc<str>>,
    /// The hash of the events' destination, `SinkSettings::stored_destination_hash`.
    pub target: u64,
    /// Access to the console.
    pub client: Arc<Client>,
    /// The settings of the source: the records to pull, and how often.
    pub pull: Arc<PullSettings>,
    pub mapping: LaneMapping,
    /// Delivers batches.
    pub delivery: Arc<Delivery>,
    /// The longest time that an event waits for its batch to fill.
    pub batch_timeout: Duration,
    /// Maximum number of batches in flight.
    pub concurrency: usize,
    /// Stores the checkpoint, or its copy if the sink stores the checkpoint.
    pub store: Arc<dyn CheckpointBackend>,
    /// The flags of a command that uses the same store, for commands in texts.
    pub state_flags: Arc<str>,
    /// The pipeline's file, for commands in texts.
    pub file: Box<str>,
    /// `--checkpoint-interval`.
    pub checkpoint_interval: Duration,
    pub budget: LaneBudget,
    /// The lane's memory of records.
    pub memory: LaneMemory,
    /// Spreads the waits between attempts and between polls.
    pub random: fastrand::Rng,
    /// Wait before the first poll.
    pub first_poll_after: Duration,
    /// Whether the lane ends when everything up to the start is delivered.
    pub once: bool,
    /// The records that a repair delivers; `None` if the lane delivers all.
    pub wanted: Option<RecordFilter>,
}

/// How records become events.
#[derive(Debug, Default)]
pub struct LaneMapping {
    /// The settings of the mapping, except for the schema.
    pub transform: Arc<TransformSettings>,
    /// The schema of the events.
    pub schema: Schema,
    pub ocsf_version: OcsfVersion,
    /// Whether raw events become JSON values: see
    /// [`Transformer::with_raw_embedded`](crate::transform::Transformer::with_raw_embedded).
    pub embeds_raw: bool,
    /// The user's steps, which change mapped events; `None` if there are none.
    pub steps: Option<Arc<Steps>>,
    /// The state for the programs of the steps; `None` if the steps have no programs.
    pub programs: Option<LanePrograms>,
    /// Makes the labels of each record; `None` if the labels of all records are the same.
    pub labeler: Option<Arc<Labeler>>,
}

/// The reason why a lane ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneEnd {
    /// The lane was asked to stop. Everything in flight is delivered and stored.
    Drained,
    /// With `once`: everything up to the start is delivered and stored.
    Complete,
    /// With `once`: console, sink, state store or dead-letter store refuses, and another attempt soon would not help.
    Refused,
    /// Another process writes the lane's checkpoint now. This process writes nothing more.
    TakenOver,
    /// The lane did not drain in time. The next start delivers again what was in flight.
    Aborted,
    /// With `once`: the lane made no progress for the `once_timeout`.
    GivenUp,
}

impl Lane {
    /// Returns the meter, which reports what happens to the lane.
    fn meter(&self) -> &Meter {
        &self.delivery.meter
    }

    /// Returns the state and the counters of the lane.
    fn metrics(&self) -> &Arc<LaneMetrics> {
        &self.delivery.meter.metrics
    }

    /// Returns the time by this machine's clock.
    fn now(&self) -> Timestamp {
        self.delivery.clock.now()
    }

    /// Returns the sink if it stores the lane's checkpoint. Backfills and repairs run next to the worker's lane. They
    /// leave its checkpoint alone, and deliver at least once.
    fn transactional_sink(&self) -> Option<Arc<dyn TransactionalSink>> {
        if self.pull.window.is_none() { self.delivery.sink.clone().as_transactional() } else { None }
    }

    /// Returns the backend of the lane's checkpoint. If it is a transactional sink, also returns the backend of the
    /// copy.
    fn backends(&self) -> (Arc<dyn CheckpointBackend>, Option<Arc<dyn CheckpointBackend>>) {
        match self.transactional_sink() {
            Some(sink) => (sink, Some(self.store.clone())),
            None => (self.store.clone(), None),
        }
    }
}
