//! Stepping over a record that alone is larger than the memory budget allows.
//!
//! The cursor comes after the record in an answer, so cursors lead no further. A search begins at the time that was
//! read last (findings have no times: at the beginning of their list) and goes record by record with `skip` until it
//! meets the record. The page after it has a cursor again. The list may move in the meantime, so the record must still
//! be in its place when that page has come; otherwise the poll begins another pager, and keys tell what was returned
//! before.
//!
//! Unified alerts cannot be skipped, but they can be asked for in part: the same page with only ids and times has the
//! cursor.

use std::mem;
use std::time::Duration;

use bytes::Bytes;
use tracing::warn;

use super::{OversizedRecord, Phase, Poll};
use crate::console::{ConsoleError, TruncatedBody};
use crate::record::{Stream, Timestamp, facts};
use crate::source::Page;
use crate::source::pager::{Pager, Progress};
use crate::source::requests::{Answer, Place, RecordList, Request};
use crate::source::selection::Shown;

/// The console accepts no larger `skip`.
const MAX_SKIP: usize = 1000;
/// The console compares times at about 10 ms.
const PRECISION: Duration = Duration::from_millis(20);

/// What an answer means that came during a search.
#[derive(Debug)]
pub(super) enum Search {
    /// The search goes on.
    Continue(OversizedRecord),
    /// More records than the console can skip come before this one.
    TooFar { wanted: Bytes },
    /// The list ended: the record has moved, and comes with the next poll.
    Gone,
}

