//! A closed window pulled again, beside a running worker.
//!
//! The window is cut into slices. Each is a lane of its own, with the checkpoint in the backfill's own area of the state: the
//! same stages, the same sink, the same budget. Neither the live lanes' positions nor their lock are touched.

mod books;
mod plan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, future::join_all, stream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::keeper::{Apart, Keeper, Kept};
use super::shared::Shared;
use super::{LaneSpec, Options, StartError};
use crate::console::{Client, ConsoleError, Endpoint};
use crate::lane::{LaneEnd, Standing, StandingError};
use crate::pipeline::Pipeline;
use crate::record::{Stream, Timestamp};
use crate::settings::{ClientError, FullJitter};
use crate::sink::Deadline;
use crate::source::{By, Checkpoint, Window};
use crate::state::{LaneId, StateError, Store};
use crate::telemetry::{Meter, Telemetry};

pub use books::{Books, Progress};
use plan::{Plan, Slice, cut};
pub use plan::{TRUSTED_COUNT, count_in_parts};

/// The backfills' area in the state's directory.
const AREA: &str = "backfill";
/// Waits while the console does not count.
const COUNT_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What is pulled again.
#[derive(Debug, Clone)]
pub struct Backfill {
    /// The customer's file.
    pub pipeline: Arc<Pipeline>,
    /// The stream.
    pub stream: Stream,
    /// The sink; all that take the stream when there is none.
    pub sink: Option<String>,
    /// Lower end of the window, included.
    pub from: Timestamp,
    /// Upper end, not included.
    pub to: Timestamp,
    /// Slices that are pulled at the same time.
    pub parallel: usize,
    /// Given up after so long without progress.
    pub patience: Duration,
}

/// What came of the backfill to one sink.
#[derive(Debug)]
pub struct BackfillReport {
    /// The sink's name.
    pub sink: String,
    /// The window as it was pulled.
    pub window: Window,
    /// Records settled, those of earlier runs among them.
    pub settled: u64,
    /// Events that the sink refused for good in this run.
    pub dead_letters: u64,
    /// How it ended.
    pub end: BackfillEnd,
}

/// How a backfill ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackfillEnd {
    /// All is delivered, and the console counts as much; or less, where records were changed or purged since.
    Complete {
        /// The console's count at the end.
        counted: u64,
    },
    /// The console counts more than was delivered, in these parts of the window; the next run pulls them again.
    Short {
        /// The console's count at the end.
        counted: u64,
        /// The parts that differ.
        windows: Vec<Window>,
    },
    /// It was asked to stop; the next run goes on.
    Stopped,
    /// No progress, for this reason; the next run goes on.
    GivenUp(String),
}

/// A backfill cannot begin, or cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// The process's own state.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The backfill's area in the state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A slice's checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] StandingError),
    /// TLS files of the console.
    #[error("console: {0}")]
    Client(#[from] ClientError),
    /// The console refuses, or fails for too long.
    #[error("console: {0}")]
    Console(ConsoleError),
    /// Nothing to do: the file has no such lane.
    #[error("{0}")]
    NoLane(String),
    /// The plan in the state is not what this release writes.
    #[error("the plan of this backfill cannot be read: {0}")]
    Plan(serde_json::Error),
    /// The window lies in the future.
    #[error("the window begins at {0}, which is in the future by the console's clock")]
    Future(Timestamp),
}

/// Pulls the window, sink by sink side by side. `stop` ends it so that the next run goes on where it was.
///
/// # Errors
/// When the state or the console cannot be used. Sinks and consoles that fail on the way are in the reports.
pub async fn run_backfill(
    backfill: Backfill,
    options: Options,
    books: Arc<Books>,
    stop: CancellationToken,
) -> Result<Vec<BackfillReport>, BackfillError> {
    let specs = specs(&backfill)?;
    let area = backfill.area();
    // Nothing of the state is shared with the worker but its place: the area has names and a lock of its own.
    let store = options.state.open_area(&area, &options.instance, &options.identity).await?;
    let telemetry = Arc::new(Telemetry::new());
    let shared = Shared::over(store.clone(), options, telemetry.clone());
    let jobs = specs.into_iter().map(|spec| {
        let job = Job {
            backfill: backfill.clone(),
            spec,
            shared: shared.clone(),
            store: store.clone(),
            books: books.clone(),
            stop: stop.child_token(),
            proven: AtomicBool::new(false),
            telemetry: telemetry.clone(),
        };
        job.run()
    });
    let reports = join_all(jobs).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    if reports.iter().all(|report| matches!(report.end, BackfillEnd::Complete { .. })) {
        // Nothing is left of a backfill that is complete: the same command pulls the window once more.
        shared.options.state.remove_area(&area, &*store).await?;
    }
    Ok(reports)
}

impl Backfill {
    /// Where its plans and checkpoints are: the same command finds the same place.
    fn area(&self) -> PathBuf {
        let plain = |time: Timestamp| time.to_string().replace([':', '-'], "");
        let window = format!("{}-{}", plain(self.from), plain(self.to));
        let name = self.sink.as_ref().map_or_else(|| window.clone(), |sink| format!("{window}-{sink}"));
        Path::new(AREA).join(&self.pipeline.name).join(self.stream.name()).join(name)
    }
}

