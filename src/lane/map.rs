//! The map stage: records become events, straight into the batch that will carry them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::pending_batch::PendingBatch;
use super::{Lane, LaneBudget, Reservation};
use crate::checkpoint::LaneId;
use crate::failure::Failure;
use crate::sink::deliver::Settled;
use crate::sink::{Event, Limits};
use crate::source::{Page, Record};
use crate::telemetry::{LaneState, Meter, SkipReason};
use crate::transform::{Dropped, Mapped, Mapper, Origin, Schema, Snapshot};

/// A page with the reservation of its bytes. Boxed: a channel allocates 32 slots at once, and each poll makes one.
pub type PulledPage = Box<(Page, Reservation)>;

/// Shortest wait before the records whose mapping panicked are pulled again.
const AFTER_PANIC: Duration = Duration::from_secs(10);

/// Space for more events is not reserved before they are mapped, however many `batch.events` allows.
const MOST_RESERVED: usize = 10_000;

/// The map stage of one lane.
struct MapStage {
    mapper: Mapper,
    schema: Schema,
    /// What a batch may contain.
    limits: Limits,
    /// How long an event may wait for its batch to fill.
    flush: Duration,
    meter: Meter,
    budget: LaneBudget,
    /// The bytes of records, and of their events, so far.
    record_bytes: usize,
    event_bytes: usize,
    /// The batch that is being filled.
    open: PendingBatch,
    batches: mpsc::Sender<Arc<PendingBatch>>,
}

/// Maps the pages until there are no more. That is a task of its own, begun with the first page: most polls bring no
/// page, and start no task.
///
/// # Errors
/// When the task panicked.
pub async fn run(
    lane: &Lane,
    mut pages: mpsc::Receiver<PulledPage>,
    batches: mpsc::Sender<Arc<PendingBatch>>,
) -> Result<(), Failure> {
    let Some(first) = pages.recv().await else { return Ok(()) };
    let mapping = MapStage::new(lane, batches).map_pages(first, pages).in_current_span();
    let Err(panic) = AbortOnDropHandle::new(tokio::spawn(mapping)).await else { return Ok(()) };
    let reason = format!("internal error, the lane goes on from its checkpoint: {panic}");
    lane.delivery.meter.set_sink_failure(Some(LaneState::Stopped(reason.clone())));
    Err(Failure::Transient { reason, after: Some(AFTER_PANIC) })
}

impl MapStage {
    fn new(lane: &Lane, batches: mpsc::Sender<Arc<PendingBatch>>) -> Self {
        let LaneId { pipeline, stream, .. } = &lane.key.lane;
        Self {
            mapper: Mapper::new(&lane.transform, lane.schema, Origin::of(pipeline, lane.client.host(), *stream))
                .with_steps(lane.steps.clone())
                .with_labeler(lane.labeler.clone())
                .with_raw_embedded(lane.embeds_raw),
            schema: lane.schema,
            limits: lane.delivery.sink.limits(),
            flush: lane.flush,
            meter: lane.delivery.meter.clone(),
            budget: lane.budget.clone(),
            // A mapped event with its original is a good two and a half times the record.
            record_bytes: 10,
            event_bytes: 26,
            open: PendingBatch::new(*stream),
            batches,
        }
    }

    /// Returns early, with `None`, when the lane has ended the session.
    async fn map_pages(mut self, first: PulledPage, mut pages: mpsc::Receiver<PulledPage>) -> Option<()> {
        let mut pulled = Some(first);
        while let Some(page) = pulled {
            let (page, reservation) = *page;
            self.map_page(page, reservation).await?;
            pulled = loop {
                // Biased, so that a simulated schedule replays.
                tokio::select! {
                    biased;
                    () = sleep_until(self.open.since + self.flush), if !self.open.batch.is_empty() => self.send_batch().await?,
                    pulled = pages.recv() => break pulled,
                }
            };
        }
        self.send_batch().await
    }

