//! The map stage: records become events, straight into the batch that will carry them.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;
use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::catch_panic::caught;
use s1_forwarder_mapping::Mapped;
use s1_forwarder_record::LaneId;
use s1_forwarder_telemetry::{LaneChange, MappingFlags, Meter, SkipReason};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{block_in_place, yield_now};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::pending_batch::PendingBatch;
use super::programs::{LanePrograms, Overruns};
use super::{Lane, LaneBudget, Reservation};
use crate::delivery::Fates;
use crate::program_threads::JobError;
use crate::sink::{Limits, Unsent};
use crate::source::{PulledPage, PulledRecord, Snapshot};
use crate::transform::{CompleteSnapshot, Dropped, OnError, Origin, Schema, Transformed, Transformer, unknown_leaves};

/// A page with the reservation of its bytes. Boxed: a channel allocates 32 slots at once, and each poll makes one.
pub type ReservedPage = Box<(PulledPage, Reservation)>;

/// Shortest wait before the records whose mapping panicked are pulled again.
const AFTER_PANIC: Duration = Duration::from_secs(10);

/// Maximum number of events for which a batch reserves space before they are mapped, even if `batch.events` allows
/// more.
const MAX_RESERVED: usize = 10_000;

/// How long a lane maps before another one has its turn. A record that takes longer is mapped to its end.
const TURN: Duration = Duration::from_millis(20);

/// Bytes of the largest page whose mapping begins on the runtime's thread. To free that thread would cost more than a
/// hundredth of mapping such a page. After a turn, the rest of the page is mapped outside the runtime.
const MAX_MAPPED_INLINE: usize = 64 * 1024;

/// Permits for lanes that map outside the runtime, one for each processor. So as many lanes map at a time as if they
/// did it on the runtime's threads.
static MAP_PERMITS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, NonZero::get)));

/// The map stage of one lane.
struct MapStage {
    /// The longest time that an event waits for its batch to fill.
    batch_timeout: Duration,
    budget: LaneBudget,
    batches: mpsc::Sender<Arc<PendingBatch>>,
    /// The programs of the lane, if it has any.
    programs: Option<LanePrograms>,
}

/// Maps records into the open batch. Boxed: it moves to a thread for programs, and back.
struct Filler {
    transformer: Transformer,
    schema: Schema,
    /// The limits of a batch.
    limits: Limits,
    meter: Meter,
    /// Bytes of the records mapped so far.
    record_bytes: usize,
    /// Bytes of the events of these records.
    event_bytes: usize,
    /// The batch that is being filled.
    open: PendingBatch,
    overruns: Option<Arc<Mutex<Overruns>>>,
    /// The failure that stops the lane; `None` if the lane goes on.
    ended: Option<Failure>,
}

/// A page that is being mapped.
struct OpenPage {
    page: PulledPage,
    reservation: Reservation,
    /// The index of the next record.
    next: usize,
}

/// The reason why filling the open batch paused.
enum Filled {
    /// The batch is full.
    Batch(Box<PendingBatch>),
    /// All records of the page are mapped.
    Page,
    /// It is the turn of another lane.
    Turn,
    /// The lane has to stop.
    Ended(Failure),
}

/// The reason why mapping ended before the last page.
enum MapEnd {
    /// The lane has ended the session.
    Session,
    Failed(Failure),
}

impl From<JobError> for MapEnd {
    fn from(error: JobError) -> Self {
        match error {
            // The mapping is a task of its own, which ends with the panic.
            JobError::Panicked(panic) => resume_unwind(panic),
            JobError::NoThread(error) => Self::Failed(Failure::transient(format!("no thread for a program: {error}"))),
        }
    }
}

/// Maps the pages until there are no more. The mapping is a task of its own, which begins with the first page: most
/// polls bring no page, and start no task.
///
/// # Errors
/// If the task panicked, or a program of the user stops the lane.
pub async fn run(
    lane: &Lane,
    mut pages: mpsc::Receiver<ReservedPage>,
    batches: mpsc::Sender<Arc<PendingBatch>>,
) -> Result<(), Failure> {
    let Some(first) = pages.recv().await else { return Ok(()) };
    let stage = MapStage {
        batch_timeout: lane.batch_timeout,
        budget: lane.budget.clone(),
        batches,
        programs: lane.mapping.programs.clone(),
    };
    let mapping = stage.map_pages(Box::new(Filler::new(lane)), first, pages).in_current_span();
    let panic = match caught(AbortOnDropHandle::new(tokio::spawn(mapping))).await {
        Ok(Ok(()) | Err(MapEnd::Session)) => return Ok(()),
        Ok(Err(MapEnd::Failed(failure))) => return Err(failure),
        Err(panic) => panic,
    };
    let reason = format!("internal error, the lane goes on from its checkpoint: {panic}");
    let failure = Failure::transient_after(reason, Some(AFTER_PANIC));
    lane.meter().report(LaneChange::Halted(failure.clone()));
    Err(failure)
}

