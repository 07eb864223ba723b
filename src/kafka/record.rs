//! The records of a checkpoint topic. The keys of a lane's records begin with its name. The name also selects their
//! partition, so a lane finds its checkpoint after a change of its shard or settings.
//!
//! | key | value | headers |
//! | --- | --- | --- |
//! | `pipeline/stream/sink` | the whole checkpoint | `format`, `owner`, `process`, `sequence`, `chunks`, `crc` |
//! | `pipeline/stream/sink#SEQUENCE#N` | a chunk of a split checkpoint | |
//! | `pipeline/stream/sink#jSEGMENT#OFFSET` | bytes at this offset of a journal segment | |
//! | `@ID` | none | the holder of the transactional id: `process`, `beat`, `state` |

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rdkafka::message::{Header, Headers, OwnedHeaders};

use super::group::Message;
use crate::checkpoint::JournalChange;
use crate::failure::Failure;

const FORMAT: u32 = 1;
/// A larger checkpoint is split, since brokers refuse large messages.
const MAX_CHUNK_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The transactional id that may write the next one.
    pub(crate) owner: String,
    /// The process that wrote this one.
    pub(crate) process: String,
    /// Increases with each record of the lane.
    pub(crate) sequence: u64,
    /// Number of chunks in separate records; 0 for a checkpoint that is not split.
    pub(crate) chunks: usize,
    pub(crate) checkpoint: Vec<u8>,
}

/// The holder of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) process: String,
    /// Changes while the process runs.
    pub(crate) beat: u64,
    pub(crate) released: bool,
}

impl Claim {
    pub(super) fn message(&self, topic: &str, partitions: i32, id: &str) -> Message {
        let key = claim_key(id);
        let state = if self.released { "released" } else { "held" };
        let headers = headers(&[
            ("format", FORMAT.to_string().as_str()),
            ("process", &self.process),
            ("beat", &self.beat.to_string()),
            ("state", state),
        ]);
        let partition = partition(&key, partitions);
        Message { topic: topic.to_owned(), partition, key, value: Some(Vec::new()), headers: Some(headers) }
    }
}

/// The key of the claim on `id`.
pub(super) fn claim_key(id: &str) -> String {
    format!("@{id}")
}

/// Selects the partition of `name`. librdkafka's own choice would depend on the user's settings.
pub(super) fn partition(name: &str, partitions: i32) -> i32 {
    let partitions = u32::try_from(partitions).unwrap_or(1).max(1);
    i32::try_from(crc32fast::hash(name.as_bytes()) % partitions).unwrap_or(0)
}

impl Entry {
    /// Returns the records that store the entry; the head is last. `before` is the sequence and chunk count of the
    /// lane's last entry, whose chunks are removed.
    pub(super) fn messages(&mut self, topic: &str, partitions: i32, lane: &str, before: (u64, usize)) -> Vec<Message> {
        let partition = partition(lane, partitions);
        let message = |key, value, headers| Message { topic: topic.to_owned(), partition, key, value, headers };
        let crc = crc32fast::hash(&self.checkpoint).to_string();
        let mut messages = Vec::new();
        let mut head_bytes = std::mem::take(&mut self.checkpoint);
        self.chunks = 0;
        if head_bytes.len() > MAX_CHUNK_BYTES {
            for (number, chunk) in head_bytes.chunks(MAX_CHUNK_BYTES).enumerate() {
                messages.push(message(chunk_key(lane, self.sequence, number), Some(chunk.to_vec()), None));
                self.chunks += 1;
            }
            head_bytes = Vec::new();
        }
        let (sequence, chunks) = before;
        messages.extend((0..chunks).map(|number| message(chunk_key(lane, sequence, number), None, None)));
        let headers = headers(&[
            ("format", FORMAT.to_string().as_str()),
            ("owner", &self.owner),
            ("process", &self.process),
            ("sequence", &self.sequence.to_string()),
            ("chunks", &self.chunks.to_string()),
            ("crc", &crc),
        ]);
        messages.push(message(lane.to_owned(), Some(head_bytes), Some(headers)));
        messages
    }

