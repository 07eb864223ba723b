//! Lanes that would begin at `since` although their records were delivered under another pipeline's name: they wait.

mod checkpoint;
mod known;
mod orphans;
mod requests;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder_engine::checkpoint::{StateError, Store, StoredPart};
use s1_forwarder_engine::lane::{ConsecutiveRefusals, LaneCheckpoint};
use s1_forwarder_failure::{Failure, LastFailure, Side};
use s1_forwarder_record::{LaneId, Timestamp};
use s1_forwarder_settings::Period;
use s1_forwarder_telemetry::{LaneChange, Meter};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::lanes::builder::{BuildLaneError, LaneBuilder};
use crate::lanes::spec::LaneSpec;
use crate::pipeline::Pipeline;

pub use checkpoint::rename_checkpoint;
pub use known::{KnownFiles, MAX_ORPHANS};
pub use orphans::advice_of_lost;
pub use requests::{LaneAnswer, LaneRequest, LaneRequests, serve_requests};

use known::{AGAIN_AFTER_ORPHANS, Known, may_know};
use watch::{Found, Limits, Movement, Watch};

/// Wait before the store is asked again after it failed. Lanes share a failure to list for as long.
const RETRY: Duration = Duration::from_secs(5);
/// Timeout for the names of all checkpoints.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// The lanes that this process and its store know, and the pipelines whose files it reads.
#[derive(Debug, Default)]
pub struct Renames {
    known: Mutex<Known>,
    /// Held while a lane begins and while a checkpoint gets another name, so that the two do not coincide.
    turn: tokio::sync::Mutex<Listing>,
    /// Held while orphans are read.
    reading: tokio::sync::Mutex<()>,
    /// A checkpoint has another name, a lane has ended, or the files have changed.
    changed: Notify,
}

/// The state of the listing that adds the names of the store's checkpoints to [`Known::lanes`].
#[derive(Debug, Default)]
struct Listing {
    /// Time of the last listing. `None` if the store has to be listed again.
    done: Option<Instant>,
    failed: LastFailure,
}

/// A lane that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    pub spec: &'a LaneSpec,
    pub lane_builder: &'a LaneBuilder,
    pub meter: &'a Meter,
    /// The shard of the lane's pipeline.
    pub shard: u32,
    /// Whether this is `run --once`: the lane does not wait for a command.
    pub once: bool,
}

/// A lane that runs in this process, until this is dropped.
#[derive(Debug)]
pub struct Running<'a> {
    renames: &'a Renames,
    lane: &'a LaneId,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.renames.known.lock().set_running(self.lane, false);
        self.renames.changed.notify_waiters();
    }
}

/// The next step of a lane that begins.
enum Step {
    Begin,
    GiveUp(String),
    /// There are [too many orphans](Renames::too_many_orphans).
    Refuse(String),
    /// The reason, and the longest time.
    Wait(String, Duration),
}

