//! Writes the status of `Pipeline` resources, and removes the checkpoints of deleted ones.
//!
//! The worker that has a resource's shard writes: on change, and at most every 30 s for times and counts. A worker
//! sends at most [`PER_SECOND`] requests a second, of which [`REFRESHES_PER_SECOND`] are about times and counts only.
//! So any number of resources is a bounded load.

mod api;
mod status;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use s1_forwarder_engine::checkpoint::{CheckpointKey, StateError};
use s1_forwarder_record::LaneId;
use s1_forwarder_settings::kubernetes::KubernetesError;
use s1_forwarder_telemetry::{ClusterView, FileStatus, PipelineState};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use self::api::Api;
use self::status::Status;
use super::cluster;
use super::shared::Shared;
use crate::pipeline::Resources;
use crate::pipeline::resource::{CHECKPOINTS, ResourceState};

/// Interval at which changes are looked for.
const TICK: Duration = Duration::from_secs(1);
/// Most requests of one worker in a second.
const PER_SECOND: usize = 20;
/// Most requests of one worker in a second for changes of times and counts only.
const REFRESHES_PER_SECOND: usize = 5;
/// Minimum time between two statuses of a resource that differ in times and counts only.
const REFRESH: Duration = Duration::from_secs(30);
/// Minimum time between two statuses of a resource.
const PAUSE: Duration = Duration::from_secs(3);
/// Minimum time between two events of a resource.
const EVENT_PAUSE: Duration = Duration::from_secs(30);
/// Wait after a failed request.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Reports on the resources until it is dropped.
///
/// Lanes that an annotation wants to be retried go to `retries`.
pub(super) async fn report(shared: Arc<Shared>, resources: Resources, retries: mpsc::Sender<Vec<LaneId>>) {
    let api = loop {
        match Api::connect(&shared.options.instance, &shared.options.process_name).await {
            Ok(api) => break api,
            Err(error) => warn!(%error, "the status of Pipeline resources cannot be written"),
        }
        sleep(AFTER_FAILURE).await;
    };
    let mut reporter =
        Reporter { shared, resources, api, retries, seen: HashMap::new(), written: HashMap::new(), is_failing: false };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        reporter.write_due().await;
    }
}

struct Reporter {
    shared: Arc<Shared>,
    resources: Resources,
    api: Api,
    retries: mpsc::Sender<Vec<LaneId>>,
    /// The resources that this worker has, as they were last time.
    seen: HashMap<PathBuf, Arc<ResourceState>>,
    /// The last requests of this worker for each of its resources.
    written: HashMap<PathBuf, Written>,
    /// Whether the last request failed.
    is_failing: bool,
}

/// The last requests for a resource.
#[derive(Debug, Default)]
struct Written {
    uid: String,
    /// `None` after a failure.
    status: Option<Status>,
    /// When the status was written, or could not be.
    status_at: Option<Instant>,
    finalizer_at: Option<Instant>,
    /// The reason of `Ready` in the last event, or in the status before the first one of this worker.
    event_reason: Option<String>,
    event_at: Option<Instant>,
}

fn is_recent(at: Option<Instant>, period: Duration) -> bool {
    at.is_some_and(|at| at.elapsed() < period)
}

/// A request to send.
enum Due {
    Status(Box<Status>),
    AddFinalizer,
    RemoveFinalizer,
    RemoveCheckpoints(String),
}

impl Due {
    /// Returns whether the status differs from the last one in times and counts only.
    fn is_refresh(&self, written: Option<&Written>) -> bool {
        match (self, written.and_then(|written| written.status.as_ref())) {
            (Self::Status(status), Some(before)) => !status.differs_from(before),
            _ => false,
        }
    }
}

/// A request that is due about the resource at a path.
type Request = (PathBuf, Arc<ResourceState>, Due);

