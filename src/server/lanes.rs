use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use crate::record::Timestamp;
use crate::telemetry::{DropReason, LaneView, Snapshot};

/// The answer of `/api/v1/lanes`, and what the status page shows. Times are RFC 3339 in UTC; what is not known is null.
/// Fields may be added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: Cow<'static, str>,
    /// When this was true.
    pub time: String,
    /// Who holds what, where several workers share the pipelines.
    pub cluster: Option<Cluster>,
    /// Every pipeline file, by path.
    pub files: Vec<File>,
    /// Every lane that runs, by pipeline, stream and sink.
    pub lanes: Vec<Lane>,
}

/// The workers that share the pipelines, as this one sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    /// This worker.
    pub worker: String,
    /// Number of shards.
    pub shards: u32,
    /// Every worker, by name, with the shards that it holds.
    pub workers: BTreeMap<String, BTreeSet<u32>>,
}

/// One pipeline file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct File {
    /// Its path.
    pub file: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// `running`, `paused`, `elsewhere` (another worker runs it) or `not_started`.
    pub state: Cow<'static, str>,
    /// The pipeline's shard, where several workers share them.
    #[serde(default)]
    pub shard: Option<u32>,
    /// The worker that holds the shard; none while it changes hands.
    #[serde(default)]
    pub worker: Option<String>,
    /// Why the file, as it is now, would not be started.
    pub problem: Option<String>,
}

/// One lane.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lane {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Name of the stream.
    pub stream: Cow<'static, str>,
    /// Name of the sink.
    pub sink: String,
    /// `starting`, `running`, `console_failing`, `console_refused`, `sink_failing`, `sink_refused`, `stopped` or `done`.
    pub state: Cow<'static, str>,
    /// False while it fails.
    pub up: bool,
    /// What is wrong, while something is.
    pub error: Option<String>,
    /// The last thing that was wrong, and when it was seen.
    pub last_error: Option<LastError>,
    /// Last poll or delivery without error.
    pub last_success: Option<String>,
    /// Everything up to this moment was pulled and delivered.
    pub complete_until: Option<String>,
    /// How long ago that is.
    pub lag_seconds: Option<f64>,
    /// When the pipeline's API token expires.
    pub token_expires: Option<String>,
    /// Records pulled since the process started.
    pub pulled: u64,
    /// Events delivered.
    pub delivered: u64,
    /// Records and events dropped on purpose, by reason.
    pub dropped: BTreeMap<Cow<'static, str>, u64>,
    /// Events kept as dead letters.
    pub dead_letters: u64,
    /// Records that went on as error events.
    pub map_errors: u64,
    /// Bytes sent to the sink.
    pub delivered_bytes: u64,
    /// Average over about the last minute.
    pub pulled_per_second: f64,
    /// Average over about the last minute.
    pub delivered_per_second: f64,
}

/// See [`Lane::last_error`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LastError {
    /// When it was seen.
    pub time: String,
    /// What it was.
    pub text: String,
}

impl Status {
    /// All of `snapshot`, as seen at `now`.
    pub fn of(snapshot: &Snapshot, now: Timestamp) -> Self {
        let cluster = snapshot.cluster.as_ref();
        let files = snapshot.files.iter().map(|(file, status)| File {
            file: file.display().to_string(),
            pipeline: status.pipeline.clone(),
            state: status.activity.name().into(),
            shard: status.shard,
            worker: status.shard.and_then(|shard| Some(cluster?.holder(shard)?.to_owned())),
            problem: status.problem.clone(),
        });
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            time: now.to_string(),
            cluster: cluster.map(|view| Cluster {
                worker: view.worker.clone(),
                shards: view.shards,
                workers: view.workers.clone(),
            }),
            files: files.collect(),
            lanes: snapshot.lanes.iter().map(|lane| Lane::of(lane, now)).collect(),
        }
    }
}

impl Lane {
    fn of(view: &LaneView, now: Timestamp) -> Self {
        let lane = &view.metrics;
        let state = lane.state();
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        Self {
            pipeline: lane.pipeline.clone(),
            stream: lane.stream.name().into(),
            sink: lane.sink.clone(),
            state: state.name().into(),
            up: state.is_up(),
            error: state.error().map(str::to_owned),
            last_error: lane.last_error().map(|(time, text)| LastError { time: time.to_string(), text }),
            last_success: time(lane.last_success()),
            complete_until: time(lane.complete_until()),
            lag_seconds: lane.lag(now).map(|lag| lag.as_secs_f64()),
            token_expires: time(view.token_expires),
            pulled: lane.pulled.load(Relaxed),
            delivered: lane.delivered.load(Relaxed),
            dropped: DropReason::ALL.into_iter().map(|reason| (reason.label().into(), lane.dropped(reason))).collect(),
            dead_letters: lane.dead_letters.load(Relaxed),
            map_errors: lane.map_errors.load(Relaxed),
            delivered_bytes: lane.delivered_bytes.load(Relaxed),
            pulled_per_second: view.pulled_per_second,
            delivered_per_second: view.delivered_per_second,
        }
    }
}
