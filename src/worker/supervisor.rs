use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::cluster::{Change, Cluster, Drained};
use super::expiry::watch_expiry;
use super::keeper::{Keeper, Kept};
use super::log_problems;
use super::shared::Shared;
use super::spec::LaneSpec;
use super::watch_ledgers;
use crate::pipeline::{self, Changes, Files, Pipeline, Scan, Watch};
use crate::sink::Deadline;
use crate::state::LaneId;
use crate::telemetry::{Activity, FileStatus};

/// How often the process's own figures are refreshed.
const TICK: Duration = Duration::from_secs(5);

/// How long giving leases back may take at the end, when nothing else is left to do. They run out by themselves.
const LAST_CALLS: Duration = Duration::from_secs(3);

/// Follows the pipeline files, and starts, restarts and stops lanes as they say.
#[derive(Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
    files: Files,
    watch: Watch,
    stop: CancellationToken,
    pipelines: HashMap<String, Running>,
    /// Lanes that were told to stop and may not have ended: the next lane of their name waits for them.
    ending: HashMap<LaneId, JoinHandle<Kept>>,
    /// Where several workers share the pipelines.
    cluster: Option<Cluster>,
    shards: HashMap<u32, Held>,
    /// The shard of each pipeline that there is, here or elsewhere.
    placed: HashMap<String, u32>,
}

/// A shard that this worker has; the whole of the pipelines where it has them for itself.
#[derive(Debug, Clone, Default)]
struct Held {
    deadline: Deadline,
    /// Every lane of the shard, until it has ended.
    lanes: TaskTracker,
    cut: CancellationToken,
}

/// One pipeline's lanes.
#[derive(Debug, Default)]
struct Running {
    shard: u32,
    lanes: Vec<Slot>,
    /// Ends with the pipeline; asks the console now and then when the token expires.
    expiry: CancellationToken,
}

#[derive(Debug)]
struct Slot {
    spec: Arc<LaneSpec>,
    stop: CancellationToken,
    keeper: JoinHandle<Kept>,
}

impl Slot {
    /// Asks the lane to stop; it drains by itself.
    fn retire(self) -> (LaneId, JoinHandle<Kept>) {
        self.stop.cancel();
        (self.spec.id.clone(), self.keeper)
    }
}

impl Supervisor {
    /// Nothing runs yet.
    pub fn new(shared: Arc<Shared>, cluster: Option<Cluster>, stop: CancellationToken) -> Self {
        let (files, watch) = pipeline::open(&shared.options.pipelines, shared.options.defaults.as_deref());
        let alone = cluster.is_none().then(|| (0, Held::default()));
        let shards = alone.into_iter().collect();
        let (pipelines, ending, placed) = Default::default();
        Self { shared, files, watch, stop, pipelines, ending, cluster, shards, placed }
    }

    /// Reads the files and starts their lanes.
    pub async fn begin(mut self) -> Self {
        self.watch.answered().await;
        self.rescan(Scan::All).await;
        self.shared.telemetry.health().files_read();
        self
    }

