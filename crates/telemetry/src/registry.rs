//! All lanes and files of the process by pipeline. Metrics, the API and the pages are made from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard};
use s1_forwarder_record::{LaneId, Timestamp};

use super::history::{History, HistorySample};
use super::unmapped::UnmappedFields;
use super::{CountedLabels, LaneMetrics, LaneState, ProcessHealth, ProcessMetrics, Silence};

/// The state of a file's pipeline (label `state` of `pipelines`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipelineState {
    Running,
    /// `enabled: false`; its checkpoints are kept.
    Paused,
    /// Another worker runs it.
    Elsewhere,
    /// None of its lanes run, because the file is invalid.
    NotStarted,
    /// The file of a pipeline that ran is gone, and the checkpoints of its lanes are not.
    Removed,
}

impl PipelineState {
    /// Returns the name on the status page and in `/api/v1/lanes`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Elsewhere => "elsewhere",
            Self::NotStarted => "not_started",
            Self::Removed => "removed",
        }
    }
}

/// The state of one pipeline file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// The pipeline's name; the file's stem if the file sets none.
    pub pipeline: String,
    /// Describes what runs, which may be the last good version of a file that is invalid now.
    pub state: PipelineState,
    /// The pipeline's shard, if several workers share the pipelines.
    pub shard: Option<u32>,
    /// Why the current version of the file could not be started, or since when the file is gone.
    pub problem: Option<String>,
    /// Warnings about the current version, such as settings that do not mean what they seem to.
    pub warnings: Vec<String>,
    /// `metadata.generation` of the current version, if the file is a resource.
    pub generation: Option<i64>,
}

impl FileStatus {
    /// Returns the status of a pipeline whose file is gone.
    pub fn removed(pipeline: String, problem: String) -> Self {
        let state = PipelineState::Removed;
        Self { pipeline, state, shard: None, problem: Some(problem), warnings: Vec::new(), generation: None }
    }
}

#[cfg(any(test, feature = "testing"))]
impl FileStatus {
    pub fn of_test(pipeline: &str, state: PipelineState, problem: Option<&str>) -> Self {
        let problem = problem.map(str::to_owned);
        Self { pipeline: pipeline.to_owned(), state, shard: None, problem, warnings: Vec::new(), generation: None }
    }
}

/// The workers that share the pipelines, as this worker sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// This worker's name.
    pub worker: String,
    /// Number of shards.
    pub shards: u32,
    /// The shards that each worker holds, by its name.
    pub workers: BTreeMap<String, BTreeSet<u32>>,
    /// `HOST:PORT` of the workers' HTTP endpoints, by name, as far as they are known.
    pub addresses: BTreeMap<String, String>,
}

impl ClusterView {
    /// Returns the worker that holds a shard; `None` during a handover.
    pub fn holder(&self, shard: u32) -> Option<&str> {
        let holder = self.workers.iter().find(|(_, shards)| shards.contains(&shard));
        holder.map(|(worker, _)| worker.as_str())
    }
}

/// The state of a pipeline's token.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct TokenStatus {
    /// When it expires, if the console reports it.
    pub expires: Option<Timestamp>,
    /// Set while requests use the former token.
    pub new_token: Option<NewTokenProblem>,
}

/// Why requests do not use the token that a file or Secret has now. Displayed as the text of the log, the page and
/// conditions for a pipeline whose former token still works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewTokenProblem {
    Refused,
    /// The user of the new token has another scope than the user of the former one, and the pipeline names no ids.
    OtherScope {
        new: String,
        former: String,
    },
    /// The file or Secret cannot be read, or has no token.
    Unusable(Arc<str>),
}

impl Display for NewTokenProblem {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => {
                formatter.write_str("the console refuses the new token, or it has expired; the former one")?
            }
            Self::OtherScope { new, former } => {
                return write!(
                    formatter,
                    "the scope of the new token's user is {new}; the former token's user had {former}; the new token \
                     is not used: put a token of the former scope back, or, if this is meant, name the ids in the file"
                );
            }
            Self::Unusable(reason) => write!(formatter, "{reason}; the former token")?,
        }
        formatter.write_str(" is still in use: a restart would fail")
    }
}

impl NewTokenProblem {
    /// Returns the problem's name as the reason of a condition.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused => "NewTokenRefused",
            Self::OtherScope { .. } => "NewTokenOfOtherScope",
            Self::Unusable(_) => "NewTokenUnusable",
        }
    }
}

