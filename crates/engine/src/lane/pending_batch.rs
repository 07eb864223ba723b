//! A batch between the stages of a lane, with all that its delivery changes in the checkpoint.

use s1_forwarder_record::{Identity, Stream, Timestamp};
use tokio::time::Instant;

use super::Reservation;
use crate::delivery::Fates;
use crate::sink::Batch;
use crate::source::{PollContext, PulledPage, PulledRecord, RecordKey};
use crate::transform::Transformer;

/// A batch, and the changes of the lane's checkpoint when its events are settled.
#[derive(Debug)]
pub struct PendingBatch {
    pub batch: Batch,
    /// The key of each event's record.
    pub record_keys: Vec<RecordKey>,
    /// Records that are accounted for without being delivered.
    pub excluded: Vec<PulledRecord>,
    /// The newest time of the batch's records.
    pub newest: Option<Timestamp>,
    /// Whether the console's answers were in order. Everything up to `newest` is settled then, once this batch and
    /// those before it are.
    pub ordered: bool,
    /// The poll that read the records.
    pub context: PollContext,
    /// The fates of the events: settled or not.
    pub fates: Fates,
    /// The bytes of the memory budget that the batch takes, until it is dropped.
    pub reservation: Option<Reservation>,
    /// The time at which the batch's first event came.
    pub since: Instant,
}

impl PendingBatch {
    pub fn new(stream: Stream) -> Self {
        Self {
            batch: Batch::new(stream),
            record_keys: Vec::new(),
            excluded: Vec::new(),
            newest: None,
            ordered: true,
            context: PollContext::default(),
            fates: Fates::none_of(0),
            reservation: None,
            since: Instant::now(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.excluded.is_empty()
    }

    /// Returns the position's watermark once this batch and those before it are settled. `None` if the batch does not
    /// move it.
    pub fn watermark(&self) -> Option<Timestamp> {
        if self.ordered { self.newest } else { None }
    }

    /// Returns the key and the identity that a checkpoint remembers of the event at `index`.
    pub fn record(&self, index: usize) -> Option<(&RecordKey, Identity)> {
        Some((self.record_keys.get(index)?, self.batch.event(index)?.identity))
    }

    /// Gives the last event the labels from its transformer.
    pub fn label_last(&mut self, transformer: &Transformer) {
        if let Some(labels) = transformer.labels() {
            self.batch.label_last(labels.clone());
        }
    }

    /// Notes that the batch has a record from `page`, with the time `order`.
    pub fn include_page(&mut self, page: &PulledPage, order: Option<Timestamp>) {
        self.context = page.context;
        self.batch.set_snapshot(page.context.snapshot);
        self.ordered &= page.ordered;
        self.newest = self.newest.max(order);
    }

    /// Moves the records that are not delivered from a page into the batch, and returns their newest time. Only the
    /// page's last batch covers that time: the watermark must not pass records that a later batch has.
    pub fn exclude(&mut self, page: &mut PulledPage) -> Option<Timestamp> {
        self.context = page.context;
        let newest = page.excluded.iter().filter_map(|record| record.order).max();
        self.excluded.append(&mut page.excluded);
        newest
    }

    /// Removes the last event, as if its record had not been read.
    pub fn withdraw_last(&mut self) {
        self.batch.discard_last();
        self.record_keys.pop();
    }

    /// Removes the last event, which is from `record`. The record is accounted for, and not delivered.
    pub fn discard_last(&mut self, record: &PulledRecord) {
        self.withdraw_last();
        self.excluded.push(PulledRecord { enrichment: None, ..record.clone() });
    }

    /// Moves the last event, for which the batch has no room, into the next batch.
    pub fn split_last(&mut self) -> Self {
        Self {
            batch: self.batch.split_last(),
            record_keys: self.record_keys.pop().into_iter().collect(),
            newest: self.newest,
            ordered: self.ordered,
            context: self.context,
            ..Self::new(self.batch.stream())
        }
    }

    /// Moves the bytes that the events need from the page's reservation to the batch's.
    pub fn take_reservation(&mut self, page: &mut Reservation, copies: usize) {
        let have = self.reservation.as_ref().map_or(0, Reservation::bytes);
        let need = (self.batch.allocated_bytes() + self.record_keys.capacity() * size_of::<RecordKey>()) * copies;
        let more = page.split(need.saturating_sub(have));
        match &mut self.reservation {
            Some(mine) => mine.merge(more),
            None => self.reservation = Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_micros(1_795_432_000_000_000);

    fn record(id: u64) -> PulledRecord {
        PulledRecord {
            range: 0..2,
            id: id.to_string().into(),
            identity: Identity::from_bytes([id as u8; 16]),
            time: Some(AT),
            order: Some(AT),
            record_key: RecordKey { id, version: 1, content: None, time: AT, created: Some(AT) },
            enrichment: Some("{}".into()),
        }
    }

    fn batch_of(ids: impl Iterator<Item = u64>) -> PendingBatch {
        let mut pending = PendingBatch::new(Stream::Threats);
        for record in ids.map(record) {
            pending.record_keys.push(record.record_key);
            pending.batch.push_with(&record.id, record.identity, record.time, |buffer| {
                buffer.extend_from_slice(b"{}");
                None
            });
        }
        pending
    }

    /// If a batch forgot that the console's answers were not in order, it would move the watermark past missing
    /// records.
    #[test]
    fn an_event_that_is_moved_to_the_next_batch_takes_along_what_is_known_of_its_page() {
        let mut full = batch_of(1..4);
        full.context = PollContext { pass: 2, start: AT, ..PollContext::default() };
        full.newest = Some(AT);
        full.ordered = false;
        let next = full.split_last();
        let ids = |pending: &PendingBatch| pending.record_keys.iter().map(|key| key.id).collect::<Vec<_>>();
        assert_eq!((ids(&full), ids(&next)), (vec![1, 2], vec![3]));
        assert_eq!((full.batch.len(), next.batch.len()), (2, 1));
        assert_eq!((next.newest, next.watermark(), next.context), (Some(AT), None, full.context));
        full.ordered = true;
        assert_eq!(full.split_last().watermark(), Some(AT));
    }

    #[test]
    fn an_event_that_is_discarded_is_accounted_for_and_not_sent() {
        let mut pending = batch_of(1..3);
        pending.discard_last(&record(2));
        assert_eq!((pending.batch.len(), pending.record_keys.len()), (1, 1));
        assert_eq!(pending.batch.event(0).unwrap().identity, record(1).identity);
        // The enrichment of the record is not kept.
        assert_eq!(pending.excluded.len(), 1);
        assert_eq!((pending.excluded[0].identity, &pending.excluded[0].enrichment), (record(2).identity, &None));
        pending.discard_last(&record(1));
        assert!(!pending.is_empty() && pending.batch.is_empty(), "two records are to be accounted for");
        assert!(PendingBatch::new(Stream::Threats).is_empty());
    }
}
