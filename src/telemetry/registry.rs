use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::{Health, LaneMetrics, LaneState, Process};
use crate::record::{Stream, Timestamp};

/// What a pipeline file's pipeline is doing (label `state` of `pipelines`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Its lanes run.
    Running,
    /// `enabled: false`; its checkpoints are kept.
    Paused,
    /// Another worker runs it.
    Elsewhere,
    /// Nothing of it runs, because of its problem.
    NotStarted,
}

impl Activity {
    /// The word for it on the status page and in `/api/v1/lanes`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Elsewhere => "elsewhere",
            Self::NotStarted => "not_started",
        }
    }
}

/// What became of one pipeline file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// The pipeline's name; the file's stem where the file does not tell.
    pub pipeline: String,
    /// What runs, which may be the last good version of a file that is invalid now.
    pub activity: Activity,
    /// The pipeline's shard, where several workers share them.
    pub shard: Option<u32>,
    /// Why the file as it is now would not be started.
    pub problem: Option<String>,
}

/// The workers that share the pipelines, as one of them sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// This worker.
    pub worker: String,
    /// Number of shards.
    pub shards: u32,
    /// The shards of every worker.
    pub workers: BTreeMap<String, BTreeSet<u32>>,
}

impl ClusterView {
    /// Who has a shard; nobody while it changes hands.
    pub fn holder(&self, shard: u32) -> Option<&str> {
        let holder = self.workers.iter().find(|(_, shards)| shards.contains(&shard));
        holder.map(|(worker, _)| worker.as_str())
    }
}

/// One lane as pages show it.
#[derive(Debug, Clone)]
pub struct LaneView {
    /// Counters and state.
    pub metrics: Arc<LaneMetrics>,
    /// Records pulled a second, averaged over about the last minute.
    pub pulled_per_second: f64,
    /// Events delivered a second, averaged over about the last minute.
    pub delivered_per_second: f64,
    /// When the token of the lane's pipeline expires, where the console told.
    pub token_expires: Option<Timestamp>,
}

/// All lanes and pipeline files at one moment, sorted by name.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Every pipeline file.
    pub files: Vec<(PathBuf, FileStatus)>,
    /// Every running lane.
    pub lanes: Vec<LaneView>,
    /// Who holds what, where several workers share the pipelines.
    pub cluster: Option<ClusterView>,
}

/// All that the process tells about itself: its lanes, its pipeline files, its health, and what exists once a process.
#[derive(Debug, Default)]
pub struct Telemetry {
    process: Process,
    health: Health,
    files: RwLock<BTreeMap<PathBuf, FileStatus>>,
    cluster: RwLock<Option<ClusterView>>,
    /// By name, since one pipeline's lanes are summed in `console_requests_total` and `sink_requests_total`.
    pipelines: RwLock<BTreeMap<String, Pipeline>>,
}

#[derive(Debug, Default)]
pub(super) struct Pipeline {
    pub(super) token_expires: Option<Timestamp>,
    /// Sorted by stream and sink.
    lanes: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    metrics: Arc<LaneMetrics>,
    /// A lane that was removed stays here unseen, for two reasons: when it comes back its counters go on, and the sums
    /// over its pipeline's lanes must not fall because one of them went.
    running: bool,
    rates: Rates,
}

