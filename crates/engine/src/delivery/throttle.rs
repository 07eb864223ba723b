//! Limits the concurrent requests of a lane to what the destination can handle.
//!
//! Additive increase, multiplicative decrease, between 1 and `concurrency`. `Window` computes the limit without tasks
//! and clocks.

use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder_failure::{Failure, FailureKind};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::sink::{Attempt, Outcome};

/// The destination's load, as an attempt shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Normal,
    /// No further requests for this time, and fewer afterwards.
    Overloaded(Option<Duration>),
    /// The outcome had another cause.
    Unknown,
}

impl Load {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered | Outcome::DeliveredWithWarnings(_) => Self::Normal,
            Outcome::SlowDown(_) | Outcome::Busy(_) => Self::Overloaded(None),
            Outcome::Failed(Failure { kind: FailureKind::Transient, retry_after, .. }) => {
                Self::Overloaded(*retry_after)
            }
            // Events after a refused one are sent again at once, which is not a matter of load.
            Outcome::Partial { refused, retry, retry_after, .. } if refused.is_empty() && !retry.is_empty() => {
                Self::Overloaded(*retry_after)
            }
            Outcome::Partial { .. } | Outcome::RefusedSome { .. } => Self::Normal,
            Outcome::TooLarge(_) | Outcome::Refused(_) | Outcome::Failed(_) => Self::Unknown,
        }
    }
}

/// The limit of concurrent attempts.
#[derive(Debug)]
struct Window {
    max: f64,
    /// Its whole part is the current limit.
    size: f64,
    in_flight: usize,
    /// Number of decreases. Attempts that began before the last one do not cause another.
    decreases: u64,
}

impl Window {
    fn new(max: usize) -> Self {
        let max = max.max(1) as f64;
        Self { max, size: max, in_flight: 0, decreases: 0 }
    }

    /// Begins an attempt if the limit allows it. Returns the number of decreases so far, for [`shrink`](Self::shrink).
    fn try_begin(&mut self) -> Option<u64> {
        if self.in_flight as f64 + 1.0 > self.size {
            return None;
        }
        self.in_flight += 1;
        Some(self.decreases)
    }

    fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Raises the limit by one over as many calls as the limit is.
    fn grow(&mut self) {
        self.size = (self.size + 1.0 / self.size.floor()).min(self.max);
    }

    /// Halves the limit, but only once for all attempts that were in flight together.
    fn shrink(&mut self, decreases_at_begin: u64) {
        if decreases_at_begin == self.decreases {
            self.size = (self.size / 2.0).floor().max(1.0);
            self.decreases += 1;
        }
    }
}

#[derive(Debug)]
struct State {
    window: Window,
    /// The time before which no attempt begins, from `Retry-After`; `None` if there is none.
    blocked_until: Option<Instant>,
}

impl State {
    /// Begins an attempt, or returns the time before which no attempt may begin. The time is `None` if another attempt
    /// has to end first.
    fn try_begin(&mut self) -> Result<u64, Option<Instant>> {
        if self.blocked_until.is_some_and(|until| until > Instant::now()) {
            return Err(self.blocked_until);
        }
        self.blocked_until = None;
        self.window.try_begin().ok_or(None)
    }
}

/// The limit of concurrent attempts that all deliveries of a lane share.
#[derive(Debug)]
pub struct Throttle {
    state: Mutex<State>,
    /// Wakes waiting tasks in the order of their arrival, so that simulated schedules can be repeated.
    changed: Notify,
}

/// Permission for one attempt, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    throttle: &'a Throttle,
    decreases_at_begin: u64,
}

