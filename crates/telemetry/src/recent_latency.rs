//! Measures the durations of the requests of the last minute.

use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder_record::Timestamp;

/// Two of these are the last minute: the one that has begun, and the one before.
const HALF_MINUTE: i64 = 30;

/// The durations of the requests of the last minute. Boxed: most lanes have sent none.
#[derive(Debug, Default)]
pub struct RecentLatency(Mutex<Option<Box<Halves>>>);

#[derive(Debug, Default, Clone, Copy)]
struct Halves {
    /// Number of the half minute that has begun.
    number: i64,
    now: RequestTimes,
    before: RequestTimes,
}

/// Requests that ended in a half minute.
#[derive(Debug, Default, Clone, Copy)]
pub struct RequestTimes {
    count: u32,
    seconds: f32,
}

impl RecentLatency {
    /// Counts a request that has ended.
    pub fn add(&self, took: Duration, now: Timestamp) {
        let mut halves = self.0.lock();
        let halves = halves.get_or_insert_default();
        **halves = halves.at(now);
        halves.now.count = halves.now.count.saturating_add(1);
        halves.now.seconds += took.as_secs_f32();
    }

    /// Returns the requests of the last minute, or of its last half.
    pub fn requests(&self, now: Timestamp) -> RequestTimes {
        let halves = self.0.lock().as_deref().map(|halves| halves.at(now)).unwrap_or_default();
        halves.now.and(halves.before)
    }
}

impl Halves {
    fn at(self, now: Timestamp) -> Self {
        let number = now.seconds() / HALF_MINUTE;
        match number - self.number {
            // A clock may go back.
            ..=0 => self,
            1 => Self { number, before: self.now, now: RequestTimes::default() },
            _ => Self { number, ..Self::default() },
        }
    }
}

impl RequestTimes {
    pub fn and(self, other: Self) -> Self {
        Self { count: self.count.saturating_add(other.count), seconds: self.seconds + other.seconds }
    }

    /// Returns the mean duration in seconds. `None` without requests.
    pub fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| f64::from(self.seconds) / f64::from(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_of_the_last_minute() {
        let latency = RecentLatency::default();
        let at = |seconds: i64| Timestamp::from_micros((1_790_000_010 + seconds) * 1_000_000);
        assert_eq!(latency.requests(at(0)).mean(), None);
        latency.add(Duration::from_secs(1), at(0));
        latency.add(Duration::from_secs(3), at(20));
        assert_eq!(latency.requests(at(20)).mean(), Some(2.0));
        latency.add(Duration::from_secs(8), at(40));
        assert_eq!(latency.requests(at(45)).mean(), Some(4.0));
        assert_eq!(latency.requests(at(65)).mean(), Some(8.0), "the first half minute is over");
        assert_eq!(latency.requests(at(95)).mean(), None, "no request has ended for a minute");
    }
}
