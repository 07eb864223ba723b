//! Pulls a closed window again, next to a running worker.
//!
//! The window is split into slices. Each slice is a lane, with the same stages, sink and memory budget as a lane of a
//! worker. Its checkpoint is in the backfill's own area of the state. A backfill neither reads nor changes the
//! checkpoints of the worker's lanes, and does not need their lock.

mod plan;
mod progress;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, future::join_all, stream};
use s1_forwarder_engine::checkpoint::{CheckpointKey, StateError, Store, StoredPart};
use s1_forwarder_engine::console::{Client, ConsoleError, Endpoint};
use s1_forwarder_engine::lane::{LaneCheckpoint, LaneCheckpointError, LaneEnd};
use s1_forwarder_engine::source::{TimeField, Window};
use s1_forwarder_failure::catch_panic::caught;
use s1_forwarder_record::{Stream, Timestamp};
use s1_forwarder_settings::{ClientError, FullJitter};
use s1_forwarder_telemetry::{Meter, Telemetry};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, info, warn};

use super::options::Options;
use super::shared::Shared;
use super::start_error::StartError;
use super::usage::CommandUsage;
use crate::lanes::runner::{DetachedLane, LaneRunner};
use crate::lanes::spec::LaneSpec;
use crate::pipeline::{Pipeline, instead};

pub use plan::{TRUSTED_COUNT, count_in_parts};
pub use progress::{BackfillProgress, Progress};

use plan::{BackfillPlan, Slice, split};

/// Area of all backfills in the state.
const AREA: &str = "backfill";
/// Interval at which the backfill checks whether its counts are due to be stored.
const USAGE_INTERVAL: Duration = Duration::from_mins(1);
/// First and longest wait between two attempts to get a count from the console.
const COUNT_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The window to pull, and how.
#[derive(Debug, Clone)]
pub struct Backfill {
    pub pipeline: Arc<Pipeline>,
    pub stream: Stream,
    /// `None` for all sinks that accept the stream.
    pub sink: Option<String>,
    /// Start of the window, inclusive.
    pub from: Timestamp,
    /// End of the window, exclusive.
    pub to: Timestamp,
    /// Number of slices that are pulled at the same time.
    pub parallel: usize,
    /// A slice without progress for this long is given up.
    pub once_timeout: Duration,
}

/// The result for one sink.
#[derive(Debug)]
pub struct BackfillReport {
    pub sink: String,
    /// The window that was pulled. It may end earlier than the requested one.
    pub window: Window,
    /// Settled records, including records of earlier runs.
    pub settled: u64,
    /// Dead letters of this run.
    pub dead_letters: u64,
    pub end: BackfillEnd,
}

/// How a backfill ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackfillEnd {
    /// Everything is delivered. The console's count at the end is not larger: it is smaller if records were changed or
    /// purged.
    Complete { counted: u64 },
    /// At the end, the console counts more records than were settled. The next run pulls these parts of the window
    /// again.
    Short { counted: u64, windows: Vec<Window> },
    /// The backfill was asked to stop. The next run continues.
    Stopped,
    /// There was no progress, for this reason. The next run continues.
    GivenUp(String),
}