    async fn map_page(&mut self, mut page: Page, mut reservation: Reservation) -> Option<()> {
        let copies = self.limits.copies;
        self.mapper.set_scope(page.scope.take());
        let excluded_until = self.open.exclude(&mut page);
        for (index, record) in page.records.iter().enumerate() {
            // A batch may stay empty: a record whose event is dropped leaves nothing in it.
            if self.open.batch.is_empty() && self.open.batch.allocated_bytes() == 0 {
                self.begin_batch(&page, index);
            }
            let before = self.open.batch.body_bytes();
            self.map_record(record, &page);
            self.record_bytes += record.range.len();
            self.event_bytes += self.open.batch.body_bytes() - before;
            if self.open.batch.len() > 1 && self.framed_size() > self.limits.bytes {
                let last = self.open.split_last();
                self.open.take_reservation(&mut reservation, copies);
                self.send_batch().await?;
                self.open = last;
            }
            if self.open.batch.len() >= self.limits.events || self.framed_size() >= self.limits.bytes {
                self.open.take_reservation(&mut reservation, copies);
                self.send_batch().await?;
            }
        }
        if !self.open.is_empty() {
            self.open.cover(&page, excluded_until);
        }
        self.open.take_reservation(&mut reservation, copies);
        drop(reservation);
        // Before its sink has accepted anything, and when the batch takes most of the lane's share, the source cannot
        // ask for more until this batch is sent: it would never fill.
        let crowded = self.open.reservation.as_ref().is_some_and(|held| held.bytes() > self.budget.share() / 2);
        if crowded || !self.budget.is_proven() || self.open.batch.is_empty() {
            self.send_batch().await?;
        }
        Some(())
    }

    /// Reserves space in a new batch for the page's records from `index` on, as far as they fit into one batch. After a
    /// full batch, the next page most likely goes on filling this one.
    fn begin_batch(&mut self, page: &Page, index: usize) {
        let full = self.limits.events.min(MOST_RESERVED);
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
        self.open.since = Instant::now();
    }

    fn map_record(&mut self, record: &Record, page: &Page) {
        let Self { mapper, schema, meter, open, .. } = self;
        // `split_last` leaves the time of the split record in the batch before; the bound stays below that time.
        open.cover(page, record.order);
        open.record_keys.push(record.record_key);
        if let Some(snapshot) = page.marker {
            open.batch.push_with(&record.id, record.identity, record.time, |buffer| {
                let snapshot = Snapshot { time: snapshot.time, records: snapshot.taken };
                mapper.map_snapshot(snapshot, record.identity, buffer);
                None
            });
            return open.label_last(mapper);
        }
        let bytes = &page.body[record.range.clone()];
        if page.cut {
            let Record { id, identity, time, .. } = record;
            let (body, record_id, identity, time) = (mapper.cut(bytes), id.as_str(), *identity, *time);
            let (error, labels) = (None, mapper.labels());
            return open.batch.push(Event { body: &body, record_id, identity, time, error, labels, truncated: true });
        }
        let mut dropped = None;
        open.batch.push_with(&record.id, record.identity, record.time, |buffer| {
            match mapper.map_record(bytes, Some(record.identity), record.enrichment.as_deref(), buffer) {
                Ok(mapped) => {
                    dropped = mapped.dropped;
                    if mapped.repaired {
                        meter.repaired(&record.id);
                    }
                    count(meter, *schema, mapped)
                }
                Err(error) => {
                    let error = error.to_string();
                    meter.not_mapped(&error, &record.id);
                    Some(error.into())
                }
            }
        });
        if let Some(dropped) = dropped {
            let reason = match dropped {
                Dropped::Condition => SkipReason::Filtered,
                Dropped::Remap => SkipReason::Remap,
            };
            meter.lane.skip_records(reason, 1);
            return open.discard_last(record);
        }
        open.label_last(mapper);
    }

    /// Bytes of the batch as it will be framed.
    fn framed_size(&self) -> usize {
        self.open.batch.size() + self.open.batch.len() * self.limits.framing
    }

    /// Passes the batch on and begins another; `None` when the lane has ended the session.
    async fn send_batch(&mut self) -> Option<()> {
        let next = PendingBatch::new(self.open.batch.stream());
        let mut full = std::mem::replace(&mut self.open, next);
        if full.is_empty() {
            return Some(());
        }
        full.settled = Settled::none_of(full.batch.len());
        self.batches.send(Arc::new(full)).await.ok()
    }
}

/// Counts what mapping a record has shown. Returns the error that goes next to a raw event: it has no place for a tag.
fn count(meter: &Meter, schema: Schema, mapped: Mapped) -> Option<Box<str>> {
    let lane = &meter.lane;
    lane.unknown_activity_types.fetch_add(u64::from(mapped.unknown_activity), Ordering::Relaxed);
    let reason = mapped.remap_error?;
    if lane.remap_failed(&reason) {
        tracing::warn!(reason, "a program of the pipeline failed on an event, which is forwarded as it was mapped");
    }
    (schema == Schema::Raw).then(|| format!("remap: {reason}").into())
}
