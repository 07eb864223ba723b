//! The regular checks of a pipeline that runs. They find out when its token expires, whether there is a new one,
//! whether it sees the scope, and whether ledgers lack records.

mod expiry;
pub mod new_token;
mod scope;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::lanes::spec::LaneSpec;
use crate::lanes::start_times::for_all;
use crate::shared::Shared;
use crate::verify;
use expiry::KnownExpiry;
use new_token::NewToken;
use scope::KnownScope;

/// Wait before a check that panicked is repeated.
const AFTER_PANIC: Duration = Duration::from_hours(1);
/// Average time between two checks that could begin at once; the first ones of many lanes begin within
/// [`FIRST_WITHIN`]. Thousands at once would leave gaps in the heap that are never filled.
pub const TIME_PER_CHECK: Duration = Duration::from_millis(20);
const FIRST_WITHIN: Duration = Duration::from_mins(10);
/// Interval of [`Checks::run_due`]: checks begin, and it is noticed that requests use another token, up to this much
/// later.
pub const INTERVAL: Duration = Duration::from_secs(15);

/// The checks of one pipeline. A check is a task only while it runs: there are tens of thousands, and they wait for
/// hours. Running checks are aborted when this is dropped.
#[derive(Debug)]
pub struct Checks {
    expiry: Repeated<KnownExpiry>,
    new_token: Repeated<NewToken>,
    scope: Repeated<KnownScope>,
    /// Whether the ledgers were read to their ends.
    ledgers: Repeated<bool>,
}

impl Checks {
    /// Plans the first checks. `starting` is the number of lanes that start at the same time. It spreads the checks, so
    /// that ten thousand pipelines do not connect and read their ledgers at once.
    pub fn new(shared: &Shared, starting: usize) -> Self {
        let first = |wait: Duration| {
            let wait = wait.mul_f64(1.0 + shared.lane_builder.fork_random().f64());
            Instant::now() + wait + shared.lane_builder.random_wait(for_all(starting, TIME_PER_CHECK).min(FIRST_WITHIN))
        };
        Self {
            expiry: first(expiry::FIRST_CHECK).into(),
            new_token: first(new_token::CHECK_INTERVAL).into(),
            scope: first(scope::FIRST_CHECK).into(),
            ledgers: first(verify::FIRST_CHECK).into(),
        }
    }

    /// Starts the checks that are due at `now`, after `wait`. `lanes` are the pipeline's.
    pub fn run_due(
        &mut self,
        now: Instant,
        shared: &Arc<Shared>,
        lanes: impl Fn() -> Vec<Arc<LaneSpec>>,
        wait: impl Fn() -> Duration,
    ) {
        if self.expiry.is_due(now) || self.expiry.state.token.is_replaced() {
            let shared = shared.clone();
            let lanes = lanes();
            self.expiry.start(wait(), |known| expiry::check(shared, lanes, known));
        }
        if self.new_token.is_due(now) {
            let shared = shared.clone();
            let lanes = lanes();
            self.new_token.start(Duration::ZERO, |known| new_token::check(shared, lanes, known));
        }
        if self.scope.is_due(now) || self.scope.idle().is_some_and(|known| known.is_outdated(shared, &lanes())) {
            let lanes = lanes();
            // Without an answer to a lane, the scope says nothing.
            if shared.running(&lanes).any(|lane| lane.last_success().is_some()) {
                let shared = shared.clone();
                self.scope.start(wait(), |known| scope::check(shared, lanes, known));
            }
        }
        if self.ledgers.is_due(now) {
            let shared = shared.clone();
            let lanes = lanes();
            self.ledgers
                .start(wait(), |are_read| async move { (true, verify::check_ledgers(shared, lanes, !are_read).await) });
        }
    }
}

/// A check that is repeated, with the state that it keeps from one run to the next.
#[derive(Debug)]
struct Repeated<T> {
    state: T,
    due: Instant,
    /// Returns the state and when the next run is due.
    running: Option<AbortOnDropHandle<(T, Instant)>>,
}

