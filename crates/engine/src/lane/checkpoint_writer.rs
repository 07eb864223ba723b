//! Writes a lane's checkpoints as they fall due.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use s1_forwarder_failure::{Failure, Side};
use s1_forwarder_record::Clock;
use s1_forwarder_settings::FullJitter;
use s1_forwarder_telemetry::{LaneChange, Meter};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::warn;

use super::Lane;
use super::backoff::ConsecutiveRefusals;
use super::checkpoint_copy::{copy_of, write_copy};
use super::lane_checkpoint::LaneCheckpoint;
use super::verdict::{FailurePolicy, NotStored, Verdict, verdict};
use crate::checkpoint::{Append, CheckpointBackend, CheckpointKey, CheckpointUpdate, JournalChange, StateError};

/// Shortest time after which a position that moved without events is stored; the longest is twice this. The random part
/// keeps lanes apart that started together, or that wrote together after an outage.
const IDLE_INTERVAL: Duration = Duration::from_mins(10);
/// Shortest interval between two writes of the copy of a checkpoint that a sink stores. The copy is used only if the
/// sink loses its checkpoint.
const COPY_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum bytes of the copy that are written in a second, on average.
const COPY_RATE: u64 = 8 << 10;
/// Time after which the lane shows a write of its checkpoint as failed, and a session that delivers events ends.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two attempts. It is short, so that lanes go on soon after an outage. Backends limit the
/// number of their concurrent calls.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Writes a lane's checkpoints, and their copies if the lane's sink stores the checkpoints.
pub struct CheckpointWriter {
    main: BackendWriter,
    copy: Option<Box<BackendWriter>>,
    policy: FailurePolicy,
    meter: Meter,
    clock: Clock,
    /// Bytes that are written to the journal with the next checkpoint, or before it.
    appends: Vec<Append>,
}

impl CheckpointWriter {
    /// Returns a writer that has nothing to write.
    pub fn new(lane: &Lane, mut random: fastrand::Rng) -> Self {
        let (main, copy) = lane.backends();
        let interval = lane.checkpoint_interval;
        let main = BackendWriter::new(main, lane.key.clone(), interval, random.fork());
        let copy = copy.map(|copy| {
            let interval = interval.max(COPY_INTERVAL);
            Box::new(BackendWriter::new(copy, lane.key.clone(), interval, random.fork()))
        });
        let meter = lane.meter().clone();
        Self { main, copy, policy: lane.policy(), meter, clock: lane.delivery.clock, appends: Vec::new() }
    }

    /// Notes that the position moved over time that contained no events.
    pub fn moved_on(&mut self) {
        self.main.changed = self.main.changed.max(Changed::Later);
    }

    /// Notes that events were settled. With `by_delivery`, a delivery has succeeded. A transactional sink has then
    /// committed the events, the checkpoint, and the change that [`Self::journal_change`] returned.
    pub fn events_settled(&mut self, by_delivery: bool) {
        self.main.changed = Changed::Soon;
        let Some(copy) = &mut self.copy else { return };
        copy.changed = Changed::Soon;
        if by_delivery {
            self.appends.clear();
            self.main.saved_elsewhere();
        }
    }

    /// Returns the change of the lane's journal for the next commit. The writer keeps the appends until a commit has
    /// succeeded.
    pub fn journal_change(&mut self, checkpoint: &mut LaneCheckpoint) -> JournalChange {
        self.appends.append(&mut checkpoint.take_appends(self.clock.now()));
        JournalChange { appends: self.appends.clone(), released: checkpoint.ledger.released().to_vec() }
    }

    /// Returns whether the lane may send. It must not while the backend fails: a kill would repeat everything that is
    /// sent. It must not while a checkpoint is on its way to a transactional sink. Otherwise, that checkpoint could
    /// overtake a checkpoint that is committed with events.
    pub fn may_send(&self) -> bool {
        self.main.failing.is_none() && (self.copy.is_none() || self.main.writing.is_none())
    }