impl MapStage {
    async fn map_pages(
        self,
        mut filler: Box<Filler>,
        first: ReservedPage,
        mut pages: mpsc::Receiver<ReservedPage>,
    ) -> Result<(), MapEnd> {
        let mut pulled = Some(first);
        while let Some(page) = pulled {
            let (page, reservation) = *page;
            filler = self.map_page(filler, page, reservation).await?;
            pulled = loop {
                // Biased, so that a simulated schedule replays.
                tokio::select! {
                    biased;
                    () = sleep_until(filler.open.since + self.batch_timeout), if !filler.open.batch.is_empty() => {
                        self.send(filler.take_open()).await?;
                    }
                    pulled = pages.recv() => break pulled,
                }
            };
        }
        self.send(filler.take_open()).await
    }

    async fn map_page(
        &self,
        mut filler: Box<Filler>,
        mut page: PulledPage,
        reservation: Reservation,
    ) -> Result<Box<Filler>, MapEnd> {
        filler.transformer.set_scope(page.scope.take());
        let excluded_until = filler.open.exclude(&mut page);
        let mut is_small = page.body.len() <= MAX_MAPPED_INLINE;
        let mut mapping = OpenPage { page, reservation, next: 0 };
        loop {
            let now = Instant::now();
            let filled = match &self.programs {
                None if is_small => filler.fill(&mut mapping, now),
                None => off_the_runtime(|| filler.fill(&mut mapping, now)).await,
                Some(programs) => {
                    // The page keeps its reservation on the thread of the program.
                    let fill = move || {
                        let filled = filler.fill(&mut mapping, now);
                        (filler, mapping, filled)
                    };
                    let filled;
                    (filler, mapping, filled) = programs.threads.run(&programs.pipeline, fill).await?;
                    filled
                }
            };
            match filled {
                Filled::Batch(full) => self.send(*full).await?,
                Filled::Page => break,
                Filled::Turn => {
                    is_small = false;
                    // The lane may have been given up meanwhile.
                    yield_now().await;
                }
                Filled::Ended(failure) => {
                    self.send(filler.take_open()).await?;
                    return Err(MapEnd::Failed(failure));
                }
            }
        }
        let OpenPage { page, mut reservation, .. } = mapping;
        if !filler.open.is_empty() {
            filler.open.include_page(&page, excluded_until);
        }
        filler.open.take_reservation(&mut reservation, filler.limits.copies);
        drop(reservation);
        // The batch is sent now if the sink has accepted nothing yet, or if the batch takes most of the lane's share.
        // The source cannot ask for more until the batch is sent, so the batch would never fill.
        let crowded = filler.open.reservation.as_ref().is_some_and(|held| held.bytes() > self.budget.share() / 2);
        if crowded || !self.budget.is_proven() || filler.open.batch.is_empty() {
            self.send(filler.take_open()).await?;
        }
        Ok(filler)
    }

    /// Passes a batch on to the send stage, unless it is empty.
    async fn send(&self, mut full: PendingBatch) -> Result<(), MapEnd> {
        if full.is_empty() {
            return Ok(());
        }
        full.fates = Fates::none_of(full.batch.len());
        self.batches.send(Arc::new(full)).await.map_err(|_| MapEnd::Session)
    }
}

impl Filler {
    fn new(lane: &Lane) -> Self {
        let LaneId { pipeline, stream, .. } = &lane.key.lane;
        let mapping = &lane.mapping;
        let origin = Origin::of(pipeline, lane.client.host(), *stream);
        Self {
            transformer: Transformer::new(&mapping.transform, mapping.schema, origin)
                .with_steps(mapping.steps.clone())
                .with_labeler(mapping.labeler.clone())
                .with_raw_embedded(mapping.embeds_raw)
                .with_ocsf_version(mapping.ocsf_version),
            schema: mapping.schema,
            limits: lane.delivery.sink.limits(),
            meter: lane.meter().clone(),
            // A mapped event with its original is a good two and a half times the record.
            record_bytes: 10,
            event_bytes: 26,
            open: PendingBatch::new(*stream),
            overruns: mapping.programs.as_ref().map(|programs| programs.overruns.clone()),
            ended: None,
        }
    }

