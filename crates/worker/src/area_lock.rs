//! The lock of an area of the state that one command at a time may use, in a store without a lock of its own.
//!
//! The holder stores an entry and renews it while it works. Another process waits until the entry has not changed for a
//! while, and takes it over. No process compares its clock with the clock of another machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::{CheckpointKey, StateError, Store, StoredPart};
use s1_forwarder_failure::catch_panic::caught;
use s1_forwarder_record::{LaneId, Stream};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

/// Version of the stored entry.
const VERSION: u32 = 1;
/// Interval at which the holder renews its entry, and another process looks at it.
const RENEWAL: Duration = Duration::from_secs(10);
/// Time after which the holder of an entry that has not changed counts as gone.
const EXPIRY: Duration = Duration::from_secs(30);
/// Timeout of one renewal.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait before a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The lock of an area, which this process has.
#[derive(Debug)]
pub struct AreaLock(Option<HeldLock>);

/// An area, and the process that wants it or has it.
#[derive(Debug, Clone)]
pub struct LockedArea {
    pub store: Arc<dyn Store>,
    /// The area's path in the state.
    pub path: PathBuf,
    /// Pipeline that the area is about.
    pub pipeline: String,
    /// Name of this process, which no other process has.
    pub owner: String,
}

#[derive(Debug)]
struct HeldLock {
    area: LockedArea,
    /// Ends with the error for which the lock was lost.
    renewing: AbortOnDropHandle<StateError>,
}

/// What is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LockEntry {
    v: u32,
    owner: String,
    /// Grows with each renewal.
    renewals: u64,
}

impl AreaLock {
    /// Returns the lock of an area that needs no entry.
    pub const fn without_entry() -> Self {
        Self(None)
    }

    /// Acquires the lock. Waits for a process that may have it, and returns `None` if `stop` ends that wait.
    ///
    /// # Errors
    /// [`StateError::InUse`] if another process has the lock, and others if the store cannot be used.
    pub async fn acquire(area: LockedArea, stop: &CancellationToken) -> Result<Option<Self>, StateError> {
        let Some(left_behind) = stop.run_until_cancelled(area.wait_until_unused()).await else { return Ok(None) };
        let left_behind = left_behind?;
        let claimed_at = Instant::now();
        if let Err(error) = area.claim(left_behind).await {
            // What this process holds of the store may be what the other process needs.
            area.store.close().await;
            return Err(error);
        }
        let renewing = AbortOnDropHandle::new(tokio::spawn(area.clone().renew_until_lost(claimed_at)));
        Ok(Some(Self(Some(HeldLock { area, renewing }))))
    }

    /// Does `work`, and releases the lock at its end. Drops `work` if another process has taken the lock over.
    ///
    /// # Errors
    /// The error of `work`, and [`StateError::TakenOver`] if it was dropped.
    pub async fn hold<T, E: From<StateError>>(self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let Some(HeldLock { area, mut renewing }) = self.0 else { return work.await };
        let done = tokio::select! {
            biased;
            lost = caught(&mut renewing) => {
                return Err(lost.unwrap_or_else(|panic| area.taken_over(format!("unknown: {panic}"))).into());
            }
            done = work => done,
        };
        // A renewal that is under way must not come after the removal.
        renewing.abort();
        let _ = renewing.await;
        if let Err(error) = area.release().await {
            warn!(%error, "the lock of an area of the state was not removed: the next command waits until it expires");
        }
        done
    }
}

impl LockedArea {
    /// The key of the lock. An area has many lanes and one lock, so stream and sink are always the same.
    fn key(&self) -> CheckpointKey {
        let lane = LaneId { pipeline: self.pipeline.clone(), stream: Stream::Activities, sink: "area".to_owned() };
        CheckpointKey { lane, part: StoredPart::Lock }
    }

    fn in_use(&self, owner: String) -> StateError {
        StateError::InUse { area: self.path.clone(), owner }
    }

    fn taken_over(&self, owner: String) -> StateError {
        StateError::TakenOver { area: self.path.clone(), owner }
    }

