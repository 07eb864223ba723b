use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

/// The attempts that a lane's sink has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attempts {
    count: usize,
    /// When the first of them began, or when the sink last answered one.
    pub silent_since: Option<Instant>,
}

impl Attempts {
    fn begin(&mut self) {
        self.count += 1;
        self.silent_since.get_or_insert_with(Instant::now);
    }

    fn end(&mut self) {
        self.count = self.count.saturating_sub(1);
        self.silent_since = (self.count > 0).then(Instant::now);
    }
}

/// An attempt that the sink has not answered.
#[derive(Debug)]
pub(super) struct AttemptGuard<'a>(&'a Health);

impl Drop for AttemptGuard<'_> {
    fn drop(&mut self) {
        self.0.attempts.send_modify(Attempts::end);
    }
}

/// Tracks whether a lane's sink accepts anything.
#[derive(Debug)]
pub struct Health {
    refusing_since: watch::Sender<Option<Instant>>,
    /// Attempts that the sink has not answered.
    attempts: watch::Sender<Attempts>,
    refused_in_a_row: AtomicUsize,
    /// Refusals of any number become dead letters.
    accepts_refusals: bool,
}

impl Default for Health {
    fn default() -> Self {
        let (refusing_since, attempts) = (watch::Sender::new(None), watch::Sender::default());
        Self { refusing_since, attempts, refused_in_a_row: AtomicUsize::new(0), accepts_refusals: false }
    }
}

impl Health {
    /// With `accepts_refusals`, any number of refusals in a row become dead letters, and none ends the lane.
    pub fn new(accepts_refusals: bool) -> Self {
        Self { accepts_refusals, ..Self::default() }
    }

    /// Watches the time since which the sink has accepted nothing.
    pub fn watch(&self) -> watch::Receiver<Option<Instant>> {
        self.refusing_since.subscribe()
    }

    /// Watches since when the sink has answered none of the attempts that it has.
    pub fn watch_silence(&self) -> watch::Receiver<Attempts> {
        self.attempts.subscribe()
    }

    /// Restarts the measurement, for a new session.
    pub fn reset(&self) {
        self.answered();
    }

    /// The sink refuses for now, as the answer shows to an attempt that began at `since`.
    pub(super) fn refused(&self, begun: Instant) {
        self.refusing_since.send_if_modified(|since| since.is_none().then(|| *since = Some(begun)).is_some());
    }

    /// An attempt begins. It ends when the guard is dropped.
    pub(super) fn attempt(&self) -> AttemptGuard<'_> {
        self.attempts.send_modify(Attempts::begin);
        AttemptGuard(self)
    }

    pub(super) fn answered(&self) {
        self.refusing_since.send_if_modified(|since| since.take().is_some());
    }

    /// An event was accepted.
    pub(super) fn accepted(&self) {
        self.refused_in_a_row.store(0, Ordering::Relaxed);
    }

    pub(super) fn accepts_refusals(&self) -> bool {
        self.accepts_refusals
    }

    /// Counts events that were refused after the last accepted one, and returns their number.
    pub(super) fn count_refused(&self, refused: usize) -> usize {
        self.refused_in_a_row.fetch_add(refused, Ordering::Relaxed) + refused
    }

    /// Removes refusals from the count, since the events will be sent again.
    pub(super) fn uncount(&self, refused: usize) {
        let less = |before: usize| Some(before.saturating_sub(refused));
        // `less` never returns `None`, so this cannot fail.
        let _ = self.refused_in_a_row.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}
