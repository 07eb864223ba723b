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
    /// In the console's order.
    pub records: Vec<PulledRecord>,
    /// New records that the settings exclude: accounted for, and not delivered.
    pub excluded: Vec<PulledRecord>,
    /// Not from the console: its one record says that this snapshot is complete.
    pub marker: Option<Snapshot>,
    /// The page is the beginning of one record, which was too large to be pulled.
    pub is_truncated: bool,
    /// Reading a record of this page means that all records before it were read.
    pub ordered: bool,
    /// The poll.
    pub context: PollContext,
    /// The scope that the records were asked for by, if it is one: that of records that do not name their own.
    pub scope: Option<Arc<Scope>>,
    /// Number of records in the answer, skipped ones included.
    pub shown: usize,
}

/// One record, with what a lane must know of it.
#[derive(Debug, Clone)]
pub struct PulledRecord {
    /// Place in [`PulledPage::body`].
    pub range: Range<usize>,
    /// The console's id, or the content's hash where there is none.
    pub id: CompactString,
    /// See [`Identity`].
    pub identity: Identity,
    /// The record's own time, where it has one.
    pub time: Option<Timestamp>,
    /// Its time in the order of the poll.
    pub order: Option<Timestamp>,
    /// What the position and the ledger remember of it.
    pub record_key: RecordKey,
    /// What was fetched in addition to it, as a JSON object.
    pub enrichment: Option<Bytes>,
}