/// One lane for the status page and `/api/v1/lanes`.
#[derive(Debug, Clone)]
pub struct LaneView {
    pub metrics: Arc<LaneMetrics>,
    /// Records pulled per second, averaged over about the last minute.
    pub pulled_per_second: f64,
    /// Events delivered per second, averaged over about the last minute.
    pub delivered_per_second: f64,
    /// The status of the token of the lane's pipeline.
    pub token: TokenStatus,
}

/// All lanes and pipeline files at one moment, sorted by name.
#[derive(Debug, Clone)]
pub struct TelemetrySnapshot {
    pub files: Vec<(PathBuf, FileStatus)>,
    /// See [`Telemetry::set_source_problems`].
    pub source_problems: BTreeMap<PathBuf, String>,
    /// Only running lanes.
    pub lanes: Vec<LaneView>,
    /// Set if several workers share the pipelines.
    pub cluster: Option<ClusterView>,
}

/// The data that the process reports about itself: lanes, pipeline files, health, and metrics of the whole process.
#[derive(Debug, Default)]
pub struct Telemetry {
    process: ProcessMetrics,
    health: ProcessHealth,
    files: RwLock<BTreeMap<PathBuf, FileStatus>>,
    cluster: RwLock<Option<ClusterView>>,
    /// By name: `console_requests_total` and `sink_requests_total` are sums over one pipeline's lanes.
    pipelines: RwLock<BTreeMap<String, Pipeline>>,
    counted_labels: CountedLabels,
    unmapped_fields: UnmappedFields,
    /// Problems outside of pipeline files, by path.
    source_problems: RwLock<BTreeMap<PathBuf, String>>,
}

#[derive(Debug, Default)]
pub(super) struct Pipeline {
    pub(super) token: TokenStatus,
    /// Seconds by which the console's clock is ahead of ours.
    pub(super) clock_difference: Option<i64>,
    history: History,
    /// Sorted by stream and sink.
    lanes: Vec<RegisteredLane>,
}

#[derive(Debug)]
struct RegisteredLane {
    metrics: Arc<LaneMetrics>,
    /// Whether the lane runs. A removed lane stays in the list, hidden. If it returns, its counters continue; and the
    /// sums over its pipeline's lanes must not decrease.
    running: bool,
    rates: Rates,
}

/// Moving averages of a lane's counters.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    started: Option<Timestamp>,
    last: Option<Sample>,
    pulled_per_second: f64,
    delivered_per_second: f64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    time: Timestamp,
    pulled: u64,
    delivered: u64,
}

impl Telemetry {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts events by the values of these labels too: `--metrics-label`.
    #[must_use]
    pub fn counting_labels(self, names: Vec<String>) -> Self {
        Self { counted_labels: CountedLabels::new(names), ..self }
    }

    /// See [`Self::counting_labels`].
    pub fn counted_labels(&self) -> &CountedLabels {
        &self.counted_labels
    }

    pub(super) fn unmapped_fields(&self) -> &UnmappedFields {
        &self.unmapped_fields
    }

    /// Metrics of the process as a whole.
    pub fn process(&self) -> &ProcessMetrics {
        &self.process
    }

    pub fn health(&self) -> &ProcessHealth {
        &self.health
    }

    /// Returns the counters of the lane with this name, in state `Starting`. If the lane existed before, its counters
    /// continue, so that no counter decreases over a reload.
    pub fn start_lane(&self, id: &LaneId) -> Arc<LaneMetrics> {
        let mut pipelines = self.pipelines.write();
        let lanes = &mut pipelines.entry(id.pipeline.clone()).or_default().lanes;
        // All of them are of one pipeline, so the order is by stream and sink.
        match lanes.binary_search_by(|lane| lane.metrics.id.cmp(id)) {
            Ok(index) => {
                let lane = &mut lanes[index];
                lane.running = true;
                lane.metrics.set_state(Timestamp::now(), LaneState::default());
                // Another worker may have run it meanwhile.
                lane.metrics.set_newest_record(None);
                lane.metrics.set_silence(Silence::Unpolled);
                lane.metrics.clone()
            }
            Err(index) => {
                let metrics = Arc::new(LaneMetrics::new(id));
                // Most pipelines have few lanes, and a growing Vec reserves space for four.
                lanes.reserve_exact(1);
                lanes
                    .insert(index, RegisteredLane { metrics: metrics.clone(), running: true, rates: Rates::default() });
                metrics
            }
        }
    }

