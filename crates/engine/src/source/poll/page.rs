//! The new records of one answer, as a poll hands them to the lane.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use s1_forwarder_record::{Identity, Scope, Timestamp};

use crate::source::{PollContext, RecordKey, Snapshot};

/// The new records of one answer.
#[derive(Debug, Default)]
pub struct PulledPage {
    /// The answer; records are slices of it.
    pub body: Bytes,
    /// New records in the console's order.
    pub records: Vec<PulledRecord>,
    /// New records that the settings exclude: accounted for, and not delivered.
    pub excluded: Vec<PulledRecord>,
    /// Snapshot that the page's one record marks as complete. Such a page is not from the console.
    pub marker: Option<Snapshot>,
    /// Whether the page is the beginning of one record, which was too large to be pulled.
    pub is_truncated: bool,
    /// Whether reading a record of this page means that all records before it were read.
    pub ordered: bool,
    /// Context of the poll that returned the page.
    pub context: PollContext,
    /// Scope by which the records were asked for, if there is one. Records that do not name their own scope are of this
    /// one.
    pub scope: Option<Arc<Scope>>,
    /// Number of records in the answer, skipped ones included.
    pub shown: usize,
}

/// One record, with the facts that a lane must know of it.
#[derive(Debug, Clone)]
pub struct PulledRecord {
    /// Place in [`PulledPage::body`].
    pub range: Range<usize>,
    /// The console's id, or the content's hash if there is none.
    pub id: CompactString,
    /// See [`Identity`].
    pub identity: Identity,
    /// The record's own time, if it has one.
    pub time: Option<Timestamp>,
    /// Time of the record in the order of the poll.
    pub order: Option<Timestamp>,
    /// Keys that the position and the ledger remember of the record.
    pub record_key: RecordKey,
    /// Data that was fetched in addition to the record, as a JSON object.
    pub enrichment: Option<Bytes>,
}