impl Reporter {
    async fn write_due(&mut self) {
        let resources: BTreeMap<PathBuf, Arc<ResourceState>> = self.resources.list().into_iter().collect();
        let cluster = self.shared.telemetry.cluster();
        let mut due = Vec::new();
        let mut own = BTreeSet::new();
        let mut retried = Vec::new();
        for (path, resource) in &resources {
            let Some(file) = self.shared.telemetry.file(path) else { continue };
            if !is_own(path, &file, self.shared.options.cluster.is_some(), cluster.as_ref()) {
                continue;
            }
            own.insert(path.clone());
            let before = self.seen.insert(path.clone(), resource.clone());
            warn_of_annotation(before.as_deref(), resource);
            if is_new(before.as_ref().map(|before| &before.retry), resource.retry.as_ref()) {
                let lanes = self.shared.telemetry.lanes_of(&file.pipeline);
                retried.extend(lanes.iter().map(|lane| lane.id.clone()));
            }
            due.extend(self.due(path, resource, &file).map(|request| (path.clone(), resource.clone(), request)));
        }
        self.written.retain(|path, _| own.contains(path));
        self.seen.retain(|path, _| own.contains(path));
        if !retried.is_empty() {
            // Fails only if the worker ends.
            let _ = self.retries.send(retried).await;
        }
        let due = self.most_urgent(due);
        let checkpoints = self.checkpoints_to_remove(&due).await;
        let requests = due.iter().map(|(_, resource, request)| self.send(resource, request, &checkpoints));
        let results = join_all(requests).await;
        self.log_failures(&due, &results);
        let mut events = Vec::new();
        for ((path, resource, request), result) in due.into_iter().zip(results) {
            if let Some(status) = self.remember(&path, &resource, request, result.is_ok()) {
                events.push((resource, status));
            }
        }
        join_all(events.iter().map(|(resource, status)| self.api.publish(resource, status))).await;
    }

    /// Logs one line when requests begin to fail, for any number of them.
    fn log_failures(&mut self, due: &[Request], results: &[Result<(), String>]) {
        let failed =
            due.iter().zip(results).find_map(|((_, resource, _), result)| Some((resource, result.as_ref().err()?)));
        if let Some((resource, error)) = failed
            && !self.is_failing
        {
            let namespace = &resource.namespace;
            let name = &resource.name;
            warn!(namespace, name, %error, "a Pipeline resource could not be updated; this goes on without further lines");
        }
        if !results.is_empty() {
            self.is_failing = failed.is_some();
        }
    }

    /// Selects as many requests as may be sent now: changes before refreshes, and the requests of the longest wait
    /// first.
    fn most_urgent(&self, due: Vec<Request>) -> Vec<Request> {
        let is_refresh = |(path, _, request): &Request| request.is_refresh(self.written.get(path));
        let (mut refreshes, mut changes): (Vec<_>, Vec<_>) = due.into_iter().partition(is_refresh);
        for requests in [&mut refreshes, &mut changes] {
            requests.sort_by_key(|(path, ..)| self.written.get(path).and_then(|written| written.status_at));
        }
        refreshes.truncate(REFRESHES_PER_SECOND);
        changes.truncate(PER_SECOND - REFRESHES_PER_SECOND);
        changes.extend(refreshes);
        changes
    }

    fn due(&self, path: &Path, resource: &ResourceState, file: &FileStatus) -> Option<Due> {
        let written = self.written.get(path).filter(|written| written.uid == resource.uid);
        let lanes = self.shared.telemetry.lanes_of(&file.pipeline);
        if !is_recent(written.and_then(|written| written.finalizer_at), AFTER_FAILURE)
            && let Some(due) = due_finalizer(resource, file, lanes.is_empty())
        {
            return Some(due);
        }
        if resource.is_deleted {
            return None;
        }
        let before = written.and_then(|written| written.status.as_ref());
        let conditions = before.map_or(&resource.conditions, |before| &before.conditions);
        let token = self.shared.telemetry.token(&file.pipeline);
        let now = self.shared.options.clock.now();
        let mut status = Status::of(file, &lanes, token, &self.shared.options.process_name, conditions, now);
        status.note_annotation(resource);
        let pause = match before {
            None => AFTER_FAILURE,
            Some(before) if status.differs_from(before) => PAUSE,
            Some(before) if status != *before => REFRESH,
            Some(_) => return None,
        };
        let is_due = !is_recent(written.and_then(|written| written.status_at), pause);
        is_due.then(|| Due::Status(Box::new(status)))
    }

    /// Returns the checkpoints of all deleted resources. It asks the store once for any number of them.
    async fn checkpoints_to_remove(&self, due: &[Request]) -> Result<Vec<CheckpointKey>, String> {
        let pipelines: BTreeSet<&str> = due
            .iter()
            .filter_map(|(_, _, request)| match request {
                Due::RemoveCheckpoints(pipeline) => Some(pipeline.as_str()),
                _ => None,
            })
            .collect();
        if pipelines.is_empty() {
            return Ok(Vec::new());
        }
        let mut keys = self.shared.stores.main().list_all().await.map_err(|error| error.to_string())?;
        keys.retain(|key| pipelines.contains(key.lane.pipeline.as_str()));
        Ok(keys)
    }

