//! The transform stage: records become events, straight into the batch that will carry them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use super::pull::{PullEnd, Pulled};
use super::{LaneBudget, Reservation};
use crate::record::{Stream, Timestamp};
use crate::sink::{Batch, Event, Limits};
use crate::source::{self, Dropped, Page, PollContext, Record, RecordKey};
use crate::telemetry::Meter;
use crate::transform::{Mapper, Snapshot};

/// What the transform stage sends. Boxed as [`Pulled`] is.
#[derive(Debug)]
pub enum Mapped {
    /// Events to deliver.
    Batch(PendingBatch),
    /// The end of the poll, after all its batches.
    End(PullEnd),
}

/// A batch, and what it means for the position when its events are settled.
#[derive(Debug)]
pub struct PendingBatch {
    /// The events.
    pub batch: Arc<Batch>,
    /// The key of each event's record.
    pub record_keys: Vec<RecordKey>,
    /// Records that are accounted for without being delivered.
    pub dropped: Vec<Dropped>,
    /// The position's watermark once this batch and those before it are settled. None where the console's answers are
    /// not reliably in order.
    pub watermark: Option<Timestamp>,
    /// The poll that read the records.
    pub context: PollContext,
    /// The bytes that it takes of the memory budget, until it is dropped.
    #[expect(dead_code, reason = "its lifetime is what matters")]
    pub reservation: Option<Reservation>,
}

/// The transform stage of one lane.
#[derive(Debug)]
pub struct MapStage {
    pub mapper: Mapper,
    /// The stream of the records.
    pub stream: Stream,
    /// What a batch may contain.
    pub limits: Limits,
    /// How long an event may wait for its batch to fill.
    pub flush: Duration,
    pub meter: Meter,
    pub budget: LaneBudget,
    pub expansion: ExpansionRatio,
}

/// How much longer events are than their records: the bytes of both so far.
#[derive(Debug)]
pub struct ExpansionRatio {
    records: usize,
    events: usize,
}

impl Default for ExpansionRatio {
    /// A mapped event with its original is a good two and a half times the record.
    fn default() -> Self {
        Self { records: 10, events: 26 }
    }
}

impl ExpansionRatio {
    /// The expected bytes of the events of `records` bytes, plus 5 %: to move a batch that outgrows its buffer costs
    /// more than space that stays unused.
    fn space_for(&self, records: usize) -> usize {
        (records as f64 * 1.05 * self.events as f64 / self.records as f64) as usize
    }
}

/// The batch that is being filled.
#[derive(Debug)]
struct OpenBatch {
    batch: Batch,
    record_keys: Vec<RecordKey>,
    dropped: Vec<Dropped>,
    /// The newest time of its records.
    reached: Option<Timestamp>,
    ordered: bool,
    context: PollContext,
    reservation: Option<Reservation>,
    since: Instant,
}

/// Maps what is pulled. The stage is made with the first page, and runs as a task of its own in `tasks`: most polls
/// bring no page, and start no task.
pub async fn run(
    stage: impl FnOnce() -> MapStage,
    mut pages: mpsc::Receiver<Box<Pulled>>,
    batches: mpsc::Sender<Box<Mapped>>,
    tasks: &mut JoinSet<()>,
) {
    match pages.recv().await.map(|pulled| *pulled) {
        Some(Pulled::Page(page, reservation)) => {
            tasks.spawn(stage().run((page, reservation), pages, batches).in_current_span());
        }
        // The lane may have ended the session already.
        Some(Pulled::End(end)) => drop(batches.send(Box::new(Mapped::End(end))).await),
        None => {}
    }
}