/// How fast a lane's counters moved lately.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    begun: Option<Timestamp>,
    sampled: Option<Sample>,
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
    /// Knows no lane and no file yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What exists once a process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What `/livez` and `/readyz` answer from.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The counters of the lane of this name, in state `Starting`. A lane that was there before goes on counting where
    /// it stopped, so that no counter runs backwards over a reload.
    pub fn start_lane(&self, pipeline: &str, stream: Stream, sink: &str) -> Arc<LaneMetrics> {
        let mut pipelines = write(&self.pipelines);
        let lanes = &mut pipelines.entry(pipeline.to_owned()).or_default().lanes;
        let place =
            lanes.binary_search_by(|lane| (lane.metrics.stream, lane.metrics.sink.as_str()).cmp(&(stream, sink)));
        match place {
            Ok(index) => {
                let lane = &mut lanes[index];
                lane.running = true;
                lane.metrics.set_state(Timestamp::now(), LaneState::Starting);
                lane.metrics.clone()
            }
            Err(index) => {
                let metrics = Arc::new(LaneMetrics::new(pipeline, stream, sink));
                // Most pipelines have few lanes, and lists make room for four.
                lanes.reserve_exact(1);
                lanes.insert(index, Lane { metrics: metrics.clone(), running: true, rates: Rates::default() });
                metrics
            }
        }
    }

    /// The lane of this name, while it runs.
    pub fn lane(&self, pipeline: &str, stream: Stream, sink: &str) -> Option<Arc<LaneMetrics>> {
        let pipelines = read(&self.pipelines);
        let named = |lane: &&Lane| lane.running && lane.metrics.stream == stream && lane.metrics.sink == sink;
        pipelines.get(pipeline)?.lanes.iter().find(named).map(|lane| lane.metrics.clone())
    }

    /// The lane runs no more: it leaves metrics and pages.
    pub fn end_lane(&self, lane: &LaneMetrics) {
        let mut pipelines = write(&self.pipelines);
        let Some(pipeline) = pipelines.get_mut(&lane.pipeline) else { return };
        let ended = |other: &&mut Lane| other.metrics.stream == lane.stream && other.metrics.sink == lane.sink;
        if let Some(lane) = pipeline.lanes.iter_mut().find(ended) {
            lane.running = false;
            lane.rates = Rates::default();
        }
        if pipeline.lanes.iter().all(|lane| !lane.running) {
            pipeline.token_expires = None;
        }
    }

    /// What became of a pipeline file.
    pub fn set_file(&self, file: &Path, status: FileStatus) {
        write(&self.files).insert(file.to_owned(), status);
    }

    /// The pipeline file is gone.
    pub fn remove_file(&self, file: &Path) {
        write(&self.files).remove(file);
    }

    /// True where several workers share the pipelines.
    pub(super) fn shares_pipelines(&self) -> bool {
        read(&self.cluster).is_some()
    }

    /// Who holds what.
    pub fn set_cluster(&self, view: ClusterView) {
        *write(&self.cluster) = Some(view);
    }

    /// The console told when the token of `pipeline` expires, or that it does not.
    pub fn set_token_expiry(&self, pipeline: &str, expires: Option<Timestamp>) {
        write(&self.pipelines).entry(pipeline.to_owned()).or_default().token_expires = expires;
    }

    /// Moves the averages behind `…_per_second`; called every few seconds.
    pub fn sample_rates(&self, now: Timestamp) {
        for lane in write(&self.pipelines).values_mut().flat_map(|pipeline| &mut pipeline.lanes) {
            if lane.running {
                lane.rates.sample(&lane.metrics, now);
            }
        }
    }

    /// All lanes and files as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let files = read(&self.files).iter().map(|(file, status)| (file.clone(), status.clone())).collect();
        let pipelines = read(&self.pipelines);
        let lanes = pipelines.values().flat_map(|pipeline| {
            pipeline.lanes.iter().filter(|lane| lane.running).map(|lane| LaneView {
                metrics: lane.metrics.clone(),
                pulled_per_second: lane.rates.pulled_per_second,
                delivered_per_second: lane.rates.delivered_per_second,
                token_expires: pipeline.token_expires,
            })
        });
        Snapshot { files, lanes: lanes.collect(), cluster: read(&self.cluster).clone() }
    }

    pub(super) fn files(&self) -> RwLockReadGuard<'_, BTreeMap<PathBuf, FileStatus>> {
        read(&self.files)
    }

    pub(super) fn pipelines(&self) -> RwLockReadGuard<'_, BTreeMap<String, Pipeline>> {
        read(&self.pipelines)
    }
}

impl Pipeline {
    /// Lanes that run.
    pub(super) fn running(&self) -> impl Iterator<Item = &LaneMetrics> {
        self.lanes.iter().filter(|lane| lane.running).map(|lane| &*lane.metrics)
    }

    /// Every lane that ever ran, as long as one still does: what sums are made of.
    pub(super) fn summed(&self) -> impl Iterator<Item = &LaneMetrics> {
        let any = self.lanes.iter().any(|lane| lane.running);
        self.lanes.iter().filter(move |_| any).map(|lane| &*lane.metrics)
    }
}

impl Rates {
    const MEMORY: Duration = Duration::from_secs(60);

    fn sample(&mut self, lane: &LaneMetrics, now: Timestamp) {
        use std::sync::atomic::Ordering::Relaxed;
        let sample = Sample { time: now, pulled: lane.pulled.load(Relaxed), delivered: lane.delivered.load(Relaxed) };
        let begun = *self.begun.get_or_insert(now);
        let Some(last) = self.sampled else {
            self.sampled = Some(sample);
            return;
        };
        let seconds = now.since(last.time).as_secs_f64();
        if seconds == 0.0 {
            return;
        }
        self.sampled = Some(sample);
        // In its first minute the plain mean, or a lane would seem to start slowly.
        let forgets = 1.0 - (-seconds / Self::MEMORY.as_secs_f64()).exp();
        let weight = forgets.max(seconds / now.since(begun).as_secs_f64());
        let moved = |rate: &mut f64, new: u64, old: u64| {
            *rate += weight * (new.saturating_sub(old) as f64 / seconds - *rate);
        };
        moved(&mut self.pulled_per_second, sample.pulled, last.pulled);
        moved(&mut self.delivered_per_second, sample.delivered, last.delivered);
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
