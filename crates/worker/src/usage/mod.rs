//! Stores the counts of the worker's lanes next to their checkpoints.
//!
//! One task looks after all lanes. A lane has no timer, and no object of its own in memory but the counts that are not
//! written yet. A write reads the stored counts and adds to them. A lane does not wait for any of this while it runs. A
//! lane that ends has the rest of the shutdown timeout for its last write.

mod by_commands;

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use s1_forwarder_engine::checkpoint::{CheckpointKey, StateError, StoredPart, with_lane};
use s1_forwarder_record::{Clock, LaneId, Timestamp};
use s1_forwarder_telemetry::usage::{ClockError, CountedTime, Counts, Delta, OwnClock, Usage, UsageError};
use s1_forwarder_telemetry::{LaneMetrics, Telemetry, UsageWrite, lane_span};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::options::Options;
use super::stores::Stores;

pub use by_commands::{CommandUsage, usage_area};

const MINUTE: Duration = Duration::from_mins(1);
/// Interval at which the stored counts of lanes that have begun are read.
const READ_INTERVAL: Duration = Duration::from_secs(2);
/// Number of lanes that are read each time. The stores also serve lanes that start.
const READ_AT_ONCE: usize = 100;
/// Number of concurrent reads or writes.
const CALLS: usize = 8;
/// Timeout of one read or write.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Time for the last write of a lane that needed the whole shutdown timeout.
const LAST_TIMEOUT: Duration = Duration::from_secs(3);
/// Most concurrent last writes. Thousands of lanes may end together: lanes that are not stored in time must not have
/// kept the others from being stored.
const LAST_CALLS: usize = 64;
/// Lanes that the log names in a minute: thousands may have one cause.
const MAX_NAMED: u64 = 10;