impl Beginning<'_> {
    fn id(&self) -> &LaneId {
        &self.spec.id
    }

    /// Returns whether the lane may know of the checkpoint. An unreadable checkpoint may belong to any tenant.
    fn may_know(&self, checkpoint: Option<&LaneCheckpoint>) -> bool {
        may_know(self.spec, checkpoint.map_or("", |checkpoint| &checkpoint.tenant))
    }

    fn store(&self) -> Arc<dyn Store> {
        self.lane_builder.stores.of_shard(self.shard)
    }

    /// Returns whether store or sink has a checkpoint of the lane. A damaged checkpoint counts.
    async fn has_checkpoint(&self) -> Result<bool, Failure> {
        let key = self.id().clone().into();
        let is_there = |loaded: Result<Option<Vec<u8>>, StateError>| match loaded {
            Ok(loaded) => Ok(loaded.is_some()),
            Err(StateError::Damaged { .. } | StateError::Newer { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        };
        if is_there(self.store().load(&key).await)? {
            return Ok(true);
        }
        let sink = self.lane_builder.sink_of_shard(self.spec, self.shard)?;
        match sink.as_transactional() {
            Some(sink) => is_there(sink.load(&key).await),
            None => Ok(false),
        }
    }

    /// Returns host and scope of the lane's requests.
    fn host_and_scope(&self) -> Result<(String, String), Failure> {
        let client = self.lane_builder.client(&self.id().pipeline, &self.spec.console);
        let client = client.map_err(BuildLaneError::from)?;
        Ok((client.host().to_owned(), client.scope()))
    }

    fn log_begin(&self, reason: &str) {
        let LaneId { pipeline, stream, sink } = self.id();
        warn!(%pipeline, %stream, %sink, "the lane begins at `since`: {reason}");
    }
}

impl Renames {
    /// Sets the pipeline files. The caller does so before the lanes of `changed` pipelines start. `names` are the names
    /// of all files, valid or not, and `valid` are all pipelines that run somewhere.
    pub fn set_files<'a>(
        &self,
        names: BTreeSet<String>,
        valid: impl Iterator<Item = &'a Arc<Pipeline>>,
        changed: impl Iterator<Item = &'a Arc<Pipeline>>,
    ) {
        let renamed =
            |pipeline: &Arc<Pipeline>| Some((pipeline.name.clone(), pipeline.renamed_from.as_deref()?.into()));
        let files = KnownFiles::new(names, valid);
        let renamed: BTreeMap<String, String> = files.pipelines().filter_map(renamed).collect();
        let mut known = self.known.lock();
        for (pipeline, source) in renamed.iter().filter(|(name, source)| known.renamed_from.get(*name) != Some(source))
        {
            if known.lanes.iter().any(|(lane, runs)| *runs && lane.pipeline == *pipeline) {
                info!(%pipeline, "`renamed_from: {source}` is ignored for lanes that run: they have checkpoints");
            }
        }
        known.renamed_from = renamed;
        known.files = files;
        // Other workers run some of them.
        for spec in changed.flat_map(|pipeline| LaneSpec::of(pipeline)) {
            known.origins.remove(&spec.id);
            known.lanes.entry(spec.id.clone()).or_default();
        }
        known.find_orphans();
        drop(known);
        self.changed.notify_waiters();
    }

    /// Makes the next lane ask the store for the names of checkpoints again: another process may have changed them.
    pub async fn forget_listing(&self) {
        self.turn.lock().await.done = None;
    }

    /// Makes the next lane ask the store for the names again if they were listed longer than `age` ago.
    async fn forget_listing_after(&self, age: Duration) {
        let mut listing = self.turn.lock().await;
        listing.done = listing.done.filter(|done| done.elapsed() < age);
    }

    /// Returns when the lane may begin; `None` if it is given up. Cancel-safe.
    pub async fn begin<'a>(&'a self, lane: Beginning<'a>) -> Option<Running<'a>> {
        let LaneId { pipeline, stream, sink } = &lane.spec.id;
        let mut watch = None;
        let mut logged = None;
        let mut refusals = ConsecutiveRefusals::default();
        let mut is_kept = false;
        loop {
            // Whatever changes from now on ends the wait.
            let changed = self.changed.notified();
            let step = self.step(lane, &mut watch).await;
            let wait = match step {
                Ok(Step::Begin) => {
                    if is_kept {
                        lane.meter.report(LaneChange::LaneBegins);
                    }
                    let _turn = self.turn.lock().await;
                    self.known.lock().set_running(&lane.spec.id, true);
                    return Some(Running { renames: self, lane: &lane.spec.id });
                }
                Ok(Step::GiveUp(reason)) => {
                    warn!(%pipeline, %stream, %sink, "the lane is given up: {reason}");
                    lane.meter.report(LaneChange::WaitsForRename(reason));
                    return None;
                }
                Ok(Step::Refuse(reason)) => {
                    lane.spec.span().in_scope(|| lane.meter.report(LaneChange::FindsOrphans(reason)));
                    if lane.once {
                        return None;
                    }
                    AGAIN_AFTER_ORPHANS
                }
                Ok(Step::Wait(reason, wait)) => {
                    // A changed text is not logged again: the old checkpoint may stop and move again for minutes.
                    let old = watch.as_ref().map(Watch::lane).cloned();
                    if logged.as_ref() != Some(&old) {
                        warn!(%pipeline, %stream, %sink, "the lane waits: {reason}");
                        logged = Some(old);
                    }
                    lane.meter.report(LaneChange::WaitsForRename(reason));
                    wait
                }
                Err(failure) => {
                    lane.spec.span().in_scope(|| lane.meter.failed(Side::Claim, &failure));
                    if lane.once && refusals.end_a_run_with(&failure) {
                        return None;
                    }
                    refusals.count(&failure);
                    RETRY
                }
            };
            is_kept = true;
            tokio::select! {
                () = sleep(wait) => {}
                () = changed => {}
            }
        }
    }

    /// Decides what the lane has to do next.
    ///
    /// # Errors
    /// If this cannot be decided, with the reason.
    async fn step(&self, lane: Beginning<'_>, watch: &mut Option<Watch>) -> Result<Step, Failure> {
        let id = lane.id();
        if let Err(failure) = self.list(&*lane.store()).await {
            // The names matter only to a lane without a checkpoint.
            return if lane.has_checkpoint().await? { Ok(Step::Begin) } else { Err(failure) };
        }
        let is_tenants = lane.spec.tenant.is_some();
        let (source, has_candidates) = {
            let known = self.known.lock();
            let has_candidates = known.candidates(id).next().is_some() || is_tenants && known.has_many_orphans();
            (known.renamed_from.get(&id.pipeline).cloned(), has_candidates)
        };
        if source.is_none() && !has_candidates && watch.is_none() {
            return Ok(Step::Begin);
        }
        if lane.has_checkpoint().await? {
            if let (Some(source), None) = (source, watch) {
                let LaneId { pipeline, stream, sink } = id;
                info!(%pipeline, %stream, %sink, "`renamed_from: {source}` is ignored: the lane has a checkpoint");
            }
            return Ok(Step::Begin);
        }
        if let Some(source) = source {
            let source = LaneId { pipeline: source, ..id.clone() };
            match load(&*lane.store(), source).await {
                Ok(Some((found, checkpoint))) if lane.may_know(checkpoint.as_ref()) => {
                    return self.continue_from(lane, found, watch).await;
                }
                Ok(_) => {}
                // The tenant of an unreadable checkpoint is not known.
                Err(StateError::Damaged { .. } | StateError::Newer { .. }) if is_tenants => {}
                // The lane must not begin at `since` instead.
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(reason) = self.too_many_orphans(lane).await? {
            return Ok(Step::Refuse(reason));
        }
        let mut found = self.find(lane).await?;
        if found.is_none() && watch.is_some() {
            // Another process may have renamed the checkpoint: list the names again.
            self.forget_listing().await;
            self.list(&*lane.store()).await?;
            found = self.find(lane).await?;
        }
        Ok(found.map_or(Step::Begin, |found| self.wait_for_rename(lane, found, watch)))
    }

    /// Makes the names of all checkpoints known.
    async fn list(&self, store: &dyn Store) -> Result<(), Failure> {
        let mut listing = self.turn.lock().await;
        if listing.done.is_some() {
            return Ok(());
        }
        if let Some(failure) = listing.failed.within(RETRY) {
            return Err(failure);
        }
        let listed = match timeout(LIST_TIMEOUT, store.list()).await {
            Ok(listed) => listed.map_err(Failure::from),
            Err(_) => {
                let seconds = LIST_TIMEOUT.as_secs();
                Err(Failure::transient(format!("the store has not listed its checkpoints within {seconds} s")))
            }
        };
        listing.failed.ended(&listed);
        let mut known = self.known.lock();
        let Known { lanes, files, origins, .. } = &mut *known;
        lanes.retain(|lane, runs| *runs || files.has(lane));
        for key in listed?.into_iter().filter(|key| key.part == StoredPart::Whole) {
            lanes.entry(key.lane).or_default();
        }
        origins.retain(|lane, origin| lanes.contains_key(lane) && !origin.host.is_empty());
        known.find_orphans();
        listing.done = Some(Instant::now());
        Ok(())
    }

    /// Returns the checkpoint of a lane without a file that has the same console, scope, stream and type of sink. The
    /// lane must be allowed to know of it. A checkpoint of an earlier release, without the type of its sink, fits all
    /// types. Of several checkpoints, returns the one that has come furthest.
    async fn find(&self, lane: Beginning<'_>) -> Result<Option<Found>, Failure> {
        let (host, scope) = lane.host_and_scope()?;
        let candidates = self.known.lock().candidates_at(lane.spec, &host);
        let mut furthest: Option<(Timestamp, Found)> = None;
        let mut fitting = 0;
        for candidate in candidates {
            let (found, checkpoint) = match load(&*lane.store(), candidate).await {
                Ok(Some((found, Some(checkpoint)))) => (found, checkpoint),
                Ok(_) | Err(StateError::Damaged { .. } | StateError::Newer { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            if *checkpoint.host == *host
                && may_know(lane.spec, &checkpoint.tenant)
                && *checkpoint.scope == *scope
                && (checkpoint.sink_type.is_empty() || *checkpoint.sink_type == *lane.meter.sink_type())
            {
                fitting += 1;
                let until = checkpoint.position.complete_until();
                if furthest.as_ref().is_none_or(|(time, _)| until > *time) {
                    furthest = Some((until, found));
                }
            } else {
                self.known.lock().origins.insert(found.lane, checkpoint.into());
            }
        }
        Ok(furthest.map(|(_, found)| Found { others: fitting - 1, ..found }))
    }

    /// Lets the lane wait until an operator renames the checkpoint, or the wait is over.
    fn wait_for_rename(&self, lane: Beginning<'_>, found: Found, watch: &mut Option<Watch>) -> Step {
        let limits = Limits::of(&lane.lane_builder.options);
        let now = Instant::now();
        if lane.once {
            return Step::GiveUp(renamed(&found, lane, Movement::StandsStill));
        }
        self.known.lock().wanted.insert(lane.id().clone(), found.lane.pipeline.clone());
        if self.known.lock().runs(&found.lane) {
            // This process moves the checkpoint, so its movements so far say nothing about other processes.
            *watch = None;
            return Step::Wait(renamed(&found, lane, Movement::Moves), limits.interval());
        }
        let watch = Watch::follow(watch, &found, now);
        let verdict = watch.judge(limits, now);
        match verdict {
            Movement::Moves => Step::Wait(renamed(&found, lane, verdict), limits.interval()),
            Movement::StandsStill => Step::Wait(renamed(&found, lane, verdict), watch.until_over(limits, now)),
            Movement::IsElsewhere => {
                let old = found.lane;
                lane.log_begin(&format!("the checkpoint of {old} still moves, so another installation runs that lane"));
                Step::Begin
            }
            Movement::IsOver => {
                lane.log_begin("--renamed-wait is over");
                Step::Begin
            }
        }
    }

    /// Continues from the checkpoint that `renamed_from` names, once no other lane uses it.
    async fn continue_from(
        &self,
        lane: Beginning<'_>,
        source: Found,
        watch: &mut Option<Watch>,
    ) -> Result<Step, Failure> {
        let limits = Limits::of(&lane.lane_builder.options).of_taking_over(&lane.lane_builder.options);
        let now = Instant::now();
        let old = &source.lane;
        let waits_for = |what: &str| format!("`renamed_from: {}`: {old} {what}", old.pipeline);
        let (has_file, runs) = {
            let known = self.known.lock();
            (known.files.has_pipeline(&old.pipeline), known.runs(old))
        };
        let may_run = "may still run: waiting until its checkpoint no longer changes";
        if has_file || runs {
            // This installation moves the checkpoint, so its movements so far say nothing about others.
            *watch = None;
            let reason = if has_file {
                waits_for("has a pipeline file: remove it, then the lane continues from its checkpoint")
            } else {
                waits_for(may_run)
            };
            let gives_up = lane.once && has_file;
            return Ok(if gives_up { Step::GiveUp(reason) } else { Step::Wait(reason, limits.interval()) });
        }
        match Watch::follow(watch, &source, now).judge(limits, now) {
            Movement::Moves => {}
            Movement::IsElsewhere => {
                lane.log_begin(&waits_for("still moves, so another installation runs that lane"));
                return Ok(Step::Begin);
            }
            Movement::StandsStill | Movement::IsOver => {
                let store = lane.store();
                self.rename(old, lane.id(), rename_checkpoint(&*store, &lane.lane_builder.options, old, lane.id()))
                    .await?;
                let LaneId { pipeline, stream, sink } = lane.id();
                info!(%pipeline, %stream, %sink, "`renamed_from`: the lane continues from the checkpoint of {old}");
                return Ok(Step::Begin);
            }
        }
        Ok(Step::Wait(waits_for(may_run), limits.interval()))
    }

    /// Lets `renaming` give a checkpoint another name. Meanwhile neither lane runs here.
    ///
    /// # Errors
    /// If one of them runs, or the renaming fails.
    pub async fn rename(
        &self,
        from: &LaneId,
        to: &LaneId,
        renaming: impl Future<Output = Result<(), StateError>>,
    ) -> Result<(), Failure> {
        let _turn = self.turn.lock().await;
        for lane in [from, to] {
            if self.known.lock().runs(lane) {
                let reason = format!("lane {lane} runs in this worker: remove its pipeline file or its sink first");
                return Err(Failure::transient(reason));
            }
        }
        let has_lane = {
            let known = self.known.lock();
            !known.files.has_pipeline(&to.pipeline) || known.lanes.contains_key(to)
        };
        if !has_lane {
            let reason = format!(
                "the file of `{}` has no lane {to}: was its sink renamed too? Name the lanes, as the log does",
                to.pipeline
            );
            return Err(Failure::misconfigured(reason));
        }
        renaming.await?;
        let mut known = self.known.lock();
        known.lanes.remove(from);
        known.set_running(to, false);
        known.find_orphans();
        drop(known);
        self.changed.notify_waiters();
        Ok(())
    }
}

/// Returns a lane's checkpoint, and its content unless another release wrote it. `None` if there is no checkpoint.
async fn load(store: &dyn Store, lane: LaneId) -> Result<Option<(Found, Option<LaneCheckpoint>)>, StateError> {
    let Some(bytes) = store.load(&lane.clone().into()).await? else { return Ok(None) };
    let found = Found { lane, stamp: Sha256::digest(&bytes).into(), others: 0 };
    Ok(Some((found, LaneCheckpoint::decode(&bytes).ok())))
}

/// Returns why the lane waits, and the command that ends the wait.
fn renamed(found: &Found, lane: Beginning<'_>, verdict: Movement) -> String {
    let old = &found.lane;
    let new = lane.id();
    let options = &lane.lane_builder.options;
    let (from, to) = if old.sink == new.sink {
        (old.pipeline.clone(), new.pipeline.clone())
    } else {
        (old.to_string(), new.to_string())
    };
    let then = match (verdict, options.renamed_wait) {
        (Movement::Moves, _) => " (its worker may still run)".to_owned(),
        (_, Some(wait)) if !lane.once => {
            format!(" (after {} the lane begins at `since`)", Period(wait))
        }
        _ => String::new(),
    };
    let among = match found.others {
        0 => String::new(),
        others => format!(", which has come further than {others} more that fit (`state list`)"),
    };
    // Tenants need not know where the state is.
    let by = match lane.spec.tenant {
        None => format!("run: s1-forwarder state rename {from} {to}{}", options.state_flags()),
        Some(_) => format!(
            "write `renamed_from: {}` in its file, or the operator runs: s1-forwarder state rename {from} {to}",
            old.pipeline
        ),
    };
    format!(
        "no pipeline file has the name `{}` now, and {old} has a checkpoint of this console{among}; if the pipeline was \
         renamed{then}, {by}",
        old.pipeline
    )
}
