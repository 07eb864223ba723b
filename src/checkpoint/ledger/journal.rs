use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Hour;
use crate::checkpoint::Append;

/// A segment of this size is closed, and another is started.
const SEGMENT_BYTES: u64 = 1 << 20;

/// The part of a lane's journal that a ledger refers to: segments that only grow, each up to the length in the
/// checkpoint. Later bytes were never referred to, and are overwritten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    segments: VecDeque<Segment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub number: u64,
    pub length: u64,
    pub newest: Hour,
}

impl Journal {
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    pub fn len(&self) -> usize {
        self.segments.len()
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
                Append { segment: segment.number, offset, bytes }
            }
            None => {
                let number = *next_segment;
                *next_segment += 1;
                self.segments.push_back(Segment { number, length: more, newest });
                Append { segment: number, offset: 0, bytes }
            }
        }
    }

    /// Removes the segments whose entries are all older than `first`.
    pub fn expire(&mut self, first: Hour) -> Vec<u64> {
        let (gone, kept): (VecDeque<Segment>, _) = self.segments.iter().partition(|segment| segment.newest < first);
        self.segments = kept;
        gone.into_iter().map(|segment| segment.number).collect()
    }
    pub fn drop_oldest(&mut self) -> Option<Segment> {
        self.segments.pop_front()
    }
}
