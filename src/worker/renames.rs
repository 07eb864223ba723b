//! Warns about lanes that would begin at `since` although the same records were delivered under another name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::warn;

use super::spec::LaneSpec;
use crate::checkpoint::Part;
use crate::lane::LaneCheckpoint;
use crate::pipeline::Pipeline;
use crate::state::{LaneId, Store};

/// The names must be known before the lanes start, which wait no longer for them.
const NAMES_TIMEOUT: Duration = Duration::from_secs(5);
/// Warnings at a time.
const MOST: usize = 20;

/// Warns about each new lane whose console and stream have a checkpoint that no lane uses: its pipeline or sink was
/// probably renamed.
#[derive(Debug, Default)]
pub(super) struct Renames {
    /// Lanes that have a checkpoint: those of the store when the process started, and those that started since.
    known: BTreeSet<LaneId>,
}

/// A lane that may be the new name of another one.
#[derive(Debug)]
struct Suspicion {
    new: LaneId,
    unused: LaneId,
    /// The console of the new lane.
    host: String,
}

impl Renames {
    /// To be called before the first lanes start, because a lane that starts stores a checkpoint. The store reports its
    /// own failures, to the lanes that use it.
    pub async fn of(store: &dyn Store) -> Self {
        let keys = timeout(NAMES_TIMEOUT, store.list()).await.ok().and_then(Result::ok).unwrap_or_default();
        Self { known: keys.into_iter().filter(|key| key.part == Part::Whole).map(|key| key.lane).collect() }
    }

    /// To be called with all pipelines before new ones of them start. The future, which reads checkpoints, does not
    /// have to be awaited before.
    pub fn check(&mut self, store: Arc<dyn Store>, pipelines: &[&Pipeline]) -> impl Future<Output = ()> + Send + use<> {
        let mut lanes = BTreeMap::new();
        let mut paused = BTreeSet::new();
        for pipeline in pipelines {
            let ids = LaneSpec::of(pipeline).into_iter().map(|spec| spec.id.clone());
            lanes.extend(ids.map(|id| (id, pipeline.console.url.host())));
            if !pipeline.enabled {
                paused.insert(pipeline.name.as_str());
            }
        }
        let pairs = candidates(&lanes, &self.known, &paused).into_iter();
        let suspicions: Vec<_> = pairs
            .map(|(new, unused)| Suspicion {
                host: lanes.get(&new).copied().unwrap_or_default().to_owned(),
                new,
                unused,
            })
            .collect();
        self.known.extend(lanes.into_keys());
        async move {
            for suspicion in suspicions {
                suspicion.warn_if_confirmed(&*store).await;
            }
        }
    }
}

impl Suspicion {
    async fn warn_if_confirmed(&self, store: &dyn Store) {
        let Self { new, unused, host } = self;
        let stored = store.load(&unused.clone().into()).await;
        let checkpoint = stored.ok().flatten().and_then(|bytes| LaneCheckpoint::decode(&bytes).ok());
        if checkpoint.is_some_and(|checkpoint| *checkpoint.host == **host) {
            let LaneId { pipeline, stream, sink } = new;
            warn!(
                %pipeline, %stream, %sink,
                "a new lane begins at `since`, but {unused} has a checkpoint for this console and is not in use; if it \
                 was renamed, stop the worker and run: s1-forwarder state delete {new}; s1-forwarder state rename \
                 {unused} {new}"
            );
        }
    }
}

/// Pairs of a lane without a checkpoint and a checkpoint without a lane, of the same stream and with the same pipeline
/// or sink.
fn candidates<T>(
    lanes: &BTreeMap<LaneId, T>,
    stored: &BTreeSet<LaneId>,
    paused: &BTreeSet<&str>,
) -> Vec<(LaneId, LaneId)> {
    let is_unused = |lane: &&LaneId| !lanes.contains_key(*lane) && !paused.contains(lane.pipeline.as_str());
    let unused: Vec<&LaneId> = stored.iter().filter(is_unused).collect();
    let new = lanes.keys().filter(|lane| !unused.is_empty() && !stored.contains(*lane));
    let pairs = new.flat_map(|new| {
        let is_alike = |unused: &LaneId| {
            unused.stream == new.stream && (unused.pipeline == new.pipeline || unused.sink == new.sink)
        };
        unused.iter().filter(move |unused| is_alike(unused)).map(|unused| (new.clone(), (*unused).clone()))
    });
    pairs.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> BTreeSet<LaneId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn found(lanes: &[&str], stored: &[&str], paused: &[&str]) -> Vec<String> {
        let lanes = ids(lanes).into_iter().map(|lane| (lane, ())).collect();
        let pairs = candidates(&lanes, &ids(stored), &paused.iter().copied().collect());
        pairs.into_iter().map(|(new, unused)| format!("{unused} {new}")).collect()
    }

    #[test]
    fn a_renamed_pipeline_or_sink_is_a_candidate() {
        let stored = ["acme/threats/siem", "acme/agents/siem"];
        assert_eq!(found(&["corp/threats/siem"], &stored, &[]), ["acme/threats/siem corp/threats/siem"]);
        assert_eq!(found(&["acme/threats/splunk"], &stored, &[]), ["acme/threats/siem acme/threats/splunk"]);
        assert!(found(&["corp/threats/splunk"], &stored, &[]).is_empty(), "both names differ");
        assert!(found(&["corp/groups/siem"], &stored, &[]).is_empty(), "another stream");
        assert!(found(&["corp/threats/siem"], &stored, &["acme"]).is_empty(), "paused, and so in use");
        assert!(found(&["acme/threats/siem", "acme/threats/new"], &stored[..1], &[]).is_empty(), "a second sink");
        assert!(found(&["corp/threats/siem"], &["acme/threats/siem", "corp/threats/siem"], &[]).is_empty(), "not new");
    }
}
