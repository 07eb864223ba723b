//! The passes of a stream: the part that each of them reads, and the keys that it remembers of settled records.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use s1_forwarder_record::{Scope, Timestamp};

use super::TimeField;
use crate::checkpoint::encoding::VERSION_HASH;

/// Time before a sweep at which the first window after the sweep begins.
pub(super) const BEFORE_SWEEP: Duration = Duration::from_hours(24);

/// Divisor of the time between two polls. The quotient is the length of the newest interval, in which most late records
/// are.
const NEWEST_DIVISOR: u32 = 10;

/// One way to read a stream. The first pass of a stream reads new records; others come back for records that it cannot
/// see. Each has its own [`super::PassPosition`], and a record that one of them delivers enters all of them. Findings
/// have a pass for each scope, which show different records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Names its position in checkpoints; unique within the stream.
    pub name: CompactString,
    /// `sortBy`.
    pub sort_by: &'static str,
    /// Prefix of the time filters: `createdAt` of `createdAt__gte`.
    pub time_filter: &'static str,
    /// The time of records by which requests of this pass filter and sort.
    pub by: TimeField,
    /// Time between two polls of this pass.
    pub every: Duration,
    /// Longest delay after which a record may appear in the console: `overlap`, or `lookback`. A time of that age is
    /// read once more.
    pub late_window: Duration,
    pub keys: PassKeys,
    pub kind: PassKind,
}

/// Records that the polls of a pass read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassKind {
    /// New records, and records that became visible late.
    New,
    /// All records within `late_window` again: a change of them moves no time.
    Lookback,
    /// All records once more, by their creation: the first pass does not show all of them.
    ByCreation,
    /// A full inventory under a time of its own.
    Snapshot,
    /// A closed window of findings, or a sweep over all of them, of all scopes that the token may see.
    AllFindings,
    /// A closed window of findings, or a sweep over all of them, of one scope.
    FindingsOf(Arc<Scope>),
}

/// Keys that a pass remembers of settled records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassKeys {
    /// Each version.
    Versions,
    /// Each record with its last settled version: for streams whose records change without a new timestamp.
    Latest,
}

/// One poll of one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PollContext {
    /// Index of the stream's pass among the passes of the pull settings. Positions are found by the names of passes,
    /// since stored positions may be of other settings.
    pub pass: usize,
    /// Start of the poll by the console's clock.
    pub start: Timestamp,
    /// Time of the snapshot that the poll reads.
    pub snapshot: Option<Timestamp>,
    /// Whether everything is read, whatever was settled before.
    pub sweep: bool,
    /// Whether the poll reads only intervals of the time that the one before it has read: the bound stays where it is.
    pub leaves_open: bool,
}

/// Keys and times that a position and a ledger remember of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordKey {
    /// Names the record.
    pub id: u64,
    /// Names this version of the record.
    pub version: u64,
    /// Short hash of the record's content, if versions may differ in nothing of interest.
    pub content: Option<u64>,
    /// Time of the record in the stream's own order. A record without one has the start of the poll; a finding has
    /// about the time of its answer.
    pub time: Timestamp,
    /// Time at which the source created the record.
    pub created: Option<Timestamp>,
}

impl Pass {
    /// Returns whether the pass also reads what the stream's first pass has read before.
    pub fn comes_back(&self) -> bool {
        matches!(self.kind, PassKind::Lookback | PassKind::ByCreation)
    }

    /// Returns whether the pass reads findings, of one scope or of all. Each pass of a stream that is [by
    /// scope](super::is_by_scope) does. A closed window is read in one poll, whatever the scopes.
    pub fn reads_findings(&self) -> bool {
        matches!(self.kind, PassKind::AllFindings | PassKind::FindingsOf(_))
    }

    /// Returns whether the pass reads the findings of all scopes that the token may see.
    pub fn reads_all_findings(&self) -> bool {
        self.kind == PassKind::AllFindings
    }

    /// Returns the scope whose findings the pass reads; `None` if the pass does not read a single scope.
    pub fn scope(&self) -> Option<&Arc<Scope>> {
        if let PassKind::FindingsOf(scope) = &self.kind { Some(scope) } else { None }
    }

    /// Returns whether a record that another pass delivers enters the position of this pass. It does not if this pass
    /// reads a snapshot, of which the record is no part, or findings, which are of one scope.
    pub fn shares_records(&self) -> bool {
        self.kind != PassKind::Snapshot && !self.reads_findings()
    }

    /// Returns the length of the time before a poll in which most late records are. If any record came late, the next
    /// poll reads that time again; the time is never older than `late_window` then.
    pub(super) fn newest_interval(&self) -> Duration {
        (self.every / NEWEST_DIVISOR).min(self.late_window)
    }

    /// Returns how far before its start a poll leaves the bound; `None` if the bound stays where it is.
    pub fn bound_distance(&self, context: PollContext) -> Option<Duration> {
        if context.leaves_open { None } else { Some(self.late_window) }
    }

    /// Returns how far before its start a sweep leaves the bound; `None` if the bound stays where it is. A sweep shows
    /// no removals: from the second sweep on, the lane still owes the window since the last poll.
    pub fn bound_distance_of_sweep(&self, is_first: bool) -> Option<Duration> {
        if is_first { Some(self.late_window.max(BEFORE_SWEEP)) } else { None }
    }

    /// Returns the time by which this pass orders a record.
    pub fn order_time(&self, record_key: &RecordKey) -> Timestamp {
        match self.by {
            TimeField::Order => record_key.time,
            TimeField::Creation => record_key.created.unwrap_or(record_key.time),
        }
    }

    /// Returns the key under which the pass remembers a record and, if the key names no version, the version.
    pub fn key(&self, record_key: &RecordKey) -> (u64, Option<u64>) {
        match self.keys {
            PassKeys::Versions => (record_key.version, None),
            PassKeys::Latest => (record_key.id, Some(record_key.version & VERSION_HASH)),
        }
    }
}
