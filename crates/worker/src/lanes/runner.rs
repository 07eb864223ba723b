//! Keeps one lane running: it builds the lane, waits until it may begin, and starts it again.

use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use s1_forwarder_engine::checkpoint::CheckpointKey;
use s1_forwarder_engine::lane::LaneEnd;
use s1_forwarder_engine::sink::Deadline;
use s1_forwarder_engine::source::RecordFilter;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::catch_panic::{catch_panic, caught};
use s1_forwarder_record::Timestamp;
use s1_forwarder_telemetry::{LaneChange, LaneMetrics, Meter};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::error;

use super::builder::LaneStart;
use super::spec::LaneSpec;
use super::start_times::StartWaits;
use crate::renames::{Beginning, Running};
use crate::shared::Shared;

/// Wait before the next start of a lane that could not be built, or that panicked.
const RESTART_DELAY: Duration = Duration::from_secs(10);
/// Wait before the next start of a lane whose checkpoint another process has written. In most cases this worker loses
/// the lease of the lane's shard meanwhile. If the other process is gone, or was a `state set`, the lane continues from
/// there.
const RESTART_DELAY_AFTER_CONFLICT: Duration = Duration::from_secs(30);
/// Interval at which the progress of a lane with a `once_timeout` is checked.
const PROGRESS_CHECK: Duration = Duration::from_secs(1);

/// Keeps one lane running until it is asked to stop.
#[derive(Debug)]
pub struct LaneRunner {
    spec: Arc<LaneSpec>,
    shared: Arc<Shared>,
    /// Asks the lane to drain. The lane is aborted after the shutdown timeout.
    stop: CancellationToken,
    /// Aborts the lane at once: another worker has it.
    abort: CancellationToken,
    /// End of the time in which the lane may deliver.
    deadline: Deadline,
    /// The shard of the lane's pipeline.
    shard: u32,
    /// Wait before anything else: another worker may still be draining this lane.
    start_after: Duration,
    waits: StartWaits,
    /// When `stop` was asked for, once that is known.
    stopped: OnceLock<Instant>,
    purpose: Purpose,
}

/// What the lane is for.
#[derive(Debug)]
enum Purpose {
    /// A lane of a worker: it goes on until it is asked to stop.
    Worker,
    /// A lane of `run --once`: it ends when it has caught up, or when it made no progress for this long.
    Once(Duration),
    /// A lane of `backfill` or `verify`, next to the worker's lanes. It ends as one of [`Self::Once`]. Boxed: few are.
    Detached(Duration, Box<DetachedLane>),
}

/// The next step of a lane's runner.
enum RunnerStep {
    /// Waits until the lane may begin.
    Begin,
    Build,
    /// Waits for the lane's end.
    Run(AbortOnDropHandle<LaneEnd>),
    /// Waits for this time before the lane begins again.
    Pause(Duration),
    End(LaneEnd),
}

/// The parts that a lane next to a worker's lanes does not share with them.
#[derive(Debug)]
pub struct DetachedLane {
    /// The key of its checkpoint.
    pub key: CheckpointKey,
    pub meter: Meter,
    /// Whether the sink has accepted events already, so that the first pages need not be small.
    pub sink_proven: bool,
    /// The records that are delivered. `None` if all are.
    pub wanted: Option<RecordFilter>,
}

impl LaneRunner {
    /// Makes the runner of a lane that begins at once, may always deliver, and goes on until it is asked to stop.
    pub fn of(spec: Arc<LaneSpec>, shared: Arc<Shared>, stop: CancellationToken) -> Self {
        Self {
            spec,
            shared,
            stop,
            abort: CancellationToken::new(),
            deadline: Deadline::default(),
            shard: 0,
            start_after: Duration::ZERO,
            waits: StartWaits::default(),
            stopped: OnceLock::new(),
            purpose: Purpose::Worker,
        }
    }

    /// Makes the lane end when it has caught up, or when it made no progress for `timeout`.
    pub fn once(self, timeout: Duration) -> Self {
        Self { purpose: Purpose::Once(timeout), ..self }
    }

    /// Makes the lane run next to the worker's lanes, and end as with [`Self::once`].
    pub fn detached(self, timeout: Duration, lane: DetachedLane) -> Self {
        Self { purpose: Purpose::Detached(timeout, Box::new(lane)), ..self }
    }

