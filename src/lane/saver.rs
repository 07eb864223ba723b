use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until};

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
    changed: Changed,
    writing: Option<BoxFuture<'static, Result<(), StateError>>>,
    waits: FullJitter,
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
    pub fn new(store: Arc<dyn Store>, lane: LaneId, meter: Meter, interval: Duration, random: fastrand::Rng) -> Self {
        let waits = FullJitter::new(FIRST_WAIT, LONGEST_WAIT, random);
        let (changed, writing, failing) = (Changed::Nothing, None, false);
        Self { store, lane, meter, interval, saved_at: None, changed, writing, waits, failing }
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

    /// Starts to write `checkpoint` if something is due and nothing is being written.
    pub fn start(&mut self, checkpoint: &Checkpoint) {
        if self.writing.is_none() && self.is_due() {
            self.write(checkpoint, self.saved_at.map(|saved_at| saved_at + self.interval));
        }
    }

    /// Waits until what is being written is written, or could not be.
    pub async fn written(&mut self) {
        let Some(writing) = &mut self.writing else { return std::future::pending().await };
        let result = writing.await;
        self.writing = None;
        match result {
            Ok(()) => {
                self.saved_at = Some(Instant::now());
                if std::mem::take(&mut self.failing) {
                    self.meter.sink_trouble(None);
                }
            }
            Err(error) => {
                self.failing = true;
                self.changed = Changed::Events;
                self.meter.sink_trouble(Some(LaneState::Stopped(error.to_string())));
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
                self.write(checkpoint, None);
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

    fn write(&mut self, checkpoint: &Checkpoint, not_before: Option<Instant>) {
        let (store, lane, bytes) = (self.store.clone(), self.lane.clone(), checkpoint.encode());
        let pause = if self.failing { self.waits.wait() } else { Duration::ZERO };
        self.changed = Changed::Nothing;
        self.writing = Some(Box::pin(async move {
            if let Some(not_before) = not_before {
                sleep_until(not_before).await;
            }
            sleep(pause).await;
            store.save(&lane, bytes).await
        }));
    }
}
