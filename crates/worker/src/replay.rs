//! Sends dead letters again with the delivery code of the lanes. A replay can run next to a worker.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_engine::checkpoint::ledger::{Accounting, Ledger};
use s1_forwarder_engine::checkpoint::{CheckpointKey, CheckpointUpdate, JournalChange, StateError, Store, StoredPart};
use s1_forwarder_engine::delivery::{Delivery, Fates};
use s1_forwarder_engine::lane::{Lane, LaneCheckpoint, LaneMapping, LanePrograms};
use s1_forwarder_engine::program_threads::JobError;
use s1_forwarder_engine::sink::{Batch, Event, PROGRAM, Unsent};
use s1_forwarder_engine::source::SourcePosition;
use s1_forwarder_engine::transform::{OcsfVersion, Schema, Steps, to_version};
use s1_forwarder_record::{Identity, LaneId, Stream, Timestamp};
use s1_forwarder_state::StoreLocation;
use s1_forwarder_state::dead_letters::{self, DeadLetterPartition, StoredDeadLetter};
use s1_forwarder_telemetry::{Meter, Telemetry, lane_span};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, warn};

use super::options::Options;
use super::shared::Shared;
use super::usage::CommandUsage;
use super::verify::{VerifyError, live_backend, replays_area};
use crate::lanes::builder::{BuildLaneError, LaneStart};
use crate::lanes::spec::LaneSpec;
use crate::pipeline::Pipeline;

/// Settled dead letters are removed from their store when they have this many bytes, and at the end. A kill then
/// repeats a bounded number of them, and a large file is not written again for each batch.
const REMOVE_FROM: usize = 8 << 20;
/// Dead letters keep the name that their lane had.
const FORMER_NAME: &str = "if it was renamed, give a copy of its file with the former name";

/// Selects dead letters.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterFilter {
    /// All pipelines if empty.
    pub pipelines: Vec<String>,
    /// All streams if empty.
    pub streams: Vec<Stream>,
    /// All sinks if empty.
    pub sinks: Vec<String>,
    /// Refused at this time or later.
    pub since: Option<Timestamp>,
    /// Refused before this time.
    pub until: Option<Timestamp>,
    pub status: Option<String>,
    /// The reason contains this text.
    pub reason: Option<String>,
    /// Maximum number of dead letters.
    pub limit: Option<usize>,
}