    /// Follows the files until the worker is stopped, then lets the lanes drain.
    pub async fn run(mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                scan = self.watch.changed() => self.rescan(scan).await,
                change = next(&mut self.cluster) => self.follow(change),
                _ = tick.tick() => self.shared.refresh_gauges(),
            }
        }
        self.end().await;
    }

    async fn end(mut self) {
        self.shared.telemetry.health().draining();
        if let Some(cluster) = &self.cluster {
            cluster.leave();
        }
        let names: Vec<String> = self.pipelines.keys().cloned().collect();
        names.iter().for_each(|name| self.stop_pipeline(name));
        info!(lanes = self.ending.len(), "draining");
        let ending = std::mem::take(&mut self.ending);
        let drained = async {
            let mut cut_off = 0;
            for keeper in ending.into_values() {
                cut_off += usize::from(matches!(keeper.await, Ok(Kept::CutOff)));
            }
            cut_off
        };
        tokio::pin!(drained);
        let cut_off = loop {
            tokio::select! {
                cut_off = &mut drained => break cut_off,
                // Each shard is given back as soon as it is drained.
                change = next(&mut self.cluster) => self.follow(change),
            }
        };
        self.shared.close().await;
        info!(cut_off, "drained");
        let given_back = async {
            while let Some(change) = self.last_change().await {
                self.follow(change);
            }
        };
        if timeout(LAST_CALLS, given_back).await.is_err() {
            warn!("the API server did not take all leases back; they run out by themselves");
        }
    }

    async fn last_change(&mut self) -> Option<Change> {
        self.cluster.as_mut()?.changes.recv().await
    }

    /// A shard came or goes.
    fn follow(&mut self, change: Change) {
        let mut next = Some(change);
        while let Some(change) = next {
            match change {
                Change::Acquired(shard, deadline) => self.acquire(shard, deadline),
                Change::GiveUp(shard) => self.give_up(shard),
                Change::Lost(shard) => {
                    if let Some(held) = self.shards.remove(&shard) {
                        held.cut.cancel();
                    }
                    self.stop_shard(shard);
                }
            }
            next = self.cluster.as_mut().and_then(|cluster| cluster.changes.try_recv().ok());
        }
        // Which pipelines run here has changed, and that may be any.
        self.tell_files(&self.files.running().map(|pipeline| pipeline.path.clone()).collect());
    }

    fn acquire(&mut self, shard: u32, deadline: Deadline) {
        self.shards.insert(shard, Held { deadline, ..Held::default() });
        self.shared.acquired(shard);
        if self.stop.is_cancelled() {
            return;
        }
        let mine = self.files.running().filter(|pipeline| self.shard_of(pipeline) == shard);
        let mine: Vec<Arc<Pipeline>> = mine.cloned().collect();
        let lanes = mine.iter().map(|pipeline| LaneSpec::of(pipeline).len()).sum();
        mine.iter().for_each(|pipeline| self.run_pipeline(pipeline, lanes));
    }

    fn give_up(&mut self, shard: u32) {
        self.stop_shard(shard);
        let (Some(held), Some(cluster)) = (self.shards.get(&shard).cloned(), &self.cluster) else { return };
        let drained = cluster.drained.clone();
        held.lanes.close();
        tokio::spawn(async move {
            held.lanes.wait().await;
            // Nobody listens when the worker has ended without leaving.
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

    async fn rescan(&mut self, scan: Scan) {
        // Reading files blocks; the set goes there and back.
        let mut files = std::mem::replace(&mut self.files, Files::new(&[], None));
        let looked = tokio::task::spawn_blocking(move || {
            let changes = files.rescan(&scan);
            (files, changes)
        });
        let changes = match looked.await {
            Ok((files, changes)) => {
                self.files = files;
                changes
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        self.apply(changes);
    }

    fn apply(&mut self, changes: Changes) {
        self.ending.retain(|_, keeper| !keeper.is_finished());
        for name in &changes.stopped {
            info!(pipeline = %name, "pipeline removed");
            self.placed.remove(name);
            self.stop_pipeline(name);
        }
        let starting = changes.started.iter().chain(&changes.changed);
        let lanes = starting.clone().map(|pipeline| LaneSpec::of(pipeline).len()).sum();
        for pipeline in starting {
            info!(pipeline = %pipeline.name, enabled = pipeline.enabled, "pipeline loaded");
            self.run_pipeline(pipeline, lanes);
        }
        for broken in &changes.broken {
            log_problems(&broken.problems);
            let file = broken.path.display();
            match &broken.kept {
                Some(name) => {
                    error!(pipeline = %name, %file, "the last good version keeps running; a restart would not start it")
                }
                None => error!(%file, "not started"),
            }
        }
        for path in &changes.mended {
            info!(file = %path.display(), "the file is valid again");
        }
        self.tell_files(&changes.concerned);
    }

    /// Brings the lanes of `pipeline` in line with it: those whose settings are as before go on undisturbed.
    /// `starting` lanes in all may start now. What belongs to a shard of another worker does not run here.
    fn run_pipeline(&mut self, pipeline: &Arc<Pipeline>, starting: usize) {
        let shard = self.shard_of(pipeline);
        let was = self.placed.insert(pipeline.name.clone(), shard);
        let Some(held) = self.shards.get(&shard).filter(|held| !held.lanes.is_closed()).cloned() else {
            return self.stop_pipeline(&pipeline.name);
        };
        // Its last worker drains it when it sees the changed file, which may be later than this one did.
        let lease = self.shared.options.cluster.as_ref().map_or(Duration::ZERO, |settings| settings.lease);
        let has_moved = was.is_some_and(|was| was != shard) && !self.pipelines.contains_key(&pipeline.name);
        let start_after = if has_moved { lease } else { Duration::ZERO };
        let specs = LaneSpec::of(pipeline);
        let running = self.pipelines.entry(pipeline.name.clone()).or_default();
        running.shard = shard;
        let goes_on = |slot: &mut Slot| specs.contains(&slot.spec) && !slot.keeper.is_finished();
        let retired: Vec<Slot> = running.lanes.extract_if(.., |slot| !goes_on(slot)).collect();
        self.ending.extend(retired.into_iter().map(Slot::retire));
        let starting_here = specs.into_iter().filter(|spec| running.lanes.iter().all(|slot| slot.spec.id != spec.id));
        let starting_here: Vec<_> = starting_here.collect();
        running.lanes.reserve_exact(starting_here.len());
        for spec in starting_here {
            let before = self.ending.remove(&spec.id);
            let stop = CancellationToken::new();
            let keeper = Box::new(Keeper {
                start_after,
                first_poll_after: self.shared.first_poll_after(starting, spec.pull.interval),
                spec: spec.clone(),
                shared: self.shared.clone(),
                stop: stop.clone(),
                cut: held.cut.clone(),
                deadline: held.deadline.clone(),
                shard,
                once: None,
                apart: None,
            });
            running.lanes.push(Slot { spec, stop, keeper: held.lanes.spawn(keeper.run(before)) });
        }
        running.expiry.cancel();
        running.expiry = CancellationToken::new();
        if !running.lanes.is_empty() {
            let (shared, expiry) = (&self.shared, &running.expiry);
            tokio::spawn(watch_expiry(shared.clone(), pipeline.clone(), starting, expiry.clone()));
            let specs = running.lanes.iter().map(|slot| slot.spec.clone()).collect();
            tokio::spawn(watch_ledgers(shared.clone(), specs, starting, expiry.clone()));
        }
    }

    fn stop_pipeline(&mut self, name: &str) {
        let Some(running) = self.pipelines.remove(name) else { return };
        running.expiry.cancel();
        self.ending.extend(running.lanes.into_iter().map(Slot::retire));
    }

    /// What the status page and the metric `pipelines` say of these files: of them alone, since with thousands of files
    /// the work for a changed one would be for all.
    fn tell_files(&self, paths: &BTreeSet<PathBuf>) {
        let telemetry = &self.shared.telemetry;
        for path in paths {
            let Some(report) = self.files.report(path) else {
                telemetry.remove_file(path);
                continue;
            };
            let errors = report.problems.iter().filter(|problem| problem.is_error());
            let errors: Vec<String> = errors.map(ToString::to_string).collect();
            let running = self.files.runs(path);
            let activity = match running {
                Some(pipeline) if !pipeline.enabled => Activity::Paused,
                Some(pipeline) if self.pipelines.contains_key(&pipeline.name) => Activity::Running,
                Some(_) => Activity::Elsewhere,
                None => Activity::NotStarted,
            };
            let shard =
                self.cluster.as_ref().zip(running).map(|(cluster, pipeline)| cluster.shard_of(&pipeline.console));
            let pipeline = running.or(report.pipeline.as_ref());
            let pipeline = pipeline.map_or_else(|| pipeline::stem(path), |pipeline| pipeline.name.clone());
            let problem = (!errors.is_empty()).then(|| errors.join("\n"));
            telemetry.set_file(path, FileStatus { pipeline, activity, shard, problem });
        }
    }
}

/// What changes next; never anything where this worker is alone.
async fn next(cluster: &mut Option<Cluster>) -> Change {
    if let Some(cluster) = cluster
        && let Some(change) = cluster.changes.recv().await
    {
        return change;
    }
    std::future::pending().await
}
