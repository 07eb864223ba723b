//! The events of one delivery, in one buffer. The map stage fills it, and sinks read it.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use s1_forwarder_mapping::Labels;
use s1_forwarder_record::{Identity, Stream, Timestamp};

/// Space reserved for the id of a record: a decimal number of the console.
const RECORD_ID_BYTES: usize = 20;

/// Events for a sink. One buffer contains the bytes of all events, another their record ids; a list contains their
/// properties.
#[derive(Debug, Clone)]
pub struct Batch {
    stream: Stream,
    buffer: Vec<u8>,
    record_ids: String,
    entries: Vec<EventEntry>,
    /// The time at which a sink first wrote a request with these events. Selections of the batch share it, so that each
    /// attempt writes the same bytes.
    framed_at: Arc<OnceLock<Timestamp>>,
    /// The time of the snapshot that all events are from; `None` if they are from none.
    snapshot: Option<Timestamp>,
    /// Whether the user's programs have dropped an event: see [`Self::set_programs_worked`].
    programs_worked: bool,
}

#[derive(Debug, Clone)]
struct EventEntry {
    body: Range<usize>,
    record_id: Range<usize>,
    identity: Identity,
    time: Option<Timestamp>,
    error: Option<Box<str>>,
    labels: Option<Arc<Labels>>,
    unsent: Option<Unsent>,
}

/// The reason why an event is not sent, but becomes a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// The record was too large to be pulled. The body is its beginning.
    Truncated,
    /// A program failed on the event, as its `error` says. The body is the event as it was mapped.
    ProgramFailed,
}

/// One event of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The event as JSON without line breaks; for `raw`, the record's own bytes.
    pub body: &'a [u8],
    /// The console's id of the record; empty if it has none.
    pub record_id: &'a str,
    /// See [`Identity`]; printed as 32 hex digits.
    pub identity: Identity,
    /// The event's own time, if it has one.
    pub time: Option<Timestamp>,
    /// The reason why the record could not be mapped. The body is an error event then; for `raw`, the record itself. Or
    /// the reason why a program failed.
    pub error: Option<&'a str>,
    /// The labels, if the events of the lane differ in them.
    pub labels: Option<&'a Arc<Labels>>,
    /// The reason why the event is not sent; `None` if it is sent.
    pub unsent: Option<Unsent>,
    /// The result of [`Batch::framed_at`]; `None` if that was not called yet.
    pub framed_at: Option<Timestamp>,
    /// The time of the snapshot that the event is from; `None` if it is from none.
    pub snapshot: Option<Timestamp>,
}