    /// Returns the entry of a process that is gone; `None` if there is no entry.
    async fn wait_until_unused(&self) -> Result<Option<Vec<u8>>, StateError> {
        let key = self.key();
        let Some(first) = self.store.load(&key).await? else { return Ok(None) };
        let seen_at = Instant::now();
        let process = owner_of(&first);
        warn!(
            area = %self.path.display(), process, seconds = EXPIRY.as_secs(),
            "another process may be at work in this area of the state: waiting to see whether it is"
        );
        while seen_at.elapsed() < EXPIRY {
            sleep(RENEWAL).await;
            match self.store.load(&key).await? {
                None => return Ok(None),
                Some(now) if now != first => return Err(self.in_use(owner_of(&now))),
                Some(_) => {}
            }
        }
        Ok(Some(first))
    }

    /// Replaces the entry `left_behind` with this process's first one.
    async fn claim(&self, left_behind: Option<Vec<u8>>) -> Result<(), StateError> {
        let key = self.key();
        let found = self.store.claim(&key).await?;
        if found != left_behind
            && let Some(other) = found
        {
            return Err(self.in_use(owner_of(&other)));
        }
        match self.store.commit(&key, self.entry(0)?.into()).await {
            Err(StateError::Conflict { owner, .. }) => return Err(self.in_use(owner)),
            committed => committed?,
        };
        self.check_owner(|owner| self.in_use(owner)).await
    }

    /// Renews the entry. Returns the error for which the lock was lost.
    async fn renew_until_lost(self, claimed_at: Instant) -> StateError {
        let mut renewed_at = claimed_at;
        let mut renewals = 0;
        let mut is_failing = false;
        loop {
            sleep(if is_failing { RETRY } else { RENEWAL }).await;
            renewals += 1;
            let began = Instant::now();
            // Before that, no other process can have taken the lock over.
            let may_be_lost = renewed_at.elapsed() + RENEWAL_TIMEOUT > EXPIRY;
            let failed = match timeout(RENEWAL_TIMEOUT, self.renew(renewals, may_be_lost)).await {
                Ok(Ok(())) => {
                    renewed_at = began;
                    is_failing = false;
                    continue;
                }
                Ok(Err(lost @ StateError::TakenOver { .. })) => return lost,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the store does not answer".to_owned(),
            };
            if !is_failing {
                is_failing = true;
                warn!(
                    area = %self.path.display(), error = failed,
                    "the lock of an area of the state cannot be renewed: trying again"
                );
            }
        }
    }

    async fn renew(&self, renewals: u64, may_be_lost: bool) -> Result<(), StateError> {
        if may_be_lost {
            self.check_owner(|owner| self.taken_over(owner)).await?;
        }
        match self.store.commit(&self.key(), self.entry(renewals)?.into()).await {
            Err(StateError::Conflict { owner, .. }) => Err(self.taken_over(owner)),
            committed => committed.map(drop),
        }
    }

    async fn release(&self) -> Result<(), StateError> {
        self.check_owner(|owner| self.taken_over(owner)).await?;
        self.store.delete(&self.key()).await
    }

    /// Checks that the entry is this process's.
    ///
    /// # Errors
    /// `other` of the process that has it, and others if the store cannot be read.
    async fn check_owner(&self, other: impl FnOnce(String) -> StateError) -> Result<(), StateError> {
        let found = self.store.load(&self.key()).await?.map(|entry| owner_of(&entry));
        match found {
            Some(owner) if owner == self.owner => Ok(()),
            found => Err(other(found.unwrap_or_else(|| "one that has ended".to_owned()))),
        }
    }

    fn entry(&self, renewals: u64) -> Result<Vec<u8>, StateError> {
        let entry = LockEntry { v: VERSION, owner: self.owner.clone(), renewals };
        serde_json::to_vec(&entry).map_err(|error| StateError::Io {
            action: "write",
            path: self.path.clone(),
            source: error.into(),
        })
    }
}