impl<T: Default> From<Instant> for Repeated<T> {
    fn from(due: Instant) -> Self {
        Self { state: T::default(), due, running: None }
    }
}

impl<T: Default + Send + 'static> Repeated<T> {
    /// Returns whether no run is under way and the next one is due.
    fn is_due(&mut self, now: Instant) -> bool {
        if let Some(ended) = self.running.as_mut().and_then(|running| unconstrained(running).now_or_never()) {
            (self.state, self.due) = ended.unwrap_or_else(|_| (T::default(), now + AFTER_PANIC));
            self.running = None;
        }
        self.running.is_none() && self.due <= now
    }

    /// Returns the state that the last run has left. `None` while a run is under way.
    fn idle(&self) -> Option<&T> {
        if self.running.is_none() { Some(&self.state) } else { None }
    }

    fn start<F>(&mut self, wait: Duration, run: impl FnOnce(T) -> F + Send + 'static)
    where
        F: Future<Output = (T, Duration)> + Send + 'static,
    {
        let state = std::mem::take(&mut self.state);
        let waiting_and_running = async move {
            sleep(wait).await;
            // Boxed after the wait, so that a task that waits is small: a worker that starts has thousands.
            let (state, pause) = Box::pin(run(state)).await;
            (state, Instant::now() + pause)
        };
        self.running = Some(AbortOnDropHandle::new(tokio::spawn(waiting_and_running)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::new_token::tests::Rotation;

    /// The content is not tried for a minute, and each of the waits comes on top of it.
    #[tokio::test(start_paused = true)]
    async fn a_new_token_is_tried_within_two_minutes_whenever_it_is_written() {
        for (second, runs) in (0..INTERVAL.as_secs()).flat_map(|second| [(second, 6), (second, 7)]) {
            let rotation = Rotation::new();
            let mut checks = Checks::new(&rotation.shared, 1);
            let mut next = async || {
                let lanes = || rotation.lanes.clone();
                checks.run_due(Instant::now(), &rotation.shared, lanes, || Duration::ZERO);
                sleep(INTERVAL).await;
            };
            for _ in 0..runs {
                next().await;
            }
            sleep(Duration::from_secs(second)).await;
            rotation.good.lock().push("next");
            rotation.write("next");
            rotation.asked();
            let written = Instant::now();
            // The supervisor looks for due checks at its own interval.
            sleep(INTERVAL - Duration::from_secs(second)).await;
            while !rotation.asked().contains(&"details next".to_owned()) {
                let waited = written.elapsed();
                assert!(waited < Duration::from_mins(2), "not tried after {waited:?}");
                next().await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_is_due_again_after_the_pause_that_it_returned_or_when_it_panicked() {
        let mut check = Repeated::<u32>::from(Instant::now() + Duration::from_secs(2));
        assert!(!check.is_due(Instant::now()), "later");
        sleep(Duration::from_secs(2)).await;
        assert!(check.is_due(Instant::now()));
        check.start(Duration::from_secs(1), |runs| async move { (runs + 1, Duration::from_secs(10)) });
        assert!(!check.is_due(Instant::now()), "it runs");
        sleep(Duration::from_secs(3)).await;
        assert!(!check.is_due(Instant::now()), "it waits");
        assert_eq!(check.state, 1);
        sleep(Duration::from_secs(10)).await;
        assert!(check.is_due(Instant::now()));
        check.start(Duration::ZERO, |_| async { panic!("a mistake") });
        sleep(Duration::from_secs(1)).await;
        assert!(!check.is_due(Instant::now()), "not at once after a panic");
        sleep(AFTER_PANIC).await;
        assert!(check.is_due(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_runs_ends_with_its_pipeline() {
        let mut check = Repeated::<Option<Arc<()>>>::from(Instant::now());
        let held = Arc::new(());
        check.state = Some(held.clone());
        check.start(Duration::ZERO, |held| async {
            sleep(Duration::MAX).await;
            (held, Duration::ZERO)
        });
        sleep(Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&held), 2);
        drop(check);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
