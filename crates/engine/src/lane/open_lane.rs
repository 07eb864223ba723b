//! The state of a lane from the moment when its checkpoint is open.

use std::pin::pin;

use s1_forwarder_failure::{Failure, Side};
use s1_forwarder_record::Timestamp;
use s1_forwarder_telemetry::{LaneChange, Silence};
use tokio::time::{Instant, sleep, timeout};

use super::backoff::{Backoff, ConsecutiveRefusals};
use super::checkpoint_writer::{CheckpointWriter, waits};
use super::known_threats::KnownThreats;
use super::lane_checkpoint::LaneCheckpoint;
use super::poll_schedule::PollSchedule;
use super::send::{UNRESPONSIVE_AFTER, report};
use super::sizing::Sizing;
use super::verdict::{Exit, Verdict, verdict};
use super::{Lane, LaneEnd};
use crate::checkpoint::with_lane;
use crate::console::Endpoint;
use crate::source::ConsoleHabits;

/// The state that a lane keeps from poll to poll.
pub struct OpenLane {
    pub checkpoint: LaneCheckpoint,
    /// Whether the lane has not learned the console's time. The time at which the lane begins is unknown then, and its
    /// checkpoint is not stored.
    pub is_new: bool,
    pub writer: CheckpointWriter,
    pub sizing: Sizing,
    pub habits: ConsoleHabits,
    pub threats: KnownThreats,
    pub schedule: PollSchedule,
    /// [`Client::token_changes`](crate::console::Client::token_changes) that the schedule has followed.
    pub token_changes: u64,
    /// Pauses while the console refuses the token.
    pub token_backoff: Backoff,
    /// Pauses while the sink fails.
    pub sink_backoff: Backoff,
    /// Refusals by console or sink in a row.
    pub refusals: ConsecutiveRefusals,
    pub opened_at: Instant,
}

impl OpenLane {
    /// Returns the time at which a checkpoint or the next poll is due, whichever is first.
    pub fn wakes_at(&self, next_poll: Instant) -> Instant {
        self.writer.due().map_or(next_poll, |due| due.min(next_poll))
    }
}

impl Lane {
    /// Calls [`Self::try_open`]. If a transactional sink does not answer for [`UNRESPONSIVE_AFTER`], the lane shows
    /// why. It does not wait for the minutes that a call may last. After an attempt that `has_failed`, the lane goes on
    /// showing that failure.
    async fn try_open_and_report(&self, has_failed: bool) -> Result<Option<LaneCheckpoint>, Failure> {
        let mut opening = pin!(self.try_open());
        if has_failed || self.transactional_sink().is_none() {
            return opening.await;
        }
        loop {
            if let Ok(opened) = timeout(UNRESPONSIVE_AFTER, &mut opening).await {
                return opened;
            }
            if let Some(failure) = self.delivery.sink.stall_reason() {
                self.meter().failed(Side::Claim, &failure);
            }
        }
    }

    /// Completes the command in the failure that corrects it. A store does not know lane and flags of that command.
    pub(super) fn with_command(&self, failure: Failure) -> Failure {
        failure.map_reason(|reason| with_lane(reason, &self.key.lane, &self.state_flags))
    }

    /// Opens the lane's checkpoint, and tries again until it is open. With `once`, a few refusals in a row end the
    /// lane.
    pub(super) async fn open(&mut self) -> Result<Box<OpenLane>, LaneEnd> {
        let mut waits = waits(&mut self.random);
        let mut refusals = ConsecutiveRefusals::default();
        let mut has_failed = false;
        let opened = loop {
            match self.try_open_and_report(has_failed).await {
                Ok(opened) => break opened,
                Err(failure) => {
                    let failure = self.with_command(failure);
                    has_failed = true;
                    self.meter().failed(Side::Claim, &failure);
                    if let Verdict::Exit(Exit::Leave(end)) = verdict(Side::Claim, &failure, self.policy(), refusals) {
                        return Err(end);
                    }
                    refusals.count(&failure);
                    sleep(waits.wait()).await;
                }
            }
        };
        self.meter().report(LaneChange::CheckpointStored);
        let is_new = opened.is_none();
        let checkpoint = opened.unwrap_or_else(|| self.first_checkpoint(Timestamp::default(), false));
        if !is_new {
            report(self.metrics(), &checkpoint.position);
        }
        self.metrics().set_opened(checkpoint.settled);
        self.meter().measure_latency_from(checkpoint.rhythm.latency_from(&self.pull));
        // Whether the console is silent is unknown before a poll has asked it.
        self.metrics().set_newest_record(checkpoint.rhythm.newest());
        self.metrics().set_silence(Silence::Unpolled);
        let now = self.now();
        let passes = self.pull.passes();
        let random = self.random.fork();
        Ok(Box::new(OpenLane {
            schedule: PollSchedule::new(&passes, &checkpoint.position, now, self.first_poll_after, self.once),
            token_changes: self.client.token_changes(),
            checkpoint,
            is_new,
            writer: CheckpointWriter::new(self, random),
            sizing: Sizing::new(Endpoint::of(self.key.lane.stream).max_limit),
            habits: ConsoleHabits::default(),
            threats: KnownThreats::default(),
            token_backoff: Backoff::default(),
            sink_backoff: Backoff::default(),
            refusals: ConsecutiveRefusals::default(),
            opened_at: Instant::now(),
        }))
    }
}
