//! The time until which a worker may deliver, which goes on while the machine is suspended.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The time until which a lane may deliver. After it, another worker may own the lane. Without one there is no limit.
#[derive(Debug, Clone, Default)]
pub struct Deadline(Option<watch::Receiver<Until>>);

/// A time that also comes while the machine is suspended. The clock of [`Instant`] stops meanwhile, but the leases of
/// other workers go on.
#[derive(Debug, Clone, Copy)]
pub struct Until {
    at: Instant,
    /// The result of [`suspended`] when this time was made.
    suspended: Duration,
}

/// Longest interval at which a deadline is compared with the clock, since a timer does not notice a suspension.
const LOOK: Duration = Duration::from_secs(1);

impl Until {
    pub fn after(left: Duration) -> Self {
        Self { at: Instant::now() + left, suspended: suspended() }
    }

    pub fn now() -> Self {
        Self::after(Duration::ZERO)
    }

    fn left(&self) -> Duration {
        let meanwhile = suspended().saturating_sub(self.suspended);
        self.at.saturating_duration_since(Instant::now()).saturating_sub(meanwhile)
    }

    fn has_come(&self) -> bool {
        self.left().is_zero()
    }
}

/// Returns how long the machine has been suspended since its start. The result has whole milliseconds, since the two
/// clocks are read one after the other.
pub fn suspended() -> Duration {
    #[cfg(target_os = "linux")]
    let suspended = {
        use rustix::time::{ClockId, clock_gettime};
        let [boot, monotonic] = [ClockId::Boottime, ClockId::Monotonic].map(|clock| {
            let time = clock_gettime(clock);
            let part = |number: i64| u64::try_from(number).unwrap_or_default();
            Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
        });
        Duration::from_millis(u64::try_from(boot.saturating_sub(monotonic).as_millis()).unwrap_or(u64::MAX))
    };
    #[cfg(not(target_os = "linux"))]
    let suspended = Duration::ZERO;
    #[cfg(test)]
    let suspended = suspended + tests::SUSPENDED.get();
    suspended
}

impl Deadline {
    pub fn new(until: watch::Receiver<Until>) -> Self {
        Self(Some(until))
    }

    pub fn has_passed(&self) -> bool {
        self.0.as_ref().is_some_and(|until| until.borrow().has_come())
    }

    /// Waits until the deadline has passed; a renewal in time makes the wait longer. Never resolves without a deadline.
    pub async fn passed(&self) {
        let Some(until) = &self.0 else { return std::future::pending().await };
        loop {
            let left = until.borrow().left();
            if left.is_zero() {
                return;
            }
            sleep(left.min(LOOK)).await;
        }
    }

    /// Waits until the deadline is in the future again. Resolves at once without a deadline.
    pub async fn renewed(&self) {
        let Some(mut until) = self.0.clone() else { return };
        if until.wait_for(|deadline| !deadline.has_come()).await.is_err() {
            // The sender is gone: the lane is about to end.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// Time that is added to the suspension that the system reports.
        pub(super) static SUSPENDED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_deadline_passes_later() {
        let (renew, until) = watch::channel(Until::after(Duration::from_secs(10)));
        let deadline = Deadline::new(until);
        let started_at = Instant::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        renew.send_replace(Until::after(Duration::from_secs(10)));
        deadline.passed().await;
        assert_eq!(started_at.elapsed().as_secs(), 15);
        assert!(deadline.has_passed());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            renew.send_replace(Until::after(Duration::from_secs(10)));
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        deadline.renewed().await;
        assert_eq!(started_at.elapsed().as_secs(), 20);
        assert!(!deadline.has_passed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_passes_while_the_machine_is_suspended() {
        let (_renew, until) = watch::channel(Until::after(Duration::from_secs(10)));
        let deadline = Deadline::new(until);
        let started_at = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!deadline.has_passed());
        SUSPENDED.set(Duration::from_secs(8));
        assert!(!deadline.has_passed(), "one second is left");
        deadline.passed().await;
        assert_eq!(started_at.elapsed().as_secs(), 2);
        // A deadline that was set after the suspension does not count it.
        let (_renew, until) = watch::channel(Until::after(Duration::from_secs(10)));
        assert!(!Deadline::new(until).has_passed());
        SUSPENDED.set(Duration::ZERO);
    }
}
