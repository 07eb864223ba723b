//! Where a lane's checkpoints go: to the store, or with the events into the sink and a copy to the store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use tracing::{info, warn};

use super::saver::Saver;
use super::standing::Standing;
use crate::record::JournalChange;
use crate::sink::deliver::Delivery;
use crate::sink::{Commits, Covering, Sink, Unsaved};
use crate::state::{LaneId, StateError, Store};

/// The copy of a checkpoint that a sink keeps is written at most this often: where it is needed, the sink's is gone.
const COPY_INTERVAL: Duration = Duration::from_secs(5);

/// Who keeps a lane's checkpoint.
#[derive(Debug, Clone)]
pub enum Keeping {
    /// The state store.
    Store(Arc<dyn Store>),
    /// The sink, which commits it with the events.
    Sink(Arc<dyn Sink>),
    /// The state store, a copy of what the sink keeps.
    Copy(Arc<dyn Store>),
}

impl Keeping {
    /// The sink that commits checkpoints with the events.
    fn commits(&self) -> Option<&dyn Commits> {
        match self {
            Self::Sink(sink) => sink.commits(),
            _ => None,
        }
    }

    /// Whether what the ledger remembers beside the checkpoint is kept.
    pub fn keeps_journals(&self) -> bool {
        match self {
            Self::Store(store) => store.keeps_journals(),
            Self::Sink(_) => true,
            Self::Copy(_) => false,
        }
    }

    /// Stores `standing`; durable when it returns.
    pub fn save(&self, lane: &LaneId, standing: &Standing) -> BoxFuture<'static, Result<(), Unsaved>> {
        self.save_with(lane, standing, JournalChange::default()).map_ok(drop).boxed()
    }

    /// The same, with what changes in the lane's journal. Gives the segments of it that were removed.
    pub fn save_with(
        &self,
        lane: &LaneId,
        standing: &Standing,
        journal: JournalChange,
    ) -> BoxFuture<'static, Result<Vec<u64>, Unsaved>> {
        let lane = lane.clone();
        match self.clone() {
            Self::Store(store) => {
                let bytes = standing.encode();
                async move {
                    for append in &journal.appends {
                        store.write_journal(&lane, append).await.map_err(unsaved)?;
                    }
                    store.save(&lane, bytes).await.map_err(unsaved)?;
                    // What cannot be removed now is tried again with the next checkpoint.
                    let dropped = journal.dropped;
                    let removed = dropped.is_empty() || store.drop_journal(&lane, &dropped).await.is_ok();
                    Ok(if removed { dropped } else { Vec::new() })
                }
                .boxed()
            }
            Self::Copy(store) => {
                let bytes = standing.copy();
                async move { save_copy(&*store, &lane, bytes).await.map_err(unsaved).map(|()| Vec::new()) }.boxed()
            }
            keeping @ Self::Sink(_) => {
                let covering = Covering { checkpoint: standing.encode(), journal };
                async move {
                    if let Some(commits) = keeping.commits() {
                        commits.save(&covering).await?;
                    }
                    Ok(covering.journal.dropped)
                }
                .boxed()
            }
        }
    }
}

/// Another process may have asked for the lane meanwhile, and so have its name in the store; but whose the lane is, the sink
/// decides.
async fn save_copy(store: &dyn Store, lane: &LaneId, copy: Vec<u8>) -> Result<(), StateError> {
    let saved = store.save(lane, copy.clone()).await;
    if !matches!(saved, Err(StateError::Conflict { .. })) {
        return saved;
    }
    if store.load(lane).await?.is_some_and(|stored| !Standing::is_copy(&stored)) {
        // Written by hand, or by a lane whose sink keeps no checkpoint: it counts from the next start on.
        return saved;
    }
    store.claim(lane).await?;
    store.save(lane, copy).await
}

fn unsaved(error: StateError) -> Unsaved {
    match error {
        StateError::Conflict { .. } => Unsaved::Superseded(error.to_string()),
        other => Unsaved::Later(other.to_string()),
    }
}

