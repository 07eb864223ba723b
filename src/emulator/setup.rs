//! What a console begins with.

use std::time::Duration;

use super::kind::Kind;
use super::time::DAY;

/// What a console begins with. The same values give the same records, byte for byte.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Decides everything that chance decides.
    pub seed: u64,
    /// When history ends and live records begin, in microseconds since 1970.
    pub now: i64,
    /// How far history reaches back.
    pub span: Duration,
    /// Activities in history.
    pub activities: usize,
    /// Threats in history.
    pub threats: usize,
    /// Agents; there is at least one, though with 0 it is not served.
    pub agents: usize,
    /// STAR alerts in history.
    pub alerts: usize,
    /// Unified alerts in history.
    pub unified_alerts: usize,
    /// Application findings in history.
    pub vulnerabilities: usize,
    /// Records a second that appear or change from `now` on.
    pub rate: f64,
    /// The share of live records that become visible late, and how late at most.
    pub late: (f64, Duration),
    /// Very large records: their kinds and sizes in bytes.
    pub oversized: Vec<(Kind, usize)>,
    /// An older console, which does not know the newer keys and has no licence for vulnerability management.
    pub older: bool,
}

impl Setup {
    /// The token of a new console: global, without expiry.
    pub const TOKEN: &'static str = "emulator-token";

    /// An organisation without history.
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
}
