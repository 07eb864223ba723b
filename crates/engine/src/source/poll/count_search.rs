//! Asks the console by count where it has records that a poll does not know. Such records came late, or a list did not
//! show them.

use std::collections::BTreeMap;
use std::time::Duration;

use s1_forwarder_record::Timestamp;

use super::returned::Returned;
use crate::source::position::KeysBySecond;

/// Consoles were seen to cap counts above this number. An interval has fewer known records, or a capped count would not
/// be higher than theirs.
const MAX_COUNTED: usize = 10_000;
/// Counts after which an interval that has more records than are known is read as it is.
const MAX_COUNTS: usize = 8;
/// Most known records of an interval that is read and not divided.
const MAX_UNDIVIDED: usize = 50;
const SECOND: Duration = Duration::from_secs(1);

/// The times from `from` to `to`. Intervals that are counted begin and end with whole seconds, so that it does not
/// matter that the console compares at about 10 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeRange {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// The records that a count is compared with, by the second of their time.
pub(super) struct KnownRecords<'a> {
    /// Settled before the poll.
    pub settled: &'a KeysBySecond,
    pub returned: Option<&'a Returned>,
}

/// Counts intervals of the time, and halves intervals that have more records than are known.
#[derive(Debug)]
pub(super) struct CountSearch {
    /// Intervals to be counted, the next one last.
    intervals: Vec<TimeRange>,
    /// Halves of an interval that has too many records, to be counted before `intervals`.
    suspects: Vec<TimeRange>,
    /// Intervals to be read again: the console has more records there than are known.
    pub missing: Vec<TimeRange>,
    pub counts: usize,
    /// Number of records that the console counts and that are not known.
    pub excess: u64,
    /// Whether the console counts fewer records than are known in one of the first intervals. Records that have moved
    /// away may hide some that are missing.
    pub has_fewer: bool,
    /// End of the time, in which most missing records will be. It is not divided, and not counted by itself.
    likely: TimeRange,
}

impl KnownRecords<'_> {
    pub fn in_range(&self, range: TimeRange) -> usize {
        self.by_second(range).map(|(_, count)| count).sum()
    }

    /// Returns seconds and their numbers of records, in no order. A second may come twice.
    fn by_second(&self, TimeRange { from, to }: TimeRange) -> impl Iterator<Item = (i64, usize)> {
        let (from, to) = (from.seconds(), to.seconds());
        let returned = self.returned.map(|returned| returned.counts_between(from, to));
        self.settled.counts_between(from, to).chain(returned.into_iter().flatten())
    }
}

impl CountSearch {
    /// Plans to count `whole` in at most `max_intervals` intervals, the newest ones.
    pub fn of(whole: TimeRange, likely: TimeRange, max_intervals: usize, known: &KnownRecords<'_>) -> Self {
        let mut search = Self { likely, ..Self::nothing() };
        search.divide(whole, max_intervals, known);
        search
    }

    /// Returns a search that asks for nothing.
    pub fn nothing() -> Self {
        let likely = TimeRange { from: Timestamp::default(), to: Timestamp::default() };
        Self {
            intervals: Vec::new(),
            suspects: Vec::new(),
            missing: Vec::new(),
            counts: 0,
            excess: 0,
            has_fewer: false,
            likely,
        }
    }

    /// Returns the next interval to count: its beginning is included, its end is not.
    pub fn question(&self) -> Option<TimeRange> {
        self.suspects.last().or(self.intervals.last()).copied()
    }

    /// Accepts the count of the interval of [`Self::question`]; `None` if the console gives no count. A count below the
    /// known number is no reason to read: records that changed have moved to a later time. Returns whether some records
    /// are known and the console counts none.
    pub fn counted(&mut self, known: &KnownRecords<'_>, count: Option<u64>) -> bool {
        let Some(count) = count else {
            self.end();
            return false;
        };
        self.counts += 1;
        let is_half = !self.suspects.is_empty();
        let Some(range) = self.suspects.pop().or_else(|| self.intervals.pop()) else { return false };
        let known = known.in_range(range);
        self.has_fewer |= !is_half && count < known as u64;
        if count > known as u64 {
            if !is_half {
                self.excess += count - known as u64;
            }
            let ends_with_likely = range.to == self.likely.to && range.from < self.likely.from;
            let is_short = range.to.since(range.from) <= self.likely.to.since(self.likely.from).max(SECOND);
            if known <= MAX_UNDIVIDED && !ends_with_likely || is_short || self.counts >= MAX_COUNTS {
                self.missing.push(range);
            } else {
                self.halve(range, ends_with_likely);
            }
        }
        if self.counts >= MAX_COUNTS {
            self.end();
        }
        count == 0 && known > 0
    }

    /// Ends the counts. Suspects are read without a count.
    fn end(&mut self) {
        self.intervals.clear();
        self.missing.append(&mut self.suspects);
    }

    /// Divides `whole` into intervals whose counts a console does not cap, from the newest on.
    fn divide(&mut self, whole: TimeRange, max_intervals: usize, known: &KnownRecords<'_>) {
        let mut seconds = BTreeMap::new();
        known.by_second(whole).for_each(|(second, count)| *seconds.entry(second).or_insert(0) += count);
        let mut interval = TimeRange { from: whole.to, to: whole.to };
        let mut records = 0;
        let mut left: usize = seconds.values().sum();
        for (second, known) in seconds.into_iter().rev() {
            if records + known >= MAX_COUNTED {
                if records == 0 || self.intervals.len() + 1 == max_intervals {
                    break;
                }
                self.intervals.insert(0, interval);
                interval.to = interval.from;
                records = 0;
            }
            interval.from = Timestamp::from_micros(second * 1_000_000);
            records += known;
            left -= known;
        }
        if left == 0 {
            // Before the first known record there may be others too.
            interval.from = whole.from;
        }
        self.intervals.insert(0, interval);
        self.intervals.retain(|interval| interval.from < interval.to);
    }

    fn halve(&mut self, range: TimeRange, ends_with_likely: bool) {
        let middle = if ends_with_likely {
            self.missing.push(self.likely);
            self.likely.from
        } else {
            let seconds = range.to.since(range.from).as_secs() / 2;
            let middle = range.from.plus(Duration::from_secs(seconds));
            self.suspects.push(TimeRange { from: middle, to: range.to });
            middle
        };
        self.suspects.push(TimeRange { from: range.from, to: middle });
    }
}