/// Returns the process that wrote an entry.
fn owner_of(entry: &[u8]) -> String {
    match serde_json::from_slice::<LockEntry>(entry) {
        Ok(entry) if entry.v == VERSION => entry.owner,
        _ => "one of another release".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use parking_lot::Mutex;
    use s1_forwarder_engine::checkpoint::{CheckpointBackend, CheckpointUpdate, MemoryStore};
    use tokio::task::yield_now;

    use super::*;

    /// The store as one process sees it. As with Kafka, a write fails if another process has written since this one
    /// claimed the entry or wrote it, and does not notice that another process has removed the entry.
    #[derive(Debug)]
    struct ProcessStore {
        stored: Arc<MemoryStore>,
        /// The entry as this process knows it.
        known: Mutex<Option<Vec<u8>>>,
        random: Mutex<fastrand::Rng>,
    }

    impl ProcessStore {
        /// Lets the other process go on at any point.
        async fn pass_turn(&self) {
            let turns = self.random.lock().u8(..4);
            for _ in 0..turns {
                yield_now().await;
            }
        }
    }

    #[async_trait]
    impl CheckpointBackend for ProcessStore {
        async fn load(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
            self.pass_turn().await;
            self.stored.load(key).await
        }

        async fn claim(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
            self.pass_turn().await;
            let found = self.stored.load(key).await?;
            *self.known.lock() = found.clone();
            Ok(found)
        }

        async fn commit(&self, key: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
            self.pass_turn().await;
            let there = self.stored.load(key).await?;
            if there.is_some() && there != *self.known.lock() {
                return Err(StateError::Conflict { key: key.clone(), owner: "another process".to_owned() });
            }
            let written = update.checkpoint.clone();
            let released = self.stored.commit(key, update).await?;
            *self.known.lock() = Some(written);
            Ok(released)
        }
    }

    #[async_trait]
    impl Store for ProcessStore {
        async fn list_all(&self) -> Result<Vec<CheckpointKey>, StateError> {
            self.stored.list_all().await
        }

        async fn rename(&self, from: &CheckpointKey, to: &CheckpointKey) -> Result<(), StateError> {
            self.stored.rename(from, to).await
        }

        async fn delete(&self, key: &CheckpointKey) -> Result<(), StateError> {
            self.stored.delete(key).await
        }
    }

    fn area(stored: &Arc<MemoryStore>, owner: &str, seed: u64) -> LockedArea {
        let random = Mutex::new(fastrand::Rng::with_seed(seed));
        LockedArea {
            store: Arc::new(ProcessStore { stored: stored.clone(), known: Mutex::default(), random }),
            path: "verify/acme".into(),
            pipeline: "acme".to_owned(),
            owner: owner.to_owned(),
        }
    }

    async fn acquire(stored: &Arc<MemoryStore>, owner: &str) -> Result<AreaLock, StateError> {
        let acquired = AreaLock::acquire(area(stored, owner, 1), &CancellationToken::new()).await;
        acquired.map(|lock| lock.expect("nothing has asked it to stop"))
    }

    /// Work that takes this long.
    async fn work(seconds: u64) -> Result<(), StateError> {
        sleep(Duration::from_secs(seconds)).await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_process_is_refused_while_the_first_one_renews() {
        let stored = Arc::<MemoryStore>::default();
        let first = acquire(&stored, "first").await.unwrap();
        let holding = tokio::spawn(first.hold(work(3_600)));
        for _ in 0..5 {
            let began = Instant::now();
            let refused = acquire(&stored, "second").await.unwrap_err();
            assert!(matches!(&refused, StateError::InUse { owner, .. } if owner == "first"), "{refused}");
            assert!(began.elapsed() <= EXPIRY, "{:?}", began.elapsed());
            sleep(Duration::from_millis(3_300)).await;
        }
        holding.await.unwrap().unwrap();
        assert!(stored.checkpoints().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_lock_of_a_killed_process_is_taken_over_when_it_has_expired() {
        let stored = Arc::<MemoryStore>::default();
        drop(acquire(&stored, "killed").await.unwrap());
        let began = Instant::now();
        let stop = CancellationToken::new();
        let asked = stop.clone();
        tokio::spawn(async move {
            sleep(RENEWAL).await;
            asked.cancel();
        });
        assert!(AreaLock::acquire(area(&stored, "stopped", 1), &stop).await.unwrap().is_none());
        assert_eq!(began.elapsed(), RENEWAL, "a process that waits can be stopped");
        let began = Instant::now();
        let next = acquire(&stored, "next").await.unwrap();
        assert_eq!(began.elapsed(), EXPIRY);
        next.hold(work(100)).await.unwrap();
        assert!(stored.checkpoints().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_clean_end_releases_the_lock_at_once_whatever_the_work_returned() {
        let stored = Arc::<MemoryStore>::default();
        for ended in [Ok(7), Err(StateError::NotBuilt("x".to_owned()))] {
            let began = Instant::now();
            let lock = acquire(&stored, "one").await.unwrap();
            let is_done = ended.is_ok();
            let held = lock.hold(async { ended }).await;
            assert_eq!(held.is_ok(), is_done);
            assert_eq!(began.elapsed(), Duration::ZERO);
            assert!(stored.checkpoints().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_that_start_together_one_has_the_lock() {
        for seed in 0..500 {
            let stored = Arc::<MemoryStore>::default();
            if seed % 2 == 0 {
                drop(acquire(&stored, "killed").await.unwrap());
            }
            let stop = CancellationToken::new();
            let (one, other) = tokio::join!(
                AreaLock::acquire(area(&stored, "one", seed), &stop),
                AreaLock::acquire(area(&stored, "other", !seed), &stop),
            );
            let mut winners = 0;
            for (owner, acquired) in [("one", one), ("other", other)] {
                match acquired {
                    Ok(Some(lock)) => {
                        winners += 1;
                        // It keeps the lock: the other one has broken nothing.
                        lock.hold(work(100)).await.unwrap_or_else(|error| panic!("{seed} {owner}: {error}"));
                    }
                    Ok(None) => panic!("{seed}: nothing has asked it to stop"),
                    Err(error) => assert!(matches!(error, StateError::InUse { .. }), "{seed} {owner}: {error}"),
                }
            }
            assert_eq!(winners, 1, "{seed}");
        }
    }

    /// Work that sends something every second, and what it has sent.
    fn sending() -> (Arc<AtomicU64>, impl Future<Output = Result<(), StateError>>) {
        let sent = Arc::<AtomicU64>::default();
        let counter = sent.clone();
        let work = async move {
            loop {
                sleep(Duration::from_secs(1)).await;
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        (sent, work)
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_has_lost_the_lock_sends_nothing_more() {
        let stored = Arc::<MemoryStore>::default();
        let (sent, work) = sending();
        let holding = tokio::spawn(acquire(&stored, "first").await.unwrap().hold(work));
        sleep(Duration::from_secs(15)).await;
        let key = area(&stored, "first", 1).key();
        let entry = area(&stored, "second", 1).entry(0).unwrap();
        stored.commit(&key, entry.clone().into()).await.unwrap();
        let lost = holding.await.unwrap().unwrap_err();
        assert!(matches!(lost, StateError::TakenOver { .. }), "{lost}");
        let then = sent.load(Ordering::Relaxed);
        assert!(then <= 20, "it noticed at its next renewal: {then}");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(sent.load(Ordering::Relaxed), then);
        assert_eq!(stored.load(&key).await.unwrap(), Some(entry), "the lock of the other one stays");
    }

    /// A store that is unavailable costs nothing, unless another process had the lock meanwhile, even if that one has
    /// ended.
    #[tokio::test(start_paused = true)]
    async fn a_holder_whose_store_was_unavailable_goes_on_unless_another_process_had_the_lock() {
        for (is_lost, seconds) in [(false, 70), (true, 70)] {
            let stored = Arc::<MemoryStore>::default();
            let (sent, work) = sending();
            let first = area(&stored, "first", 1);
            let key = first.key();
            let lock = AreaLock::acquire(first, &CancellationToken::new()).await.unwrap().unwrap();
            let holding = tokio::spawn(lock.hold(work));
            sleep(Duration::from_secs(5)).await;
            stored.fail_next(usize::MAX);
            sleep(Duration::from_secs(seconds)).await;
            stored.fail_next(0);
            if is_lost {
                stored.delete(&key).await.unwrap();
            }
            sleep(Duration::from_secs(60)).await;
            assert_eq!(holding.is_finished(), is_lost);
            assert_eq!(sent.load(Ordering::Relaxed) < 80, is_lost);
        }
    }
}
