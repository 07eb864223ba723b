//! A test double: a sink that keeps accepted events in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use s1_forwarder_failure::FailureKind;
use s1_forwarder_record::{Clock, Identity, Timestamp};
use tokio::time::Instant;

use super::{Attempt, AttemptStatus, Batch, Limits, Outcome, ProbeResult, Sink};

/// Decides about the n-th attempt (from 0) on a batch; `None` accepts all its events.
type Judge = Box<dyn FnMut(usize, &Batch) -> Option<Outcome> + Send>;

/// An event that the sink accepted: identity, record id, and when.
pub type Accepted = (Identity, String, Timestamp);

/// How long an attempt waits for a silent sink: as long as an attempt of a real sink by default.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Accepts events as its judge says.
pub struct MemorySink {
    pub limits: Limits,
    /// How long each attempt takes.
    pub delay: Duration,
    /// Whether the sink does not answer attempts. They fail after half a minute.
    pub is_silent: AtomicBool,
    /// Whether accepted events are kept, and not only counted.
    pub keeps_events: bool,
    pub attempts: AtomicUsize,
    /// Bytes of the bodies of accepted batches.
    pub bytes: AtomicU64,
    /// For each attempt, how many were in flight when it began, itself included.
    pub parallel: Mutex<Vec<usize>>,
    accepted: Mutex<Vec<Accepted>>,
    total: AtomicUsize,
    in_flight: AtomicUsize,
    clock: Clock,
    judge: Mutex<Judge>,
}

impl fmt::Debug for MemorySink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MemorySink")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl MemorySink {
    pub fn new(clock: Clock, judge: impl FnMut(usize, &Batch) -> Option<Outcome> + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            limits: Limits { events: 100, bytes: 1 << 20, event_bytes: 1 << 20, ..Limits::NONE },
            delay: Duration::from_millis(20),
            is_silent: AtomicBool::new(false),
            keeps_events: true,
            attempts: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            parallel: Mutex::default(),
            accepted: Mutex::default(),
            total: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            clock,
            judge: Mutex::new(Box::new(judge)),
        })
    }

    /// Creates a sink that accepts every event.
    pub fn accepting(clock: Clock) -> Arc<Self> {
        Self::new(clock, |_, _| None)
    }

    /// Accepts every event at once and keeps only counts, for measurements.
    pub fn counting(limits: Limits, delay: Duration) -> Arc<Self> {
        let mut sink = Self::accepting(Clock::System);
        if let Some(sink) = Arc::get_mut(&mut sink) {
            sink.limits = limits;
            sink.delay = delay;
            sink.keeps_events = false;
        }
        sink
    }

    /// Replaces the judge, which decides the outcome of each attempt.
    pub fn judge_by(&self, judge: impl FnMut(usize, &Batch) -> Option<Outcome> + Send + 'static) {
        *lock(&self.judge) = Box::new(judge);
    }

    /// Returns the number of attempts in flight now.
    pub fn parallel_now(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns the accepted events, in order.
    pub fn accepted(&self) -> MutexGuard<'_, Vec<Accepted>> {
        lock(&self.accepted)
    }

    /// Returns how often each identity was accepted.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (identity, ..) in &*self.accepted() {
            *counts.entry(identity.to_string()).or_default() += 1;
        }
        counts
    }

    /// Returns how many events were accepted, repeated ones included.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    fn accept(&self, batch: &Batch, outcome: &Option<Outcome>) {
        let refused: Vec<usize> = match outcome {
            None | Some(Outcome::Delivered) => Vec::new(),
            Some(Outcome::Partial { refused, retry, .. }) => {
                refused.iter().map(|refusal| refusal.index).chain(retry.iter().copied()).collect()
            }
            Some(_) => return,
        };
        self.total.fetch_add(batch.len().saturating_sub(refused.len()), Ordering::Relaxed);
        self.bytes.fetch_add(batch.body_bytes() as u64, Ordering::Relaxed);
        if self.keeps_events {
            let events = batch.events().enumerate().filter(|(index, _)| !refused.contains(index));
            let accepted = events.map(|(_, event)| (event.identity, event.record_id.to_owned(), self.clock.now()));
            self.accepted().extend(accepted);
        }
    }
}

impl Sink for MemorySink {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let parallel = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            lock(&self.parallel).push(parallel);
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            let started_at = Instant::now();
            while self.is_silent.load(Ordering::Relaxed) && started_at.elapsed() < TIMEOUT {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
            let outcome = if self.is_silent.load(Ordering::Relaxed) {
                Some(Outcome::retry_later("silent"))
            } else {
                (lock(&self.judge))(attempt, batch)
            };
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            self.accept(batch, &outcome);
            let bytes = batch.body_bytes() as u64;
            let outcome = outcome.unwrap_or(Outcome::Delivered);
            // A judge gives the status as the reason.
            let status = match &outcome {
                Outcome::Failed(failure) if failure.kind == FailureKind::Transient => &failure.reason,
                _ => "ok",
            };
            let status = AttemptStatus::of_label(status);
            Attempt::new(outcome, bytes, status)
        })
    }

    fn probe(&self) -> BoxFuture<'_, ProbeResult> {
        Box::pin(async { ProbeResult::Verified("memory".to_owned()) })
    }
}
