use std::time::Duration;

use tokio::time::Instant;

use crate::record::Timestamp;
use crate::source::{PassPosition, SourcePosition};

/// When each pass over the stream is polled next.
#[derive(Debug)]
pub struct PollSchedule {
    /// The period of each pass, and when it is due; none for a pass that is not polled again.
    passes: Vec<(Duration, Option<Instant>)>,
    not_before: Instant,
}

impl PollSchedule {
    /// From the period of each pass, and the wait before its first poll.
    pub fn new(passes: impl Iterator<Item = (Duration, Duration)>) -> Self {
        let now = Instant::now();
        Self { passes: passes.map(|(every, wait)| (every, Some(now + wait))).collect(), not_before: now }
    }

    /// The pass that is due first, and when; none when no pass is polled again.
    pub fn next(&self) -> Option<(usize, Instant)> {
        let due = self.passes.iter().enumerate().filter_map(|(pass, (_, due))| due.map(|due| (pass, due)));
        let (pass, due) = due.min_by_key(|(_, due)| *due)?;
        Some((pass, due.max(self.not_before)))
    }

    /// No pass is polled before this is over.
    pub fn pause(&mut self, pause: Duration) {
        self.not_before = Instant::now() + pause;
    }

    /// A poll that began at `begun` has reached its end. With `once` the pass is not polled again.
    pub fn done(&mut self, pass: usize, begun: Instant, position: &SourcePosition, once: bool) {
        let Some((every, due)) = self.passes.get_mut(pass) else { return };
        *due = match (position.is_marking(pass), once) {
            (true, _) => Some(Instant::now()),
            (false, true) => None,
            (false, false) => Some((begun + *every).max(Instant::now())),
        };
    }

    /// At `start`, by the console's clock, the last snapshot was complete and the next not due. By this machine's clock
    /// it may be due, which would mean no wait at all.
    pub fn not_due(&mut self, pass: usize, start: Timestamp, position: &SourcePosition, once: bool) {
        let Some((every, due)) = self.passes.get_mut(pass) else { return };
        let last = position.track(pass).and_then(PassPosition::snapshot).map_or(start, |snapshot| snapshot.time);
        *due = (!once).then(|| Instant::now() + last.plus(*every).since(start).min(*every));
    }
}
