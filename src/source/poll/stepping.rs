//! How a poll gets past a record that is too large for the memory budget.

use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use super::{Phase, Poll};
use crate::console::{ConsoleError, TruncatedBody};
use crate::record::{Timestamp, facts};
use crate::source::Page;
use crate::source::oversized::{MAX_SKIP, OversizedRecord, Search, is_in_place, is_of};
use crate::source::pager::{Pager, Progress};
use crate::source::requests::Answer;

/// The console compares times at about 10 ms.
const PRECISION: Duration = Duration::from_millis(20);

impl Poll {
    /// A single record is too large.
    pub(super) fn step_over(&mut self, cut: &TruncatedBody, now: Timestamp) -> Result<(), ConsoleError> {
        let Phase::SteppingOver(record) = std::mem::replace(&mut self.phase, Phase::Paging) else {
            match OversizedRecord::begin(self.pull.stream, cut) {
                record @ OversizedRecord::InPart { .. } => self.phase = Phase::SteppingOver(record),
                record => self.search(record),
            }
            return Ok(());
        };
        let mut page = None;
        let met = record.met(cut, |beginning| {
            let beginning = self.beginning(beginning, beginning, cut.max_bytes, now);
            !page.insert(beginning).records.is_empty()
        });
        if matches!(met, Search::Continue(OversizedRecord::Behind { .. })) {
            self.ready = page;
        }
        self.search_on(met)
    }

    /// Goes on with a search. One that went too far begins again where the poll has come since it began.
    pub(super) fn search_on(&mut self, search: Search) -> Result<(), ConsoleError> {
        match search {
            Search::Continue(record) => self.phase = Phase::SteppingOver(record),
            Search::TooFar { wanted } => {
                let before = self.pager.from;
                self.search(OversizedRecord::Searching { at: 0, wanted });
                if self.pager.from <= before {
                    return Err(ConsoleError::transient(format!(
                        "a record is too large for --memory-budget, and more than {MAX_SKIP} records before it cannot \
                         be left out"
                    )));
                }
            }
            Search::Gone => self.restart(),
        }
        Ok(())
    }

    /// Begins a walk without cursors shortly before what was read last.
    fn search(&mut self, record: OversizedRecord) {
        let Progress { ordered, newest, .. } = self.progress;
        let from = if ordered { newest.minus(PRECISION).max(self.pager.from) } else { self.pager.from };
        self.pager = Pager::from(from);
        self.phase = Phase::SteppingOver(record);
    }

    /// The record that is stepped over was asked for again, and its beginning is all that fits.
    pub(super) fn place_answered(&mut self, answer: Answer, now: Timestamp) -> Result<(), ConsoleError> {
        let phase = std::mem::replace(&mut self.phase, Phase::Paging);
        let Phase::SteppingOver(OversizedRecord::Confirming { at, beginning, wanted, page }) = phase else {
            return Ok(());
        };
        match answer {
            Err(ConsoleError::TooLarge(cut)) if is_in_place(&cut, &beginning) => {
                let records = self.reader.page(&page, &mut self.pager)?;
                self.take_page(&page, records, true, now);
                Ok(())
            }
            Ok(_) | Err(ConsoleError::TooLarge(_)) => {
                self.restart();
                Err(moved())
            }
            // The page after it is asked for again: nothing is reserved for it while the lane waits.
            Err(error) => {
                self.phase = Phase::SteppingOver(OversizedRecord::Behind { at, beginning, wanted });
                Err(error)
            }
        }
    }

    /// The page of one alert that is too large came again, with only its id and times.
    pub(super) fn alert_answered(&mut self, answer: Answer, now: Timestamp) -> Result<(), ConsoleError> {
        let phase = std::mem::replace(&mut self.phase, Phase::Paging);
        let Phase::SteppingOver(OversizedRecord::InPart { beginning, max_bytes }) = phase else { return Ok(()) };
        let body = match answer {
            Err(ConsoleError::TooLarge(_)) => {
                return Err(ConsoleError::transient(
                    "a record is too large for --memory-budget, and the console shows no less of it when asked for less",
                ));
            }
            answer => answer?,
        };
        let page = self.reader.page(&body, &mut self.pager)?;
        let stream = self.pull.stream;
        let Some(brief) = page.records.first().filter(|brief| is_of(&beginning, &facts(stream, brief).id)) else {
            return Err(moved());
        };
        self.ready = Some(self.beginning(&beginning, brief, max_bytes, now));
        self.follow(page.next_cursor.as_deref(), 1);
        Ok(())
    }

    /// The page of a record of which only the beginning was read. `brief` identifies the record.
    fn beginning(&mut self, beginning: &Bytes, brief: &[u8], max_bytes: usize, now: Timestamp) -> Page {
        let mut page = Page { body: beginning.clone(), cut: true, shown: 1, ..self.empty_page() };
        self.selection.count_pulled(1);
        let (_, version) = self.selection.select(brief, 0..beginning.len(), now, &mut page);
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

fn moved() -> ConsoleError {
    ConsoleError::transient("the console's list moved while a record was stepped over")
}
