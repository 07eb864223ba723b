//! One classification of failures, for everything that a lane depends on.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod catch_panic;

use std::io;
use std::time::Duration;

use tokio::time::Instant;

/// Reason why something failed, classified by what has to happen next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    pub kind: FailureKind,
    /// Text for the operator.
    pub reason: String,
    /// The shortest wait before the next attempt, if the failure is transient and the other side names one.
    pub retry_after: Option<Duration>,
}

/// Declares the kinds of failures, each with the constructor of a failure of this kind.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $constructor:ident,)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FailureKind {
            $($(#[$doc])* $kind,)*
        }

        impl FailureKind {
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Returns the name in logs and as the reason of conditions.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => stringify!($kind),)*
                }
            }
        }

        impl Failure {
            $($(#[$doc])*
            pub fn $constructor(reason: impl Into<String>) -> Self {
                Self::new(FailureKind::$kind, reason)
            })*
        }
    };
}

kinds! {
    /// Another attempt may succeed: unreachable, throttled, timed out.
    Transient = transient,
    /// The credentials are refused.
    Unauthorized = unauthorized,
    /// A secret or certificate of the settings cannot be read by this process. No request was sent.
    SecretUnreadable = secret_unreadable,
    /// The sink refused all of many events in a row.
    RefusedAll = refused_all,
    /// A program of the user failed, and its settings say that the lane stops then.
    ProgramFailed = program_failed,
    /// A program of the user took too long too often.
    ProgramOverran = program_overran,
    /// The settings are wrong, or a right is missing: every attempt fails until an operator changes that.
    Misconfigured = misconfigured,
    /// A limit of this process is reached: every attempt fails until an operator changes it.
    Full = full,
    /// The console's clock or this machine's is wrong, or a stored time is in the future: no query is possible.
    Clock = clock,
    /// Another process has taken over, or it is unknown which write took effect. The stored state has to be read again
    /// first.
    Superseded = superseded,
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

impl Failure {
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), retry_after: None }
    }

    /// Returns a transient failure with the wait that the other side names, if it names one.
    pub fn transient_after(reason: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..Self::transient(reason) }
    }

    /// Returns the failure of a read or write. A path that cannot be used is misconfigured; a full disk, for example,
    /// may be temporary.
    pub fn of_io(error: &io::Error, reason: String) -> Self {
        use io::ErrorKind::{IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
        match error.kind() {
            IsADirectory | NotADirectory | PermissionDenied | ReadOnlyFilesystem => Self::misconfigured(reason),
            _ => Self::transient(reason),
        }
    }

    /// Returns the failure with another text.
    #[must_use]
    pub fn map_reason(self, change: impl FnOnce(String) -> String) -> Self {
        Self { reason: change(self.reason), ..self }
    }

    /// Returns whether every attempt fails until an operator changes something.
    pub fn is_refusal(&self) -> bool {
        !matches!(self.kind, FailureKind::Transient | FailureKind::Clock | FailureKind::Superseded)
    }
}

/// The failure of the last attempt at something that callers share, such as a connection. One caller tries at a time.
/// Callers that waited for a failed attempt get its failure, instead of failing one after the other.
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
