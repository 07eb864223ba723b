//! Content that a read of a checkpoint topic has found.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rdkafka::Message;
use s1_forwarder_failure::Failure;

use super::claim::{Claim, claim_key};
use super::headers::{FORMAT, RecordHeaders};
use super::record::{JournalIndex, Stored};

/// The checkpoint of a lane.
#[derive(Debug)]
pub struct Entry {
    /// Transactional id that may write the next checkpoint.
    pub(super) owner: String,
    /// Process that wrote this checkpoint.
    pub(super) process: String,
    pub(super) stored: Stored,
    /// Payload; `None` if the checkpoint is damaged.
    pub checkpoint: Option<Vec<u8>>,
}

/// Treatment of a damaged checkpoint by its reader.
#[derive(Debug, Clone, Copy)]
pub enum IfDamaged {
    Refuse,
    /// The checkpoint is going to be removed, and counts as empty.
    TakeAsEmpty,
}

impl Entry {
    /// Returns the checkpoint. A damaged one is empty with [`IfDamaged::TakeAsEmpty`].
    ///
    /// # Errors
    /// If the checkpoint of `lane` is damaged and `if_damaged` refuses that.
    pub fn checkpoint(self, lane: &str, if_damaged: IfDamaged) -> Result<Vec<u8>, Failure> {
        match (self.checkpoint, if_damaged) {
            (Some(checkpoint), _) => Ok(checkpoint),
            (None, IfDamaged::TakeAsEmpty) => Ok(Vec::new()),
            (None, IfDamaged::Refuse) => Err(Failure::misconfigured(format!(
                "the checkpoint of {lane} is damaged; in the `checkpoint_topic` of a sink, write a message without a \
                 value under this key to restart the lane without it; in a topic of --state: s1-forwarder state \
                 delete LANE"
            ))),
        }
    }
}

/// The records of the topic whose keys were asked for.
#[derive(Debug, Default)]
pub(super) struct TopicContent {
    /// Whether the topic does not exist.
    pub(super) is_missing: bool,
    /// Keys of lanes, claims and journal segments.
    keys: HashSet<String>,
    /// The names of all lanes with a checkpoint.
    pub(super) names: BTreeSet<String>,
    heads: HashMap<String, (RecordHeaders, Vec<u8>)>,
    chunks: HashMap<String, BTreeMap<(u64, usize), Vec<u8>>>,
    claims: HashMap<String, Claim>,
    journals: HashMap<String, JournalIndex>,
    /// Bytes by segment key, then by offset.
    segments: HashMap<String, BTreeMap<u64, Vec<u8>>>,
}

impl TopicContent {
    pub(super) fn of(keys: HashSet<String>) -> Self {
        Self { keys, ..Self::default() }
    }

    /// Adds a record. The records of a partition have to come in order.
    pub(super) fn add(&mut self, message: &impl Message) {
        let Some(key) = message.key().and_then(|key| std::str::from_utf8(key).ok()) else { return };
        match key.split_once('#') {
            Some((lane, part)) => match part.split_once('#') {
                Some((segment, offset)) if segment.starts_with('j') => {
                    self.add_journal(lane, &key[..key.len() - offset.len() - 1], offset, message.payload());
                }
                Some((sequence, number)) => self.add_chunk(lane, sequence, number, message.payload()),
                None => {}
            },
            None if key.starts_with('@') => self.add_claim(key, message),
            None => self.add_head(key, message),
        }
    }

    fn add_claim(&mut self, key: &str, message: &impl Message) {
        if self.keys.contains(key) {
            match message.payload() {
                Some(_) => self.claims.insert(key.to_owned(), Claim::of(&RecordHeaders::of(message.headers()))),
                None => self.claims.remove(key),
            };
        }
    }

    fn add_head(&mut self, lane: &str, message: &impl Message) {
        let Some(value) = message.payload() else {
            self.names.remove(lane);
            self.heads.remove(lane);
            return;
        };
        self.names.insert(lane.to_owned());
        if !self.keys.contains(lane) {
            return;
        }
        let headers = RecordHeaders::of(message.headers());
        let sequence: u64 = headers.number("sequence");
        if self.heads.get(lane).is_some_and(|(newer, _)| newer.number::<u64>("sequence") > sequence) {
            // The record is from the lane's former partition: partitions were added to the topic.
            return;
        }
        if let Some(chunks) = self.chunks.get_mut(lane) {
            chunks.retain(|(of, _), _| *of >= sequence);
        }
        self.heads.insert(lane.to_owned(), (headers, value.to_vec()));
    }