    /// Returns the lane with this name, if it runs.
    pub fn lane(&self, id: &LaneId) -> Option<Arc<LaneMetrics>> {
        let pipelines = self.pipelines.read();
        let named = |lane: &&RegisteredLane| lane.running && lane.metrics.id == *id;
        pipelines.get(&id.pipeline)?.lanes.iter().find(named).map(|lane| lane.metrics.clone())
    }

    /// Notes that the lane with this name will start again with other settings. Its former state says nothing about
    /// them.
    pub fn restart_lane(&self, id: &LaneId) {
        if let Some(lane) = self.lane(id) {
            lane.set_state(Timestamp::now(), LaneState::default());
        }
    }

    /// Returns the running lanes of a pipeline, sorted by stream and sink.
    pub fn lanes_of(&self, pipeline: &str) -> Vec<Arc<LaneMetrics>> {
        let pipelines = self.pipelines.read();
        let lanes = pipelines.get(pipeline).map(|pipeline| pipeline.lanes.as_slice()).unwrap_or_default();
        lanes.iter().filter(|lane| lane.running).map(|lane| lane.metrics.clone()).collect()
    }

    /// Returns all running lanes.
    pub fn running_lanes(&self) -> Vec<Arc<LaneMetrics>> {
        self.pipelines.read().values().flat_map(Pipeline::running).cloned().collect()
    }

    /// Removes the lane from metrics and the status page.
    pub fn end_lane(&self, metrics: &LaneMetrics) {
        metrics.forget_label_counts(&self.counted_labels);
        let mut pipelines = self.pipelines.write();
        let Some(pipeline) = pipelines.get_mut(&metrics.id.pipeline) else { return };
        let ended = |other: &&mut RegisteredLane| other.metrics.id == metrics.id;
        if let Some(lane) = pipeline.lanes.iter_mut().find(ended) {
            lane.running = false;
            lane.rates = Rates::default();
        }
        if pipeline.lanes.iter().all(|lane| !lane.running) {
            pipeline.token = TokenStatus::default();
            pipeline.clock_difference = None;
        }
    }

    pub fn set_file(&self, file: &Path, status: FileStatus) {
        self.files.write().insert(file.to_owned(), status);
    }

    pub fn file(&self, file: &Path) -> Option<FileStatus> {
        self.files.read().get(file).cloned()
    }

    pub fn remove_file(&self, file: &Path) {
        self.files.write().remove(file);
    }

    /// Removes files that are gone, but for those whose pipeline `is_kept`.
    pub fn retain_removed_files(&self, is_kept: impl Fn(&str) -> bool) {
        let is_removed = |status: &FileStatus| status.state == PipelineState::Removed;
        let any = self.files.read().values().any(is_removed);
        if any {
            self.files.write().retain(|_, status| !is_removed(status) || is_kept(&status.pipeline));
        }
    }

    /// Returns whether several workers share the pipelines.
    pub(super) fn shares_pipelines(&self) -> bool {
        self.cluster.read().is_some()
    }

    pub fn cluster(&self) -> Option<ClusterView> {
        self.cluster.read().clone()
    }

    pub fn set_cluster(&self, view: ClusterView) {
        *self.cluster.write() = Some(view);
    }

    /// Sets when the token expires. `None` if it does not expire, or the console does not report when.
    pub fn set_token_expiry(&self, pipeline: &str, expires: Option<Timestamp>) {
        self.pipelines.write().entry(pipeline.to_owned()).or_default().token.expires = expires;
    }

    /// See [`Self::set_token_expiry`].
    pub fn token_expiry(&self, pipeline: &str) -> Option<Timestamp> {
        self.token(pipeline).expires
    }

    pub fn token(&self, pipeline: &str) -> TokenStatus {
        self.pipelines.read().get(pipeline).map(|pipeline| pipeline.token.clone()).unwrap_or_default()
    }

    /// See [`TokenStatus::new_token`].
    pub fn set_new_token_problem(&self, pipeline: &str, problem: Option<NewTokenProblem>) {
        if let Some(pipeline) = self.pipelines.write().get_mut(pipeline) {
            pipeline.token.new_token = problem;
        }
    }

    /// Returns the number of pipelines with a [`TokenStatus::new_token`].
    pub fn unused_tokens(&self) -> usize {
        self.pipelines.read().values().filter(|pipeline| pipeline.token.new_token.is_some()).count()
    }

