//! The interface of destinations, and their limits.
//!
//! A sink makes **one** attempt to deliver a batch and converts the answer to an [`Outcome`]. [`crate::delivery`] acts
//! on the outcome: it waits, sends again, splits, stores dead letters, or stops.

pub mod append;
mod attempt_status;
pub mod batch;
mod deadline;
pub mod lookup;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod warning;

use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use s1_forwarder_failure::{Failure, FailureKind};
use s1_forwarder_settings::UsedProxy;

use crate::checkpoint::{CheckpointBackend, CheckpointUpdate};

pub use attempt_status::{AttemptStatus, TOO_LARGE};
pub use batch::{Batch, Event, Unsent};
pub use deadline::{Deadline, Until, suspended};
pub use warning::WarningReason;

/// A destination. Each lane has an instance of its own.
pub trait Sink: Send + Sync + Debug {
    fn limits(&self) -> Limits;

    /// Makes one attempt. The lane may drop the future at any time, for example when it does not drain in time. Events
    /// in flight may or may not have arrived then.
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt>;

    /// Detects a wrong address, wrong credentials and missing rights, as far as possible without a delivery.
    fn probe(&self) -> BoxFuture<'_, ProbeResult>;

    /// Tests whether the destination's own content can read these events. Nothing is delivered. Returns `None` if no
    /// test is possible; with an empty batch, the sink finds that out without a request.
    fn dry_run<'a>(&'a self, _batch: &'a Batch) -> BoxFuture<'a, Option<ProbeResult>> {
        std::future::ready(None).boxed()
    }

    /// Returns the request that would deliver the batch, for the operator to read.
    ///
    /// # Errors
    /// If there is none: the sink does not speak HTTP, or the batch is too large.
    fn render_request<'a>(&'a self, _batch: &'a Batch) -> BoxFuture<'a, Result<MaskedRequest, NoRequest>> {
        std::future::ready(Err(NoRequest::Other("it sends no HTTP requests".to_owned()))).boxed()
    }

    /// Returns why the attempts under way are not answered; `None` if the sink does not know.
    fn stall_reason(&self) -> Option<Failure> {
        None
    }

    /// Returns the proxies on the way to the destination.
    fn proxies(&self) -> Vec<UsedProxy> {
        Vec::new()
    }

    /// Returns whether a batch must not have events with different labels.
    fn separates_labels(&self) -> bool {
        false
    }

    /// Returns this sink if it accepts events only together with the lane's checkpoint; `None` for other sinks.
    fn as_transactional(self: Arc<Self>) -> Option<Arc<dyn TransactionalSink>> {
        None
    }
}

/// The reason why there is no request to look at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRequest {
    /// A lane would send the batch in halves.
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    Other(String),
}

/// A request as it would be sent, with `***` for credentials, which are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedRequest {
    pub method: ::http::Method,
    pub url: String,
    pub headers: Vec<(String, String)>,
    /// The body before compression.
    pub body: Vec<u8>,
}

/// A sink that stores its lane's checkpoint and commits it together with the events that it covers. It has one
/// checkpoint and ignores the key.
pub trait TransactionalSink: CheckpointBackend {
    /// Makes one attempt. It takes effect completely or not at all.
    fn commit_batch<'a>(&'a self, batch: &'a Batch, update: CheckpointUpdate) -> BoxFuture<'a, Attempt>;

    /// Counts the lane as about to send until the guard is dropped. Lanes that commit together wait for each other.
    fn announce_sender(&self) -> Box<dyn Send>;
}

/// The limits of one batch. Bytes include framing and escapes. They are counted before compression, except
/// `wire_bytes`. The encoded body is checked again, since the effect of escapes and compression is known only then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum events in a batch; `batch.events` sets it.
    pub events: usize,
    /// Maximum bytes in a batch of several events; `batch.bytes` sets it.
    pub bytes: usize,
    /// Maximum bytes of a single event. A larger one becomes a dead letter.
    pub event_bytes: usize,
    /// Maximum events that the destination accepts. `batch` cannot raise it.
    pub max_events: usize,
    /// Maximum bytes that the destination accepts, also for a single event. `batch` cannot raise it.
    pub max_bytes: usize,
    /// Maximum bytes that the destination accepts after compression.
    pub wire_bytes: usize,
    /// Bytes that framing adds to each event.
    pub framing: usize,
    /// Number of copies of a batch in memory while it is sent (2 if a library copies it).
    pub copies: usize,
}

impl Limits {
    /// No limits, for values that a destination does not document; but a default for the number of events.
    pub const NONE: Self = Self {
        events: 10_000,
        bytes: usize::MAX,
        event_bytes: usize::MAX,
        max_events: usize::MAX,
        max_bytes: usize::MAX,
        wire_bytes: usize::MAX,
        framing: 0,
        copies: 1,
    };
}

