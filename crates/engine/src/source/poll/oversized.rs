//! Stepping over a record that alone is larger than the memory budget allows.
//!
//! The cursor comes after the record in an answer, so cursors lead no further. A search begins at the time that was
//! read last; for findings, which have no times, at the beginning of their list. It goes record by record with `skip`
//! until it meets the record. The page after it has a cursor again. The list may move in the meantime, so the record
//! must still be in its place when that page has come. Otherwise the poll begins another pager, and keys tell what was
//! returned before.
//!
//! Unified alerts cannot be skipped, but they can be asked for in part: the same page with only ids and times has the
//! cursor.

use bytes::Bytes;
use s1_forwarder_record::{self as record, Stream, facts};

use crate::console::{ConsoleError, TruncatedBody};
use crate::source::PullSettings;
use crate::source::protocols::UnifiedAlertList;
use crate::source::requests::{Answer, PageStart, RecordList, Request};

/// Largest `skip` that the console accepts.
const MAX_SKIP: usize = 1000;

/// Progress of a poll that steps over a record.
#[derive(Debug)]
pub(super) enum OversizedRecord {
    /// Looks for the place of the record whose beginning is `wanted`. The record is not among the first `at` records.
    Searching { at: usize, wanted: Bytes },
    /// The record at `at` is too large: asks for the page after it. `wanted` is there until that record was met.
    Behind { at: usize, beginning: Bytes, wanted: Option<Bytes> },
    /// The page after the record came: asks for the record again, as far as its beginning, to see whether it is still
    /// in its place.
    Confirming { at: usize, beginning: Bytes, wanted: Option<Bytes>, page: Bytes },
    /// A unified alert: asks for its id and times only.
    InPart { beginning: Bytes, max_bytes: usize },
}

/// Next step of the poll after an answer.
#[derive(Debug)]
pub(super) enum AfterAnswer {
    /// The poll sends the record's next request.
    Ask(OversizedRecord),
    /// The poll sends this request again after a failure.
    AskAgain(OversizedRecord, ConsoleError),
    /// The poll searches for this record.
    Search { wanted: Bytes },
    /// The poll searches for this record again, from where it has come meanwhile: more records come before it than the
    /// console can skip. If the poll has not come any further, this is a failure.
    SearchNearer { wanted: Bytes, failure: ConsoleError },
    /// The poll hands on the beginning of this record. Whether the record was new says how the search
    /// [goes on](Met::next_step).
    HandOn(Met),
    /// The poll reads on with this page, which comes after the record.
    ReadOn { page: Bytes },
    /// The poll begins another walk: the record is not in its place any more, and comes with that walk or the next
    /// poll.
    BeginAgain { failure: Option<ConsoleError> },
}

/// A record that is too large, in its place.
#[derive(Debug)]
pub(super) struct Met {
    at: usize,
    pub beginning: Bytes,
    /// Beginning of the record that is searched for: this one, or another.
    wanted: Option<Bytes>,
    pub max_bytes: usize,
}

impl OversizedRecord {
    /// Begins to step over a record. The answer to a request for this record alone was too large.
    pub fn begin(pull: &PullSettings, cut: &TruncatedBody) -> AfterAnswer {
        let has_parts = pull.protocol().has_parts();
        let beginning = if has_parts { first_record(&cut.beginning, b"\"node\"") } else { listed(cut) };
        if beginning.is_empty() {
            return AfterAnswer::BeginAgain { failure: Some(without_record()) };
        }
        if has_parts {
            AfterAnswer::Ask(Self::InPart { beginning, max_bytes: cut.max_bytes })
        } else {
            AfterAnswer::Search { wanted: beginning }
        }
    }

    /// Returns the next request. `start` is the pager's place in the list.
    pub fn request(&self, list: &RecordList<'_>, start: PageStart<'_>) -> Request {
        match self {
            Self::Searching { at, .. } => list.page(PageStart::Skip(*at), 1),
            Self::Behind { at, .. } => list.page(PageStart::Skip(at + 1), usize::MAX),
            Self::Confirming { at, beginning, .. } => list.one(PageStart::Skip(*at), beginning.len()),
            Self::InPart { .. } => UnifiedAlertList::brief(list, start),
        }
    }