    /// Maps the remaining records of a page, until the open batch is full or the lane's turn is over. `now` is when the
    /// turn began: another thread has a clock of its own in tests with paused time.
    fn fill(&mut self, mapping: &mut OpenPage, now: Instant) -> Filled {
        let copies = self.limits.copies;
        let started_at = Instant::now();
        loop {
            if self.open.batch.len() >= self.limits.events || self.framed_size() >= self.limits.bytes {
                self.open.take_reservation(&mut mapping.reservation, copies);
                return Filled::Batch(Box::new(self.take_open()));
            }
            let OpenPage { page, next, .. } = mapping;
            let Some(record) = page.records.get(*next) else { return Filled::Page };
            if started_at.elapsed() >= TURN {
                return Filled::Turn;
            }
            // A batch may stay empty: a record whose event is dropped leaves nothing in it.
            if self.open.batch.is_empty() && self.open.batch.allocated_bytes() == 0 {
                self.begin_batch(page, *next, now);
            }
            let before = self.open.batch.body_bytes();
            self.add_record(record, page, now);
            self.record_bytes += record.range.len();
            self.event_bytes += self.open.batch.body_bytes() - before;
            mapping.next += 1;
            if self.open.batch.len() > 1 && self.framed_size() > self.limits.bytes {
                let last = PendingBatch { since: now, ..self.open.split_last() };
                self.open.take_reservation(&mut mapping.reservation, copies);
                return Filled::Batch(Box::new(std::mem::replace(&mut self.open, last)));
            }
            if let Some(failure) = self.ended.take() {
                self.open.take_reservation(&mut mapping.reservation, copies);
                return Filled::Ended(failure);
            }
        }
    }

    /// Returns the open batch, and begins another one.
    fn take_open(&mut self) -> PendingBatch {
        let next = PendingBatch::new(self.open.batch.stream());
        std::mem::replace(&mut self.open, next)
    }

    /// Reserves space in a new batch for the page's records from `index` on, as far as they fit into one batch. After a
    /// full batch, the next page most likely goes on filling this one.
    fn begin_batch(&mut self, page: &PulledPage, index: usize, now: Instant) {
        let full = self.limits.events.min(MAX_RESERVED);
        let ahead = page.records[index..].iter().take(full);
        let (mut events, mut bytes) =
            ahead.fold((0, 0), |(events, bytes), record| (events + 1, bytes + record.range.len()));
        if index > 0 {
            (events, bytes) = (full, bytes * full / events.max(1));
        }
        // The expected bytes of the events, plus 5 %: to move a batch that outgrows its buffer costs more than space
        // that stays unused.
        let space = (bytes as f64 * 1.05 * self.event_bytes as f64 / self.record_bytes as f64) as usize;
        self.open.batch.reserve(events, space.min(self.limits.bytes));
        self.open.record_keys.reserve_exact(events);
        self.open.since = now;
    }

    fn add_record(&mut self, record: &PulledRecord, page: &PulledPage, now: Instant) {
        // `split_last` leaves the time of the split record in the batch before; the bound stays below that time.
        self.open.include_page(page, record.order);
        self.open.record_keys.push(record.record_key);
        let bytes = &page.body[record.range.clone()];
        match page.marker {
            Some(snapshot) => self.add_marker(record, snapshot),
            None if page.is_truncated => self.add_truncated(record, bytes),
            None => self.add_mapped(record, bytes, now),
        }
    }

    /// Adds the event that says that a snapshot is complete.
    fn add_marker(&mut self, record: &PulledRecord, snapshot: Snapshot) {
        let Self { transformer, open, .. } = self;
        let snapshot = CompleteSnapshot { time: snapshot.time, records: snapshot.settled };
        open.batch.push_with(&record.id, record.identity, record.time, |buffer| {
            transformer.map_snapshot(snapshot, record.identity, buffer);
            None
        });
        open.label_last(transformer);
    }

