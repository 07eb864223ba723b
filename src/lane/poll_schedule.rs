use std::time::Duration;

use tokio::time::Instant;

use crate::record::Timestamp;
use crate::source::{Pass, PollContext, SourcePosition};

/// When each pass over the stream is polled next.
#[derive(Debug)]
pub struct PollSchedule {
    /// None for a pass that is not polled again.
    due: Vec<Option<Instant>>,
    not_before: Instant,
    once: bool,
}

impl PollSchedule {
    /// The first pass is due after `first_poll_after`, the others when their period is over; with `once`, all passes
    /// are due once.
    pub fn new(
        passes: &[Pass],
        position: &SourcePosition,
        now: Timestamp,
        first_poll_after: Duration,
        once: bool,
    ) -> Self {
        let not_before = Instant::now();
        let due = |(index, pass): (usize, &Pass)| {
            let complete = position.track(index).and_then(|track| track.complete);
            // A scope of findings that was never read is due at once.
            let never = if pass.chain.is_some() { Duration::ZERO } else { pass.every };
            let due = complete.map_or(never, |complete| pass.every.saturating_sub(now.since(complete)));
            let wait = if index == 0 || once { first_poll_after } else { due.max(first_poll_after) };
            Some(not_before + wait)
        };
        Self { due: passes.iter().enumerate().map(due).collect(), not_before, once }
    }

    /// The pass that is due first, and when; none when no pass is polled again.
    pub fn next(&self) -> Option<(usize, Instant)> {
        let due = self.due.iter().enumerate().filter_map(|(pass, due)| due.map(|due| (pass, due)));
        let (pass, due) = due.min_by_key(|(_, due)| *due)?;
        Some((pass, due.max(self.not_before)))
    }

    /// No pass is polled before this is over.
    pub fn pause(&mut self, pause: Duration) {
        self.not_before = Instant::now() + pause;
    }

    /// A poll that began at `begun` has reached its end.
    pub fn done(&mut self, passes: &[Pass], context: PollContext, begun: Instant, position: &SourcePosition) {
        let (Some(pass), Some(due)) = (passes.get(context.pass), self.due.get_mut(context.pass)) else { return };
        let now = Instant::now();
        *due = if position.is_marking(context.pass) {
            Some(now)
        } else if self.once {
            None
        } else if !pass.is_due(context) {
            // By the console's clock the last snapshot was complete and the next not due. By this machine's clock it
            // may be due, which would mean no wait at all.
            let last = position.track(context.pass).and_then(|track| track.snapshot);
            let next = last.map_or(context.start, |snapshot| snapshot.time).plus(pass.every);
            Some(now + next.since(context.start).min(pass.every))
        } else {
            Some((begun + pass.every).max(now))
        };
    }
}