    /// Handles a page of `shown` records that came during a search, or behind the record.
    pub fn page(self, body: &Bytes, shown: usize, is_last: bool) -> AfterAnswer {
        match self {
            Self::Searching { at, wanted } if at + shown > MAX_SKIP => too_far(wanted),
            Self::Searching { .. } if shown == 0 || is_last => AfterAnswer::BeginAgain { failure: None },
            Self::Searching { at, wanted } => AfterAnswer::Ask(Self::Searching { at: at + shown, wanted }),
            Self::Behind { at, beginning, wanted } => {
                AfterAnswer::Ask(Self::Confirming { at, beginning, wanted, page: body.clone() })
            }
            other => AfterAnswer::Ask(other),
        }
    }

    /// Handles a record that was too large, at the place of the search or behind the record.
    pub fn met(self, cut: &TruncatedBody) -> AfterAnswer {
        let (at, wanted) = match self {
            Self::Searching { at, wanted } => (at, Some(wanted)),
            // Another large record is right behind the first.
            Self::Behind { at, wanted, .. } => (at + 1, wanted),
            other => return AfterAnswer::Ask(other),
        };
        let beginning = listed(cut);
        if beginning.is_empty() {
            return AfterAnswer::BeginAgain { failure: Some(without_record()) };
        }
        // The page after this record would be asked for with a `skip` that the console refuses.
        if at >= MAX_SKIP {
            return too_far(wanted.unwrap_or(beginning));
        }
        AfterAnswer::HandOn(Met { at, beginning, wanted, max_bytes: cut.max_bytes })
    }

    /// Handles the answer to the second request for the record in its place, as far as its beginning.
    pub fn confirmed(self, answer: Answer) -> AfterAnswer {
        let Self::Confirming { at, beginning, wanted, page } = self else { return AfterAnswer::Ask(self) };
        match answer {
            Err(ConsoleError::TooLarge(cut)) if is_same(&listed(&cut), &beginning) => AfterAnswer::ReadOn { page },
            Ok(_) | Err(ConsoleError::TooLarge(_)) => AfterAnswer::BeginAgain { failure: Some(moved()) },
            // The page after the record is asked for again: nothing is reserved for the page while the lane waits.
            Err(failure) => AfterAnswer::AskAgain(Self::Behind { at, beginning, wanted }, failure),
        }
    }
}

impl Met {
    /// Returns how the search goes on. `is_new` is set if this poll had not handed the record on before, and the lane
    /// had not settled it.
    pub fn next_step(self, is_new: bool) -> OversizedRecord {
        let Self { at, beginning, wanted, .. } = self;
        match wanted.filter(|wanted| !is_same(&beginning, wanted)) {
            // The record has the wanted one's time and was stepped over before. A cursor from here would lead to the
            // wanted one, from which another search would begin in front of this one, without end.
            Some(wanted) if !is_new => OversizedRecord::Searching { at: at + 1, wanted },
            wanted => OversizedRecord::Behind { at, beginning, wanted },
        }
    }
}

/// Turns an answer that is too large into a transient failure: the request asked only for a part of a unified alert.
pub(super) fn in_part(answer: Answer) -> Answer {
    answer.map_err(|error| match error {
        ConsoleError::TooLarge(_) => ConsoleError::transient(
            "a record is too large for --memory-budget, and the console returns no less of it when less is requested",
        ),
        error => error,
    })
}

/// Returns the part of an alert in `page`. Fails if it is not the alert that starts with `beginning`.
pub(super) fn brief_alert<'a>(
    stream: Stream,
    page: &record::Page<'a>,
    beginning: &[u8],
) -> Result<&'a [u8], ConsoleError> {
    let brief = page.records.first().filter(|brief| is_of(beginning, &facts(stream, brief).id));
    brief.copied().ok_or_else(moved)
}

fn too_far(wanted: Bytes) -> AfterAnswer {
    let failure = ConsoleError::transient(format!(
        "a record is too large for --memory-budget, and more than {MAX_SKIP} records before it cannot be left out"
    ));
    AfterAnswer::SearchNearer { wanted, failure }
}

/// Returns whether `beginning` is the beginning of the record with this id.
fn is_of(beginning: &[u8], id: &str) -> bool {
    !id.is_empty() && memchr::memmem::find(beginning, id.as_bytes()).is_some()
}

fn listed(cut: &TruncatedBody) -> Bytes {
    first_record(&cut.beginning, b"\"data\"")
}

/// Returns the first record of an answer, as far as the answer has it. The record comes after `key`.
fn first_record(answer: &Bytes, key: &[u8]) -> Bytes {
    let after = memchr::memmem::find(answer, key).map_or(0, |at| at + key.len());
    let open = answer[after..].iter().position(|byte| *byte == b'{').map_or(answer.len(), |at| after + at);
    answer.slice(open..)
}

