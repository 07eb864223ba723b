//! The requests for streams that the console lists by time.

use s1_forwarder_record::{Stream, Timestamp};

use super::protocol::Protocol;
use crate::console::{Endpoint, ScopeFilter};
use crate::source::parameters::{Parameters, count_only, order};
use crate::source::requests::{PageStart, RecordList, Request, SMALL_BYTES, Size};
use crate::source::{PullSettings, Window};

/// A GET of a list, with filters by time and the pipeline's scope.
#[derive(Debug)]
pub struct List;

impl Protocol for List {
    fn records(&self, list: &RecordList<'_>, start: PageStart<'_>, size: Size) -> Request {
        let mut query = order(list.pass.sort_by, "asc");
        query.extend(start.parameter());
        in_time(list, query, size)
    }

    fn count(&self, list: &RecordList<'_>) -> Request {
        in_time(list, count_only(), Size::Fixed { limit: None, max_bytes: SMALL_BYTES })
    }

    fn count_between(&self, pull: &PullSettings, filter: &str, from: Timestamp, to: Timestamp) -> Request {
        count(pull, count_only(), filter, (from, to))
    }

    fn count_window(&self, pull: &PullSettings, window: Window) -> Vec<Request> {
        let order = pull.within(window).list_order();
        let mut query = count_only();
        query.push(("sortBy".into(), order.sort_by.to_owned()));
        vec![count(pull, query, order.time_filter, (window.from, window.to))]
    }

    fn probe(&self, stream: Stream, max_bytes: usize) -> Request {
        let size = Size::Fixed { limit: Some(1), max_bytes };
        Request::list(Endpoint::of(stream).path, Vec::new(), ScopeFilter::Pipeline, size)
    }

    fn latest(&self, pull: &PullSettings, cursor: Option<&str>) -> Request {
        Request::latest_of_list(pull, pull.list_order().sort_by, cursor, ScopeFilter::Pipeline)
    }
}

fn in_time(list: &RecordList<'_>, mut query: Parameters, size: Size) -> Request {
    let filter = list.pass.time_filter;
    query.push((format!("{filter}__gte").into(), list.from.to_string()));
    query.push((format!("{filter}__lte").into(), list.to.to_string()));
    query.extend(list.pull.parameters());
    Request::list(Endpoint::of(list.pull.stream).path, query, ScopeFilter::Pipeline, size)
}

fn count(pull: &PullSettings, mut query: Parameters, filter: &str, (from, to): (Timestamp, Timestamp)) -> Request {
    query.push((format!("{filter}__gte").into(), from.to_string()));
    query.push((format!("{filter}__lt").into(), to.to_string()));
    query.extend(pull.parameters());
    let size = Size::Fixed { limit: None, max_bytes: SMALL_BYTES };
    Request::list(Endpoint::of(pull.stream).path, query, ScopeFilter::Pipeline, size)
}
