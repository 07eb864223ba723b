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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneState {
    pub kind: LaneStateKind,
    /// The error of a failing state, or what the lane waits for.
    pub error: Option<String>,
}

/// Declares the kinds of states, the most urgent first, each with its name on the status page and in `/api/v1/lanes`.
macro_rules! states {
    ($($(#[$attribute:meta])* $kind:ident $(($cause:ty))? = $name:literal,)*) => {
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub enum LaneStateKind {
            $($(#[$attribute])* $kind $(($cause))?,)*
        }

        impl LaneState {
            /// The name of each state, in the order of their urgency, the worst first. docs/troubleshooting.md explains
            /// them.
            pub const NAMES: [&'static str; [$($name,)*].len()] = [$($name,)*];

            /// Returns the name on the status page and in `/api/v1/lanes`.
            pub const fn name(&self) -> &'static str {
                match self.kind {
                    $(LaneStateKind::$kind { .. } => $name,)*
                }
            }
        }
    };
}

states! {
    /// The lane cannot continue by itself: checkpoints or dead letters cannot be written, or it remembers as many
    /// records as it may.
    Stopped = "stopped",
    /// The settings are to blame, or an object on this side that they name; the lane retries at a low rate.
    Misconfigured(Misconfiguration) = "misconfigured",
    /// The console refuses requests (401, 403, 404); the lane retries at a low rate.
    ConsoleRefused = "console_refused",
    /// The sink refuses permanently (credentials, configuration); the lane retries at a low rate.
    SinkRefused = "sink_refused",
    /// A clock is wrong, or the lane's position is in the future; the lane asks for the time again and again.
    WaitingForClock = "waiting_for_clock",
    /// The console fails temporarily; the lane retries.
    ConsoleFailing = "console_failing",
    /// The sink fails temporarily; the lane retries.
    SinkFailing = "sink_failing",
    /// New, with the checkpoint of a pipeline that was probably renamed to this one: it waits for `state rename`. The
    /// text says for which one.
    Renamed = "renamed",
    /// Waiting for its first poll.
    #[default]
    Starting = "starting",
    /// Pulling or delivering without error.
    Running = "running",
    /// Ended: drained at shutdown, removed, or complete in `run --once`.
    Done = "done",
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
    /// Returns the name in logs and as the reason of conditions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed(kind) => kind.name(),
            Self::TooManyOrphans => "TooManyOrphans",
        }
    }
}

/// The name of a lane's state. Lists of lanes need no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateName<'a> {
    /// One of [`LaneState::NAMES`].
    pub name: &'a str,
    /// Whether the lane does not fail.
    pub is_up: bool,
}

impl From<LaneStateKind> for LaneState {
    fn from(kind: LaneStateKind) -> Self {
        Self { kind, error: None }
    }
}

impl LaneState {
    pub fn new(kind: LaneStateKind, error: impl Into<String>) -> Self {
        Self { kind, error: Some(error.into()) }
    }

    /// Returns the state that a failure on this side causes.
    pub fn of(side: Side, failure: &Failure) -> Self {
        use LaneStateKind::{ConsoleFailing, ConsoleRefused, SinkFailing, SinkRefused, Stopped, WaitingForClock};
        let kind = match (side, failure.kind) {
            (_, FailureKind::Superseded) | (Side::Store | Side::Copy | Side::DeadLetters, _) => Stopped,
            (Side::Claim, _) => return Self::halted(failure),
            (Side::Console, FailureKind::Clock) => WaitingForClock,
            (Side::Console, kind) if failure.is_refusal() => LaneStateKind::misconfigured(kind, ConsoleRefused),
            (Side::Console, _) => ConsoleFailing,
            (Side::Sink, kind) if failure.is_refusal() => LaneStateKind::misconfigured(kind, SinkRefused),
            (Side::Sink, _) => SinkFailing,
        };
        Self::new(kind, &failure.reason)
    }

    /// Returns the state of a lane that cannot go on by itself, or whose checkpoint cannot be claimed.
    fn halted(failure: &Failure) -> Self {
        Self::new(LaneStateKind::misconfigured(failure.kind, LaneStateKind::Stopped), &failure.reason)
    }

    /// Returns whether the lane is tried at a low rate, since a person has to correct something outside of its file.
    pub(super) fn waits_for_person(&self) -> bool {
        use FailureKind::{RefusedAll, SecretUnreadable};
        use LaneStateKind::{ConsoleRefused, Misconfigured, SinkRefused};
        matches!(
            self.kind,
            ConsoleRefused | SinkRefused | Misconfigured(Misconfiguration::Failed(SecretUnreadable | RefusedAll))
        )
    }

    /// Returns the name without the error and the cause.
    pub fn state_name(&self) -> StateName<'static> {
        StateName { name: self.name(), is_up: self.is_up() }
    }

    /// Returns the value of `lane_up`.
    pub fn is_up(&self) -> bool {
        use LaneStateKind::{Done, Renamed, Running, Starting};
        matches!(self.kind, Starting | Running | Renamed | Done)
    }

    /// Returns the reason in one word, if the state has several.
    pub const fn reason(&self) -> Option<&'static str> {
        match self.kind {
            LaneStateKind::Misconfigured(reason) => Some(reason.name()),
            _ => None,
        }
    }

    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