    /// Returns the time at which the first attempt since the last stored checkpoint began. `None` if no attempt is
    /// under way, and the last one did not fail.
    pub fn stalled_since(&self) -> Option<Instant> {
        let BackendWriter { failing, writing, begun_at, .. } = &self.main;
        failing.as_ref().map(|failing| failing.since).or(writing.as_ref().map(|_| *begun_at))
    }

    /// Returns whether the checkpoint is to be written, or is being written.
    pub fn has_changes(&self) -> bool {
        self.main.has_changes()
    }

    /// Returns when [`Self::write_due`] next has something to do; `None` if nothing is to be written.
    pub fn due(&self) -> Option<Instant> {
        [Some(&self.main), self.copy.as_deref()].into_iter().flatten().filter_map(BackendWriter::next_due).min()
    }

    /// Returns whether no write of the checkpoint is under way or due. The copy does not count.
    pub fn is_idle(&self) -> bool {
        self.main.writing.is_none() && self.main.due().is_none_or(|due| due > Instant::now())
    }

    /// Writes the checkpoint, or its copy, when it is due. Returns when the write has succeeded or failed. If a write
    /// takes longer than [`STORE_TIMEOUT`], returns too, but only once. Never returns if nothing is to be written.
    /// Cancel safe: the next call continues a write that has begun.
    ///
    /// # Errors
    /// If the writer makes no other attempt. The error says what the lane does then.
    pub async fn write_due(&mut self, checkpoint: &mut LaneCheckpoint) -> Result<(), NotStored> {
        self.write_first(checkpoint, self.main.next_due()).await
    }

    /// Writes as [`Self::write_due`] does. While events are in flight, a transactional sink gets no checkpoint alone.
    ///
    /// # Errors
    /// As [`Self::write_due`].
    pub async fn write_due_while_sending(
        &mut self,
        checkpoint: &mut LaneCheckpoint,
        has_in_flight: bool,
    ) -> Result<(), NotStored> {
        let is_held_back = has_in_flight && self.copy.is_some();
        let main_due = if is_held_back { None } else { self.main.next_due() };
        self.write_first(checkpoint, main_due).await
    }

    /// Writes the checkpoint, which is due at `main_due`, or its copy, whichever is due first.
    async fn write_first(
        &mut self,
        checkpoint: &mut LaneCheckpoint,
        main_due: Option<Instant>,
    ) -> Result<(), NotStored> {
        let copy_due = self.copy.as_ref().and_then(|copy| copy.next_due());
        // If both are overdue, the lane's own checkpoint goes first: the lane does not depend on the copy.
        let now = Instant::now();
        let is_copys_turn = |due: Instant| main_due.is_none_or(|main_due| due.max(now) < main_due.max(now));
        match (main_due, copy_due) {
            (None, None) => std::future::pending().await,
            (_, Some(due)) if is_copys_turn(due) => {
                let copying = async {
                    sleep_until(due).await;
                    self.write_copy(checkpoint).await
                };
                match main_due {
                    // A copy that hangs does not delay the lane's own checkpoint.
                    Some(main_due) => timeout_at(main_due, copying).await.unwrap_or(Ok(())),
                    None => copying.await,
                }
            }
            (main_due, _) => {
                sleep_until(main_due.unwrap_or_else(Instant::now)).await;
                self.write(checkpoint).await
            }
        }
    }

    /// Calls [`Self::flush`], and tries once to write the copy.
    ///
    /// # Errors
    /// As [`Self::write_due`].
    pub async fn flush_with_copy(&mut self, checkpoint: &mut LaneCheckpoint) -> Result<(), NotStored> {
        self.flush(checkpoint).await?;
        if self.copy.as_ref().is_some_and(|copy| copy.has_changes()) {
            self.write_copy(checkpoint).await?;
        }
        Ok(())
    }

