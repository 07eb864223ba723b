//! What a poll reads again of the time that the poll before it has read.
//!
//! The time before the last complete poll's start is *open* for `overlap`: records may still become visible in it. A
//! poll reads what is new, and asks the console how many records it has in the open time. It reads a part again where
//! the console counts more than the position knows. Whatever the counts say, each part is read once more when it is
//! older than `overlap`, and only then the bound moves past it. `docs/delivery.md` has the rules and their cases.

use std::collections::VecDeque;
use std::time::Duration;

use crate::record::Timestamp;
use crate::source::{Pass, PassPosition};

/// What is older than `overlap` is closed when it has so many known records, a full page, or is half an `overlap` long.
const FULL_PAGE: usize = 1_000;
const SECOND: Duration = Duration::from_secs(1);
/// Consoles were seen to cap counts above this number.
const MOST_COUNTED: usize = 10_000;
/// So many parts are counted, the newest ones. What is older waits until it is closed.
const MOST_PARTS: usize = 4;
/// After so many counts, a part that has more records than the position knows is read as it is.
const MOST_COUNTS: usize = 8;
/// A part with so few known records is read and not divided.
const FEW: usize = 50;
/// The newest part, in which most late records are, is this fraction of the time between two polls.
const NEWEST_PART: u32 = 10;

/// The times from `from` to `to`. Parts of the open time begin and end with whole seconds, so that it does not matter
/// that the console compares at about 10 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// The times that a poll reads, and the counts that it asks for first.
#[derive(Debug)]
pub(super) struct Tail {
    /// Read once more, because it is older than `overlap`. None: the poll leaves the bound where it is.
    pub closing: Option<Span>,
    /// Read before, and not older than `overlap`.
    pub open: Span,
    pub new: Span,
    /// To be counted, the next one last.
    parts: Vec<Span>,
    /// Halves of a part that has too many records, to be counted before `parts`.
    suspects: Vec<Span>,
    /// To be read again: the console has more records there than the position knows.
    pub late: Vec<Span>,
    counts: usize,
    /// How many more records the console counts than the position knows.
    pub excess: u64,
    /// Length of the newest part.
    newest: Duration,
}

impl Tail {
    /// For a poll of `pass` at `start`. None where the poll reads everything from the bound on: nothing of it was read,
    /// all of it is closed, or it has no known records.
    pub fn of(pass_position: &PassPosition, pass: &Pass, start: Timestamp) -> Option<Self> {
        let read_until = pass_position.complete.filter(|complete| *complete < start)?.whole_second();
        let bound = pass_position.bound.whole_second();
        let closed_until = start.minus(pass.reach);
        let is_due = closed_until.since(pass_position.bound) >= pass.reach / 2
            || known(pass_position, Span { from: bound, to: closed_until.whole_second() }) >= FULL_PAGE;
        let closing = is_due.then(|| Span { from: bound, to: closed_until.whole_second().plus(SECOND) });
        let open = Span { from: closing.map_or(bound, |closing| closing.to), to: read_until };
        if open.from >= open.to || known(pass_position, Span { from: bound, to: read_until }) == 0 {
            return None;
        }
        let newest = Duration::from_secs((pass.every / NEWEST_PART).as_secs()).max(SECOND);
        let mut tail = Self {
            closing,
            open,
            new: Span { from: read_until, to: start },
            parts: Vec::new(),
            suspects: Vec::new(),
            late: Vec::new(),
            counts: 0,
            excess: 0,
            newest,
        };
        tail.divide(pass_position);
        Some(tail)
    }

    /// Does not ask for counts.
    pub fn without_counts(mut self) -> Self {
        self.parts.clear();
        self
    }

    /// The next part to be counted: its records from its beginning to before its end.
    pub fn question(&self) -> Option<Span> {
        self.suspects.last().or(self.parts.last()).copied()
    }

    /// The console counts so many records in the part of [`Self::question`]; None where it does not say. Fewer than are
    /// known is no reason to read: records that changed have moved to a later time.
    pub fn counted(&mut self, pass_position: &PassPosition, count: Option<u64>) {
        let Some(count) = count else {
            self.parts.clear();
            self.late.append(&mut self.suspects);
            return;
        };
        self.counts += 1;
        let is_half = !self.suspects.is_empty();
        let Some(span) = self.suspects.pop().or_else(|| self.parts.pop()) else { return };
        let known = known(pass_position, span);
        if count > known as u64 {
            if !is_half {
                self.excess += count - known as u64;
            }
            let is_newest = span.to == self.new.from;
            if known <= FEW && !is_newest || span.to.since(span.from) <= self.newest || self.counts >= MOST_COUNTS {
                self.late.push(span);
            } else {
                self.halve(span);
            }
        }
        if self.counts >= MOST_COUNTS {
            self.counted(pass_position, None);
        }
    }

    /// What the poll reads, in ascending order. Walks with no known records between them are one.
    pub fn walks(self, pass_position: &PassPosition) -> VecDeque<Span> {
        let mut late = self.late;
        late.sort_unstable_by_key(|span| span.from);
        let mut walks: VecDeque<Span> = self.closing.into_iter().collect();
        for span in late.into_iter().chain([self.new]) {
            match walks.back_mut() {
                Some(last) if known(pass_position, Span { from: last.to, to: span.from }) == 0 => last.to = span.to,
                _ => walks.push_back(span),
            }
        }
        walks
    }

    /// Parts whose counts a console does not cap, from the newest on.
    fn divide(&mut self, pass_position: &PassPosition) {
        let open = self.open;
        let mut part = Span { from: open.to, to: open.to };
        let mut records = 0;
        for (second, known) in pass_position.key_counts_between(open.from, open.to).rev() {
            if records + known > MOST_COUNTED {
                if records == 0 || self.parts.len() + 1 == MOST_PARTS {
                    break;
                }
                self.parts.insert(0, part);
                part.to = part.from;
                records = 0;
            }
            part.from = Timestamp::from_micros(second * 1_000_000);
            records += known;
        }
        let counted: usize = self.parts.iter().map(|part| known(pass_position, *part)).sum();
        if records + counted == known(pass_position, open) {
            // Before the first known record there may be late ones too.
            part.from = open.from;
        }
        self.parts.insert(0, part);
        self.parts.retain(|part| part.from < part.to);
    }

    /// Most late records are the newest ones, which are next to what the poll reads anyway.
    fn halve(&mut self, span: Span) {
        let middle = if span.to == self.new.from {
            let newest = Span { from: span.to.minus(self.newest), to: span.to };
            self.late.push(newest);
            newest.from
        } else {
            let seconds = span.to.since(span.from).as_secs() / 2;
            let middle = span.from.plus(Duration::from_secs(seconds));
            self.suspects.push(Span { from: middle, to: span.to });
            middle
        };
        self.suspects.push(Span { from: span.from, to: middle });
    }
}

/// Number of known records in a part.
fn known(pass_position: &PassPosition, span: Span) -> usize {
    pass_position.key_counts_between(span.from, span.to).map(|(_, count)| count).sum()
}
