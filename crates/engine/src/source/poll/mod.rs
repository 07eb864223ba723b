//! One poll of one pass over a stream, as a machine without I/O: [`Poll::next_action`] says what to ask the console,
//! and [`Poll::answered`] takes the answer. Time is passed in. The lane sends, waits, tries again and reserves memory.
//!
//! `poll/plan.rs` decides what a poll reads: [bound, S], or the intervals of it that `poll/tail.rs` chooses. The poll
//! walks through each interval along the console's cursors. A refused or repeated cursor ends the walk, and another
//! begins where this one got to. Where the list ends without saying so clearly, the console's own count decides. Where
//! it says so, `poll/intervals.rs` decides whether the interval has to be counted and read again.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use s1_forwarder_record::{self as record, Frame, Level, Scope, Timestamp, facts};
use s1_forwarder_telemetry::Meter;
use tracing::warn;

use self::count_search::{CountSearch, TimeRange};
use self::intervals::{AfterList, Intervals};
use self::oversized::{AfterAnswer, OversizedRecord, brief_alert, in_part};
use self::plan::{Plan, ReadPlan};
use self::selection::Selection;
use self::tail::Tail;
use super::findings::{AfterRefusal, FindingsScan, PAUSE_BETWEEN_PAGES};
use super::pager::{Next, Pager, Progress};
use super::requests::{Answer, PageStart, RecordList, Request};
use super::responses::{PageReader, read_page};
use super::scope_list::ScopeList;
use super::{ObservedRecords, PollContext, PullSettings, Snapshot, SourcePosition};
use crate::console::{Client, ConsoleError, TruncatedBody};

pub use self::page::{PulledPage, PulledRecord};

/// Number of times that a poll repeats a request answered with `data: null`, before the console's count decides whether
/// there is nothing.
const NULL_TRIES: usize = 3;
/// Number of times that a poll repeats a count that failed, before the end of the list is checked without it.
const COUNT_TRIES: usize = 3;
/// Margin for the console's precision: it compares times at about 10 ms.
const PRECISION: Duration = Duration::from_millis(20);

mod count_search;
mod intervals;
mod oversized;
mod page;
mod plan;
mod returned;
mod selection;
mod tail;

pub use plan::{ConsoleHabits, NotDue};
pub use selection::RecordFilter;

/// Reads what the position has not seen of [bound, S], or of the intervals of it that are due, page by page.
#[derive(Debug)]
pub struct Poll {
    reader: PageReader,
    selection: Selection,
    phase: Phase,
    pager: Pager,
    progress: Progress,
    intervals: Intervals,
    /// The lists of a window of findings, one after the other.
    scan: Option<FindingsScan>,
    /// Page to be emitted before anything else is asked.
    ready: Option<PulledPage>,
    null_answers: usize,
    failed_counts: usize,
    habits: ConsoleHabits,
}

/// End of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollEnd {
    /// Everything that was due in [bound, S] was returned.
    Complete,
    /// There was nothing to ask for: the snapshot of this time is complete, or S is before the bound.
    NotDue,
    /// The scope has no findings to read, for lack of a licence.
    Unavailable,
    /// Nothing was read: the console wants findings to be asked for by one of these scopes at a time.
    Scopes(Vec<Arc<Scope>>),
}

/// Next step of a poll's caller.
#[derive(Debug)]
pub enum Action {
    /// Sends the request and passes the answer to [`Poll::answered`].
    Ask(Request),
    /// Delivers the records of a page, in order. A page may have none: it says that the console has answered.
    Emit(PulledPage),
    /// Does nothing: the poll has ended.
    Done(PollContext, PollEnd),
}

/// Phase of a poll. All phases but the first and the last wait for the answer to one request.
#[derive(Debug)]
enum Phase {
    /// All records of a snapshot are settled. Only the event that says so is left.
    Marking(Snapshot),
    /// Asks by count which interval of the open time has records that came late.
    FindingLate(Tail),
    /// Reads page after page along the console's cursors.
    Paging,
    /// The list of an interval has come to its end: asks by count which records it has not shown.
    FindingMissing(CountSearch),
    /// The console did not say clearly that the list is at its end: its own count decides.
    Counting,
    /// Gets past a record that is too large for the memory budget.
    SteppingOver(OversizedRecord),
    /// The console lists findings scope by scope: asks which scopes the token has.
    ListingScopes(ScopeList),
    Done(PollEnd),
}

