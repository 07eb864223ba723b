//! The requests for findings, which are listed by id within one scan.

use s1_forwarder_record::{Stream, Timestamp};

use super::list::List;
use super::protocol::Protocol;
use crate::console::{Endpoint, ScopeFilter};
use crate::source::findings::FindingsScan;
use crate::source::parameters::{Parameters, count_only, named, order};
use crate::source::requests::{PageStart, RecordList, Request, SMALL_BYTES, Size};
use crate::source::{PullSettings, Window};

/// Lists by id, with the filters of a poll's scan. The console may want one scope at a time.
#[derive(Debug)]
pub struct FindingLists;

impl Protocol for FindingLists {
    fn records(&self, list: &RecordList<'_>, start: PageStart<'_>, size: Size) -> Request {
        let mut query = order(list.pass.sort_by, "asc");
        query.extend(start.parameter());
        of_scan(list, query, size)
    }

    fn count(&self, list: &RecordList<'_>) -> Request {
        of_scan(list, count_only(), Size::Fixed { limit: None, max_bytes: SMALL_BYTES })
    }

    fn count_between(&self, pull: &PullSettings, filter: &str, from: Timestamp, to: Timestamp) -> Request {
        List.count_between(pull, filter, from, to)
    }

    /// Requests the number of findings that were detected in the window, scope by scope.
    fn count_window(&self, pull: &PullSettings, window: Window) -> Vec<Request> {
        let mut requests = Vec::new();
        let mut scan = FindingsScan::detected(pull.findings().cloned().unwrap_or_default());
        loop {
            let mut query = count_only();
            query.extend(named(scan.query(Timestamp::default(), window.from, window.to)));
            let size = Size::Fixed { limit: None, max_bytes: SMALL_BYTES };
            requests.push(Request::list(Endpoint::of(pull.stream).path, query, ScopeFilter::None, size));
            if !scan.advance() {
                return requests;
            }
        }
    }

    fn probe(&self, stream: Stream, max_bytes: usize) -> Request {
        let query = vec![("skipCount".into(), "true".to_owned())];
        let size = Size::Fixed { limit: Some(1), max_bytes };
        Request::list(Endpoint::of(stream).path, query, ScopeFilter::First, size)
    }

    /// Requests findings by the time of their detection: polls sort them by id, which says nothing of their age.
    fn latest(&self, pull: &PullSettings, cursor: Option<&str>) -> Request {
        let detected = Endpoint::of(pull.stream).by_creation().time_filter;
        Request::latest_of_list(pull, detected, cursor, ScopeFilter::First)
    }

    fn is_ordered(&self) -> bool {
        false
    }

    fn is_by_scope(&self) -> bool {
        true
    }
}

fn of_scan(list: &RecordList<'_>, mut query: Parameters, size: Size) -> Request {
    if let Some(scan) = list.findings {
        query.extend(named(scan.query(list.since, list.from, list.to)));
    }
    Request::list(Endpoint::of(list.pull.stream).path, query, ScopeFilter::None, size)
}
