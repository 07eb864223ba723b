//! The passes of a stream: what each of them reads, and what it remembers of settled records.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use s1_forwarder_record::{Scope, Timestamp};

use super::TimeField;
use crate::checkpoint::encoding::VERSION_HASH;

/// How far before a sweep the first window after it begins.
pub(super) const BEFORE_SWEEP: Duration = Duration::from_secs(24 * 3600);

/// The newest part, in which most late records are, is this fraction of the time between two polls.
const NEWEST_PART: u32 = 10;

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
    /// How late a record may appear in the console: `overlap`, or `lookback`. A time of that age is read once more.
    pub reach: Duration,
    pub keys: PassKeys,
    pub reading: PassKind,
}

/// What the polls of a pass read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PassKind {
    /// New records, and those that became visible late.
    New,
    /// All records within `reach` again: a change of them moves no time.
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

/// What a pass remembers of settled records.
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
    /// Which of the stream's passes: its index among those of the pull settings. Positions are found by the names of
    /// passes, since stored ones may be of other settings.
    pub pass: usize,
    /// Its start by the console's clock.
    pub start: Timestamp,
    /// The time of the snapshot that it reads.
    pub snapshot: Option<Timestamp>,
    /// Everything is read, whatever was settled before.
    pub sweep: bool,
    /// The poll reads only parts of the time that the one before it has read: the bound stays where it is.
    pub leaves_open: bool,
}

/// What a position and a ledger remember of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordKey {
    /// Names the record.
    pub id: u64,
    /// Names this version of it.
    pub version: u64,
    /// A short hash of its content, where versions may differ in nothing of interest.
    pub content: Option<u64>,
    /// Its time in the stream's own order, or the start of the poll.
    pub time: Timestamp,
    /// When the source made it.
    pub created: Option<Timestamp>,
}

impl Pass {
    /// Whether it also reads what the stream's first pass has read before.
    pub fn comes_back(&self) -> bool {
        matches!(self.reading, PassKind::Lookback | PassKind::ByCreation)
    }

    /// Whether it reads a scope, or all of them, as each pass of a stream does that is [by
    /// scope](super::is_by_scope). A closed window is read in one poll, whatever the scopes.
    pub fn reads_findings(&self) -> bool {
        matches!(self.reading, PassKind::AllFindings | PassKind::FindingsOf(_))
    }

    /// Whether it reads the findings of all scopes that the token may see.
    pub fn reads_all_findings(&self) -> bool {
        self.reading == PassKind::AllFindings
    }

    /// The scope whose findings it reads, if not all of them.
    pub fn scope(&self) -> Option<&Arc<Scope>> {
        if let PassKind::FindingsOf(scope) = &self.reading { Some(scope) } else { None }
    }

    /// Whether a record that another pass delivers enters the position of this one: such a record is no part of a
    /// snapshot, and findings are of one scope.
    pub fn shares_records(&self) -> bool {
        self.reading != PassKind::Snapshot && !self.reads_findings()
    }

    /// Most records that come late are among the newest ones. This part of the time before a poll is read again by the
    /// next one if any came late, and is never older than `reach` then.
    pub(super) fn newest_part(&self) -> Duration {
        (self.every / NEWEST_PART).min(self.reach)
    }

    /// How far back from its start a poll leaves the bound. None: it leaves the bound where it is.
    pub fn reach_in(&self, context: PollContext) -> Option<Duration> {
        if context.leaves_open { None } else { Some(self.reach) }
    }

    /// How far back from its start a sweep leaves the bound. A sweep shows no removals: from the second one on, the
    /// window since the last poll is still owed.
    pub fn reach_in_sweep(&self, is_first: bool) -> Option<Duration> {
        if is_first { Some(self.reach.max(BEFORE_SWEEP)) } else { None }
    }

    /// The time of a record in the order of this pass.
    pub fn order_time(&self, record_key: &RecordKey) -> Timestamp {
        match self.by {
            TimeField::Order => record_key.time,
            TimeField::Creation => record_key.created.unwrap_or(record_key.time),
        }
    }

    /// The key under which a record is remembered and, where that names no version, the version.
    pub fn key(&self, record_key: &RecordKey) -> (u64, Option<u64>) {
        match self.keys {
            PassKeys::Versions => (record_key.version, None),
            PassKeys::Latest => (record_key.id, Some(record_key.version & VERSION_HASH)),
        }
    }
}
