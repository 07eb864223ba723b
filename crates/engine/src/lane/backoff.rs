//! Counts failures in a row. One count makes the waits of a lane grow; the other ends a lane with `once`.

use std::time::Duration;

use s1_forwarder_failure::Failure;

/// Number of refusals in a row, by console, sink or store, after which a lane with `once` ends.
const MAX_REFUSALS_ONCE: u32 = 3;

/// Number of failures in a row.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Backoff(u32);

impl Backoff {
    /// Returns the next pause. Pauses double from `first` up to `last`, and [`spread`] makes a part of each random.
    pub fn next(&mut self, (first, last): (Duration, Duration), random: &mut fastrand::Rng) -> Duration {
        let pause = first.saturating_mul(1 << self.0.min(16)).min(last);
        self.0 += 1;
        spread(pause, random)
    }
}

/// Number of refusals in a row, up to the last failure.
#[derive(Debug, Default, Clone, Copy)]
pub struct ConsecutiveRefusals(u32);

impl ConsecutiveRefusals {
    /// Counts a failure: a refusal adds one, and any other failure resets the count.
    pub fn count(&mut self, failure: &Failure) {
        self.0 = if failure.is_refusal() { self.0 + 1 } else { 0 };
    }

    /// Returns whether these refusals, followed by `failure`, end a lane with `once`.
    pub fn end_a_run_with(self, failure: &Failure) -> bool {
        failure.is_refusal() && self.0 + 1 >= MAX_REFUSALS_ONCE
    }
}

/// Returns a pause of which the second half is random, so that lanes spread out.
pub fn spread(pause: Duration, random: &mut fastrand::Rng) -> Duration {
    pause.mul_f64(0.5 + random.f64() / 2.0)
}
