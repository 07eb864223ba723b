//! The waits between attempts: exponential, with full jitter. Lanes, sinks and the worker use them.

use std::time::Duration;

use backoff::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::period::Period;

/// Exponential backoff with full jitter: wait n is evenly distributed between zero and min(max, initial × 2ⁿ).
/// It never ends: the caller decides when to stop.
///
/// The jitter of the `backon` crate only adds to a delay, so a thousand lanes of one sink would all retry after the
/// first delay. Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[derive(Debug)]
pub struct FullJitter {
    bounds: ExponentialBackoff,
    max: Duration,
    random: fastrand::Rng,
}

impl FullJitter {
    /// Returns a backoff. `initial` limits the first wait, `max` every wait.
    pub fn new(initial: Duration, max: Duration, random: fastrand::Rng) -> Self {
        let bounds = ExponentialBuilder::new().with_min_delay(initial.min(max)).with_max_delay(max);
        Self { bounds: bounds.with_factor(2.0).without_max_times().build(), max, random }
    }

    pub fn wait(&mut self) -> Duration {
        self.bounds.next().unwrap_or(self.max).mul_f64(self.random.f64())
    }

    /// Returns the next wait, or a longer one if the other side asks for that.
    pub fn wait_at_least(&mut self, after: Option<Duration>) -> Duration {
        after.unwrap_or_default().max(self.wait())
    }
}

/// `retry:`: limits of the exponential backoff with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySettings {
    /// Maximum of the first wait.
    pub initial: Period,
    /// Maximum of every wait.
    pub max: Period,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { initial: Period(Duration::from_millis(500)), max: Period(Duration::from_mins(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_spread_over_the_whole_window_and_stay_within_it() {
        let initial = Duration::from_millis(500);
        let max = Duration::from_secs(4);
        let mut longest = [Duration::ZERO; 6];
        let mut shortest = [Duration::MAX; 6];
        for seed in 0..500 {
            let mut waits = FullJitter::new(initial, max, fastrand::Rng::with_seed(seed));
            for n in 0..6 {
                let wait = waits.wait();
                longest[n] = longest[n].max(wait);
                shortest[n] = shortest[n].min(wait);
            }
        }
        for (n, bound) in [500, 1_000, 2_000, 4_000, 4_000, 4_000].map(Duration::from_millis).into_iter().enumerate() {
            assert!(longest[n] <= bound && longest[n] > bound.mul_f64(0.95), "{n}: {:?}", longest[n]);
            assert!(shortest[n] < bound.mul_f64(0.05), "{n}: {:?}", shortest[n]);
        }
    }
}
