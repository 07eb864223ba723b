//! A value that expires, such as a token. One of the callers that share the value renews it before it expires.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use s1_forwarder_failure::LastFailure;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::token_error::TokenError;

/// A value that was fetched, and how long it is valid.
#[derive(Debug)]
pub(crate) struct Issued<T> {
    pub(crate) value: T,
    pub(crate) lifetime: Duration,
}

#[derive(Debug)]
pub(crate) struct Renewable<T> {
    /// Locked while the value is fetched: the others wait for the result.
    cached: Mutex<Cached<T>>,
}

#[derive(Debug)]
struct Cached<T> {
    valid: Option<Valid<T>>,
    failure: LastFailure<TokenError>,
}

#[derive(Debug)]
struct Valid<T> {
    value: T,
    renew_at: Instant,
    expires_at: Instant,
}

/// The wait after a renewal that failed while the old value is still valid.
const PAUSE: Duration = Duration::from_secs(10);

impl<T> Default for Renewable<T> {
    fn default() -> Self {
        Self { cached: Mutex::new(Cached { valid: None, failure: LastFailure::default() }) }
    }
}

impl<T: Clone> Renewable<T> {
    /// Returns a valid value, and when it expires. Calls `fetch` if the value has to be renewed.
    pub(crate) async fn get<F>(&self, fetch: impl FnOnce() -> F) -> Result<(T, Instant), TokenError>
    where
        F: Future<Output = Result<Issued<T>, TokenError>>,
    {
        let called_at = Instant::now();
        let mut cached = self.cached.lock().await;
        let now = Instant::now();
        if let Some(valid) = cached.valid.as_ref().filter(|valid| now < valid.renew_at) {
            return Ok(valid.copy());
        }
        if let Some(error) = cached.failure.after(called_at) {
            return Err(error);
        }
        let fetched = fetch().await;
        cached.failure.ended(&fetched);
        match fetched {
            Ok(issued) => Ok(cached.valid.insert(Valid::new(issued)).copy()),
            Err(error) => {
                let now = Instant::now();
                // The old value is used until it expires.
                let old = cached.valid.as_mut().filter(|valid| now < valid.expires_at);
                old.map(|valid| {
                    valid.renew_at = now + PAUSE.min(valid.expires_at - now);
                    valid.copy()
                })
                .ok_or(error)
            }
        }
    }

    /// Discards the value if it `is_refused`: it may have been replaced already.
    pub(crate) async fn discard(&self, is_refused: impl FnOnce(&T) -> bool) {
        let mut cached = self.cached.lock().await;
        if cached.valid.as_ref().is_some_and(|valid| is_refused(&valid.value)) {
            cached.valid = None;
        }
    }
}

impl<T: Clone> Valid<T> {
    fn new(Issued { value, lifetime }: Issued<T>) -> Self {
        // Processes that started at the same time should not renew at the same time.
        let jitter = RandomState::new().hash_one(0_u8) % 1_000;
        let now = Instant::now();
        let fresh = lifetime.mul_f64(0.8 - 0.1 * jitter as f64 / 1_000.0);
        let after = |duration| now.checked_add(duration).unwrap_or(now);
        Self { value, renew_at: after(fresh), expires_at: after(lifetime) }
    }

    fn copy(&self) -> (T, Instant) {
        (self.value.clone(), self.expires_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s1_forwarder_engine::sink::Outcome;

    fn issued(value: u32) -> Result<Issued<u32>, TokenError> {
        Ok(Issued { value, lifetime: Duration::from_secs(100) })
    }

    fn unavailable() -> Result<Issued<u32>, TokenError> {
        Err(TokenError { outcome: Outcome::retry_later("unavailable") })
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_renewed_before_it_expires() {
        let renewable = Renewable::default();
        assert_eq!(renewable.get(async || issued(1)).await.unwrap().0, 1);
        tokio::time::advance(Duration::from_secs(69)).await;
        assert_eq!(renewable.get(async || issued(2)).await.unwrap().0, 1);
        tokio::time::advance(Duration::from_secs(12)).await;
        assert_eq!(renewable.get(async || issued(3)).await.unwrap().0, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_value_is_used_until_it_expires_and_renewals_pause() {
        let renewable = Renewable::default();
        renewable.get(async || issued(1)).await.unwrap();
        tokio::time::advance(Duration::from_secs(81)).await;
        assert_eq!(renewable.get(async || unavailable()).await.unwrap().0, 1);
        assert_eq!(renewable.get(async || issued(2)).await.unwrap().0, 1, "no request within the pause");
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(renewable.get(async || unavailable()).await.is_err(), "it has expired");
        assert_eq!(renewable.get(async || issued(3)).await.unwrap().0, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_value_is_discarded_unless_it_was_replaced() {
        let renewable = Renewable::default();
        renewable.get(async || issued(1)).await.unwrap();
        renewable.discard(|value| *value == 0).await;
        assert_eq!(renewable.get(async || issued(2)).await.unwrap().0, 1);
        renewable.discard(|value| *value == 1).await;
        assert_eq!(renewable.get(async || issued(2)).await.unwrap().0, 2);
    }
}
