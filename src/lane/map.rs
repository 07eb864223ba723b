//! The transform stage: records become events, straight into the batch that will carry them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::pull::{PullEnd, Pulled};
use super::{LaneBudget, Reservation};
use crate::record::{Stream, Timestamp};
use crate::sink::{Batch, Event, Limits};
use crate::source::{self, Dropped, Mark, Page, Record, Round};
use crate::telemetry::Meter;
use crate::transform::{Mapper, Snapshot};

/// What the transform stage hands on, in a box as [`Pulled`] is.
#[derive(Debug)]
pub enum Mapped {
    /// Events to deliver.
    Batch(Parcel),
    /// The last word of a poll; all its batches came before.
    End(PullEnd),
}

/// A batch, and what it means for the position when its events are settled.
#[derive(Debug)]
pub struct Parcel {
    /// The events.
    pub batch: Arc<Batch>,
    /// For each event, what the position and the ledger remember of it.
    pub marks: Vec<Mark>,
    /// What is not delivered and yet accounted for.
    pub dropped: Vec<Dropped>,
    /// Everything up to here was read, when the batches before this one are settled too; none where the order of the
    /// console's answers cannot be relied on.
    pub watermark: Option<Timestamp>,
    /// The poll.
    pub round: Round,
    /// The bytes that hold it, until it is dropped.
    #[expect(dead_code, reason = "what counts is how long it lives")]
    pub reservation: Option<Reservation>,
}

/// The transform stage of one lane.
#[derive(Debug)]
pub struct MapStage {
    /// Maps records.
    pub mapper: Mapper,
    /// The stream of the records.
    pub stream: Stream,
    /// What a batch may hold.
    pub limits: Limits,
    /// How long an event may wait for its batch to fill.
    pub flush: Duration,
    /// What is counted.
    pub meter: Meter,
    /// Tells whether the sink has proven itself.
    pub budget: LaneBudget,
    /// How much longer events are than their records.
    pub growth: Growth,
}

/// Bytes of records, and of the events that became of them.
#[derive(Debug)]
pub struct Growth {
    records: usize,
    events: usize,
}

impl Default for Growth {
    /// A mapped event with its original is a good two and a half times the record.
    fn default() -> Self {
        Self { records: 10, events: 26 }
    }
}

impl Growth {
    /// Room for the events of records with so many bytes: a little more than what is expected, since moving a batch that
    /// turns out longer costs more than room that is not used.
    fn room(&self, records: usize) -> usize {
        (records as f64 * 1.05 * self.events as f64 / self.records as f64) as usize
    }
}

/// The batch that is being filled.
#[derive(Debug)]
struct Open {
    batch: Batch,
    marks: Vec<Mark>,
    dropped: Vec<Dropped>,
    /// Time of the newest record in it.
    reached: Option<Timestamp>,
    ordered: bool,
    round: Round,
    reservation: Option<Reservation>,
    since: Instant,
}

impl MapStage {
    /// Maps the first page and what comes after it until the poll's last word, and hands that on.
    pub async fn run(
        mut self,
        (page, reservation): (Page, Reservation),
        mut pages: mpsc::Receiver<Box<Pulled>>,
        parcels: mpsc::Sender<Box<Mapped>>,
    ) {
        let mut open = Open::new(self.stream);
        if self.page(page, reservation, &mut open, &parcels).await.is_err() {
            return;
        }
        loop {
            // Not by chance, so that a simulated schedule replays.
            let pulled = tokio::select! {
                biased;
                () = sleep_until(open.since + self.flush), if !open.batch.is_empty() => {
                    if self.hand_on(&mut open, &parcels).await.is_err() { return }
                    continue;
                }
                pulled = pages.recv() => pulled,
            };
            let handed_on = match pulled.map(|pulled| *pulled) {
                Some(Pulled::Page(page, reservation)) => self.page(page, reservation, &mut open, &parcels).await,
                Some(Pulled::End(end)) => {
                    if self.hand_on(&mut open, &parcels).await.is_ok() {
                        let _ = parcels.send(Box::new(Mapped::End(end))).await;
                    }
                    return;
                }
                None => return,
            };
            if handed_on.is_err() {
                return;
            }
        }
    }

    async fn page(
        &mut self,
        mut page: Page,
        mut reservation: Reservation,
        open: &mut Open,
        parcels: &mpsc::Sender<Box<Mapped>>,
    ) -> Result<(), Gone> {
        open.round = page.round;
        self.mapper.set_scope(page.scope.take());
        open.dropped.append(&mut page.dropped);
        for (index, record) in page.records.iter().enumerate() {
            open.ordered &= page.ordered;
            open.round = page.round;
            if open.batch.is_empty() {
                self.make_room(&page, index, open);
            }
            let before = open.batch.size();
            self.record(record, &page, open);
            self.growth.records += record.range.len();
            self.growth.events += open.batch.size() - before;
            if self.is_over(open) {
                let last = open.split_last();
                open.hold(&mut reservation, self.limits.copies);
                self.hand_on(open, parcels).await?;
                *open = last;
            }
            if self.is_full(open) {
                open.hold(&mut reservation, self.limits.copies);
                self.hand_on(open, parcels).await?;
            }
        }
        open.hold(&mut reservation, self.limits.copies);
        drop(reservation);
        // Before its sink has taken something, and when the batch takes up most of what the lane may hold, the source can
        // ask for nothing more until this is sent: waiting for the batch to fill would be in vain.
        let crowded = open.reservation.as_ref().is_some_and(|held| held.bytes() > self.budget.share() / 2);
        // What is not delivered waits for nothing.
        if crowded || !self.budget.is_proven() || open.batch.is_empty() {
            self.hand_on(open, parcels).await?;
        }
        Ok(())
    }

