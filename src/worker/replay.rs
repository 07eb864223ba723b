//! Dead letters sent again, beside a running worker, through the same sink code as a lane's events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::shared::{Shared, Way};
use super::spec::LaneSpec;
use super::{ComposeError, Options};
use crate::pipeline::Pipeline;
use crate::record::{Stream, Timestamp};
use crate::sink::dead_letters::{Drawer, Kept, Location};
use crate::sink::deliver::{Delivery, Settled};
use crate::sink::{Batch, Event};
use crate::state::{LaneId, StateError};
use crate::telemetry::{Meter, Telemetry};

/// Settled letters are taken out of their store when they make up so much, and at the end: what a kill repeats is bounded, and
/// a large file is not written anew for each batch.
const TAKEN_OUT_FROM: usize = 8 << 20;

/// Which dead letters.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of these pipelines; all when empty.
    pub pipelines: Vec<String>,
    /// Of these streams; all when empty.
    pub streams: Vec<Stream>,
    /// Of these sinks; all when empty.
    pub sinks: Vec<String>,
    /// Refused then or later.
    pub since: Option<Timestamp>,
    /// Refused before.
    pub until: Option<Timestamp>,
    /// With this status.
    pub status: Option<String>,
    /// With this text in their reason.
    pub reason: Option<String>,
    /// Not more than so many.
    pub limit: Option<usize>,
}

impl Filter {
    /// Whether `letter` is among them, the limit aside.
    pub fn takes(&self, letter: &Kept) -> bool {
        (self.pipelines.is_empty() || self.pipelines.contains(&letter.pipeline))
            && (self.streams.is_empty() || self.streams.contains(&letter.stream))
            && (self.sinks.is_empty() || self.sinks.contains(&letter.sink))
            && self.since.is_none_or(|since| letter.time >= since)
            && self.until.is_none_or(|until| letter.time < until)
            && self.status.as_ref().is_none_or(|status| letter.status == *status)
            && self.reason.as_ref().is_none_or(|reason| letter.reason.contains(reason))
    }
}

/// A replay cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The store of dead letters.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The state that the sinks' settings may refer to.
    #[error(transparent)]
    State(#[from] StateError),
}

/// What came of a replay.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ReplayReport {
    /// Letters that their sinks took now.
    pub delivered: usize,
    /// Refused again: kept anew, with the new reason.
    pub refused: usize,
    /// Letters that cannot be sent: only the beginning of their record was kept.
    pub cut: usize,
    /// What kept letters where they are, a line each.
    pub problems: Vec<String>,
}

/// Sends those of `letters` that `filter` names to their sinks again, and takes out what was settled. A sink that
/// takes nothing for `patience` is given up; `stop` ends between two attempts.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn replay(
    letters: &Location,
    filter: Filter,
    pipelines: &[Arc<Pipeline>],
    options: Options,
    patience: Duration,
    stop: CancellationToken,
) -> Result<ReplayReport, ReplayError> {
    let _lock = letters.lock().await?;
    let telemetry = Arc::new(Telemetry::new());
    let store = options.state.look_at(&options.instance).await?;
    let shared = Shared::over(store, options, telemetry.clone());
    let mut replay = Replay {
        shared,
        telemetry,
        pipelines,
        patience,
        stop,
        report: ReplayReport::default(),
        left: filter.limit.unwrap_or(usize::MAX),
        filter,
    };
    for drawer in letters.drawers().await? {
        if replay.left == 0 || replay.stop.is_cancelled() {
            break;
        }
        replay.drawer(drawer).await?;
    }
    Ok(replay.report)
}

struct Replay<'a> {
    shared: Arc<Shared>,
    telemetry: Arc<Telemetry>,
    pipelines: &'a [Arc<Pipeline>],
    filter: Filter,
    patience: Duration,
    stop: CancellationToken,
    report: ReplayReport,
    /// Letters that may still be taken.
    left: usize,
}

/// Letters of one lane on their way.
struct Parcel {
    batch: Batch,
    numbers: Vec<u64>,
}

/// A part of the store, and its letters that are settled and still in it.
struct Taken {
    drawer: Drawer,
    letters: BTreeSet<u64>,
    bytes: usize,
}

