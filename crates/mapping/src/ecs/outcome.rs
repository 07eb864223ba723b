//! `event.outcome`.

use super::event::Event;
use crate::common::classification::{EventOutcome, Outcome};

impl Event<'_> {
    /// Writes `outcome` of the open event object.
    pub fn outcome(&mut self, outcome: EventOutcome) {
        self.json.word("outcome", word(outcome));
    }
}

/// Returns the word of `event.outcome`.
pub(super) fn word(outcome: EventOutcome) -> &'static str {
    match outcome {
        EventOutcome::Success => "success",
        EventOutcome::Failure => "failure",
        EventOutcome::Unknown => "unknown",
    }
}

/// Returns the outcome of a detection. `has_failed` means that a mitigation failed.
pub(super) fn of_detection(outcome: Option<Outcome>, has_failed: bool) -> EventOutcome {
    match outcome {
        Some(Outcome::Mitigated | Outcome::Blocked | Outcome::Benign) => EventOutcome::Success,
        Some(Outcome::Active) if has_failed => EventOutcome::Failure,
        _ => EventOutcome::Unknown,
    }
}