impl MapStage {
    /// Maps the first page and those that follow, and passes the end of the poll on.
    async fn run(
        mut self,
        (page, reservation): (Page, Reservation),
        mut pages: mpsc::Receiver<Box<Pulled>>,
        batches: mpsc::Sender<Box<Mapped>>,
    ) {
        let mut open = OpenBatch::new(self.stream);
        if self.page(page, reservation, &mut open, &batches).await.is_err() {
            return;
        }
        loop {
            // Biased, so that a simulated schedule replays.
            let pulled = tokio::select! {
                biased;
                () = sleep_until(open.since + self.flush), if !open.batch.is_empty() => {
                    if self.send(&mut open, &batches).await.is_err() { return }
                    continue;
                }
                pulled = pages.recv() => pulled,
            };
            let sent = match pulled.map(|pulled| *pulled) {
                Some(Pulled::Page(page, reservation)) => self.page(page, reservation, &mut open, &batches).await,
                Some(Pulled::End(end)) => {
                    if self.send(&mut open, &batches).await.is_ok() {
                        let _ = batches.send(Box::new(Mapped::End(end))).await;
                    }
                    return;
                }
                None => return,
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn page(
        &mut self,
        mut page: Page,
        mut reservation: Reservation,
        open: &mut OpenBatch,
        batches: &mpsc::Sender<Box<Mapped>>,
    ) -> Result<(), Gone> {
        open.context = page.context;
        self.mapper.set_scope(page.scope.take());
        open.dropped.append(&mut page.dropped);
        for (index, record) in page.records.iter().enumerate() {
            open.ordered &= page.ordered;
            open.context = page.context;
            if open.batch.is_empty() {
                self.reserve(&page, index, open);
            }
            let before = open.batch.size();
            self.record(record, &page, open);
            self.expansion.records += record.range.len();
            self.expansion.events += open.batch.size() - before;
            if self.is_over(open) {
                let last = open.split_last();
                open.take_reservation(&mut reservation, self.limits.copies);
                self.send(open, batches).await?;
                *open = last;
            }
            if self.is_full(open) {
                open.take_reservation(&mut reservation, self.limits.copies);
                self.send(open, batches).await?;
            }
        }
        open.take_reservation(&mut reservation, self.limits.copies);
        drop(reservation);
        // Before its sink has accepted anything, and when the batch takes most of the lane's share, the source cannot
        // ask for more until this batch is sent: it would never fill.
        let crowded = open.reservation.as_ref().is_some_and(|held| held.bytes() > self.budget.share() / 2);
        if crowded || !self.budget.is_proven() || open.batch.is_empty() {
            self.send(open, batches).await?;
        }
        Ok(())
    }

    /// Reserves space in a new batch for the page's records from `index` on, as far as they fit into one batch.
    fn reserve(&self, page: &Page, index: usize, open: &mut OpenBatch) {
        let ahead = page.records[index..].iter().take(self.limits.events);
        let (events, bytes) = ahead.fold((0, 0), |(events, bytes), record| (events + 1, bytes + record.range.len()));
        open.batch.reserve(events, self.expansion.space_for(bytes).min(self.limits.bytes));
        open.record_keys.reserve_exact(events);
    }

    fn record(&mut self, record: &Record, page: &Page, open: &mut OpenBatch) {
        let Self { mapper, meter, .. } = self;
        if open.batch.is_empty() {
            open.since = Instant::now();
        }
        open.record_keys.push(record.record_key);
        // `split_last` leaves the time of the split record in the batch before; the bound stays below that time.
        open.reached = open.reached.max(record.order);
        if let Some(source::Snapshot { time, taken: records, .. }) = page.marker {
            return open.batch.push_with(&record.id, record.identity, record.time, |buffer| {
                mapper.map_snapshot(Snapshot { time, records }, record.identity, buffer);
                None
            });
        }
        let bytes = &page.body[record.range.clone()];
        if page.cut {
            let Record { id, identity, time, .. } = record;
            let (body, record_id, identity, time, error) = (bytes, id.as_str(), *identity, *time, None);
            return open.batch.push(Event { body, record_id, identity, time, error, truncated: true });
        }
        open.batch.push_with(&record.id, record.identity, record.time, |buffer| {
            match mapper.map_enriched(bytes, Some(record.identity), record.enrichment.as_deref(), buffer) {
                Ok(mapped) => {
                    meter.lane.unknown_activity_types.fetch_add(u64::from(mapped.unknown_activity), Ordering::Relaxed);
                    None
                }
                Err(error) => {
                    meter.lane.map_errors.fetch_add(1, Ordering::Relaxed);
                    Some(error.to_string().into())
                }
            }
        });
    }

    fn is_over(&self, open: &OpenBatch) -> bool {
        open.batch.len() > 1 && self.size(open) > self.limits.bytes
    }

    fn is_full(&self, open: &OpenBatch) -> bool {
        open.batch.len() >= self.limits.events || self.size(open) >= self.limits.bytes
    }

    /// Bytes of the batch as it will be framed.
    fn size(&self, open: &OpenBatch) -> usize {
        open.batch.size() + open.batch.len() * self.limits.framing
    }

    async fn send(&self, open: &mut OpenBatch, batches: &mpsc::Sender<Box<Mapped>>) -> Result<(), Gone> {
        let full = std::mem::replace(open, OpenBatch::new(self.stream));
        let Some(pending) = full.into_pending() else { return Ok(()) };
        batches.send(Box::new(Mapped::Batch(pending))).await.map_err(|_| Gone)
    }
}

/// The lane has ended the session.
struct Gone;

impl OpenBatch {
    fn new(stream: Stream) -> Self {
        Self {
            batch: Batch::new(stream),
            record_keys: Vec::new(),
            dropped: Vec::new(),
            reached: None,
            ordered: true,
            context: PollContext::default(),
            reservation: None,
            since: Instant::now(),
        }
    }

    /// Moves the last event, which was too many, into the next batch.
    fn split_last(&mut self) -> Self {
        let record_keys = self.record_keys.pop().into_iter().collect();
        let batch = self.batch.split_last();
        Self {
            batch,
            record_keys,
            dropped: Vec::new(),
            reached: self.reached,
            ordered: self.ordered,
            context: self.context,
            reservation: None,
            since: Instant::now(),
        }
    }

    /// Moves the bytes that the events need from the page's reservation to the batch's.
    fn take_reservation(&mut self, page: &mut Reservation, copies: usize) {
        let have = self.reservation.as_ref().map_or(0, Reservation::bytes);
        let need = (self.batch.allocated_bytes() + self.record_keys.capacity() * size_of::<RecordKey>()) * copies;
        let more = page.split(need.saturating_sub(have));
        match &mut self.reservation {
            Some(mine) => mine.merge(more),
            None => self.reservation = Some(more),
        }
    }

    fn into_pending(self) -> Option<PendingBatch> {
        let watermark = self.reached.filter(|_| self.ordered);
        let Self { batch, record_keys, dropped, context, reservation, .. } = self;
        let is_empty = batch.is_empty() && dropped.is_empty();
        (!is_empty).then(|| PendingBatch {
            batch: Arc::new(batch),
            record_keys,
            dropped,
            watermark,
            context,
            reservation,
        })
    }
}