    /// Notes that the console's clock is ahead of ours by `seconds`.
    pub fn set_clock_difference(&self, pipeline: &str, seconds: i64) {
        // Polls say it again and again.
        if self.pipelines.read().get(pipeline).is_some_and(|known| known.clock_difference == Some(seconds)) {
            return;
        }
        self.pipelines.write().entry(pipeline.to_owned()).or_default().clock_difference = Some(seconds);
    }

    /// Updates the averages behind `…_per_second` and the histories; called every few seconds.
    pub fn sample_rates(&self, now: Timestamp) {
        for pipeline in self.pipelines.write().values_mut() {
            for lane in pipeline.lanes.iter_mut().filter(|lane| lane.running) {
                lane.rates.sample(&lane.metrics, now);
            }
            pipeline.sample_history(now);
        }
    }

    /// Returns the samples of a pipeline's last hours, the oldest first; none if the pipeline does not run here.
    pub fn history(&self, pipeline: &str) -> Vec<HistorySample> {
        self.pipelines.read().get(pipeline).map(|pipeline| pipeline.history.samples()).unwrap_or_default()
    }

    /// Sets the problems of the defaults file and of places where pipeline files are looked for.
    pub fn set_source_problems(&self, problems: BTreeMap<PathBuf, String>) {
        *self.source_problems.write() = problems;
    }

    pub fn snapshot(&self) -> TelemetrySnapshot {
        let files = self.files.read().iter().map(|(file, status)| (file.clone(), status.clone())).collect();
        let pipelines = self.pipelines.read();
        let lanes = pipelines.values().flat_map(|pipeline| {
            pipeline.lanes.iter().filter(|lane| lane.running).map(|lane| LaneView {
                metrics: lane.metrics.clone(),
                pulled_per_second: lane.rates.pulled_per_second,
                delivered_per_second: lane.rates.delivered_per_second,
                token: pipeline.token.clone(),
            })
        });
        let source_problems = self.source_problems.read().clone();
        let cluster = self.cluster.read().clone();
        TelemetrySnapshot { files, source_problems, lanes: lanes.collect(), cluster }
    }

    pub(super) fn files(&self) -> RwLockReadGuard<'_, BTreeMap<PathBuf, FileStatus>> {
        self.files.read()
    }

    pub(super) fn pipelines(&self) -> RwLockReadGuard<'_, BTreeMap<String, Pipeline>> {
        self.pipelines.read()
    }
}

impl Pipeline {
    pub(super) fn running(&self) -> impl Iterator<Item = &Arc<LaneMetrics>> {
        self.lanes.iter().filter(|lane| lane.running).map(|lane| &lane.metrics)
    }

    fn sample_history(&mut self, now: Timestamp) {
        let step = History::step(now);
        if !self.history.is_due(step) {
            return;
        }
        if self.running().next().is_none() {
            // The history is not cleared as soon as the last lane ends: lanes whose settings change end, and begin
            // again.
            self.history = History::default();
            return;
        }
        let delivered = self.lanes.iter().map(|lane| lane.metrics.send.delivered.get()).sum();
        let lag = self.running().filter_map(|lane| lane.lag(now)).max();
        self.history.push(step, delivered, lag);
    }

    /// Returns the lanes that sums are made of: every lane that ever ran, as long as one still runs.
    pub(super) fn summed(&self) -> impl Iterator<Item = &LaneMetrics> {
        let any = self.lanes.iter().any(|lane| lane.running);
        self.lanes.iter().filter(move |_| any).map(|lane| &*lane.metrics)
    }
}

impl Rates {
    const TIME_CONSTANT: Duration = Duration::from_mins(1);

    fn sample(&mut self, metrics: &LaneMetrics, now: Timestamp) {
        let sample = Sample { time: now, pulled: metrics.pull.records.get(), delivered: metrics.send.delivered.get() };
        let started = *self.started.get_or_insert(now);
        let Some(last) = self.last else {
            self.last = Some(sample);
            return;
        };
        let seconds = now.since(last.time).as_secs_f64();
        if seconds == 0.0 {
            return;
        }
        self.last = Some(sample);
        // In the first minute the plain mean is used. Otherwise a lane would seem to start slowly.
        let decay = 1.0 - (-seconds / Self::TIME_CONSTANT.as_secs_f64()).exp();
        let weight = decay.max(seconds / now.since(started).as_secs_f64());
        let update = |rate: &mut f64, new: u64, old: u64| {
            *rate += weight * (new.saturating_sub(old) as f64 / seconds - *rate);
        };
        update(&mut self.pulled_per_second, sample.pulled, last.pulled);
        update(&mut self.delivered_per_second, sample.delivered, last.delivered);
    }
}