    /// Returns the longest time without progress of a lane that ends when it has caught up.
    fn once_timeout(&self) -> Option<Duration> {
        match self.purpose {
            Purpose::Worker => None,
            Purpose::Once(timeout) | Purpose::Detached(timeout, _) => Some(timeout),
        }
    }

    fn is_detached(&self) -> bool {
        matches!(self.purpose, Purpose::Detached(..))
    }

    /// Makes the lane run only while this worker has its shard.
    pub fn in_shard(self, shard: u32, abort: CancellationToken, deadline: Deadline) -> Self {
        Self { shard, abort, deadline, ..self }
    }

    /// Makes the lane begin later.
    pub fn after(self, start_after: Duration, waits: StartWaits) -> Self {
        Self { start_after, waits, ..self }
    }

    /// Runs the lane after `previous`, the lane of the same name, has ended.
    pub async fn run(self: Box<Self>, previous: Option<JoinHandle<LaneEnd>>) -> LaneEnd {
        if let Some(previous) = previous {
            // The result does not matter.
            let _ = previous.await;
        }
        self.wait(self.start_after).await;
        let meter = match &self.purpose {
            Purpose::Detached(_, lane) => lane.meter.clone(),
            Purpose::Worker | Purpose::Once(_) => self.shared.lane_builder.meter(&self.spec),
        };
        if let Purpose::Worker = self.purpose
            && let Some(command) = &self.shared.lane_builder.retry_command
        {
            meter.metrics.set_retry_command(command.clone());
        }
        self.wait(self.waits.open).await;
        let end = self.restart_until_end(&meter).await;
        meter.metrics.requeue_in_flight();
        if !self.is_detached() {
            // Boxed: see *Size* in `lane/mod.rs` of the engine.
            let is_held = !self.abort.is_cancelled() && !self.deadline.has_passed();
            if let Purpose::Once(_) = self.purpose {
                // This counts the minute that is not over. Otherwise a run that takes less would count nothing.
                self.shared.usage.count_minute(&meter.metrics);
            }
            let stopped = self.stopped.get().copied().unwrap_or_else(Instant::now);
            let deadline = stopped + self.shared.options.shutdown_timeout;
            Box::pin(self.shared.usage.end(&meter.metrics, is_held, deadline)).await;
        }
        self.shared.reporter.log_pending_of(&meter.metrics, None);
        if let Purpose::Worker = self.purpose {
            meter.end();
        }
        end
    }

    /// Waits for `time`, or until the lane has to end.
    async fn wait(&self, time: Duration) {
        tokio::select! {
            biased;
            () = sleep(time) => {}
            () = self.stop.cancelled() => {}
            () = self.abort.cancelled() => {}
        }
    }

    async fn restart_until_end(&self, meter: &Meter) -> LaneEnd {
        let mut forced_end = pin!(self.forced_end(&meter.metrics));
        // Between two beginnings, the lane counts as one that runs.
        let mut _running = None;
        let mut step = RunnerStep::Begin;
        loop {
            step = match step {
                // Boxed: few lanes wait here.
                RunnerStep::Begin => match Box::pin(self.unless_ended(&mut forced_end, self.begin(meter))).await {
                    Ok(Ok(running)) => {
                        _running = running;
                        RunnerStep::Build
                    }
                    Ok(Err(end)) | Err(end) => RunnerStep::End(end),
                },
                RunnerStep::Build => self.build(meter, &mut forced_end).await,
                RunnerStep::Run(lane) => self.run_lane(lane, meter, &mut forced_end).await,
                // Boxed: most lanes never wait here.
                RunnerStep::Pause(delay) => match Box::pin(self.unless_ended(&mut forced_end, sleep(delay))).await {
                    Ok(()) => RunnerStep::Begin,
                    Err(end) => RunnerStep::End(end),
                },
                RunnerStep::End(end) => return end,
            };
        }
    }

    /// Returns the result of `work`.
    ///
    /// # Errors
    /// If the lane is asked to stop or has to be aborted before `work` is done, with the lane's end.
    async fn unless_ended<T>(
        &self,
        forced_end: &mut Pin<&mut impl Future<Output = LaneEnd>>,
        work: impl Future<Output = T>,
    ) -> Result<T, LaneEnd> {
        tokio::select! {
            done = self.stop.run_until_cancelled(work) => done.ok_or(LaneEnd::Drained),
            end = forced_end => Err(end),
        }
    }

