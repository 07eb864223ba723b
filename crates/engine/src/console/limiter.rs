//! Limits the request rate per console and token, over all pipelines of the process.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::settings::ConsoleSettings;
use super::trials::Trials;
use crate::weak_cache::WeakCache;

/// All limiters of the process.
#[derive(Debug, Default)]
pub struct Limiters(WeakCache<LimiterKey, SharedLimiter>);

/// Key of a limiter. Clients with equal keys share a limiter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LimiterKey {
    pub host: String,
    /// The source of the token, never the token itself.
    pub token: String,
}

/// One client's handle of a shared limiter. The smallest rate of all existing handles applies.
#[derive(Debug)]
pub struct Limiter {
    shared: Arc<SharedLimiter>,
    rate: f64,
}

#[derive(Debug)]
struct SharedLimiter {
    state: Mutex<Rates>,
    /// Locked while a request waits, so that requests are served in order.
    queue: tokio::sync::Mutex<()>,
    /// Signals a change of the rate: the first request in the queue must not wait as the old rate says.
    changed: Notify,
    /// See [`Limiter::join_lane`].
    lanes: Arc<AtomicUsize>,
    /// Verdicts of the console about new tokens from the same source.
    trials: Trials,
}

/// One of the lanes that share a limiter.
#[derive(Debug)]
pub struct LaneShare(Arc<AtomicUsize>);

impl Drop for LaneShare {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Governor = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<TokioInstant>>;

#[derive(Debug)]
struct Rates {
    requested: Vec<f64>,
    governor: Arc<Governor>,
}

impl Limiters {
    /// Returns the limiter for the console and the token of `settings`.
    pub fn join_for(&self, settings: &ConsoleSettings) -> Limiter {
        let key = LimiterKey { host: settings.url.host().to_owned(), token: settings.token.first().reference() };
        self.join(key, settings.rate())
    }

    /// Returns the limiter for `key`. It allows at most `rate` requests per second as long as the returned handle
    /// exists.
    pub fn join(&self, key: LimiterKey, rate: f64) -> Limiter {
        let new = || SharedLimiter {
            state: Mutex::new(Rates { requested: Vec::new(), governor: governor(rate) }),
            queue: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            lanes: Arc::default(),
            trials: Trials::default(),
        };
        let shared = self.0.get_or_insert_with(key, || Arc::new(new()));
        shared.change(|rates| rates.push(rate));
        Limiter { shared, rate }
    }
}

impl Limiter {
    /// Counts a lane that sends its requests through this limiter, until the returned share is dropped.
    pub fn join_lane(&self) -> LaneShare {
        self.shared.lanes.fetch_add(1, Ordering::Relaxed);
        LaneShare(self.shared.lanes.clone())
    }

    /// Returns the counter of the lanes that share the limiter.
    pub fn lanes(&self) -> Arc<AtomicUsize> {
        self.shared.lanes.clone()
    }

    pub(super) fn trials(&self) -> &Trials {
        &self.shared.trials
    }

    /// Waits until one request may be sent.
    pub async fn ready(&self) {
        let _queue = self.shared.queue.lock().await;
        loop {
            // Registered before the rate is read, so that no change is missed.
            let changed = self.shared.changed.notified();
            let governor = self.shared.state.lock().governor.clone();
            match governor.check() {
                Ok(()) => return,
                Err(not_until) => tokio::select! {
                    () = sleep(not_until.wait_time_from(TokioClock.now())) => {}
                    () = changed => {}
                },
            }
        }
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        let rate = self.rate;
        self.shared.change(|rates| {
            if let Some(index) = rates.iter().position(|other| *other == rate) {
                rates.swap_remove(index);
            }
        });
    }
}

impl SharedLimiter {
    fn change(&self, change: impl FnOnce(&mut Vec<f64>)) {
        let mut rates = self.state.lock();
        let smallest = |rates: &[f64]| rates.iter().copied().fold(f64::INFINITY, f64::min);
        let before = smallest(&rates.requested);
        change(&mut rates.requested);
        let after = smallest(&rates.requested);
        if after != before && after.is_finite() {
            rates.governor = governor(after);
            self.changed.notify_waiters();
        }
    }
}

/// Returns a governor of evenly spaced single requests: a burst would double the rate in the first second.
fn governor(rate: f64) -> Arc<Governor> {
    let period = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::from_secs(1)).max(Duration::from_nanos(1));
    let one = Quota::per_second(NonZeroU32::MIN);
    let quota = Quota::with_period(period).unwrap_or(one).allow_burst(NonZeroU32::MIN);
    Arc::new(RateLimiter::direct_with_clock(quota, TokioClock))
}

/// Tokio's clock, which tests can pause.
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
        let started_at = Instant::now();
        for _ in 0..requests {
            limiter.ready().await;
        }
        started_at.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_spaced_evenly() {
        let limiter = Limiters::default().join(key("a"), 5.0);
        let elapsed = time_for(&limiter, 11).await;
        assert!((Duration::from_millis(1_990)..Duration::from_millis(2_050)).contains(&elapsed), "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_smallest_rate_of_all_handles_applies() {
        let limiters = Limiters::default();
        let fast = limiters.join(key("a"), 100.0);
        let other = limiters.join(key("b"), 100.0);
        let slow = limiters.join(key("a"), 1.0);
        assert!(time_for(&fast, 4).await >= Duration::from_millis(2_990));
        assert!(time_for(&other, 4).await < Duration::from_millis(100), "another token has its own limiter");
        drop(slow);
        assert!(time_for(&fast, 11).await < Duration::from_millis(200));
    }

    #[test]
    fn the_lanes_that_share_a_limiter_are_counted() {
        let limiters = Limiters::default();
        let one = limiters.join(key("a"), 1.0);
        let same = limiters.join(key("a"), 2.0);
        let other = limiters.join(key("b"), 1.0);
        let shares = [one.join_lane(), one.join_lane(), same.join_lane(), other.join_lane()];
        let count = |limiter: &Limiter| limiter.lanes().load(Ordering::Relaxed);
        assert_eq!((count(&one), count(&same), count(&other)), (3, 3, 1));
        drop(shares);
        assert_eq!((count(&one), count(&other)), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_hears_of_another_rate() {
        let limiters = Limiters::default();
        let fast = Arc::new(limiters.join(key("a"), 10.0));
        let slow = limiters.join(key("a"), 0.001);
        fast.ready().await;
        let started_at = Instant::now();
        let waiting = tokio::spawn({
            let fast = fast.clone();
            async move { fast.ready().await }
        });
        sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished(), "a thousand seconds between two requests");
        drop(slow);
        waiting.await.unwrap();
        assert!(started_at.elapsed() < Duration::from_secs(2), "{:?}", started_at.elapsed());
    }
}
