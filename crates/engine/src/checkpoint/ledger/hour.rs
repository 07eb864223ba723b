//! The hours by which a ledger sums records, and the text of the command that repairs some of them.

use std::fmt;
use std::time::Duration;

use s1_forwarder_record::Timestamp;
use serde::{Deserialize, Serialize};

const MICROS: i64 = 3_600_000_000;
/// A lane without events stores after this, at the latest, how far it has come.
const MAX_UNSTORED: Duration = Duration::from_secs(20 * 60);

/// A whole hour of UTC, counted from 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hour(pub u32);

impl Hour {
    /// The hour of `time`; none before 1970.
    pub fn of(time: Timestamp) -> Option<Self> {
        u32::try_from(time.micros().div_euclid(MICROS)).ok().map(Self)
    }

    /// The first hour that begins at `time` or after it.
    pub fn from(time: Timestamp) -> Self {
        Self(u32::try_from(time.micros().saturating_add(MICROS - 1).div_euclid(MICROS)).unwrap_or(0))
    }
    /// The first hour of its day.
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

/// When and by which command `verify` delivers what is missing of the time between these. It compares whole hours,
/// after they have settled (see `PullSettings::settles_after`) and the lane has stored that it is past them. `file` is
/// the pipeline's, and `state_flags` are those of a command that uses the same state.
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