impl Poll {
    /// Returns a poll of the stream's `pass`-th pass. It starts at `start` by the console's clock and continues
    /// `position`, of which it keeps what concerns this pass. `habits` is what earlier polls have learned about the
    /// console.
    ///
    /// # Errors
    /// If nothing is due.
    pub fn new(
        client: &Client,
        meter: Meter,
        pull: Arc<PullSettings>,
        position: &SourcePosition,
        pass: usize,
        start: Timestamp,
        habits: ConsoleHabits,
    ) -> Result<Self, NotDue> {
        let plan = Plan::of(&pull, position, pass, start, habits)?;
        let from = plan.from;
        let to = plan.context.start;
        let ordered = pull.is_ordered();
        let host = client.host().into();
        let has_miscounted = habits.has_miscounted(to, plan.pass.late_window);
        let intervals = Intervals::of(TimeRange { from, to }, plan.is_counted, has_miscounted);
        let mut poll = Self {
            reader: PageReader::new(pull.stream, client.redactor().clone()),
            selection: Selection::new(host, meter, pull, plan.pass, plan.context, plan.baseline),
            phase: Phase::Paging,
            pager: Pager::from(from),
            progress: Progress { ordered, newest: from, restart_from: from },
            intervals,
            scan: None,
            ready: None,
            null_answers: 0,
            failed_counts: 0,
            habits,
        };
        match plan.reads {
            ReadPlan::Marker(snapshot) => poll.phase = Phase::Marking(snapshot),
            ReadPlan::Everything => {}
            ReadPlan::Findings(scan) => poll.scan = Some(scan),
            ReadPlan::Intervals(tail) => poll.find_late(tail),
        }
        Ok(poll)
    }

    /// Returns what the next poll has to know about the console.
    pub(crate) fn habits(&self) -> ConsoleHabits {
        let miscounted_at = self.intervals.has_wrong_counts().then_some(self.selection.context.start);
        ConsoleHabits { miscounted_at: miscounted_at.or(self.habits.miscounted_at), ..self.habits }
    }

    /// Makes the poll skip records that are not `wanted`.
    pub fn set_filter(&mut self, wanted: RecordFilter) {
        self.selection.wanted = Some(wanted);
    }

    /// Makes the poll report to `observed` every record that the console shows.
    pub(crate) fn observe(&mut self, mut observed: ObservedRecords) {
        if self.selection.context.pass == 0 {
            observed.resume(&self.selection.baseline.pass_position);
        }
        self.selection.observed = Some(observed);
    }

    /// Removes and returns the times that [`Self::observe`] has collected.
    pub(crate) fn take_observed(&mut self) -> Option<ObservedRecords> {
        self.selection.observed.take()
    }

    /// Returns the number of returned records that the console may show again. It grows with the records that are read.
    pub fn returned_count(&self) -> usize {
        self.selection.returned.len()
    }

    /// Returns the number of cursors, and of records outside of the window, that only the poll remembers. The lane's
    /// position does not.
    pub(crate) fn remembered_apart(&self) -> usize {
        self.pager.followed_count() + self.selection.unasked
    }

    /// Returns the next step. The same request is given again until it is answered.
    pub fn next_action(&mut self) -> Action {
        if let Some(page) = self.ready.take() {
            return Action::Emit(page);
        }
        let list = RecordList {
            pull: &self.selection.pull,
            pass: self.selection.pass(),
            findings: self.scan.as_ref(),
            since: self.selection.baseline.since,
            from: self.pager.from,
            to: self.intervals.current().to,
        };
        let start = self.pager.cursor.as_deref().map_or(PageStart::First, PageStart::Cursor);
        let request = match &self.phase {
            Phase::Done(end) => return Action::Done(self.selection.context, end.clone()),
            Phase::Marking(snapshot) => return Action::Emit(self.mark_complete(*snapshot)),
            // The poll leaves these phases if there is nothing to count.
            Phase::FindingLate(Tail { search, .. }) | Phase::FindingMissing(search) => {
                search.question().map_or_else(|| list.count(), |interval| list.count_in(interval.from, interval.to))
            }
            Phase::Paging => list.page(start, usize::MAX),
            Phase::Counting => list.count(),
            Phase::SteppingOver(record) => record.request(&list, start),
            Phase::ListingScopes(list) => list.request(),
        };
        let is_first = self.pager.cursor.is_none() && !matches!(self.phase, Phase::SteppingOver(_));
        let has_pause = self.scan.is_some() && request.is_page() && !is_first;
        Action::Ask(request.after(if has_pause { PAUSE_BETWEEN_PAGES } else { Duration::ZERO }))
    }

