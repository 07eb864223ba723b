//! The intervals of time that a poll reads, one after the other, and whether the list of each has shown all records.
//!
//! An *interval* is a range of time, of which the console gives a list. A *walk* (`source/pager.rs`) is one run along
//! the cursors of that list. An interval takes several walks if a cursor is refused. A list may end too early, so the
//! console's *counts* (`poll/count_search.rs`) are compared with what the poll was shown:
//!
//! | state of the interval | event | what follows |
//! | --- | --- | --- |
//! | read first | its list had one page | next interval |
//! | read first | its list had more pages | counted |
//! | read again, none known to be missing | its list had one page, or nothing new | next interval |
//! | read again, none known to be missing | otherwise | counted |
//! | read again, some missing | all of these were found | next interval |
//! | read again, some missing | a few were found | counted |
//! | read again, some missing | none was found, and the list may have ended before them | read again, a few times |
//! | read again, some missing | none was found | next interval, with records that are not shown |
//! | counted | no fewer are missing than at its last count | next interval, with records that are not shown |
//! | counted | some are missing | read again from the first missing one |
//! | counted | the counts say nothing, and the bound may move past it | read again from the list's last record |
//! | counted | otherwise | next interval |
//!
//! If the counts of a stream cannot be compared, the next interval follows each list.

use std::collections::VecDeque;
use std::time::Duration;

use s1_forwarder_record::Timestamp;
use tracing::{debug, info};

use super::count_search::{CountSearch, TimeRange};
use super::page::{PulledPage, PulledRecord};
use super::selection::{Selection, Sighting};
use super::tail::Tail;
use crate::source::PassPosition;
use crate::source::pager::Progress;

/// Number of times that an interval is read again because its list may have ended before the missing records once more.
const EARLY_END_TRIES: u32 = 3;
/// Largest disorder of a list: a record may come after one whose time is this much later.
const SECOND: Duration = Duration::from_secs(1);

/// The intervals that a poll reads, in ascending order. The next interval begins when the list of the current interval
/// has shown all records. It also begins when asking again has shown none of the records that the console counts.
#[derive(Debug)]
pub(super) struct Intervals {
    current: Interval,
    following: VecDeque<TimeRange>,
    /// Whether the console's counts can be compared with what is known.
    is_counted: bool,
    /// Whether an earlier poll has found the console's counts wrong, not long ago: they say nothing.
    has_miscounted: bool,
    /// Number of records that the console counts and does not show, not even when it is asked again.
    pub not_shown: u64,
    /// Time that earlier polls have read and that stays open.
    open: Option<TimeRange>,
    /// Number of records that the console counts in `open` and the position does not know.
    late: u64,
    /// Number of new records in `open` that the poll was shown.
    found_late: u64,
}

/// An interval that is read page by page, with each cursor that the console gives.
#[derive(Debug, Clone, Copy)]
struct Interval {
    /// Both ends are included.
    range: TimeRange,
    /// Whether a cursor was followed: the list may have ended too early.
    is_long: bool,
    /// What the interval is read again for; `None` if it is read first.
    reread: Option<Reread>,
}

/// What an interval is read again for. All numbers of records are of those before `counted_until`.
#[derive(Debug, Clone, Copy, Default)]
struct Reread {
    /// Number of records that the console counts and has not shown. Zero if its count says nothing.
    missing: u64,
    counted_until: Timestamp,
    /// The time before which all of the missing records are.
    missing_until: Timestamp,
    /// Number of records that the poll was not shown before.
    found: u64,
    /// Number of lists that may have ended before the missing records.
    early_ends: u32,
}

/// Next step of the poll after the end of a list, or after a count.
#[derive(Debug)]
pub(super) enum AfterList {
    /// The poll asks for the counts of this search. Then [`Intervals::counted`] decides.
    Count(CountSearch),
    /// The poll reads the current interval again, which begins at this time now.
    ReadAgain(Timestamp),
    /// The poll reads the next interval.
    NextInterval,
}

impl Intervals {
    /// Returns the intervals of a poll that reads all of `range` at once.
    pub fn of(range: TimeRange, is_counted: bool, has_miscounted: bool) -> Self {
        Self {
            current: Interval::of(range),
            following: VecDeque::new(),
            is_counted,
            has_miscounted,
            not_shown: 0,
            open: None,
            late: 0,
            found_late: 0,
        }
    }

    /// Plans the intervals that `tail` has found. [`Self::begin_next`] begins the first one.
    pub fn plan(&mut self, tail: Tail, pass_position: &PassPosition) {
        self.open = Some(tail.open);
        self.late = tail.search.excess;
        self.following = tail.intervals(pass_position);
    }

    /// Returns the range of the interval that is read.
    pub fn current(&self) -> TimeRange {
        self.current.range
    }

    /// Goes on to the next interval, and returns its range.
    pub fn begin_next(&mut self) -> Option<TimeRange> {
        let range = self.following.pop_front()?;
        self.current = Interval::of(range);
        Some(range)
    }

    /// Returns whether the console has counted records in this poll that it did not show.
    pub fn has_wrong_counts(&self) -> bool {
        self.found_late < self.late || self.not_shown > 0
    }

    /// Notes that the list goes on behind a cursor.
    pub fn follow_cursor(&mut self) {
        self.current.is_long = true;
    }

    /// Notes that the console's count of the whole list has confirmed the end of the list.
    pub fn confirm_end(&mut self) {
        self.current = Interval::of(self.current.range);
    }

    /// Notes that the console has shown a record.
    pub fn record_shown(&mut self, shown: Sighting) {
        if let Some(reread) = &mut self.current.reread
            && shown.order.is_none_or(|order| order < reread.counted_until)
        {
            reread.found += u64::from(shown.is_first);
        }
    }

