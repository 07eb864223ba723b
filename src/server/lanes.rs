use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use crate::record::Timestamp;
use crate::telemetry::{LaneView, Snapshot, describe_skipped};

/// The response of `/api/v1/lanes`, and the content of the status page. Times are RFC 3339 in UTC; unknown values are
/// null. Later releases may add fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: Cow<'static, str>,
    /// Time of the response.
    pub time: String,
    /// Set if several workers share the pipelines.
    pub cluster: Option<Cluster>,
    /// Sorted by path.
    pub files: Vec<File>,
    /// Only running lanes, sorted by pipeline, stream and sink.
    pub lanes: Vec<Lane>,
}

/// The workers that share the pipelines, as this worker sees them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    /// This worker's name.
    pub worker: String,
    /// Number of shards.
    pub shards: u32,
    /// The shards that each worker holds, by its name.
    pub workers: BTreeMap<String, BTreeSet<u32>>,
}

/// One pipeline file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct File {
    pub file: String,
    pub pipeline: String,
    /// `running`, `paused`, `elsewhere` (another worker runs it) or `not_started`.
    pub state: Cow<'static, str>,
    /// Set if several workers share the pipelines.
    #[serde(default)]
    pub shard: Option<u32>,
    /// The worker that holds the shard; null during a handover.
    #[serde(default)]
    pub worker: Option<String>,
    /// Why the current version of the file could not be started.
    pub problem: Option<String>,
}

/// One lane.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lane {
    pub pipeline: String,
    pub stream: Cow<'static, str>,
    pub sink: String,
    /// `starting`, `running`, `console_failing`, `console_refused`, `sink_failing`, `sink_refused`, `stopped` or
    /// `done`.
    pub state: Cow<'static, str>,
    /// False while the lane fails.
    pub up: bool,
    /// The current error of a failing lane.
    pub error: Option<String>,
    /// The last error, which may be over.
    pub last_error: Option<LastError>,
    /// Time of the last poll or delivery without an error.
    pub last_success: Option<String>,
    /// Everything up to this time was pulled and delivered.
    pub complete_until: Option<String>,
    /// Seconds since `complete_until`.
    pub lag_seconds: Option<f64>,
    /// When the pipeline's API token expires.
    pub token_expires: Option<String>,
    /// Records pulled since the process started; so are the counts below.
    pub pulled: u64,
    pub delivered: u64,
    /// Records that needed no delivery, by reason.
    pub skipped: BTreeMap<Cow<'static, str>, u64>,
    /// Records that were pulled, not delivered, and will be pulled again.
    pub requeued: u64,
    pub dead_letters: u64,
    /// Records that were forwarded as error events.
    pub map_errors: u64,
    /// Events on which a program of `remap` or `drop` failed.
    pub remap_errors: u64,
    /// Why, the last time.
    pub last_remap_error: Option<String>,
    pub delivered_bytes: u64,
    /// Average over about the last minute.
    pub pulled_per_second: f64,
    /// Average over about the last minute.
    pub delivered_per_second: f64,
}

/// See [`Lane::last_error`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LastError {
    pub time: String,
    pub text: String,
}

impl Status {
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
    /// The skipped records for a table cell.
    pub fn describe_skipped(&self) -> String {
        describe_skipped(self.skipped.iter().map(|(reason, count)| (&**reason, *count)))
    }

    /// What is wrong with the programs of a lane that runs: events are forwarded as they were mapped.
    pub fn remap_problem(&self) -> Option<String> {
        let last = self.last_remap_error.as_ref().filter(|_| self.remap_errors > 0)?;
        Some(format!("remap failed on {} events, last: {last}", self.remap_errors))
    }

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
            skipped: lane.skipped_by_reason().map(|(reason, count)| (reason.into(), count)).collect(),
            requeued: lane.requeued.load(Relaxed),
            dead_letters: lane.dead_letters.load(Relaxed),
            map_errors: lane.map_errors.load(Relaxed),
            remap_errors: lane.remap_errors.load(Relaxed),
            last_remap_error: lane.last_remap_error(),
            delivered_bytes: lane.delivered_bytes.load(Relaxed),
            pulled_per_second: view.pulled_per_second,
            delivered_per_second: view.delivered_per_second,
        }
    }
}
