//! Looks up names of hosts. A name server that does not answer keeps a thread for each name, also after the request
//! that asked has timed out. So there are limits, and names without an answer do not use up the threads for other
//! names.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Concurrent lookups of names that were not looked up before. With the other two, 192 of the 512 threads that the
/// runtime has for blocking calls.
const SLOTS: usize = 96;
/// Concurrent lookups of names whose last lookup was answered within [`SOON`].
const ANSWERED_SLOTS: usize = 32;
/// Concurrent lookups of names whose last lookup was not answered within [`SOON`].
const SLOW_SLOTS: usize = 64;
/// The longest time of a lookup that counts as answered.
const SOON: Duration = Duration::from_secs(1);
/// Time for which it is remembered that a name was not answered.
const REMEMBERED: Duration = Duration::from_mins(10);
/// Time for which it is remembered that a name was answered.
const TRUSTED: Duration = Duration::from_hours(24);

static LOOKUPS: LazyLock<Arc<Resolver>> = LazyLock::new(Arc::default);

/// The addresses of a host, or the message of an error. Ports are 0.
pub(crate) type Resolution = Shared<BoxFuture<'static, Result<Vec<SocketAddr>, String>>>;

#[derive(Debug)]
struct Resolver {
    /// Lookups that have not ended yet: one for each name.
    running: Mutex<HashMap<String, Resolution>>,
    slots: Semaphore,
    answered_slots: Semaphore,
    slow_slots: Semaphore,
    history: Mutex<History>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            slots: Semaphore::new(SLOTS),
            answered_slots: Semaphore::new(ANSWERED_SLOTS),
            slow_slots: Semaphore::new(SLOW_SLOTS),
            history: Mutex::default(),
        }
    }
}

/// Whether names were answered in time.
#[derive(Debug, Default)]
struct History {
    /// Whether each name was answered in time, and until when that is remembered.
    names: HashMap<String, (bool, Instant)>,
    /// From this number of names on, names that may be forgotten are forgotten.
    full: usize,
}

impl History {
    fn was_answered(&self, host: &str) -> Option<bool> {
        self.names.get(host).filter(|(_, until)| Instant::now() < *until).map(|(answered, _)| *answered)
    }

    fn remember(&mut self, host: &str, answered: bool) {
        let now = Instant::now();
        if self.names.len() >= self.full {
            self.names.retain(|_, (_, until)| now < *until);
            self.full = 1_000.max(2 * self.names.len());
        }
        let until = now + if answered { TRUSTED } else { REMEMBERED };
        self.names.insert(host.to_owned(), (answered, until));
    }
}

/// Removes the lookup of a name, also if its task is aborted with the runtime.
struct Running {
    lookups: Arc<Resolver>,
    host: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The lookup is dropped after the lock.
        let _ended = self.lookups.running.lock().remove(&self.host);
    }
}

/// Looks up the addresses of a host with the system's resolver.
pub(crate) fn lookup(host: &str) -> Resolution {
    let found = |host: String| async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) };
    Resolver::lookup(&LOOKUPS, host, found)
}

impl Resolver {
    fn lookup<F>(this: &Arc<Self>, host: &str, resolve: impl FnOnce(String) -> F) -> Resolution
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        let mut lookups = this.running.lock();
        if let Some(running) = lookups.get(host) {
            return running.clone();
        }
        let running = Running { lookups: this.clone(), host: host.to_owned() };
        let found = resolve(host.to_owned());
        let lookup = async move {
            let found = running.lookups.in_a_slot(&running.host, found).await;
            found.map_err(|error| error.to_string())
        };
        // The lookup is spawned when it is first polled, without the lock: a runtime that ends drops a spawned task at
        // once.
        let ended = async { tokio::spawn(lookup).await.unwrap_or_else(|_| Err("the lookup was given up".to_owned())) };
        let lookup = ended.boxed().shared();
        lookups.insert(host.to_owned(), lookup.clone());
        lookup
    }

    async fn in_a_slot<T>(&self, host: &str, lookup: impl Future<Output = T>) -> T {
        let mut lookup = std::pin::pin!(lookup);
        let before = self.history.lock().was_answered(host);
        let slots = match before {
            Some(true) => &self.answered_slots,
            Some(false) => &self.slow_slots,
            None => &self.slots,
        };
        let slot = slots.acquire().await;
        if let Ok(found) = tokio::time::timeout(SOON, &mut lookup).await {
            self.history.lock().remember(host, true);
            return found;
        }
        self.history.lock().remember(host, false);
        if before == Some(false) {
            return lookup.await;
        }
        // The lookup leaves its slot to others as soon as there is one for slow names.
        tokio::select! {
            found = &mut lookup => found,
            _slow = self.slow_slots.acquire() => {
                drop(slot);
                lookup.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME_SERVER: Duration = Duration::from_secs(20);

    fn address() -> SocketAddr {
        ([192, 0, 2, 1], 0).into()
    }

    fn answered(lookups: &Arc<Resolver>, host: &str) -> Resolution {
        Resolver::lookup(lookups, host, |_| async { Ok(vec![address()]) })
    }

    fn unanswered(lookups: &Arc<Resolver>, host: &str) -> Resolution {
        Resolver::lookup(lookups, host, |_| async {
            tokio::time::sleep(NAME_SERVER).await;
            Err(io::Error::other("nobody answers"))
        })
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_at_a_time_whoever_asks() {
        let lookups = Arc::new(Resolver::default());
        let slots = lookups.slots.acquire_many(96).await.unwrap();
        let (one, other) = (answered(&lookups, "one"), answered(&lookups, "one"));
        assert!(one.ptr_eq(&other), "the second waits for the first");
        assert!(one.clone().now_or_never().is_none());
        drop(slots);
        assert_eq!(one.await, Ok(vec![address()]));
        assert_eq!(other.await, Ok(vec![address()]));
        assert!(lookups.running.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_nobody_answers_wait_for_each_other() {
        let lookups = Arc::new(Resolver::default());
        // Each lookup is polled, as a request does.
        let all = |count: usize| -> Vec<_> {
            (0..count).map(|number| tokio::spawn(unanswered(&lookups, &number.to_string()))).collect()
        };
        let took = async |host: &str| {
            let started_at = Instant::now();
            assert_eq!(answered(&lookups, host).await, Ok(vec![address()]));
            started_at.elapsed()
        };
        assert_eq!(took("old").await, Duration::ZERO);
        let first = all(SLOTS + SLOW_SLOTS - 10);
        tokio::task::yield_now().await;
        // 64 of the names have left their slots by then.
        assert!(took("new").await <= SOON);
        for lookup in first {
            assert_eq!(lookup.await.unwrap(), Err("nobody answers".to_owned()));
        }
        let second = all(SLOTS + SLOW_SLOTS - 10);
        tokio::time::sleep(SOON * 2).await;
        assert_eq!(lookups.slots.available_permits(), SLOTS, "they are known");
        assert_eq!(took("newer").await, Duration::ZERO);
        // One name is answered again: it waits for the others once.
        for lookup in second {
            let _ = lookup.await;
        }
        assert!(took("7").await <= SOON);
        assert_eq!(
            ["7", "8", "old"].map(|host| lookups.history.lock().was_answered(host)),
            [Some(true), Some(false), Some(true)]
        );

        // Thousands of new names take all slots but the slots of answered names.
        let _many = all(5_000);
        tokio::time::sleep(SOON * 2).await;
        assert_eq!(lookups.slots.available_permits(), 0);
        assert_eq!(took("old").await, Duration::ZERO);
    }
}
