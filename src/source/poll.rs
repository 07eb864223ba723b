//! One poll of one pass over a stream, as a machine without I/O: [`Poll::next_action`] says what to ask the console,
//! and [`Poll::answered`] takes the answer. Time is passed in. The lane sends, waits, tries again and reserves memory.
//!
//! `poll/plan.rs` decides what a poll reads: [bound, S], or the parts of it that `poll/tail.rs` chooses. The poll walks
//! through that along the console's cursors. A refused or repeated cursor ends the walk, and another begins where this
//! one got to. Where the list ends without saying so clearly, the console's own count decides.

use std::collections::{HashSet, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use self::oversized::{AfterAnswer, OversizedRecord, brief_alert, in_part};
pub use self::page::{Page, Record};
use self::plan::{Plan, Reads};
use self::selection::{Selection, Shown};
use self::tail::{Span, Tail};
use super::findings::{AfterRefusal, FindingsScan, PAUSE};
use super::pager::{Next, Pager, Progress};
use super::requests::{Answer, Place, RecordList, Request};
use super::responses::{PageReader, read_page};
use super::scope_list::ScopeList;
use super::{Heard, PollContext, Pull, Snapshot, SourcePosition};
use crate::console::{Client, ConsoleError, TruncatedBody};
use crate::record::{self, Level, Scope, Stream, Timestamp, facts};
use crate::telemetry::Meter;

/// How often `data: null` is asked for again before the console's count decides whether there is nothing.
const NULL_TRIES: usize = 3;
/// The console compares times at about 10 ms.
const PRECISION: Duration = Duration::from_millis(20);

mod oversized;
mod page;
mod plan;
mod returned;
mod selection;
mod tail;

pub use plan::Learned;

/// What the position has not seen of [bound, S], or of the parts of it that are due, page by page.
#[derive(Debug)]
pub struct Poll {
    pull: Arc<Pull>,
    reader: PageReader,
    selection: Selection,
    phase: Phase,
    pager: Pager,
    progress: Progress,
    /// Upper end of the walk, included.
    to: Timestamp,
    /// The walks that follow.
    walks: VecDeque<Span>,
    /// The time that earlier polls have read and that stays open.
    open: Option<Span>,
    /// How many more records the console counts there than the position knows, and how many were found.
    excess: u64,
    found_late: u64,
    /// The lists of a window of findings, one after the other.
    scan: Option<FindingsScan>,
    /// To be emitted before anything else is asked.
    ready: Option<Page>,
    null_answers: usize,
    learned: Learned,
}

/// How a poll has ended.
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

/// What the caller of a poll does next.
#[derive(Debug)]
pub enum Action {
    /// Sends the request and passes the answer to [`Poll::answered`].
    Ask(Request),
    /// Delivers the records of a page, in order. There may be none: the console has answered.
    Emit(Page),
    /// Nothing: the poll has ended.
    Done(PollContext, PollEnd),
}

/// What a poll is doing. All phases but the first and the last wait for the answer to one request.
#[derive(Debug)]
enum Phase {
    /// All records of a snapshot are settled: only the event that says so is left.
    Marking(Snapshot),
    /// Asks by count which part of the open time has records that came late.
    FindingLate(Tail),
    /// Reads page after page along the console's cursors.
    Paging,
    /// The console did not say clearly that the list is at its end: its own count decides.
    Counting,
    /// Gets past a record that is too large for the memory budget.
    SteppingOver(OversizedRecord),
    /// The console lists findings scope by scope: asks which scopes the token has.
    ListingScopes(ScopeList),
    Done(PollEnd),
}

impl Poll {
    /// A poll of the stream's `pass`-th pass that starts at `start` by the console's clock and continues `position`, of
    /// which it keeps what concerns this pass. `learned` is what earlier polls know of the console. None when nothing
    /// is due: the snapshot of this time is complete, or the console's clock was set back and all up to `start` was
    /// read.
    pub fn new(
        client: &Client,
        meter: Meter,
        pull: Arc<Pull>,
        position: &SourcePosition,
        pass: usize,
        start: Timestamp,
        learned: Learned,
    ) -> Option<Self> {
        let plan = Plan::of(&pull, position, pass, start, learned)?;
        let from = plan.from;
        let to = plan.context.start;
        // Findings are listed by their ids, which say nothing of their times.
        let ordered = pull.stream != Stream::Vulnerabilities;
        let host = client.host().into();
        let mut poll = Self {
            reader: PageReader::new(pull.stream, client.redactor().clone()),
            selection: Selection::new(host, meter, pull.clone(), plan.pass, plan.context, plan.baseline),
            pull,
            phase: Phase::Paging,
            pager: Pager::from(from),
            progress: Progress { ordered, newest: from, restart_from: from },
            to,
            walks: VecDeque::new(),
            open: None,
            excess: 0,
            found_late: 0,
            scan: None,
            ready: None,
            null_answers: 0,
            learned,
        };
        match plan.reads {
            Reads::Marker(snapshot) => poll.phase = Phase::Marking(snapshot),
            Reads::Everything => {}
            Reads::Findings(scan) => poll.scan = Some(scan),
            Reads::Parts(tail) => {
                poll.open = Some(tail.open);
                poll.phase = Phase::FindingLate(tail);
                poll.begin_walks();
            }
        }
        Some(poll)
    }

    /// What the next poll has to know.
    pub fn learned(&self) -> Learned {
        let has_wrong_counts = self.found_late < self.excess;
        let miscounted_at = has_wrong_counts.then_some(self.selection.context.start);
        Learned { miscounted_at: miscounted_at.or(self.learned.miscounted_at), ..self.learned }
    }

    /// Skips the records with these keys (`RecordKey::id`).
    pub fn skip_accounted(&mut self, accounted: Arc<HashSet<u64>>) {
        self.selection.accounted = Some(accounted);
    }

    /// Tells `heard` of every record that the console shows.
    pub fn listen(&mut self, mut heard: Heard) {
        if self.selection.context.pass == 0 {
            heard.resume(&self.selection.baseline.pass_position);
        }
        self.selection.heard = Some(heard);
    }

    /// What the console has shown, if anybody [listens](Self::listen). It is taken away.
    pub fn take_heard(&mut self) -> Option<Heard> {
        self.selection.heard.take()
    }

    /// Number of records that were returned and may be shown again: what grows with the records that are read.
    pub fn returned_count(&self) -> usize {
        self.selection.returned.len()
    }

    /// Number of what the poll remembers and the lane's position never will: cursors that the walk has followed, and
    /// records that nobody asked for.
    pub fn remembered_apart(&self) -> usize {
        self.pager.followed_count() + self.selection.unasked
    }

    /// What to do next. The same request is given again until it is answered.
    pub fn next_action(&mut self) -> Action {
        if let Some(page) = self.ready.take() {
            return Action::Emit(page);
        }
        let list = RecordList {
            pull: &self.pull,
            pass: self.selection.pass(),
            findings: self.scan.as_ref(),
            since: self.selection.baseline.since,
            from: self.pager.from,
            to: self.to,
        };
        let place = self.pager.cursor.as_deref().map_or(Place::First, Place::Cursor);
        let request = match &self.phase {
            Phase::Done(end) => return Action::Done(self.selection.context, end.clone()),
            Phase::Marking(snapshot) => return Action::Emit(self.mark_complete(*snapshot)),
            // `begin_walks` leaves this phase if there is nothing to count.
            Phase::FindingLate(tail) => {
                tail.question().map_or_else(|| list.count(), |part| list.count_in(part.from, part.to))
            }
            Phase::Paging => list.page(place, usize::MAX),
            Phase::Counting => list.count(),
            Phase::SteppingOver(record) => record.request(&list, place),
            Phase::ListingScopes(list) => list.request(),
        };
        let is_first = self.pager.cursor.is_none() && !matches!(self.phase, Phase::SteppingOver(_));
        let has_pause = self.scan.is_some() && request.is_page() && !is_first;
        Action::Ask(request.after(if has_pause { PAUSE } else { Duration::ZERO }))
    }

    /// The page of the event that says that a snapshot is complete. The poll ends with it.
    fn mark_complete(&mut self, snapshot: Snapshot) -> Page {
        self.phase = Phase::Done(PollEnd::Complete);
        let mut page = Page { marker: Some(snapshot), ordered: false, shown: 1, ..self.empty_page() };
        self.selection.mark_complete(snapshot, &mut page);
        page
    }

    /// Takes the answer to the request that [`Self::next_action`] gave. `now` is the later one of the console's clock
    /// and the local one. Pass in an answer that is too large only if less cannot be requested: then a single record is
    /// too large.
    ///
    /// # Errors
    /// Those of the answer. The poll is ready to go on: [`Self::next_action`] gives the request that follows from the
    /// failure.
    pub fn answered(&mut self, answer: Answer, now: Timestamp) -> Result<(), ConsoleError> {
        match &self.phase {
            Phase::Marking(_) | Phase::Done(_) => Ok(()),
            Phase::SteppingOver(OversizedRecord::Confirming { .. }) => self.place_answered(answer, now),
            Phase::SteppingOver(OversizedRecord::InPart { .. }) => self.alert_answered(answer, now),
            Phase::Paging | Phase::SteppingOver(_) => self.page_answered(answer, now),
            Phase::Counting => self.count_answered(small(answer)?),
            Phase::FindingLate(_) => self.part_counted(answer),
            Phase::ListingScopes(_) => self.scopes_answered(small(answer)),
        }
    }

    /// A count that cannot be read costs time only: what came late is read when its time is closed. So it is not asked
    /// for again, and does not keep the poll from reading.
    fn part_counted(&mut self, answer: Answer) -> Result<(), ConsoleError> {
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
    fn begin_walks(&mut self) {
        let Phase::FindingLate(tail) = &self.phase else { return };
        if tail.question().is_some() {
            return;
        }
        let Phase::FindingLate(tail) = mem::replace(&mut self.phase, Phase::Paging) else { return };
        self.excess = tail.excess;
        self.walks = tail.walks(&self.selection.baseline.pass_position);
        self.next_walk();
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
            self.take_page(&body, page, true, now);
            return Ok(());
        };
        self.go_on(record.page(&body, page.records.len(), page.next_cursor.is_none()), now)?;
        // The page behind the record is taken once the record is known to be in its place.
        if !matches!(self.phase, Phase::SteppingOver(OversizedRecord::Confirming { .. })) {
            self.take_page(&body, page, false, now);
        }
        Ok(())
    }

    /// Decides whether the walk has come to the end of the list.
    fn count_answered(&mut self, body: Bytes) -> Result<(), ConsoleError> {
        let page = self.reader.page(&body, &mut self.pager)?;
        let shown = self.pager.shown.len() as u64;
        let is_end = match page.total_items {
            Some(count) => count <= shown,
            // A console that cannot count, and says once more that there is nothing. An empty list of unified alerts is
            // not null, so null is a failure there.
            None => {
                page.null_data && shown == 0 && self.pull.stream != Stream::UnifiedAlerts && !self.learned.is_null_usual
            }
        };
        if is_end {
            self.learned.is_null_usual |= self.null_answers > NULL_TRIES && page.total_items.is_some();
            self.ready = Some(self.empty_page());
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
        let was_null_usual = mem::take(&mut self.learned.is_null_usual);
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
            AfterRefusal::SkipScope if self.pull.window.is_none() => self.phase = Phase::Done(PollEnd::Unavailable),
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
            Some(scan) if self.pull.window.is_some() => {
                scan.split(scopes);
                self.selection.returned.next_list();
                self.restart();
                self.ready = Some(self.empty_page());
            }
            _ => self.phase = Phase::Done(PollEnd::Scopes(scopes)),
        }
        Ok(())
    }

    /// Goes on to the next list of a window of findings, or to the next walk, or ends.
    fn next_list(&mut self) {
        if self.scan.as_mut().is_some_and(FindingsScan::advance) {
            self.selection.returned.next_list();
            self.restart();
        } else {
            self.next_walk();
        }
    }

    fn next_walk(&mut self) {
        let Some(Span { from, to }) = self.walks.pop_front() else {
            self.phase = Phase::Done(PollEnd::Complete);
            return;
        };
        self.to = to;
        self.begin_walk(from);
    }

    /// `data: null` may mean that there is nothing, or that something is wrong.
    fn null_answer(&mut self) -> Result<(), ConsoleError> {
        self.null_answers += 1;
        let is_usual = self.learned.is_null_usual;
        if is_usual || self.null_answers > NULL_TRIES {
            self.doubt();
        }
        if is_usual { Ok(()) } else { Err(ConsoleError::transient("the console answered 200 with `data: null`")) }
    }

    /// Hands on the new records of a page. With `follows` the page belongs to the walk, and the next one comes after
    /// it.
    fn take_page(&mut self, body: &Bytes, shown: record::Page<'_>, follows: bool, now: Timestamp) {
        let mut page = Page { body: body.clone(), shown: shown.records.len(), ..self.empty_page() };
        page.records.reserve_exact(shown.records.len());
        let mut keys = Vec::with_capacity(shown.records.len());
        self.selection.count_pulled(page.shown);
        let begin = body.as_ptr() as usize;
        for bytes in &shown.records {
            let offset = bytes.as_ptr() as usize - begin;
            let range = offset..offset + bytes.len();
            let Shown { order, version } = self.selection.select(bytes, range, now, &mut page);
            if let Some(time) = order {
                self.progress.see(time);
            }
            self.pager.show(version);
            keys.push(version);
        }
        if !page.records.is_empty() {
            self.pager.found_new();
        }
        let is_late = |record: &&Record| {
            let place = record.order.zip(self.open);
            place.is_some_and(|(order, Span { from, to })| (from..to).contains(&order))
        };
        self.found_late += page.records.iter().chain(&page.excluded).filter(is_late).count() as u64;
        page.ordered = self.progress.ordered;
        if self.progress.ordered {
            let selection = &mut self.selection;
            self.progress.page_read(selection.context.start.minus(selection.pass().reach));
            selection.forget_old(page.shown, self.progress.newest);
        }
        self.ready = Some(page);
        if follows {
            self.follow(shown.next_cursor.as_deref(), keys);
        }
    }

    fn empty_page(&self) -> Page {
        Page {
            ordered: self.progress.ordered,
            context: self.selection.context,
            scope: self.scan.as_ref().and_then(|scan| scan.scope().cloned()),
            ..Page::default()
        }
    }

    /// Moves to the next page, or past the end of the list.
    fn follow(&mut self, next_cursor: Option<&str>, keys: Vec<u64>) {
        match self.pager.follow(next_cursor, keys) {
            Next::Page => {}
            Next::Nothing => self.next_list(),
            Next::Unclear => self.doubt(),
        }
    }

    /// This may be the end of the list, or not. If this walk found anything new there may be more, and another walk
    /// from where it got to shows that. After a walk that found nothing the console is asked for a count.
    fn doubt(&mut self) {
        if self.pager.may_find_more() {
            self.restart();
        } else {
            self.phase = Phase::Counting;
        }
    }

    /// Begins another walk; where the order can be relied on, from what was read so far.
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
    /// A single record is too large.
    fn too_large(&mut self, cut: &TruncatedBody, now: Timestamp) -> Result<(), ConsoleError> {
        let after = match mem::replace(&mut self.phase, Phase::Paging) {
            Phase::SteppingOver(record) => record.met(cut),
            _ => OversizedRecord::begin(self.pull.stream, cut),
        };
        self.go_on(after, now)
    }

    /// The record that is stepped over was asked for again, and its beginning is all that fits.
    fn place_answered(&mut self, answer: Answer, now: Timestamp) -> Result<(), ConsoleError> {
        let Phase::SteppingOver(record) = mem::replace(&mut self.phase, Phase::Paging) else { return Ok(()) };
        self.go_on(record.place(answer), now)
    }

    /// Goes on stepping over a record, or ends that.
    fn go_on(&mut self, after: AfterAnswer, now: Timestamp) -> Result<(), ConsoleError> {
        match after {
            AfterAnswer::Ask(record) => self.phase = Phase::SteppingOver(record),
            AfterAnswer::AskAgain(record, failure) => {
                self.phase = Phase::SteppingOver(record);
                return Err(failure);
            }
            AfterAnswer::Search { wanted } => self.search(wanted),
            AfterAnswer::SearchNearer { wanted, failure } => {
                let before = self.pager.from;
                self.search(wanted);
                if self.pager.from <= before {
                    return Err(failure);
                }
            }
            AfterAnswer::HandOn(met) => {
                let page = self.beginning(&met.beginning, &met.beginning, met.max_bytes, now);
                let record = met.go_on(!page.records.is_empty());
                if matches!(record, OversizedRecord::Behind { .. }) {
                    self.ready = Some(page);
                }
                self.phase = Phase::SteppingOver(record);
            }
            AfterAnswer::ReadOn { page } => {
                let records = self.reader.page(&page, &mut self.pager)?;
                self.take_page(&page, records, true, now);
            }
            AfterAnswer::BeginAgain { failure } => {
                self.restart();
                return failure.map_or(Ok(()), Err);
            }
        }
        Ok(())
    }

    /// Begins a walk without cursors shortly before what was read last, to find the record that begins like this.
    fn search(&mut self, wanted: Bytes) {
        let Progress { ordered, newest, .. } = self.progress;
        let from = if ordered { newest.minus(PRECISION).max(self.pager.from) } else { self.pager.from };
        self.pager = Pager::from(from);
        self.phase = Phase::SteppingOver(OversizedRecord::Searching { at: 0, wanted });
    }

    /// The page of one alert that is too large came again, with only its id and times.
    fn alert_answered(&mut self, answer: Answer, now: Timestamp) -> Result<(), ConsoleError> {
        let phase = mem::replace(&mut self.phase, Phase::Paging);
        let Phase::SteppingOver(OversizedRecord::InPart { beginning, max_bytes }) = phase else { return Ok(()) };
        let body = in_part(answer)?;
        let page = self.reader.page(&body, &mut self.pager)?;
        let brief = brief_alert(&page, &beginning)?;
        let key = facts(self.pull.stream, brief).identity("", brief).key();
        self.ready = Some(self.beginning(&beginning, brief, max_bytes, now));
        self.follow(page.next_cursor.as_deref(), vec![key]);
        Ok(())
    }

    /// The page of a record of which only the beginning was read. `brief` identifies the record.
    fn beginning(&mut self, beginning: &Bytes, brief: &[u8], max_bytes: usize, now: Timestamp) -> Page {
        let mut page = Page { body: beginning.clone(), cut: true, shown: 1, ..self.empty_page() };
        self.selection.count_pulled(1);
        let Shown { version, .. } = self.selection.select(brief, 0..beginning.len(), now, &mut page);
        self.pager.show(version);
        if let Some(record) = page.records.first() {
            warn!(
                record = %record.id, max_bytes,
                "a record is too large for --memory-budget: its beginning becomes a dead letter"
            );
        }
        page
    }
}

/// An answer that should be small: one that is not is a failure that may pass.
fn small(answer: Answer) -> Answer {
    answer.map_err(|error| match error {
        ConsoleError::TooLarge(cut) => ConsoleError::transient(cut.to_string()),
        error => error,
    })
}

#[cfg(test)]
mod tests;
