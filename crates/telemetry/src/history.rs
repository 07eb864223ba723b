//! Rates and lag of one pipeline over the last hours, for its page.

use std::collections::VecDeque;
use std::time::Duration;

use s1_forwarder_record::Timestamp;

/// Rates and lag of one pipeline over the last hours: a ring of samples. It takes four bytes twice for each step, and
/// grows with the pipeline's age.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Point>,
    /// Number of the last step since 1970.
    last: i64,
    /// Sum of the lanes' counters at the last step.
    delivered: u64,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    delivered_per_second: f32,
    /// NaN if no lane had a lag.
    lag_seconds: f32,
}

/// One step of a pipeline's history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistorySample {
    /// End of the step.
    pub time: Timestamp,
    /// Events delivered per second by all lanes of the pipeline.
    pub delivered_per_second: f32,
    /// The largest lag among the lanes; `None` if none of them knew its lag.
    pub lag_seconds: Option<f32>,
}

impl History {
    /// Time between two samples.
    pub(super) const STEP: Duration = Duration::from_mins(5);
    /// Twelve hours.
    const MAX_SAMPLES: usize = 144;

    /// Samples that memory is reserved for at a time: an hour.
    const GROWTH: usize = 12;

    /// Returns the number of the step that `now` is in.
    pub(super) fn step(now: Timestamp) -> i64 {
        now.micros().div_euclid(i64::try_from(Self::STEP.as_micros()).unwrap_or(i64::MAX))
    }

    /// Returns whether the step has no sample yet.
    pub(super) fn is_due(&self, step: i64) -> bool {
        step != self.last
    }

    /// Adds the sample of step `step`. `delivered` is the sum of the counters of all lanes that ever ran. Steps without
    /// a sample, in which the process was suspended, count as one.
    pub(super) fn push(&mut self, step: i64, delivered: u64, lag: Option<Duration>) {
        let first = self.last == 0;
        let steps = step.saturating_sub(self.last).max(1);
        let new = delivered.saturating_sub(self.delivered);
        self.last = step;
        self.delivered = delivered;
        if first {
            // The counters may come from an earlier run of the lanes, or from a part of a step.
            return;
        }
        if self.samples.len() == Self::MAX_SAMPLES {
            self.samples.pop_front();
        }
        if self.samples.len() == self.samples.capacity() {
            // A deque that grows by itself reserves twice of what it needs: there are thousands.
            self.samples.reserve_exact(Self::GROWTH);
        }
        self.samples.push_back(Point {
            delivered_per_second: (new as f64 / (Self::STEP.as_secs_f64() * steps as f64)) as f32,
            lag_seconds: lag.map_or(f32::NAN, |lag| lag.as_secs_f32()),
        });
    }

    /// Returns the samples, the oldest first.
    pub(super) fn samples(&self) -> Vec<HistorySample> {
        let end = Timestamp::from_micros(self.last.saturating_mul(Self::STEP.as_micros() as i64));
        let count = self.samples.len();
        let sample = |(index, point): (usize, &Point)| HistorySample {
            time: end.minus(Self::STEP.saturating_mul(u32::try_from(count - 1 - index).unwrap_or(u32::MAX))),
            delivered_per_second: point.delivered_per_second,
            lag_seconds: (!point.lag_seconds.is_nan()).then_some(point.lag_seconds),
        };
        self.samples.iter().enumerate().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_bounded_and_ends_with_the_newest_step() {
        let mut history = History::default();
        for step in 1_000..1_500_u32 {
            let lag = (step % 2 == 0).then(|| Duration::from_secs(u64::from(step)));
            history.push(i64::from(step), u64::from(step) * 600, lag);
        }
        let samples = history.samples();
        assert_eq!(samples.len(), History::MAX_SAMPLES);
        assert!(samples.iter().all(|sample| sample.delivered_per_second == 2.0), "{samples:?}");
        let last = samples[History::MAX_SAMPLES - 1];
        let before = samples[History::MAX_SAMPLES - 2];
        assert_eq!((last.lag_seconds, before.lag_seconds), (None, Some(1498.0)));
        assert_eq!(last.time.since(before.time), History::STEP);
        assert_eq!(History::step(last.time), 1_499);
        assert!(std::mem::size_of::<Point>() * history.samples.capacity() <= 1_200);
    }

    #[test]
    fn a_suspended_process_does_not_exaggerate_the_rate() {
        let mut history = History::default();
        history.push(10, 50, None);
        assert_eq!(history.samples(), []);
        history.push(14, 1_250, None);
        assert_eq!(history.samples()[0].delivered_per_second, 1.0);
    }
}