    async fn send(
        &self,
        resource: &ResourceState,
        request: &Due,
        checkpoints: &Result<Vec<CheckpointKey>, String>,
    ) -> Result<(), String> {
        let text = |error: KubernetesError| error.to_string();
        match request {
            Due::Status(status) => self.api.write_status(resource, status).await.map_err(text),
            Due::AddFinalizer => self.api.add_finalizer(resource).await.map_err(text),
            Due::RemoveFinalizer => self.api.remove_finalizer(resource).await.map_err(text),
            Due::RemoveCheckpoints(pipeline) => {
                let keys = checkpoints.as_ref().map_err(String::clone)?;
                self.remove_checkpoints(pipeline, keys).await.map_err(|error| error.to_string())?;
                self.api.remove_finalizer(resource).await.map_err(text)
            }
        }
    }

    async fn remove_checkpoints(&self, pipeline: &str, keys: &[CheckpointKey]) -> Result<(), StateError> {
        for key in keys.iter().filter(|key| key.lane.pipeline == pipeline) {
            self.shared.stores.main().delete(key).await?;
            info!(pipeline, checkpoint = %key, "checkpoint removed with its resource");
        }
        Ok(())
    }

    /// Returns a status that is worth an event.
    fn remember(&mut self, path: &Path, resource: &ResourceState, request: Due, is_written: bool) -> Option<Status> {
        let mut written = self.written.remove(path).filter(|written| written.uid == resource.uid).unwrap_or_default();
        written.uid.clone_from(&resource.uid);
        let mut event = None;
        match request {
            Due::Status(status) => {
                written.status_at = Some(Instant::now());
                // The first status replaces the status of an earlier worker.
                if written.event_reason.is_none() {
                    let stored = resource.conditions.iter().find(|condition| condition.kind == "Ready");
                    written.event_reason = stored.map(|stored| stored.reason.clone());
                }
                if is_written && is_worth_an_event(&status, &written) {
                    written.event_at = Some(Instant::now());
                    written.event_reason = status.ready().map(|ready| ready.reason.clone());
                    event = Some((*status).clone());
                }
                written.status = is_written.then_some(*status);
            }
            _ => written.finalizer_at = Some(Instant::now()),
        }
        self.written.insert(path.to_owned(), written);
        event
    }
}

/// Returns whether an annotation has another text than before; `before` is `None` if that is not known.
fn is_new(before: Option<&Option<String>>, now: Option<&String>) -> bool {
    now.is_some() && before.is_some_and(|before| before.as_ref() != now)
}

fn warn_of_annotation(before: Option<&ResourceState>, resource: &ResourceState) {
    let ResourceState { namespace, name, .. } = resource;
    if let Some(value) = resource.unknown_checkpoints()
        && before.is_none_or(|before| before.checkpoints != resource.checkpoints)
    {
        warn!(
            namespace,
            name, value, "the annotation {CHECKPOINTS} is neither `remove` nor `keep`: the checkpoints stay"
        );
    }
}

/// Returns the request that is due about the finalizer or the checkpoints. `None` if none is due.
fn due_finalizer(resource: &ResourceState, file: &FileStatus, has_no_lanes: bool) -> Option<Due> {
    let is_drained = has_no_lanes && file.state != PipelineState::Running;
    match (resource.is_deleted, resource.removes_checkpoints(), resource.has_finalizer()) {
        (true, true, true) => is_drained.then(|| Due::RemoveCheckpoints(file.pipeline.clone())),
        (false, true, false) => Some(Due::AddFinalizer),
        (_, false, true) => Some(Due::RemoveFinalizer),
        _ => None,
    }
}

/// Returns whether `Ready` has another reason than in the last event, by this worker or an earlier one. A lane that
/// starts is not worth an event. An event that would come too soon is published with a later status.
fn is_worth_an_event(status: &Status, written: &Written) -> bool {
    let Some(ready) = status.ready() else { return false };
    let is_new = written.event_reason.as_ref() != Some(&ready.reason);
    ready.reason != "Starting" && is_new && !is_recent(written.event_at, EVENT_PAUSE)
}