/// A backfill cannot start, or its result cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    State(#[from] StateError),
    /// The checkpoint of a slice cannot be read.
    #[error(transparent)]
    LaneCheckpoint(#[from] LaneCheckpointError),
    #[error("console: {0}")]
    Client(#[from] ClientError),
    #[error("console: {0}")]
    Console(ConsoleError),
    /// The pipeline has no such lane.
    #[error("{0}")]
    NoLane(String),
    #[error("the plan of this backfill cannot be read: {0}")]
    BackfillPlan(serde_json::Error),
    #[error("the window starts at {0}, which is in the future by the console's clock")]
    Future(Timestamp),
}

/// Pulls the window for all sinks in parallel. After `stop`, the next run continues.
///
/// # Errors
/// If the state or the console cannot be used. Failures of sinks and consoles during the pull are in the reports.
pub async fn run_backfill(
    backfill: Backfill,
    options: Options,
    progress: Arc<BackfillProgress>,
    stop: CancellationToken,
) -> Result<Vec<BackfillReport>, BackfillError> {
    let specs = specs(&backfill)?;
    let area = backfill.backfill_area();
    // The area has its own names and its own lock, so that it is independent of the worker's checkpoints.
    let store = options.open_state(Some(&area)).await?;
    let Some(lock) = options.lock_area(&store, &area, &backfill.pipeline.name, &stop).await? else {
        let window = backfill.requested();
        let stopped = |spec: &Arc<LaneSpec>| BackfillReport {
            sink: spec.id.sink.clone(),
            window,
            settled: 0,
            dead_letters: 0,
            end: BackfillEnd::Stopped,
        };
        return Ok(specs.iter().map(stopped).collect());
    };
    let telemetry = Arc::new(Telemetry::new());
    let usage = CommandUsage::new(&options);
    let shared = Shared::with_store(store.clone(), options, telemetry.clone());
    let jobs = specs.into_iter().map(|spec| {
        let job = Job {
            backfill: backfill.clone(),
            spec,
            shared: shared.clone(),
            store: store.clone(),
            progress: progress.clone(),
            stop: stop.child_token(),
            sink_proven: AtomicBool::new(false),
            telemetry: telemetry.clone(),
        };
        job.run()
    });
    let counting = async {
        loop {
            sleep(USAGE_INTERVAL).await;
            progress.take_usage(&usage);
            usage.write_if_due().await;
        }
    };
    let pulling = async {
        let reports = tokio::select! {
            reports = join_all(jobs) => reports,
            () = counting => Vec::new(),
        };
        progress.take_usage(&usage);
        usage.write().await;
        let reports = reports.into_iter().collect::<Result<Vec<_>, _>>()?;
        if reports.iter().all(|report| matches!(report.end, BackfillEnd::Complete { .. })) {
            // A complete backfill leaves nothing in the state: the same command pulls the window again.
            shared.options.state.remove_area(&area, &*store).await?;
        }
        Ok(reports)
    };
    let reports = lock.hold(pulling).await;
    if reports.is_err() {
        // The pull may have been dropped before it stored its counts.
        progress.take_usage(&usage);
        usage.write().await;
    }
    reports
}

impl Backfill {
    fn requested(&self) -> Window {
        Window { from: self.from, to: self.to, time: TimeField::Order }
    }

    /// Returns the area of plans and checkpoints. The same command has the same area.
    fn backfill_area(&self) -> PathBuf {
        let plain = |time: Timestamp| time.to_string().replace([':', '-'], "");
        let window = format!("{}-{}", plain(self.from), plain(self.to));
        let name = self.sink.as_ref().map_or_else(|| window.clone(), |sink| format!("{window}-{sink}"));
        Path::new(AREA).join(&self.pipeline.name).join(self.stream.name()).join(name)
    }
}

/// Returns the lanes of the stream and sink. The pipeline may be paused.
fn specs(backfill: &Backfill) -> Result<Vec<Arc<LaneSpec>>, BackfillError> {
    let Backfill { pipeline, stream, sink, .. } = backfill;
    let enabled = Pipeline { enabled: true, ..(**pipeline).clone() };
    let mut specs = LaneSpec::of(&enabled);
    specs.retain(|spec| spec.id.stream == *stream);
    if specs.is_empty() {
        return Err(BackfillError::NoLane(format!(
            "{} has no sink that accepts the stream {stream}",
            pipeline.path.display()
        )));
    }
    if let Some(sink) = sink {
        let of_stream: Vec<String> = specs.iter().map(|spec| spec.id.sink.clone()).collect();
        specs.retain(|spec| spec.id.sink == *sink);
        if specs.is_empty() {
            let file = pipeline.path.display();
            let instead = instead(sink, of_stream.iter().map(String::as_str));
            let message = format!("{file} has no sink `{sink}` that accepts the stream {stream}; {instead}");
            return Err(BackfillError::NoLane(message));
        }
    }
    Ok(specs)
}

/// The backfill to one sink.
struct Job {
    backfill: Backfill,
    spec: Arc<LaneSpec>,
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    progress: Arc<BackfillProgress>,
    stop: CancellationToken,
    /// Whether the sink has accepted events of a slice, so that the next slices need not start with small pages.
    sink_proven: AtomicBool,
    telemetry: Arc<Telemetry>,
}

impl Job {
    async fn run(self) -> Result<BackfillReport, BackfillError> {
        let span = self.spec.span();
        self.run_inner().instrument(span).await
    }

    async fn run_inner(self) -> Result<BackfillReport, BackfillError> {
        let client = self.shared.lane_builder.client(&self.spec.id.pipeline, &self.spec.console)?;
        let plan = match self.stop.run_until_cancelled(self.plan(&client)).await {
            Some(plan) => plan?,
            None => return Ok(self.report(self.backfill.requested(), 0, 0, BackfillEnd::Stopped)),
        };
        let window = plan.window(self.backfill.requested());
        let mut open = Vec::new();
        let mut settled_before = 0;
        for (number, slice) in plan.slices.iter().enumerate() {
            let checkpoint = self.checkpoint(number).await?;
            settled_before += checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.settled);
            if checkpoint.is_none_or(|checkpoint| checkpoint.position.complete() != Some(slice.window().to)) {
                open.push((number, *slice));
            }
        }
        let total = plan.slices.iter().map(|slice| slice.count).sum();
        self.progress.add_total(total);
        self.progress.add_settled_before(settled_before);
        info!(
            from = %window.from, to = %window.to, records = total, delivered = settled_before,
            slices = plan.slices.len(), open = open.len(), "backfill started"
        );
        let (given_up, dead_letters) = self.pull(open, window).await;
        let mut settled = Vec::new();
        for number in 0..plan.slices.len() {
            settled.push(self.checkpoint(number).await?.map_or(0, |checkpoint| checkpoint.settled));
        }
        let sum = settled.iter().sum();
        let end = match given_up {
            Some(reason) => BackfillEnd::GivenUp(reason),
            None if self.stop.is_cancelled() => BackfillEnd::Stopped,
            None => match self.stop.run_until_cancelled(self.check(&client, &plan, window, &settled)).await {
                Some(end) => end?,
                None => BackfillEnd::Stopped,
            },
        };
        Ok(self.report(window, sum, dead_letters, end))
    }

    fn report(&self, window: Window, settled: u64, dead_letters: u64, end: BackfillEnd) -> BackfillReport {
        BackfillReport { sink: self.spec.id.sink.clone(), window, settled, dead_letters, end }
    }

    /// Returns the plan of the previous run, or a new one. A new plan is stored before anything is pulled.
    async fn plan(&self, client: &Client) -> Result<BackfillPlan, BackfillError> {
        let made_under = made_under(&self.spec, client);
        let key = self.key(StoredPart::BackfillPlan);
        if let Some(bytes) = self.store.load(&key).await? {
            let plan: BackfillPlan = serde_json::from_slice(&bytes).map_err(BackfillError::BackfillPlan)?;
            if plan.made_under == made_under {
                return Ok(plan);
            }
            info!(
                previous = %plan.made_under, current = %made_under,
                "console, scope or filters have changed: the backfill starts again"
            );
            for key in self.store.list().await?.iter().filter(|key| key.lane.sink == self.spec.id.sink) {
                self.store.delete(key).await?;
            }
        }
        let mut window = self.backfill.requested();
        let mut total = self.count(client, window).await?;
        let now = client.time().unwrap_or_else(|| self.shared.options.clock.now());
        if window.from >= now {
            return Err(BackfillError::Future(window.from));
        }
        if window.to > now {
            window.to = now;
            warn!(requested = %self.backfill.to, to = %now, "the window ends in the future: records up to now are pulled");
            total = self.count(client, window).await?;
        }
        let count = |window| self.count(client, window);
        let page = Endpoint::of(self.spec.id.stream).max_limit;
        let plan =
            BackfillPlan { made_under, slices: split(window, total, self.backfill.parallel, page, count).await? };
        let bytes = serde_json::to_vec(&plan).map_err(BackfillError::BackfillPlan)?;
        self.store.commit(&key, bytes.into()).await?;
        Ok(plan)
    }

    /// Pulls the slices, `parallel` at a time. If one makes no progress, the others are stopped. Returns the reason for
    /// that, and the number of dead letters.
    async fn pull(&self, open: Vec<(usize, Slice)>, whole: Window) -> (Option<String>, u64) {
        let slices = open.into_iter().map(|(number, slice)| self.pull_slice(number, slice, whole));
        let mut pulled = stream::iter(slices).buffer_unordered(self.backfill.parallel.max(1));
        let mut given_up = None;
        let mut all_dead_letters = 0;
        while let Some((failed, dead_letters)) = pulled.next().await {
            all_dead_letters += dead_letters;
            if let Some(reason) = failed {
                given_up.get_or_insert(reason);
                self.stop.cancel();
            }
        }
        (given_up, all_dead_letters)
    }

    async fn pull_slice(&self, number: usize, slice: Slice, whole: Window) -> (Option<String>, u64) {
        if self.stop.is_cancelled() {
            return (None, 0);
        }
        let meter = self.meter();
        self.progress.add_slice(meter.metrics.clone());
        let spec = LaneSpec { pull: Arc::new(self.spec.pull.part(slice.window(), whole)), ..(*self.spec).clone() };
        let lane = DetachedLane {
            key: self.key(StoredPart::BackfillSlice(number)),
            meter: meter.clone(),
            wanted: None,
            sink_proven: self.sink_proven.load(Ordering::Relaxed),
        };
        let runner = Box::new(
            LaneRunner::of(Arc::new(spec), self.shared.clone(), self.stop.child_token())
                .detached(self.backfill.once_timeout, lane),
        );
        let exit = caught(AbortOnDropHandle::new(tokio::spawn(runner.run(None)))).await;
        self.sink_proven.fetch_or(meter.metrics.send.delivered.get() > 0, Ordering::Relaxed);
        let failed = match exit {
            Ok(LaneEnd::Complete | LaneEnd::Drained | LaneEnd::Aborted) => None,
            Ok(LaneEnd::TakenOver) => Some("another process pulls this window".to_owned()),
            Ok(LaneEnd::GivenUp | LaneEnd::Refused) => {
                let (_, error) = meter.metrics.last_error().unwrap_or_default();
                Some(if error.is_empty() { "no progress".to_owned() } else { error })
            }
            Err(panic) => Some(format!("internal error: {panic}")),
        };
        (failed, meter.metrics.send.dead_letters.get())
    }

    /// Compares the settled records with the console's current count.
    async fn check(
        &self,
        client: &Client,
        plan: &BackfillPlan,
        window: Window,
        settled: &[u64],
    ) -> Result<BackfillEnd, BackfillError> {
        let sum: u64 = settled.iter().sum();
        let counted = self.count(client, window).await?;
        if counted == sum {
            return Ok(BackfillEnd::Complete { counted });
        }
        // Slice by slice: the console may cap a large count, and the report names the slices that lack records.
        let mut counted = 0;
        let mut windows = Vec::new();
        for (number, (slice, settled)) in plan.slices.iter().zip(settled).enumerate() {
            let whole = self.count(client, slice.window()).await?;
            let count = |window| self.count(client, window);
            let whole = if whole == *settled { whole } else { count_in_parts(slice.window(), whole, count).await? };
            counted += whole;
            if whole > *settled {
                windows.push(slice.window());
                self.store.delete(&self.key(StoredPart::BackfillSlice(number))).await?;
            }
        }
        Ok(if windows.is_empty() { BackfillEnd::Complete { counted } } else { BackfillEnd::Short { counted, windows } })
    }

    /// Returns the console's count. Transient failures are retried for the `once_timeout`.
    async fn count(&self, client: &Client, window: Window) -> Result<u64, BackfillError> {
        let meter = self.meter();
        let started = Instant::now();
        let mut waits = FullJitter::new(COUNT_WAITS.0, COUNT_WAITS.1, self.shared.lane_builder.fork_random());
        loop {
            match self.spec.pull.count(client, window, Some(&meter)).await {
                Ok(count) => return Ok(count),
                Err(ConsoleError::Transient { reason, retry_after, .. })
                    if started.elapsed() < self.backfill.once_timeout =>
                {
                    warn!(%reason, "the console returned no count: retrying");
                    sleep(waits.wait_at_least(retry_after)).await;
                }
                Err(error) => return Err(BackfillError::Console(error)),
            }
        }
    }

    /// Returns a meter that is on no status page and in no metric.
    fn meter(&self) -> Meter {
        let sink_type = self.spec.sink.type_settings.name();
        Meter::detached(&self.telemetry, &self.spec.id, sink_type, self.shared.options.clock)
    }

    async fn checkpoint(&self, slice: usize) -> Result<Option<LaneCheckpoint>, BackfillError> {
        let bytes = self.store.load(&self.key(StoredPart::BackfillSlice(slice))).await?;
        Ok(bytes.map(|bytes| LaneCheckpoint::decode(&bytes)).transpose()?)
    }

    fn key(&self, part: StoredPart) -> CheckpointKey {
        CheckpointKey { lane: self.spec.id.clone(), part }
    }
}

impl BackfillPlan {
    /// Returns the part of the requested window that the slices cover.
    fn window(&self, requested: Window) -> Window {
        let to = self.slices.last().map_or(requested.to, |slice| slice.window().to);
        Window { to, ..requested }
    }
}

fn made_under(spec: &LaneSpec, client: &Client) -> String {
    let pull = &spec.pull;
    let mode = if pull.is_snapshot() { " mode=snapshot" } else { "" };
    let host = client.host();
    let scope = client.scope();
    let narrowed_by = pull.narrowed_by();
    format!("host={host} {scope}{narrowed_by} exclude_types={:?}{mode}", pull.excluded_types())
}
