//! The difference of a console's clock from ours, as a lane has measured it at its last poll.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use s1_forwarder_record::Timestamp;

use super::HumanDuration;
use crate::usage::OwnClock;

/// Time for which a comparison of clocks holds. Clocks are compared at each poll.
const CLOCK_KNOWN_FOR: Duration = Duration::from_hours(24);
const MINUTE_MICROS: i64 = 60_000_000;

/// The last comparison of the clock of a lane's console with ours.
#[derive(Debug, Default)]
pub struct ComparedClocks {
    /// Seconds that the console's clock is ahead of ours, negative if it is behind. 0 if the clocks agree.
    ahead: AtomicI32,
    /// Difference of the clocks in seconds. `compared` is the minute of the comparison by our clock.
    difference: AtomicU32,
    compared: AtomicU32,
}

impl ComparedClocks {
    /// Sets how many seconds the console's clock is ahead of ours, if polls end at the earlier time for that reason.
    /// The number is 0 if the clocks agree.
    pub fn set_console_ahead(&self, seconds: i64) {
        let seconds = seconds.clamp(i32::MIN.into(), i32::MAX.into());
        self.ahead.store(i32::try_from(seconds).unwrap_or_default(), Ordering::Relaxed);
    }

    /// Returns how much earlier than ours the console's clock is. `None` if polls do not end at its time for that
    /// reason.
    pub fn console_behind(&self) -> Option<Duration> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        (ahead < 0).then(|| Duration::from_secs(ahead.unsigned_abs().into()))
    }

    /// Says what a lane that works loses by a wrong clock. `None` if the clocks agree.
    pub fn warning(&self) -> Option<String> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let difference = HumanDuration(Duration::from_secs(ahead.unsigned_abs().into()));
        let warning = match ahead {
            0 => return None,
            1.. => format!(
                "the console's clock is {difference} ahead of this machine's: if this machine's is wrong, records arrive \
                 later by as much; set the one that is wrong"
            ),
            _ => format!(
                "the console's clock is {difference} behind this machine's, and the lag has the difference in it: set \
                 the one that is wrong"
            ),
        };
        Some(warning)
    }

    /// Sets the difference of the console's clock from ours.
    pub fn set_difference(&self, difference: Duration, now: Timestamp) {
        self.difference.store(seconds_of(difference), Ordering::Relaxed);
        self.compared.store(u32::try_from(now.micros() / MINUTE_MICROS).unwrap_or_default(), Ordering::Relaxed);
    }

    /// Returns what is known of our clock at `now`.
    pub fn own_clock(&self, now: Timestamp) -> OwnClock {
        let minute = self.compared.load(Ordering::Relaxed);
        let compared = Timestamp::from_micros(i64::from(minute) * MINUTE_MICROS);
        // Our clock may have been set since the comparison.
        if now.since(compared).max(compared.since(now)) > CLOCK_KNOWN_FOR {
            return OwnClock::Unknown;
        }
        OwnClock::DiffersBy(Duration::from_secs(self.difference.load(Ordering::Relaxed).into()))
    }
}

/// Returns a time in whole seconds, at most 136 years.
fn seconds_of(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
