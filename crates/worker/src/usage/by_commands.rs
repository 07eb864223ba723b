//! Stores what commands next to a worker did: replays, repairs, backfills, and comparisons. Commands have no right to
//! write the worker's objects, so their objects are in an area of the state.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder_engine::checkpoint::{CheckpointKey, StateError, Store, StoredPart};
use s1_forwarder_record::{LaneId, Timestamp};
use s1_forwarder_state::StoreLocation;
use s1_forwarder_telemetry::LaneMetrics;
use s1_forwarder_telemetry::usage::{CountedTime, Delta, OwnClock};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::{InDoubt, UsageStoreError};
use crate::options::Options;

/// Interval at which a long command writes.
const INTERVAL: Duration = Duration::from_mins(19);
/// Wait between two attempts while another command writes.
const LOCKED_WAIT: Duration = Duration::from_millis(50);
const LOCKED_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the area of the state with the counts of commands.
pub fn usage_area() -> &'static Path {
    Path::new("usage")
}

/// Collects what a command does.
#[derive(Debug)]
pub struct CommandUsage {
    options: Options,
    started_at: Timestamp,
    /// Names this command in the counts that it writes.
    process: u64,
    writes: AtomicU64,
    counted: Mutex<BTreeMap<CheckpointKey, Counted>>,
    written: Mutex<Instant>,
}

/// Counts of a lane that are not stored yet.
#[derive(Debug, Default)]
struct Counted {
    delta: Delta,
    in_doubt: Option<InDoubt>,
}

impl CommandUsage {
    pub fn new(options: &Options) -> Self {
        let started_at = options.clock.now();
        Self {
            options: options.clone(),
            started_at,
            process: fastrand::u64(1..),
            writes: AtomicU64::default(),
            counted: Mutex::default(),
            written: Mutex::new(Instant::now()),
        }
    }

    /// Takes what a lane of the command has counted since the last time: `part` is [`StoredPart::Usage`], or
    /// [`StoredPart::BackfillUsage`].
    pub fn take(&self, metrics: &LaneMetrics, part: StoredPart) {
        self.add(metrics.id.clone(), part, &metrics.usage.take());
    }

    pub fn add(&self, lane: LaneId, part: StoredPart, delta: &Delta) {
        if !delta.is_empty() {
            self.counted.lock().entry(CheckpointKey { lane, part }).or_default().delta.merge(delta);
        }
    }

    /// Writes as [`Self::write`] does, if the last time is some while ago.
    pub async fn write_if_due(&self) {
        if self.written.lock().elapsed() >= INTERVAL {
            self.write().await;
        }
    }

    /// Stores the counts. The command's own work does not depend on that. If counts cannot be stored, the next call
    /// tries again.
    pub async fn write(&self) {
        *self.written.lock() = Instant::now();
        let mut counted = std::mem::take(&mut *self.counted.lock());
        if counted.is_empty() {
            return;
        }
        if let Err(error) = self.try_write(&mut counted).await {
            warn!(%error, "what this command did was not stored: unless a later write succeeds, `report` lacks it");
        }
        let mut kept = self.counted.lock();
        for (key, mut rest) in counted {
            if let Some(later) = kept.remove(&key) {
                rest.delta.merge(&later.delta);
            }
            kept.insert(key, rest);
        }
    }

    /// Stores counts, and removes the stored ones from `counted`.
    async fn try_write(&self, counted: &mut BTreeMap<CheckpointKey, Counted>) -> Result<(), String> {
        if let StoreLocation::File(directory) = &self.options.state
            && !directory.is_dir()
        {
            return Err(UsageStoreError::NoState(directory.clone()).to_string());
        }
        let started_at = Instant::now();
        let store = loop {
            match self.options.open_state(Some(usage_area())).await {
                Err(StateError::Locked(_)) if started_at.elapsed() < LOCKED_TIMEOUT => sleep(LOCKED_WAIT).await,
                opened => break opened.map_err(|error| error.to_string())?,
            }
        };
        let mut result = Ok(());
        for (key, mut rest) in std::mem::take(counted) {
            let added = self.add_to(&*store, &key, &mut rest).await;
            // One that is damaged does not keep the others from being written.
            if let Err(error) = added {
                result = result.and_then(|()| Err(super::whole(&error, &key.lane, &self.options.state_flags())));
                counted.insert(key, rest);
            }
        }
        store.close().await;
        result
    }

    async fn add_to(
        &self,
        store: &dyn Store,
        key: &CheckpointKey,
        counted: &mut Counted,
    ) -> Result<(), UsageStoreError> {
        let mut usage = super::decode(&store.claim(key).await?.unwrap_or_default())?;
        let at = self.options.clock.now();
        usage.accept(at, OwnClock::Unknown)?;
        let previous = Some(usage.write());
        let mut delta = counted.in_doubt.take().map(|in_doubt| in_doubt.rest(&mut usage)).unwrap_or_default();
        delta.merge(&std::mem::take(&mut counted.delta));
        let write = (self.process, self.writes.fetch_add(1, Ordering::Relaxed));
        usage.add(&delta, CountedTime { from: self.started_at, until: at, is_over: true, write });
        let encoded = usage.encode();
        counted.in_doubt = Some(InDoubt { write, previous, at, delta });
        store.commit(key, encoded.into()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s1_forwarder_engine::checkpoint::CheckpointBackend;
    use s1_forwarder_state::FileStore;

    /// One that another process writes, one that is damaged, and what has no directory.
    #[tokio::test]
    async fn what_cannot_be_stored_is_tried_again_and_counts_once() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let options = Options { state: StoreLocation::File(state.clone()), ..Options::default() };
        let usage = CommandUsage::new(&options);
        let keys =
            ["acme/threats/siem+usage", "corp/threats/siem+usage"].map(|key| key.parse::<CheckpointKey>().unwrap());
        let now = options.clock.now();
        let count = |events| {
            let mut delta = Delta::default();
            delta.at(now).events = events;
            keys.iter().for_each(|key| usage.add(key.lane.clone(), StoredPart::Usage, &delta));
        };
        let events = async || {
            let store = FileStore::open(&state.join(usage_area())).unwrap();
            let mut events = Vec::new();
            for key in &keys {
                let bytes = store.load(key).await.unwrap().unwrap_or_default();
                events.push(super::super::decode(&bytes).map(|usage| usage.events_of_day(now, 0)).ok());
            }
            events
        };
        count(5);
        usage.write().await;
        assert!(!state.exists(), "a command makes no state");
        std::fs::create_dir(&state).unwrap();
        count(7);
        usage.write().await;
        assert_eq!(events().await, [Some(12), Some(12)]);
        count(100);
        let damaged = async |bytes: Vec<u8>| {
            let store = FileStore::open(&state.join(usage_area())).unwrap();
            store.commit(&keys[0], bytes.into()).await.unwrap();
        };
        damaged(vec![1, 2, 3]).await;
        usage.write().await;
        assert_eq!(events().await, [None, Some(112)]);
        damaged(Vec::new()).await;
        usage.write().await;
        assert_eq!(events().await, [Some(100), Some(112)], "the other one is not added again");
    }
}
