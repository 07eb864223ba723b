use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use super::By;
use crate::checkpoint::encoding::VERSION_HASH;
use crate::record::{Scope, Timestamp};

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
    /// The time of a record that this asks by.
    pub by: By,
    /// Time between two polls of this pass.
    pub every: Duration,
    /// How late a record may appear in the console: `overlap`, or `lookback`. A time that is so old is read once more.
    pub reach: Duration,
    pub keys: Keys,
    /// Each poll is a full inventory under a time of its own.
    pub snapshot: bool,
    /// Each poll is a closed window of findings, or a sweep over all of them, of this scope; of all where there is
    /// none.
    pub findings_of: Option<Option<Arc<Scope>>>,
}

/// What a pass remembers of settled records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Each version.
    Versions,
    /// Each record with its last settled version: for streams whose records change without a new timestamp.
    Latest,
}

/// One poll of one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PollContext {
    /// Which of the stream's passes.
    pub pass: usize,
    /// Its start by the console's clock.
    pub start: Timestamp,
    /// The time of the snapshot that it reads.
    pub snapshot: Option<Timestamp>,
    /// Everything is read, whatever was settled before.
    pub sweep: bool,
    /// Of the time that the poll before it has read, only parts are read again: the bound stays where it is.
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
    /// Whether this, the stream's `index`-th pass, reads what the first one has read before.
    pub fn comes_back(&self, index: usize) -> bool {
        index > 0 && self.findings_of.is_none()
    }

    /// Whether this reads the findings of all scopes that the token may see.
    pub fn reads_all_findings(&self) -> bool {
        self.findings_of == Some(None)
    }

    /// The time of a record in the order of this pass.
    pub fn place(&self, record_key: &RecordKey) -> Timestamp {
        match self.by {
            By::Order => record_key.time,
            By::Creation => record_key.created.unwrap_or(record_key.time),
        }
    }

    /// The key under which a record is remembered and, where that names no version, the version.
    pub fn key(&self, record_key: &RecordKey) -> (u64, Option<u64>) {
        match self.keys {
            Keys::Versions => (record_key.version, None),
            Keys::Latest => (record_key.id, Some(record_key.version & VERSION_HASH)),
        }
    }
}
