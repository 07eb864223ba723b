//! Finds out whether a process still writes another lane's checkpoint.

use std::time::Duration;

use s1_forwarder_record::LaneId;
use s1_forwarder_state::StoreLocation;
use tokio::time::Instant;

use super::super::Options;

/// A checkpoint that moves after this long belongs to another installation. A lane of this one has drained by then.
const ELSEWHERE: Duration = Duration::from_mins(10);
/// Longest time by which one node sees a changed ConfigMap later than another one.
const FILES_APART: Duration = Duration::from_mins(2);

/// The settings that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    lease: Duration,
    /// `--renamed-wait`; `None` is indefinitely.
    wait: Option<Duration>,
    /// Minimum time without a change after which a checkpoint no longer moves.
    least: Duration,
}

impl Limits {
    pub fn of(options: &Options) -> Self {
        Self { lease: options.lease, wait: options.renamed_wait, least: Duration::ZERO }
    }

    /// Returns the limits of a lane that takes the checkpoint by itself. Another worker on the same store may read its
    /// files later than this one, except where the store has one worker.
    pub fn of_taking_over(self, options: &Options) -> Self {
        let is_shared = !matches!(options.state, StoreLocation::File(_));
        Self { least: if is_shared { FILES_APART } else { Duration::ZERO }, ..self }
    }

    /// Returns the time after which a lane that has not written has ended: its worker has lost the lease.
    fn still(self) -> Duration {
        (self.lease * 2).max(self.least)
    }

    /// Returns the time between two looks at the checkpoint.
    pub fn interval(self) -> Duration {
        self.lease / 3
    }
}

/// The movement of another lane's checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movement {
    /// The checkpoint has changed too recently.
    Moves,
    /// The checkpoint moved again and again after [`ELSEWHERE`].
    IsElsewhere,
    StandsStill,
    /// The checkpoint has not changed for `--renamed-wait`.
    IsOver,
}

/// Another lane's checkpoint, from which the lane should perhaps continue.
pub struct Found {
    pub lane: LaneId,
    /// A stamp that differs when the checkpoint was written again.
    pub stamp: [u8; 32],
    /// Number of other checkpoints that fit, and have not come as far.
    pub others: usize,
}

/// Another lane's checkpoint as it was seen so far.
#[derive(Debug)]
pub struct Watch {
    lane: LaneId,
    stamp: [u8; 32],
    started_at: Instant,
    still_since: Instant,
    /// Number of moves after [`ELSEWHERE`]. A command, such as `state set`, may have caused a single one.
    late_moves: u32,
}

impl Watch {
    pub fn lane(&self) -> &LaneId {
        &self.lane
    }

    /// Takes the checkpoint as it is at `now`. The watch begins again with another lane.
    pub fn follow<'a>(watch: &'a mut Option<Self>, found: &Found, now: Instant) -> &'a mut Self {
        if watch.as_ref().is_some_and(|watch| watch.lane != found.lane) {
            *watch = None;
        }
        let Found { lane, stamp, .. } = found;
        let watch = watch.get_or_insert_with(|| Self {
            lane: lane.clone(),
            stamp: *stamp,
            started_at: now,
            still_since: now,
            late_moves: 0,
        });
        if watch.stamp != *stamp {
            watch.stamp = *stamp;
            watch.still_since = now;
            watch.late_moves += u32::from(now.duration_since(watch.started_at) >= ELSEWHERE);
        }
        watch
    }

    pub fn judge(&self, limits: Limits, now: Instant) -> Movement {
        let still = now.duration_since(self.still_since);
        if self.late_moves >= 2 {
            Movement::IsElsewhere
        } else if still < limits.still() {
            Movement::Moves
        } else if limits.wait.is_some_and(|wait| still >= limits.still() + wait) {
            Movement::IsOver
        } else {
            Movement::StandsStill
        }
    }

    /// Returns the time to the next look at a checkpoint that no longer moves.
    pub fn until_over(&self, limits: Limits, now: Instant) -> Duration {
        let over = limits.wait.map(|wait| (self.still_since + limits.still() + wait).saturating_duration_since(now));
        over.map_or(limits.still(), |over| over.min(limits.still()))
    }
}
