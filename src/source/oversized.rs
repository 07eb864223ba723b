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

use bytes::Bytes;

use super::requests::{Place, RecordList, Request};
use crate::console::TruncatedBody;
use crate::record::Stream;

/// The console accepts no larger `skip`.
pub(super) const MAX_SKIP: usize = 1000;

/// How far the poll is in stepping over a record.
#[derive(Debug)]
pub(super) enum OversizedRecord {
    /// Looks for the place of the record whose beginning is `wanted`: it is not among the first `at` records.
    Searching { at: usize, wanted: Bytes },
    /// The record at `at` is too large: asks for the page after it. `wanted` is there until it was met.
    Behind { at: usize, beginning: Bytes, wanted: Option<Bytes> },
    /// That page came: asks for the record again, as far as its beginning, to see whether it is still in its place.
    Confirming { at: usize, beginning: Bytes, wanted: Option<Bytes>, page: Bytes },
    /// A unified alert: asks for its id and times only.
    InPart { beginning: Bytes, max_bytes: usize },
}

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

impl OversizedRecord {
    /// An answer to a request for one record was too large.
    pub fn begin(stream: Stream, cut: &TruncatedBody) -> Self {
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
    pub fn met(self, cut: &TruncatedBody, is_new: impl FnOnce(&Bytes) -> bool) -> Search {
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
pub(super) fn is_in_place(cut: &TruncatedBody, beginning: &Bytes) -> bool {
    is_same(&listed(cut), beginning)
}

/// Whether `beginning` is that of the record with this id.
pub(super) fn is_of(beginning: &[u8], id: &str) -> bool {
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