/// Why counts cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum UsageStoreError {
    #[error(transparent)]
    State(StateError),
    #[error(
        "{place} is damaged ({reason}); restore it from a backup, or stop the worker and remove it: s1-forwarder state \
         delete --usage LANE"
    )]
    Damaged { place: String, reason: &'static str },
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// A command does not create the directory of a state.
    #[error("there is no directory {}", .0.display())]
    NoState(PathBuf),
    #[error(transparent)]
    Clock(#[from] ClockError),
    #[error("the state store has not answered within {} s", .0.as_secs())]
    NoAnswer(Duration),
    #[error("the state store has not answered until the end of the shutdown timeout")]
    NoTime,
}

impl UsageStoreError {
    /// Returns whether the stored counts cannot be read, now or later.
    const fn is_unreadable(&self) -> bool {
        matches!(self, Self::Usage(_) | Self::Damaged { .. })
    }
}

impl From<StateError> for UsageStoreError {
    fn from(error: StateError) -> Self {
        match error {
            // The state's error says what to do about a checkpoint, which would be wrong here.
            StateError::Damaged { place, reason } => Self::Damaged { place, reason },
            error => Self::State(error),
        }
    }
}

/// Writes what lanes did.
#[derive(Debug)]
pub struct UsageWriter {
    /// Names this process in the counts that it writes.
    process: u64,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    stores: Arc<Stores>,
    /// The flags of a command that uses the same state.
    state_flags: String,
    writes: AtomicU64,
    lanes: Mutex<HashMap<LaneId, Arc<tokio::sync::Mutex<Kept>>>>,
    /// Whether a lane has begun whose stored counts are not read yet.
    has_unread: AtomicBool,
    /// Permits for the last writes of lanes.
    last_writes: Semaphore,
    /// Lanes whose last write has failed, in this minute or at the worker's end.
    lost: AtomicU64,
}

/// The state of a lane between two writes.
#[derive(Debug, Default)]
struct Kept {
    /// The stored counts, compressed. They are kept only if the store would read the objects of all lanes to read them
    /// again.
    stored: Option<Vec<u8>>,
    in_doubt: Option<InDoubt>,
}

/// A write that was interrupted, or whose answer was lost. It may be stored.
#[derive(Debug)]
struct InDoubt {
    /// The write, and the one before it. If the store has any other write, another process has written since.
    write: (u64, u64),
    /// `None` if the store has refused the write.
    previous: Option<(u64, u64)>,
    at: Timestamp,
    delta: Delta,
}

impl InDoubt {
    /// Returns the counts that are still to be added to `stored`. Nothing counts twice: counts that may be in `stored`
    /// already become a gap.
    fn rest(self, stored: &mut Usage) -> Delta {
        if stored.write() == self.write {
            return Delta::default();
        }
        if self.previous.is_none_or(|previous| previous == stored.write()) {
            return self.delta;
        }
        stored.lose(&self.delta, self.at);
        Delta::default()
    }
}

impl UsageWriter {
    /// Creates the counts of a process. `process` is a number that no other process has.
    pub fn new(process: u64, telemetry: Arc<Telemetry>, options: &Options, stores: Arc<Stores>) -> Self {
        Self {
            process,
            telemetry,
            clock: options.clock,
            stores,
            state_flags: options.state_flags(),
            writes: AtomicU64::default(),
            lanes: Mutex::default(),
            has_unread: AtomicBool::default(),
            last_writes: Semaphore::new(LAST_CALLS),
            lost: AtomicU64::default(),
        }
    }

    fn lane(&self, id: &LaneId) -> Arc<tokio::sync::Mutex<Kept>> {
        self.lanes.lock().entry(id.clone()).or_default().clone()
    }

    /// Forgets the stored counts of a lane that has ended. If the lane comes back, another worker may have written
    /// meanwhile. A write that is in doubt stays.
    fn forget(&self, id: &LaneId) {
        if let Some(kept) = self.lanes.lock().get_mut(id).and_then(Arc::get_mut) {
            kept.get_mut().stored = None;
        }
        self.tidy(id);
    }

    /// Removes the lane's state if it is empty and unused.
    fn tidy(&self, id: &LaneId) {
        let mut lanes = self.lanes.lock();
        let is_unused = lanes.get_mut(id).and_then(Arc::get_mut).map(tokio::sync::Mutex::get_mut);
        if is_unused.is_some_and(|kept| kept.stored.is_none() && kept.in_doubt.is_none()) {
            lanes.remove(id);
        }
    }

    /// Notes that the worker begins to run a lane, whose pipeline is of this shard, or begins again.
    pub fn begin(&self, metrics: &LaneMetrics, shard: u32) {
        if metrics.usage.begin(self.clock.now(), shard, fastrand::f64()) {
            self.has_unread.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that the worker no longer runs the lane, and stores its counts until `deadline`, or soon after. `is_held`
    /// is true if no other worker has taken the lane over.
    pub async fn end(&self, metrics: &LaneMetrics, is_held: bool, deadline: Instant) {
        let id = &metrics.id;
        let ended = metrics.usage.end().filter(|_| is_held);
        let is_known = metrics.last_success().is_some() || metrics.usage.has_pending();
        if let Some((since, shard)) = ended.filter(|_| is_known) {
            let write = async {
                // The semaphore is never closed.
                let _one_of_few = self.last_writes.acquire().await;
                self.write(metrics, since, shard, true).await
            };
            let deadline = deadline.max(Instant::now() + LAST_TIMEOUT);
            let written = timeout_at(deadline, write).await.unwrap_or(Err(UsageStoreError::NoTime));
            match written {
                Ok(()) => self.count_write(UsageWrite::Ok),
                Err(error) => {
                    self.count_write(UsageWrite::Lost);
                    if self.lost.fetch_add(1, Ordering::Relaxed) < MAX_NAMED {
                        span_of(metrics).in_scope(|| {
                            warn!(
                                error = whole(&error, id, &self.state_flags),
                                "what the lane did in the last minutes was not stored: `report` lacks it"
                            )
                        });
                    }
                }
            }
        }
        self.forget(id);
    }

    /// Says of how many lanes the last minutes were not stored, if they were too many to be named. To be called at the
    /// end too.
    pub fn log_lost(&self) {
        let lanes = self.lost.swap(0, Ordering::Relaxed);
        if lanes > MAX_NAMED {
            warn!(lanes, "what lanes did in their last minutes was not stored: `report` lacks it");
        }
    }

    fn count_write(&self, result: UsageWrite) {
        self.telemetry.process().count_usage_write(result);
    }

    /// Counts the minutes in which lanes fail or are silent, and stores what the lanes did. Never returns.
    pub async fn keep(&self) -> Infallible {
        let minutes = async {
            let mut tick = interval_at(tokio::time::Instant::now() + MINUTE, MINUTE);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                self.count_minutes();
            }
        };
        let writes = async {
            loop {
                sleep(MINUTE).await;
                self.write_due().await;
            }
        };
        let reads = async {
            loop {
                sleep(READ_INTERVAL).await;
                if self.has_unread.swap(false, Ordering::Relaxed) && !self.read_stored().await {
                    self.has_unread.store(true, Ordering::Relaxed);
                }
            }
        };
        tokio::join!(minutes, writes, reads).0
    }

    fn count_minutes(&self) {
        self.log_lost();
        let now = self.clock.now();
        for lane in self.telemetry.running_lanes() {
            self.count_minute(&lane);
            if lane.usage.is_unread(now).is_some() {
                self.has_unread.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Counts this minute if the lane fails, or its console is silent.
    pub fn count_minute(&self, metrics: &LaneMetrics) {
        let failing_minutes = u64::from(!metrics.state_name().is_up);
        let silent_minutes = u64::from(metrics.silence().is_silent());
        if failing_minutes + silent_minutes > 0 {
            let now = self.clock.now();
            metrics.usage.count(now, &Counts { failing_minutes, silent_minutes, ..Counts::default() });
        }
    }

    async fn write_due(&self) {
        let now = self.clock.now();
        let due = self.telemetry.running_lanes().into_iter().filter_map(|lane| {
            let (since, shard) = lane.usage.due(now, lane.last_success().is_some())?;
            Some((lane, since, shard))
        });
        let mut writes = stream::iter(due)
            .map(|(lane, since, shard)| async move {
                let write = timeout(TIMEOUT, self.write(&lane, since, shard, false)).await;
                (lane, write.unwrap_or(Err(UsageStoreError::NoAnswer(TIMEOUT))))
            })
            .buffer_unordered(CALLS);
        let mut failed = 0_u64;
        // A write without an answer does not keep the next ones from being written.
        while let Some((lane, written)) = writes.next().await {
            let Err(error) = written else {
                self.count_write(UsageWrite::Ok);
                continue;
            };
            if error.is_unreadable() {
                lane.usage.set_unreadable(self.clock.now());
            }
            lane.usage.failed(self.clock.now());
            self.count_write(UsageWrite::Failed);
            failed += 1;
            if failed <= MAX_NAMED {
                span_of(&lane).in_scope(|| {
                    warn!(
                        error = whole(&error, &lane.id, &self.state_flags),
                        "what the lane did cannot be stored: it is kept in memory and tried again"
                    )
                });
            }
        }
        if let Some(lanes) = failed.checked_sub(MAX_NAMED).filter(|more| *more > 0) {
            warn!(lanes, "what more lanes did cannot be stored: it is kept in memory and tried again");
        }
    }

    /// Reads the stored counts of some lanes that have begun, for the events of today and yesterday. Returns true if
    /// the counts of all lanes are known.
    async fn read_stored(&self) -> bool {
        let now = self.clock.now();
        let lanes = self.telemetry.running_lanes().into_iter();
        let mut unread: Vec<_> = lanes.filter_map(|lane| Some((lane.usage.is_unread(now)?, lane))).collect();
        // A topic is read once for all that wait for it.
        let at_once = if self.stores.main().reads_single_objects() { READ_AT_ONCE } else { usize::MAX };
        let mut is_complete = unread.len() <= at_once;
        unread.truncate(at_once);
        let calls = if self.stores.main().reads_single_objects() { CALLS } else { unread.len().max(1) };
        let mut reads = stream::iter(unread)
            .map(|((since, shard), lane)| async move {
                let read = timeout(TIMEOUT, self.read(&lane, since, shard)).await;
                (lane, read.unwrap_or(Err(UsageStoreError::NoAnswer(TIMEOUT))))
            })
            .buffer_unordered(calls);
        let mut unreadable = 0_u64;
        while let Some((lane, read)) = reads.next().await {
            let Err(error) = read else { continue };
            let span = span_of(&lane);
            if !error.is_unreadable() {
                is_complete = false;
                span.in_scope(|| debug!(%error, "what the lane did before cannot be read yet"));
                continue;
            }
            lane.usage.set_unreadable(self.clock.now());
            unreadable += 1;
            if unreadable <= MAX_NAMED {
                let error = whole(&error, &lane.id, &self.state_flags);
                span.in_scope(|| warn!(error, "what the lane did before cannot be read: `report` lacks it"));
            }
        }
        if let Some(lanes) = unreadable.checked_sub(MAX_NAMED).filter(|more| *more > 0) {
            warn!(lanes, "what more lanes did before cannot be read: `report` lacks it");
        }
        is_complete
    }

    async fn read(&self, metrics: &LaneMetrics, since: Timestamp, shard: u32) -> Result<(), UsageStoreError> {
        let store = self.stores.of_shard(shard);
        let key = key_of(metrics);
        let entry = self.lane(&key.lane);
        // A write that is not over has taken counts which are not read here.
        let mut kept = entry.lock().await;
        let is_single = store.reads_single_objects();
        let stored = if is_single { store.load(&key).await } else { store.claim(&key).await };
        let read = stored.map_err(UsageStoreError::from).and_then(|stored| {
            let stored = stored.unwrap_or_default();
            let mut usage = decode_of(metrics, &stored, since)?;
            // The next write stores the gap, which may be hours later.
            usage.begin(self.process, since);
            metrics.usage.set_stored(&usage, self.clock.now());
            kept.stored = (!is_single).then_some(stored);
            Ok(())
        });
        drop(kept);
        drop(entry);
        self.tidy(&key.lane);
        read
    }

    /// Adds the lane's counts since the last write to the stored ones. The call can be interrupted: the next write then
    /// finds out whether the counts are stored.
    async fn write(
        &self,
        metrics: &LaneMetrics,
        since: Timestamp,
        shard: u32,
        is_over: bool,
    ) -> Result<(), UsageStoreError> {
        let store = self.stores.of_shard(shard);
        let key = key_of(metrics);
        let entry = self.lane(&key.lane);
        let mut kept = entry.lock().await;
        let mut has_conflicted = false;
        let written = loop {
            // The lane has ended while this write waited: the last write of the lane says that it is over.
            if !is_over && !metrics.usage.is_running() {
                break Ok(());
            }
            let stored = match kept.stored.take() {
                Some(stored) => stored,
                None => store.claim(&key).await?.unwrap_or_default(),
            };
            let mut usage = decode_of(metrics, &stored, since)?;
            let now = self.clock.now();
            let own_clock = metrics.clocks.own_clock(now);
            if let Err(error) = usage.accept(now, own_clock) {
                kept.stored = (!store.reads_single_objects()).then_some(stored);
                break Err(error.into());
            }
            if let OwnClock::DiffersBy(difference) = own_clock
                && usage.is_ahead(now, difference)
            {
                usage.set_back(now);
            }
            let previous = Some(usage.write());
            let mut delta = kept.in_doubt.take().map(|in_doubt| in_doubt.rest(&mut usage)).unwrap_or_default();
            let write = (self.process, self.writes.fetch_add(1, Ordering::Relaxed));
            delta.merge(&metrics.usage.take());
            usage.add(&delta, CountedTime { from: since, until: now, is_over, write });
            kept.in_doubt = Some(InDoubt { write, previous, at: now, delta });
            let encoded = usage.encode();
            match store.commit(&key, encoded.clone().into()).await {
                Ok(_) => {
                    kept.in_doubt = None;
                    let is_kept = !store.reads_single_objects() && metrics.usage.is_running();
                    kept.stored = is_kept.then_some(encoded);
                    metrics.usage.written(now);
                    metrics.usage.set_stored(&usage, now);
                    break Ok(());
                }
                // Another process has written: its counts are read again.
                Err(error) if error.is_superseded() => {
                    if let Some(in_doubt) = &mut kept.in_doubt {
                        in_doubt.previous = None;
                    }
                    if std::mem::replace(&mut has_conflicted, true) {
                        break Err(error.into());
                    }
                }
                Err(error) => break Err(error.into()),
            }
        };
        drop(kept);
        drop(entry);
        self.tidy(&key.lane);
        written
    }
}

/// Returns the text of an error, with the whole command that corrects it.
fn whole(error: &UsageStoreError, lane: &LaneId, state_flags: &str) -> String {
    with_lane(error.to_string(), lane, state_flags)
}

/// Decodes the stored counts. A new lane has none.
fn decode(stored: &[u8]) -> Result<Usage, UsageError> {
    if stored.is_empty() { Ok(Usage::default()) } else { Usage::decode(stored) }
}

/// Decodes the stored counts of a lane that this process counts from `since` on. If the lane had delivered before and
/// nothing is stored, an earlier process was killed before it stored its counts.
fn decode_of(metrics: &LaneMetrics, stored: &[u8], since: Timestamp) -> Result<Usage, UsageError> {
    if stored.is_empty() && metrics.had_settled() { Ok(Usage::removed(since)) } else { decode(stored) }
}

fn key_of(metrics: &LaneMetrics) -> CheckpointKey {
    CheckpointKey { lane: metrics.id.clone(), part: StoredPart::Usage }
}

fn span_of(metrics: &LaneMetrics) -> tracing::Span {
    lane_span(&metrics.id)
}

#[cfg(test)]
mod tests;
