//! The error of a delivery that ended before all events were settled.

use s1_forwarder_failure::Failure;

/// The reason why a delivery ended before all events were settled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The sink failed, or the lane returns to its checkpoint for another reason.
    #[error(transparent)]
    Sink(#[from] Failure),
    /// Refused events could not be stored.
    #[error(transparent)]
    DeadLetters(Failure),
}

impl DeliveryError {
    /// Returns the failure, whichever side it is of.
    pub fn failure(&self) -> &Failure {
        let (Self::Sink(failure) | Self::DeadLetters(failure)) = self;
        failure
    }
}
