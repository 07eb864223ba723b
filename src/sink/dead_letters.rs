//! Events that a sink refused for good, kept with the reason so that they can be sent again.

use crate::record::{Identity, Stream, Timestamp};

/// One refused event.
#[derive(Debug, Clone)]
pub struct DeadLetter<'a> {
    /// When it was refused.
    pub time: Timestamp,
    /// Name of the pipeline.
    pub pipeline: &'a str,
    /// Stream of the record.
    pub stream: Stream,
    /// Name of the sink.
    pub sink: &'a str,
    /// See [`Identity`].
    pub identity: Identity,
    /// The record's id at the console.
    pub record_id: &'a str,
    /// The sink's status (label of `sink_requests_total`).
    pub status: &'a str,
    /// The sink's reason.
    pub reason: &'a str,
    /// The event as it was sent.
    pub event: &'a [u8],
}

/// The store could not keep a dead letter; the lane stops rather than lose it.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {}

/// Where dead letters are kept. Shared by all lanes.
#[derive(Debug)]
pub struct DeadLetters {}

impl DeadLetters {
    /// Keeps all of `letters` durably (on disk and synced when this returns), or none of them counts as kept.
    pub async fn keep(&self, _letters: &[DeadLetter<'_>]) -> Result<(), DeadLetterError> {
        unimplemented!()
    }
}