    /// Compiles the programs of the lane, and builds and starts it.
    async fn build(&self, meter: &Meter, forced_end: &mut Pin<&mut impl Future<Output = LaneEnd>>) -> RunnerStep {
        if !self.is_detached() {
            self.shared.usage.begin(&meter.metrics, self.shard);
        }
        // Boxed: few lanes have programs.
        let compiled = Box::pin(self.unless_ended(forced_end, self.shared.lane_builder.compile(&self.spec))).await;
        let steps = match compiled {
            Ok(steps) => steps,
            Err(end) => return RunnerStep::End(end),
        };
        let started = self.start(meter);
        drop(steps);
        match started {
            Ok(lane) => RunnerStep::Run(lane),
            Err(failure) => {
                self.spec.span().in_scope(|| meter.report(LaneChange::Halted(failure)));
                RunnerStep::Pause(RESTART_DELAY)
            }
        }
    }

    /// Waits for the end of the lane.
    async fn run_lane(
        &self,
        mut lane: AbortOnDropHandle<LaneEnd>,
        meter: &Meter,
        forced_end: &mut Pin<&mut impl Future<Output = LaneEnd>>,
    ) -> RunnerStep {
        let ended = tokio::select! {
            ended = caught(&mut lane) => ended,
            end = forced_end => {
                // The next lane of this name must not start before this one is gone.
                lane.abort();
                let _ = lane.await;
                return RunnerStep::End(end);
            }
        };
        match ended {
            Ok(LaneEnd::TakenOver) if !self.is_detached() => {
                meter.metrics.requeue_in_flight();
                self.shared.renames.forget_listing().await;
                RunnerStep::Pause(RESTART_DELAY_AFTER_CONFLICT)
            }
            Ok(end) => RunnerStep::End(end),
            Err(panic) => {
                self.spec.span().in_scope(|| {
                    error!(%panic, "lane panicked");
                    meter.metrics.requeue_in_flight();
                    meter.report(LaneChange::Halted(Failure::transient(format!("internal error: {panic}"))));
                });
                RunnerStep::Pause(RESTART_DELAY)
            }
        }
    }

    /// Returns when the lane may begin. Lanes of `backfill` and `verify` begin at once.
    ///
    /// # Errors
    /// If the lane is given up, with its end.
    async fn begin<'a>(&'a self, meter: &'a Meter) -> Result<Option<Running<'a>>, LaneEnd> {
        if self.is_detached() {
            return Ok(None);
        }
        let Self { spec, shared, shard, .. } = self;
        let lane = Beginning {
            spec,
            lane_builder: &shared.lane_builder,
            meter,
            shard: *shard,
            once: self.once_timeout().is_some(),
        };
        shared.renames.begin(lane).await.map(Some).ok_or(LaneEnd::Refused)
    }

    /// Starts the lane. Not inlined into its caller, which is `async`: that future would reserve space for the lane
    /// while the lane runs.
    ///
    /// # Errors
    /// If the lane cannot be built, with the reason.
    fn start(&self, meter: &Meter) -> Result<AbortOnDropHandle<LaneEnd>, Failure> {
        let start = LaneStart {
            first_poll_after: self.waits.first_poll,
            once: self.once_timeout().is_some(),
            deadline: self.deadline.clone(),
            shard: self.shard,
            has_no_flag: self.is_detached(),
        };
        let build = || self.shared.lane_builder.build_lane(&self.spec, meter, start);
        let built = self.spec.span().in_scope(|| catch_panic(&self.spec.id, build)).map_err(Failure::transient)?;
        let mut lane = built?;
        if let Purpose::Detached(_, detached) = &self.purpose {
            lane.budget.set_proven(detached.sink_proven);
            lane.key = detached.key.clone();
            lane.wanted = detached.wanted.clone();
        }
        meter.report(LaneChange::LaneBegins);
        Ok(AbortOnDropHandle::new(tokio::spawn(lane.run(self.stop.clone()))))
    }

