use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use compact_str::CompactString;

use super::exposition::label;
use crate::record::{Stream, Timestamp};

/// Why an event was dropped (label `reason` of `events_dropped_total`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The stream's own filter (`exclude_types`).
    Filtered,
    /// Read again in the overlap; delivered before.
    Duplicate,
    /// Only volatile fields of an agent changed.
    Unchanged,
    /// `abort` in the pipeline's remap program.
    Remap,
    /// Dropped unsent, to be pulled again.
    GivenBack,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Filtered, Self::Duplicate, Self::Unchanged, Self::Remap, Self::GivenBack];

    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Filtered => "filtered",
            Self::Duplicate => "duplicate",
            Self::Unchanged => "unchanged",
            Self::Remap => "remap",
            Self::GivenBack => "given_back",
        }
    }
}

/// Requests by status; few different ones, so a short list behind a lock that is held for nanoseconds.
#[derive(Debug, Default)]
pub struct StatusCounts(Mutex<Vec<(CompactString, u64)>>);

impl StatusCounts {
    /// Counts one request.
    pub fn count(&self, status: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.iter_mut().find(|(known, _)| known == status) {
            Some((_, count)) => *count += 1,
            None => {
                counts.reserve_exact(1);
                counts.push((status.into(), 1));
            }
        }
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(status, count)| (status.to_string(), *count)).collect()
    }

    /// Shows what was counted so far.
    pub fn for_each(&self, mut show: impl FnMut(&str, u64)) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().for_each(|(status, count)| show(status, *count));
    }
}

/// What a lane is doing, for the status page and `lane_up`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneState {
    /// Waiting for its first poll.
    Starting,
    /// Pulling or delivering without error.
    Running,
    /// The console fails; tried again soon.
    ConsoleFailing(String),
    /// The console refuses (401, 403, 404); probed slowly.
    ConsoleRefused(String),
    /// The sink fails for now; tried again soon.
    SinkFailing(String),
    /// The sink refuses for good (credentials, configuration); probed slowly.
    SinkRefused(String),
    /// The lane cannot go on by itself (state or dead letters cannot be written).
    Stopped(String),
    /// Ended: drained at shutdown, removed, or complete in `run --once`.
    Done,
}

impl LaneState {
    /// True while the lane does what it is there for.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Done)
    }

    /// The word for it on the status page and in `/api/v1/lanes`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::ConsoleFailing(_) => "console_failing",
            Self::ConsoleRefused(_) => "console_refused",
            Self::SinkFailing(_) => "sink_failing",
            Self::SinkRefused(_) => "sink_refused",
            Self::Stopped(_) => "stopped",
            Self::Done => "done",
        }
    }

    /// What is wrong, while something is.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::ConsoleFailing(error)
            | Self::ConsoleRefused(error)
            | Self::SinkFailing(error)
            | Self::SinkRefused(error)
            | Self::Stopped(error) => Some(error),
            Self::Starting | Self::Running | Self::Done => None,
        }
    }
}

/// What came of comparing a lane's ledger with its console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Records created in the last day that was judged which the console has and the lane does not account for.
    pub records: u64,
    /// End of that day.
    pub until: Timestamp,
}

/// The counters and the state of one lane. All methods may be called from any task.
#[derive(Debug)]
pub struct LaneMetrics {
    /// Label `pipeline`.
    pub pipeline: String,
    /// Label `stream`.
    pub stream: Stream,
    /// Label `sink`.
    pub sink: String,
    /// The three as a scrape has them: most of its text.
    labels: Box<str>,
    /// `records_pulled_total`.
    pub pulled: AtomicU64,
    /// `events_delivered_total`.
    pub delivered: AtomicU64,
    /// `dead_letters_total`.
    pub dead_letters: AtomicU64,
    /// `map_errors_total`.
    pub map_errors: AtomicU64,
    /// `unknown_activities_total`: activities of a type that the mapping's table does not know.
    pub unknown_activities: AtomicU64,
    /// `delivered_bytes_total`.
    pub delivered_bytes: AtomicU64,
    /// `console_requests_total` by status.
    pub console_requests: Arc<StatusCounts>,
    /// `sink_requests_total` by status.
    pub sink_requests: StatusCounts,
    dropped: [AtomicU64; 5],
    complete_until: AtomicI64,
    snapshot: Mutex<Option<(Timestamp, u64)>>,
    last_success: AtomicI64,
    missing: Mutex<Option<Missing>>,
    state: Mutex<LaneState>,
    last_error: Mutex<Option<(Timestamp, String)>>,
}

