//! Counts the progress of a backfill, which the command displays.

use std::sync::Arc;

use parking_lot::Mutex;
use s1_forwarder_engine::checkpoint::StoredPart;
use s1_forwarder_telemetry::{Counter, LaneMetrics};

use crate::usage::CommandUsage;

/// Counters of a running backfill, for the display of its progress.
#[derive(Debug, Default)]
pub struct BackfillProgress {
    total: Counter,
    settled_before: Counter,
    slices: Mutex<Vec<Arc<LaneMetrics>>>,
}

/// The values of [`BackfillProgress`] at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The console's count of the window; 0 before the count is known.
    pub total: u64,
    /// Records settled by this run and earlier runs.
    pub settled: u64,
    /// Records settled by earlier runs.
    pub settled_before: u64,
    /// Dead letters of this run.
    pub dead_letters: u64,
    /// A current error of a slice.
    pub error: Option<String>,
}

impl BackfillProgress {
    pub(super) fn add_total(&self, total: u64) {
        self.total.add(total);
    }

    pub(super) fn add_settled_before(&self, settled: u64) {
        self.settled_before.add(settled);
    }

    pub(super) fn add_slice(&self, slice: Arc<LaneMetrics>) {
        self.slices.lock().push(slice);
    }

    /// Takes the counts of the slices since the last call.
    pub(super) fn take_usage(&self, usage: &CommandUsage) {
        self.slices.lock().iter().for_each(|slice| usage.take(slice, StoredPart::BackfillUsage));
    }

    pub fn progress(&self) -> Progress {
        let slices = self.slices.lock();
        let sum = |counter: fn(&LaneMetrics) -> &Counter| slices.iter().map(|slice| counter(slice).get()).sum::<u64>();
        let settled_before = self.settled_before.get();
        let dead_letters = sum(|slice| &slice.send.dead_letters);
        Progress {
            total: self.total.get(),
            settled: settled_before + sum(|slice| &slice.send.delivered) + dead_letters,
            settled_before,
            dead_letters,
            error: slices.iter().find_map(|slice| slice.state().error().map(str::to_owned)),
        }
    }
}
