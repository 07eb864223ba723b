use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use crate::settings::FullJitter;
use crate::source::Checkpoint;
use crate::state::{LaneId, StateError, Store};
use crate::telemetry::{LaneState, Meter};

/// Empty polls move the position in the store at most this often.
const IDLE_INTERVAL: Duration = Duration::from_secs(600);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Writes a lane's checkpoints, one at a time: what changes while one is being written goes into the next.
pub struct Saver {
    store: Arc<dyn Store>,
    lane: LaneId,
    meter: Meter,
    /// `--checkpoint-interval`.
    interval: Duration,
    saved_at: Option<Instant>,
    /// The next write waits until then.
    not_before: Option<Instant>,
    changed: Changed,
    writing: Option<BoxFuture<'static, Result<(), StateError>>>,
    waits: FullJitter,
    random: fastrand::Rng,
    failing: bool,
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
        store: Arc<dyn Store>,
        lane: LaneId,
        meter: Meter,
        interval: Duration,
        mut random: fastrand::Rng,
    ) -> Self {
        let waits = waits(&mut random);
        let (saved_at, not_before, changed, writing) = (None, None, Changed::Nothing, None);
        let failing = false;
        Self { store, lane, meter, interval, saved_at, not_before, changed, writing, waits, random, failing }
    }

    /// The position moved over time that held nothing.
    pub fn time_passed(&mut self) {
        self.changed = self.changed.max(Changed::Time);
    }

    /// Events were settled.
    pub fn events_settled(&mut self) {
        self.changed = Changed::Events;
    }

    /// True while the store takes nothing: the lane sends nothing more, since a kill would repeat all of it.
    pub fn is_failing(&self) -> bool {
        self.failing
    }

    /// True when all that must be in the store now is there.
    pub fn is_settled(&self) -> bool {
        self.writing.is_none() && !self.is_due()
    }

    /// Starts to write `checkpoint` if something is due, its time has come, and nothing is being written.
    pub fn start(&mut self, checkpoint: &Checkpoint) {
        let has_come = self.not_before.is_none_or(|not_before| Instant::now() >= not_before);
        if self.writing.is_none() && self.is_due() && has_come {
            self.write(checkpoint);
        }
    }

    /// Waits until what is being written is written, or could not be; or until the next write may start.
    pub async fn written(&mut self) {
        let Some(writing) = &mut self.writing else {
            match self.not_before.filter(|_| self.is_due()) {
                Some(not_before) => return sleep_until(not_before).await,
                None => return std::future::pending().await,
            }
        };
        let result = writing.await;
        let now = Instant::now();
        self.writing = None;
        match result {
            Ok(()) => {
                self.saved_at = Some(now);
                self.not_before = Some(now + self.interval);
                if std::mem::take(&mut self.failing) {
                    self.waits = waits(&mut self.random);
                    self.meter.sink_trouble(None);
                }
            }
            Err(error) => {
                self.failing = true;
                self.not_before = Some(now + self.waits.wait());
                self.changed = Changed::Events;
                self.meter.sink_trouble(Some(LaneState::Stopped(error.to_string())));
            }
        }
    }

    /// Writes what is due while the lane rests until `then`: a kill must not repeat what was settled before the rest.
    pub async fn keep_up(&mut self, checkpoint: &Checkpoint, then: Instant) {
        loop {
            self.start(checkpoint);
            tokio::select! {
                biased;
                () = sleep_until(then) => return,
                () = self.written() => {}
            }
        }
    }

    /// Writes what is not in the store yet, at once and until it is there.
    pub async fn flush(&mut self, checkpoint: &Checkpoint) {
        loop {
            if self.writing.is_some() {
                self.written().await;
            } else if self.changed == Changed::Nothing {
                return;
            } else {
                if let Some(not_before) = self.not_before.filter(|_| self.failing) {
                    sleep_until(not_before).await;
                }
                self.write(checkpoint);
            }
        }
    }

    fn is_due(&self) -> bool {
        match self.changed {
            Changed::Nothing => false,
            Changed::Time => self.saved_at.is_none_or(|saved_at| saved_at.elapsed() >= IDLE_INTERVAL),
            Changed::Events => true,
        }
    }

    fn write(&mut self, checkpoint: &Checkpoint) {
        let (store, lane, bytes) = (self.store.clone(), self.lane.clone(), checkpoint.encode());
        self.changed = Changed::Nothing;
        self.writing = Some(Box::pin(async move { store.save(&lane, bytes).await }));
    }
}

fn waits(random: &mut fastrand::Rng) -> FullJitter {
    FullJitter::new(FIRST_WAIT, LONGEST_WAIT, random.fork())
}