    /// Resolves when the lane has to be aborted.
    async fn forced_end(&self, metrics: &LaneMetrics) -> LaneEnd {
        let shutdown_timeout = async {
            self.stop.cancelled().await;
            self.stopped.get_or_init(Instant::now);
            sleep(self.shared.options.shutdown_timeout).await;
        };
        let no_progress = async {
            match self.once_timeout() {
                // Boxed: the lanes of a worker do not need this future.
                Some(timeout) => Box::pin(no_progress(metrics, timeout)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.abort.cancelled() => LaneEnd::Aborted,
            () = shutdown_timeout => LaneEnd::Aborted,
            () = no_progress => LaneEnd::GivenUp,
        }
    }
}

/// Resolves when the lane has made no progress for `timeout`.
async fn no_progress(metrics: &LaneMetrics, timeout: Duration) {
    let mut last = Progress::default();
    let mut changed_at = Instant::now();
    loop {
        sleep(PROGRESS_CHECK.min(timeout)).await;
        let now = last.updated(metrics);
        if now != last {
            last = now;
            changed_at = Instant::now();
        } else if changed_at.elapsed() >= timeout {
            return;
        }
    }
}

/// The counters whose change is progress.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Progress {
    pulled: u64,
    settled: u64,
    complete_until: Option<Timestamp>,
}

impl Progress {
    /// Returns the present progress. Pulling is progress only while nothing fails: a lane that tests whether its sink
    /// is available again pulls each time.
    fn updated(&self, metrics: &LaneMetrics) -> Self {
        Self {
            pulled: if metrics.state().is_up() { metrics.pull.records.get() } else { self.pulled },
            settled: metrics.send.delivered.get() + metrics.send.dead_letters.get(),
            complete_until: metrics.complete_until(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use http::StatusCode;
    use s1_forwarder_telemetry::Silence;

    use super::*;
    use crate::options::Options;
    use crate::pipeline::{self, FileOptions};
    use s1_forwarder_engine::checkpoint::{CheckpointBackend, CheckpointUpdate, MemoryStore, StateError, Store};
    use s1_forwarder_engine::console::Response;
    use s1_forwarder_engine::console::scripted::{ScriptedTransport, dated};
    use s1_forwarder_record::Clock;
    use s1_forwarder_telemetry::Telemetry;

    const SHUTDOWN: Duration = Duration::from_mins(1);

    /// A store that stops answering writes of the lane's counts, or of its checkpoint too.
    #[derive(Debug, Default)]
    struct HangingStore {
        stored: MemoryStore,
        hangs_usage: AtomicBool,
        hangs_checkpoint: AtomicBool,
    }

    #[async_trait]
    impl CheckpointBackend for HangingStore {
        async fn load(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
            self.stored.load(key).await
        }

        async fn commit(&self, key: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
            let is_usage = key.to_string().ends_with("+usage");
            let hangs = if is_usage { &self.hangs_usage } else { &self.hangs_checkpoint };
            if hangs.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            self.stored.commit(key, update).await
        }
    }

    #[async_trait]
    impl Store for HangingStore {
        async fn list_all(&self) -> Result<Vec<CheckpointKey>, StateError> {
            self.stored.list_all().await
        }

        async fn rename(&self, from: &CheckpointKey, to: &CheckpointKey) -> Result<(), StateError> {
            self.stored.rename(from, to).await
        }

        async fn delete(&self, key: &CheckpointKey) -> Result<(), StateError> {
            self.stored.delete(key).await
        }
    }

    /// Returns how a lane ends that is asked to stop after a complete poll, and how long that takes.
    async fn stop(hangs_usage: bool, hangs_checkpoint: bool) -> (LaneEnd, Duration) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("acme.yaml");
        let text = "console: { url: 'https://acme.example', token: a-token }\nstreams: { activities: {} }\n\
                    sinks: [{ type: stdout }]\n";
        std::fs::write(&file, text).unwrap();
        let loaded = pipeline::load(&[file], &FileOptions::default());
        let [pipeline] = &loaded.pipelines[..] else { panic!("{:?}", loaded.problems) };
        let clock = Clock::simulated(Timestamp::from_micros(1_790_000_000_000_000));
        let transport = ScriptedTransport::new(move |_| async move {
            let body = r#"{"data":[],"pagination":{"nextCursor":null,"totalItems":0}}"#.into();
            Ok(Response { status: StatusCode::OK, headers: dated(clock.now()), body })
        });
        let options =
            Options { clock, shutdown_timeout: SHUTDOWN, transport: Some(Arc::new(transport)), ..Options::default() };
        let store = Arc::<HangingStore>::default();
        let telemetry = Arc::new(Telemetry::new());
        let shared = Shared::with_store(store.clone(), options, telemetry.clone());
        let names = std::iter::once("acme".to_owned()).collect();
        shared.renames.set_files(names, std::iter::once(pipeline), std::iter::once(pipeline));
        let asked = CancellationToken::new();
        let spec = LaneSpec::of(pipeline).remove(0);
        let running = tokio::spawn(Box::new(LaneRunner::of(spec, shared, asked.clone())).run(None));
        while telemetry.running_lanes().first().is_none_or(|lane| lane.silence() == Silence::Unpolled) {
            sleep(Duration::from_secs(1)).await;
        }
        store.hangs_usage.store(hangs_usage, Ordering::Relaxed);
        store.hangs_checkpoint.store(hangs_checkpoint, Ordering::Relaxed);
        let started_at = Instant::now();
        asked.cancel();
        let end = tokio::time::timeout(10 * SHUTDOWN, running).await.expect("the lane ends").unwrap();
        (end, started_at.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_ends_within_the_shutdown_timeout_whatever_its_store_does() {
        assert_eq!(stop(false, false).await, (LaneEnd::Drained, Duration::ZERO));
        assert_eq!(stop(true, false).await, (LaneEnd::Drained, SHUTDOWN));
        assert_eq!(stop(false, true).await, (LaneEnd::Aborted, SHUTDOWN));
        // The time is one, and not that much for each of the two writes; a few seconds are left for the last one.
        let (end, after) = stop(true, true).await;
        assert_eq!(end, LaneEnd::Aborted);
        assert!(after >= SHUTDOWN && after < SHUTDOWN + Duration::from_secs(10), "{after:?}");
    }

    #[cfg(feature = "remap")]
    #[tokio::test]
    async fn the_programs_of_a_file_are_compiled_once_for_its_check_and_all_its_lanes() {
        use futures_util::future::join_all;

        use s1_forwarder_engine::transform::COMPILATIONS;

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("compiled-once.yaml");
        let sinks = (0..8).map(|number| {
            let remap = if number < 4 { String::new() } else { format!(", remap: '.once = {}'", number % 2) };
            format!("- {{ type: stdout, name: sink{number}{remap} }}\n")
        });
        let text = "console: { url: 'https://acme.example', token: a-token }\nstreams: { activities: {}, threats: {} }\n\
                    transform: { drop: ['.once == 2', '.once == 3'], remap: '.once = 4' }\nsinks:\n";
        let text = sinks.fold(text.to_owned(), |text, sink| text + &sink);
        std::fs::write(&file, &text).unwrap();
        let compiled = || {
            let mut compiled: Vec<_> =
                COMPILATIONS.lock().iter().filter(|text| text.contains(".once")).cloned().collect();
            compiled.sort();
            compiled
        };
        let expected = [".once = 0", ".once = 1", ".once = 4", ".once == 2", ".once == 3"];
        let load = || {
            let mut loaded = pipeline::load(std::slice::from_ref(&file), &FileOptions::default());
            assert_eq!(loaded.pipelines.len(), 1, "{:?}", loaded.problems);
            loaded.pipelines.remove(0)
        };
        let pipeline = load();
        let shared = Shared::with_store(Arc::<MemoryStore>::default(), Options::default(), Arc::new(Telemetry::new()));
        let specs = LaneSpec::of(&pipeline);
        let steps: Vec<_> = join_all(specs.iter().map(|spec| shared.lane_builder.compile(spec))).await;
        assert!(steps.len() == 16 && steps.iter().all(Option::is_some));
        assert_eq!(compiled(), expected);
        // Programs stay compiled as long as a lane has them.
        std::fs::write(&file, text + "# changed\n").unwrap();
        load();
        assert_eq!(compiled(), expected);

        // If no check has compiled the programs, the first lane compiles them for all others.
        let mut other = (*pipeline).clone();
        other.name = "compiled-by-lanes".to_owned();
        COMPILATIONS.lock().retain(|text| !text.contains(".once"));
        join_all(LaneSpec::of(&other).iter().map(|spec| shared.lane_builder.compile(spec))).await;
        assert_eq!(compiled(), expected);
    }
}