    fn add_chunk(&mut self, lane: &str, sequence: &str, number: &str, value: Option<&[u8]>) {
        if self.keys.contains(lane)
            && let (Ok(sequence), Ok(number), Some(value)) = (sequence.parse(), number.parse(), value)
        {
            self.chunks.entry(lane.to_owned()).or_default().insert((sequence, number), value.to_vec());
        }
    }

    fn add_journal(&mut self, lane: &str, segment: &str, offset: &str, value: Option<&[u8]>) {
        let number = segment.rsplit_once("#j").and_then(|(_, number)| number.parse().ok());
        let (Some(number), Ok(offset)) = (number, offset.parse()) else { return };
        if self.keys.contains(lane) {
            let index = self.journals.entry(lane.to_owned()).or_default();
            match value {
                Some(_) => index.insert((number, offset)),
                None => index.remove(&(number, offset)),
            };
        }
        if self.keys.contains(segment) {
            let parts = self.segments.entry(segment.to_owned()).or_default();
            match value {
                Some(value) => parts.insert(offset, value.to_vec()),
                None => parts.remove(&offset),
            };
        }
    }

    /// Assembles the checkpoint of a lane from its chunks; `None` if the topic has none.
    ///
    /// # Errors
    /// If a newer release wrote the checkpoint.
    pub(super) fn lane(&self, lane: &str) -> Result<Option<Entry>, Failure> {
        let Some((headers, head)) = self.heads.get(lane) else { return Ok(None) };
        let format: u32 = headers.number("format");
        if format > FORMAT {
            return Err(Failure::misconfigured(format!(
                "the checkpoint of {lane} was written by a newer release (format {format}, this one reads up to {FORMAT}); use that release"
            )));
        }
        let sequence = headers.number("sequence");
        let chunks = headers.number("chunks");
        let mut checkpoint = head.clone();
        for (_, chunk) in self.chunks.get(lane).into_iter().flat_map(|all| all.range((sequence, 0)..(sequence, chunks)))
        {
            checkpoint.extend_from_slice(chunk);
        }
        let is_whole = crc32fast::hash(&checkpoint) == headers.number::<u32>("crc");
        let checkpoint = is_whole.then_some(checkpoint);
        let stored = Stored { sequence, chunks, journal: self.journals.get(lane).cloned().unwrap_or_default() };
        Ok(Some(Entry { owner: headers.text("owner"), process: headers.text("process"), stored, checkpoint }))
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

    /// Returns the journal of a lane. The journal of a lane that has no checkpoint may have been left behind.
    pub(super) fn journal(&self, lane: &str) -> JournalIndex {
        self.journals.get(lane).cloned().unwrap_or_default()
    }

    pub(super) fn claim(&self, id: &str) -> Option<&Claim> {
        self.claims.get(&claim_key(id))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use rdkafka::Timestamp;
    use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};

    use super::*;
    use crate::headers::headers;
    use crate::record::{LaneRecords, segment_key};
    use crate::send;
    use s1_forwarder_engine::checkpoint::{Append, CheckpointUpdate, JournalChange};

    const LANE: &str = "a/threats/b";

    /// Returns what the topic has after one checkpoint per size, and the records of each.
    fn write(sizes: &[usize]) -> (Stored, Vec<Vec<send::Message>>) {
        let records = LaneRecords::new("t", 7, LANE);
        let mut stored = Stored::default();
        let written = sizes.iter().map(|bytes| {
            let checkpoint = vec![u8::try_from(stored.sequence + 1).unwrap(); *bytes];
            let (after, messages) = records.update(&stored, "id", checkpoint.into());
            stored = after;
            messages
        });
        let written = written.collect();
        (stored, written)
    }

    fn read(messages: Vec<send::Message>) -> TopicContent {
        read_keys([LANE.to_owned(), segment_key(LANE, 7)].into(), messages)
    }

    fn read_keys(keys: HashSet<String>, messages: Vec<send::Message>) -> TopicContent {
        let mut snapshot = TopicContent::of(keys);
        for message in messages {
            let key = Some(message.key.into_bytes());
            let value = message.value;
            let headers = message.headers;
            let topic = message.topic;
            let partition = message.partition;
            snapshot.add(&OwnedMessage::new(value, key, topic, Timestamp::NotAvailable, partition, 0, headers));
        }
        snapshot
    }

    fn removed(messages: &[send::Message]) -> Vec<&str> {
        messages.iter().filter(|message| message.value.is_none()).map(|message| message.key.as_str()).collect()
    }

    /// A record as the golden file of a topic has it.
    #[derive(serde::Deserialize, Debug, PartialEq)]
    struct GoldenRecord {
        key: String,
        headers: Option<BTreeMap<String, String>>,
        base64: Option<String>,
    }

    impl GoldenRecord {
        fn of(message: &send::Message) -> Self {
            let headers = message.headers.iter().flat_map(|headers| headers.iter());
            let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
            let mut headers: BTreeMap<_, _> =
                headers.map(|header| (header.key.to_owned(), text(header.value))).collect();
            headers.entry("process".to_owned()).and_modify(|process| *process = "a process".to_owned());
            let base64 = message.value.as_ref().map(|value| BASE64_STANDARD.encode(value));
            Self { key: message.key.clone(), headers: Some(headers).filter(|headers| !headers.is_empty()), base64 }
        }

        fn message(&self) -> send::Message {
            let pairs = self.headers.iter().flatten();
            let all =
                pairs.fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
            send::Message {
                topic: "t".to_owned(),
                partition: 0,
                key: self.key.clone(),
                value: self.base64.as_ref().map(|value| BASE64_STANDARD.decode(value).unwrap()),
                headers: self.headers.is_some().then_some(all),
            }
        }
    }

    /// The records of an earlier release. The checkpoint of one lane is whole, with its journal; the checkpoint of the
    /// other lane is in chunks. `exactly_once` has the same in its `checkpoint_topic`.
    #[test]
    fn golden_records_are_read_and_those_of_a_whole_checkpoint_are_written_alike() {
        let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/layouts");
        let checkpoint = fs::read(stored.join("5/checkpoint")).unwrap();
        let segments: Vec<_> =
            (0..3).map(|number| fs::read(stored.join(format!("5/journal-{number}"))).unwrap()).collect();
        let golden: Vec<GoldenRecord> =
            serde_json::from_slice(&fs::read(stored.join("stores/kafka-1.json")).unwrap()).unwrap();

        let [whole, split] = ["acme/activities/siem", "acme/activities/bus"];
        let segment_keys: Vec<String> = (0..3).map(|number| segment_key(whole, number)).collect();
        let mut keys = HashSet::from([whole, split].map(str::to_owned));
        keys.extend(segment_keys.iter().cloned());
        let read = read_keys(keys, golden.iter().map(GoldenRecord::message).collect());
        for lane in [whole, split] {
            assert!(
                read.lane(lane).unwrap().is_some_and(|entry| entry.checkpoint.as_ref() == Some(&checkpoint)),
                "{lane}"
            );
        }
        for (key, segment) in segment_keys.iter().zip(&segments) {
            assert!(read.segment(key).as_ref() == Some(segment), "{key}");
        }

        let append = |(segment, bytes): (u64, &Vec<u8>)| Append { segment, offset: 0, bytes: bytes.clone() };
        let journal = JournalChange { appends: (0..).zip(&segments).map(append).collect(), released: Vec::new() };
        let records = LaneRecords::new("t", 7, whole);
        let written = records.update(&Stored::default(), "an id", CheckpointUpdate { checkpoint, journal }).1;
        let written: Vec<_> = written.iter().map(GoldenRecord::of).collect();
        assert!(written == golden[..written.len()], "another format needs another number, and a golden file");
    }

    #[test]
    fn a_large_checkpoint_is_split_and_reassembled() {
        let (stored, mut written) = write(&[10, 600_000]);
        let first = &written[0];
        let split = &written[1];
        assert_eq!(first.len(), 1);
        assert_eq!((split.len(), split.last().unwrap().key.as_str()), (4, LANE), "the head comes last");
        assert!(split.iter().all(|message| message.partition == first[0].partition));
        let found = read(written.drain(..).flatten().collect()).lane(LANE).unwrap().unwrap();
        assert_eq!((found.stored.sequence, found.stored.chunks), (2, 3));
        assert_eq!(found.stored, stored);
        assert_eq!(found.checkpoint, Some(vec![2; 600_000]));

        let (_, written) = write(&[10, 600_000, 10]);
        assert_eq!(removed(&written[2]), ["a/threats/b#2#0", "a/threats/b#2#1", "a/threats/b#2#2"]);
    }

    #[test]
    fn an_incomplete_or_newer_checkpoint_is_refused() {
        let damaged = || {
            let mut split = write(&[10, 600_000]).1.remove(1);
            split.remove(1);
            read(split).lane(LANE).unwrap().unwrap()
        };
        assert_eq!(damaged().checkpoint(LANE, IfDamaged::TakeAsEmpty).unwrap(), [0; 0]);
        let refused = damaged().checkpoint(LANE, IfDamaged::Refuse).unwrap_err().to_string();
        assert!(refused.contains("is damaged") && refused.ends_with("state delete LANE"), "{refused}");
        let mut newer = write(&[10]).1.remove(0);
        newer[0].headers = Some(headers(&[("format", "2"), ("sequence", "3")]));
        assert!(read(newer).lane(LANE).unwrap_err().to_string().contains("newer release"));
    }

    #[test]
    fn removed_and_unrequested_lanes_are_not_found() {
        let (stored, mut written) = write(&[10]);
        let mut log = written.remove(0);
        log.extend(LaneRecords::new("t", 7, "other/threats/b").update(&Stored::default(), "id", vec![1].into()).1);
        log.extend(LaneRecords::new("t", 7, LANE).removal(&stored));
        let found = read(log);
        assert!(found.lane(LANE).unwrap().is_none() && found.lane("other/threats/b").unwrap().is_none());
        assert_eq!(found.names, ["other/threats/b".to_owned()].into(), "every lane with a checkpoint is listed");
    }

    #[test]
    fn a_journal_is_read_up_to_its_first_gap_and_is_removed_by_segments() {
        let records = LaneRecords::new("t", 7, LANE);
        let append = |segment, offset, bytes: &str| Append { segment, offset, bytes: bytes.into() };
        let change = JournalChange { appends: vec![append(7, 0, "abc"), append(8, 0, "x")], released: Vec::new() };
        let (stored, mut log) =
            records.update(&Stored::default(), "id", CheckpointUpdate { checkpoint: vec![1], journal: change });
        let change = JournalChange { appends: vec![append(7, 3, "def"), append(7, 9, "gap")], released: vec![8] };
        let (stored, more) = records.update(&stored, "id", CheckpointUpdate { checkpoint: vec![2], journal: change });
        assert_eq!(removed(&more), ["a/threats/b#j8#0"]);
        log.extend(more);
        let found = read(log);
        assert_eq!(found.segment(&segment_key(LANE, 7)).as_deref(), Some(&b"abcdef"[..]));
        assert_eq!((found.journal(LANE), found.segment(&segment_key(LANE, 8))), (stored.journal, None));
    }

    /// An attempt that failed began the segment, and the next one does without it.
    #[test]
    fn a_segment_that_is_begun_and_dropped_is_not_left_behind() {
        let append = Append { segment: 9, offset: 0, bytes: vec![1] };
        let change = JournalChange { appends: vec![append], released: vec![9] };
        let update = CheckpointUpdate { checkpoint: vec![1], journal: change };
        let (stored, log) = LaneRecords::new("t", 7, LANE).update(&Stored::default(), "id", update);
        assert_eq!(removed(&log), ["a/threats/b#j9#0"]);
        assert_eq!((read(log).journal(LANE), stored.journal), (JournalIndex::new(), JournalIndex::new()));
    }
}