impl Batch {
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            record_ids: String::new(),
            entries: Vec::new(),
            framed_at: Arc::default(),
            snapshot: None,
            programs_worked: false,
        }
    }

    pub fn stream(&self) -> Stream {
        self.stream
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the time at which a request with these events was first written: the time of the first call, also for
    /// selections of the batch.
    pub fn framed_at(&self) -> Timestamp {
        *self.framed_at.get_or_init(Timestamp::now)
    }

    /// Sets the time of the snapshot that all events are from; `None` if they are from none.
    pub fn set_snapshot(&mut self, snapshot: Option<Timestamp>) {
        self.snapshot = snapshot;
    }

    /// Returns the bytes of all bodies.
    pub fn body_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Returns the bytes of all bodies and record ids.
    pub fn size(&self) -> usize {
        self.buffer.len() + self.record_ids.len()
    }

    /// Reserves memory for more events, their ids, and the bytes of their bodies in total, so that the batch is not
    /// moved as it grows.
    pub fn reserve(&mut self, events: usize, bytes: usize) {
        self.entries.reserve_exact(events);
        self.record_ids.reserve_exact(events * RECORD_ID_BYTES);
        self.buffer.reserve_exact(bytes);
    }

    /// Returns the bytes of memory that are allocated for the events.
    pub fn allocated_bytes(&self) -> usize {
        self.buffer.capacity() + self.record_ids.capacity() + self.entries.capacity() * size_of::<EventEntry>()
    }

    /// Appends an event. `write` writes its body into the batch's buffer and returns the mapping error, if any.
    pub fn push_with(
        &mut self,
        record_id: &str,
        identity: Identity,
        time: Option<Timestamp>,
        write: impl FnOnce(&mut Vec<u8>) -> Option<Box<str>>,
    ) {
        let id_start = self.record_ids.len();
        let body_start = self.buffer.len();
        self.record_ids.push_str(record_id);
        let error = write(&mut self.buffer);
        self.entries.push(EventEntry {
            body: body_start..self.buffer.len(),
            record_id: id_start..self.record_ids.len(),
            identity,
            time,
            error,
            labels: None,
            unsent: None,
        });
    }

    /// Sets the labels of the last event.
    pub fn label_last(&mut self, labels: Arc<Labels>) {
        if let Some(entry) = self.entries.last_mut() {
            entry.labels = Some(labels);
        }
    }

    /// Marks the last event as one that is not sent.
    pub fn withhold_last(&mut self, reason: Unsent) {
        if let Some(entry) = self.entries.last_mut() {
            entry.unsent = Some(reason);
        }
    }

    /// Appends a copy of `event`.
    pub fn push(&mut self, event: Event<'_>) {
        self.push_with(event.record_id, event.identity, event.time, |buffer| {
            buffer.extend_from_slice(event.body);
            event.error.map(Into::into)
        });
        if let Some(entry) = self.entries.last_mut() {
            entry.labels = event.labels.cloned();
            entry.unsent = event.unsent;
        }
    }

    /// Moves the last event into a batch of its own.
    pub fn split_last(&mut self) -> Self {
        let mut last = self.select(self.len().checked_sub(1));
        // The last event is framed with the events that follow it.
        last.framed_at = Arc::default();
        self.discard_last();
        last
    }

    /// Notes that the user's programs have dropped an event that came with the events of this batch.
    pub fn set_programs_worked(&mut self) {
        self.programs_worked = true;
    }

    pub fn programs_worked(&self) -> bool {
        self.programs_worked
    }

    pub fn discard_last(&mut self) {
        if let Some(entry) = self.entries.pop() {
            self.buffer.truncate(entry.body.start);
            self.record_ids.truncate(entry.record_id.start);
        }
    }

    pub fn events(&self) -> impl ExactSizeIterator<Item = Event<'_>> + DoubleEndedIterator {
        self.entries.iter().map(|entry| self.view(entry))
    }

    pub fn event(&self, index: usize) -> Option<Event<'_>> {
        self.entries.get(index).map(|entry| self.view(entry))
    }

    pub fn identity(&self, index: usize) -> Option<Identity> {
        self.event(index).map(|event| event.identity)
    }

    /// Returns a new batch of the events at `indices`, in that order. Indices out of range are skipped.
    pub fn select(&self, indices: impl IntoIterator<Item = usize>) -> Self {
        let mut selected =
            Self { framed_at: self.framed_at.clone(), snapshot: self.snapshot, ..Self::new(self.stream) };
        indices.into_iter().filter_map(|index| self.event(index)).for_each(|event| selected.push(event));
        selected
    }

    fn view<'a>(&'a self, entry: &'a EventEntry) -> Event<'a> {
        Event {
            body: &self.buffer[entry.body.clone()],
            record_id: &self.record_ids[entry.record_id.clone()],
            identity: entry.identity,
            time: entry.time,
            error: entry.error.as_deref(),
            labels: entry.labels.as_ref(),
            unsent: entry.unsent,
            framed_at: self.framed_at.get().copied(),
            snapshot: self.snapshot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory budget counts allocated bytes, not only used ones.
    #[test]
    fn a_batch_counts_its_reserved_memory() {
        let mut batch = Batch::new(Stream::Threats);
        assert!(batch.is_empty());
        batch.reserve(10, 1_000);
        let allocated = 1_000 + 10 * (RECORD_ID_BYTES + size_of::<EventEntry>());
        assert_eq!(batch.allocated_bytes(), allocated);
        for number in 0..3_u8 {
            let identity = Identity::of("console.example", Stream::Threats, &number.to_string(), "");
            let event = Event {
                body: b"{\"a\":1}",
                record_id: "12",
                identity,
                time: None,
                error: None,
                labels: None,
                unsent: (number == 1).then_some(Unsent::Truncated),
                framed_at: None,
                snapshot: None,
            };
            batch.push(event);
        }
        assert_eq!((batch.len(), batch.is_empty(), batch.size(), batch.body_bytes()), (3, false, 27, 21));
        assert_eq!(batch.allocated_bytes(), allocated, "they fit");

        let selected = batch.select([2, 1, 9]);
        let events: Vec<_> = selected.events().map(|event| (event.body, event.record_id, event.unsent)).collect();
        assert_eq!(events, [(&b"{\"a\":1}"[..], "12", None), (&b"{\"a\":1}"[..], "12", Some(Unsent::Truncated))]);
    }

    /// Parts of a batch keep the batch's time when they are sent again. The event that did not fit begins the next
    /// batch.
    #[test]
    fn the_time_of_framing_is_that_of_a_batch_and_its_parts() {
        let mut batch = Batch::new(Stream::Threats);
        for number in 0..3_u8 {
            let identity = Identity::of("console.example", Stream::Threats, &number.to_string(), "");
            batch.push_with("1", identity, None, |out| {
                out.extend_from_slice(b"{}");
                None
            });
        }
        let framed_at = batch.framed_at();
        assert_eq!(batch.select([0]).event(0).unwrap().framed_at, Some(framed_at));
        assert_eq!(batch.split_last().event(0).unwrap().framed_at, None);
        assert_eq!(batch.event(1).unwrap().framed_at, Some(framed_at));
    }
}