/// The lanes that the window is pulled for; a paused pipeline's too.
fn specs(backfill: &Backfill) -> Result<Vec<Arc<LaneSpec>>, BackfillError> {
    let Backfill { pipeline, stream, sink, .. } = backfill;
    let enabled = Pipeline { enabled: true, ..(**pipeline).clone() };
    let mut specs = LaneSpec::of(&enabled);
    specs.retain(|spec| spec.id.stream == *stream);
    if specs.is_empty() {
        return Err(BackfillError::NoLane(format!("{} pulls no stream {stream} into a sink", pipeline.path.display())));
    }
    if let Some(sink) = sink {
        specs.retain(|spec| spec.id.sink == *sink);
        if specs.is_empty() {
            let file = pipeline.path.display();
            return Err(BackfillError::NoLane(format!("{file} has no sink `{sink}` that takes the stream {stream}")));
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
    books: Arc<Books>,
    stop: CancellationToken,
    /// The sink has taken something from some slice: the next need not begin with small pages for its sake.
    proven: AtomicBool,
    telemetry: Arc<Telemetry>,
}

impl Job {
    async fn run(self) -> Result<BackfillReport, BackfillError> {
        let client = self.shared.client(&self.spec.id.pipeline, &self.spec.console)?;
        let plan = match self.stop.run_until_cancelled(self.plan(&client)).await {
            Some(plan) => plan?,
            None => return Ok(self.report(self.asked(), 0, 0, BackfillEnd::Stopped)),
        };
        let window = plan.window(self.asked());
        let mut open = Vec::new();
        let mut before = 0;
        for (number, slice) in plan.slices.iter().enumerate() {
            let checkpoint = self.checkpoint(number).await?;
            before += checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.settled);
            if checkpoint.is_none_or(|checkpoint| checkpoint.position.complete() != Some(slice.window().to)) {
                open.push((number, *slice));
            }
        }
        let total = plan.slices.iter().map(|slice| slice.count).sum();
        self.books.plan(total);
        self.books.resume(before);
        let LaneId { pipeline, stream, sink } = &self.spec.id;
        info!(
            %pipeline, %stream, %sink, from = %window.from, to = %window.to, records = total, delivered = before,
            slices = plan.slices.len(), open = open.len(), "backfill begins"
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

    fn asked(&self) -> Window {
        Window { from: self.backfill.from, to: self.backfill.to, by: By::Order }
    }

    /// The plan of the run before, or a new one, in the store before anything is pulled.
    async fn plan(&self, client: &Client) -> Result<Plan, BackfillError> {
        let made_under = made_under(&self.spec, client);
        let id = self.id("plan");
        if let Some(bytes) = self.store.load(&id).await? {
            let plan: Plan = serde_json::from_slice(&bytes).map_err(BackfillError::Plan)?;
            if plan.made_under == made_under {
                return Ok(plan);
            }
            info!(was = %plan.made_under, is = %made_under, "console, scope or filters are others: the backfill begins anew");
            let prefix = format!("{}+", self.spec.id.sink);
            for lane in self.store.list().await?.iter().filter(|lane| lane.sink.starts_with(&prefix)) {
                self.store.delete(lane).await?;
            }
        }
        let mut window = self.asked();
        let mut total = self.count(client, window).await?;
        let now = client.time().unwrap_or_else(|| self.shared.clock().now());
        if window.from >= now {
            return Err(BackfillError::Future(window.from));
        }
        if window.to > now {
            window.to = now;
            warn!(asked = %self.backfill.to, to = %now, "the window ends in the future: what is there by now is pulled");
            total = self.count(client, window).await?;
        }
        let count = |window| self.count(client, window);
        let page = Endpoint::of(self.spec.id.stream).max_limit;
        let plan = Plan { made_under, slices: cut(window, total, self.backfill.parallel, page, count).await? };
        let bytes = serde_json::to_vec(&plan).map_err(BackfillError::Plan)?;
        self.store.save(&id, bytes).await?;
        Ok(plan)
    }

    /// Pulls the slices, a few at a time. The reason when one made no progress (the others are stopped then), and how many
    /// events became dead letters.
    async fn pull(&self, open: Vec<(usize, Slice)>, whole: Window) -> (Option<String>, u64) {
        let slices = open.into_iter().map(|(number, slice)| self.pull_slice(number, slice, whole));
        let mut pulled = stream::iter(slices).buffer_unordered(self.backfill.parallel.max(1));
        let (mut given_up, mut all_dead) = (None, 0);
        while let Some((failed, dead_letters)) = pulled.next().await {
            all_dead += dead_letters;
            if let Some(reason) = failed {
                given_up.get_or_insert(reason);
                self.stop.cancel();
            }
        }
        (given_up, all_dead)
    }

    async fn pull_slice(&self, number: usize, slice: Slice, whole: Window) -> (Option<String>, u64) {
        if self.stop.is_cancelled() {
            return (None, 0);
        }
        let meter = self.meter();
        self.books.add(meter.lane.clone());
        let spec = LaneSpec { pull: Arc::new(self.spec.pull.part(slice.window(), whole)), ..(*self.spec).clone() };
        let keeper = Box::new(Keeper {
            spec: Arc::new(spec),
            shared: self.shared.clone(),
            stop: self.stop.child_token(),
            cut: CancellationToken::new(),
            deadline: Deadline::default(),
            shard: 0,
            start_after: Duration::ZERO,
            first_poll_after: Duration::ZERO,
            once: Some(self.backfill.patience),
            apart: Some(Apart {
                id: self.slice_id(number),
                meter: meter.clone(),
                known: None,
                proven: self.proven.load(Ordering::Relaxed),
            }),
        });
        let kept = tokio::spawn(keeper.run(None)).await;
        self.proven.fetch_or(meter.lane.delivered.load(Ordering::Relaxed) > 0, Ordering::Relaxed);
        let failed = match kept {
            Ok(Kept::Ended(LaneEnd::Complete | LaneEnd::Drained) | Kept::CutOff) => None,
            Ok(Kept::Ended(LaneEnd::Superseded)) => Some("another process pulls this window".to_owned()),
            Ok(Kept::GivenUp | Kept::Ended(LaneEnd::Refused)) => {
                let (_, error) = meter.lane.last_error().unwrap_or_default();
                Some(if error.is_empty() { "no progress".to_owned() } else { error })
            }
            Err(panic) => Some(format!("an error of this program: {panic}")),
        };
        (failed, meter.lane.dead_letters.load(Ordering::Relaxed))
    }

    /// Compares what was settled with what the console counts now.
    async fn check(
        &self,
        client: &Client,
        plan: &Plan,
        window: Window,
        settled: &[u64],
    ) -> Result<BackfillEnd, BackfillError> {
        let sum: u64 = settled.iter().sum();
        let counted = self.count(client, window).await?;
        if counted == sum {
            return Ok(BackfillEnd::Complete { counted });
        }
        // A large count may be capped, and a part that lacks records is worth knowing.
        let (mut counted, mut windows) = (0, Vec::new());
        for (number, (slice, settled)) in plan.slices.iter().zip(settled).enumerate() {
            let whole = self.count(client, slice.window()).await?;
            let count = |window| self.count(client, window);
            let whole = if whole == *settled { whole } else { count_in_parts(slice.window(), whole, count).await? };
            counted += whole;
            if whole > *settled {
                windows.push(slice.window());
                self.store.delete(&self.slice_id(number)).await?;
            }
        }
        Ok(if windows.is_empty() { BackfillEnd::Complete { counted } } else { BackfillEnd::Short { counted, windows } })
    }

    /// The console's count, asked for again while it fails for now.
    async fn count(&self, client: &Client, window: Window) -> Result<u64, BackfillError> {
        let (meter, begun) = (self.meter(), Instant::now());
        let mut waits = FullJitter::new(COUNT_WAITS.0, COUNT_WAITS.1, self.shared.fork_random());
        loop {
            match self.spec.pull.count(client, window, &meter).await {
                Ok(count) => return Ok(count),
                Err(ConsoleError::Transient { reason, after, .. }) if begun.elapsed() < self.backfill.patience => {
                    warn!(pipeline = %self.spec.id.pipeline, %reason, "the console does not count; asked again");
                    sleep(after.unwrap_or_default().max(waits.wait())).await;
                }
                Err(error) => return Err(BackfillError::Console(error)),
            }
        }
    }

    /// Counters of their own: the pages of a worker show nothing of a backfill.
    fn meter(&self) -> Meter {
        let LaneId { pipeline, stream, sink } = &self.spec.id;
        let sink_type = self.spec.sink.kind.name();
        Meter::detached(&self.telemetry, pipeline, *stream, sink, sink_type, self.shared.clock())
    }

    async fn checkpoint(&self, slice: usize) -> Result<Option<Checkpoint>, BackfillError> {
        let bytes = self.store.load(&self.slice_id(slice)).await?;
        let standing = bytes.map(|bytes| Standing::decode(&bytes)).transpose()?;
        Ok(standing.map(|standing| standing.checkpoint))
    }

    fn slice_id(&self, number: usize) -> LaneId {
        self.id(&format!("slice-{number:06}"))
    }

    /// Names in the area; no sink's name holds a `+`.
    fn id(&self, name: &str) -> LaneId {
        LaneId { sink: format!("{}+{name}", self.spec.id.sink), ..self.spec.id.clone() }
    }
}

impl Plan {
    /// From the first slice's beginning to the last one's end.
    fn window(&self, asked: Window) -> Window {
        let to = self.slices.last().map_or(asked.to, |slice| slice.window().to);
        Window { to, ..asked }
    }
}

fn made_under(spec: &LaneSpec, client: &Client) -> String {
    let pull = &spec.pull;
    let mode = if pull.snapshot { " mode=snapshot" } else { "" };
    let (host, scope, narrowed_by) = (client.host(), client.scope(), pull.narrowed_by());
    format!("host={host} {scope}{narrowed_by} exclude_types={:?}{mode}", pull.exclude_types)
}
