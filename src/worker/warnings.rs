//! Lanes that work, and probably do not do what was meant: duplicates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};

use super::context::WorkerContext;
use super::duplicates::{Duplicate, find_duplicates};
use super::valid_pipelines::ValidPipelines;
use crate::state::LaneId;
use crate::telemetry::{LaneWarnings, Telemetry, lane_span};

/// Between two comparisons of all pipelines. Files that are written one after the other cause a change each.
const PAUSE: Duration = Duration::from_secs(2);
/// Lines that are logged for one change.
const MAX_LOGGED: usize = 100;

/// The warnings of the lanes that this process runs.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    duplicates: BTreeMap<LaneId, Duplicate>,
    /// The pipelines of which the log has said that one has duplicates of the other.
    told: BTreeSet<(String, String)>,
}

impl Warnings {
    fn set_duplicates(&self, duplicates: BTreeMap<LaneId, Duplicate>) {
        self.0.lock().duplicates = duplicates;
    }

    /// Gives each lane that runs its warnings, and logs duplicates that are new.
    pub fn show(&self, telemetry: &Telemetry) {
        let mut known = self.0.lock();
        let Known { duplicates, told } = &mut *known;
        let mut count = 0;
        let mut running = BTreeSet::new();
        for lane in telemetry.running_lanes() {
            let mut warnings = LaneWarnings::default();
            if !duplicates.is_empty() {
                let id = LaneId { pipeline: lane.pipeline.clone(), stream: lane.stream, sink: lane.sink.clone() };
                if let Some(Duplicate { shown, .. }) = duplicates.get(&id) {
                    count += 1;
                    warnings.duplicate_of = shown.as_ref().map(|shown| shown.to_string().into());
                    running.insert(id.pipeline);
                }
            }
            lane.set_warnings(warnings);
        }
        telemetry.process().duplicate_lanes().set(count);
        // Of each two pipelines the first lanes, and how many there are.
        let mut pairs: BTreeMap<(&str, &str), (&LaneId, &LaneId, usize)> = BTreeMap::new();
        for (id, Duplicate { of, .. }) in duplicates.iter().filter(|(id, _)| running.contains(&id.pipeline)) {
            pairs.entry((&id.pipeline, &of.pipeline)).or_insert((id, of, 0)).2 += 1;
        }
        let pairs: BTreeMap<(String, String), _> =
            pairs.into_iter().map(|((one, other), lanes)| ((one.to_owned(), other.to_owned()), lanes)).collect();
        let new: Vec<_> = pairs.iter().filter(|(pair, _)| !told.contains(*pair)).collect();
        for (_, (id, of, lanes)) in new.iter().take(MAX_LOGGED) {
            lane_span(&id.pipeline, id.stream, &id.sink).in_scope(|| {
                warn!(
                    duplicate_of = %of,
                    lanes,
                    "another pipeline's lane sends the same records to the same place: each arrives twice"
                );
            });
        }
        if let Some(more) = new.len().checked_sub(MAX_LOGGED).filter(|more| *more > 0) {
            warn!(more, "more pipelines have lanes that are duplicates: `check` and the status page name them");
        }
        for (pipeline, other) in told.iter().filter(|pair| !pairs.contains_key(*pair)).take(MAX_LOGGED) {
            info!(%pipeline, %other, "the pipeline has no duplicates of the other one's lanes any more");
        }
        *told = pairs.into_keys().collect();
    }
}

/// Looks for duplicates when the pipelines have changed. Never returns.
pub async fn follow_pipelines(context: Arc<WorkerContext>, valid: Arc<ValidPipelines>) {
    loop {
        valid.changed().await;
        let pipelines = valid.all();
        let tenants = context.options.files.tenants.clone();
        // Secrets are read, whose file system may not answer.
        let found = spawn_blocking(move || find_duplicates(&pipelines, &tenants, true)).await;
        if let Ok(duplicates) = found {
            context.warnings.set_duplicates(duplicates);
            context.warnings.show(&context.telemetry);
        }
        sleep(PAUSE).await;
    }
}
