//! Checkpoints that belong to no pipeline file. Nothing removes them but commands, so a tenant has a bound of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use s1_forwarder_engine::lane::LaneCheckpoint;
use s1_forwarder_failure::Failure;
use s1_forwarder_state::{LaneId, StateError, Store};

use super::{Beginning, Known, Renames, load};
use crate::pipeline::{Loaded, Pipeline};

/// With more orphans of one tenant's place, its new lanes do not begin.
const MOST: usize = 1_000;
/// Checkpoints that are read at a time.
const READ_AT_ONCE: usize = 1_000;
/// Wait before a lane with too many orphans looks again: a command may have removed some.
pub const AGAIN: Duration = Duration::from_secs(60);

/// The pipeline files that are read.
#[derive(Debug, Default)]
pub struct KnownFiles {
    /// The names of all pipelines with a file, valid or not.
    names: BTreeSet<String>,
    valid: BTreeMap<String, Arc<Pipeline>>,
}

impl KnownFiles {
    pub fn new<'a>(names: BTreeSet<String>, valid: impl Iterator<Item = &'a Arc<Pipeline>>) -> Self {
        let valid = valid.map(|pipeline| (pipeline.name.clone(), pipeline.clone())).collect();
        Self { names, valid }
    }

    pub fn of(loaded: Loaded) -> Self {
        Self::new(loaded.names, loaded.pipelines.iter())
    }

    pub(super) fn pipelines(&self) -> impl Iterator<Item = &Arc<Pipeline>> {
        self.valid.values()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn has_pipeline(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether the lane's checkpoint belongs to a file. The lanes of an invalid one are not known: all of its name do.
    pub fn has(&self, lane: &LaneId) -> bool {
        match self.valid.get(&lane.pipeline) {
            Some(pipeline) => pipeline.has_lane(lane.stream, &lane.sink),
            None => self.has_pipeline(&lane.pipeline),
        }
    }
}

/// What an orphan's checkpoint says of where it comes from. Empty where it cannot be read.
#[derive(Debug, Default)]
pub struct Origin {
    pub host: Box<str>,
    pub place: Box<str>,
}

impl From<LaneCheckpoint> for Origin {
    fn from(checkpoint: LaneCheckpoint) -> Self {
        Self { host: checkpoint.host, place: checkpoint.place }
    }
}

impl Known {
    /// Without many orphans, no place has too many.
    pub fn has_many_orphans(&self) -> bool {
        self.orphans.len() > MOST
    }
}

impl Renames {
    /// How many checkpoints belong to no file, as far as it is known here.
    pub fn count_orphans(&self) -> usize {
        self.known.lock().orphans.len()
    }

    /// Why a new lane of a tenant may not begin; `None` if it may.
    ///
    /// # Errors
    /// If the checkpoints cannot be read.
    pub(super) async fn too_many_orphans(&self, lane: Beginning<'_>) -> Result<Option<String>, Failure> {
        let Some(place) = lane.spec.place.as_deref() else { return Ok(None) };
        let store = lane.store();
        let mut count = self.orphans_of(&*store, place).await?;
        if count > MOST {
            self.forget_listing_after(AGAIN).await;
            self.list(&*store).await?;
            count = self.orphans_of(&*store, place).await?;
        }
        Ok((count > MOST).then(|| {
            format!(
                "{count} checkpoints of this namespace, directory or file belong to no pipeline, and no lane begins with \
                 more than {MOST}: give pipelines and sinks their former names, or the operator removes the checkpoints: \
                 s1-forwarder state delete --orphaned"
            )
        }))
    }

    /// The orphans of a place. None is read unless there are many.
    async fn orphans_of(&self, store: &dyn Store, place: &str) -> Result<usize, Failure> {
        if !self.known.lock().has_many_orphans() {
            return Ok(0);
        }
        // One lane reads them for all.
        let _reading = self.reading.lock().await;
        let unread: Vec<LaneId> = {
            let known = self.known.lock();
            known.orphans.iter().filter(|lane| !known.origins.contains_key(*lane)).cloned().collect()
        };
        for some in unread.chunks(READ_AT_ONCE) {
            let read = join_all(some.iter().map(|lane| load(store, lane.clone()))).await;
            for (lane, read) in some.iter().zip(read) {
                let origin = match read {
                    Ok(found) => {
                        found.and_then(|(_, checkpoint)| checkpoint).map_or_else(Origin::default, Origin::from)
                    }
                    Err(StateError::Damaged { .. } | StateError::Newer { .. }) => Origin::default(),
                    Err(error) => return Err(error.into()),
                };
                self.known.lock().origins.insert(lane.clone(), origin);
            }
        }
        let known = self.known.lock();
        let is_of_place = |lane: &&LaneId| known.origins.get(*lane).is_some_and(|origin| *origin.place == *place);
        Ok(known.orphans.iter().filter(is_of_place).count())
    }
}