impl Poll {
    /// A single record is too large.
    pub(super) fn step_over(&mut self, cut: &TruncatedBody, now: Timestamp) -> Result<(), ConsoleError> {
        let Phase::SteppingOver(record) = mem::replace(&mut self.phase, Phase::Paging) else {
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
        let phase = mem::replace(&mut self.phase, Phase::Paging);
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
        let phase = mem::replace(&mut self.phase, Phase::Paging);
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
        let key = facts(stream, brief).identity("", brief).key();
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

impl OversizedRecord {
    /// An answer to a request for one record was too large.
    fn begin(stream: Stream, cut: &TruncatedBody) -> Self {
        match stream {
            Stream::UnifiedAlerts => {
                Self::InPart { beginning: first_record(&cut.beginning, b"\"node\""), max_bytes: cut.max_bytes }
            }
            _ => Self::Searching { at: 0, wanted: listed(cut) },
        }
    }

    /// What to ask for; `cursor` is the pager's.
    pub fn request(&self, list: &RecordList<'_>, cursor: Place<'_>) -> Request {
        match self {
            Self::Searching { at, .. } => list.page(Place::Skip(*at), 1),
            Self::Behind { at, .. } => list.page(Place::Skip(at + 1), usize::MAX),
            Self::Confirming { at, beginning, .. } => list.one(Place::Skip(*at), beginning.len()),
            Self::InPart { .. } => list.brief_alert(cursor),
        }
    }

    /// A page of `shown` records came.
    pub fn page(self, body: &Bytes, shown: usize, is_last: bool) -> Search {
        match self {
            Self::Searching { at, wanted } if at + shown > MAX_SKIP => Search::TooFar { wanted },
            Self::Searching { .. } if shown == 0 || is_last => Search::Gone,
            Self::Searching { at, wanted } => Search::Continue(Self::Searching { at: at + shown, wanted }),
            Self::Behind { at, beginning, wanted } => {
                Search::Continue(Self::Confirming { at, beginning, wanted, page: body.clone() })
            }
            other => Search::Continue(other),
        }
    }

    /// A record was too large where the search is. `is_new` hands it on, and says whether it was new.
    fn met(self, cut: &TruncatedBody, is_new: impl FnOnce(&Bytes) -> bool) -> Search {
        let (at, wanted) = match self {
            Self::Searching { at, wanted } => (at, Some(wanted)),
            // Another one right behind the first.
            Self::Behind { at, wanted, .. } => (at + 1, wanted),
            other => return Search::Continue(other),
        };
        let beginning = listed(cut);
        // The page after it would be asked for with a `skip` that the console refuses.
        if at >= MAX_SKIP {
            return Search::TooFar { wanted: wanted.unwrap_or(beginning) };
        }
        let is_new = is_new(&beginning);
        Search::Continue(match wanted.filter(|wanted| !is_same(&beginning, wanted)) {
            // One of the same time that was stepped over before. A cursor from here would lead to the wanted one, from
            // which another search would begin in front of this one, without end.
            Some(wanted) if !is_new => Self::Searching { at: at + 1, wanted },
            wanted => Self::Behind { at, beginning, wanted },
        })
    }
}

/// Whether the answer to a request for the record at its place was cut off in the same record.
fn is_in_place(cut: &TruncatedBody, beginning: &Bytes) -> bool {
    is_same(&listed(cut), beginning)
}

/// Whether `beginning` is that of the record with this id.
fn is_of(beginning: &[u8], id: &str) -> bool {
    !id.is_empty() && memchr::memmem::find(beginning, id.as_bytes()).is_some()
}

fn listed(cut: &TruncatedBody) -> Bytes {
    first_record(&cut.beginning, b"\"data\"")
}

/// As much as there is of the first record of an answer, which comes after `key`.
fn first_record(answer: &Bytes, key: &[u8]) -> Bytes {
    let after = memchr::memmem::find(answer, key).map_or(0, |at| at + key.len());
    let open = answer[after..].iter().position(|byte| *byte == b'{').map_or(answer.len(), |at| after + at);
    answer.slice(open..)
}

/// Whether two beginnings are of the same record. Their lengths may differ, as the frames before them may.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let shared = one.len().min(other.len());
    shared > 0 && one[..shared] == other[..shared]
}

fn moved() -> ConsoleError {
    ConsoleError::transient("the console's list moved while a record was stepped over")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_record_is_found_in_that_of_an_answer() {
        let first = |text: &'static str| first_record(&Bytes::from_static(text.as_bytes()), b"\"data\"");
        assert_eq!(first(r#"{"data" : [ {"id":"1","x":"aaa"#), r#"{"id":"1","x":"aaa"#);
        assert_eq!(first(r#"{"pagination":{"nextCursor":"a"},"data":[{"id":"#), r#"{"id":"#);
        assert_eq!(first(r#"{"data":["#), "");
        assert_eq!(first(""), "");
    }

    /// A list that moved shows another record in the same place: stepping over that one would lose it.
    #[test]
    fn a_record_is_known_by_its_beginning_and_an_alert_by_its_id() {
        let record = br#"{"id":"17","name":"aaaaaa"#;
        assert!(is_same(record, record) && is_same(record, &record[..12]) && is_same(&record[..12], record));
        assert!(!is_same(record, br#"{"id":"18","name":"aaaaaa"#));
        assert!(!is_same(record, b"") && !is_same(b"", record), "nothing is known of it");
        assert!(is_of(record, "17") && !is_of(record, "18"));
        assert!(!is_of(record, ""), "an alert without an id is none in particular");
    }

    /// The page after it would be asked for with a larger `skip` than the console accepts.
    #[test]
    fn a_record_at_the_last_place_that_can_be_skipped_to_is_searched_for_from_nearer() {
        let cut = TruncatedBody::of(br#"{"data":[{"id":"17","x":"aaaa"#, 100);
        let wanted = listed(&cut);
        for (at, is_too_far) in [(MAX_SKIP - 1, false), (MAX_SKIP, true)] {
            let met = OversizedRecord::Searching { at, wanted: wanted.clone() }.met(&cut, |_| true);
            assert_eq!(matches!(met, Search::TooFar { .. }), is_too_far, "{met:?}");
        }
        let behind = OversizedRecord::Behind { at: MAX_SKIP - 1, beginning: wanted.clone(), wanted: None };
        assert!(matches!(behind.met(&cut, |_| true), Search::TooFar { wanted: again } if again == wanted));
    }
}
