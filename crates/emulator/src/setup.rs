//! The initial contents of a console.

use std::time::Duration;

use super::kind::Kind;
use super::time::DAY;

/// The initial contents of a console. The same values give the same records, byte for byte.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Determines everything random.
    pub seed: u64,
    /// End of the history and start of live records, in microseconds since 1970.
    pub now: i64,
    /// Length of the history.
    pub span: Duration,
    /// Number of activities in the history; the following counts are alike.
    pub activities: usize,
    pub threats: usize,
    /// Number of agents. With 0 there is one agent that records refer to, but requests do not return it.
    pub agents: usize,
    pub alerts: usize,
    pub unified_alerts: usize,
    pub vulnerabilities: usize,
    /// Records created or changed per second from `now` on.
    pub rate: f64,
    /// The fraction of live records that become visible late, and the maximum delay.
    pub late: (f64, Duration),
    /// Kinds and sizes (in bytes) of very large records.
    pub oversized: Vec<(Kind, usize)>,
    /// Whether the console is an older one, without newer keys and without a licence for vulnerability management.
    pub older: bool,
}

impl Setup {
    /// The token of a new console, with global scope and without expiry.
    pub const TOKEN: &'static str = "emulator-token";

    /// Returns a console without history.
    pub fn new(now: i64) -> Self {
        Self {
            seed: 1,
            now,
            span: Duration::from_micros(DAY as u64),
            activities: 0,
            threats: 0,
            agents: 0,
            alerts: 0,
            unified_alerts: 0,
            vulnerabilities: 0,
            rate: 0.0,
            late: (0.0, Duration::ZERO),
            oversized: Vec::new(),
            older: false,
        }
    }

    /// Returns the kinds that only some consoles have, with the number of their records in the history.
    pub(super) fn licensed(&self) -> impl Iterator<Item = (Kind, usize)> {
        let count = |kind: Kind| kind.description().licensed.map(|count| (kind, count(self)));
        Kind::ALL.into_iter().filter_map(count)
    }
}
