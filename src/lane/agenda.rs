use std::time::Duration;

use tokio::time::Instant;

use crate::record::Timestamp;
use crate::source::{Position, Track};

/// When each pass over the stream is polled next.
#[derive(Debug)]
pub struct Agenda {
    /// In the order of the passes; none is done for good.
    passes: Vec<(Duration, Option<Instant>)>,
    not_before: Instant,
}

impl Agenda {
    /// From the time between two polls of each pass, and the wait before its first.
    pub fn new(passes: impl Iterator<Item = (Duration, Duration)>) -> Self {
        let now = Instant::now();
        Self { passes: passes.map(|(every, wait)| (every, Some(now + wait))).collect(), not_before: now }
    }

    /// The pass that is due first, and when; none when all are done for good.
    pub fn next(&self) -> Option<(usize, Instant)> {
        let due = self.passes.iter().enumerate().filter_map(|(pass, (_, due))| due.map(|due| (pass, due)));
        let (pass, due) = due.min_by_key(|(_, due)| *due)?;
        Some((pass, due.max(self.not_before)))
    }

    /// No pass is polled for so long.
    pub fn rest(&mut self, rest: Duration) {
        self.not_before = Instant::now() + rest;
    }

    /// A poll that began at `begun` has reached its end; with `once` it was the pass's last.
    pub fn done(&mut self, pass: usize, begun: Instant, position: &Position, once: bool) {
        let Some((every, due)) = self.passes.get_mut(pass) else { return };
        *due = match (position.is_marking(pass), once) {
            (true, _) => Some(Instant::now()),
            (false, true) => None,
            (false, false) => Some((begun + *every).max(Instant::now())),
        };
    }

    /// At `start` by the console's clock the last snapshot of a pass was complete, and the next was not due. By our own clock
    /// it may be: then there would be no wait at all.
    pub fn not_due(&mut self, pass: usize, start: Timestamp, position: &Position, once: bool) {
        let Some((every, due)) = self.passes.get_mut(pass) else { return };
        let last = position.track(pass).and_then(Track::snapshot).map_or(start, |snapshot| snapshot.time);
        *due = (!once).then(|| Instant::now() + last.plus(*every).since(start).min(*every));
    }
}