    /// Counts the new records of a page that came late.
    pub fn count_late(&mut self, page: &PulledPage) {
        let Some(TimeRange { from, to }) = self.open else { return };
        let is_late = |record: &&PulledRecord| record.order.is_some_and(|order| (from..to).contains(&order));
        self.found_late += page.records.iter().chain(&page.excluded).filter(is_late).count() as u64;
    }

    /// Decides what follows the end of the current interval's list, which may have come too early.
    pub fn list_ended(&mut self, selection: &Selection, progress: &Progress) -> AfterList {
        let Interval { range, is_long, reread } = self.current;
        let is_at_end = match reread {
            None => !is_long,
            Some(Reread { missing: 0, found, .. }) => !is_long || found == 0,
            Some(Reread { missing, found, .. }) => found >= missing,
        };
        match reread {
            _ if is_at_end || !self.is_counted => AfterList::NextInterval,
            Some(reread) if reread.found == 0 && is_long && reread.may_have_ended_early(progress) => {
                let early_ends = reread.early_ends + 1;
                // A record of the time before would look new. The list has shown later ones already.
                let from = range.from.max(selection.kept_from());
                self.read_again(from, Reread { early_ends, ..reread })
            }
            Some(reread) if reread.found == 0 => self.accept_missing(reread.missing, selection),
            _ => self.count(selection, progress),
        }
    }

    /// Asks the console how many records it has in the current interval, as far back as the poll remembers them.
    fn count(&mut self, selection: &Selection, progress: &Progress) -> AfterList {
        let whole = self.comparable(selection);
        if whole.from >= whole.to {
            return AfterList::NextInterval;
        }
        let search = if self.not_shown > 0 || self.has_miscounted {
            CountSearch::nothing()
        } else {
            let likely = TimeRange { from: list_ended_at(progress, whole).unwrap_or(whole.to), to: whole.to };
            CountSearch::of(whole, likely, 1, &selection.listed())
        };
        self.counted(search, selection, progress)
    }

    /// Decides how to go on after a count. If the console counts more records than are known, the poll asks for the
    /// missing records again. If the count says nothing, the poll asks for what comes after the last record of the
    /// list. Time that stays open is read once more anyway.
    pub fn counted(&mut self, search: CountSearch, selection: &Selection, progress: &Progress) -> AfterList {
        if search.question().is_some() {
            return AfterList::Count(search);
        }
        let first_missing = search.missing.iter().map(|range| range.from).min();
        let missing_until = search.missing.iter().map(|range| range.to).max().unwrap_or_default();
        let missing = search.excess;
        let is_unclear = search.counts == 0 || search.has_fewer;
        match first_missing {
            // Some were found, and others came late meanwhile: that may go on indefinitely.
            Some(_) if self.current.reread.is_some_and(|reread| (1..=missing).contains(&reread.missing)) => {
                self.accept_missing(missing, selection)
            }
            Some(from) => {
                debug!(records = missing, %from, "the console counts more records than its list has shown: it is asked again");
                let counted_until = self.comparable(selection).to;
                self.read_again(from, Reread { missing, counted_until, missing_until, ..Reread::default() })
            }
            None if is_unclear && self.current.range.from < selection.closed_until() => {
                let whole = self.comparable(selection);
                let from = list_ended_at(progress, whole).unwrap_or(whole.from);
                self.read_again(from, Reread { counted_until: whole.to, ..Reread::default() })
            }
            None => AfterList::NextInterval,
        }
    }

    /// Returns the range of the current interval of which the poll remembers all records, in whole seconds. The last
    /// records before the poll's start are left out: they are just becoming visible, and the next poll looks for them.
    fn comparable(&self, selection: &Selection) -> TimeRange {
        let TimeRange { from, to } = self.current.range;
        let settled_until = selection.context.start.minus(selection.pass().newest_interval());
        // The console shows records from before a window with the window's first second.
        let begin = selection.pull.window.map_or(from, |window| window.from.max(from));
        let begin = if begin.whole_second() < begin { begin.whole_second().plus(SECOND) } else { begin };
        TimeRange { from: begin.max(selection.kept_from()), to: to.min(settled_until).whole_second() }
    }

    fn read_again(&mut self, from: Timestamp, reread: Reread) -> AfterList {
        let range = TimeRange { from, to: self.current.range.to };
        self.current = Interval { reread: Some(reread), ..Interval::of(range) };
        AfterList::ReadAgain(from)
    }

    /// Accepts that the console counts `missing` records that it does not show. Asking again and again would stop the
    /// bound indefinitely.
    fn accept_missing(&mut self, missing: u64, selection: &Selection) -> AfterList {
        info!(records = missing, "the console counts more records than it shows");
        self.not_shown += missing;
        selection.count_not_shown(missing);
        AfterList::NextInterval
    }
}

impl Interval {
    /// Returns an interval that was not read before.
    fn of(range: TimeRange) -> Self {
        Self { range, is_long: false, reread: None }
    }
}

impl Reread {
    /// Returns whether a list of several pages has shown no record after the missing ones. Such a list does not prove
    /// that the console hides the missing records. After a few tries, the list counts.
    fn may_have_ended_early(&self, progress: &Progress) -> bool {
        let went_past = progress.ordered && progress.newest >= self.missing_until;
        self.early_ends < EARLY_END_TRIES && !went_past
    }
}

/// Returns a time in `whole`, shortly before the last record of the list. Returns `None` for a list without an order,
/// which may lack records anywhere.
fn list_ended_at(progress: &Progress, whole: TimeRange) -> Option<Timestamp> {
    let Progress { ordered, newest, .. } = *progress;
    ordered.then(|| newest.minus(SECOND).whole_second().min(whole.to).max(whole.from))
}
