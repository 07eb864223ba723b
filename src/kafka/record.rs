//! The records of a checkpoint topic. All of a lane are keyed by names that begin with its own and lie in the partition that
//! its name chooses, so that the lane's shard and settings may change and its checkpoint is still found.
//!
//! | key | value | headers |
//! | --- | --- | --- |
//! | `pipeline/stream/sink` | the checkpoint, if it is not cut | `format`, `owner`, `process`, `sequence`, `chunks`, `crc` |
//! | `pipeline/stream/sink#SEQUENCE#N` | a chunk of one that is | |
//! | `pipeline/stream/sink#jSEGMENT#OFFSET` | what lies there in a segment of its journal | |
//! | `@ID` | – | who holds the transactional id: `process`, `beat`, `state` |

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rdkafka::message::{Header, Headers, OwnedHeaders};

use super::Trouble;
use super::group::Message;
use crate::record::JournalChange;

const FORMAT: u32 = 1;
/// A larger checkpoint is cut: brokers refuse large messages.
const LARGEST: usize = 256 * 1024;

/// What is stored for a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The transactional id that may write the next one.
    pub(crate) owner: String,
    /// The process that wrote this one.
    pub(crate) process: String,
    /// Counts the lane's records.
    pub(crate) sequence: u64,
    /// How many chunks it was cut into.
    pub(crate) chunks: usize,
    pub(crate) checkpoint: Vec<u8>,
}

/// Who holds a transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) process: String,
    /// Changes while the process lives.
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

/// The key of the record that says who holds `id`.
pub(super) fn claim_key(id: &str) -> String {
    format!("@{id}")
}

/// The partition of everything of `name`. A hash of our own: librdkafka's depends on the user's settings.
pub(super) fn partition(name: &str, partitions: i32) -> i32 {
    let partitions = u32::try_from(partitions).unwrap_or(1).max(1);
    i32::try_from(crc32fast::hash(name.as_bytes()) % partitions).unwrap_or(0)
}

impl Entry {
    /// The records that store it; the head comes last. `before` is the lane's last entry as sequence and chunks, whose
    /// chunks are removed.
    pub(super) fn messages(&mut self, topic: &str, partitions: i32, lane: &str, before: (u64, usize)) -> Vec<Message> {
        let partition = partition(lane, partitions);
        let message = |key, value, headers| Message { topic: topic.to_owned(), partition, key, value, headers };
        let crc = crc32fast::hash(&self.checkpoint).to_string();
        let mut messages = Vec::new();
        let mut whole = std::mem::take(&mut self.checkpoint);
        self.chunks = 0;
        if whole.len() > LARGEST {
            for (number, chunk) in whole.chunks(LARGEST).enumerate() {
                messages.push(message(chunk_key(lane, self.sequence, number), Some(chunk.to_vec()), None));
                self.chunks += 1;
            }
            whole = Vec::new();
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
        messages.push(message(lane.to_owned(), Some(whole), Some(headers)));
        messages
    }

    /// The records that remove it.
    pub(super) fn removal(topic: &str, partitions: i32, lane: &str, (sequence, chunks): (u64, usize)) -> Vec<Message> {
        let partition = partition(lane, partitions);
        let message = |key| Message { topic: topic.to_owned(), partition, key, value: None, headers: None };
        let chunks = (0..chunks).map(|number| message(chunk_key(lane, sequence, number)));
        chunks.chain([message(lane.to_owned())]).collect()
    }
}

/// The records of a lane's journal that are in the topic: segment and offset.
pub(super) type Places = BTreeSet<(u64, u64)>;

/// The records that change the lane's journal, and its places afterwards.
pub(super) fn journal_messages(
    topic: &str,
    partitions: i32,
    lane: &str,
    mut places: Places,
    change: JournalChange,
) -> (Vec<Message>, Places) {
    let partition = partition(lane, partitions);
    let message = |(segment, offset), value| {
        let key = format!("{}#{offset}", segment_key(lane, segment));
        Message { topic: topic.to_owned(), partition, key, value, headers: None }
    };
    let mut messages = Vec::new();
    for place in places.iter().filter(|(segment, _)| change.dropped.contains(segment)) {
        messages.push(message(*place, None));
    }
    places.retain(|(segment, _)| !change.dropped.contains(segment));
    for append in change.appends {
        let offsets = (append.offset..).step_by(LARGEST);
        for (offset, part) in offsets.zip(append.bytes.chunks(LARGEST)) {
            places.insert((append.segment, offset));
            messages.push(message((append.segment, offset), Some(part.to_vec())));
        }
    }
    (messages, places)
}

/// What the keys of a segment's records begin with.
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

/// What is asked of the topic.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// These keys, of lanes and of claims.
    Keys(HashSet<String>),
    /// Everything.
    All,
}

