//! The interface of a way to ask a console for records.

use std::fmt;

use s1_forwarder_record::{Stream, Timestamp};

use crate::source::requests::{PageStart, RecordList, Request, Size};
use crate::source::{PullSettings, Window};

/// Builds the requests for a stream.
pub trait Protocol: fmt::Debug + Sync {
    /// Requests the records of a list that come at `start`.
    fn records(&self, list: &RecordList<'_>, start: PageStart<'_>, size: Size) -> Request;

    /// Requests the number of records in a list.
    fn count(&self, list: &RecordList<'_>) -> Request;

    /// Requests the number of records from `from` on and before `to`, by the time that `filter` names.
    fn count_between(&self, pull: &PullSettings, filter: &str, from: Timestamp, to: Timestamp) -> Request;

    /// Returns requests whose counts add up to the number of records in `window`.
    fn count_window(&self, pull: &PullSettings, window: Window) -> Vec<Request>;

    /// Requests one record, or none, to learn whether the token may read the stream, and the console's time.
    fn probe(&self, stream: Stream, max_bytes: usize) -> Request;

    /// Requests the newest records that `pull` selects, without a position.
    fn latest(&self, pull: &PullSettings, cursor: Option<&str>) -> Request;

    /// Returns whether a list is in the order of the time by which records are asked for. If it is not, a list says
    /// nothing about times.
    fn is_ordered(&self) -> bool {
        true
    }

    /// Returns whether the console may require requests for one scope at a time.
    fn is_by_scope(&self) -> bool {
        false
    }

    /// Returns whether a record that is too large can be asked for in part. Otherwise, the poll steps over it.
    fn has_parts(&self) -> bool {
        false
    }
}
