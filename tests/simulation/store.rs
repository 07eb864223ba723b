//! The store of checkpoints: slow, failing for a while, and now and then unsure whether it wrote.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use s1_forwarder::state::ledger::Append;
use s1_forwarder::state::{LaneId, StateError, Store};
use tokio::time::{Instant, sleep};

use crate::plan::open;
use crate::world::{LaneWorld, Point, World, about, lock};

/// The store, as one life of a lane sees it.
#[derive(Clone)]
pub struct Shelf {
    pub world: Arc<World>,
    pub lane: Arc<LaneWorld>,
    pub life: usize,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "store of lane {} in life {}", self.lane.index, self.life)
    }
}

/// A write under way: when it is dropped, the lane died, and it may be in the store or not.
struct Writing<'a> {
    shelf: &'a Shelf,
    begun: Instant,
    bytes: Option<Vec<u8>>,
    coin: bool,
}

impl Writing<'_> {
    fn apply(&mut self) {
        let Some(bytes) = self.bytes.take() else { return };
        let Shelf { world, lane, life } = self.shelf;
        let owed = |since, before| world.nature.owed(&lane.plan, since, before);
        let left_out = |key| world.nature.version(key).is_some_and(|version| lane.plan.leaves_out(&version));
        let judged = lock(&lane.ledger).store(*life, self.begun, world.now(), &bytes, owed, left_out);
        if let Err(broken) = judged {
            world.violation(format!("lane {}: {broken}", lane.index));
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

impl Shelf {
    fn is_failing(&self, random: &mut fastrand::Rng) -> bool {
        let plan = &self.world.plan.store;
        !self.world.is_calm() && (open(&plan.fails, self.world.at()).is_some() || random.f64() < plan.fail)
    }

    fn error() -> StateError {
        let source = std::io::Error::other("no space left");
        StateError::Io { action: "write", path: "memory".into(), source }
    }
}

impl Store for Shelf {
    fn load<'a>(&'a self, _: &'a LaneId) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        Box::pin(async move {
            let mut random = self.lane.fork_random();
            sleep(about(&mut random, self.world.plan.store.latency)).await;
            self.world.reach(Point::Loaded, Some(self.lane.index)).await;
            if self.is_failing(&mut random) { Err(Self::error()) } else { Ok(lock(&self.lane.ledger).stored.clone()) }
        })
    }

    fn save<'a>(&'a self, _: &'a LaneId, checkpoint: Vec<u8>) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async move {
            let mut random = self.lane.fork_random();
            let applied = random.f64() < self.world.plan.store.applied;
            self.world.note(format_args!("{self:?}: {} bytes", checkpoint.len()));
            let mut writing =
                Writing { shelf: self, begun: Instant::now(), bytes: Some(checkpoint), coin: random.bool() };
            self.world.reach(Point::SaveBegins, Some(self.lane.index)).await;
            sleep(about(&mut random, self.world.plan.store.latency)).await;
            if self.is_failing(&mut random) {
                if applied {
                    writing.apply();
                }
                writing.bytes = None;
                lock(&self.lane.ledger).save_failed(self.life);
                self.world.note(format_args!("{self:?}: failed, applied {applied}"));
                return Err(Self::error());
            }
            writing.apply();
            self.world.reach(Point::SaveApplied, Some(self.lane.index)).await;
            Ok(())
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<LaneId>, StateError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn rename<'a>(&'a self, from: &'a LaneId, _: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async move { Err(StateError::Unknown(from.clone())) })
    }

    fn delete<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async move { Err(StateError::Unknown(lane.clone())) })
    }

    fn keeps_journals(&self) -> bool {
        true
    }

    fn write_journal<'a>(&'a self, _: &'a LaneId, append: &'a Append) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async move {
            let mut random = self.lane.fork_random();
            let fails = self.is_failing(&mut random);
            self.world.reach(Point::SaveBegins, Some(self.lane.index)).await;
            sleep(about(&mut random, self.world.plan.store.latency)).await;
            // Torn in the middle, or whole though it is told otherwise.
            let written = if fails { random.usize(..=append.bytes.len()) } else { append.bytes.len() };
            let mut ledger = lock(&self.lane.ledger);
            let segment = ledger.journal.entry(append.segment).or_default();
            let offset = usize::try_from(append.offset).unwrap();
            if segment.len() < offset {
                self.world.violation(format!("{self:?}: a gap in segment {} before {offset}", append.segment));
            }
            segment.resize(offset, 0);
            segment.extend_from_slice(&append.bytes[..written]);
            if fails { Err(Self::error()) } else { Ok(()) }
        })
    }

    fn read_journal<'a>(&'a self, _: &'a LaneId, segment: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        Box::pin(async move { Ok(lock(&self.lane.ledger).journal.get(&segment).cloned()) })
    }

    fn drop_journal<'a>(&'a self, _: &'a LaneId, segments: &'a [u64]) -> BoxFuture<'a, Result<(), StateError>> {
        Box::pin(async move {
            let mut ledger = lock(&self.lane.ledger);
            segments.iter().for_each(|segment| _ = ledger.journal.remove(segment));
            Ok(())
        })
    }
}