    /// Returns the page with the event that says that a snapshot is complete, and ends the poll.
    fn mark_complete(&mut self, snapshot: Snapshot) -> PulledPage {
        self.phase = Phase::Done(PollEnd::Complete);
        let mut page = PulledPage { marker: Some(snapshot), ordered: false, shown: 1, ..self.empty_page() };
        self.selection.mark_complete(snapshot, &mut page);
        page
    }

    /// Accepts the answer to the request that [`Self::next_action`] gave. `now` is the later of the console's time and
    /// the local time. Pass in an answer that is too large only if less cannot be requested: then a single record is
    /// too large.
    ///
    /// # Errors
    /// If the answer is an error, with that error. The poll is ready to go on: [`Self::next_action`] gives the request
    /// that follows from the failure.
    pub fn answered(&mut self, answer: Answer, now: Timestamp) -> Result<(), ConsoleError> {
        match &self.phase {
            Phase::Marking(_) | Phase::Done(_) => Ok(()),
            Phase::SteppingOver(OversizedRecord::Confirming { .. }) => self.oversized_confirmed(answer, now),
            Phase::SteppingOver(OversizedRecord::InPart { .. }) => self.alert_answered(answer, now),
            Phase::Paging | Phase::SteppingOver(_) => self.page_answered(answer, now),
            Phase::Counting => self.count_answered(small(answer)?),
            Phase::FindingLate(_) | Phase::FindingMissing(_) => self.interval_counted(answer),
            Phase::ListingScopes(_) => self.scopes_answered(small(answer)),
        }
    }

    /// Accepts the answer to a count. A count that cannot be read does not keep the poll from reading. Records that
    /// came late are read when their time is closed. The count of a list that may have ended too early is asked for a
    /// few times more. Then the list is read again, and its second end is believed.
    fn interval_counted(&mut self, answer: Answer) -> Result<(), ConsoleError> {
        let page = answer
            .and_then(|body| Ok(read_page(self.selection.pull.stream, &body, &self.reader.redactor)?.total_items));
        let count = match page {
            Ok(count) => count,
            Err(error @ ConsoleError::Unauthorized(_)) => return Err(error),
            // The same count is asked for again. The lane would read shorter pages after a failure, or give way.
            Err(ConsoleError::Transient { retry_after: None, timed_out: false, .. })
                if matches!(self.phase, Phase::FindingMissing(_)) && self.failed_counts < COUNT_TRIES =>
            {
                self.failed_counts += 1;
                return Ok(());
            }
            Err(_) => None,
        };
        self.failed_counts = 0;
        match mem::replace(&mut self.phase, Phase::Paging) {
            Phase::FindingLate(mut tail) => {
                if tail.search.counted(&self.selection.settled_before(), count) {
                    self.selection.count_vanished();
                }
                self.find_late(tail);
            }
            Phase::FindingMissing(mut search) => {
                search.counted(&self.selection.listed(), count);
                let after = self.intervals.counted(search, &self.selection, &self.progress);
                self.end_list(after);
            }
            phase => self.phase = phase,
        }
        Ok(())
    }

    /// Asks for the next count of the open time, or begins to read if nothing is left to count.
    fn find_late(&mut self, tail: Tail) {
        if tail.search.question().is_some() {
            self.phase = Phase::FindingLate(tail);
        } else {
            self.intervals.plan(tail, &self.selection.baseline.pass_position);
            self.next_interval();
        }
    }

