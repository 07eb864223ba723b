//! Where a position is too large to be stored as a whole with each checkpoint: its part of the lane's journal.
//!
//! The journal has the whole position as it was once, and after it what has changed since. The checkpoint has what has
//! changed after that, and says how far the journal counts. Like the ledger's part, the journal is written before the
//! checkpoint that refers to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checkpoint::Append;
use crate::checkpoint::journal::Journal;
use crate::checkpoint::ledger::{Hour, Ledger};
use crate::source::{PositionPart, PositionReader, SourcePosition};

/// A position with more keys and contents than this goes to the journal; with half as many it comes back.
const MAX_IN_CHECKPOINT: usize = 128;
/// Changed keys and contents in the checkpoint at most; then all of them move to the journal.
const MAX_CHANGES: usize = 32;
/// The whole position is written again when its part of the journal takes this many times the bytes of the whole, and
/// at least the bytes below.
const MAX_LOG_RATIO: u64 = 16;
const MIN_BYTES: u64 = 64 << 10;

/// The parts of a position in a lane's journal; none where the checkpoint has the whole position.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeLog {
    journal: Journal,
    /// When the position was written as a whole: its bytes, and its keys and contents.
    whole_bytes: u64,
    whole_size: u64,
}

impl ChangeLog {
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The stored form of `position` in the checkpoint.
    pub fn encode(&self, position: &SourcePosition) -> Vec<u8> {
        if self.journal.is_empty() { position.whole() } else { position.changes() }
    }

    /// Moves what has changed to the journal where it is much, and returns what has to be written there before the
    /// checkpoint.
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

    /// True if the journal is over [`MAX_LOG_RATIO`] times as large as the position itself, so that most of it is
    /// obsolete. `size` is that of the position now.
    fn is_long(&self, size: u64) -> bool {
        let written: u64 = self.journal.segments().map(|segment| segment.length).sum();
        let whole = self.whole_bytes.saturating_mul(size) / self.whole_size.max(1);
        written > MIN_BYTES.max(whole.saturating_mul(MAX_LOG_RATIO))
    }

    /// The position of the parts in the journal's segments, and of the last part, which is in the checkpoint. None when
    /// they are damaged.
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