/// The status of an event that a successful response refuses, if the destination gives the event no status of its own.
pub const PARTIAL: &str = "partial";

/// The status of an event that was not sent, since a program of the pipeline failed on it.
pub const PROGRAM: &str = "program";

/// One attempt to deliver a batch, with its outcome and what to count of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub outcome: Outcome,
    /// Bytes sent: a request's body after compression; for Kafka, keys and values.
    pub bytes: u64,
    /// Bytes of each event as the destination counts them, before compression and without framing. `None` if it counts
    /// the events' bodies.
    pub event_bytes: Option<Box<[u32]>>,
    pub status: AttemptStatus,
}

impl Attempt {
    /// Returns an attempt whose destination counts the events' bodies.
    pub fn new(outcome: Outcome, bytes: u64, status: impl Into<AttemptStatus>) -> Self {
        Self { outcome, bytes, event_bytes: None, status: status.into() }
    }

    /// Returns an attempt that sent nothing.
    pub fn unsent(outcome: Outcome, status: impl Into<AttemptStatus>) -> Self {
        Self::new(outcome, 0, status)
    }
}

/// The meaning of an answer for the batch. Indices count the events of the batch from zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The destination acknowledged every event.
    Delivered,
    /// The destination acknowledged every event, with warnings to log.
    DeliveredWithWarnings(Vec<Warning>),
    /// The destination acknowledged every event, and requests a lower rate.
    SlowDown(String),
    /// Some events were settled. Those in `refused` will never be accepted. Those in `retry` (ascending) have to be
    /// sent again. All others were delivered.
    Partial {
        /// Events that the destination will never accept.
        refused: Vec<RefusedEvent>,
        /// Events to send again.
        retry: Vec<usize>,
        /// The destination's hint how long to wait before the events are sent again.
        retry_after: Option<Duration>,
        /// Warnings about the events that were delivered.
        warnings: Vec<Warning>,
    },
    /// Some events were permanently refused and all others were delivered. The destination does not report which ones.
    /// Nothing is sent again. The whole batch is stored as dead letters, since it contains the refused events.
    RefusedSome {
        /// Number of refused events, less than the batch has.
        count: usize,
        /// The text for the operator.
        reason: String,
    },
    /// Nothing was accepted, and no event is to blame. After a [`FailureKind::Transient`], whose wait is the
    /// destination's `Retry-After`, the same bytes are sent again. After any other, the lane reports it, loses nothing,
    /// and retries slowly. Reasons have no secrets.
    Failed(Failure),
    /// A response with status 200 accepted nothing, since the destination is busy or unavailable: no event is to blame.
    Busy(String),
    /// The batch is too large for the destination and has to be halved. A single event is permanently refused.
    TooLarge(String),
    /// Nothing was accepted because of an event in the batch. The batch has to be halved to find that event. A single
    /// event is permanently refused.
    Refused(String),
}

/// A warning of the destination about events that it accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub reason: WarningReason,
    /// The text for the operator. It is logged again when it changes.
    pub text: String,
}

/// An event that the destination will never accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedEvent {
    /// Index of the event in the batch.
    pub index: usize,
    /// The destination's status for this event, such as 400. It may differ from the response's status.
    pub status: String,
    /// The text for the operator.
    pub reason: String,
}

impl Outcome {
    /// Returns the outcome of a batch that was delivered as a whole, with this warning.
    pub fn warned(reason: WarningReason, text: impl Into<String>) -> Self {
        Self::DeliveredWithWarnings(vec![Warning { reason, text: text.into() }])
    }

