//! A dead letter, the store that keeps it, and the error of that store.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use s1_forwarder_failure::{Failure, FailureKind};
use s1_forwarder_mapping::Labels;
use s1_forwarder_record::{Identity, LaneId, Timestamp};

/// One refused event.
#[derive(Debug, Clone)]
pub struct DeadLetter<'a> {
    /// The time at which the event was refused.
    pub time: Timestamp,
    pub lane: &'a LaneId,
    pub identity: Identity,
    /// Id of the record in the console.
    pub record_id: &'a str,
    /// The sink's status, a label of `sink_requests_total`.
    pub status: &'a str,
    /// The sink's reason.
    pub reason: &'a str,
    /// The event's own time, if it has one.
    pub event_time: Option<Timestamp>,
    /// The reason why the record could not be mapped; `None` if it was mapped.
    pub error: Option<&'a str>,
    /// The labels, if the events of the lane differ in them.
    pub labels: Option<&'a Labels>,
    /// Whether the record was too large to be pulled: the event has only its beginning.
    pub truncated: bool,
    /// The event as it was sent.
    pub event: &'a [u8],
}

#[cfg(any(test, feature = "testing"))]
impl<'a> DeadLetter<'a> {
    /// Returns a dead letter for tests, without the optional parts.
    pub fn sample(lane: &'a LaneId, event: &'a [u8]) -> Self {
        Self {
            time: Timestamp::default(),
            lane,
            identity: Identity::of("console.example", lane.stream, "1", ""),
            record_id: "1",
            status: "400",
            reason: "no",
            event_time: None,
            error: None,
            labels: None,
            truncated: false,
            event,
        }
    }
}

/// The error of a dead letter that was not stored. The lane stops, so that the event is not lost.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    #[error("no store for dead letters is set up; name one with --dead-letters")]
    Disabled,
    #[error(
        "the dead letters of {pipeline} in {place} have reached {share} bytes, their share of {max}; replay or purge them, \
         or raise --dead-letters-max"
    )]
    ShareFull {
        place: String,
        pipeline: String,
        /// Maximum size of this pipeline's dead letters in bytes.
        share: u64,
        /// Maximum size of the store in bytes.
        max: u64,
    },
    #[error(
        "the dead letters of {pipeline} in {place} have reached the size of a Secret: with this one they would have \
         {bytes} bytes after compression, of at most {max}; replay or purge them, or store dead letters in Kafka \
         (--dead-letters kafka://BROKERS/TOPIC)"
    )]
    SecretFull { place: String, pipeline: String, bytes: usize, max: usize },
    #[error(
        "a dead letter of {pipeline} is larger than a Secret in {place}: it has {bytes} bytes after compression, of at \
         most {max}; store dead letters in Kafka (--dead-letters kafka://BROKERS/TOPIC), or do not send such events \
         (`transform.drop`)"
    )]
    LargerThanSecret { place: String, pipeline: String, bytes: usize, max: usize },
    #[error("cannot store dead letters in {place}: {source}")]
    Io { place: String, source: io::Error },
    /// The topic or the API server does not answer, or refuses.
    #[error("cannot store dead letters in {place}: {failure}")]
    Failed { place: String, failure: Failure },
}

impl DeadLetterError {
    /// Returns whether the store has no room for all. It may have room for fewer dead letters.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::ShareFull { .. } | Self::SecretFull { .. } | Self::LargerThanSecret { .. })
    }
}

impl From<DeadLetterError> for Failure {
    fn from(error: DeadLetterError) -> Self {
        let reason = error.to_string();
        match error {
            DeadLetterError::Disabled => Self::misconfigured(reason),
            DeadLetterError::Io { source, .. } => Self::of_io(&source, reason),
            DeadLetterError::Failed { failure, .. } if failure.kind != FailureKind::Superseded => {
                failure.map_reason(|_| reason)
            }
            // These errors do not concern the lane's checkpoint.
            DeadLetterError::ShareFull { .. }
            | DeadLetterError::SecretFull { .. }
            | DeadLetterError::LargerThanSecret { .. }
            | DeadLetterError::Failed { .. } => Self::transient(reason),
        }
    }
}

pub trait DeadLetterStore: Send + Sync + std::fmt::Debug {
    /// Stores all of `dead_letters` durably. After an error none of them counts as stored.
    ///
    /// # Errors
    /// [`DeadLetterError`] if the store has no room for them, does not answer, or is not set up.
    fn keep<'a>(&'a self, dead_letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>>;

    /// Returns the fill level of the store; `None` if it is unknown.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn usage(&self) -> BoxFuture<'_, Result<Option<StoreFill>, DeadLetterError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Returns the time between two calls of [`Self::usage`], which are needed since other processes also change the
    /// store.
    fn measure_interval(&self) -> Duration {
        Duration::from_mins(1)
    }
}

/// The fill level of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFill {
    pub bytes: u64,
    /// Maximum of `bytes`; `None` if the pipelines do not share one.
    pub max: Option<u64>,
    /// The pipelines that have dead letters, each with its bytes and their current maximum.
    pub pipelines: Vec<(String, u64, u64)>,
    /// Number of dead letters of each lane that has some.
    pub lanes: BTreeMap<LaneId, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_an_error_is_that_of_its_cause() {
        let place = || "kafka://bus/dead-letters".to_owned();
        let io = |kind: io::ErrorKind| DeadLetterError::Io { place: place(), source: kind.into() };
        let failed = |failure| DeadLetterError::Failed { place: place(), failure };
        for (error, is_refusal) in [
            (DeadLetterError::Disabled, true),
            (io(io::ErrorKind::StorageFull), false),
            (io(io::ErrorKind::PermissionDenied), true),
            (failed(Failure::transient("no broker")), false),
            (failed(Failure::unauthorized("SASL")), true),
            (failed(Failure::misconfigured("no right")), true),
        ] {
            let text = error.to_string();
            let failure = Failure::from(error);
            assert_eq!((failure.is_refusal(), failure.to_string()), (is_refusal, text));
        }
        let elsewhere = Failure::from(failed(Failure::superseded("another producer")));
        assert_eq!(elsewhere.kind, FailureKind::Transient, "it says nothing of the lane's checkpoint");
    }
}
