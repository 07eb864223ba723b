//! Looks up names of hosts. A name server that does not answer keeps a thread for each name, also after the request
//! that asked has timed out. So there are limits, and names that nobody answers do not use up what the others need.

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

/// Lookups at a time: those of names that nobody answered in time when they were last asked for, and the others.
/// Together half of the threads of the runtime for such calls, so that files have the other half.
const SLOTS: usize = 128;
/// In time.
const SOON: Duration = Duration::from_secs(1);
/// How long a name is one that nobody answers.
const REMEMBERED: Duration = Duration::from_secs(600);

static LOOKUPS: LazyLock<Arc<Lookups>> = LazyLock::new(Arc::default);

/// The addresses of a host, or the message of an error. Ports are 0.
pub(super) type Lookup = Shared<BoxFuture<'static, Result<Vec<SocketAddr>, String>>>;

#[derive(Debug)]
struct Lookups {
    /// Those that have not ended yet: one for each name.
    running: Mutex<HashMap<String, Lookup>>,
    slots: Semaphore,
    slow_slots: Semaphore,
    /// Names that nobody answered in time, and until when that is remembered.
    slow: Mutex<HashMap<String, Instant>>,
}

impl Default for Lookups {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            slots: Semaphore::new(SLOTS),
            slow_slots: Semaphore::new(SLOTS),
            slow: Mutex::default(),
        }
    }
}

/// Removes the lookup of a name, also if its task is aborted with the runtime.
struct Running {
    lookups: Arc<Lookups>,
    host: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lookups.running.lock().remove(&self.host);
    }
}

/// The addresses of a host, from the system's resolver.
pub(super) fn lookup(host: &str) -> Lookup {
    let found = |host: String| async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) };
    Lookups::lookup(&LOOKUPS, host, found)
}

impl Lookups {
    fn lookup<F>(this: &Arc<Self>, host: &str, resolve: impl FnOnce(String) -> F) -> Lookup
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        let mut lookups = this.running.lock();
        if let Some(running) = lookups.get(host) {
            return running.clone();
        }
        let running = Running { lookups: this.clone(), host: host.to_owned() };
        let found = resolve(host.to_owned());
        let task = tokio::spawn(async move {
            let found = running.lookups.in_a_slot(&running.host, found).await;
            found.map_err(|error| error.to_string())
        });
        let ended = async { task.await.unwrap_or_else(|_| Err("the lookup was given up".to_owned())) };
        let lookup = ended.boxed().shared();
        lookups.insert(host.to_owned(), lookup.clone());
        lookup
    }

    async fn in_a_slot<T>(&self, host: &str, lookup: impl Future<Output = T>) -> T {
        let mut lookup = std::pin::pin!(lookup);
        let is_slow = self.slow.lock().get(host).is_some_and(|until| Instant::now() < *until);
        let slots = if is_slow { &self.slow_slots } else { &self.slots };
        let slot = slots.acquire().await;
        if let Ok(found) = tokio::time::timeout(SOON, &mut lookup).await {
            self.slow.lock().remove(host);
            return found;
        }
        self.remember(host);
        if is_slow {
            return lookup.await;
        }
        // It leaves its slot to others as soon as there is one for slow names.
        tokio::select! {
            found = &mut lookup => found,
            _slow = self.slow_slots.acquire() => {
                drop(slot);
                lookup.await
            }
        }
    }

    fn remember(&self, host: &str) {
        let (mut slow, now) = (self.slow.lock(), Instant::now());
        slow.retain(|_, until| now < *until);
        slow.insert(host.to_owned(), now + REMEMBERED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME_SERVER: Duration = Duration::from_secs(20);

    fn address() -> SocketAddr {
        ([192, 0, 2, 1], 0).into()
    }

    fn answered(lookups: &Arc<Lookups>, host: &str) -> Lookup {
        Lookups::lookup(lookups, host, |_| async { Ok(vec![address()]) })
    }

    fn unanswered(lookups: &Arc<Lookups>, host: &str) -> Lookup {
        Lookups::lookup(lookups, host, |_| async {
            tokio::time::sleep(NAME_SERVER).await;
            Err(io::Error::other("nobody answers"))
        })
    }

    #[tokio::test]
    async fn a_name_is_looked_up_once_at_a_time_whoever_asks() {
        let lookups = Arc::new(Lookups::default());
        let slots = lookups.slots.acquire_many(128).await.unwrap();
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
        let lookups = Arc::new(Lookups::default());
        let all = |lookups: &Arc<Lookups>| (0..200).map(|number| unanswered(lookups, &number.to_string())).collect();
        let first: Vec<Lookup> = all(&lookups);
        let took = async |host: &str| {
            let begun = Instant::now();
            assert_eq!(answered(&lookups, host).await, Ok(vec![address()]));
            begun.elapsed()
        };
        // 128 of the names have left their slots by then, and 72 have not.
        assert!(took("new").await <= SOON);
        for lookup in first {
            assert_eq!(lookup.await, Err("nobody answers".to_owned()));
        }
        let _second: Vec<Lookup> = all(&lookups);
        tokio::time::sleep(SOON * 2).await;
        assert_eq!(lookups.slots.available_permits(), SLOTS, "they are known");
        assert_eq!(took("new").await, Duration::ZERO);
        // One of them is answered again: it waits for the others once.
        tokio::time::sleep(NAME_SERVER * 2).await;
        assert!(took("7").await <= SOON);
        assert!(!lookups.slow.lock().contains_key("7") && lookups.slow.lock().contains_key("8"));
    }
}