impl Wanted {
    /// This, and what `other` asks for.
    pub(super) fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Keys(mine), Self::Keys(others)) => {
                Self::Keys(mine.into_iter().chain(others.iter().cloned()).collect())
            }
            _ => Self::All,
        }
    }

    fn has(&self, key: &str) -> bool {
        match self {
            Self::Keys(keys) => keys.contains(key),
            Self::All => true,
        }
    }
}

/// Gathers records as they are read.
#[derive(Debug)]
pub(super) struct Gathered {
    wanted: Wanted,
    heads: HashMap<String, Head>,
    chunks: HashMap<String, BTreeMap<(u64, usize), Vec<u8>>>,
    claims: HashMap<String, Claim>,
    places: HashMap<String, Places>,
    /// By the key of the segment and the offset.
    segments: HashMap<String, BTreeMap<u64, Vec<u8>>>,
}

#[derive(Debug)]
struct Head {
    format: u32,
    crc: u32,
    entry: Entry,
}

impl Gathered {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            heads: HashMap::new(),
            chunks: HashMap::new(),
            claims: HashMap::new(),
            places: HashMap::new(),
            segments: HashMap::new(),
        }
    }

    /// Records come in the order of each partition.
    pub(super) fn take(&mut self, message: &impl rdkafka::Message) {
        let Some(key) = message.key().and_then(|key| std::str::from_utf8(key).ok()) else { return };
        let value = message.payload();
        if let Some((lane, chunk)) = key.split_once('#') {
            if chunk.starts_with('j') {
                self.take_journal(lane, key, value);
                return;
            }
            if self.wanted.has(lane)
                && let Some((sequence, number)) = chunk.split_once('#')
                && let (Ok(sequence), Ok(number), Some(value)) = (sequence.parse(), number.parse(), value)
            {
                self.chunks.entry(lane.to_owned()).or_default().insert((sequence, number), value.to_vec());
            }
            return;
        }
        if !self.wanted.has(key) {
            return;
        }
        let Some(value) = value else {
            self.heads.remove(key);
            self.claims.remove(key);
            return;
        };
        let given = Given::of(message.headers());
        if key.starts_with('@') {
            let released = given.text("state") != "held";
            self.claims
                .insert(key.to_owned(), Claim { process: given.text("process"), beat: given.number("beat"), released });
            return;
        }
        let sequence = given.number("sequence");
        if self.heads.get(key).is_some_and(|head| head.entry.sequence > sequence) {
            // From a partition that was the lane's before the topic got more of them.
            return;
        }
        if let Some(chunks) = self.chunks.get_mut(key) {
            chunks.retain(|(of, _), _| *of >= sequence);
        }
        let entry = Entry {
            owner: given.text("owner"),
            process: given.text("process"),
            sequence,
            chunks: given.number("chunks"),
            checkpoint: value.to_vec(),
        };
        self.heads.insert(key.to_owned(), Head { format: given.number("format"), crc: given.number("crc"), entry });
    }

    fn take_journal(&mut self, lane: &str, key: &str, value: Option<&[u8]>) {
        let Some((segment, offset)) = key.rsplit_once('#') else { return };
        let number = segment.rsplit_once("#j").and_then(|(_, number)| number.parse().ok());
        let (Some(number), Ok(offset)) = (number, offset.parse()) else { return };
        if self.wanted.has(lane) {
            let places = self.places.entry(lane.to_owned()).or_default();
            match value {
                Some(_) => places.insert((number, offset)),
                None => places.remove(&(number, offset)),
            };
        }
        if matches!(&self.wanted, Wanted::Keys(keys) if keys.contains(segment)) {
            let parts = self.segments.entry(segment.to_owned()).or_default();
            match value {
                Some(value) => parts.insert(offset, value.to_vec()),
                None => parts.remove(&offset),
            };
        }
    }

    /// What the topic says now.
    pub(super) fn finish(mut self) -> Found {
        let chunks = &mut self.chunks;
        let lanes = self.heads.into_iter().map(|(lane, head)| {
            let entry = head.whole(&lane, chunks.remove(&lane).unwrap_or_default());
            (lane, entry)
        });
        Found { lanes: lanes.collect(), claims: self.claims, places: self.places, segments: self.segments }
    }
}