impl DeadLetterFilter {
    /// Returns whether `letter` is selected. The limit is not considered.
    pub fn matches(&self, letter: &StoredDeadLetter) -> bool {
        (self.pipelines.is_empty() || self.pipelines.contains(&letter.lane.pipeline))
            && (self.streams.is_empty() || self.streams.contains(&letter.lane.stream))
            && (self.sinks.is_empty() || self.sinks.contains(&letter.lane.sink))
            && self.since.is_none_or(|since| letter.time >= since)
            && self.until.is_none_or(|until| letter.time < until)
            && self.status.as_ref().is_none_or(|status| letter.status == *status)
            && self.reason.as_ref().is_none_or(|reason| letter.reason.contains(reason))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The store of dead letters cannot be used.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The state cannot be used, which the settings of a sink may refer to.
    #[error(transparent)]
    State(#[from] StateError),
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ReplayReport {
    pub delivered: usize,
    /// Refused again: stored again with the new reason, or, if the sink refused too many in a row, as before.
    pub refused: usize,
    /// Dead letters that were neither delivered nor refused, because their lane was given up or stopped.
    pub unsettled: usize,
    /// Dropped by the program that had failed on them.
    pub dropped: usize,
    /// Dead letters that cannot be sent, because they have only the beginning of their record.
    pub truncated: usize,
    /// Reasons why dead letters remain in the store, one line each.
    pub problems: Vec<String>,
}

/// Sends the dead letters that `filter` selects to their sinks again, and removes the settled ones. A sink that accepts
/// nothing for `once_timeout` is given up. `stop` takes effect between two attempts.
///
/// # Errors
/// If the store cannot be read or written.
pub async fn replay(
    location: &StoreLocation,
    filter: DeadLetterFilter,
    pipelines: &[Arc<Pipeline>],
    options: Options,
    once_timeout: Duration,
    stop: CancellationToken,
) -> Result<ReplayReport, ReplayError> {
    let instance = options.instance.clone();
    let _lock = dead_letters::lock(location).await?;
    let telemetry = Arc::new(Telemetry::new());
    let usage = CommandUsage::new(&options);
    let store = options.read_state(None).await?;
    let shared = Shared::with_store(store, options, telemetry.clone());
    let mut replay = Replay {
        shared,
        telemetry,
        usage,
        pipelines,
        once_timeout,
        stop,
        report: ReplayReport::default(),
        checkpoints: HashMap::new(),
        left: filter.limit.unwrap_or(usize::MAX),
        filter,
    };
    let sent = replay.send_partitions(location, &instance).await;
    // Also after an error.
    replay.usage.write().await;
    sent?;
    Ok(replay.report)
}

struct Replay<'a> {
    shared: Arc<Shared>,
    telemetry: Arc<Telemetry>,
    usage: CommandUsage,
    pipelines: &'a [Arc<Pipeline>],
    filter: DeadLetterFilter,
    once_timeout: Duration,
    stop: CancellationToken,
    report: ReplayReport,
    /// The checkpoints of the lanes whose dead letters were delivered; `None` for a lane that has none.
    checkpoints: HashMap<LaneId, Option<LaneCheckpoint>>,
    /// Number of dead letters that the limit still allows.
    left: usize,
}

/// The parts with which the dead letters of one lane are sent.
#[derive(Clone)]
struct ReplayLane {
    delivery: Arc<Delivery>,
    schema: Schema,
    ocsf_version: OcsfVersion,
    /// The programs of the lane, and where they run.
    programs: Option<(Arc<Steps>, LanePrograms)>,
}

/// A dead letter that may be sent.
struct Sendable {
    letter: StoredDeadLetter,
    /// Why the dead letter is not sent.
    unsent: Option<Unsent>,
}

/// A batch of dead letters of one lane, with their numbers in the partition, and when they were stored.
struct ReplayBatch {
    batch: Batch,
    numbers: Vec<u64>,
    stored: Vec<Timestamp>,
}

/// A part of the store, and the numbers of its dead letters that are settled and not removed yet.
struct OpenPartition {
    partition: DeadLetterPartition,
    settled: BTreeSet<u64>,
    settled_bytes: usize,
    /// Settled dead letters that their sinks have acknowledged.
    delivered: Vec<Replayed>,
}

/// A dead letter that its sink has acknowledged.
struct Replayed {
    lane: LaneId,
    /// When its record was created. If the records of the stream change: when the dead letter was stored.
    created: Timestamp,
    identity: Identity,
}

impl Replay<'_> {
    async fn send_partitions(&mut self, location: &StoreLocation, instance: &str) -> io::Result<()> {
        for partition in dead_letters::partitions(location, instance).await? {
            if self.left == 0 || self.stop.is_cancelled() {
                break;
            }
            self.send_partition(partition).await?;
        }
        Ok(())
    }

    async fn send_partition(&mut self, partition: DeadLetterPartition) -> io::Result<()> {
        let mut open = OpenPartition { partition, settled: BTreeSet::new(), settled_bytes: 0, delivered: Vec::new() };
        let result = self.send_all(&mut open).await;
        // Also after an error.
        self.remove_settled(&mut open).await?;
        result
    }

    async fn send_all(&mut self, open: &mut OpenPartition) -> io::Result<()> {
        // `None` for a lane that cannot deliver.
        let mut lanes: HashMap<LaneId, Option<ReplayLane>> = HashMap::new();
        let mut batches: BTreeMap<LaneId, ReplayBatch> = BTreeMap::new();
        while let Some(letter) = open.partition.next().await {
            let (number, letter) = match letter {
                Ok(letter) => letter,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.report.problems.push(error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            if self.left == 0 || self.stop.is_cancelled() {
                break;
            }
            if !self.filter.matches(&letter) {
                continue;
            }
            if letter.truncated {
                self.report.truncated += 1;
                continue;
            }
            let lane = letter.lane.clone();
            let found = lanes.entry(lane.clone()).or_insert_with(|| match self.lane(&lane) {
                Ok(found) => Some(found),
                Err(problem) => {
                    self.report.problems.push(format!("{lane}: {problem}"));
                    None
                }
            });
            let Some(replay_lane) = found.clone() else { continue };
            self.left -= 1;
            let Some(Sendable { letter, unsent }) = replay_lane.run_programs(letter).await? else {
                self.report.dropped += 1;
                open.settled.insert(number);
                continue;
            };
            let delivery = replay_lane.delivery;
            let ReplayBatch { batch, numbers, stored } =
                batches.entry(lane.clone()).or_insert_with(|| ReplayBatch::new(lane.stream));
            push(batch, &letter, unsent);
            numbers.push(number);
            stored.push(letter.time);
            let limits = delivery.sink.limits();
            let size = batch.size() + batch.len() * limits.framing;
            if (batch.len() >= limits.events || size >= limits.bytes)
                && let Some(full) = batches.remove(&lane)
                && !self.send(&lane, &delivery, full, open).await?
            {
                lanes.insert(lane, None);
            }
        }
        for (lane, rest) in batches {
            match lanes.get(&lane).cloned().flatten() {
                Some(ReplayLane { delivery, .. }) => _ = self.send(&lane, &delivery, rest, open).await?,
                None => self.report.unsettled += rest.batch.len(),
            }
        }
        Ok(())
    }

    /// Delivers a batch. False if its lane cannot deliver more.
    async fn send(
        &mut self,
        lane: &LaneId,
        delivery: &Delivery,
        replay_batch: ReplayBatch,
        open: &mut OpenPartition,
    ) -> io::Result<bool> {
        let ReplayBatch { batch, numbers, stored } = replay_batch;
        let fates = Fates::none_of(batch.len());
        let stop = self.stop.child_token();
        let dead_letters = || delivery.meter.metrics.send.dead_letters.get();
        let before = dead_letters();
        let refused_before = delivery.health.refused();
        let mut given_up = false;
        let result = {
            let delivering = delivery.deliver(&batch, &fates, self.shared.lane_builder.fork_random(), None, &stop);
            let delivering = delivering.instrument(lane_span(lane));
            tokio::pin!(delivering);
            loop {
                let refusing_since = delivery.health.answers().refusing_since;
                let give_up_at = if !given_up { refusing_since.map(|since| since + self.once_timeout) } else { None };
                tokio::select! {
                    result = &mut delivering => break result,
                    () = delivery.health.changed() => {}
                    () = sleep_until(give_up_at.unwrap_or_else(Instant::now)), if give_up_at.is_some() => {
                        given_up = true;
                        stop.cancel();
                    }
                }
            }
        };
        self.usage.take(&delivery.meter.metrics, StoredPart::Usage);
        self.usage.write_if_due().await;
        let done = fates.settled();
        open.delivered.extend(entered(lane, &batch, &stored, &done, &fates.dead_lettered()));
        let refused = usize::try_from(dead_letters() - before).unwrap_or(done.len()).min(done.len());
        let left = batch.len() - done.len();
        // Events whose refusal ended the delivery.
        let refused_and_left = if result.is_err() { left.min(delivery.health.refused() - refused_before) } else { 0 };
        self.report.refused += refused + refused_and_left;
        self.report.unsettled += left - refused_and_left;
        self.report.delivered += done.len() - refused;
        open.settled.extend(done.iter().filter_map(|index| numbers.get(*index)));
        open.settled_bytes += batch.size();
        if open.settled_bytes >= REMOVE_FROM {
            self.remove_settled(open).await?;
        }
        if let Err(delivery_error) = result
            && !self.stop.is_cancelled()
        {
            let reason = match delivery.meter.metrics.last_error() {
                Some((_, error)) if given_up => {
                    format!("the sink has accepted nothing for {:?}: {error}", self.once_timeout)
                }
                _ => delivery_error.to_string(),
            };
            self.report.problems.push(format!("{lane}: {reason}"));
            return Ok(false);
        }
        Ok(true)
    }

    /// Removes the settled dead letters from the store. They are added to the ledgers after that, since a dead letter
    /// that is not removed is sent again.
    async fn remove_settled(&mut self, open: &mut OpenPartition) -> io::Result<()> {
        let settled = std::mem::take(&mut open.settled);
        let delivered = std::mem::take(&mut open.delivered);
        open.settled_bytes = 0;
        open.partition.remove(&settled).await?;
        if let Err(error) = self.sum_up(delivered).await {
            warn!(%error, "the ledger does not know what was replayed: its sums of delivered records lack it");
        }
        Ok(())
    }

    /// Adds the replayed events to the ledgers' sums of delivered records.
    async fn sum_up(&mut self, delivered: Vec<Replayed>) -> Result<(), VerifyError> {
        let mut by_part: BTreeMap<CheckpointKey, Vec<Replayed>> = BTreeMap::new();
        for replayed in delivered {
            if let Some(generation) = self.generation_of(&replayed).await? {
                let part = StoredPart::Replays { generation };
                by_part.entry(CheckpointKey { lane: replayed.lane.clone(), part }).or_default().push(replayed);
            }
        }
        for (key, delivered) in by_part {
            let area = self.shared.options.open_state(Some(&replays_area(&key.lane.pipeline))).await?;
            let added = add_replayed(&*area, &key, delivered, self.shared.options.clock.now()).await;
            area.close().await;
            added?;
        }
        Ok(())
    }

    /// Returns the generation of the ledger that has accounted for a dead letter. `None` if no ledger has, or if it is
    /// a ledger of counted records without sums of delivered records.
    async fn generation_of(&mut self, replayed: &Replayed) -> Result<Option<u64>, VerifyError> {
        let checkpoint = match self.checkpoints.get(&replayed.lane) {
            Some(known) => known,
            None => {
                let store = self.shared.stores.main();
                let spec = self.spec(&replayed.lane).ok();
                let live = spec.map(|spec| live_backend(&self.shared, &spec, store)).transpose()?;
                let stored = match live {
                    Some(live) => live.load(&replayed.lane.clone().into()).await?,
                    None => None,
                };
                let checkpoint = stored.map(|bytes| LaneCheckpoint::decode(&bytes)).transpose()?;
                self.checkpoints.entry(replayed.lane.clone()).or_insert(checkpoint)
            }
        };
        let Some(checkpoint) = checkpoint else { return Ok(None) };
        let former = checkpoint.former.as_ref().map(|former| former.ledger());
        let needs_sums = Accounting::of(replayed.lane.stream) == Accounting::Records;
        let has_sums = |ledger: &Ledger| !needs_sums || ledger.delivered_from().is_some();
        let is_of = |ledger: &&Ledger| ledger.since() <= replayed.created && has_sums(ledger);
        Ok([Some(&checkpoint.ledger), former].into_iter().flatten().find(is_of).map(Ledger::generation))
    }

    /// Returns the spec of a lane, also if its pipeline is paused.
    fn spec(&self, lane: &LaneId) -> Result<Arc<LaneSpec>, String> {
        let pipeline = self.pipelines.iter().find(|pipeline| pipeline.name == lane.pipeline);
        let pipeline =
            pipeline.ok_or_else(|| format!("no pipeline of this name is in the files given; {FORMER_NAME}"))?;
        let specs = LaneSpec::of(&Pipeline { enabled: true, ..(**pipeline).clone() });
        let spec = specs.into_iter().find(|spec| spec.id == *lane);
        spec.ok_or_else(|| format!("the pipeline has no lane of this name any more; {FORMER_NAME}"))
    }

    fn lane(&self, lane: &LaneId) -> Result<ReplayLane, String> {
        let spec = self.spec(lane)?;
        let kind = spec.sink.type_settings.name();
        let meter = Meter::detached(&self.telemetry, lane, kind, self.shared.options.clock);
        let built =
            self.shared.lane_builder.build_lane(&spec, &meter, LaneStart { once: true, ..LaneStart::default() });
        let Lane { delivery, mapping, .. } = built.map_err(|error: BuildLaneError| error.to_string())?;
        let LaneMapping { schema, ocsf_version, steps, programs, .. } = mapping;
        let programs = steps.zip(programs);
        Ok(ReplayLane { delivery, schema, ocsf_version, programs })
    }
}

impl ReplayLane {
    /// Runs the programs of the lane on an event that they failed on: nothing is sent as it was before them. `None` if
    /// they drop it.
    async fn run_programs(&self, mut letter: StoredDeadLetter) -> io::Result<Option<Sendable>> {
        if letter.status != PROGRAM {
            return Ok(Some(Sendable { letter, unsent: None }));
        }
        let Some((steps, programs)) = &self.programs else {
            to_version(self.schema, self.ocsf_version, &mut letter.event, 0);
            return Ok(Some(Sendable { letter, unsent: None }));
        };
        let steps = steps.clone();
        let mut event = std::mem::take(&mut letter.event);
        let (schema, ocsf_version) = (self.schema, self.ocsf_version);
        let run = move || {
            let mapped = steps.apply_again(&mut event);
            if mapped.dropped.is_none() && mapped.withheld().is_none() {
                to_version(schema, ocsf_version, &mut event, 0);
            }
            (event, mapped)
        };
        let (event, mapped) = match programs.threads.run(&programs.pipeline, run).await {
            Ok(ran) => ran,
            Err(JobError::NoThread(error)) => return Err(error),
            Err(JobError::Panicked(panic)) => resume_unwind(panic),
        };
        if mapped.dropped.is_some() {
            return Ok(None);
        }
        let (error, unsent) = match mapped.withheld() {
            Some(reason) => (Some(reason.to_owned()), Some(Unsent::ProgramFailed)),
            None => (mapped.error_next_to_raw(self.schema).map(String::from), None),
        };
        Ok(Some(Sendable { letter: StoredDeadLetter { event, error, ..letter }, unsent }))
    }
}

impl ReplayBatch {
    fn new(stream: Stream) -> Self {
        Self { batch: Batch::new(stream), numbers: Vec::new(), stored: Vec::new() }
    }
}

fn push(batch: &mut Batch, letter: &StoredDeadLetter, unsent: Option<Unsent>) {
    batch.push(Event {
        body: &letter.event,
        record_id: &letter.record_id,
        identity: letter.identity,
        time: letter.event_time,
        error: letter.error.as_deref(),
        labels: letter.labels.as_ref(),
        unsent,
        framed_at: None,
        snapshot: None,
    });
}

/// Returns the events of a batch that enter the ledger of replays: those that the sink has acknowledged, if the ledger
/// of the lane has its records. `stored` has the time of each dead letter. `dead_lettered` are dead letters again. They
/// enter too where nothing sums up the records: the store has one dead letter where two were counted.
fn entered(
    lane: &LaneId,
    batch: &Batch,
    stored: &[Timestamp],
    settled: &[usize],
    dead_lettered: &[usize],
) -> Vec<Replayed> {
    let accounting = Accounting::of(lane.stream);
    let is_summed_up = accounting == Accounting::Records;
    let entered = settled.iter().filter(|index| !is_summed_up || dead_lettered.binary_search(index).is_err());
    let replayed = |index: &usize| {
        let event = batch.event(*index)?;
        let created = match accounting {
            // The records that are counted have the time of their creation.
            Accounting::Records => event.time?,
            // Nothing sums up these records. `verify --destination` needs to know which dead letters were replayed.
            Accounting::Ids => *stored.get(*index)?,
            Accounting::Nothing => return None,
        };
        Some(Replayed { lane: lane.clone(), created, identity: event.identity })
    };
    entered.filter_map(replayed).collect()
}

/// Adds the replayed events to the checkpoint under `key`, whose ledger has only replayed events.
async fn add_replayed(
    area: &dyn Store,
    key: &CheckpointKey,
    delivered: Vec<Replayed>,
    now: Timestamp,
) -> Result<(), VerifyError> {
    if !area.keeps_journals() {
        return Ok(());
    }
    let mut checkpoint = match area.claim(key).await? {
        Some(bytes) => LaneCheckpoint::decode(&bytes)?,
        None => {
            let since = Timestamp::default();
            let ledger = Ledger::begin(since, String::new(), true);
            let nothing = Box::<str>::default;
            LaneCheckpoint::begin(nothing(), nothing(), nothing(), since, SourcePosition::starting_at(since), ledger)
        }
    };
    for Replayed { created, identity, .. } in delivered {
        checkpoint.ledger.deliver(created, identity);
    }
    let appends = checkpoint.take_appends(now);
    let dropped = checkpoint.ledger.released().to_vec();
    checkpoint.ledger.forget_released(&dropped);
    let journal = JournalChange { appends, released: dropped };
    area.commit(key, CheckpointUpdate { checkpoint: checkpoint.encode(), journal }).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
