//! The records of a checkpoint topic. The keys of a lane's records begin with its name. The name also selects their
//! partition, so a lane finds its checkpoint after a change of its shard or settings.
//!
//! | key | value | headers |
//! | --- | --- | --- |
//! | `pipeline/stream/sink` | the whole checkpoint | `format`, `owner`, `process`, `sequence`, `chunks`, `crc` |
//! | `pipeline/stream/sink#SEQUENCE#N` | a chunk of a split checkpoint | |
//! | `pipeline/stream/sink#jSEGMENT#OFFSET` | bytes at this offset of a journal segment | |
//! | `@ID` | none | a [`Claim`](super::claim) on the transactional id |

use std::collections::BTreeSet;
use std::fmt::Display;

use s1_forwarder_engine::checkpoint::CheckpointUpdate;

use super::claim::PROCESS_NAME;
use super::headers::headers;
use super::send::Message;
use super::topic::Topic;

/// Most bytes of a chunk. A larger checkpoint is split, since brokers refuse large messages.
const MAX_CHUNK_BYTES: usize = 256 * 1024;

/// Segment and offset of each journal record of a lane in the topic.
pub(super) type JournalIndex = BTreeSet<(u64, u64)>;

/// Records of a lane in the topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// Increases with each checkpoint of the lane.
    pub(super) sequence: u64,
    /// Number of chunks in separate records; 0 for a checkpoint that is not split.
    pub(super) chunks: usize,
    pub(super) journal: JournalIndex,
}

/// Makes the records of one lane.
#[derive(Debug)]
pub(super) struct LaneRecords {
    pub(super) topic: String,
    partition: i32,
    pub(super) lane: String,
}

/// Returns the common prefix of the keys of a segment's records.
pub(super) fn segment_key(lane: &str, segment: u64) -> String {
    format!("{lane}#j{segment}")
}

impl LaneRecords {
    pub(super) fn new(topic: &str, partitions: i32, lane: &str) -> Self {
        Self { topic: topic.to_owned(), partition: Topic::partition_of(lane, partitions), lane: lane.to_owned() }
    }

    fn message(&self, suffix: impl Display, value: Option<Vec<u8>>) -> Message {
        let topic = self.topic.clone();
        let key = format!("{}{suffix}", self.lane);
        Message { topic, partition: self.partition, key, value, headers: None }
    }

    fn chunk(&self, sequence: u64, number: usize, bytes: Option<&[u8]>) -> Message {
        self.message(format_args!("#{sequence}#{number}"), bytes.map(<[u8]>::to_vec))
    }

    fn journal(&self, segment: u64, offset: u64, bytes: Option<&[u8]>) -> Message {
        self.message(format_args!("#j{segment}#{offset}"), bytes.map(<[u8]>::to_vec))
    }

    /// Returns the records of `update`, and what the topic has after their commit. The last one is the head, which
    /// names `owner` as the transactional id that may write the next one.
    pub(super) fn update(&self, before: &Stored, owner: &str, update: CheckpointUpdate) -> (Stored, Vec<Message>) {
        let CheckpointUpdate { checkpoint, journal: change } = update;
        let mut after = Stored { sequence: before.sequence + 1, chunks: 0, journal: before.journal.clone() };
        let mut messages = Vec::new();
        for append in change.appends {
            let offsets = (append.offset..).step_by(MAX_CHUNK_BYTES);
            for (offset, part) in offsets.zip(append.bytes.chunks(MAX_CHUNK_BYTES)) {
                after.journal.insert((append.segment, offset));
                messages.push(self.journal(append.segment, offset, Some(part)));
            }
        }
        // Removals come last, since attempts that failed may have left appends to a segment that is dropped now.
        for (segment, offset) in after.journal.extract_if(.., |(segment, _)| change.released.contains(segment)) {
            messages.push(self.journal(segment, offset, None));
        }
        let crc = crc32fast::hash(&checkpoint);
        let mut head = checkpoint;
        if head.len() > MAX_CHUNK_BYTES {
            for chunk in std::mem::take(&mut head).chunks(MAX_CHUNK_BYTES) {
                messages.push(self.chunk(after.sequence, after.chunks, Some(chunk)));
                after.chunks += 1;
            }
        }
        messages.extend((0..before.chunks).map(|number| self.chunk(before.sequence, number, None)));
        let headers = headers(&[
            ("owner", owner),
            ("process", &PROCESS_NAME),
            ("sequence", &after.sequence.to_string()),
            ("chunks", &after.chunks.to_string()),
            ("crc", &crc.to_string()),
        ]);
        messages.push(Message { headers: Some(headers), ..self.message("", Some(head)) });
        (after, messages)
    }

    /// Returns the records that remove everything of the lane.
    pub(super) fn removal(&self, stored: &Stored) -> Vec<Message> {
        let chunks = (0..stored.chunks).map(|number| self.chunk(stored.sequence, number, None));
        let journal = stored.journal.iter().map(|(segment, offset)| self.journal(*segment, *offset, None));
        chunks.chain(journal).chain([self.message("", None)]).collect()
    }
}
