//! What commands next to a worker did: replays, repairs, backfills, and comparisons. They have no right to write the
//! worker's objects, so theirs are in an area of the state.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::UsageStoreError;
use crate::checkpoint::{CheckpointKey, LaneId, Part, StateError};
use crate::record::Timestamp;
use crate::state::Location;
use crate::telemetry::LaneMetrics;
use crate::usage::{Delta, Session, Usage};
use crate::worker::Options;

/// A long command writes this often.
const INTERVAL: Duration = Duration::from_secs(19 * 60);
/// Waits while another command writes.
const LOCKED_WAIT: Duration = Duration::from_millis(50);
const LOCKED_TIMEOUT: Duration = Duration::from_secs(10);

/// The area of the state with what commands did.
pub fn area() -> &'static Path {
    Path::new("usage")
}

/// Collects what a command does.
#[derive(Debug)]
pub struct CommandUsage {
    options: Options,
    begun: Timestamp,
    counted: Mutex<BTreeMap<CheckpointKey, Delta>>,
    written: Mutex<Instant>,
}

impl CommandUsage {
    pub fn new(options: &Options) -> Self {
        let begun = options.clock.now();
        Self { options: options.clone(), begun, counted: Mutex::default(), written: Mutex::new(Instant::now()) }
    }

    /// Takes what a lane of the command has counted since the last time: `part` is [`Part::Usage`], or
    /// [`Part::BackfillUsage`].
    pub fn take(&self, lane: &LaneMetrics, part: Part) {
        self.add(super::id_of(lane), part, &lane.usage.take());
    }

    pub fn add(&self, lane: LaneId, part: Part, delta: &Delta) {
        if !delta.is_empty() {
            self.counted.lock().entry(CheckpointKey { lane, part }).or_default().merge(delta);
        }
    }

    /// The same as [`Self::write`] if the last time is some while ago.
    pub async fn write_if_due(&self) {
        if self.written.lock().elapsed() >= INTERVAL {
            self.write().await;
        }
    }

    /// Stores what was counted. What the command is about does not depend on it.
    pub async fn write(&self) {
        *self.written.lock() = Instant::now();
        let counted = std::mem::take(&mut *self.counted.lock());
        if counted.is_empty() {
            return;
        }
        if let Err(error) = self.try_write(counted).await {
            warn!(%error, "what this command did was not stored: `report` does not show it");
        }
    }

    async fn try_write(&self, counted: BTreeMap<CheckpointKey, Delta>) -> Result<(), UsageStoreError> {
        if let Location::File(directory) = &self.options.state
            && !directory.is_dir()
        {
            return Err(UsageStoreError::NoState(directory.clone()));
        }
        let begun = Instant::now();
        let store = loop {
            match self.options.open_state(Some(area())).await {
                Err(StateError::Locked(_)) if begun.elapsed() < LOCKED_TIMEOUT => sleep(LOCKED_WAIT).await,
                opened => break opened?,
            }
        };
        let session = Session {
            from: self.begun,
            until: self.options.clock.now(),
            is_over: true,
            write: (fastrand::u64(1..), 0),
        };
        let mut result = Ok(());
        for (key, delta) in counted {
            let add = async {
                let stored = store.claim(&key).await?;
                let mut usage = stored.map_or_else(|| Ok(Usage::default()), |bytes| Usage::decode(&bytes))?;
                usage.add(&delta, session);
                store.commit(&key, usage.encode().into()).await?;
                Ok(())
            };
            // One that is damaged does not keep the others from being written.
            result = result.and(add.await);
        }
        store.close().await;
        result
    }
}