    fn page_answered(&mut self, answer: Answer, now: Timestamp) -> Result<(), ConsoleError> {
        let body = match answer {
            Ok(body) => body,
            Err(ConsoleError::TooLarge(cut)) => return self.too_large(&cut, now),
            Err(error @ ConsoleError::BadCursor(_)) => {
                self.restart();
                return Err(error);
            }
            Err(error) => return self.list_refused(error),
        };
        let page = self.reader.page(&body, &mut self.pager)?;
        if page.null_data {
            return self.null_answer();
        }
        self.null_answers = 0;
        let Phase::SteppingOver(record) = mem::replace(&mut self.phase, Phase::Paging) else {
            self.accept_page(&body, &page, now);
            return Ok(());
        };
        self.apply_step(record.page(&body, page.records.len(), page.next_cursor.is_none()), now)?;
        // The page behind the record is handed on once the record is known to be in its place.
        if !matches!(self.phase, Phase::SteppingOver(OversizedRecord::Confirming { .. })) {
            self.hand_on(&body, &page, now);
        }
        Ok(())
    }

    /// Decides whether the walk has come to the end of the list.
    fn count_answered(&mut self, body: Bytes) -> Result<(), ConsoleError> {
        let page = self.reader.page(&body, &mut self.pager)?;
        let shown = self.pager.shown.len() as u64;
        let is_end = match page.total_items {
            Some(count) => count <= shown,
            // The console cannot count, and says once more that there is nothing. An empty connection of alerts is not
            // null, so null is a failure there.
            None => {
                let is_list = self.selection.pull.stream.description().frame == Frame::List;
                page.null_data && shown == 0 && is_list && !self.habits.is_null_usual
            }
        };
        if is_end {
            self.habits.is_null_usual |= self.null_answers > NULL_TRIES && page.total_items.is_some();
            self.ready = Some(self.empty_page());
            self.intervals.confirm_end();
            self.next_list();
            return Ok(());
        }
        if self.pager.repeats() {
            self.restart();
            let counted =
                page.total_items.map(|count| format!(": the console counts {count} records, but showed only {shown}"));
            let reason = format!("pages repeat under new cursors{}", counted.unwrap_or_default());
            return Err(ConsoleError::BadCursor(reason));
        }
        let was_null_usual = mem::take(&mut self.habits.is_null_usual);
        let Some(count) = page.total_items else {
            if was_null_usual {
                self.restart();
            }
            return Err(ConsoleError::transient("the console showed no clear end, and its count cannot be read"));
        };
        self.restart();
        Err(ConsoleError::transient(format!("the console counts {count} records, but showed only {shown}")))
    }

    fn list_refused(&mut self, error: ConsoleError) -> Result<(), ConsoleError> {
        let Some(scan) = &mut self.scan else { return Err(error) };
        match scan.refused(&error, self.selection.complete().is_none()) {
            AfterRefusal::Fail => return Err(error),
            AfterRefusal::SplitByScope => self.phase = Phase::ListingScopes(ScopeList::of(Level::Account)),
            AfterRefusal::SkipScope if self.selection.pull.window.is_none() => {
                self.phase = Phase::Done(PollEnd::Unavailable)
            }
            AfterRefusal::SkipScope => {
                self.next_list();
                self.ready = Some(self.empty_page());
            }
        }
        Ok(())
    }

    fn scopes_answered(&mut self, answer: Answer) -> Result<(), ConsoleError> {
        let Phase::ListingScopes(list) = &mut self.phase else { return Ok(()) };
        let Some(scopes) = list.answered(answer, &self.reader.redactor)? else { return Ok(()) };
        match &mut self.scan {
            // A closed window is one poll, and has no position for each scope.
            Some(scan) if self.selection.pull.window.is_some() => {
                scan.split(scopes);
                self.selection.returned.next_list();
                self.restart();
                self.ready = Some(self.empty_page());
            }
            _ => self.phase = Phase::Done(PollEnd::Scopes(scopes)),
        }
        Ok(())
    }

    /// Goes on after the end of a list. The next step is the next list of a window of findings, or depends on how the
    /// interval ended.
    fn next_list(&mut self) {
        if self.scan.as_mut().is_some_and(FindingsScan::advance) {
            self.selection.returned.next_list();
            self.restart();
        } else {
            let after = self.intervals.list_ended(&self.selection, &self.progress);
            self.end_list(after);
        }
    }