/// Returns whether this worker writes the status. A file that is invalid has no console, and so no shard; its name
/// chooses one.
fn is_own(path: &Path, file: &FileStatus, shares: bool, cluster: Option<&ClusterView>) -> bool {
    if !shares {
        return true;
    }
    let Some(cluster) = cluster else { return false };
    let is_held = |shard: u32| cluster.workers.get(&cluster.worker).is_some_and(|shards| shards.contains(&shard));
    match file.state {
        PipelineState::Running => true,
        PipelineState::Elsewhere => false,
        PipelineState::Paused | PipelineState::NotStarted | PipelineState::Removed => {
            is_held(file.shard.unwrap_or_else(|| cluster::shard_of_text(&path.to_string_lossy(), cluster.shards)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::resource::FINALIZER;
    use s1_forwarder_record::Timestamp;
    use s1_forwarder_telemetry::TokenStatus;

    #[test]
    fn an_annotation_of_neither_kind_is_noted() {
        let noted = |checkpoints: Option<&str>| {
            let resource = ResourceState { checkpoints: checkpoints.map(str::to_owned), ..ResourceState::default() };
            assert!(!resource.removes_checkpoints());
            let file = FileStatus::of_test("a.b", PipelineState::Running, None);
            let now = Timestamp::parse("2026-01-31T00:00:00Z").unwrap();
            let mut status = Status::of(&file, &[], TokenStatus::default(), "worker", &[], now);
            status.note_annotation(&resource);
            status.ready().unwrap().message.contains("neither `remove` nor `keep`")
        };
        assert!(noted(Some("delete")) && !noted(Some("keep")) && !noted(None));
    }

    #[test]
    fn checkpoints_are_removed_when_the_lanes_have_drained() {
        let due = |deleted, removes: bool, has, activity, has_no_lanes| {
            let resource = ResourceState {
                is_deleted: deleted,
                checkpoints: removes.then(|| "remove".to_owned()),
                finalizers: if has { vec![FINALIZER.to_owned()] } else { Vec::new() },
                ..ResourceState::default()
            };
            let file = FileStatus::of_test("a.b", activity, None);
            match due_finalizer(&resource, &file, has_no_lanes) {
                None => "",
                Some(Due::AddFinalizer) => "add",
                Some(Due::RemoveFinalizer) => "remove",
                Some(Due::RemoveCheckpoints(_)) => "checkpoints",
                Some(Due::Status(_)) => "status",
            }
        };
        let running = PipelineState::Running;
        assert_eq!(due(false, true, false, running, false), "add");
        assert_eq!(due(false, true, true, running, false), "");
        assert_eq!(due(false, false, true, running, false), "remove");
        assert_eq!(due(true, false, true, running, false), "remove", "it no longer asks for that");
        assert_eq!(due(true, true, true, running, true), "", "a reload is not done");
        assert_eq!(due(true, true, true, PipelineState::Paused, false), "", "its lanes still drain");
        assert_eq!(due(true, true, true, PipelineState::Paused, true), "checkpoints");
        assert_eq!(due(true, true, false, PipelineState::Paused, true), "");
    }

    /// A worker that gets the resource later must not start its lanes again for an old text.
    #[test]
    fn lanes_are_retried_when_the_annotation_changes() {
        let text = |text: &str| Some(text.to_owned());
        for (before, now, expected) in [
            (None, text("1"), false),
            (Some(None), text("1"), true),
            (Some(text("1")), text("1"), false),
            (Some(text("1")), text("2"), true),
            (Some(text("1")), None, false),
        ] {
            assert_eq!(is_new(before.as_ref(), now.as_ref()), expected, "{before:?} {now:?}");
        }
    }

    #[test]
    fn one_worker_of_a_cluster_writes() {
        let path = Path::new("pipeline acme/console, spec");
        let view = |worker: &str| ClusterView {
            worker: worker.to_owned(),
            shards: 8,
            workers: [("a".to_owned(), (0..4).collect()), ("b".to_owned(), (4..8).collect())].into(),
            addresses: BTreeMap::new(),
        };
        let file = |state, shard| FileStatus { shard, ..FileStatus::of_test("acme.console", state, None) };
        let own = |file: &FileStatus| ["a", "b"].map(|worker| is_own(path, file, true, Some(&view(worker))));
        assert_eq!(own(&file(PipelineState::Paused, Some(2))), [true, false]);
        assert_eq!(own(&file(PipelineState::Paused, Some(5))), [false, true]);
        assert_eq!(own(&file(PipelineState::Elsewhere, Some(5))), [false, false]);
        let invalid = own(&file(PipelineState::NotStarted, None));
        assert!(invalid[0] != invalid[1], "{invalid:?}");
        assert!(is_own(path, &file(PipelineState::NotStarted, None), false, None), "a worker alone");
        assert!(!is_own(path, &file(PipelineState::NotStarted, None), true, None), "it has no shards yet");
    }
}
