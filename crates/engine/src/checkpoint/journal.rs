//! A part of a lane's journal: data that a checkpoint refers to and does not contain.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::ledger::Hour;
use super::{Append, CheckpointBackend, CheckpointKey, StateError};

/// Bytes from which a segment is closed, and another is started.
const SEGMENT_BYTES: u64 = 1 << 20;

/// Segments that only grow, each up to the length in the checkpoint. No checkpoint refers to later bytes, which are
/// overwritten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    segments: VecDeque<Segment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub number: u64,
    pub length: u64,
    pub newest: Hour,
    /// CRC of all bytes of the segment.
    crc: u32,
}

impl Journal {
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    pub fn len(&self) -> usize {
        self.segments.len()
    }

    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Adds `bytes`, with entries up to the hour `newest`, at the end.
    pub fn append(&mut self, newest: Hour, bytes: Vec<u8>, next_segment: &mut u64) -> Append {
        let open = self.segments.back_mut().filter(|segment| segment.length < SEGMENT_BYTES);
        let more = bytes.len() as u64;
        match open {
            Some(segment) => {
                let offset = segment.length;
                segment.length += more;
                segment.newest = segment.newest.max(newest);
                segment.crc = crc_after(segment.crc, &bytes);
                Append { segment: segment.number, offset, bytes }
            }
            None => {
                let number = *next_segment;
                *next_segment += 1;
                self.segments.push_back(Segment { number, length: more, newest, crc: crc_after(0, &bytes) });
                Append { segment: number, offset: 0, bytes }
            }
        }
    }

    /// Removes the segments whose entries are all older than `first`, and returns their numbers.
    pub fn expire(&mut self, first: Hour) -> Vec<u64> {
        let (gone, kept): (VecDeque<Segment>, _) = self.segments.iter().partition(|segment| segment.newest < first);
        self.segments = kept;
        gone.into_iter().map(|segment| segment.number).collect()
    }

    pub fn release_oldest(&mut self) -> Option<Segment> {
        self.segments.pop_front()
    }

    /// Removes all segments, and returns their numbers.
    pub fn release_all(&mut self) -> impl Iterator<Item = u64> + use<> {
        std::mem::take(&mut self.segments).into_iter().map(|segment| segment.number)
    }

    /// Returns whether `journal` contains everything that this part refers to.
    pub fn is_complete_with(&self, journal: &BTreeMap<u64, Vec<u8>>) -> bool {
        self.segments.iter().all(|segment| journal.get(&segment.number).is_some_and(|bytes| segment.is(bytes)))
    }
}

impl Segment {
    /// Reads the segment, up to the length that the checkpoint refers to.
    ///
    /// # Errors
    /// If the segment cannot be read, or is not as it was written: a running lane may have changed it meanwhile.
    pub async fn read(&self, backend: &dyn CheckpointBackend, key: &CheckpointKey) -> Result<Vec<u8>, StateError> {
        let damaged = || StateError::Journal { key: key.clone(), segment: self.number };
        let mut bytes = backend.read_journal(key, self.number).await?.ok_or_else(damaged)?;
        bytes.truncate(usize::try_from(self.length).map_err(|_| damaged())?);
        if self.is(&bytes) { Ok(bytes) } else { Err(damaged()) }
    }

    fn is(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.length && crc_after(0, bytes) == self.crc
    }
}

/// Returns the checksum of bytes whose checksum is `before`, followed by `more`.
fn crc_after(before: u32, more: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(more);
    hasher.finalize()
}