    /// Begins to write the copy, or continues. Returns when the write has succeeded or failed.
    ///
    /// # Errors
    /// If a command has written a checkpoint in place of the copy: the lane goes on from there.
    async fn write_copy(&mut self, checkpoint: &LaneCheckpoint) -> Result<(), NotStored> {
        let Some(copy) = &mut self.copy else { return Ok(()) };
        let Err(failure) = copy.write_copy(checkpoint).await.map_err(Failure::from) else { return Ok(()) };
        match verdict(Side::Copy, &failure, self.policy, ConsecutiveRefusals::default()) {
            Verdict::Exit(exit) => Err(NotStored { failure, exit }),
            Verdict::Again | Verdict::Pause(_) => {
                copy.retry();
                warn!(error = %failure, "the copy of the checkpoint was not written");
                Ok(())
            }
        }
    }

    /// Stores all changes without waiting for the interval. Tries again until they are stored.
    ///
    /// # Errors
    /// As [`Self::write_due`].
    pub async fn flush(&mut self, checkpoint: &mut LaneCheckpoint) -> Result<(), NotStored> {
        while self.main.has_changes() {
            if let Some(retry_at) = self.main.retry_at()
                && self.main.writing.is_none()
            {
                sleep_until(retry_at).await;
            }
            self.write(checkpoint).await?;
        }
        Ok(())
    }

    /// Begins to write the checkpoint, or continues. Returns when the write has succeeded or failed. If it takes longer
    /// than [`STORE_TIMEOUT`], returns too, but only once.
    ///
    /// # Errors
    /// As [`Self::write_due`].
    async fn write(&mut self, checkpoint: &mut LaneCheckpoint) -> Result<(), NotStored> {
        if self.main.writing.is_none() {
            let journal = self.journal_change(checkpoint);
            let update = CheckpointUpdate { checkpoint: checkpoint.encode(), journal };
            let BackendWriter { backend, key, .. } = &self.main;
            let (backend, key) = (backend.clone(), key.clone());
            self.main.begin(async move { backend.commit(&key, update).await }.boxed());
        }
        let hangs_at = self.main.begun_at + STORE_TIMEOUT;
        let is_shown = self.main.failing.is_some();
        let written = tokio::select! {
            biased;
            written = self.main.written() => written,
            () = sleep_until(hangs_at), if !is_shown => {
                self.try_again(&accepts_nothing());
                return Ok(());
            }
        };
        match written {
            Ok(removed) => {
                self.appends.clear();
                checkpoint.ledger.forget_released(&removed);
                if self.main.failing.take().is_some() {
                    self.meter.report(LaneChange::CheckpointStored);
                }
            }
            Err(error) => {
                let failure = Failure::from(error);
                match verdict(Side::Store, &failure, self.policy, self.main.refusals()) {
                    Verdict::Again | Verdict::Pause(_) => self.try_again(&failure),
                    Verdict::Exit(exit) => return Err(NotStored { failure, exit }),
                }
            }
        }
        Ok(())
    }

    fn try_again(&mut self, failure: &Failure) {
        self.main.retry().refusals.count(failure);
        self.meter.failed(Side::Store, failure);
    }
}

/// Writes to one backend, one checkpoint at a time. Changes during a write go into the next checkpoint.
struct BackendWriter {
    backend: Arc<dyn CheckpointBackend>,
    key: CheckpointKey,
    interval: Duration,
    /// The shortest interval after the last copy. It grows with the size of the copy.
    pace: Duration,
    saved_at: Instant,
    /// The time after `saved_at` at which a position that moved without events is written.
    idle_for: Duration,
    changed: Changed,
    /// The write under way, if any. It resolves to the numbers of the journal segments that were removed.
    writing: Option<BoxFuture<'static, Result<Vec<u64>, StateError>>>,
    /// The time at which the last attempt began.
    begun_at: Instant,
    /// `None` if the backend does not fail. Boxed: most backends never fail.
    failing: Option<Box<Failing>>,
    random: fastrand::Rng,
}

/// Attempts that failed in a row.
struct Failing {
    /// The time at which the first of these attempts began.
    since: Instant,
    retry_at: Instant,
    waits: FullJitter,
    refusals: ConsecutiveRefusals,
}

/// The changes that the backend does not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    Nothing,
    /// A change that may wait: the position moved over time that contained no events.
    Later,
    /// Events were settled, or the last attempt failed.
    Soon,
}

