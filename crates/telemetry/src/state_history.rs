//! The state of a lane, since when it has it, and its recent errors.

use std::time::Duration;

use s1_forwarder_record::Timestamp;

use super::shown::{LaneState, LaneStateKind, TokenProblem};

/// Errors that a lane remembers.
const RECENT_ERRORS: usize = 8;

/// The state of a lane, and the errors of its earlier states.
#[derive(Debug, Default)]
pub(super) struct StateHistory {
    pub state: LaneState,
    /// Boxed: most lanes never fail.
    failing: Option<Box<Failing>>,
    /// The console refuses the token, or there is none to send.
    pub token_problem: Option<TokenProblem>,
    /// The newest is the last. A lane that never failed has none and allocates nothing.
    pub errors: Vec<RecentError>,
}

/// A lane that fails.
#[derive(Debug)]
struct Failing {
    since: Timestamp,
    /// Time when the failure was logged last.
    logged: Timestamp,
    attempts: u64,
}

/// An error of a lane. The same error again, without another one between, is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentError {
    /// The last time.
    pub time: Timestamp,
    /// [`LaneState::name`] of the state that it caused.
    pub state: &'static str,
    pub text: Box<str>,
    pub count: u32,
}

impl StateHistory {
    /// Changes the state. Returns true if the kind of state changed, which is worth a log line.
    pub fn set(&mut self, now: Timestamp, state: LaneState) -> bool {
        if let Some(error) = state.error()
            && self.state != state
        {
            self.remember_error(now, state.name(), error);
        }
        let changed = (self.state.name(), self.state.reason()) != (state.name(), state.reason());
        if !state.is_up() {
            let failing =
                self.failing.get_or_insert_with(|| Box::new(Failing { since: now, logged: now, attempts: 0 }));
            failing.attempts = failing.attempts.saturating_add(1);
            if changed {
                failing.logged = now;
            }
        } else if state.kind != LaneStateKind::Starting {
            // A lane that is started again has not succeeded yet.
            self.failing = None;
        }
        self.state = state;
        changed
    }

    pub fn failing_since(&self) -> Option<Timestamp> {
        self.failing.as_ref().map(|failing| failing.since)
    }

    /// Returns since when the lane fails, and how many attempts have failed, if that was not logged for `every`. The
    /// failure then counts as logged.
    pub fn take_reminder(&mut self, now: Timestamp, every: Duration) -> Option<(Timestamp, u64)> {
        let failing = self.failing.as_mut().filter(|failing| now.since(failing.logged) >= every)?;
        failing.logged = now;
        Some((failing.since, failing.attempts))
    }

    /// Notes that the lane tried again, and got the same error as before.
    pub fn failed_again(&mut self, now: Timestamp) {
        if let Some(last) = self.errors.last_mut() {
            last.time = now;
            last.count = last.count.saturating_add(1);
        }
    }

    fn remember_error(&mut self, now: Timestamp, state: &'static str, text: &str) {
        if self.errors.last().is_some_and(|last| last.state == state && *last.text == *text) {
            return self.failed_again(now);
        }
        if self.errors.len() == RECENT_ERRORS {
            self.errors.remove(0);
        }
        self.errors.reserve_exact(1);
        self.errors.push(RecentError { time: now, state, text: text.into(), count: 1 });
    }
}