/// The checkpoint that a lane goes on from, as bytes; none for a new lane. Whoever keeps it lets no other process write it
/// from now on.
///
/// # Errors
/// When it cannot be had for now, and why.
pub async fn open(keeping: &Keeping, store: &Arc<dyn Store>, lane: &LaneId) -> Result<Option<Vec<u8>>, String> {
    let stored = store.claim(lane).await.map_err(|error| error.to_string())?;
    let Some(commits) = keeping.commits() else { return Ok(stored) };
    let (own, from) = match (commits.open().await?, stored) {
        // Written by this lane while its sink kept no checkpoint, or by hand: it is newer than what the sink has.
        (_, Some(stored)) if !Standing::is_copy(&stored) => (stored, "the state store"),
        (Some(own), _) => return Ok(Some(own)),
        (None, Some(copy)) => (copy, "the copy in the state store"),
        (None, None) => return Ok(None),
    };
    let (own, left_behind) = moved_in(&own, &**store, lane).await?;
    let LaneId { pipeline, stream, sink } = lane;
    info!(%pipeline, %stream, %sink, from, "the sink takes the lane's checkpoint over");
    let covering = Covering { checkpoint: own.encode(), journal: JournalChange::default() };
    commits.save(&covering).await.map_err(|error| error.to_string())?;
    // Before anything is delivered: from now on the sink's counts.
    store.save(lane, own.copy()).await.map_err(|error| error.to_string())?;
    if !left_behind.is_empty()
        && let Err(error) = store.drop_journal(lane, &left_behind).await
    {
        warn!(%pipeline, %stream, %sink, %error, "the lane's journal in the state store was not removed");
    }
    Ok(Some(covering.checkpoint))
}

/// What a sink goes on from that `store` kept so far, and what it leaves behind: the journal, though not the sums in it.
async fn moved_in(bytes: &[u8], store: &dyn Store, lane: &LaneId) -> Result<(Standing, Vec<u64>), String> {
    let mut standing = Standing::decode(bytes).map_err(|error| error.to_string())?;
    if !standing.ledger.has_journals() {
        return Ok((standing, Vec::new()));
    }
    let journal = standing.ledger.journal(store, lane).await.map_err(|error| error.to_string())?;
    standing.ledger.leave_journal(&journal);
    Ok((standing, journal.into_keys().collect()))
}

/// Writes a lane's checkpoints as they fall due.
pub struct Checkpoints {
    main: Saver,
    /// Where the sink commits them with the events.
    copy: Option<Box<Saver>>,
}

impl Checkpoints {
    /// Nothing is to be saved yet. `interval` is `--checkpoint-interval`.
    pub fn new(
        keeping: Keeping,
        store: &Arc<dyn Store>,
        lane: &LaneId,
        delivery: &Delivery,
        interval: Duration,
        mut random: fastrand::Rng,
    ) -> Self {
        let Delivery { meter, clock, .. } = delivery;
        let mut saver =
            |keeping, interval| Saver::new(keeping, lane.clone(), meter.clone(), *clock, interval, random.fork());
        let copy = keeping.commits().is_some();
        let copy = copy.then(|| Box::new(saver(Keeping::Copy(store.clone()), interval.max(COPY_INTERVAL))));
        Self { main: saver(keeping, interval), copy }
    }

    /// True when the sink commits them with the events.
    pub fn go_along(&self) -> bool {
        self.copy.is_some()
    }

    /// The position moved over time that held nothing.
    pub fn time_passed(&mut self) {
        self.main.time_passed();
    }

    /// What changes in the lane's journal with what its sink commits next.
    pub fn spill(&mut self, standing: &mut Standing) -> JournalChange {
        self.main.spill(standing)
    }

    /// A delivery is over: a sink that commits checkpoints with the events has committed what was spilled.
    pub fn delivered(&mut self, standing: &mut Standing) {
        if self.go_along() {
            let removed = standing.ledger.released().to_vec();
            self.main.spilled(standing, &removed);
        }
    }

    /// Events were settled.
    pub fn events_settled(&mut self) {
        match &mut self.copy {
            None => self.main.events_settled(),
            Some(copy) => {
                self.main.saved_elsewhere();
                copy.events_settled();
            }
        }
    }

    /// False while nothing may be sent: the store takes nothing, and a kill would repeat all of it; or a checkpoint is on its
    /// way to the sink, and one that is committed with events must not be overtaken by it.
    pub fn let_send(&self) -> bool {
        !self.main.is_failing() && (self.copy.is_none() || !self.main.is_writing())
    }

    /// True when another process has taken the lane over, or what was committed is not known.
    pub fn is_superseded(&self) -> bool {
        self.main.is_superseded()
    }

    /// True when nothing is being written and nothing is due by now.
    pub fn is_settled(&self) -> bool {
        self.main.is_settled()
    }

    /// Writes `standing` when it is due; see [`Saver::work`]. `sending`: events are on their way.
    pub async fn work(&mut self, standing: &mut Standing, sending: bool) {
        let Some(copy) = &mut self.copy else { return self.main.work(standing).await };
        let due = tokio::select! {
            biased;
            () = self.main.ready(), if !sending => &mut self.main,
            () = copy.ready() => copy,
        };
        due.write(standing).await;
    }

    /// Writes what is not stored yet, without waiting for the interval, until it is there. A copy is tried once.
    pub async fn flush(&mut self, standing: &mut Standing) {
        self.main.flush(standing).await;
        if let Some(copy) = &mut self.copy {
            copy.flush_once(standing).await;
        }
    }
}
