//! Starts and stops lanes as pipeline files and shards change. It is the main loop of a worker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use s1_forwarder_engine::lane::{LaneEnd, until_lanes_wake};
use s1_forwarder_engine::sink::Deadline;
use s1_forwarder_engine::transform::forget_unused_programs;
use s1_forwarder_failure::catch_panic::result_of;
use s1_forwarder_record::LaneId;
use s1_forwarder_telemetry::{HealthPart, PipelineState};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::checks::{self, Checks};
use super::cluster::{Drained, Membership, ShardChange};
use super::file_reports::FileReports;
use super::open_files;
use super::owners::{NameOwners, rescan};
use super::renames::serve_requests;
#[cfg(feature = "kubernetes")]
use super::resources;
use super::shared::Shared;
use crate::lanes::runner::LaneRunner;
use crate::lanes::spec::LaneSpec;
use crate::lanes::start_times::for_all;
use crate::pipeline::{self, Changes, Files, Pipeline, Scan, Watch};
use crate::warnings::follow_pipelines;

/// Interval of the supervisor's heartbeat, and of the process's gauges.
const TICK: Duration = Duration::from_secs(5);

/// A scan that takes longer is reported.
const SLOW_SCAN: Duration = Duration::from_secs(15);

/// Timeout for the release of the leases at the end. A lease that is not released expires.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// Capacity of the queue of lists of lanes to retry; further ones wait.
const RETRIES: usize = 16;

/// Watches the pipeline files and the shards of this worker, and starts, restarts and stops lanes accordingly.
pub struct Supervisor {
    shared: Arc<Shared>,
    reports: FileReports,
    /// `None` while a scan has them.
    files: Option<Files>,
    scan: Option<RunningScan>,
    /// The owners of the names of tenants' files.
    owners: Option<Arc<NameOwners>>,
    watch: Watch,
    stop: CancellationToken,
    pipelines: HashMap<String, RunningPipeline>,
    /// Lanes that were asked to stop and may still be running. The next lane of the same name waits for them.
    ending: HashMap<LaneId, JoinHandle<LaneEnd>>,
    /// Set if several workers share the pipelines.
    cluster: Option<Membership>,
    shards: HashMap<u32, OwnedShard>,
    /// The shard of each pipeline, whether this worker owns the shard or not. Empty without a cluster.
    shard_by_pipeline: HashMap<String, u32>,
    /// Whether the log has warned that the lanes may need more open files than the process may have.
    warned_files: bool,
}

/// A shard of this worker. Without a cluster, shard 0 has all pipelines.
#[derive(Debug, Clone, Default)]
struct OwnedShard {
    deadline: Deadline,
    /// Every lane of the shard that has not ended.
    lanes: TaskTracker,
    /// Aborts the lanes.
    abort: CancellationToken,
}

/// A scan of the pipeline files, in a thread of its own: the file system may not answer.
struct RunningScan {
    /// Kept from one wait to the next: a handle that has resolved must not be polled again.
    result: BoxFuture<'static, (Files, Changes)>,
    started: Instant,
    is_reported: bool,
    /// Whether the status of all files has to be published afterwards.
    publish_all: bool,
}

/// The lanes of one pipeline.
#[derive(Debug, Default)]
struct RunningPipeline {
    shard: u32,
    lanes: Vec<RunningLane>,
    /// `None` without lanes.
    checks: Option<Box<Checks>>,
}

#[derive(Debug)]
struct RunningLane {
    spec: Arc<LaneSpec>,
    stop: CancellationToken,
    runner: JoinHandle<LaneEnd>,
}

impl RunningLane {
    /// Asks the lane to drain, and does not wait for it.
    fn stop(self) -> (LaneId, JoinHandle<LaneEnd>) {
        self.stop.cancel();
        (self.spec.id.clone(), self.runner)
    }
}

