//! Counts failures in a row. By one count the waits of a lane grow; by the other a lane ends with `once`.

use std::time::Duration;

use s1_forwarder_failure::Failure;

/// Refusals in a row by its console, its sink or a store after which a lane ends, with `once`.
const MAX_REFUSALS_ONCE: u32 = 3;

/// How often in a row something failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Backoff(u32);

impl Backoff {
    /// Doubles from the first to the last of `window`; see [`spread`].
    pub fn next(&mut self, (first, last): (Duration, Duration), random: &mut fastrand::Rng) -> Duration {
        let pause = first.saturating_mul(1 << self.0.min(16)).min(last);
        self.0 += 1;
        spread(pause, random)
    }
}

/// How many failures in a row were refusals, the last one included.
#[derive(Debug, Default, Clone, Copy)]
pub struct ConsecutiveRefusals(u32);

impl ConsecutiveRefusals {
    /// Something failed.
    pub fn count(&mut self, failure: &Failure) {
        self.0 = if failure.is_refusal() { self.0 + 1 } else { 0 };
    }

    /// Whether they end a lane with `once`, after this failure too.
    pub fn end_a_run_with(self, failure: &Failure) -> bool {
        failure.is_refusal() && self.0 + 1 >= MAX_REFUSALS_ONCE
    }
}

/// A pause of which the second half is random, so that lanes spread out.
pub fn spread(pause: Duration, random: &mut fastrand::Rng) -> Duration {
    pause.mul_f64(0.5 + random.f64() / 2.0)
}
