//! Where a lane's checkpoints go: to the store, or with the events into the sink and a copy to the store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tracing::info;

use super::saver::Saver;
use crate::sink::{Sink, Unsaved};
use crate::source::Checkpoint;
use crate::state::{LaneId, StateError, Store};
use crate::telemetry::Meter;

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
    /// Stores `checkpoint`; durable when it returns.
    pub fn save(&self, lane: &LaneId, checkpoint: &Checkpoint) -> BoxFuture<'static, Result<(), Unsaved>> {
        let (lane, bytes) = (lane.clone(), checkpoint.encode());
        match self.clone() {
            Self::Store(store) => async move { store.save(&lane, bytes).await.map_err(unsaved) }.boxed(),
            Self::Copy(store) => {
                async move { store.save(&lane, Checkpoint::copied(bytes)).await.map_err(unsaved) }.boxed()
            }
            Self::Sink(sink) => async move {
                match sink.commits() {
                    Some(commits) => commits.save(&bytes).await,
                    None => Ok(()),
                }
            }
            .boxed(),
        }
    }
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
pub async fn open(sink: &Arc<dyn Sink>, store: &Arc<dyn Store>, lane: &LaneId) -> Result<Option<Vec<u8>>, String> {
    let stored = store.claim(lane).await.map_err(|error| error.to_string())?;
    let Some(commits) = sink.commits() else { return Ok(stored) };
    let (own, from) = match (commits.open().await?, stored) {
        // Written by this lane while its sink kept no checkpoint, or by hand: it is newer than what the sink has.
        (_, Some(stored)) if !Checkpoint::is_copy(&stored) => (stored, "the state store"),
        (Some(own), _) => return Ok(Some(own)),
        (None, Some(copy)) => (copy, "the copy in the state store"),
        (None, None) => return Ok(None),
    };
    let own = Checkpoint::original(own);
    let LaneId { pipeline, stream, sink } = lane;
    info!(%pipeline, %stream, %sink, from, "the sink takes the lane's checkpoint over");
    commits.save(&own).await.map_err(|error| error.to_string())?;
    // Before anything is delivered: from now on the sink's counts.
    store.save(lane, Checkpoint::copied(own.clone())).await.map_err(|error| error.to_string())?;
    Ok(Some(own))
}

/// Writes a lane's checkpoints as they fall due.
pub struct Checkpoints {
    main: Saver,
    /// Where the sink commits them with the events.
    copy: Option<Saver>,
}

impl Checkpoints {
    /// Nothing is to be saved yet. `interval` is `--checkpoint-interval`.
    pub fn new(
        sink: &Arc<dyn Sink>,
        store: Arc<dyn Store>,
        lane: &LaneId,
        meter: &Meter,
        interval: Duration,
        mut random: fastrand::Rng,
    ) -> Self {
        let mut saver = |keeping, interval| Saver::new(keeping, lane.clone(), meter.clone(), interval, random.fork());
        match sink.commits() {
            None => Self { main: saver(Keeping::Store(store), interval), copy: None },
            Some(_) => Self {
                main: saver(Keeping::Sink(sink.clone()), interval),
                copy: Some(saver(Keeping::Copy(store), interval.max(COPY_INTERVAL))),
            },
        }
    }

    /// The position moved over time that held nothing.
    pub fn time_passed(&mut self) {
        self.main.time_passed();
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

    /// Writes `checkpoint` when it is due; see [`Saver::work`]. `sending`: events are on their way.
    pub async fn work(&mut self, checkpoint: &Checkpoint, sending: bool) {
        let Some(copy) = &mut self.copy else { return self.main.work(checkpoint).await };
        tokio::select! {
            biased;
            () = self.main.work(checkpoint), if !sending => {}
            () = copy.work(checkpoint) => {}
        }
    }

    /// Writes what is not stored yet, without waiting for the interval, until it is there. A copy is tried once.
    pub async fn flush(&mut self, checkpoint: &Checkpoint) {
        self.main.flush(checkpoint).await;
        if let Some(copy) = &mut self.copy {
            copy.flush_once(checkpoint).await;
        }
    }
}
