use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::error;

use super::shared::{ComposeError, Shared, Way};
use super::spec::LaneSpec;
use crate::lane::LaneEnd;
use crate::record::{Identity, Timestamp};
use crate::sink::Deadline;
use crate::state::LaneId;
use crate::telemetry::{LaneMetrics, LaneState, Meter};

/// Rest before a lane that could not be put together, or broke, is tried again.
const REST: Duration = Duration::from_secs(10);
/// Rest of a lane whose checkpoint another process has taken over. Usually this one is told meanwhile that the lane is not
/// its own any more; where the other is gone, or was a hand at `state set`, the lane goes on from there.
const AFTER_LOSS: Duration = Duration::from_secs(30);
/// How often the progress of a lane of `run --once` is looked at.
const GLANCE: Duration = Duration::from_secs(1);

/// Keeps one lane running until it is asked to stop.
#[derive(Debug)]
pub struct Keeper {
    /// What the lane is made from.
    pub spec: Arc<LaneSpec>,
    /// What lanes share.
    pub shared: Arc<Shared>,
    /// Asks the lane to stop: it drains, and is cut off after the shutdown time-out.
    pub stop: CancellationToken,
    /// Ends the lane at once: another worker has it.
    pub cut: CancellationToken,
    /// Until when it may deliver.
    pub deadline: Deadline,
    /// The shard of its pipeline.
    pub shard: u32,
    /// Wait before anything else: another worker may still drain this lane.
    pub start_after: Duration,
    /// Wait before the first poll.
    pub first_poll_after: Duration,
    /// End when caught up, and when there was no progress for this long.
    pub once: Option<Duration>,
    /// Set for a lane that is no live one.
    pub apart: Option<Apart>,
}

/// What a lane that runs beside the live ones has of its own, so that it touches nothing of theirs.
#[derive(Debug)]
pub struct Apart {
    /// Under which its checkpoint is kept.
    pub id: LaneId,
    /// What it counts.
    pub meter: Meter,
    /// Its sink is known to take events.
    pub proven: bool,
    /// Records that need not be delivered, as a ledger has them.
    pub known: Option<Arc<HashSet<Identity>>>,
}

/// How a lane was kept to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It ended by itself.
    Ended(LaneEnd),
    /// It did not drain in time; what was in flight is sent again by the next start.
    CutOff,
    /// `once`: it made no progress.
    GivenUp,
}

impl Keeper {
    /// `before` is the lane of the same name that has to end first.
    pub async fn run(self: Box<Self>, before: Option<JoinHandle<Kept>>) -> Kept {
        if let Some(before) = before {
            // However it ended, it is over.
            let _ = before.await;
        }
        tokio::select! {
            biased;
            () = sleep(self.start_after) => {}
            () = self.stop.cancelled() => {}
            () = self.cut.cancelled() => {}
        }
        let meter = match &self.apart {
            Some(apart) => apart.meter.clone(),
            None => self.shared.meter(&self.spec),
        };
        let kept = self.keep(&meter).await;
        meter.lane.give_back_open();
        if self.once.is_none() {
            meter.end();
        }
        kept
    }

    async fn keep(&self, meter: &Meter) -> Kept {
        let mut over = pin!(self.over(&meter.lane));
        let mut rest = None;
        loop {
            match self.start(meter) {
                Ok(mut running) => {
                    if rest.take().is_some() {
                        meter.sink_trouble(None);
                        meter.store_trouble(None);
                    }
                    let ended = tokio::select! {
                        ended = &mut running => ended,
                        kept = &mut over => {
                            // Another lane of this name may start when this one is gone, and not before.
                            running.abort();
                            let _ = running.await;
                            return kept;
                        }
                    };
                    match ended {
                        Ok(LaneEnd::Superseded) if self.apart.is_none() => {
                            meter.lane.give_back_open();
                            rest = Some(AFTER_LOSS);
                        }
                        Ok(end) => return Kept::Ended(end),
                        Err(panic) => {
                            let id = &self.spec.id;
                            error!(pipeline = %id.pipeline, stream = %id.stream, sink = %id.sink, %panic, "the lane broke");
                            meter.lane.give_back_open();
                            meter.sink_trouble(Some(LaneState::Stopped(format!("an error of this program: {panic}"))));
                        }
                    }
                }
                Err(error) => meter.sink_trouble(Some(LaneState::Stopped(error.to_string()))),
            }
            tokio::select! {
                () = sleep(*rest.get_or_insert(REST)) => {}
                () = self.stop.cancelled() => return Kept::Ended(LaneEnd::Drained),
                kept = &mut over => return kept,
            }
        }
    }

    /// Not a part of [`Self::keep`], which would keep room for the lane while the lane runs.
    fn start(&self, meter: &Meter) -> Result<AbortOnDropHandle<LaneEnd>, ComposeError> {
        let way = Way {
            first_poll_after: self.first_poll_after,
            once: self.once.is_some(),
            deadline: self.deadline.clone(),
            shard: self.shard,
        };
        let mut lane = self.shared.compose(&self.spec, meter, way)?;
        if let Some(Apart { id, known, proven, .. }) = &self.apart {
            lane.budget.set_proven(*proven);
            lane.id = id.clone();
            lane.known = known.clone();
        }
        Ok(AbortOnDropHandle::new(tokio::spawn(lane.run(self.stop.clone()))))
    }

    /// Resolves when the lane has to be cut off.
    async fn over(&self, lane: &LaneMetrics) -> Kept {
        tokio::select! {
            () = self.cut.cancelled() => Kept::CutOff,
            () = self.too_long_after_stop() => Kept::CutOff,
            () = self.no_progress(lane) => Kept::GivenUp,
        }
    }

    async fn too_long_after_stop(&self) {
        self.stop.cancelled().await;
        sleep(self.shared.options.shutdown_timeout).await;
    }

    async fn no_progress(&self, lane: &LaneMetrics) {
        match self.once {
            // In a box, since all other lanes need no room for it.
            Some(patience) => Box::pin(no_progress(lane, patience)).await,
            None => std::future::pending().await,
        }
    }
}

/// Resolves when the lane has come no further for so long.
async fn no_progress(lane: &LaneMetrics, patience: Duration) {
    let (mut last, mut at) = (Progress::default(), Instant::now());
    loop {
        sleep(GLANCE.min(patience)).await;
        let now = last.after(lane);
        if now != last {
            (last, at) = (now, Instant::now());
        } else if at.elapsed() >= patience {
            return;
        }
    }
}

/// How far a lane has come, for whoever waits for it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Progress {
    pulled: u64,
    settled: u64,
    complete_until: Option<Timestamp>,
}

impl Progress {
    /// Pulling is progress only while nothing fails: a lane that sees whether its sink is there again pulls each time.
    fn after(&self, lane: &LaneMetrics) -> Self {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            pulled: if lane.state().is_up() { count(&lane.pulled) } else { self.pulled },
            settled: count(&lane.delivered) + count(&lane.dead_letters),
            complete_until: lane.complete_until(),
        }
    }
}
