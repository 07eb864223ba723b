//! The times at which the passes of a lane are polled next. Polls begin together, so that idle lanes cost little.

use std::time::Duration;

use compact_str::CompactString;
use s1_forwarder_failure::{Failure, FailureKind};
use s1_forwarder_record::Timestamp;
use tokio::time::Instant;

use crate::source::{Pass, PassKind, PassPosition, PollContext, SourcePosition};

/// Number of steps in the period of a poll. Polls begin at multiples of a step, of at most [`MAX_STEP`], so that lanes
/// wake up together. If 10,000 idle lanes wake up one by one, they cost twice as much CPU time
/// (docs/dev/performance.md).
const STEPS_IN_PERIOD: u32 = 80;
const MAX_STEP: Duration = Duration::from_millis(750);

/// The times at which the passes over the stream are polled next. A pass that the console refuses, or fails to answer,
/// waits by itself: the other passes are polled when they are due.
#[derive(Debug)]
pub struct PollSchedule {
    passes: Vec<ScheduledPass>,
    not_before: Instant,
    once: bool,
    /// Whether a pass was given up, which happens only with `once`.
    has_given_up: bool,
}

#[derive(Debug)]
struct ScheduledPass {
    name: CompactString,
    /// `None` if the pass is not polled again.
    due: Option<Instant>,
    /// The failure of the last poll; `None` if it did not fail.
    failure: Option<Failure>,
}

impl ScheduledPass {
    fn is_refused(&self) -> bool {
        let kind = self.failure.as_ref().map(|failure| failure.kind);
        self.due.is_some() && matches!(kind, Some(FailureKind::Unauthorized | FailureKind::Misconfigured))
    }
}

impl PollSchedule {
    /// Returns a schedule in which the first pass is due after `first_poll_after`, and the others when their period is
    /// over. With `once`, all passes are due after `first_poll_after`, and only once.
    pub fn new(
        passes: &[Pass],
        position: &SourcePosition,
        now: Timestamp,
        first_poll_after: Duration,
        once: bool,
    ) -> Self {
        let not_before = Instant::now();
        let mut schedule = Self { passes: Vec::new(), not_before, once, has_given_up: false };
        schedule.replace_passes(passes, position, now);
        for (index, pass) in schedule.passes.iter_mut().enumerate() {
            let first = not_before + first_poll_after;
            pass.due = pass.due.map(|due| if index == 0 || once { first } else { due.max(first) });
        }
        schedule
    }

    /// Replaces the passes of the stream. Passes that the stream had before keep their schedule.
    pub fn replace_passes(&mut self, passes: &[Pass], position: &SourcePosition, now: Timestamp) {
        let mut before = std::mem::take(&mut self.passes);
        let entry = |pass: &Pass| {
            if let Some(place) = before.iter().position(|entry| entry.name == pass.name) {
                return before.swap_remove(place);
            }
            let complete = position.of_pass(pass).and_then(|pass_position| pass_position.complete);
            // A scope of findings that was never read is due at once.
            let never = if pass.reads_findings() { Duration::ZERO } else { pass.every };
            let wait = complete.map_or(never, |complete| pass.every.saturating_sub(now.since(complete)));
            let due = Instant::now() + if self.once { Duration::ZERO } else { wait };
            ScheduledPass { name: pass.name.clone(), due: Some(due), failure: None }
        };
        self.passes = passes.iter().map(entry).collect();
    }

    /// Returns the index of the pass that is due first, and when it is due. `None` if no pass is polled again.
    pub fn next(&self) -> Option<(usize, Instant)> {
        let due = self.passes.iter().enumerate().filter_map(|(index, pass)| Some((index, pass.due?)));
        let (pass, due) = due.min_by_key(|(_, due)| *due)?;
        Some((pass, due.max(self.not_before)))
    }

    /// Polls no pass before `pause` is over.
    pub fn pause(&mut self, pause: Duration) {
        self.not_before = Instant::now() + pause;
    }

    /// Notes that a poll of the pass failed. The pass is polled again after `pause`.
    pub fn pass_failed(&mut self, pass: usize, failure: Failure, pause: Duration) {
        if let Some(pass) = self.passes.get_mut(pass) {
            pass.due = Some(Instant::now() + pause);
            pass.failure = Some(failure);
        }
    }

    /// Returns whether the console refuses a pass, or its token.
    pub fn waits_for_console(&self) -> bool {
        self.passes.iter().any(ScheduledPass::is_refused)
    }

    /// Makes the passes due that the console refused: it may accept the token that is in use now.
    pub fn retry_refused(&mut self) {
        let now = Instant::now();
        for pass in self.passes.iter_mut().filter(|pass| pass.is_refused()) {
            pass.due = Some(now);
            self.not_before = now;
        }
    }

