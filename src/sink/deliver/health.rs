use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

/// Tracks whether a lane's sink accepts anything.
#[derive(Debug)]
pub struct Health {
    refusing_since: watch::Sender<Option<Instant>>,
    refused_in_a_row: AtomicUsize,
    /// Refusals of any number become dead letters.
    accepts_refusals: bool,
}

impl Default for Health {
    fn default() -> Self {
        let refusing_since = watch::Sender::new(None);
        Self { refusing_since, refused_in_a_row: AtomicUsize::new(0), accepts_refusals: false }
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

    /// Restarts the measurement, for a new session.
    pub fn reset(&self) {
        self.answered();
    }

    pub(super) fn refused(&self) {
        self.refusing_since.send_if_modified(|since| since.is_none().then(|| *since = Some(Instant::now())).is_some());
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