    /// Does what follows the end of an interval's list.
    fn end_list(&mut self, after: AfterList) {
        match after {
            AfterList::Count(search) => self.phase = Phase::FindingMissing(search),
            AfterList::ReadAgain(from) => {
                self.selection.read_again(from);
                self.progress.restart_from = from;
                self.begin_walk(from);
            }
            AfterList::NextInterval => self.next_interval(),
        }
    }

    fn next_interval(&mut self) {
        match self.intervals.begin_next() {
            Some(range) => self.begin_walk(range.from),
            None => self.phase = Phase::Done(PollEnd::Complete),
        }
    }

    /// Counts an answer `data: null`, which may mean that there is nothing, or that something is wrong.
    fn null_answer(&mut self) -> Result<(), ConsoleError> {
        self.null_answers += 1;
        let is_usual = self.habits.is_null_usual;
        if is_usual || self.null_answers > NULL_TRIES {
            self.check_end();
        }
        if is_usual { Ok(()) } else { Err(ConsoleError::transient("the console answered 200 with `data: null`")) }
    }

    /// Hands on the new records of a page of the walk, and moves to the next page.
    fn accept_page(&mut self, body: &Bytes, shown: &record::Page<'_>, now: Timestamp) {
        let keys = self.hand_on(body, shown, now);
        self.advance(shown.next_cursor.as_deref(), keys);
    }

    /// Hands on the new records of a page. Returns the keys of all its records.
    fn hand_on(&mut self, body: &Bytes, shown: &record::Page<'_>, now: Timestamp) -> Vec<u64> {
        let mut page = PulledPage { body: body.clone(), shown: shown.records.len(), ..self.empty_page() };
        page.records.reserve_exact(shown.records.len());
        let mut keys = Vec::with_capacity(shown.records.len());
        self.selection.count_pulled(page.shown);
        let begin = body.as_ptr() as usize;
        for bytes in &shown.records {
            let offset = bytes.as_ptr() as usize - begin;
            let range = offset..offset + bytes.len();
            let record = self.selection.classify(bytes, range, now, &mut page);
            if let Some(time) = record.order {
                self.progress.record_read(time);
            }
            self.intervals.record_shown(record);
            self.pager.record_shown(record.version);
            keys.push(record.version);
        }
        if !page.records.is_empty() {
            self.pager.found_new();
        }
        self.intervals.count_late(&page);
        page.ordered = self.progress.ordered;
        if self.progress.ordered {
            self.progress.page_read(self.selection.closed_until());
            self.selection.forget_old(page.shown, self.progress.newest);
        }
        self.ready = Some(page);
        keys
    }

    fn empty_page(&self) -> PulledPage {
        PulledPage {
            ordered: self.progress.ordered,
            context: self.selection.context,
            scope: self.scan.as_ref().and_then(FindingsScan::scope).or(self.selection.pull.scope.as_ref()).cloned(),
            ..PulledPage::default()
        }
    }

    /// Moves to the next page, or past the end of the list.
    fn advance(&mut self, next_cursor: Option<&str>, keys: Vec<u64>) {
        match self.pager.advance(next_cursor, keys) {
            Next::Page => self.intervals.follow_cursor(),
            Next::Nothing => self.next_list(),
            Next::Unclear => self.check_end(),
        }
    }

    /// Decides how to go on if this may be the end of the list, or not. If this walk found anything new, there may be
    /// more, and another walk from where it got to shows that. After a walk that found nothing, the poll asks for a
    /// count.
    fn check_end(&mut self) {
        if self.pager.may_find_more() {
            self.restart();
        } else {
            self.phase = Phase::Counting;
        }
    }

    /// Begins another walk. If the order can be relied on, the walk begins at the end of what was read so far.
    fn restart(&mut self) {
        self.begin_walk(self.pager.from.max(self.progress.restart_from.whole_second()));
    }

    fn begin_walk(&mut self, from: Timestamp) {
        self.pager = Pager::from(from);
        self.progress.newest = from;
        self.phase = Phase::Paging;
        self.null_answers = 0;
        self.selection.returned.begin_list();
    }
}

/// Stepping over a record that is too large, as `poll/oversized.rs` says.
impl Poll {
    /// Steps over a single record that is too large.
    fn too_large(&mut self, cut: &TruncatedBody, now: Timestamp) -> Result<(), ConsoleError> {
        let after = match mem::replace(&mut self.phase, Phase::Paging) {
            Phase::SteppingOver(record) => record.met(cut),
            _ => OversizedRecord::begin(&self.selection.pull, cut),
        };
        self.apply_step(after, now)
    }

