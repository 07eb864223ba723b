use tokio::time::Instant;

use super::Timestamp;

/// The time of day, as a parameter: the system's, or one that moves with tokio's (pausable) clock from a given start.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The system's clock.
    System,
    /// For tests and the simulation.
    Simulated {
        /// Time of day at `begun`.
        start: Timestamp,
        /// The moment from which time is counted.
        begun: Instant,
    },
}

impl Clock {
    /// A clock that shows `start` now and moves with tokio's.
    pub fn simulated(start: Timestamp) -> Self {
        Self::Simulated { start, begun: Instant::now() }
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Simulated { start, begun } => start.plus(begun.elapsed()),
        }
    }
}
