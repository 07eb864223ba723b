//! Programs of the user in a lane: where they run, and how often they may take too long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::program_threads::ProgramThreads;

/// Number of overruns within `OVERRUNS_WITHIN` that stops a lane.
const MAX_OVERRUNS: usize = 10;
const OVERRUNS_WITHIN: Duration = Duration::from_hours(1);

/// The additional state of a lane with programs.
#[derive(Debug, Clone)]
pub struct LanePrograms {
    pub threads: ProgramThreads,
    /// The name of the lane's pipeline. All lanes of the pipeline have one share of the processor.
    pub pipeline: Arc<str>,
    /// The lane's last overruns, kept from poll to poll.
    pub overruns: Arc<Mutex<Overruns>>,
}

impl LanePrograms {
    pub fn new(threads: ProgramThreads, pipeline: &str) -> Self {
        Self { threads, pipeline: pipeline.into(), overruns: Arc::default() }
    }
}

/// The times at which programs took too long, at most the last [`MAX_OVERRUNS`].
#[derive(Debug, Default)]
pub struct Overruns(VecDeque<Instant>);

impl Overruns {
    /// Counts an overrun. Returns why the lane has to stop; `None` if it may go on. `reason` says where the program
    /// was.
    pub fn count(&mut self, reason: &str, now: Instant) -> Option<String> {
        self.0.push_back(now);
        if self.0.len() > MAX_OVERRUNS {
            self.0.pop_front();
        }
        let first = self.0.front()?;
        let is_too_often = self.0.len() == MAX_OVERRUNS && now.saturating_duration_since(*first) <= OVERRUNS_WITHIN;
        is_too_often.then(|| {
            format!(
                "a program of the pipeline took too long for {MAX_OVERRUNS} events within an hour; the lane goes on when \
                 its file changes; {reason}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_overruns_within_an_hour_are_too_many() {
        let started_at = Instant::now();
        let minutes = |minutes: u64| started_at + Duration::from_secs(60 * minutes);
        let mut often = Overruns::default();
        let mut seldom = Overruns::default();
        for time in 0..9 {
            assert_eq!(often.count("remap: at line 3", minutes(time * 6)), None);
        }
        let reason = often.count("remap: at line 3", minutes(60)).unwrap();
        assert!(reason.ends_with("remap: at line 3"), "{reason}");
        for time in 0..100 {
            assert_eq!(seldom.count("remap: at line 3", minutes(time * 7)), None, "nine an hour");
        }
        assert_eq!(seldom.0.len(), MAX_OVERRUNS);
    }
}