impl LaneMetrics {
    /// All zero, state `Starting`.
    pub fn new(pipeline: &str, stream: Stream, sink: &str) -> Self {
        let mut labels = String::new();
        for (name, text) in [("pipeline", pipeline), ("stream", stream.name()), ("sink", sink)] {
            label(&mut labels, name, text);
        }
        Self {
            pipeline: pipeline.to_owned(),
            stream,
            sink: sink.to_owned(),
            labels: labels.into(),
            pulled: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            map_errors: AtomicU64::new(0),
            unknown_activities: AtomicU64::new(0),
            delivered_bytes: AtomicU64::new(0),
            console_requests: Arc::default(),
            sink_requests: StatusCounts::default(),
            dropped: Default::default(),
            complete_until: AtomicI64::new(i64::MIN),
            snapshot: Mutex::new(None),
            last_success: AtomicI64::new(i64::MIN),
            missing: Mutex::new(None),
            state: Mutex::new(LaneState::Starting),
            last_error: Mutex::new(None),
        }
    }

    /// Its three labels as a scrape has them, each with a comma behind it.
    pub(super) fn labels(&self) -> &str {
        &self.labels
    }

    /// For questions about what a lane pulled: they count as the lane's requests, and what they bring as nothing of its.
    pub fn beside(&self) -> Self {
        let console_requests = self.console_requests.clone();
        Self { console_requests, ..Self::new(&self.pipeline, self.stream, &self.sink) }
    }

    /// Adds to `events_dropped_total`.
    pub fn drop_events(&self, reason: DropReason, count: u64) {
        self.dropped[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// `events_dropped_total` over all reasons.
    pub fn dropped_in_all(&self) -> u64 {
        DropReason::ALL.into_iter().map(|reason| self.dropped(reason)).sum()
    }

    /// `events_dropped_total` of one reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    /// Records pulled and not yet accounted for in another way. When the lane holds none any more, they were dropped unsent
    /// to be pulled again.
    pub fn give_back_open(&self) {
        let settled = [&self.delivered, &self.dead_letters].map(|counter| counter.load(Ordering::Relaxed));
        let dropped = self.dropped_in_all();
        let open = self.pulled.load(Ordering::Relaxed).saturating_sub(settled.iter().sum::<u64>() + dropped);
        self.drop_events(DropReason::GivenBack, open);
    }

    /// The lane is complete up to `time` (start of the last poll that reached its end, all delivered; else the watermark).
    pub fn set_complete_until(&self, time: Timestamp) {
        self.complete_until.store(time.micros(), Ordering::Relaxed);
    }

    /// See [`Self::set_complete_until`]; none before the first checkpoint is known.
    pub fn complete_until(&self) -> Option<Timestamp> {
        some_time(self.complete_until.load(Ordering::Relaxed))
    }

    /// The snapshot named by `time` is complete: so many records are settled.
    pub fn set_snapshot(&self, time: Timestamp, records: u64) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some((time, records));
    }

    /// See [`Self::set_snapshot`]; the last one.
    pub fn snapshot(&self) -> Option<(Timestamp, u64)> {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ledger was compared with the console. Gives what was said before.
    pub fn set_missing(&self, missing: Missing) -> Option<Missing> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).replace(missing)
    }

    /// See [`Self::set_missing`]; none before the first comparison.
    pub fn missing(&self) -> Option<Missing> {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `lag_seconds` at `now`; none before the first checkpoint is known. It is worked out when it is asked for: a value
    /// that was stored would stand still while a lane does.
    pub fn lag(&self, now: Timestamp) -> Option<Duration> {
        self.complete_until().map(|time| now.since(time))
    }

    /// A poll or a delivery ended without error at `now`.
    pub fn succeeded(&self, now: Timestamp) {
        self.last_success.store(now.micros(), Ordering::Relaxed);
    }

    /// See [`Self::succeeded`].
    pub fn last_success(&self) -> Option<Timestamp> {
        some_time(self.last_success.load(Ordering::Relaxed))
    }

    /// Changes the state; true when it is another kind of state than before (worth a log line).
    pub fn set_state(&self, now: Timestamp, state: LaneState) -> bool {
        let mut current = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.error().filter(|_| *current != state) {
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, error.to_owned()));
        }
        let changed = std::mem::discriminant(&*current) != std::mem::discriminant(&state);
        *current = state;
        changed
    }

    /// What the lane is doing.
    pub fn state(&self) -> LaneState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last error and when it was seen.
    pub fn last_error(&self) -> Option<(Timestamp, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn some_time(micros: i64) -> Option<Timestamp> {
    (micros != i64::MIN).then(|| Timestamp::from_micros(micros))
}
