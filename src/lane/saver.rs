use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::checkpoints::Keeping;
use super::standing::Standing;
use crate::record::{Append, Clock, JournalChange};
use crate::settings::FullJitter;
use crate::sink::Unsaved;
use crate::state::LaneId;
use crate::telemetry::{LaneState, Meter};

/// Empty polls move the position in the store at most this often, and at least half as often: lanes that started together,
/// or wrote together after an outage, do not write together for ever.
const IDLE_INTERVAL: Duration = Duration::from_secs(600);
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Short, so that lanes go on soon when the store is back; it bounds by itself how many ask it at a time.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Writes a lane's checkpoints, one at a time: what changes while one is being written goes into the next.
pub struct Saver {
    keeping: Keeping,
    lane: LaneId,
    meter: Meter,
    clock: Clock,
    /// `--checkpoint-interval`.
    interval: Duration,
    saved_at: Instant,
    /// How long after that empty polls move the position in the store.
    idle_for: Duration,
    changed: Changed,
    /// What the ledger wants in the journal before its next checkpoint.
    appends: Vec<Append>,
    /// Gives the segments of the journal that were removed.
    writing: Option<BoxFuture<'static, Result<Vec<u64>, Unsaved>>>,
    /// Set while the store takes nothing.
    retry_at: Option<Instant>,
    /// Another process writes this checkpoint now: nothing is written any more.
    superseded: bool,
    waits: FullJitter,
    random: fastrand::Rng,
}

/// What the store does not know yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    Nothing,
    /// The position moved over time that held nothing.
    Time,
    /// Events were settled.
    Events,
}

impl Saver {
    /// Nothing is to be saved yet.
    pub fn new(
        keeping: Keeping,
        lane: LaneId,
        meter: Meter,
        clock: Clock,
        interval: Duration,
        mut random: fastrand::Rng,
    ) -> Self {
        let (waits, idle_for) = (waits(&mut random), idle_for(&mut random));
        // Whoever opened the lane has read or written its checkpoint just now.
        let (saved_at, changed) = (Instant::now(), Changed::Nothing);
        Self {
            keeping,
            lane,
            meter,
            clock,
            interval,
            saved_at,
            idle_for,
            changed,
            appends: Vec::new(),
            writing: None,
            retry_at: None,
            superseded: false,
            waits,
            random,
        }
    }

    /// The position moved over time that held nothing.
    pub fn time_passed(&mut self) {
        self.changed = self.changed.max(Changed::Time);
    }

    /// Events were settled.
    pub fn events_settled(&mut self) {
        self.changed = Changed::Events;
    }

    /// What is known was stored without this.
    pub fn saved_elsewhere(&mut self) {
        self.changed = Changed::Nothing;
        self.saved_at = Instant::now();
    }

    /// What changes in the lane's journal with the next checkpoint.
    pub fn spill(&mut self, standing: &mut Standing) -> JournalChange {
        if matches!(self.keeping, Keeping::Copy(_)) {
            return JournalChange::default();
        }
        self.appends.append(&mut standing.ledger.spill(self.clock.now()));
        JournalChange { appends: self.appends.clone(), dropped: standing.ledger.released().to_vec() }
    }

    /// A checkpoint is stored with what was spilled, and these segments are gone.
    pub fn spilled(&mut self, standing: &mut Standing, removed: &[u64]) {
        self.appends.clear();
        standing.ledger.forget_released(removed);
    }

    /// True while a checkpoint is on its way.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// True while the store takes nothing: the lane sends nothing more, since a kill would repeat all of it.
    pub fn is_failing(&self) -> bool {
        self.retry_at.is_some()
    }

    /// True when another process has taken the lane over: this one must end.
    pub fn is_superseded(&self) -> bool {
        self.superseded
    }

    /// True when nothing is being written and nothing is due by now.
    pub fn is_settled(&self) -> bool {
        self.writing.is_none() && self.due().is_none_or(|due| due > Instant::now())
    }

    /// Writes `standing` when it is due, and waits until it is written or could not be; for ever when nothing is to be
    /// written. Dropping it loses nothing: what has begun goes on with the next call.
    pub async fn work(&mut self, standing: &mut Standing) {
        self.ready().await;
        self.write(standing).await;
    }

    /// Waits until there is something to write.
    pub fn ready(&self) -> impl Future<Output = ()> + use<> {
        let due = if self.writing.is_some() { Some(Instant::now()) } else { self.due() };
        async move {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Writes what is not in the store yet, without waiting for the interval, until it is there.
    pub async fn flush(&mut self, standing: &mut Standing) {
        while !self.superseded && (self.writing.is_some() || self.changed != Changed::Nothing) {
            if self.writing.is_none()
                && let Some(retry_at) = self.retry_at
            {
                sleep_until(retry_at).await;
            }
            self.write(standing).await;
        }
    }

    /// The same without trying again.
    pub async fn flush_once(&mut self, standing: &mut Standing) {
        if self.writing.is_some() || self.changed != Changed::Nothing {
            self.write(standing).await;
        }
    }

    /// When what has changed is to be written.
    fn due(&self) -> Option<Instant> {
        let due = match self.changed {
            _ if self.superseded => return None,
            Changed::Nothing => return None,
            Changed::Time => self.saved_at + self.idle_for,
            Changed::Events => self.saved_at + self.interval,
        };
        Some(self.retry_at.map_or(due, |retry_at| retry_at.max(due)))
    }

    /// Begins to write, or goes on with it, and waits until it is written or could not be.
    pub async fn write(&mut self, standing: &mut Standing) {
        if self.writing.is_none() {
            let journal = self.spill(standing);
            self.changed = Changed::Nothing;
            self.writing = Some(self.keeping.save_with(&self.lane, standing, journal));
        }
        let Some(writing) = &mut self.writing else { return };
        let result = writing.await;
        self.writing = None;
        match result {
            Ok(removed) => {
                self.spilled(standing, &removed);
                self.saved_at = Instant::now();
                self.idle_for = idle_for(&mut self.random);
                if self.retry_at.take().is_some() {
                    self.waits = waits(&mut self.random);
                    self.meter.store_trouble(None);
                }
            }
            // The lane does not depend on its copy.
            Err(error) if matches!(self.keeping, Keeping::Copy(_)) => {
                self.changed = Changed::Events;
                self.retry_at = Some(Instant::now() + self.waits.wait());
                warn!(lane = %self.lane, %error, "the copy of the checkpoint was not written");
            }
            Err(Unsaved::Superseded(reason)) => {
                self.superseded = true;
                self.meter.superseded(&reason);
            }
            Err(Unsaved::Later(reason)) => {
                self.changed = Changed::Events;
                self.retry_at = Some(Instant::now() + self.waits.wait());
                self.meter.store_trouble(Some(LaneState::Stopped(reason)));
            }
        }
    }
}

/// Between two attempts while the store does not answer.
pub fn waits(random: &mut fastrand::Rng) -> FullJitter {
    FullJitter::new(FIRST_WAIT, LONGEST_WAIT, random.fork())
}

fn idle_for(random: &mut fastrand::Rng) -> Duration {
    IDLE_INTERVAL.mul_f64(1.0 + random.f64())
}

#[cfg(test)]
mod tests;
