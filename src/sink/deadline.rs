use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Until when a lane may deliver. Where several workers share the lanes, another one may deliver soon after.
#[derive(Debug, Clone, Default)]
pub struct Deadline(Option<watch::Receiver<Instant>>);

impl Deadline {
    /// It moves as `until` does.
    pub fn following(until: watch::Receiver<Instant>) -> Self {
        Self(Some(until))
    }

    /// True when nothing may be delivered now.
    pub fn has_passed(&self) -> bool {
        self.0.as_ref().is_some_and(|until| *until.borrow() <= Instant::now())
    }

    /// Resolves when it has passed, however often it moves before that; never where there is none.
    pub async fn passed(&self) {
        let Some(until) = &self.0 else { return std::future::pending().await };
        loop {
            let moment = *until.borrow();
            if moment <= Instant::now() {
                return;
            }
            sleep_until(moment).await;
        }
    }

    /// Resolves when it lies in the future again.
    pub async fn moved_on(&self) {
        let Some(mut until) = self.0.clone() else { return };
        if until.wait_for(|moment| *moment > Instant::now()).await.is_err() {
            // Nobody renews it any more: the lane is about to be ended.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_moved_on_passes_later() {
        let (renew, until) = watch::channel(Instant::now() + Duration::from_secs(10));
        let deadline = Deadline::following(until);
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        renew.send_replace(Instant::now() + Duration::from_secs(10));
        deadline.passed().await;
        assert_eq!(begun.elapsed().as_secs(), 15);
        assert!(deadline.has_passed());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            renew.send_replace(Instant::now() + Duration::from_secs(10));
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        deadline.moved_on().await;
        assert_eq!(begun.elapsed().as_secs(), 20);
        assert!(!deadline.has_passed());
    }
}