    /// Makes room in a new batch for what the page has from `index` on, as far as it goes into one batch.
    fn make_room(&self, page: &Page, index: usize, open: &mut Open) {
        let ahead = page.records[index..].iter().take(self.limits.events);
        let (events, bytes) = ahead.fold((0, 0), |(events, bytes), record| (events + 1, bytes + record.range.len()));
        open.batch.reserve(events, self.growth.room(bytes).min(self.limits.bytes));
        open.marks.reserve_exact(events);
    }

    fn record(&mut self, record: &Record, page: &Page, open: &mut Open) {
        let Self { mapper, meter, .. } = self;
        if open.batch.is_empty() {
            open.since = Instant::now();
        }
        open.marks.push(record.mark);
        // After `split_last` the batch before has the time of the first record of this one, which the bound stays behind.
        open.reached = open.reached.max(record.order);
        if let Some(source::Snapshot { time, taken: records, .. }) = page.marker {
            return open.batch.push_with(&record.id, record.identity, record.time, |buffer| {
                mapper.map_snapshot(Snapshot { time, records }, buffer);
                None
            });
        }
        let bytes = &page.body[record.range.clone()];
        if page.cut {
            let Record { id, identity, time, .. } = record;
            let (body, record_id, identity, time, error) = (bytes, id.as_str(), *identity, *time, None);
            return open.batch.push(Event { body, record_id, identity, time, error, cut: true });
        }
        open.batch.push_with(&record.id, record.identity, record.time, |buffer| {
            match mapper.map_enriched(bytes, record.enrichment.as_deref(), buffer) {
                Ok(mapped) => {
                    meter.lane.unknown_activities.fetch_add(u64::from(mapped.unknown_activity), Ordering::Relaxed);
                    None
                }
                Err(error) => {
                    meter.lane.map_errors.fetch_add(1, Ordering::Relaxed);
                    Some(error.to_string().into())
                }
            }
        });
    }

    fn is_over(&self, open: &Open) -> bool {
        open.batch.len() > 1 && self.size(open) > self.limits.bytes
    }

    fn is_full(&self, open: &Open) -> bool {
        open.batch.len() >= self.limits.events || self.size(open) >= self.limits.bytes
    }

    /// Bytes of the batch as it will be framed.
    fn size(&self, open: &Open) -> usize {
        open.batch.size() + open.batch.len() * self.limits.framing
    }

    async fn hand_on(&self, open: &mut Open, parcels: &mpsc::Sender<Box<Mapped>>) -> Result<(), Gone> {
        let full = std::mem::replace(open, Open::new(self.stream));
        let Some(parcel) = full.into_parcel() else { return Ok(()) };
        parcels.send(Box::new(Mapped::Batch(parcel))).await.map_err(|_| Gone)
    }
}

/// The stage after this one is gone.
struct Gone;

impl Open {
    fn new(stream: Stream) -> Self {
        Self {
            batch: Batch::new(stream),
            marks: Vec::new(),
            dropped: Vec::new(),
            reached: None,
            ordered: true,
            round: Round::default(),
            reservation: None,
            since: Instant::now(),
        }
    }

    /// The event that was one too many begins the next batch.
    fn split_last(&mut self) -> Self {
        let marks = self.marks.pop().into_iter().collect();
        let batch = self.batch.split_last();
        Self {
            batch,
            marks,
            dropped: Vec::new(),
            reached: self.reached,
            ordered: self.ordered,
            round: self.round,
            reservation: None,
            since: Instant::now(),
        }
    }

    /// Takes over from the page's bytes what the events need.
    fn hold(&mut self, page: &mut Reservation, copies: usize) {
        let have = self.reservation.as_ref().map_or(0, Reservation::bytes);
        let need = (self.batch.held_bytes() + self.marks.capacity() * size_of::<Mark>()) * copies;
        let more = page.split(need.saturating_sub(have));
        match &mut self.reservation {
            Some(mine) => mine.merge(more),
            None => self.reservation = Some(more),
        }
    }

    fn into_parcel(self) -> Option<Parcel> {
        let watermark = self.reached.filter(|_| self.ordered);
        let Self { batch, marks, dropped, round, reservation, .. } = self;
        let is_empty = batch.is_empty() && dropped.is_empty();
        (!is_empty).then(|| Parcel { batch: Arc::new(batch), marks, dropped, watermark, round, reservation })
    }
}
