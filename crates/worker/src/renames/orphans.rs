//! Checkpoints that belong to no pipeline file. Nothing removes them but commands, so a tenant has a bound of them.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use s1_forwarder_engine::checkpoint::{StateError, Store};
use s1_forwarder_failure::Failure;
use s1_forwarder_record::LaneId;

use super::known::{AGAIN_AFTER_ORPHANS, MAX_ORPHANS, Origin};
use super::{Beginning, Renames, load};

/// Says what to do about a pipeline without a file. `state_flags` are the flags of a command that uses the same state.
pub fn advice_of_lost(pipeline: &str, state_flags: &str) -> String {
    format!(
        "its checkpoints are kept: put the file back, or, if the customer is to get nothing, stop the worker and run: \
         s1-forwarder state delete {pipeline}{state_flags}"
    )
}

/// Number of checkpoints that are read at a time.
const READ_AT_ONCE: usize = 1_000;

impl Renames {
    /// Returns how many checkpoints belong to no file, as far as this worker knows.
    pub fn count_orphans(&self) -> usize {
        self.known.lock().orphans.len()
    }

    /// Returns whether a pipeline without a file has checkpoints that no lane waits for, as far as it is known here.
    pub fn has_lost(&self, pipeline: &str) -> bool {
        let known = self.known.lock();
        let has_orphans = known.orphans.iter().any(|lane| lane.pipeline == pipeline);
        has_orphans && !known.files.has_pipeline(pipeline) && !known.is_wanted(pipeline)
    }

    /// Returns the pipelines for which [`Self::has_lost`] is true.
    pub fn lost_pipelines(&self) -> BTreeSet<String> {
        let names: BTreeSet<String> = self.known.lock().orphans.iter().map(|lane| lane.pipeline.clone()).collect();
        names.into_iter().filter(|name| self.has_lost(name)).collect()
    }

    /// Returns whether the names of the store's checkpoints are known.
    pub fn has_listed(&self) -> bool {
        self.turn.try_lock().is_ok_and(|listing| listing.done.is_some())
    }

    /// Returns why a new lane of a tenant may not begin; `None` if it may.
    ///
    /// # Errors
    /// If the checkpoints cannot be read.
    pub(super) async fn too_many_orphans(&self, lane: Beginning<'_>) -> Result<Option<String>, Failure> {
        let Some(tenant) = lane.spec.tenant.as_deref() else { return Ok(None) };
        let store = lane.store();
        let mut count = self.orphans_of(&*store, tenant).await?;
        if count > MAX_ORPHANS {
            self.forget_listing_after(AGAIN_AFTER_ORPHANS).await;
            self.list(&*store).await?;
            count = self.orphans_of(&*store, tenant).await?;
        }
        Ok((count > MAX_ORPHANS).then(|| {
            format!(
                "{count} checkpoints of this namespace, directory or file belong to no pipeline, and no lane begins with \
                 more than {MAX_ORPHANS}: give pipelines and sinks their former names, or the operator removes the checkpoints: \
                 s1-forwarder state delete --orphaned"
            )
        }))
    }

    /// Counts the orphans of a tenant. Reads the checkpoints only if there are many orphans.
    async fn orphans_of(&self, store: &dyn Store, tenant: &str) -> Result<usize, Failure> {
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
        let is_of_tenant = |lane: &&LaneId| known.origins.get(*lane).is_some_and(|origin| *origin.tenant == *tenant);
        Ok(known.orphans.iter().filter(is_of_tenant).count())
    }
}
