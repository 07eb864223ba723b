use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::keeper::{Keeper, Kept};
use super::shared::Shared;
use super::spec::LaneSpec;
use super::{Options, StartError};
use crate::lane::LaneEnd;
use crate::pipeline::{self, Problem};
use crate::sink::Deadline;
use crate::state::LaneId;
use crate::telemetry::{LaneMetrics, Telemetry};

/// What came of `run --once`.
#[derive(Debug)]
pub struct OnceReport {
    /// Every lane, sorted by name.
    pub lanes: Vec<LaneReport>,
    /// Errors and warnings of the pipeline files.
    pub problems: Vec<Problem>,
    /// Number of valid pipelines, paused ones included.
    pub pipelines: usize,
}

/// What came of one lane.
#[derive(Debug)]
pub struct LaneReport {
    /// The lane.
    pub id: LaneId,
    /// It delivered everything up to the start.
    pub complete: bool,
    /// Its counters and its last error.
    pub metrics: Arc<LaneMetrics>,
}

/// Lets every lane catch up to the moment of start (by its console's clock). A lane that makes no progress for `patience`
/// is given up; `stop` lets all drain early.
///
/// # Errors
/// When the state cannot be used.
pub async fn run_once(
    options: Options,
    telemetry: Arc<Telemetry>,
    patience: Duration,
    stop: CancellationToken,
) -> Result<OnceReport, StartError> {
    let shared = Shared::open(options, telemetry).await?;
    let loaded = pipeline::read(&shared.options.pipelines, shared.options.defaults.as_deref()).await;
    shared.telemetry.health().files_read();
    let mut specs: Vec<_> = loaded.pipelines.iter().flat_map(|pipeline| LaneSpec::of(pipeline)).collect();
    specs.sort_by(|one, other| one.id.cmp(&other.id));
    let lanes = specs.into_iter().map(|spec| {
        let (shared, stop) = (shared.clone(), stop.child_token());
        async move {
            let (id, metrics) = (spec.id.clone(), shared.meter(&spec).lane);
            let keeper = Box::new(Keeper {
                spec,
                shared,
                stop,
                cut: CancellationToken::new(),
                deadline: Deadline::default(),
                shard: 0,
                start_after: Duration::ZERO,
                first_poll_after: Duration::ZERO,
                once: Some(patience),
                apart: None,
            });
            let kept = tokio::spawn(keeper.run(None)).await;
            LaneReport { id, complete: matches!(kept, Ok(Kept::Ended(LaneEnd::Complete))), metrics }
        }
    });
    let lanes = join_all(lanes).await;
    shared.close().await;
    Ok(OnceReport { lanes, problems: loaded.problems, pipelines: loaded.pipelines.len() })
}