impl Replay<'_> {
    async fn drawer(&mut self, drawer: Drawer) -> io::Result<()> {
        let mut taken = Taken { drawer, letters: BTreeSet::new(), bytes: 0 };
        let ended = self.letters(&mut taken).await;
        // What was settled is taken out however it ended.
        taken.take_out().await?;
        ended
    }

    async fn letters(&mut self, taken: &mut Taken) -> io::Result<()> {
        // Of each lane that has letters here; none where it cannot go on.
        let mut deliveries: HashMap<LaneId, Option<Arc<Delivery>>> = HashMap::new();
        let mut parcels: BTreeMap<LaneId, Parcel> = BTreeMap::new();
        while let Some(letter) = taken.drawer.next().await {
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
            if !self.filter.takes(&letter) {
                continue;
            }
            if letter.cut {
                self.report.cut += 1;
                continue;
            }
            self.left -= 1;
            let lane = LaneId { pipeline: letter.pipeline.clone(), stream: letter.stream, sink: letter.sink.clone() };
            let found = deliveries.entry(lane.clone()).or_insert_with(|| match self.delivery(&lane) {
                Ok(delivery) => Some(delivery),
                Err(problem) => {
                    self.report.problems.push(format!("{lane}: {problem}"));
                    None
                }
            });
            let Some(delivery) = found.clone() else { continue };
            let open = parcels.entry(lane.clone()).or_insert_with(|| Parcel::new(lane.stream));
            open.push(number, &letter);
            let limits = delivery.sink.limits();
            let size = open.batch.size() + open.batch.len() * limits.framing;
            if (open.batch.len() >= limits.events || size >= limits.bytes)
                && let Some(full) = parcels.remove(&lane)
                && !self.send(&lane, &delivery, full, taken).await?
            {
                deliveries.insert(lane, None);
            }
        }
        for (lane, rest) in parcels {
            if let Some(Some(delivery)) = deliveries.get(&lane).cloned() {
                self.send(&lane, &delivery, rest, taken).await?;
            }
        }
        Ok(())
    }

    /// Delivers what is in `parcel`. False when its lane cannot go on.
    async fn send(
        &mut self,
        lane: &LaneId,
        delivery: &Delivery,
        parcel: Parcel,
        taken: &mut Taken,
    ) -> io::Result<bool> {
        let Parcel { batch, numbers } = parcel;
        let (settled, stop) = (Settled::none_of(batch.len()), self.stop.child_token());
        let dead = || delivery.meter.lane.dead_letters.load(std::sync::atomic::Ordering::Relaxed);
        let before = dead();
        let mut given_up = false;
        let ended = {
            let delivering = delivery.deliver(&batch, &settled, self.shared.fork_random(), None, &stop);
            tokio::pin!(delivering);
            let mut health = delivery.health.watch();
            loop {
                let refusing_since = *health.borrow_and_update();
                let give_up_at = refusing_since.map(|since| since + self.patience).filter(|_| !given_up);
                tokio::select! {
                    ended = &mut delivering => break ended,
                    _ = health.changed() => {}
                    () = sleep_until(give_up_at.unwrap_or_else(Instant::now)), if give_up_at.is_some() => {
                        given_up = true;
                        stop.cancel();
                    }
                }
            }
        };
        let done = settled.indices(true);
        let refused = usize::try_from(dead() - before).unwrap_or(done.len()).min(done.len());
        self.report.refused += refused;
        self.report.delivered += done.len() - refused;
        taken.letters.extend(done.iter().filter_map(|index| numbers.get(*index)));
        taken.bytes += batch.size();
        if taken.bytes >= TAKEN_OUT_FROM {
            taken.take_out().await?;
        }
        if let Err(halt) = ended
            && !self.stop.is_cancelled()
        {
            let reason = match delivery.meter.lane.last_error() {
                Some((_, error)) if given_up => format!("the sink has taken nothing for {:?}: {error}", self.patience),
                _ => halt.to_string(),
            };
            self.report.problems.push(format!("{lane}: {reason}"));
            return Ok(false);
        }
        Ok(true)
    }

    /// The delivery of a lane, whether its pipeline is paused or not.
    fn delivery(&self, lane: &LaneId) -> Result<Arc<Delivery>, String> {
        let pipeline = self.pipelines.iter().find(|pipeline| pipeline.name == lane.pipeline);
        let pipeline = pipeline.ok_or("no pipeline of this name is in the files given")?;
        let specs = LaneSpec::of(&Pipeline { enabled: true, ..(**pipeline).clone() });
        let spec = specs.into_iter().find(|spec| spec.id == *lane);
        let spec = spec.ok_or("the pipeline has no lane of this name any more")?;
        let LaneId { pipeline, stream, sink } = lane;
        let kind = spec.sink.kind.name();
        let meter = Meter::detached(&self.telemetry, pipeline, *stream, sink, kind, self.shared.clock());
        let composed = self.shared.compose(&spec, &meter, Way { once: true, ..Way::default() });
        composed.map(|lane| lane.delivery).map_err(|error: ComposeError| error.to_string())
    }
}

impl Parcel {
    fn new(stream: Stream) -> Self {
        Self { batch: Batch::new(stream), numbers: Vec::new() }
    }

    fn push(&mut self, number: u64, letter: &Kept) {
        self.numbers.push(number);
        self.batch.push(Event {
            body: &letter.event,
            record_id: &letter.record_id,
            identity: letter.identity,
            time: letter.event_time,
            error: letter.error.as_deref(),
            cut: false,
        });
    }
}

impl Taken {
    /// Takes the settled letters out of the store.
    async fn take_out(&mut self) -> io::Result<()> {
        let letters = std::mem::take(&mut self.letters);
        self.bytes = 0;
        self.drawer.take_out(&letters).await.map(drop)
    }
}