    /// Returns the records that remove an entry.
    pub(super) fn removal(topic: &str, partitions: i32, lane: &str, (sequence, chunks): (u64, usize)) -> Vec<Message> {
        let partition = partition(lane, partitions);
        let message = |key| Message { topic: topic.to_owned(), partition, key, value: None, headers: None };
        let chunks = (0..chunks).map(|number| message(chunk_key(lane, sequence, number)));
        chunks.chain([message(lane.to_owned())]).collect()
    }
}

/// Segment and offset of each journal record of a lane in the topic.
pub(super) type JournalIndex = BTreeSet<(u64, u64)>;

/// Returns the records that change the lane's journal, and the index after the change.
pub(super) fn journal_messages(
    topic: &str,
    partitions: i32,
    lane: &str,
    mut index: JournalIndex,
    change: JournalChange,
) -> (Vec<Message>, JournalIndex) {
    let partition = partition(lane, partitions);
    let message = |(segment, offset), value| {
        let key = format!("{}#{offset}", segment_key(lane, segment));
        Message { topic: topic.to_owned(), partition, key, value, headers: None }
    };
    let mut messages = Vec::new();
    for position in index.iter().filter(|(segment, _)| change.dropped.contains(segment)) {
        messages.push(message(*position, None));
    }
    index.retain(|(segment, _)| !change.dropped.contains(segment));
    for append in change.appends {
        let offsets = (append.offset..).step_by(MAX_CHUNK_BYTES);
        for (offset, part) in offsets.zip(append.bytes.chunks(MAX_CHUNK_BYTES)) {
            index.insert((append.segment, offset));
            messages.push(message((append.segment, offset), Some(part.to_vec())));
        }
    }
    (messages, index)
}

/// The common prefix of the keys of a segment's records.
pub(super) fn segment_key(lane: &str, segment: u64) -> String {
    format!("{lane}#j{segment}")
}

fn chunk_key(lane: &str, sequence: u64, number: usize) -> String {
    format!("{lane}#{sequence}#{number}")
}

fn headers(pairs: &[(&str, &str)]) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(pairs.len());
    pairs.iter().fold(empty, |headers, (key, value)| headers.insert(Header { key, value: Some(*value) }))
}

/// Selects the records to read from the topic.
#[derive(Debug, Clone)]
pub(super) enum KeyFilter {
    /// Keys of lanes, claims and journal segments.
    Keys(HashSet<String>),
    All,
}

impl KeyFilter {
    pub(super) fn union(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Keys(mine), Self::Keys(others)) => {
                Self::Keys(mine.into_iter().chain(others.iter().cloned()).collect())
            }
            _ => Self::All,
        }
    }

    fn contains(&self, key: &str) -> bool {
        match self {
            Self::Keys(keys) => keys.contains(key),
            Self::All => true,
        }
    }
}

/// Collects records while the topic is read.
#[derive(Debug)]
pub(super) struct TopicScan {
    filter: KeyFilter,
    heads: HashMap<String, Head>,
    chunks: HashMap<String, BTreeMap<(u64, usize), Vec<u8>>>,
    claims: HashMap<String, Claim>,
    journals: HashMap<String, JournalIndex>,
    /// By segment key, then by offset.
    segments: HashMap<String, BTreeMap<u64, Vec<u8>>>,
}

#[derive(Debug)]
struct Head {
    format: u32,
    crc: u32,
    entry: Entry,
}

impl TopicScan {
    pub(super) fn new(filter: KeyFilter) -> Self {
        Self {
            filter,
            heads: HashMap::new(),
            chunks: HashMap::new(),
            claims: HashMap::new(),
            journals: HashMap::new(),
            segments: HashMap::new(),
        }
    }