impl Head {
    fn whole(mut self, lane: &str, mut chunks: BTreeMap<(u64, usize), Vec<u8>>) -> Result<Entry, Trouble> {
        if self.format > FORMAT {
            let format = self.format;
            return Err(Trouble::Forbidden(format!(
                "the checkpoint of {lane} was written by a newer release (format {format}, this one reads up to {FORMAT}); use that release"
            )));
        }
        for number in 0..self.entry.chunks {
            self.entry.checkpoint.extend(chunks.remove(&(self.entry.sequence, number)).unwrap_or_default());
        }
        if crc32fast::hash(&self.entry.checkpoint) != self.crc {
            return Err(Trouble::Forbidden(format!(
                "the checkpoint of {lane} is damaged; write a message without a value under this key to start the lane anew"
            )));
        }
        Ok(self.entry)
    }
}

/// What was found in the topic.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) lanes: HashMap<String, Result<Entry, Trouble>>,
    claims: HashMap<String, Claim>,
    places: HashMap<String, Places>,
    segments: HashMap<String, BTreeMap<u64, Vec<u8>>>,
}

impl Found {
    pub(super) fn places(&self, lane: &str) -> Places {
        self.places.get(lane).cloned().unwrap_or_default()
    }

    /// A segment of a lane's journal, as far as its records follow one another: what a crash left behind does not.
    pub(super) fn segment(&self, key: &str) -> Option<Vec<u8>> {
        let parts = self.segments.get(key)?;
        let mut bytes = Vec::new();
        while let Some(part) = parts.get(&(bytes.len() as u64)).filter(|part| !part.is_empty()) {
            bytes.extend_from_slice(part);
        }
        Some(bytes)
    }

    pub(super) fn lane(&self, lane: &str) -> Result<Option<Entry>, Trouble> {
        self.lanes.get(lane).cloned().transpose()
    }

    pub(super) fn claim(&self, id: &str) -> Option<&Claim> {
        self.claims.get(&claim_key(id))
    }
}

/// The headers of one record.
struct Given(HashMap<String, String>);

impl Given {
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

    fn read(messages: Vec<Message>) -> Found {
        let mut gathered = Gathered::new(Wanted::Keys(HashSet::from(["a/threats/b".to_owned()])));
        for message in messages {
            let (key, value, headers) = (Some(message.key.into_bytes()), message.value, message.headers);
            gathered.take(&OwnedMessage::new(
                value,
                key,
                message.topic,
                Timestamp::NotAvailable,
                message.partition,
                0,
                headers,
            ));
        }
        gathered.finish()
    }

    #[test]
    fn a_large_checkpoint_is_cut_and_put_together_again() {
        let mut log = entry(1, 10).messages("t", 7, "a/threats/b", (0, 0));
        assert_eq!(log.len(), 1);
        let large = entry(2, 600_000);
        let cut = large.clone().messages("t", 7, "a/threats/b", (1, 0));
        assert_eq!((cut.len(), cut.last().unwrap().key.as_str()), (4, "a/threats/b"), "the head comes last");
        assert!(cut.iter().all(|message| message.partition == log[0].partition));
        log.extend(cut);
        let found = read(log).lane("a/threats/b").unwrap().unwrap();
        assert_eq!((found.sequence, found.chunks), (2, 3));
        assert_eq!(found.checkpoint, large.checkpoint);

        let after = entry(3, 10).messages("t", 7, "a/threats/b", (2, 3));
        let removed: Vec<_> =
            after.iter().filter(|message| message.value.is_none()).map(|message| &message.key).collect();
        assert_eq!(removed, ["a/threats/b#2#0", "a/threats/b#2#1", "a/threats/b#2#2"]);
    }

    #[test]
    fn a_checkpoint_that_is_not_whole_or_too_new_is_refused() {
        let mut cut = entry(2, 600_000).messages("t", 7, "a/threats/b", (1, 0));
        cut.remove(1);
        assert!(read(cut).lane("a/threats/b").unwrap_err().to_string().contains("damaged"));
        let mut newer = entry(2, 10).messages("t", 7, "a/threats/b", (1, 0));
        newer[0].headers = Some(headers(&[("format", "2"), ("sequence", "3")]));
        assert!(read(newer).lane("a/threats/b").unwrap_err().to_string().contains("newer release"));
    }

    #[test]
    fn what_is_removed_is_gone_and_others_are_not_kept() {
        let mut log = entry(1, 10).messages("t", 7, "a/threats/b", (0, 0));
        log.extend(entry(1, 10).messages("t", 7, "other/threats/b", (0, 0)));
        log.extend(Entry::removal("t", 7, "a/threats/b", (1, 0)));
        assert!(read(log).lanes.is_empty());
    }
}
