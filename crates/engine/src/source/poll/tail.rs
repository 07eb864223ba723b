//! Decides what a poll reads again of the time that the poll before it has read.
//!
//! The time before the last complete poll's start is *open* for `overlap`: records may still become visible in it. A
//! poll reads what is new, and asks the console how many records it has in the open time. It reads an interval again
//! where the console counts more than the position knows. Whatever the counts say, each interval is read once more when
//! it is older than `overlap`, and only then the bound moves past it. `docs/dev/delivery.md` has the rules and their
//! cases.

use std::collections::VecDeque;
use std::time::Duration;

use s1_forwarder_record::Timestamp;

use super::count_search::{CountSearch, KnownRecords, TimeRange};
use crate::source::{Pass, PassPosition};

/// Number of known records, a full page, with which the time older than `overlap` is closed. It is closed with fewer
/// when it is half an `overlap` long.
const FULL_PAGE: usize = 1_000;
const SECOND: Duration = Duration::from_secs(1);
/// Number of intervals that are counted, the newest ones. Older times wait until they are closed.
const MAX_INTERVALS: usize = 4;

/// The times that a poll reads, and the counts that it asks for first.
#[derive(Debug)]
pub(super) struct Tail {
    /// Time that is read once more, because it is older than `overlap`. `None` if the poll leaves the bound where it
    /// is.
    pub closing: Option<TimeRange>,
    /// Time that was read before, and is not older than `overlap`.
    pub open: TimeRange,
    pub new: TimeRange,
    /// Finds the intervals of the open time that have more records than the position knows.
    pub search: CountSearch,
}

impl Tail {
    /// Plans a poll of `pass` at `start`. Returns `None` if the poll reads everything from the bound on. It does if
    /// nothing there was read before, if all of that time is closed, or if it has no known records.
    pub fn of(pass_position: &PassPosition, pass: &Pass, start: Timestamp) -> Option<Self> {
        let known = KnownRecords { settled: pass_position.seconds(), returned: None };
        let read_until = pass_position.complete.filter(|complete| *complete < start)?.whole_second();
        let bound = pass_position.bound.whole_second();
        let closed_until = start.minus(pass.late_window);
        let is_due = closed_until.since(pass_position.bound) >= pass.late_window / 2
            || known.in_range(TimeRange { from: bound, to: closed_until.whole_second() }) >= FULL_PAGE;
        let closing = is_due.then(|| TimeRange { from: bound, to: closed_until.whole_second().plus(SECOND) });
        let open = TimeRange { from: closing.map_or(bound, |closing| closing.to), to: read_until };
        if open.from >= open.to || known.in_range(TimeRange { from: bound, to: read_until }) == 0 {
            return None;
        }
        // Most late records are the newest ones, which are next to what the poll reads anyway.
        let newest = Duration::from_secs(pass.newest_interval().as_secs()).max(SECOND);
        let likely = TimeRange { from: read_until.minus(newest), to: read_until };
        let search = CountSearch::of(open, likely, MAX_INTERVALS, &known);
        Some(Self { closing, open, new: TimeRange { from: read_until, to: start }, search })
    }

    /// Removes the counts from the plan.
    pub fn without_counts(self) -> Self {
        Self { search: CountSearch::nothing(), ..self }
    }

    /// Returns the intervals that the poll reads, in ascending order. Intervals without known records between them are
    /// merged.
    pub fn intervals(self, pass_position: &PassPosition) -> VecDeque<TimeRange> {
        let known = KnownRecords { settled: pass_position.seconds(), returned: None };
        let mut late = self.search.missing;
        late.sort_unstable_by_key(|range| range.from);
        let mut intervals: VecDeque<TimeRange> = self.closing.into_iter().collect();
        for range in late.into_iter().chain([self.new]) {
            match intervals.back_mut() {
                Some(last) if known.in_range(TimeRange { from: last.to, to: range.from }) == 0 => last.to = range.to,
                _ => intervals.push_back(range),
            }
        }
        intervals
    }
}