impl Supervisor {
    pub async fn new(
        shared: Arc<Shared>,
        owners: Option<NameOwners>,
        cluster: Option<Membership>,
        stop: CancellationToken,
    ) -> Self {
        let (files, watch) = pipeline::open(&shared.options.pipelines, &shared.options.files).await;
        let alone = cluster.is_none().then(|| (0, OwnedShard::default()));
        let shards = alone.into_iter().collect();
        Self {
            reports: FileReports::new(shared.clone()),
            shared,
            files: Some(files),
            scan: None,
            owners: owners.map(Arc::new),
            watch,
            stop,
            pipelines: HashMap::new(),
            ending: HashMap::new(),
            cluster,
            shards,
            shard_by_pipeline: HashMap::new(),
            warned_files: false,
        }
    }

    /// Reads the files, starts their lanes, and applies changes until the worker is stopped. Then it drains the lanes.
    pub async fn run(mut self) {
        let mut tick = interval(TICK);
        let mut check_tick = interval(checks::INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        check_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.stop.clone();
        let (ask_retry, mut retries) = mpsc::channel(RETRIES);
        let mut reporting = JoinSet::new();
        let shared = self.shared.clone();
        reporting.spawn(async move { shared.reporter.measure_dead_letters().await });
        let shared = self.shared.clone();
        reporting.spawn(async move { shared.reporter.log_pending().await });
        let shared = self.shared.clone();
        reporting.spawn(async move { match shared.usage.keep().await {} });
        #[cfg(feature = "kubernetes")]
        if let Some(resources) = self.watch.resources() {
            reporting.spawn(resources::report(self.shared.clone(), resources, ask_retry.clone()));
        }
        reporting.spawn(serve_requests(self.shared.clone(), ask_retry));
        reporting.spawn(follow_pipelines(
            self.shared.warnings.clone(),
            self.shared.valid.clone(),
            self.shared.options.files.tenants.clone(),
            self.shared.telemetry.clone(),
        ));
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.watch.first_listing() => self.start_scan(Scan::All),
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                scan = self.watch.changed(), if self.scan.is_none() => self.start_scan(scan),
                (files, changes) = next_scan(&mut self.scan) => self.end_scan(files, changes),
                Some(lanes) = retries.recv() => self.retry(lanes),
                change = next_change(&mut self.cluster) => match change {
                    Some(change) => self.apply_shard_changes(change),
                    // Without its task no lease is renewed: the process has to end at once.
                    None => return error!("the task that holds the leases has ended"),
                },
                _ = tick.tick() => {
                    self.shared.telemetry.health().heartbeat(HealthPart::Supervisor);
                    self.shared.reporter.refresh_gauges(&self.shared.lane_builder, &self.shared.renames);
                    forget_unused_programs();
                    self.shared.warnings.show(&self.shared.telemetry);
                    self.report_slow_scan();
                }
                _ = check_tick.tick() => {
                    self.run_due_checks();
                    self.shared.telemetry.remind_of_failures(self.shared.options.clock.now());
                }
            }
        }
        drop(reporting);
        self.drain().await;
    }

    async fn drain(mut self) {
        self.shared.telemetry.health().set_draining();
        if let Some(cluster) = &self.cluster {
            cluster.leave();
        }
        let names: Vec<String> = self.pipelines.keys().cloned().collect();
        names.iter().for_each(|name| self.stop_pipeline(name));
        info!(lanes = self.ending.len(), "draining");
        let ending = std::mem::take(&mut self.ending);
        let drained = async {
            let mut aborted = 0;
            for runner in ending.into_values() {
                aborted += usize::from(matches!(runner.await, Ok(LaneEnd::Aborted)));
            }
            aborted
        };
        tokio::pin!(drained);
        let aborted = loop {
            tokio::select! {
                aborted = &mut drained => break aborted,
                // Each shard is released as soon as it is drained.
                Some(change) = next_change(&mut self.cluster) => self.apply_shard_changes(change),
            }
        };
        self.shared.close().await;
        if let Some(owners) = &self.owners {
            owners.close().await;
        }
        info!(aborted, "drained");
        self.shared.usage.log_lost();
        let released = async {
            while let Some(change) = self.last_change().await {
                self.apply_shard_changes(change);
            }
        };
        if timeout(RELEASE_TIMEOUT, released).await.is_err() {
            warn!("some leases were not released: they will expire");
        }
    }

    /// Waits for the next change of a shard. `None` when this worker has left the cluster.
    async fn last_change(&mut self) -> Option<ShardChange> {
        self.cluster.as_mut()?.changes.recv().await
    }

    fn apply_shard_changes(&mut self, change: ShardChange) {
        let mut next = Some(change);
        while let Some(change) = next {
            match change {
                ShardChange::Acquired(shard, deadline) => self.acquire(shard, deadline),
                ShardChange::Drain(shard) => self.drain_shard(shard),
                ShardChange::Lost(shard) => {
                    if let Some(lost) = self.shards.remove(&shard) {
                        lost.abort.cancel();
                    }
                    self.stop_shard(shard);
                }
            }
            next = self.cluster.as_mut().and_then(|cluster| cluster.changes.try_recv().ok());
        }
        self.publish_all();
    }

    /// Publishes the status of all valid files, now or after the scan: any may have changed.
    fn publish_all(&mut self) {
        match &mut self.scan {
            Some(scan) => scan.publish_all = true,
            None => {
                let paths = self.shared.valid.all().into_iter().map(|pipeline| pipeline.path.clone()).collect();
                self.publish(&paths);
            }
        }
    }

    /// Publishes the status of these files, which may have changed.
    fn publish(&self, paths: &BTreeSet<PathBuf>) {
        if let Some(files) = &self.files {
            self.reports.set_status(files, paths, |pipeline| self.place(pipeline));
        }
    }

    /// Returns the state of a valid pipeline, and its shard if several workers share the pipelines.
    fn place(&self, pipeline: &Pipeline) -> (PipelineState, Option<u32>) {
        let state = match self.pipelines.contains_key(&pipeline.name) {
            _ if !pipeline.enabled => PipelineState::Paused,
            true => PipelineState::Running,
            false => PipelineState::Elsewhere,
        };
        (state, self.cluster.as_ref().map(|cluster| cluster.shard_of(&pipeline.console)))
    }

    fn acquire(&mut self, shard: u32, deadline: Deadline) {
        self.shards.insert(shard, OwnedShard { deadline, ..OwnedShard::default() });
        self.shared.lane_builder.sinks.acquired(shard);
        if self.stop.is_cancelled() {
            return;
        }
        let mut mine = self.shared.valid.all();
        mine.retain(|pipeline| self.shard_of(pipeline) == shard);
        let lanes = mine.iter().map(|pipeline| LaneSpec::of(pipeline).len()).sum();
        mine.iter().for_each(|pipeline| self.run_pipeline(pipeline, lanes));
        self.warn_of_open_files();
    }

    fn drain_shard(&mut self, shard: u32) {
        self.stop_shard(shard);
        let (Some(owned), Some(cluster)) = (self.shards.get(&shard).cloned(), &self.cluster) else { return };
        let drained = cluster.drained.clone();
        owned.lanes.close();
        tokio::spawn(async move {
            owned.lanes.wait().await;
            // Fails if the worker has ended without leaving the cluster.
            let _ = drained.send(Drained(shard)).await;
        });
    }

    fn stop_shard(&mut self, shard: u32) {
        let here = self.pipelines.iter().filter(|(_, running)| running.shard == shard);
        let names: Vec<String> = here.map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.stop_pipeline(name));
    }

    fn shard_of(&self, pipeline: &Pipeline) -> u32 {
        self.cluster.as_ref().map_or(0, |cluster| cluster.shard_of(&pipeline.console))
    }

    /// Starts a scan as a task: cluster, signals and lanes are attended to meanwhile.
    fn start_scan(&mut self, scan: Scan) {
        let Some(files) = self.files.take() else { return };
        let owners = self.owners.clone();
        let task = tokio::spawn(async move { rescan(files, scan, owners.as_deref()).await });
        let result = Box::pin(result_of(task));
        self.scan = Some(RunningScan { result, started: Instant::now(), is_reported: false, publish_all: false });
    }

    fn end_scan(&mut self, files: Files, changes: Changes) {
        let publish_all = self.scan.take().is_some_and(|scan| scan.publish_all);
        if !changes.is_empty() {
            self.shared.valid.replace(files.running());
            self.shared.warnings.set_files(files.running(), &self.shared.options.file_flags());
        }
        if !(changes.is_empty() && changes.affected.is_empty()) {
            let changed = changes.started.iter().chain(&changes.changed);
            self.shared.renames.set_files(files.names(), files.running(), changed);
        }
        self.files = Some(files);
        self.apply(changes);
        if publish_all {
            self.publish_all();
        }
        if let Some(files) = &self.files {
            self.shared.set_files_read(files.running());
        }
    }

    fn run_due_checks(&mut self) {
        let shared = &self.shared;
        let now = Instant::now();
        let longest = for_all(self.pipelines.len(), checks::TIME_PER_CHECK).min(checks::INTERVAL);
        let wait = || until_lanes_wake(shared.options.clock.now(), shared.lane_builder.random_wait(longest));
        for RunningPipeline { lanes, checks, .. } in self.pipelines.values_mut() {
            let specs = || lanes.iter().map(|lane| lane.spec.clone()).collect();
            if let Some(checks) = checks {
                checks.run_due(now, shared, specs, wait);
            }
        }
    }

    fn report_slow_scan(&mut self) {
        let slow = self.scan.as_mut().filter(|scan| !scan.is_reported && scan.started.elapsed() > SLOW_SCAN);
        if let Some(scan) = slow {
            scan.is_reported = true;
            self.shared.telemetry.process().set_reloaded(false, None);
            error!(
                seconds = scan.started.elapsed().as_secs(),
                "the pipeline files are still being read: their file system may not answer; running pipelines go on, \
                 changes wait"
            );
        }
    }

    fn apply(&mut self, changes: Changes) {
        self.ending.retain(|_, runner| !runner.is_finished());
        for name in &changes.stopped {
            info!(pipeline = %name, "pipeline removed");
            self.shard_by_pipeline.remove(name);
            self.stop_pipeline(name);
        }
        let starting = changes.started.iter().chain(&changes.changed);
        let lanes = starting.clone().map(|pipeline| LaneSpec::of(pipeline).len()).sum();
        for pipeline in starting {
            info!(pipeline = %pipeline.name, enabled = pipeline.enabled, "pipeline loaded");
            self.run_pipeline(pipeline, lanes);
        }
        if let Some(files) = &self.files {
            self.reports.changed(files, &changes);
        }
        self.publish(&changes.affected);
        self.reports.warn_if_idle();
        if !(changes.started.is_empty() && changes.changed.is_empty()) {
            self.warn_of_open_files();
        }
    }

    /// Warns if the limit of open files may be too low. Without a free one, a worker cannot connect, read its files or
    /// answer its probes.
    fn warn_of_open_files(&mut self) {
        let lanes = self.pipelines.values().flat_map(|running| &running.lanes);
        let needed = open_files::needed(lanes.map(|lane| &*lane.spec));
        let Some(limit) = open_files::limit() else { return };
        let is_low = needed > limit;
        if is_low && !self.warned_files {
            warn!(
                limit,
                needed,
                "the limit of open files may be too low: each console and each sink of a pipeline may need a connection"
            );
        }
        self.warned_files = is_low;
    }

    /// Starts and stops lanes so that they match `pipeline`. Lanes with unchanged settings keep running. `starting` is
    /// the number of lanes that start at the same time. A pipeline in a shard of another worker does not run here.
    fn run_pipeline(&mut self, pipeline: &Arc<Pipeline>, starting: usize) {
        let shard = self.shard_of(pipeline);
        let previous_shard =
            self.cluster.as_ref().and_then(|_| self.shard_by_pipeline.insert(pipeline.name.clone(), shard));
        let Some(owned) = self.shards.get(&shard).filter(|owned| !owned.lanes.is_closed()).cloned() else {
            return self.stop_pipeline(&pipeline.name);
        };
        // The worker of the previous shard starts to drain when it reads the changed file, perhaps later than this
        // worker.
        let lease = self.shared.options.cluster.as_ref().map_or(Duration::ZERO, |settings| settings.lease);
        let has_moved =
            previous_shard.is_some_and(|previous| previous != shard) && !self.pipelines.contains_key(&pipeline.name);
        let start_after = if has_moved { lease } else { Duration::ZERO };
        let specs = LaneSpec::of(pipeline);
        let running = self.pipelines.entry(pipeline.name.clone()).or_default();
        running.shard = shard;
        let keeps_running = |lane: &mut RunningLane| specs.contains(&lane.spec) && !lane.runner.is_finished();
        let stopped: Vec<RunningLane> = running.lanes.extract_if(.., |lane| !keeps_running(lane)).collect();
        stopped.into_iter().for_each(|lane| self.restart(lane));
        let running = self.pipelines.entry(pipeline.name.clone()).or_default();
        let new = specs.into_iter().filter(|spec| running.lanes.iter().all(|lane| lane.spec.id != spec.id));
        let new: Vec<_> = new.collect();
        running.lanes.reserve_exact(new.len());
        let has_new = !new.is_empty();
        for spec in new {
            let previous = self.ending.remove(&spec.id);
            let stop = CancellationToken::new();
            let runner = Box::new(
                LaneRunner::of(spec.clone(), self.shared.clone(), stop.clone())
                    .in_shard(shard, owned.abort.clone(), owned.deadline.clone())
                    .after(start_after, self.shared.lane_builder.start_waits(starting, &spec)),
            );
            running.lanes.push(RunningLane { spec, stop, runner: owned.lanes.spawn(runner.run(previous)) });
        }
        if running.lanes.is_empty() {
            running.checks = None;
        } else if has_new {
            running.checks = Some(Box::new(Checks::new(&self.shared, starting)));
        }
    }

    /// Starts these lanes again, so that none of them waits for its next attempt. Lanes of other workers are left out.
    fn retry(&mut self, lanes: Vec<LaneId>) {
        let mut by_pipeline: BTreeMap<String, Vec<LaneId>> = BTreeMap::new();
        for lane in lanes {
            by_pipeline.entry(lane.pipeline.clone()).or_default().push(lane);
        }
        let mut pipelines = self.shared.valid.all();
        pipelines.retain(|pipeline| by_pipeline.contains_key(&pipeline.name));
        let starting = by_pipeline.values().map(Vec::len).sum();
        for pipeline in pipelines {
            let Some(running) = self.pipelines.get_mut(&pipeline.name) else { continue };
            let is_asked = |lane: &mut RunningLane| {
                by_pipeline.get(&pipeline.name).is_some_and(|lanes| lanes.contains(&lane.spec.id))
            };
            for lane in running.lanes.extract_if(.., is_asked).collect::<Vec<_>>() {
                info!(lane = %lane.spec.id, "the lane is started again by `retry`");
                self.restart(lane);
            }
            self.run_pipeline(&pipeline, starting);
        }
    }

    /// Asks a lane to drain, for another start with its name.
    fn restart(&mut self, lane: RunningLane) {
        self.shared.telemetry.restart_lane(&lane.spec.id);
        self.ending.extend([lane.stop()]);
    }

    fn stop_pipeline(&mut self, name: &str) {
        let Some(running) = self.pipelines.remove(name) else { return };
        self.ending.extend(running.lanes.into_iter().map(RunningLane::stop));
    }
}

/// Waits for the end of the scan. Never resolves while no scan runs. Cancel-safe.
async fn next_scan(scan: &mut Option<RunningScan>) -> (Files, Changes) {
    match scan {
        Some(scan) => scan.result.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Waits for the next change of a shard. Never resolves without a cluster. `None` if the task of the cluster has ended.
async fn next_change(cluster: &mut Option<Membership>) -> Option<ShardChange> {
    match cluster {
        Some(cluster) => cluster.changes.recv().await,
        None => std::future::pending().await,
    }
}