impl BackendWriter {
    /// Returns a writer for a checkpoint that was read or written just now.
    fn new(
        backend: Arc<dyn CheckpointBackend>,
        key: CheckpointKey,
        interval: Duration,
        mut random: fastrand::Rng,
    ) -> Self {
        let idle_for = idle_for(&mut random);
        Self {
            backend,
            key,
            interval,
            pace: Duration::ZERO,
            saved_at: Instant::now(),
            idle_for,
            changed: Changed::Nothing,
            writing: None,
            begun_at: Instant::now(),
            failing: None,
            random,
        }
    }

    /// Notes that the sink has committed all changes together with events.
    fn saved_elsewhere(&mut self) {
        self.changed = Changed::Nothing;
        self.saved_at = Instant::now();
    }

    /// Returns whether something is to be written, or is being written.
    fn has_changes(&self) -> bool {
        self.writing.is_some() || self.changed != Changed::Nothing
    }

    /// Returns when the next write is due, or now if one is under way. `None` if there is nothing to write.
    fn next_due(&self) -> Option<Instant> {
        if self.writing.is_some() { Some(Instant::now()) } else { self.due() }
    }

    /// Returns when the change has to be written; `None` if nothing has changed.
    fn due(&self) -> Option<Instant> {
        let due = match self.changed {
            Changed::Nothing => return None,
            Changed::Later => self.saved_at + self.idle_for,
            Changed::Soon => self.saved_at + self.interval.max(self.pace),
        };
        Some(self.retry_at().map_or(due, |retry_at| retry_at.max(due)))
    }

    /// Begins to write the copy, or continues. Returns when the write has succeeded or failed.
    async fn write_copy(&mut self, checkpoint: &LaneCheckpoint) -> Result<(), StateError> {
        if self.writing.is_none() {
            let copy = copy_of(checkpoint);
            self.pace = Duration::from_secs(copy.len() as u64 / COPY_RATE);
            let (backend, key) = (self.backend.clone(), self.key.clone());
            self.begin(async move { write_copy(&*backend, &key, copy).await }.boxed());
        }
        self.written().await?;
        self.failing = None;
        Ok(())
    }

    fn begin(&mut self, writing: BoxFuture<'static, Result<Vec<u64>, StateError>>) {
        self.changed = Changed::Nothing;
        self.begun_at = Instant::now();
        self.writing = Some(writing);
    }

    /// Waits for the write that has begun.
    async fn written(&mut self) -> Result<Vec<u64>, StateError> {
        // The write stays in its field while it is awaited, since this future may be dropped.
        let Some(writing) = &mut self.writing else { return Ok(Vec::new()) };
        let written = writing.await;
        self.writing = None;
        if written.is_ok() {
            self.saved_at = Instant::now();
            self.idle_for = idle_for(&mut self.random);
        }
        written
    }

    fn refusals(&self) -> ConsecutiveRefusals {
        self.failing.as_ref().map(|failing| failing.refusals).unwrap_or_default()
    }

    fn retry(&mut self) -> &mut Failing {
        self.changed = Changed::Soon;
        let failing = self.failing.get_or_insert_with(|| {
            let since = self.begun_at;
            let waits = waits(&mut self.random);
            Box::new(Failing { since, retry_at: since, waits, refusals: ConsecutiveRefusals::default() })
        });
        failing.retry_at = Instant::now() + failing.waits.wait();
        failing
    }

    fn retry_at(&self) -> Option<Instant> {
        self.failing.as_ref().map(|failing| failing.retry_at)
    }
}

/// Returns the failure that a lane shows if its checkpoint is not stored for [`STORE_TIMEOUT`].
pub fn accepts_nothing() -> Failure {
    Failure::transient("nothing has accepted the lane's checkpoint for a while")
}

/// Returns the waits between two attempts while a backend fails.
pub fn waits(random: &mut fastrand::Rng) -> FullJitter {
    FullJitter::new(FIRST_WAIT, MAX_WAIT, random.fork())
}

fn idle_for(random: &mut fastrand::Rng) -> Duration {
    IDLE_INTERVAL.mul_f64(1.0 + random.f64())
}

#[cfg(test)]
mod tests;
