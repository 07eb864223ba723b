use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::telemetry::LaneMetrics;

/// How far a backfill has come, for whoever watches it.
#[derive(Debug, Default)]
pub struct Books {
    total: AtomicU64,
    before: AtomicU64,
    slices: Mutex<Vec<Arc<LaneMetrics>>>,
}

/// The books at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Records that the console counted in the window; 0 before it did.
    pub total: u64,
    /// Records settled by this run and those before it.
    pub settled: u64,
    /// Of them, those that earlier runs settled.
    pub before: u64,
    /// Events that the sink refused for good in this run.
    pub dead_letters: u64,
    /// What fails at the moment.
    pub trouble: Option<String>,
}

impl Books {
    pub(super) fn plan(&self, total: u64) {
        self.total.fetch_add(total, Ordering::Relaxed);
    }

    pub(super) fn resume(&self, settled: u64) {
        self.before.fetch_add(settled, Ordering::Relaxed);
    }

    pub(super) fn add(&self, slice: Arc<LaneMetrics>) {
        self.slices.lock().unwrap_or_else(PoisonError::into_inner).push(slice);
    }

    /// How far it has come now.
    pub fn progress(&self) -> Progress {
        let slices = self.slices.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |counter: fn(&LaneMetrics) -> &AtomicU64| {
            slices.iter().map(|slice| counter(slice).load(Ordering::Relaxed)).sum::<u64>()
        };
        let (before, dead_letters) = (self.before.load(Ordering::Relaxed), sum(|slice| &slice.dead_letters));
        Progress {
            total: self.total.load(Ordering::Relaxed),
            settled: before + sum(|slice| &slice.delivered) + dead_letters,
            before,
            dead_letters,
            trouble: slices.iter().find_map(|slice| slice.state().error().map(str::to_owned)),
        }
    }
}
