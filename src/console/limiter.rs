//! The request rate to one console with one token, shared by all who use both.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, sleep};

use super::Settings;

/// Requests a second where the pipeline file gives none.
const DEFAULT_REQUESTS_PER_SECOND: f64 = 5.0;

/// Every limiter of the process.
#[derive(Debug, Default)]
pub struct Limiters(Mutex<HashMap<LimiterKey, Weak<Shared>>>);

/// Who shares a limiter: console host, and where the token comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LimiterKey {
    /// The console's host.
    pub host: String,
    /// A reference to the token that does not show it.
    pub token: String,
}

/// One user's share of a limiter; the smallest rate that any living user gave holds.
#[derive(Debug)]
pub struct Limiter {
    shared: Arc<Shared>,
    rate: f64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<Rates>,
    /// Held while waiting, so that requests leave in the order in which they were asked for.
    turn: tokio::sync::Mutex<()>,
}

type Governor = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<TokioInstant>>;

#[derive(Debug)]
struct Rates {
    given: Vec<f64>,
    governor: Arc<Governor>,
}

impl Limiters {
    /// The limiter for the console and the token of `settings`.
    pub fn join_as(&self, settings: &Settings) -> Limiter {
        let key = LimiterKey { host: settings.url.host().to_owned(), token: settings.token.first().reference() };
        self.join(key, settings.requests_per_second.unwrap_or(DEFAULT_REQUESTS_PER_SECOND))
    }

    /// The limiter for `key`, which from now on allows at most `rate` requests a second.
    pub fn join(&self, key: LimiterKey, rate: f64) -> Limiter {
        let mut limiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = limiters.get(&key).and_then(Weak::upgrade) {
            shared.change(|given| given.push(rate));
            return Limiter { shared, rate };
        }
        // Before the map grows, and not at each start of ten thousand pipelines.
        if limiters.len() == limiters.capacity() {
            limiters.retain(|_, shared| shared.strong_count() > 0);
        }
        let state = Mutex::new(Rates { given: vec![rate], governor: governor(rate) });
        let shared = Arc::new(Shared { state, turn: tokio::sync::Mutex::default() });
        limiters.insert(key, Arc::downgrade(&shared));
        Limiter { shared, rate }
    }
}

impl Limiter {
    /// Waits for this request's turn.
    pub async fn ready(&self) {
        let _turn = self.shared.turn.lock().await;
        loop {
            let governor = self.shared.lock().governor.clone();
            match governor.check() {
                Ok(()) => return,
                Err(not_until) => sleep(not_until.wait_time_from(TokioClock.now())).await,
            }
        }
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        let rate = self.rate;
        self.shared.change(|given| {
            if let Some(place) = given.iter().position(|other| *other == rate) {
                given.swap_remove(place);
            }
        });
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Rates> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<f64>)) {
        let mut rates = self.lock();
        let smallest = |given: &[f64]| given.iter().copied().fold(f64::INFINITY, f64::min);
        let before = smallest(&rates.given);
        change(&mut rates.given);
        let after = smallest(&rates.given);
        if after != before && after.is_finite() {
            rates.governor = governor(after);
        }
    }
}

/// One request at a time, evenly spaced: a burst allowance would double the rate in the first second.
fn governor(rate: f64) -> Arc<Governor> {
    let period = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::from_secs(1)).max(Duration::from_nanos(1));
    let one = Quota::per_second(NonZeroU32::MIN);
    let quota = Quota::with_period(period).unwrap_or(one).allow_burst(NonZeroU32::MIN);
    Arc::new(RateLimiter::direct_with_clock(quota, TokioClock))
}

/// Tokio's clock, which tests and the simulation can pause.
#[derive(Debug, Clone, Default)]
struct TokioClock;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TokioInstant(Instant);

impl Clock for TokioClock {
    type Instant = TokioInstant;

    fn now(&self) -> TokioInstant {
        TokioInstant(Instant::now())
    }
}

impl Reference for TokioInstant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.into()).unwrap_or(self.0))
    }
}

impl std::ops::Add<Nanos> for TokioInstant {
    type Output = Self;

    fn add(self, duration: Nanos) -> Self {
        Self(self.0 + Duration::from(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(token: &str) -> LimiterKey {
        LimiterKey { host: "host".to_owned(), token: token.to_owned() }
    }

    async fn time_for(limiter: &Limiter, requests: u32) -> Duration {
        let begun = Instant::now();
        for _ in 0..requests {
            limiter.ready().await;
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_spaced_evenly() {
        let limiter = Limiters::default().join(key("a"), 5.0);
        let taken = time_for(&limiter, 11).await;
        assert!((Duration::from_millis(1_990)..Duration::from_millis(2_050)).contains(&taken), "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_smallest_rate_of_those_who_share_holds() {
        let limiters = Limiters::default();
        let (fast, other) = (limiters.join(key("a"), 100.0), limiters.join(key("b"), 100.0));
        let slow = limiters.join(key("a"), 1.0);
        assert!(time_for(&fast, 4).await >= Duration::from_millis(2_990));
        assert!(time_for(&other, 4).await < Duration::from_millis(100), "another token has its own");
        drop(slow);
        assert!(time_for(&fast, 11).await < Duration::from_millis(200));
    }
}
