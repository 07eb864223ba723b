//! The hours by which a ledger sums records, and the text of the command that repairs some of them.

use std::fmt;
use std::time::Duration;

use s1_forwarder_record::Timestamp;
use serde::{Deserialize, Serialize};

const MICROS: i64 = 3_600_000_000;
/// Longest time after which a lane without events stores its position.
pub const MAX_UNSTORED: Duration = Duration::from_mins(20);

/// A whole hour of UTC, counted from 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hour(pub u32);

impl Hour {
    /// Returns the hour of `time`; `None` if `time` is before 1970.
    pub fn of(time: Timestamp) -> Option<Self> {
        u32::try_from(time.micros().div_euclid(MICROS)).ok().map(Self)
    }

    /// Returns the first hour that begins at `time` or after it.
    pub fn from(time: Timestamp) -> Self {
        Self(u32::try_from(time.micros().saturating_add(MICROS - 1).div_euclid(MICROS)).unwrap_or(0))
    }
    /// Returns the first hour of the hour's day.
    #[must_use]
    pub const fn day(self) -> Self {
        Self(self.0 - self.0 % 24)
    }

    pub const fn start(self) -> Timestamp {
        Timestamp::from_micros(self.0 as i64 * MICROS)
    }

    pub const fn plus(self, hours: u32) -> Self {
        Self(self.0.saturating_add(hours))
    }

    pub const fn minus(self, hours: u32) -> Self {
        Self(self.0.saturating_sub(hours))
    }
}

/// Returns a text for the operator: when to run `verify`, and the command that delivers the records missing between
/// `since` and `until`. `verify` compares whole hours. Before that, they have to settle (see
/// `PullSettings::settles_after`), and the lane has to store a position past them. `file` is the pipeline's file, and
/// `state_flags` are the flags of a command that uses the same state.
pub fn repair_between(
    since: Timestamp,
    until: Timestamp,
    settles_after: Duration,
    file: &str,
    state_flags: &str,
) -> String {
    let from = Hour::of(since).unwrap_or_default();
    let to = Hour::from(until);
    let settled = to.start().plus(settles_after + MAX_UNSTORED + Duration::from_secs(1));
    format!("from {settled:.0} on: s1-forwarder verify {file} --from {from:.0} --to {to:.0} --repair{state_flags}")
}

impl fmt::Display for Hour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.start().fmt(formatter)
    }
}
