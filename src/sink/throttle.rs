//! How many requests a lane has under way: fewer for a destination that is slow to take them, and slowly more again.
//!
//! Additive increase, multiplicative decrease, between 1 and `concurrency`. The numbers are in `Window`, which knows
//! nothing of tasks and clocks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::{Attempt, Outcome};

/// What an attempt says about the destination's load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    /// It keeps up.
    Taken,
    /// It wants less, and nothing at all for this long.
    Less(Option<Duration>),
    /// Nothing: refusals and wrong settings have other reasons.
    Neither,
}

impl Signal {
    fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered | Outcome::DeliveredWithWarning(_) => Self::Taken,
            Outcome::SlowDown(_) => Self::Less(None),
            Outcome::RetryLater { after, .. } => Self::Less(*after),
            // What comes after a refused event is sent again at once, and not for want of room.
            Outcome::Partial { rejected, retry, after } if rejected.is_empty() && !retry.is_empty() => {
                Self::Less(*after)
            }
            Outcome::Partial { .. } | Outcome::RefusedSome { .. } => Self::Taken,
            Outcome::TooLarge(_)
            | Outcome::Refused(_)
            | Outcome::Unauthorized(_)
            | Outcome::Misconfigured(_)
            | Outcome::Superseded(_) => Self::Neither,
        }
    }
}

/// How many attempts may be under way.
#[derive(Debug)]
struct Window {
    most: f64,
    /// Its whole part is what is allowed.
    size: f64,
    under_way: usize,
    /// Counts the decreases. What began before the last one says nothing new.
    decreases: u64,
}

impl Window {
    fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self { most, size: most, under_way: 0, decreases: 0 }
    }

    /// One more, if there is room; the answer is to be given back when it ends.
    fn begin(&mut self) -> Option<u64> {
        if self.under_way as f64 + 1.0 > self.size {
            return None;
        }
        self.under_way += 1;
        Some(self.decreases)
    }

    fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// One more for as many as are allowed.
    fn grow(&mut self) {
        self.size = (self.size + 1.0 / self.size.floor()).min(self.most);
    }

    /// Half as many; once for all that were under way together.
    fn shrink(&mut self, begun: u64) {
        if begun == self.decreases {
            self.size = (self.size / 2.0).floor().max(1.0);
            self.decreases += 1;
        }
    }
}

#[derive(Debug)]
struct State {
    window: Window,
    /// `Retry-After`: nobody asks before.
    held_until: Option<Instant>,
}

impl State {
    fn begin(&mut self) -> Option<u64> {
        if self.held_until.is_some_and(|until| until > Instant::now()) {
            return None;
        }
        self.held_until = None;
        self.window.begin()
    }
}

/// Lets attempts begin. One for all deliveries of a lane.
#[derive(Debug)]
pub struct Throttle {
    state: Mutex<State>,
    /// Wakes those who wait in the order in which they came, so that simulated schedules replay.
    changed: Notify,
}

/// Leave for one attempt, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Leave<'a> {
    throttle: &'a Throttle,
    begun: u64,
}

