//! Events that become dead letters, and why.

use crate::sink::RefusedEvent;

/// An event that becomes a dead letter.
#[derive(Debug)]
pub(super) struct Refusal {
    pub cause: RefusalCause,
    pub event: RefusedEvent,
}

/// The cause of a refusal. Dead letters are stored in the order of the causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RefusalCause {
    /// The sink refused the event.
    Sink,
    /// The event is too large, and was not sent. It does not indicate a problem of the sink.
    TooLarge,
    /// The user's program failed on the event, which is not sent. A wrong program is as likely as a wrong sink.
    Program,
}
