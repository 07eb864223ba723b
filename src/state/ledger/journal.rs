use std::collections::VecDeque;

use super::Hour;
use crate::record::Append;
use crate::record::varint::{Malformed, Reader, put};

/// From this size on a segment is closed and another begun.
const SEGMENT_BYTES: u64 = 1 << 20;

/// What of a lane's journal a ledger refers to: segments that only grow, each up to the length that is in the checkpoint.
/// What lies behind that was never referred to, and is written over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journal {
    segments: VecDeque<Segment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub number: u64,
    pub length: u64,
    /// The newest hour in it.
    pub newest: Hour,
}

impl Journal {
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Takes note of `bytes` at the end, the newest hour in which is `newest`.
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

    /// Takes out the segments that hold nothing of `first` and later.
    pub fn expire(&mut self, first: Hour) -> Vec<u64> {
        let (gone, kept): (VecDeque<Segment>, _) = self.segments.iter().partition(|segment| segment.newest < first);
        self.segments = kept;
        gone.into_iter().map(|segment| segment.number).collect()
    }

    /// Takes out the oldest segment.
    pub fn drop_oldest(&mut self) -> Option<Segment> {
        self.segments.pop_front()
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        put(out, self.segments.len() as u64);
        for Segment { number, length, newest } in &self.segments {
            put(out, *number);
            put(out, *length);
            put(out, u64::from(newest.0));
        }
    }

    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut segments = VecDeque::new();
        for _ in 0..reader.number()? {
            let (number, length) = (reader.number()?, reader.number()?);
            segments.push_back(Segment { number, length, newest: hour(reader)? });
        }
        Ok(Self { segments })
    }
}

pub fn hour(reader: &mut Reader<'_>) -> Result<Hour, Malformed> {
    u32::try_from(reader.number()?).map(Hour).map_err(|_| Malformed)
}
