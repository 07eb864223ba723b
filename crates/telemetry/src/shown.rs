//! The state that a lane shows, and whether its console accepts its token. Both depend only on what has happened to the
//! lane.

use s1_forwarder_failure::{Failure, FailureKind, Side};

/// Why a lane has no token that its console accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenProblem {
    /// The console refuses the token.
    Refused,
    /// There is no token to send: its file, variable or Secret cannot be read.
    Unreadable,
}

/// The state of a lane, for the status page and `lane_up`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneState {
    /// Waiting for its first poll.
    Starting,
    /// Pulling or delivering without error.
    Running,
    /// The console fails temporarily; the lane retries.
    ConsoleFailing(String),
    /// A clock is wrong, or the lane's position is in the future; the lane asks for the time again and again.
    WaitingForClock(String),
    /// The console refuses requests (401, 403, 404); the lane retries at a low rate.
    ConsoleRefused(String),
    /// The sink fails temporarily; the lane retries.
    SinkFailing(String),
    /// The sink refuses permanently (credentials, configuration); the lane retries at a low rate.
    SinkRefused(String),
    /// The settings are to blame, or an object on this side that they name; the lane retries at a low rate.
    Misconfigured(Misconfiguration, String),
    /// The lane cannot continue by itself: checkpoints or dead letters cannot be written, or it remembers as many
    /// records as it may.
    Stopped(String),
    /// New, with the checkpoint of a pipeline that was probably renamed to this one: it waits for `state rename`. The
    /// text says for which one.
    Renamed(String),
    /// Ended: drained at shutdown, removed, or complete in `run --once`.
    Done,
}

/// Why a lane is misconfigured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misconfiguration {
    /// A failure of this kind.
    Failed(FailureKind),
    /// Too many checkpoints of the tenant's place belong to no file.
    TooManyOrphans,
}

impl Misconfiguration {
    /// The name in logs and as the reason of conditions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed(kind) => kind.name(),
            Self::TooManyOrphans => "TooManyOrphans",
        }
    }
}

impl LaneState {
    /// The name of each state, in the order of their urgency, the worst first. docs/troubleshooting.md explains them.
    pub const NAMES: [&'static str; 11] = [
        "stopped",
        "misconfigured",
        "console_refused",
        "sink_refused",
        "waiting_for_clock",
        "console_failing",
        "sink_failing",
        "renamed",
        "starting",
        "running",
        "done",
    ];

    /// The state that a failure on this side causes.
    pub fn of(side: Side, failure: &Failure) -> Self {
        let error = || failure.reason.clone();
        match (side, failure.kind) {
            (_, FailureKind::Superseded) | (Side::Store | Side::Copy | Side::DeadLetters, _) => Self::Stopped(error()),
            (Side::Claim, _) => Self::halted(failure),
            (Side::Console, FailureKind::Clock) => Self::WaitingForClock(error()),
            (Side::Console, _) if failure.is_refusal() => Self::misconfigured(failure, Self::ConsoleRefused),
            (Side::Console, _) => Self::ConsoleFailing(error()),
            (Side::Sink, _) if failure.is_refusal() => Self::misconfigured(failure, Self::SinkRefused),
            (Side::Sink, _) => Self::SinkFailing(error()),
        }
    }

    /// The state of a lane that cannot go on by itself, or whose checkpoint cannot be claimed.
    fn halted(failure: &Failure) -> Self {
        Self::misconfigured(failure, Self::Stopped)
    }

    /// `Misconfigured` where the failure is of that kind.
    fn misconfigured(failure: &Failure, otherwise: fn(String) -> Self) -> Self {
        use FailureKind::{Full, ProgramFailed, ProgramOverran, RefusedAll, SecretUnreadable};
        let error = failure.reason.clone();
        match failure.kind {
            kind @ (SecretUnreadable | RefusedAll | ProgramFailed | ProgramOverran) => {
                Self::Misconfigured(Misconfiguration::Failed(kind), error)
            }
            Full => Self::Stopped(error),
            _ => otherwise(error),
        }
    }

    /// True if the lane is tried at a low rate, since a person has to mend something outside of its file.
    pub(super) fn waits_for_person(&self) -> bool {
        match self {
            Self::ConsoleRefused(_) | Self::SinkRefused(_) => true,
            Self::Misconfigured(Misconfiguration::Failed(kind), _) => {
                matches!(kind, FailureKind::SecretUnreadable | FailureKind::RefusedAll)
            }
            _ => false,
        }
    }

    /// The value of `lane_up`.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Renamed(_) | Self::Done)
    }

    /// The name on the status page and in `/api/v1/lanes`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::ConsoleFailing(_) => "console_failing",
            Self::WaitingForClock(_) => "waiting_for_clock",
            Self::ConsoleRefused(_) => "console_refused",
            Self::SinkFailing(_) => "sink_failing",
            Self::SinkRefused(_) => "sink_refused",
            Self::Misconfigured(..) => "misconfigured",
            Self::Stopped(_) => "stopped",
            Self::Renamed(_) => "renamed",
            Self::Done => "done",
        }
    }

    /// The reason in one word, where the state has several.
    pub const fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Misconfigured(reason, _) => Some(reason.name()),
            _ => None,
        }
    }

    /// Returns the error of a failing state, or what the lane waits for.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::ConsoleFailing(error)
            | Self::WaitingForClock(error)
            | Self::ConsoleRefused(error)
            | Self::SinkFailing(error)
            | Self::SinkRefused(error)
            | Self::Misconfigured(_, error)
            | Self::Stopped(error)
            | Self::Renamed(error) => Some(error),
            Self::Starting | Self::Running | Self::Done => None,
        }
    }
}

