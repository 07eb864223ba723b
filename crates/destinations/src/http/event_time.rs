//! The time that an event is sent with. docs/sinks/README.md lists what each destination does with old and future
//! times.

use std::time::Duration;

use s1_forwarder_engine::sink::Event;
use s1_forwarder_record::Timestamp;

/// How far from now a destination accepts the time of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeLimits {
    pub(crate) past: Duration,
    pub(crate) future: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SentTime {
    pub(crate) time: Timestamp,
    /// The event's own time, if another one is sent instead.
    pub(crate) replaced: Option<Timestamp>,
}

impl TimeLimits {
    /// Returns the event's own time if it is within the limits, otherwise the current time.
    pub(crate) fn time_of(self, event: Event<'_>) -> SentTime {
        self.time_at(event.time, Timestamp::now())
    }

    fn time_at(self, own: Option<Timestamp>, now: Timestamp) -> SentTime {
        match own {
            Some(own) if now.since(own) <= self.past && own.since(now) <= self.future => {
                SentTime { time: own, replaced: None }
            }
            replaced => SentTime { time: now, replaced },
        }
    }
}

/// Returns the event's own time, or the current time if the event has none and the destination requires one.
pub(crate) fn time_or_now(event: Event<'_>) -> Timestamp {
    event.time.unwrap_or_else(Timestamp::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_beyond_the_limits_is_replaced_by_the_current_one() {
        let now = Timestamp::from_micros(1_789_547_400_000_000);
        let limits = TimeLimits { past: Duration::from_hours(1), future: Duration::from_mins(1) };
        let hour = Duration::from_hours(1);
        let minute = Duration::from_mins(1);
        let least = Duration::from_micros(1);
        for (own, is_kept) in [
            (now, true),
            (now.minus(hour), true),
            (now.minus(hour + least), false),
            (now.plus(minute), true),
            (now.plus(minute + least), false),
            (Timestamp::from_micros(0), false),
        ] {
            let expected = if is_kept {
                SentTime { time: own, replaced: None }
            } else {
                SentTime { time: now, replaced: Some(own) }
            };
            assert_eq!(limits.time_at(Some(own), now), expected, "{own}");
        }
        assert_eq!(limits.time_at(None, now), SentTime { time: now, replaced: None });
    }
}
