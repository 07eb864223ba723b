//! One attempt to deliver a batch.

use std::borrow::Cow;

use http::StatusCode;

use super::Outcome;

/// The status of an attempt that sent nothing because the request exceeds a limit of the destination.
pub const TOO_LARGE: &str = "too_large";

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

/// What an attempt ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptStatus {
    /// The status of the response.
    Http(StatusCode),
    /// Nothing was sent because the request exceeds a limit of the destination.
    TooLarge,
    /// The reader of a stream or pipe has gone.
    Closed,
    /// A Kafka error name, `ok`, `timeout`, `connect`, …
    Other(Cow<'static, str>),
}

impl AttemptStatus {
    /// Returns the label of `sink_requests_total`.
    pub fn label(&self) -> &str {
        match self {
            Self::Http(status) => status.as_str(),
            Self::TooLarge => TOO_LARGE,
            Self::Closed => "closed",
            Self::Other(name) => name,
        }
    }

    /// Returns the status with this label; `TooLarge` and `Closed` are not parsed.
    #[cfg(any(test, feature = "testing"))]
    pub fn of_label(label: &str) -> Self {
        label.parse().map_or_else(|_| Self::Other(label.to_owned().into()), Self::Http)
    }
}

impl From<StatusCode> for AttemptStatus {
    fn from(status: StatusCode) -> Self {
        Self::Http(status)
    }
}

impl From<&'static str> for AttemptStatus {
    fn from(name: &'static str) -> Self {
        Self::Other(name.into())
    }
}

impl From<String> for AttemptStatus {
    fn from(name: String) -> Self {
        Self::Other(name.into())
    }
}
