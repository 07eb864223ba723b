//! Waits until all lanes of `run --once` have ended, and reports how.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use s1_forwarder_engine::lane::LaneEnd;
use s1_forwarder_record::LaneId;
use s1_forwarder_telemetry::{LaneMetrics, Telemetry};
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::options::Options;
use super::owners::read_files;
use super::shared::Shared;
use super::start_error::StartError;
use crate::lanes::runner::LaneRunner;
use crate::lanes::spec::LaneSpec;
use crate::pipeline::Problem;

/// The result of `run --once`.
#[derive(Debug, Default)]
pub struct OnceReport {
    /// Sorted by lane.
    pub lanes: Vec<LaneReport>,
    /// Errors and warnings of the pipeline files.
    pub problems: Vec<Problem>,
    /// Number of valid pipelines, paused ones included.
    pub pipelines: usize,
    /// Number of stored dead letters of all runs and lanes. `None` if the store cannot be read.
    pub dead_letters_stored: Option<u64>,
    /// The command that lists all dead letters.
    pub list_dead_letters: String,
}

#[derive(Debug)]
pub struct LaneReport {
    pub id: LaneId,
    /// Whether the lane delivered everything up to the start.
    pub complete: bool,
    /// The lane's counters and its last error.
    pub metrics: Arc<LaneMetrics>,
}

/// The lanes that have not ended.
#[derive(Debug, Default)]
struct Waiting(Mutex<BTreeMap<LaneId, Arc<LaneMetrics>>>);

impl Waiting {
    /// Says now and then which lanes are not done, those that fail first.
    async fn log_regularly(&self) -> Infallible {
        let mut tick = interval_at(Instant::now() + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
        loop {
            tick.tick().await;
            let mut lanes: Vec<_> = self.0.lock().iter().map(|(id, lane)| (lane.state_name(), id.clone())).collect();
            lanes.sort_by_key(|(state, _)| state.is_up);
            let named = lanes.iter().take(MAX_NAMED);
            let named: Vec<_> = named.map(|(state, id)| format!("{id} ({})", state.name.replace('_', " "))).collect();
            info!(lanes = lanes.len(), waiting_for = %named.join(", "), "catching up");
        }
    }
}

/// Interval of the lines about lanes that are not done.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);
/// Lanes that such a line names.
const MAX_NAMED: usize = 5;

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
    let shared = Shared::open(options, telemetry).await?;
    let loaded = read_files(&shared.options).await?;
    shared.set_files_read(loaded.pipelines.iter());
    shared.renames.set_files(loaded.names, loaded.pipelines.iter(), loaded.pipelines.iter());
    let mut specs: Vec<_> = loaded.pipelines.iter().flat_map(|pipeline| LaneSpec::of(pipeline)).collect();
    specs.sort_by(|one, other| one.id.cmp(&other.id));
    let waiting = Arc::new(Waiting::default());
    let lanes = specs.into_iter().map(|spec| {
        let waiting = waiting.clone();
        let shared = shared.clone();
        let stop = stop.child_token();
        async move {
            let id = spec.id.clone();
            let metrics = shared.lane_builder.meter(&spec).metrics;
            waiting.0.lock().insert(id.clone(), metrics.clone());
            let runner = Box::new(LaneRunner::of(spec, shared, stop).once(once_timeout));
            let exit = tokio::spawn(runner.run(None)).await;
            waiting.0.lock().remove(&id);
            LaneReport { id, complete: matches!(exit, Ok(LaneEnd::Complete)), metrics }
        }
    });
    let lanes = tokio::select! {
        lanes = join_all(lanes) => lanes,
        never = waiting.log_regularly() => match never {},
        never = shared.usage.keep() => match never {},
    };
    shared.usage.log_lost();
    let measured = shared.reporter.measure_dead_letters_once().await;
    if let Err(error) = &measured {
        warn!(%error, "the stored dead letters cannot be counted");
    }
    shared.close().await;
    Ok(OnceReport {
        lanes,
        problems: loaded.problems,
        pipelines: loaded.pipelines.len(),
        dead_letters_stored: measured.ok(),
        list_dead_letters: shared.reporter.list_dead_letters(),
    })
}