    /// Gives up the pass, with `once`: it is not polled again.
    pub fn give_up(&mut self, pass: usize, failure: Failure) {
        self.has_given_up = true;
        if let Some(pass) = self.passes.get_mut(pass) {
            pass.due = None;
            pass.failure = Some(failure);
        }
    }

    /// Returns whether a pass was given up.
    pub fn has_given_up(&self) -> bool {
        self.has_given_up
    }

    /// Returns whether the last poll of the pass failed.
    pub fn is_failing(&self, pass: usize) -> bool {
        self.passes.get(pass).is_some_and(|pass| pass.failure.is_some())
    }

    /// Returns the failure of a pass other than `except`; `None` if there is none.
    pub fn failure(&self, except: Option<usize>) -> Option<Failure> {
        let passes = self.passes.iter().enumerate().filter(|(index, _)| Some(*index) != except);
        passes.filter_map(|(_, pass)| pass.failure.clone()).next()
    }

    /// Plans the next poll of a pass after a poll that did not fail. The last poll began at `started_at`, which was
    /// `clock_time` by the machine's clock.
    pub fn done(
        &mut self,
        passes: &[Pass],
        context: PollContext,
        (started_at, clock_time): (Instant, Timestamp),
        position: &SourcePosition,
    ) {
        let (Some(pass), Some(scheduled)) = (passes.get(context.pass), self.passes.get_mut(context.pass)) else {
            return;
        };
        let now = Instant::now();
        let pass_position = position.of_pass(pass);
        scheduled.failure = None;
        scheduled.due = if pass_position.is_some_and(PassPosition::is_marking) {
            Some(now)
        } else if self.once {
            None
        } else if pass.kind == PassKind::Snapshot && context.snapshot.is_none() {
            // By the console's clock the last snapshot was complete and the next not due. By this machine's clock it
            // may be due, which would mean no wait at all.
            let last = pass_position.and_then(|pass_position| pass_position.snapshot);
            let next = last.map_or(context.start, |snapshot| snapshot.time).plus(pass.every);
            Some(now + next.since(context.start).min(pass.every))
        } else {
            Some((started_at + until_next(clock_time, pass.every)).max(now))
        };
    }
}

/// Returns the time between the beginnings of two polls: the period, shortened so that lanes wake up together.
fn until_next(begun_at: Timestamp, period: Duration) -> Duration {
    until_step(begun_at, period, (period / STEPS_IN_PERIOD).min(MAX_STEP))
}

/// Returns `wait`, shortened so that the caller wakes up together with lanes.
pub fn until_lanes_wake(now: Timestamp, wait: Duration) -> Duration {
    until_step(now, wait, MAX_STEP)
}

fn until_step(now: Timestamp, wait: Duration, step: Duration) -> Duration {
    now.plus(wait).aligned_to(step).since(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_with_equal_periods_wake_up_together() {
        let at = |millis: i64| Timestamp::from_micros(millis * 1_000);
        for (period, step) in [(800, 10), (30_000, 375), (60_000, 750), (21_600_000, 750)] {
            let every = Duration::from_millis(period);
            let next = |begun_at: Timestamp| begun_at.plus(until_next(begun_at, every));
            let from = at(1_795_432_000_123).aligned_to(Duration::from_millis(step));
            let together = from.plus(every);
            for millis in 0..step {
                let begun_at = from.plus(Duration::from_millis(millis));
                assert_eq!(next(begun_at), together, "{period} {millis}");
            }
            assert!(next(from.minus(Duration::from_millis(1))) < together, "{period}");
        }
    }

    #[test]
    fn checks_begin_with_polls() {
        let now = Timestamp::from_micros(1_795_432_000_123_457);
        for wait in [0, 100, 800, 15_000].map(Duration::from_millis) {
            let until = until_lanes_wake(now, wait);
            assert!(until <= wait && until + MAX_STEP >= wait, "{wait:?} {until:?}");
            let at = now.plus(until);
            assert!(until.is_zero() || at == at.aligned_to(MAX_STEP), "{wait:?}");
        }
    }

    #[test]
    fn polls_are_a_period_apart_or_a_step_less() {
        for micros in [0, 1, 499_999, 500_000, 1_795_432_000_123_457] {
            for period in [0, 1, 79, 80, 5_000, 60_000].map(Duration::from_millis) {
                let until = until_next(Timestamp::from_micros(micros), period);
                let longest = period / 80;
                assert!(until <= period && until + longest >= period, "{micros} {period:?} {until:?}");
            }
        }
    }
}