impl Throttle {
    /// At most `most` attempts under way.
    pub fn new(most: usize) -> Self {
        let state = State { window: Window::new(most), held_until: None };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// How long the destination wants to be left alone (`Retry-After`).
    pub fn held_for(&self) -> Duration {
        let held_until = self.lock().held_until;
        held_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Waits until there is room for one more attempt.
    pub(crate) async fn leave(&self) -> Leave<'_> {
        loop {
            // Before trying, so that what changes after it is not missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(begun) = self.lock().begin() {
                return Leave { throttle: self, begun };
            }
            let held_for = self.held_for();
            tokio::select! {
                biased;
                () = &mut changed => {}
                () = sleep(held_for), if !held_for.is_zero() => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }
}

impl Leave<'_> {
    /// What came of the attempt decides over those after it.
    pub(crate) fn learn(&self, attempt: &Attempt) {
        let signal = Signal::of(&attempt.outcome);
        self.throttle.change(|state| match signal {
            Signal::Taken => state.window.grow(),
            Signal::Less(after) => {
                state.window.shrink(self.begun);
                let until = after.map(|after| Instant::now() + after);
                state.held_until = state.held_until.max(until);
            }
            Signal::Neither => {}
        });
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.throttle.change(|state| state.window.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many may begin now.
    fn room(window: &mut Window) -> usize {
        let begun = (0..100).take_while(|_| window.begin().is_some()).count();
        (0..begun).for_each(|_| window.end());
        begun
    }

    #[test]
    fn the_window_halves_and_grows_by_one_a_round() {
        let mut window = Window::new(8);
        assert_eq!(room(&mut window), 8);
        let mut sizes = Vec::new();
        for _ in 0..5 {
            window.shrink(window.decreases);
            sizes.push(room(&mut window));
        }
        assert_eq!(sizes, [4, 2, 1, 1, 1], "one request is always left to ask with");
        sizes.clear();
        for _ in 0..9 {
            // A round: as many successes as may be under way.
            (0..room(&mut window)).for_each(|_| window.grow());
            sizes.push(room(&mut window));
        }
        assert_eq!(sizes, [2, 3, 4, 5, 6, 7, 8, 8, 8]);
    }

    #[test]
    fn refusals_of_one_round_count_once() {
        let mut window = Window::new(8);
        let begun: Vec<u64> = (0..8).filter_map(|_| window.begin()).collect();
        for begun in begun {
            window.shrink(begun);
            window.end();
        }
        assert_eq!(room(&mut window), 4);
    }

    #[test]
    fn what_is_no_fault_of_load_changes_nothing() {
        let text = String::new;
        let partial = |rejected: &[usize], retry: &[usize], after| Outcome::Partial {
            rejected: rejected.iter().map(|index| (*index, String::new())).collect(),
            retry: retry.to_vec(),
            after,
        };
        let seconds = Some(Duration::from_secs(7));
        for (outcome, signal) in [
            (Outcome::Delivered, Signal::Taken),
            (Outcome::DeliveredWithWarning(text()), Signal::Taken),
            (Outcome::SlowDown(text()), Signal::Less(None)),
            (Outcome::RetryLater { reason: text(), after: seconds }, Signal::Less(seconds)),
            (partial(&[], &[1], seconds), Signal::Less(seconds)),
            (partial(&[0], &[1], None), Signal::Taken),
            (partial(&[0], &[], None), Signal::Taken),
            (Outcome::TooLarge(text()), Signal::Neither),
            (Outcome::Refused(text()), Signal::Neither),
            (Outcome::Unauthorized(text()), Signal::Neither),
            (Outcome::Misconfigured(text()), Signal::Neither),
        ] {
            assert_eq!(Signal::of(&outcome), signal, "{outcome:?}");
        }
    }

    fn attempt(outcome: Outcome) -> Attempt {
        Attempt { outcome, bytes: 0, status: String::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_asks_before_the_time_that_one_was_told() {
        let throttle = Throttle::new(4);
        let begun = Instant::now();
        let busy = Outcome::RetryLater { reason: String::new(), after: Some(Duration::from_secs(30)) };
        throttle.leave().await.learn(&attempt(busy));
        assert!(!throttle.held_for().is_zero());
        let (first, second) = tokio::join!(throttle.leave(), throttle.leave());
        assert_eq!(begun.elapsed().as_secs(), 30);
        let third = tokio::time::timeout(Duration::from_secs(60), throttle.leave()).await;
        assert!(third.is_err(), "4 were allowed, now 2 are");
        first.learn(&attempt(Outcome::Delivered));
        second.learn(&attempt(Outcome::Delivered));
        let _third = throttle.leave().await;
        drop((first, second));
    }
}