    /// Adds a record. The records of a partition have to come in order.
    pub(super) fn add(&mut self, message: &impl rdkafka::Message) {
        let Some(key) = message.key().and_then(|key| std::str::from_utf8(key).ok()) else { return };
        let value = message.payload();
        if let Some((lane, chunk)) = key.split_once('#') {
            if chunk.starts_with('j') {
                self.add_journal(lane, key, value);
                return;
            }
            if self.filter.contains(lane)
                && let Some((sequence, number)) = chunk.split_once('#')
                && let (Ok(sequence), Ok(number), Some(value)) = (sequence.parse(), number.parse(), value)
            {
                self.chunks.entry(lane.to_owned()).or_default().insert((sequence, number), value.to_vec());
            }
            return;
        }
        if !self.filter.contains(key) {
            return;
        }
        let Some(value) = value else {
            self.heads.remove(key);
            self.claims.remove(key);
            return;
        };
        let headers = RecordHeaders::of(message.headers());
        if key.starts_with('@') {
            let released = headers.text("state") != "held";
            self.claims.insert(
                key.to_owned(),
                Claim { process: headers.text("process"), beat: headers.number("beat"), released },
            );
            return;
        }
        let sequence = headers.number("sequence");
        if self.heads.get(key).is_some_and(|head| head.entry.sequence > sequence) {
            // A record from the lane's former partition: partitions were added to the topic.
            return;
        }
        if let Some(chunks) = self.chunks.get_mut(key) {
            chunks.retain(|(of, _), _| *of >= sequence);
        }
        let entry = Entry {
            owner: headers.text("owner"),
            process: headers.text("process"),
            sequence,
            chunks: headers.number("chunks"),
            checkpoint: value.to_vec(),
        };
        self.heads.insert(key.to_owned(), Head { format: headers.number("format"), crc: headers.number("crc"), entry });
    }

    fn add_journal(&mut self, lane: &str, key: &str, value: Option<&[u8]>) {
        let Some((segment, offset)) = key.rsplit_once('#') else { return };
        let number = segment.rsplit_once("#j").and_then(|(_, number)| number.parse().ok());
        let (Some(number), Ok(offset)) = (number, offset.parse()) else { return };
        if self.filter.contains(lane) {
            let index = self.journals.entry(lane.to_owned()).or_default();
            match value {
                Some(_) => index.insert((number, offset)),
                None => index.remove(&(number, offset)),
            };
        }
        if matches!(&self.filter, KeyFilter::Keys(keys) if keys.contains(segment)) {
            let parts = self.segments.entry(segment.to_owned()).or_default();
            match value {
                Some(value) => parts.insert(offset, value.to_vec()),
                None => parts.remove(&offset),
            };
        }
    }

    pub(super) fn finish(mut self) -> TopicSnapshot {
        let chunks = &mut self.chunks;
        let lanes = self.heads.into_iter().map(|(lane, head)| {
            let entry = head.reassemble(&lane, chunks.remove(&lane).unwrap_or_default());
            (lane, entry)
        });
        TopicSnapshot { lanes: lanes.collect(), claims: self.claims, journals: self.journals, segments: self.segments }
    }
}

impl Head {
    fn reassemble(mut self, lane: &str, mut chunks: BTreeMap<(u64, usize), Vec<u8>>) -> Result<Entry, Failure> {
        if self.format > FORMAT {
            let format = self.format;
            return Err(Failure::Misconfigured(format!(
                "the checkpoint of {lane} was written by a newer release (format {format}, this one reads up to {FORMAT}); use that release"
            )));
        }
        for number in 0..self.entry.chunks {
            self.entry.checkpoint.extend(chunks.remove(&(self.entry.sequence, number)).unwrap_or_default());
        }
        if crc32fast::hash(&self.entry.checkpoint) != self.crc {
            return Err(Failure::Misconfigured(format!(
                "the checkpoint of {lane} is damaged; write a message without a value under this key to restart the lane without a checkpoint"
            )));
        }
        Ok(self.entry)
    }
}

/// The result of a [`TopicScan`].
#[derive(Debug, Default)]
pub(super) struct TopicSnapshot {
    pub(super) lanes: HashMap<String, Result<Entry, Failure>>,
    claims: HashMap<String, Claim>,
    journals: HashMap<String, JournalIndex>,
    segments: HashMap<String, BTreeMap<u64, Vec<u8>>>,
}

impl TopicSnapshot {
    pub(super) fn journal_index(&self, lane: &str) -> JournalIndex {
        self.journals.get(lane).cloned().unwrap_or_default()
    }

