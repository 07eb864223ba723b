//! The part of a lane's journal for a position that is too large to be stored as a whole with each checkpoint.
//!
//! The journal has the whole position of an earlier time, and after it the changes since then. The checkpoint has the
//! changes after these, and says how far the journal counts. Like the ledger's part, the journal is written before the
//! checkpoint that refers to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Append;
use crate::checkpoint::journal::Journal;
use crate::checkpoint::ledger::{Hour, Ledger};
use crate::source::{PositionPart, PositionReader, SourcePosition};

/// Number of keys and contents above which a position moves to the journal. With at most half as many, it moves back to
/// the checkpoint.
const MAX_IN_CHECKPOINT: usize = 128;
/// Maximum number of changed keys and contents in the checkpoint. If there are more, all of them move to the journal.
const MAX_CHANGES: usize = 32;
/// Ratio of the bytes in the journal to the bytes of the whole position. Above it, and above `MIN_BYTES`, the whole
/// position is written again.
const MAX_LOG_RATIO: u64 = 16;
const MIN_BYTES: u64 = 64 << 10;

/// The parts of a position in a lane's journal; empty if the checkpoint has the whole position.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeLog {
    journal: Journal,
    /// Bytes of the position when it was last written as a whole.
    whole_bytes: u64,
    /// Number of its keys and contents at that time.
    whole_size: u64,
}

impl ChangeLog {
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Returns the stored form of `position` in the checkpoint: the whole position, or its last changes.
    pub fn encode(&self, position: &SourcePosition) -> Vec<u8> {
        if self.journal.is_empty() { position.whole() } else { position.changes() }
    }

    /// Moves the position, or its changes, to the journal if they are large. Returns the bytes to write there before
    /// the checkpoint; `None` if there are none.
    pub fn take_append(&mut self, position: &mut SourcePosition, ledger: &mut Ledger) -> Option<Append> {
        let size = position.size();
        let most = if self.journal.is_empty() { MAX_IN_CHECKPOINT } else { MAX_IN_CHECKPOINT / 2 };
        if size <= most || !ledger.has_journals() {
            self.leave(position, ledger);
            return None;
        }
        let is_written_whole = self.journal.is_empty() || self.is_long(size as u64);
        let changes = if is_written_whole { None } else { position.compact_changes() };
        if changes.is_some_and(|changes| changes <= MAX_CHANGES) {
            return None;
        }
        let bytes = if changes.is_some() {
            position.changes()
        } else {
            let whole = position.whole();
            ledger.release(self.journal.release_all());
            self.whole_bytes = whole.len() as u64;
            self.whole_size = size as u64;
            whole
        };
        position.record_changes();
        Some(self.journal.append(Hour(0), bytes, ledger.next_segment()))
    }

    /// Leaves the journal: the whole position is in the checkpoint again.
    pub fn leave(&mut self, position: &mut SourcePosition, ledger: &mut Ledger) {
        ledger.release(self.journal.release_all());
        *self = Self::default();
        position.store_whole();
    }

    /// Returns whether the journal is over [`MAX_LOG_RATIO`] times as large as the position itself, so that most of it
    /// is obsolete. `size` is the number of keys and contents that the position has now.
    fn is_long(&self, size: u64) -> bool {
        let written: u64 = self.journal.segments().map(|segment| segment.length).sum();
        let whole = self.whole_bytes.saturating_mul(size) / self.whole_size.max(1);
        written > MIN_BYTES.max(whole.saturating_mul(MAX_LOG_RATIO))
    }

    /// Reads the position from the parts in the journal's segments and the `last` part, which is in the checkpoint.
    /// Returns `None` if a part is missing or damaged.
    pub fn read(&self, segments: &BTreeMap<u64, Vec<u8>>, last: PositionPart<'static>) -> Option<SourcePosition> {
        let mut reader = PositionReader::default();
        for segment in self.journal.segments() {
            let mut rest = segments.get(&segment.number)?.get(..usize::try_from(segment.length).ok()?)?;
            while !rest.is_empty() {
                let (part, more) = postcard::take_from_bytes(rest).ok()?;
                reader.apply(part);
                rest = more;
            }
        }
        Some(reader.finish_recording(last))
    }
}

#[cfg(test)]
mod tests;
