//! Which parts of its time a poll reads, one walk after the other.

use super::{Phase, Poll, PollEnd};
use crate::console::ConsoleError;
use crate::source::requests::Answer;
use crate::source::responses::read_page;
use crate::source::tail::Span;

impl Poll {
    /// A count that cannot be read costs time only: what came late is read when its time is closed. So it is not asked
    /// for again, and does not keep the poll from reading.
    pub(super) fn part_counted(&mut self, answer: Answer) -> Result<(), ConsoleError> {
        let Phase::FindingLate(tail) = &mut self.phase else { return Ok(()) };
        let page = match &answer {
            Err(error @ ConsoleError::Unauthorized(_)) => return Err(error.clone()),
            Err(_) => None,
            Ok(body) => read_page(self.pull.stream, body, &self.reader.redactor).ok(),
        };
        tail.counted(&self.selection.baseline.pass_position, page.and_then(|page| page.total_items));
        self.begin_walks();
        Ok(())
    }

    /// Begins to read once nothing is left to be counted.
    pub(super) fn begin_walks(&mut self) {
        let Phase::FindingLate(tail) = &self.phase else { return };
        if tail.question().is_some() {
            return;
        }
        let Phase::FindingLate(tail) = std::mem::replace(&mut self.phase, Phase::Paging) else { return };
        self.excess = tail.excess;
        self.walks = tail.walks(&self.selection.baseline.pass_position);
        self.next_walk();
    }

    pub(super) fn next_walk(&mut self) {
        let Some(Span { from, to }) = self.walks.pop_front() else {
            self.phase = Phase::Done(PollEnd::Complete);
            return;
        };
        self.to = to;
        self.begin_walk(from);
    }
}