/// Returns whether two beginnings are of the same record. Their lengths may differ, since the frames before them may.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let shared = one.len().min(other.len());
    shared > 0 && one[..shared] == other[..shared]
}

fn without_record() -> ConsoleError {
    ConsoleError::transient(
        "an answer is too large for --memory-budget, and no record is at its beginning: what answers may be no console, or \
         it is damaged",
    )
}

fn moved() -> ConsoleError {
    ConsoleError::transient("the console's list moved while a record was stepped over")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer may be three gigabytes of blanks: there is no record to step over, and nothing to ask for without a
    /// pause.
    #[test]
    fn an_answer_without_a_record_is_a_failure() {
        for body in [&b"   "[..], b"{\"data\":[      "] {
            let cut = TruncatedBody { beginning: Bytes::copy_from_slice(body), ..TruncatedBody::of(b"", 10) };
            let searching = OversizedRecord::Searching { at: 0, wanted: Bytes::from_static(b"{}") };
            let after = searching.met(&cut);
            let AfterAnswer::BeginAgain { failure: Some(failure) } = after else { panic!("{after:?}") };
            assert!(failure.to_string().contains("no record is at its beginning"), "{failure}");
        }
    }

    #[test]
    fn the_beginning_of_a_record_is_found_in_that_of_an_answer() {
        let first = |text: &'static str| first_record(&Bytes::from_static(text.as_bytes()), b"\"data\"");
        assert_eq!(first(r#"{"data" : [ {"id":"1","x":"aaa"#), r#"{"id":"1","x":"aaa"#);
        assert_eq!(first(r#"{"pagination":{"nextCursor":"a"},"data":[{"id":"#), r#"{"id":"#);
        assert_eq!(first(r#"{"data":["#), "");
        assert_eq!(first(""), "");
    }

    /// A list that moved shows another record in the same place: stepping over the other record would lose it.
    #[test]
    fn a_record_is_known_by_its_beginning_and_an_alert_by_its_id() {
        let record = br#"{"id":"17","name":"aaaaaa"#;
        assert!(is_same(record, record) && is_same(record, &record[..12]) && is_same(&record[..12], record));
        assert!(!is_same(record, br#"{"id":"18","name":"aaaaaa"#));
        assert!(!is_same(record, b"") && !is_same(b"", record), "nothing is known of it");
        assert!(is_of(record, "17") && !is_of(record, "18"));
        assert!(!is_of(record, ""), "an alert without an id is none in particular");
    }

    /// The page after the record would be asked for with a larger `skip` than the console accepts.
    #[test]
    fn a_record_at_the_last_place_that_can_be_skipped_to_is_searched_for_from_nearer() {
        let cut = TruncatedBody::of(br#"{"data":[{"id":"17","x":"aaaa"#, 100);
        let wanted = listed(&cut);
        for (at, is_too_far) in [(MAX_SKIP - 1, false), (MAX_SKIP, true)] {
            let met = OversizedRecord::Searching { at, wanted: wanted.clone() }.met(&cut);
            assert_eq!(matches!(met, AfterAnswer::SearchNearer { .. }), is_too_far, "{met:?}");
        }
        let behind = OversizedRecord::Behind { at: MAX_SKIP - 1, beginning: wanted.clone(), wanted: None };
        assert!(matches!(behind.met(&cut), AfterAnswer::SearchNearer { wanted: again, .. } if again == wanted));
    }

    /// The poll passes over a known record while it searches for another. A walk from here would meet the wanted
    /// record, search for it, and begin again.
    #[test]
    fn a_record_that_is_met_is_stepped_over_if_it_is_new_or_the_wanted_one() {
        let record = |id| Bytes::from(format!(r#"{{"id":"{id}","name":"aaaaaa"#));
        for (wanted, is_new, is_stepped_over) in [
            (Some(record(18)), true, true),
            (Some(record(18)), false, false),
            (Some(record(17)), false, true),
            (None, false, true),
        ] {
            let met = Met { at: 3, beginning: record(17), wanted: wanted.clone(), max_bytes: 100 };
            match met.next_step(is_new) {
                OversizedRecord::Behind { at: 3, wanted: left, .. } if is_stepped_over => {
                    assert_eq!(left, wanted.filter(|wanted| *wanted != record(17)));
                }
                OversizedRecord::Searching { at: 4, wanted: again } if !is_stepped_over => {
                    assert_eq!(Some(again), wanted);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
