use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The time until which a lane may deliver. After it, another worker may own the lane. Without one there is no limit.
#[derive(Debug, Clone, Default)]
pub struct Deadline(Option<watch::Receiver<Instant>>);

impl Deadline {
    pub fn new(until: watch::Receiver<Instant>) -> Self {
        Self(Some(until))
    }

    pub fn has_passed(&self) -> bool {
        self.0.as_ref().is_some_and(|until| *until.borrow() <= Instant::now())
    }

    /// Resolves when the deadline has passed, even if it is renewed before. Never resolves without a deadline.
    pub async fn passed(&self) {
        let Some(until) = &self.0 else { return std::future::pending().await };
        loop {
            let deadline = *until.borrow();
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }

    /// Resolves when the deadline is in the future again.
    pub async fn renewed(&self) {
        let Some(mut until) = self.0.clone() else { return };
        if until.wait_for(|deadline| *deadline > Instant::now()).await.is_err() {
            // The sender is gone: the lane is about to end.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_renewed_deadline_passes_later() {
        let (renew, until) = watch::channel(Instant::now() + Duration::from_secs(10));
        let deadline = Deadline::new(until);
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
        deadline.renewed().await;
        assert_eq!(begun.elapsed().as_secs(), 20);
        assert!(!deadline.has_passed());
    }
}
