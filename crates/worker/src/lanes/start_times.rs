//! Spreads lanes that start together: when they read their checkpoints, and when they poll first.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// Lanes begin over this time per lane, each before its first poll. Ten thousand that read their checkpoints at once
/// would leave gaps in the heap that are never filled.
const OPEN_PER_LANE: Duration = Duration::from_micros(500);
/// First polls are spread over this time per lane, at most over their interval.
const POLL_PER_LANE: Duration = Duration::from_millis(6);
/// The fractional part of the golden ratio. Its multiples, without their whole parts, divide a unit most evenly,
/// however many there are.
const STEP: f64 = 0.618_033_988_749_894_9;
/// Number of consoles whose places are remembered. With more, places are forgotten: the next lane of each console
/// begins anywhere.
const MAX_HOSTS: usize = 100_000;

/// Spreads the first polls of each console evenly. Lanes poll at the same place of their interval from then on. With
/// random places, a few of a hundred lanes poll at the same moment, and each needs a connection of its own, which stays
/// open.
#[derive(Debug, Default)]
pub struct StartTimes {
    /// By the console's host: the place of its last lane, from 0 to 1.
    places: Mutex<HashMap<String, f64>>,
}

/// The waits of a lane that starts, besides the time that it needs itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct StartWaits {
    /// Wait before the lane reads its checkpoint.
    pub open: Duration,
    /// Wait from then on, before the lane's first poll.
    pub first_poll: Duration,
}

impl StartTimes {
    /// Returns the waits of another lane of this console, one of `lanes` that start together.
    pub fn next(&self, host: &str, lanes: usize, interval: Duration, random: &mut fastrand::Rng) -> StartWaits {
        let mut places = self.places.lock();
        if places.len() >= MAX_HOSTS && !places.contains_key(host) {
            places.clear();
        }
        let place = match places.get_mut(host) {
            Some(place) => {
                *place = (*place + STEP).fract();
                *place
            }
            None => *places.entry(host.to_owned()).or_insert(random.f64()),
        };
        let first_poll = for_all(lanes, POLL_PER_LANE).min(interval).mul_f64(place);
        let open = for_all(lanes, OPEN_PER_LANE).min(first_poll).mul_f64(random.f64());
        StartWaits { open, first_poll: first_poll.saturating_sub(open) }
    }
}

/// Returns how long it takes to begin `many` lanes or checks, one after the other.
pub fn for_all(many: usize, each: Duration) -> Duration {
    each.saturating_mul(u32::try_from(many.saturating_sub(1)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_mins(1);

    /// Returns the largest number of `waits` within a `part` of the interval.
    fn most(waits: &[Duration], part: Duration) -> usize {
        let within = |from: Duration| waits.iter().filter(|wait| **wait >= from && **wait < from + part).count();
        waits.iter().map(|wait| within(*wait)).max().unwrap()
    }

    #[test]
    fn lanes_of_a_console_are_spread_evenly_and_consoles_by_chance() {
        let times = StartTimes::default();
        let mut random = fastrand::Rng::with_seed(1);
        let mut polls = |host: &str, lanes: usize| -> Vec<_> {
            let next = |_| {
                let StartWaits { open, first_poll } = times.next(host, 10_001, INTERVAL, &mut random);
                open + first_poll
            };
            (0..lanes).map(next).collect()
        };
        for lanes in [2, 10, 100, 1_000] {
            let polls = polls(&format!("console of {lanes}"), lanes);
            let part = INTERVAL / u32::try_from(lanes).unwrap();
            assert!(most(&polls, part) <= 2, "{lanes}: {}", most(&polls, part));
            assert!(polls.iter().all(|wait| *wait < INTERVAL));
        }
        let first: Vec<_> = (0..100).map(|console| polls(&console.to_string(), 1)[0]).collect();
        assert!(most(&first, INTERVAL / 2) < 80, "consoles with one lane each");
    }

    #[test]
    fn no_first_poll_waits_for_other_lanes_to_open_and_a_single_lane_waits_for_nothing() {
        let times = StartTimes::default();
        let mut random = fastrand::Rng::with_seed(1);
        let waits: Vec<_> = (0..100).map(|_| times.next("console", 100, INTERVAL, &mut random)).collect();
        let opens: Vec<_> = waits.iter().map(|waits| waits.open).collect();
        let first = opens.iter().min().unwrap();
        let last = opens.iter().max().unwrap();
        assert!(*first < Duration::from_millis(5) && *last > Duration::from_millis(45), "{first:?} to {last:?}");
        assert!(most(&opens, Duration::from_millis(5)) < 30, "they open one after the other");
        let polls = || waits.iter().map(|waits| waits.open + waits.first_poll);
        assert!(polls().min().unwrap() < Duration::from_millis(10), "before the last one is open");
        assert!(polls().max().unwrap() < Duration::from_secs(1), "few lanes do not wait for a whole interval");
        let StartWaits { open, first_poll } = times.next("console", 1, INTERVAL, &mut random);
        assert!(open.is_zero() && first_poll.is_zero());
    }
}