impl Throttle {
    /// Creates a throttle that allows at most `max` concurrent attempts.
    pub fn new(max: usize) -> Self {
        let state = State { window: Window::new(max), blocked_until: None };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Returns how long no attempt may begin because of `Retry-After`.
    pub fn blocked_for(&self) -> Duration {
        let blocked_until = self.state.lock().blocked_until;
        blocked_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Waits until one more attempt may begin.
    pub(crate) async fn acquire(&self) -> Permit<'_> {
        loop {
            // Registered before the check, so that no change between the two is missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let begun = self.state.lock().try_begin();
            let blocked_until = match begun {
                Ok(decreases_at_begin) => return Permit { throttle: self, decreases_at_begin },
                Err(blocked_until) => blocked_until,
            };
            tokio::select! {
                biased;
                () = &mut changed => {}
                () = sleep_until(blocked_until.unwrap_or_else(Instant::now)), if blocked_until.is_some() => {}
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_waiters();
    }
}

impl Permit<'_> {
    /// Adapts the limit to the result of the attempt.
    pub(crate) fn observe(&self, attempt: &Attempt) {
        let load = Load::of(&attempt.outcome);
        self.throttle.change(|state| match load {
            Load::Normal => state.window.grow(),
            Load::Overloaded(retry_after) => {
                state.window.shrink(self.decreases_at_begin);
                let until = retry_after.map(|retry_after| Instant::now() + retry_after);
                state.blocked_until = state.blocked_until.max(until);
            }
            Load::Unknown => {}
        });
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.throttle.change(|state| state.window.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::RefusedEvent;

    /// Returns the number of attempts that may begin now.
    fn available(window: &mut Window) -> usize {
        let attempts = (0..100).take_while(|_| window.try_begin().is_some()).count();
        (0..attempts).for_each(|_| window.end());
        attempts
    }

    #[test]
    fn the_window_halves_and_grows_by_one_a_round() {
        let mut window = Window::new(8);
        assert_eq!(available(&mut window), 8);
        let mut sizes = Vec::new();
        for _ in 0..5 {
            window.shrink(window.decreases);
            sizes.push(available(&mut window));
        }
        assert_eq!(sizes, [4, 2, 1, 1, 1], "one request is always allowed");
        sizes.clear();
        for _ in 0..9 {
            // A round: as many successes as the limit.
            (0..available(&mut window)).for_each(|_| window.grow());
            sizes.push(available(&mut window));
        }
        assert_eq!(sizes, [2, 3, 4, 5, 6, 7, 8, 8, 8]);
    }

    #[test]
    fn overload_of_one_round_counts_once() {
        let mut window = Window::new(8);
        let attempts: Vec<u64> = (0..8).filter_map(|_| window.try_begin()).collect();
        for decreases in attempts {
            window.shrink(decreases);
            window.end();
        }
        assert_eq!(available(&mut window), 4);
    }

    #[test]
    fn only_overload_shrinks_the_window() {
        let text = String::new;
        let partial = |refused: &[usize], retry: &[usize], retry_after| Outcome::Partial {
            refused: refused
                .iter()
                .map(|index| RefusedEvent { index: *index, status: text(), reason: text() })
                .collect(),
            retry: retry.to_vec(),
            retry_after,
            warnings: Vec::new(),
        };
        let seconds = Some(Duration::from_secs(7));
        for (outcome, load) in [
            (Outcome::Delivered, Load::Normal),
            (Outcome::DeliveredWithWarnings(Vec::new()), Load::Normal),
            (Outcome::SlowDown(text()), Load::Overloaded(None)),
            (Outcome::Failed(Failure::transient_after(text(), seconds)), Load::Overloaded(seconds)),
            (partial(&[], &[1], seconds), Load::Overloaded(seconds)),
            (partial(&[0], &[1], None), Load::Normal),
            (partial(&[0], &[], None), Load::Normal),
            (Outcome::TooLarge(text()), Load::Unknown),
            (Outcome::Refused(text()), Load::Unknown),
            (Outcome::unauthorized(text()), Load::Unknown),
            (Outcome::misconfigured(text()), Load::Unknown),
        ] {
            assert_eq!(Load::of(&outcome), load, "{outcome:?}");
        }
    }

    fn attempt(outcome: Outcome) -> Attempt {
        Attempt::unsent(outcome, "")
    }

    #[tokio::test(start_paused = true)]
    async fn no_attempt_begins_before_retry_after() {
        let throttle = Throttle::new(4);
        let start = Instant::now();
        let busy = Outcome::Failed(Failure::transient_after("", Some(Duration::from_secs(30))));
        throttle.acquire().await.observe(&attempt(busy));
        assert!(!throttle.blocked_for().is_zero());
        let (first, second) = tokio::join!(throttle.acquire(), throttle.acquire());
        assert_eq!(start.elapsed().as_secs(), 30);
        let third = tokio::time::timeout(Duration::from_mins(1), throttle.acquire()).await;
        assert!(third.is_err(), "4 were allowed, now 2 are");
        first.observe(&attempt(Outcome::Delivered));
        second.observe(&attempt(Outcome::Delivered));
        let _third = throttle.acquire().await;
        drop((first, second));
    }
}
