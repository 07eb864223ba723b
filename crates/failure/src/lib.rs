//! One classification of failures, for everything that a lane depends on.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod catch_panic;

use std::io;
use std::time::Duration;

use tokio::time::Instant;

/// Reason why something failed, classified by what has to happen next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another attempt may succeed: unreachable, throttled, timed out.
    #[error("{reason}")]
    Transient {
        /// Text for the operator.
        reason: String,
        /// The shortest wait before the next attempt, if the other side names one.
        after: Option<Duration>,
    },
    /// The credentials are refused.
    #[error("{0}")]
    Unauthorized(String),
    /// A secret or certificate of the settings cannot be read on this side: nobody was asked.
    #[error("{0}")]
    SecretUnreadable(String),
    /// The sink refused all of many events in a row.
    #[error("{0}")]
    RefusedAll(String),
    /// A program of the user failed, and its settings say that the lane stops then.
    #[error("{0}")]
    ProgramFailed(String),
    /// A program of the user took too long too often.
    #[error("{0}")]
    ProgramOverran(String),
    /// The settings are wrong, or a right is missing: every attempt fails until an operator changes that.
    #[error("{0}")]
    Misconfigured(String),
    /// A limit of this process is reached: every attempt fails until an operator changes it.
    #[error("{0}")]
    Full(String),
    /// The console's clock or this machine's is wrong, or what is stored is in the future: nothing can be asked for.
    #[error("{0}")]
    Clock(String),
    /// Another process has taken over, or it is unknown what took effect: what is stored has to be read again first.
    #[error("{0}")]
    Superseded(String),
}

/// Side of a lane that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The lane has not begun: its checkpoint cannot be claimed.
    Claim,
    /// The lane's checkpoint cannot be written.
    Store,
    /// The copy of the lane's checkpoint cannot be written. The lane does not depend on it.
    Copy,
    /// The console cannot be asked, or its answers not read.
    Console,
    /// Events cannot be mapped, or not delivered.
    Sink,
    /// Refused events cannot be stored as dead letters.
    DeadLetters,
}

#[cfg(any(test, feature = "testing"))]
impl Side {
    pub const ALL: [Self; 6] = [Self::Claim, Self::Store, Self::Copy, Self::Console, Self::Sink, Self::DeadLetters];
}

#[cfg(any(test, feature = "testing"))]
impl Failure {
    /// Returns the name of the failure's variant.
    pub fn name(&self) -> String {
        format!("{self:?}").split(['(', ' ']).next().unwrap_or_default().to_owned()
    }
}

#[cfg(any(test, feature = "testing"))]
impl Failure {
    /// Returns each failure, from the first on, for tables. A new one belongs into this chain, or tests do not compile.
    pub fn each() -> Vec<Self> {
        let reason = String::new;
        let next = |failure: &Self| match failure {
            Self::Transient { .. } => Some(Self::Unauthorized(reason())),
            Self::Unauthorized(_) => Some(Self::SecretUnreadable(reason())),
            Self::SecretUnreadable(_) => Some(Self::RefusedAll(reason())),
            Self::RefusedAll(_) => Some(Self::ProgramFailed(reason())),
            Self::ProgramFailed(_) => Some(Self::ProgramOverran(reason())),
            Self::ProgramOverran(_) => Some(Self::Misconfigured(reason())),
            Self::Misconfigured(_) => Some(Self::Full(reason())),
            Self::Full(_) => Some(Self::Clock(reason())),
            Self::Clock(_) => Some(Self::Superseded(reason())),
            Self::Superseded(_) => None,
        };
        std::iter::successors(Some(Self::transient("")), next).collect()
    }
}

impl Failure {
    /// Returns a transient failure that names no wait.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self::Transient { reason: reason.into(), after: None }
    }

    /// Returns the failure of a read or write. A path that cannot be used is misconfigured; a full disk, for example,
    /// may be temporary.
    pub fn of_io(error: &io::Error, reason: String) -> Self {
        use io::ErrorKind::{IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
        match error.kind() {
            IsADirectory | NotADirectory | PermissionDenied | ReadOnlyFilesystem => Self::Misconfigured(reason),
            _ => Self::transient(reason),
        }
    }

    /// Returns the text, for the operator.
    pub fn reason(&self) -> &str {
        match self {
            Self::Transient { reason, .. }
            | Self::Unauthorized(reason)
            | Self::SecretUnreadable(reason)
            | Self::RefusedAll(reason)
            | Self::ProgramFailed(reason)
            | Self::ProgramOverran(reason)
            | Self::Misconfigured(reason)
            | Self::Full(reason)
            | Self::Clock(reason)
            | Self::Superseded(reason) => reason,
        }
    }

    /// Returns the failure with another text.
    #[must_use]
    pub fn map_reason(mut self, change: impl FnOnce(String) -> String) -> Self {
        let (Self::Transient { reason, .. }
        | Self::Unauthorized(reason)
        | Self::SecretUnreadable(reason)
        | Self::RefusedAll(reason)
        | Self::ProgramFailed(reason)
        | Self::ProgramOverran(reason)
        | Self::Misconfigured(reason)
        | Self::Full(reason)
        | Self::Clock(reason)
        | Self::Superseded(reason)) = &mut self;
        *reason = change(std::mem::take(reason));
        self
    }

    /// Whether every attempt fails until an operator changes something.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Unauthorized(_)
            | Self::SecretUnreadable(_)
            | Self::RefusedAll(_)
            | Self::ProgramFailed(_)
            | Self::ProgramOverran(_)
            | Self::Misconfigured(_)
            | Self::Full(_) => true,
            Self::Transient { .. } | Self::Clock(_) | Self::Superseded(_) => false,
        }
    }

    /// Returns the shortest wait before the next attempt; zero if the other side names none.
    pub fn after(&self) -> Duration {
        if let Self::Transient { after: Some(after), .. } = self { *after } else { Duration::ZERO }
    }
}

/// The failure of the last attempt at something that callers share, such as a connection. One of them tries at a time;
/// those that waited for a failed attempt get its failure, instead of failing one after the other.
#[derive(Debug)]
pub struct LastFailure<F = Failure>(Option<(Instant, F)>);

impl<F> Default for LastFailure<F> {
    fn default() -> Self {
        Self(None)
    }
}

impl<F: Clone> LastFailure<F> {
    /// Returns the failure, if the attempt ended after the caller had called.
    pub fn after(&self, called_at: Instant) -> Option<F> {
        self.0.as_ref().filter(|(ended_at, _)| called_at < *ended_at).map(|(_, failure)| failure.clone())
    }

    /// Returns the failure, if the attempt ended less than `time` ago.
    pub fn within(&self, time: Duration) -> Option<F> {
        self.0.as_ref().filter(|(ended_at, _)| ended_at.elapsed() < time).map(|(_, failure)| failure.clone())
    }

    /// Notes that an attempt has ended now.
    pub fn ended<T>(&mut self, result: &Result<T, F>) {
        self.0 = result.as_ref().err().map(|failure| (Instant::now(), failure.clone()));
    }
}