/// A change in a lane, as far as it alters the state that the lane shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneEvent {
    /// The lane begins, or begins again.
    LaneBegins,
    /// The lane waits for `state rename`. The text is the reason.
    WaitsForRename(String),
    /// The lane may not begin while too many checkpoints of its tenant's place belong to no file.
    FindsOrphans(String),
    /// An attempt failed on this side.
    Failed(Side, Failure),
    /// The lane itself cannot go on: it cannot be built, it panicked, or it has no lease.
    Halted(Failure),
    /// The checkpoint was claimed or written. This ends only a failure of the store.
    CheckpointStored,
    /// The sink accepts events, or had none to accept in a complete poll.
    SinkAccepts,
    /// The console answered for one pass. The failure is that of another pass, which was not tried again.
    ConsoleAnswers(Option<Failure>),
    /// The lane has drained, was removed, or is complete.
    LaneEnds,
}

impl LaneEvent {
    /// Returns the state that this change causes. `None` if it is no failure.
    pub fn failing_state(&self) -> Option<LaneState> {
        match self {
            Self::Failed(side, failure) => Some(LaneState::of(*side, failure)),
            Self::Halted(failure) => Some(LaneState::halted(failure)),
            Self::FindsOrphans(reason) => {
                Some(LaneState::Misconfigured(Misconfiguration::TooManyOrphans, reason.clone()))
            }
            Self::LaneBegins
            | Self::WaitsForRename(_)
            | Self::CheckpointStored
            | Self::SinkAccepts
            | Self::ConsoleAnswers(_)
            | Self::LaneEnds => None,
        }
    }
}

/// The phase and the failures of a lane since it began. The lane's parts fail and recover independently.
#[derive(Debug, Default)]
pub struct Shown {
    phase: Phase,
    /// The failures of parts, the most severe first.
    store: Option<LaneState>,
    sink: Option<LaneState>,
    /// Boxed: most lanes never fail.
    console: Option<Box<Failure>>,
}

/// The phase of a lane that does not fail.
#[derive(Debug, Default)]
enum Phase {
    #[default]
    Starting,
    Waiting(String),
    Running,
    Done,
}

impl Shown {
    /// Adds a change. Returns false if it says nothing new.
    pub fn add(&mut self, event: LaneEvent) -> bool {
        let failing = event.failing_state();
        match event {
            LaneEvent::LaneBegins => *self = Self::default(),
            LaneEvent::WaitsForRename(reason) => *self = Self { phase: Phase::Waiting(reason), ..Self::default() },
            LaneEvent::LaneEnds => *self = Self { phase: Phase::Done, ..Self::default() },
            LaneEvent::FindsOrphans(_) | LaneEvent::Failed(Side::Claim | Side::Store | Side::Copy, _) => {
                self.store = failing;
            }
            LaneEvent::Halted(_) | LaneEvent::Failed(Side::Sink | Side::DeadLetters, _) => self.sink = failing,
            LaneEvent::Failed(Side::Console, failure) => self.console = Some(Box::new(failure)),
            LaneEvent::CheckpointStored => {
                if self.store.take().is_none() {
                    return false;
                }
                self.phase = Phase::Running;
            }
            LaneEvent::SinkAccepts => {
                self.sink = None;
                self.phase = Phase::Running;
            }
            LaneEvent::ConsoleAnswers(of_other_pass) => {
                if of_other_pass.is_some() && self.console.as_deref() == of_other_pass.as_ref() {
                    return false;
                }
                self.console = of_other_pass.map(Box::new);
                self.phase = Phase::Running;
            }
        }
        true
    }

    /// Returns the most severe failure, or the phase of a lane that does not fail.
    pub fn state(&self) -> LaneState {
        let console = self.console.as_deref().map(|failure| LaneState::of(Side::Console, failure));
        let failing = self.store.clone().or_else(|| self.sink.clone()).or(console);
        failing.unwrap_or_else(|| match &self.phase {
            Phase::Starting => LaneState::Starting,
            Phase::Waiting(reason) => LaneState::Renamed(reason.clone()),
            Phase::Running => LaneState::Running,
            Phase::Done => LaneState::Done,
        })
    }

    /// Returns why the lane has no token that its console accepts. `None` if the console accepts it, as far as the lane
    /// knows.
    pub fn token_problem(&self) -> Option<TokenProblem> {
        match self.console.as_deref()?.kind {
            FailureKind::Unauthorized => Some(TokenProblem::Refused),
            FailureKind::SecretUnreadable => Some(TokenProblem::Unreadable),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
