//! The lanes and files that a process knows of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::lane::LaneCheckpoint;
use s1_forwarder_record::LaneId;

use crate::lanes::spec::LaneSpec;
use crate::pipeline::{Loaded, Pipeline};

/// Number of orphans of one tenant above which its new lanes do not begin.
pub const MAX_ORPHANS: usize = 1_000;
/// Wait before a lane with too many orphans looks again: a command may have removed some.
pub const AGAIN_AFTER_ORPHANS: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub struct Known {
    /// The lanes that had a checkpoint when the store was listed, and the lanes of the files; whether each runs here.
    pub lanes: BTreeMap<LaneId, bool>,
    pub files: KnownFiles,
    /// `renamed_from` by the pipeline's name.
    pub renamed_from: BTreeMap<String, String>,
    /// The lanes that belong to no file.
    pub orphans: Vec<LaneId>,
    /// The lanes that wait for `state rename`, or have waited, and the pipelines whose checkpoints they want.
    pub wanted: BTreeMap<LaneId, String>,
    /// The origins of the lanes whose checkpoint was read.
    pub origins: BTreeMap<LaneId, Origin>,
}

impl Known {
    pub fn set_running(&mut self, lane: &LaneId, runs: bool) {
        self.origins.remove(lane);
        match self.lanes.get_mut(lane) {
            Some(running) => *running = runs,
            None => drop(self.lanes.insert(lane.clone(), runs)),
        }
    }

    pub fn runs(&self, lane: &LaneId) -> bool {
        self.lanes.get(lane).copied().unwrap_or_default()
    }

    pub fn find_orphans(&mut self) {
        self.orphans = self.lanes.keys().filter(|lane| !self.files.has(lane)).cloned().collect();
    }

    /// Returns whether a lane waits for the checkpoint of this pipeline.
    pub fn is_wanted(&self, pipeline: &str) -> bool {
        self.wanted.iter().any(|(lane, of)| of == pipeline && self.files.has(lane) && !self.runs(lane))
    }

    /// Lanes of other pipelines, without a file, with the same stream.
    pub fn candidates<'a>(&'a self, of: &'a LaneId) -> impl Iterator<Item = &'a LaneId> {
        let has_no_file = |lane: &&LaneId| !self.files.has_pipeline(&lane.pipeline);
        let is_other = |lane: &&LaneId| lane.stream == of.stream && lane.pipeline != of.pipeline;
        self.orphans.iter().filter(is_other).filter(has_no_file)
    }

    /// Returns the orphans whose console may be `host`, and that the lane may know of. An orphan whose sink has the
    /// same name comes first.
    pub fn candidates_at(&self, of: &LaneSpec, host: &str) -> Vec<LaneId> {
        let fits = |origin: &Origin| *origin.host == *host && may_know(of, &origin.tenant);
        let may_fit = |lane: &&LaneId| self.origins.get(*lane).is_none_or(fits);
        let mut candidates: Vec<LaneId> = self.candidates(&of.id).filter(may_fit).cloned().collect();
        candidates.sort_by_key(|lane| lane.sink != of.id.sink);
        candidates
    }

    /// Returns whether there are many orphans. Without many orphans, no tenant has too many.
    pub fn has_many_orphans(&self) -> bool {
        self.orphans.len() > MAX_ORPHANS
    }
}

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

    /// Returns whether the lane's checkpoint belongs to a file. The lanes of an invalid one are not known: all of its
    /// name do.
    pub fn has(&self, lane: &LaneId) -> bool {
        match self.valid.get(&lane.pipeline) {
            Some(pipeline) => pipeline.has_lane(lane.stream, &lane.sink),
            None => self.has_pipeline(&lane.pipeline),
        }
    }
}

/// The console's host and the tenant in an orphan's checkpoint. Empty if the checkpoint cannot be read.
#[derive(Debug, Default)]
pub struct Origin {
    pub host: Box<str>,
    pub tenant: Box<str>,
}

impl From<LaneCheckpoint> for Origin {
    fn from(checkpoint: LaneCheckpoint) -> Self {
        Self { host: checkpoint.host, tenant: checkpoint.tenant }
    }
}

/// Returns whether a lane may know of a checkpoint of this tenant. A lane of a tenant knows only checkpoints of the
/// same tenant, a lane of the operator knows all.
pub fn may_know(lane: &LaneSpec, tenant: &str) -> bool {
    lane.tenant.as_deref().is_none_or(|own| own == tenant)
}