    /// Returns the contiguous bytes of a journal segment. A crash may leave records after a gap; they are ignored.
    pub(super) fn segment(&self, key: &str) -> Option<Vec<u8>> {
        let parts = self.segments.get(key)?;
        let mut bytes = Vec::new();
        while let Some(part) = parts.get(&(bytes.len() as u64)).filter(|part| !part.is_empty()) {
            bytes.extend_from_slice(part);
        }
        Some(bytes)
    }

    pub(super) fn lane(&self, lane: &str) -> Result<Option<Entry>, Failure> {
        self.lanes.get(lane).cloned().transpose()
    }

    pub(super) fn claim(&self, id: &str) -> Option<&Claim> {
        self.claims.get(&claim_key(id))
    }
}

struct RecordHeaders(HashMap<String, String>);

impl RecordHeaders {
    fn of<H: Headers>(headers: Option<&H>) -> Self {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        let all = headers.into_iter().flat_map(Headers::iter);
        Self(all.map(|header| (header.key.to_owned(), text(header.value))).collect())
    }

    fn text(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_default()
    }

    fn number<T: std::str::FromStr + Default>(&self, name: &str) -> T {
        self.0.get(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    fn entry(sequence: u64, bytes: usize) -> Entry {
        let (owner, process) = ("id".to_owned(), "host:1".to_owned());
        Entry { owner, process, sequence, chunks: 0, checkpoint: vec![u8::try_from(sequence).unwrap(); bytes] }
    }

    fn read(messages: Vec<Message>) -> TopicSnapshot {
        let mut scan = TopicScan::new(KeyFilter::Keys(HashSet::from(["a/threats/b".to_owned()])));
        for message in messages {
            let (key, value, headers) = (Some(message.key.into_bytes()), message.value, message.headers);
            scan.add(&OwnedMessage::new(
                value,
                key,
                message.topic,
                Timestamp::NotAvailable,
                message.partition,
                0,
                headers,
            ));
        }
        scan.finish()
    }

    #[test]
    fn a_large_checkpoint_is_split_and_reassembled() {
        let mut log = entry(1, 10).messages("t", 7, "a/threats/b", (0, 0));
        assert_eq!(log.len(), 1);
        let large = entry(2, 600_000);
        let split = large.clone().messages("t", 7, "a/threats/b", (1, 0));
        assert_eq!((split.len(), split.last().unwrap().key.as_str()), (4, "a/threats/b"), "the head comes last");
        assert!(split.iter().all(|message| message.partition == log[0].partition));
        log.extend(split);
        let found = read(log).lane("a/threats/b").unwrap().unwrap();
        assert_eq!((found.sequence, found.chunks), (2, 3));
        assert_eq!(found.checkpoint, large.checkpoint);

        let after = entry(3, 10).messages("t", 7, "a/threats/b", (2, 3));
        let removed: Vec<_> =
            after.iter().filter(|message| message.value.is_none()).map(|message| &message.key).collect();
        assert_eq!(removed, ["a/threats/b#2#0", "a/threats/b#2#1", "a/threats/b#2#2"]);
    }

    #[test]
    fn an_incomplete_or_newer_checkpoint_is_refused() {
        let mut split = entry(2, 600_000).messages("t", 7, "a/threats/b", (1, 0));
        split.remove(1);
        assert!(read(split).lane("a/threats/b").unwrap_err().to_string().contains("damaged"));
        let mut newer = entry(2, 10).messages("t", 7, "a/threats/b", (1, 0));
        newer[0].headers = Some(headers(&[("format", "2"), ("sequence", "3")]));
        assert!(read(newer).lane("a/threats/b").unwrap_err().to_string().contains("newer release"));
    }

    #[test]
    fn removed_and_unrequested_lanes_are_not_found() {
        let mut log = entry(1, 10).messages("t", 7, "a/threats/b", (0, 0));
        log.extend(entry(1, 10).messages("t", 7, "other/threats/b", (0, 0)));
        log.extend(Entry::removal("t", 7, "a/threats/b", (1, 0)));
        assert!(read(log).lanes.is_empty());
    }
}
