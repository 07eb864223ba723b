//! The store of checkpoints: slow, failing for a while, and now and then unsure whether it wrote.

use std::sync::Arc;

use async_trait::async_trait;
use s1_forwarder::checkpoint::{Append, CheckpointBackend, CheckpointKey, CheckpointUpdate, StateError};
use tokio::time::{Instant, sleep};

use crate::plan::open;
use crate::shared::{LaneSimulation, Point, Simulation, about, lock};

/// The store, as one incarnation of a lane sees it.
#[derive(Clone)]
pub struct SimulatedStore {
    pub simulation: Arc<Simulation>,
    pub lane: Arc<LaneSimulation>,
    pub incarnation: usize,
}

impl std::fmt::Debug for SimulatedStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "store of lane {} in incarnation {}", self.lane.index, self.incarnation)
    }
}

/// A write under way: when it is dropped, the lane died, and it may be in the store or not.
struct Writing<'a> {
    store: &'a SimulatedStore,
    started_at: Instant,
    bytes: Option<Vec<u8>>,
    coin: bool,
}

impl Writing<'_> {
    fn apply(&mut self) {
        let Some(bytes) = self.bytes.take() else { return };
        let SimulatedStore { simulation, lane, incarnation } = self.store;
        let owed = |since, before| simulation.model.owed(&lane.plan, since, before);
        let left_out = |key| simulation.model.version(key).is_some_and(|version| lane.plan.leaves_out(&version));
        let judged = lock(&lane.ledger).store(*incarnation, self.started_at, simulation.now(), &bytes, owed, left_out);
        if let Err(broken) = judged {
            simulation.violation(format!("lane {}: {broken}", lane.index));
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if self.coin {
            self.apply();
        }
    }
}

impl SimulatedStore {
    fn is_failing(&self, random: &mut fastrand::Rng) -> bool {
        let plan = &self.simulation.plan.store;
        !self.simulation.is_calm() && (open(&plan.fails, self.simulation.at()).is_some() || random.f64() < plan.fail)
    }

    fn error() -> StateError {
        let source = std::io::Error::other("no space left");
        StateError::Io { action: "write", path: "memory".into(), source }
    }
}

impl SimulatedStore {
    async fn append(&self, append: &Append) -> Result<(), StateError> {
        let mut random = self.lane.fork_random();
        let fails = self.is_failing(&mut random);
        self.simulation.reach(Point::SaveBegins, Some(self.lane.index)).await;
        sleep(about(&mut random, self.simulation.plan.store.latency)).await;
        // Torn in the middle, or whole though an error is reported.
        let written = if fails { random.usize(..=append.bytes.len()) } else { append.bytes.len() };
        let mut ledger = lock(&self.lane.ledger);
        let segment = ledger.journal.entry(append.segment).or_default();
        let offset = usize::try_from(append.offset).unwrap();
        if segment.len() < offset {
            self.simulation.violation(format!("{self:?}: a gap in segment {} before {offset}", append.segment));
        }
        segment.resize(offset, 0);
        segment.extend_from_slice(&append.bytes[..written]);
        if fails { Err(Self::error()) } else { Ok(()) }
    }

    async fn save(&self, checkpoint: Vec<u8>) -> Result<(), StateError> {
        let mut random = self.lane.fork_random();
        let applied = random.f64() < self.simulation.plan.store.applied;
        self.simulation.note(format_args!("{self:?}: {} bytes", checkpoint.len()));
        let mut writing =
            Writing { store: self, started_at: Instant::now(), bytes: Some(checkpoint), coin: random.bool() };
        self.simulation.reach(Point::SaveBegins, Some(self.lane.index)).await;
        sleep(about(&mut random, self.simulation.plan.store.latency)).await;
        if self.is_failing(&mut random) {
            if applied {
                writing.apply();
            }
            writing.bytes = None;
            lock(&self.lane.ledger).save_failed(self.incarnation);
            self.simulation.note(format_args!("{self:?}: failed, applied {applied}"));
            return Err(Self::error());
        }
        writing.apply();
        self.simulation.reach(Point::SaveApplied, Some(self.lane.index)).await;
        Ok(())
    }
}

#[async_trait]
impl CheckpointBackend for SimulatedStore {
    async fn load(&self, _: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        let mut random = self.lane.fork_random();
        sleep(about(&mut random, self.simulation.plan.store.latency)).await;
        self.simulation.reach(Point::Loaded, Some(self.lane.index)).await;
        if self.is_failing(&mut random) { Err(Self::error()) } else { Ok(lock(&self.lane.ledger).stored.clone()) }
    }

    async fn commit(&self, _: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        let CheckpointUpdate { checkpoint, journal } = update;
        for append in &journal.appends {
            self.append(append).await?;
        }
        self.save(checkpoint).await?;
        let mut ledger = lock(&self.lane.ledger);
        journal.released.iter().for_each(|segment| _ = ledger.journal.remove(segment));
        Ok(journal.released)
    }

    fn keeps_journals(&self) -> bool {
        true
    }

    async fn read_journal(&self, _: &CheckpointKey, segment: u64) -> Result<Option<Vec<u8>>, StateError> {
        Ok(lock(&self.lane.ledger).journal.get(&segment).cloned())
    }
}
