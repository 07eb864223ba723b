use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::context::WorkerContext;
use super::lane_runner::LaneRunner;
use super::renames::warn_of_renames;
use super::spec::LaneSpec;
use super::{Options, StartError};
use crate::lane::LaneEnd;
use crate::pipeline::{self, Problem};
use crate::sink::Deadline;
use crate::state::LaneId;
use crate::telemetry::{LaneMetrics, Telemetry};

/// The result of `run --once`.
#[derive(Debug)]
pub struct OnceReport {
    /// Sorted by lane.
    pub lanes: Vec<LaneReport>,
    /// Errors and warnings of the pipeline files.
    pub problems: Vec<Problem>,
    /// Number of valid pipelines, paused ones included.
    pub pipelines: usize,
}

#[derive(Debug)]
pub struct LaneReport {
    pub id: LaneId,
    /// The lane delivered everything up to the start.
    pub complete: bool,
    /// The lane's counters and its last error.
    pub metrics: Arc<LaneMetrics>,
}

/// Lets every lane catch up to the time of the start, by the clock of its console. A lane without progress for
/// `once_timeout` is given up. `stop` makes all lanes drain early.
///
/// # Errors
/// If the state cannot be used.
pub async fn run_once(
    options: Options,
    telemetry: Arc<Telemetry>,
    once_timeout: Duration,
    stop: CancellationToken,
) -> Result<OnceReport, StartError> {
    let context = WorkerContext::open(options, telemetry).await?;
    let loaded = pipeline::read(&context.options.pipelines, &context.options.files).await;
    context.telemetry.health().set_files_read();
    warn_of_renames(&*context.store(), loaded.pipelines.iter().map(|pipeline| &**pipeline)).await;
    let mut specs: Vec<_> = loaded.pipelines.iter().flat_map(|pipeline| LaneSpec::of(pipeline)).collect();
    specs.sort_by(|one, other| one.id.cmp(&other.id));
    let lanes = specs.into_iter().map(|spec| {
        let (context, stop) = (context.clone(), stop.child_token());
        async move {
            let (id, metrics) = (spec.id.clone(), context.meter(&spec).lane);
            let runner = Box::new(LaneRunner {
                spec,
                context,
                stop,
                abort: CancellationToken::new(),
                deadline: Deadline::default(),
                shard: 0,
                start_after: Duration::ZERO,
                first_poll_after: Duration::ZERO,
                once_timeout: Some(once_timeout),
                detached: None,
            });
            let exit = tokio::spawn(runner.run(None)).await;
            LaneReport { id, complete: matches!(exit, Ok(LaneEnd::Complete)), metrics }
        }
    });
    let lanes = join_all(lanes).await;
    context.close().await;
    Ok(OnceReport { lanes, problems: loaded.problems, pipelines: loaded.pipelines.len() })
}