impl LaneStateKind {
    /// Returns `Misconfigured` if the failure is of that kind, or else `otherwise`.
    fn misconfigured(failure: FailureKind, otherwise: Self) -> Self {
        use FailureKind::{Full, ProgramFailed, ProgramOverran, RefusedAll, SecretUnreadable};
        match failure {
            SecretUnreadable | RefusedAll | ProgramFailed | ProgramOverran => {
                Self::Misconfigured(Misconfiguration::Failed(failure))
            }
            Full => Self::Stopped,
            _ => otherwise,
        }
    }
}

/// A change in a lane, as far as it alters the state that the lane shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneChange {
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
    /// The console answered for one pass. The failure belongs to another pass, which was not tried again.
    ConsoleAnswers(Option<Failure>),
    /// The lane has drained, was removed, or is complete.
    LaneEnds,
}

impl LaneChange {
    /// Returns the state that this change causes. `None` if it is no failure.
    pub fn failing_state(&self) -> Option<LaneState> {
        match self {
            Self::Failed(side, failure) => Some(LaneState::of(*side, failure)),
            Self::Halted(failure) => Some(LaneState::halted(failure)),
            Self::FindsOrphans(reason) => {
                Some(LaneState::new(LaneStateKind::Misconfigured(Misconfiguration::TooManyOrphans), reason))
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

/// The failures of a lane since it began, and its state without them. The lane's parts fail and recover independently.
#[derive(Debug, Default)]
pub struct Shown {
    /// The state while nothing fails.
    phase: LaneState,
    /// The failures of parts, the most severe first.
    store: Option<LaneState>,
    sink: Option<LaneState>,
    /// Boxed: most lanes never fail.
    console: Option<Box<Failure>>,
}

impl Shown {
    /// Adds a change. Returns false if it says nothing new.
    pub fn add(&mut self, event: LaneChange) -> bool {
        let failing = event.failing_state();
        match event {
            LaneChange::LaneBegins => *self = Self::default(),
            LaneChange::WaitsForRename(reason) => {
                *self = Self { phase: LaneState::new(LaneStateKind::Renamed, reason), ..Self::default() }
            }
            LaneChange::LaneEnds => *self = Self { phase: LaneStateKind::Done.into(), ..Self::default() },
            LaneChange::FindsOrphans(_) | LaneChange::Failed(Side::Claim | Side::Store | Side::Copy, _) => {
                self.store = failing;
            }
            LaneChange::Halted(_) | LaneChange::Failed(Side::Sink | Side::DeadLetters, _) => self.sink = failing,
            LaneChange::Failed(Side::Console, failure) => self.console = Some(Box::new(failure)),
            LaneChange::CheckpointStored => {
                if self.store.take().is_none() {
                    return false;
                }
                self.phase = LaneStateKind::Running.into();
            }
            LaneChange::SinkAccepts => {
                self.sink = None;
                self.phase = LaneStateKind::Running.into();
            }
            LaneChange::ConsoleAnswers(of_other_pass) => {
                if of_other_pass.is_some() && self.console.as_deref() == of_other_pass.as_ref() {
                    return false;
                }
                self.console = of_other_pass.map(Box::new);
                self.phase = LaneStateKind::Running.into();
            }
        }
        true
    }

    /// Returns the most severe failure, or the phase of a lane that does not fail.
    pub fn state(&self) -> LaneState {
        let console = self.console.as_deref().map(|failure| LaneState::of(Side::Console, failure));
        let failing = self.store.clone().or_else(|| self.sink.clone()).or(console);
        failing.unwrap_or_else(|| self.phase.clone())
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
