use std::time::Duration;

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

/// A pause of which the second half is random, so that lanes spread out.
pub fn spread(pause: Duration, random: &mut fastrand::Rng) -> Duration {
    pause.mul_f64(0.5 + random.f64() / 2.0)
}