    /// Accepts the answer to the second request for the record that is stepped over. Only the beginning of the record
    /// fits.
    fn oversized_confirmed(&mut self, answer: Answer, now: Timestamp) -> Result<(), ConsoleError> {
        let Phase::SteppingOver(record) = mem::replace(&mut self.phase, Phase::Paging) else { return Ok(()) };
        self.apply_step(record.confirmed(answer), now)
    }

    /// Takes the next step over a record, or goes on after it.
    fn apply_step(&mut self, after: AfterAnswer, now: Timestamp) -> Result<(), ConsoleError> {
        match after {
            AfterAnswer::Ask(record) => self.phase = Phase::SteppingOver(record),
            AfterAnswer::AskAgain(record, failure) => {
                self.phase = Phase::SteppingOver(record);
                return Err(failure);
            }
            AfterAnswer::Search { wanted } => self.find_oversized(wanted),
            AfterAnswer::SearchNearer { wanted, failure } => {
                let before = self.pager.from;
                self.find_oversized(wanted);
                if self.pager.from <= before {
                    return Err(failure);
                }
            }
            AfterAnswer::HandOn(met) => {
                let page = self.beginning(&met.beginning, &met.beginning, met.max_bytes, now);
                let record = met.next_step(!page.records.is_empty());
                if matches!(record, OversizedRecord::Behind { .. }) {
                    self.ready = Some(page);
                }
                self.phase = Phase::SteppingOver(record);
            }
            AfterAnswer::ReadOn { page } => {
                let records = self.reader.page(&page, &mut self.pager)?;
                self.accept_page(&page, &records, now);
            }
            AfterAnswer::BeginAgain { failure } => {
                self.restart();
                return failure.map_or(Ok(()), Err);
            }
        }
        Ok(())
    }

    /// Begins a walk without cursors shortly before what was read last, to find the record that begins like this.
    fn find_oversized(&mut self, wanted: Bytes) {
        let Progress { ordered, newest, .. } = self.progress;
        let from = if ordered { newest.minus(PRECISION).max(self.pager.from) } else { self.pager.from };
        self.pager = Pager::from(from);
        self.phase = Phase::SteppingOver(OversizedRecord::Searching { at: 0, wanted });
    }

    /// Accepts the page of one alert that is too large. This page has only the alert's id and times.
    fn alert_answered(&mut self, answer: Answer, now: Timestamp) -> Result<(), ConsoleError> {
        let phase = mem::replace(&mut self.phase, Phase::Paging);
        let Phase::SteppingOver(OversizedRecord::InPart { beginning, max_bytes }) = phase else { return Ok(()) };
        let body = in_part(answer)?;
        let page = self.reader.page(&body, &mut self.pager)?;
        let brief = brief_alert(self.selection.pull.stream, &page, &beginning)?;
        let key = facts(self.selection.pull.stream, brief).identity("", brief).key();
        self.ready = Some(self.beginning(&beginning, brief, max_bytes, now));
        self.advance(page.next_cursor.as_deref(), vec![key]);
        Ok(())
    }

    /// Returns the page of a record of which only the beginning was read. `brief` identifies the record.
    fn beginning(&mut self, beginning: &Bytes, brief: &[u8], max_bytes: usize, now: Timestamp) -> PulledPage {
        let mut page = PulledPage { body: beginning.clone(), is_truncated: true, shown: 1, ..self.empty_page() };
        self.selection.count_pulled(1);
        let shown = self.selection.classify(brief, 0..beginning.len(), now, &mut page);
        self.intervals.record_shown(shown);
        self.pager.record_shown(shown.version);
        if let Some(record) = page.records.first() {
            warn!(
                record = %record.id, max_bytes,
                "a record is too large for --memory-budget: its beginning becomes a dead letter"
            );
        }
        page
    }
}

/// Returns an answer that should be small. A large one is a transient failure.
fn small(answer: Answer) -> Answer {
    answer.map_err(|error| match error {
        ConsoleError::TooLarge(cut) => ConsoleError::transient(cut.to_string()),
        error => error,
    })
}

#[cfg(test)]
mod tests;
