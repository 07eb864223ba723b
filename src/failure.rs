//! One classification of failures, for everything that a lane depends on.

use std::io;
use std::time::Duration;

/// Why something failed, by what has to happen next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another attempt may succeed: unreachable, throttled, timed out.
    #[error("{reason}")]
    Transient {
        /// For the operator.
        reason: String,
        /// The shortest wait before the next attempt, where the other side names one.
        after: Option<Duration>,
    },
    /// The credentials are refused.
    #[error("{0}")]
    Unauthorized(String),
    /// The settings are wrong, or a right is missing: every attempt fails until an operator changes that.
    #[error("{0}")]
    Misconfigured(String),
    /// Another process has taken over, or it is unknown what took effect: what is stored has to be read again first.
    #[error("{0}")]
    Superseded(String),
}

impl Failure {
    /// One that names no wait.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self::Transient { reason: reason.into(), after: None }
    }

    /// The failure of a read or write. A path that cannot be used is misconfigured; a full disk, for example, may be
    /// temporary.
    pub fn of_io(error: &io::Error, reason: String) -> Self {
        use io::ErrorKind::{IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
        match error.kind() {
            IsADirectory | NotADirectory | PermissionDenied | ReadOnlyFilesystem => Self::Misconfigured(reason),
            _ => Self::transient(reason),
        }
    }

    /// The same failure with another text.
    pub fn with_reason(self, reason: String) -> Self {
        match self {
            Self::Transient { after, .. } => Self::Transient { reason, after },
            Self::Unauthorized(_) => Self::Unauthorized(reason),
            Self::Misconfigured(_) => Self::Misconfigured(reason),
            Self::Superseded(_) => Self::Superseded(reason),
        }
    }

    /// Whether every attempt fails until an operator changes something.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Unauthorized(_) | Self::Misconfigured(_))
    }

    /// The shortest wait before the next attempt; zero where the other side names none.
    pub fn after(&self) -> Duration {
        if let Self::Transient { after: Some(after), .. } = self { *after } else { Duration::ZERO }
    }
}