    /// Adds the beginning of a record that was too large to be pulled. It becomes a dead letter.
    fn add_truncated(&mut self, record: &PulledRecord, bytes: &[u8]) {
        let Self { transformer, open, .. } = self;
        let body = transformer.truncated(bytes);
        open.batch.push_with(&record.id, record.identity, record.time, |buffer| {
            buffer.extend_from_slice(&body);
            None
        });
        open.label_last(transformer);
        open.batch.withhold_last(Unsent::Truncated);
    }

    /// Adds the event of a record, unless the user's settings drop it or stop the lane.
    fn add_mapped(&mut self, record: &PulledRecord, bytes: &[u8], now: Instant) {
        let Self { transformer, schema, meter, open, .. } = self;
        let mut mapped = Transformed::default();
        open.batch.push_with(&record.id, record.identity, record.time, |buffer| {
            match transformer.transform(bytes, Some(record.identity), record.enrichment.as_deref(), buffer) {
                Ok(transformed) => {
                    mapped = transformed;
                    mapped.withheld().map(Into::into).or_else(|| mapped.error_next_to_raw(*schema))
                }
                Err(error) => {
                    let error = error.to_string();
                    meter.not_mapped(&error, &record.id);
                    Some(error.into())
                }
            }
        });
        self.report(&mapped, record, bytes, now);
        let Self { transformer, meter, open, ended, .. } = self;
        if let Some(dropped) = mapped.dropped {
            let reason = match dropped {
                Dropped::Condition { .. } => SkipReason::Filtered,
                Dropped::Remap => SkipReason::Remap,
            };
            meter.metrics.skip_records(reason, 1);
            if dropped.saw_all_programs() {
                open.batch.set_programs_worked();
            }
            return open.discard_last(record);
        }
        open.label_last(transformer);
        if transformer.has_other_labels() {
            meter.labelled_other(&record.id);
        }
        let Some(reason) = mapped.withheld() else { return };
        if mapped.on_error == OnError::Stop {
            let id = &record.id;
            *ended = Some(Failure::program_failed(format!(
                "a program of the pipeline failed on record {id}, and `on_error` is `stop`; the lane goes on when its \
                 file changes; {reason}"
            )));
            // The record is not accounted for, so that it is pulled again.
            open.withdraw_last();
        } else {
            open.batch.withhold_last(Unsent::ProgramFailed);
        }
    }

    /// Reports the problems of a mapped record. Stops the lane if programs took too long too often.
    fn report(&mut self, transformed: &Transformed, record: &PulledRecord, bytes: &[u8], now: Instant) {
        let Self { meter, open, overruns, ended, .. } = self;
        meter.mapped(flags_of(transformed.mapped), &record.id);
        if transformed.mapped.drifted {
            unknown_leaves(open.batch.stream(), bytes, &mut |path| meter.name_unmapped_field(path));
        }
        let Some(reason) = &transformed.remap_error else { return };
        if transformed.remap_overran
            && let Some(overruns) = overruns
        {
            *ended = overruns.lock().count(reason, now).map(Failure::program_overran);
        }
        meter.program_failed(reason, transformed.remap_overran, &record.id);
        if transformed.withheld().is_none()
            && let Some(time) = record.time
        {
            meter.metrics.forwarded_unchanged(time);
        }
    }

    /// Returns the size in bytes of the open batch, framing included.
    fn framed_size(&self) -> usize {
        self.open.batch.size() + self.open.batch.len() * self.limits.framing
    }
}

/// Maps without blocking a thread of the runtime, which pulls, delivers and answers requests for all lanes: a page can
/// take seconds. If the runtime has only one thread, mapping takes turns with everything else.
async fn off_the_runtime<T>(fill: impl FnOnce() -> T) -> T {
    if Handle::current().runtime_flavor() != RuntimeFlavor::MultiThread {
        return fill();
    }
    // The semaphore is never closed.
    let _turn = MAP_PERMITS.acquire().await;
    block_in_place(fill)
}

/// Returns what the lane counts of a mapped record. The telemetry does not know the mapping.
fn flags_of(mapped: Mapped) -> MappingFlags {
    let Mapped { unknown_activity, repaired, overflowed, without_zone, unknown_leaves, drifted: _ } = mapped;
    MappingFlags { unknown_activity, repaired, overflowed, without_zone, unknown_leaves }
}
