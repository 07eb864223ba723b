//! Destinations: what they take, how an answer reads, and what is common to all of them.
//!
//! A sink makes **one** attempt to hand over a batch and reduces whatever came back to an [`Outcome`]. Everything that
//! follows from an outcome (waiting, sending again, splitting, dead letters, stopping) is said once, in [`deliver`].

mod append;
/// Events on their way to a sink.
pub mod batch;
mod context;
pub mod dead_letters;
mod deadline;
pub mod deliver;
pub mod file;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
mod line;
pub mod settings;
pub mod stdout;
pub mod throttle;

use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::record::JournalChange;

pub use batch::{Batch, Event};
pub use context::{BuildError, Context, Shared};
pub use deadline::Deadline;
pub use settings::Settings;

/// A destination, shared by all lanes that lead to it.
pub trait Sink: Send + Sync + Debug {
    /// What one batch may hold.
    fn limits(&self) -> Limits;

    /// One attempt. The future may be dropped at any moment (the lane is shut down or gives its bytes back); what was
    /// on the wire then may or may not have arrived.
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt>;

    /// Tells wrong address, wrong credentials and missing rights apart, as far as that can be told without delivering.
    fn probe(&self) -> BoxFuture<'_, Probe>;

    /// Present where events are only taken together with the lane's checkpoint.
    fn commits(&self) -> Option<&dyn Commits> {
        None
    }
}

/// A sink that keeps its lane's checkpoint, as opaque bytes, and commits it together with the events that it covers.
pub trait Commits: Send + Sync + Debug {
    /// Takes the lane over from whoever had it, and reads its checkpoint. What the lane knew before no longer counts.
    ///
    /// # Errors
    /// When that is not possible for now, and why.
    fn open(&self) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>>;

    /// One attempt, of which all takes effect or nothing.
    fn commit<'a>(&'a self, batch: &'a Batch, covering: &'a Covering) -> BoxFuture<'a, Attempt>;

    /// Commits a checkpoint alone.
    fn save<'a>(&'a self, covering: &'a Covering) -> BoxFuture<'a, Result<(), Unsaved>>;

    /// The lane's checkpoint, for looking only: nothing is taken over.
    ///
    /// # Errors
    /// When that is not possible for now, and why.
    fn look_at(&self) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>>;

    /// The bytes of a segment of the lane's journal, for looking only; it may be longer than the checkpoint says.
    ///
    /// # Errors
    /// As [`Self::look_at`].
    fn read_journal(&self, segment: u64) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>>;

    /// Held while the lane is about to send: lanes that commit together wait for each other.
    fn enter(&self) -> Box<dyn Send>;
}

/// What is committed with events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Covering {
    /// The checkpoint that covers them, as opaque bytes.
    pub checkpoint: Vec<u8>,
    /// What it refers to, or does not any more.
    pub journal: JournalChange,
}

/// A checkpoint that was not stored, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsaved {
    /// For now.
    #[error("{0}")]
    Later(String),
    /// The lane has to be opened again: what it knows may be old.
    #[error("{0}")]
    Superseded(String),
}

/// What one batch may hold. Bytes are counted as they are sent, framing and escapes included; before compression, save
/// for `wire_bytes`. They are checked once more on the encoded body: what escapes and compression do cannot be foretold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most events in a batch; `batch.events` sets it.
    pub events: usize,
    /// Most bytes in a batch of several events; `batch.bytes` sets it.
    pub bytes: usize,
    /// Most bytes of a single event; a larger one goes to the dead letters.
    pub event_bytes: usize,
    /// Most events that the destination takes, whatever `batch` says.
    pub most_events: usize,
    /// Most bytes that the destination takes, whatever `batch` says, be it a single event.
    pub most_bytes: usize,
    /// Most bytes that the destination takes after compression.
    pub wire_bytes: usize,
    /// What framing adds to each event.
    pub framing: usize,
    /// How many times the bytes of a batch are held while it is sent (2 where a library copies them).
    pub copies: usize,
}

