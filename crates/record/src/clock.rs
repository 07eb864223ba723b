//! The time of day. Tests use a clock that they can stop.

use tokio::time::Instant;

use super::Timestamp;

/// The source of the time of day: the system's clock, or one that moves with tokio's (pausable) clock.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    System,
    /// For tests and the simulation.
    Simulated {
        /// Time of day at `started_at`.
        start: Timestamp,
        /// The moment from which time is counted.
        started_at: Instant,
    },
}

impl Clock {
    /// Creates a clock that shows `start` now and moves with tokio's clock.
    pub fn simulated(start: Timestamp) -> Self {
        Self::Simulated { start, started_at: Instant::now() }
    }

    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Simulated { start, started_at } => start.plus(started_at.elapsed()),
        }
    }
}