    /// Returns whether all events were accepted.
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered | Self::DeliveredWithWarnings(_) | Self::SlowDown(_))
    }

    /// Returns the outcome of a batch that may be accepted later with the same bytes. The destination names no wait.
    pub fn retry_later(reason: impl Into<String>) -> Self {
        Self::Failed(Failure::transient(reason))
    }

    /// Returns the outcome for credentials that were refused after they were read again.
    pub fn unauthorized(reason: impl Into<String>) -> Self {
        Self::Failed(Failure::unauthorized(reason))
    }

    /// Returns the outcome for a wrong configuration: index, topic, address.
    pub fn misconfigured(reason: impl Into<String>) -> Self {
        Self::Failed(Failure::misconfigured(reason))
    }

    /// Returns why nothing was accepted, if no event is to blame.
    pub fn failure_kind(&self) -> Option<FailureKind> {
        if let Self::Failed(failure) = self { Some(failure.kind) } else { None }
    }

    /// Returns the name of the variant, or of its failure's kind, for test tables.
    #[cfg(any(test, feature = "testing"))]
    pub fn name(&self) -> String {
        match self {
            Self::Failed(failure) => failure.kind.name().to_owned(),
            other => format!("{other:?}").split([' ', '(']).next().unwrap_or_default().to_owned(),
        }
    }

    /// Returns the destination's reason; `None` for a delivered batch and for [`Self::Partial`].
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed(failure) => Some(&failure.reason),
            Self::RefusedSome { reason, .. } | Self::Busy(reason) | Self::TooLarge(reason) | Self::Refused(reason) => {
                Some(reason)
            }
            Self::Delivered | Self::DeliveredWithWarnings(_) | Self::SlowDown(_) | Self::Partial { .. } => None,
        }
    }

    /// Changes every text for the operator.
    pub fn map_texts(self, change: impl Fn(String) -> String) -> Self {
        match self {
            Self::Delivered => Self::Delivered,
            Self::DeliveredWithWarnings(warnings) => Self::DeliveredWithWarnings(change_warnings(warnings, &change)),
            Self::SlowDown(reason) => Self::SlowDown(change(reason)),
            Self::Partial { mut refused, retry, retry_after, warnings } => {
                for refusal in &mut refused {
                    refusal.reason = change(std::mem::take(&mut refusal.reason));
                }
                Self::Partial { refused, retry, retry_after, warnings: change_warnings(warnings, &change) }
            }
            Self::RefusedSome { count, reason } => Self::RefusedSome { count, reason: change(reason) },
            Self::Busy(reason) => Self::Busy(change(reason)),
            Self::TooLarge(reason) => Self::TooLarge(change(reason)),
            Self::Refused(reason) => Self::Refused(change(reason)),
            Self::Failed(failure) => Self::Failed(failure.map_reason(change)),
        }
    }
}

fn change_warnings(mut warnings: Vec<Warning>, change: impl Fn(String) -> String) -> Vec<Warning> {
    for warning in &mut warnings {
        warning.text = change(std::mem::take(&mut warning.text));
    }
    warnings
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeResult {
    /// Address and credentials are good.
    Verified(String),
    /// The destination answers. Its credentials cannot be tested without a delivery.
    Reached(String),
    /// The problem, and advice for the operator.
    Failed(String),
}

impl ProbeResult {
    /// Returns what the outcome of a request without events shows about the destination `at`: `accepted`, if the
    /// destination would have accepted events. A destination that refuses the request may only want events in it.
    pub fn of(outcome: &Outcome, at: &impl Display, accepted: Self) -> Self {
        match (outcome, outcome.reason()) {
            (_, None) => accepted,
            (Outcome::Refused(reason), _) => Self::refused_without_events(at, reason),
            (_, Some(reason)) => Self::Failed(format!("{at}: {reason}")),
        }
    }

    /// Returns the result for a destination `at` that refuses a request without events.
    pub fn refused_without_events(at: &impl Display, reason: &str) -> Self {
        Self::Reached(format!(
            "{at} refuses a request without events ({reason}): only an event can show whether it accepts events"
        ))
    }

    /// Returns the result of two probes: the worse one, with the texts of both unless only one failed.
    pub fn and(self, other: Self) -> Self {
        let join = |one: String, other: String| format!("{one}; {other}");
        match (self, other) {
            (Self::Failed(one), Self::Failed(other)) => Self::Failed(join(one, other)),
            (Self::Failed(problem), _) | (_, Self::Failed(problem)) => Self::Failed(problem),
            (Self::Verified(one), Self::Verified(other)) => Self::Verified(join(one, other)),
            (Self::Verified(one) | Self::Reached(one), Self::Verified(other) | Self::Reached(other)) => {
                Self::Reached(join(one, other))
            }
        }
    }
}

/// Returns, for test tables, the name of the outcome, or the reasons of its warnings; for a partial one, its indices.
#[cfg(any(test, feature = "testing"))]
pub fn in_words(outcome: Outcome) -> String {
    let reasons = |warnings: &[Warning]| -> Vec<_> { warnings.iter().map(|warning| warning.reason.label()).collect() };
    match outcome {
        Outcome::DeliveredWithWarnings(warnings) => reasons(&warnings).join(" "),
        Outcome::Partial { refused, retry, retry_after: None, warnings } => {
            let refused: Vec<usize> = refused.into_iter().map(|refusal| refusal.index).collect();
            let partial = format!("refused {refused:?} retry {retry:?}");
            [vec![partial.as_str()], reasons(&warnings)].concat().join(" ")
        }
        other => other.name(),
    }
}