impl Limits {
    /// No limit at all: what a destination does not state.
    pub const NONE: Self = Self {
        events: usize::MAX,
        bytes: usize::MAX,
        event_bytes: usize::MAX,
        most_events: usize::MAX,
        most_bytes: usize::MAX,
        wire_bytes: usize::MAX,
        framing: 0,
        copies: 1,
    };
}

/// The status of an attempt that ended before anything was sent: the destination would not take as much.
pub(crate) const TOO_LARGE: &str = "too_large";

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// What it means for the batch.
    pub outcome: Outcome,
    /// Bytes sent: a request's body after compression; for Kafka, keys and values.
    pub bytes: u64,
    /// The label of `sink_requests_total`: an HTTP status, a Kafka error name, `ok`, `timeout`, `connect`, …
    pub status: String,
}

/// What an answer means, decided where the knowledge is. Indices count the events of the batch from zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The destination took responsibility for every event.
    Delivered,
    /// The same, with advice that deserves a log line.
    DeliveredWithWarning(String),
    /// The same, and the destination asks for fewer requests.
    SlowDown(String),
    /// Some events were settled: those in `rejected` will never be accepted, those in `retry` (ascending) are to be sent
    /// again, and all others were delivered.
    Partial {
        /// Events refused for good, with the destination's reason.
        rejected: Vec<(usize, String)>,
        /// Events to send again.
        retry: Vec<usize>,
        /// How long to wait before that, where the destination said so.
        after: Option<Duration>,
    },
    /// Some events were refused for good, all others were delivered, and which is which is not told. Nothing is sent
    /// again; all of the batch is kept as dead letters, since what was refused is among them.
    RefusedSome {
        /// How many were refused: fewer than the batch has.
        count: usize,
        /// For the operator.
        reason: String,
    },
    /// Nothing was taken, the same bytes may be taken later (throttled, unavailable, time-out, connection lost).
    RetryLater {
        /// For the operator: status and the first words of the answer, no secrets.
        reason: String,
        /// `Retry-After`, where the destination said so.
        after: Option<Duration>,
    },
    /// The batch is too large for the destination: halve it; an event that alone is too large is refused for good.
    TooLarge(String),
    /// Nothing was taken and something in the batch is why: halve it to find out what; an event refused alone is refused for good.
    Refused(String),
    /// Credentials were refused, after they were read again. The lane pauses, loses nothing, and tries slowly.
    Unauthorized(String),
    /// The configuration is wrong (index, topic, address): the lane stops with an alarm, loses nothing, and tries slowly.
    Misconfigured(String),
    /// What was taken is told by the lane's checkpoint alone, which has to be read again before anything is sent.
    Superseded(String),
}

impl Outcome {
    /// The destination's reason; nothing where all went well.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::RetryLater { reason, .. }
            | Self::RefusedSome { reason, .. }
            | Self::TooLarge(reason)
            | Self::Refused(reason)
            | Self::Unauthorized(reason)
            | Self::Misconfigured(reason)
            | Self::Superseded(reason) => Some(reason),
            Self::Delivered | Self::DeliveredWithWarning(_) | Self::SlowDown(_) | Self::Partial { .. } => None,
        }
    }
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Address and credentials are good.
    Verified(String),
    /// The destination answers, but does not let its credentials be tested without delivering.
    Reached(String),
    /// What is wrong, and what to do about it.
    Failed(String),
}

/// For the tables that test judges: the first word of an outcome, and for a partial one what is in it.
#[cfg(test)]
pub(crate) fn in_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Partial { rejected, retry, after: None } => {
            let rejected: Vec<usize> = rejected.into_iter().map(|(index, _)| index).collect();
            format!("rejected {rejected:?} retry {retry:?}")
        }
        other => format!("{other:?}").split([' ', '(']).next().unwrap_or_default().to_owned(),
    }
}
