//! A compacted topic of items. Each item has its own keys and stays until it is removed.
//!
//! | key | value | headers |
//! | --- | --- | --- |
//! | `LANE/ID/N` | part N of the item | `parts`: number of parts of the item |
//! | `LANE/ID/N` | none: the item was removed | |
//!
//! An item is complete when all its parts are in the topic. Ids are unique, so a removal cannot delete an item that
//! arrived after the read.

use std::collections::HashMap;
use std::ops::ControlFlow;

use rdkafka::Message;
use rdkafka::error::KafkaError as RdKafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use s1_forwarder_failure::{Failure, LastFailure};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::client_settings::on_thread;
use super::headers::RecordHeaders;
use super::lock::lock;
use super::{KafkaLocation, Producer, Sent, Topic};

/// Most bytes of a part. A larger item is split, since brokers refuse large messages.
const MAX_PART_BYTES: usize = 512 * 1024;
/// Number of items that are read in advance.
const READ_AHEAD: usize = 16;
const PARTS: &str = "parts";

#[derive(Debug)]
pub struct Items {
    location: KafkaLocation,
    /// The producer once there is one, and the last failed attempt to make it.
    writer: Mutex<(Option<Writer>, LastFailure)>,
}

/// Writes each record once within the producer's session. All in-sync replicas acknowledge it.
#[derive(Clone)]
struct Writer {
    producer: Producer,
    topic: Topic,
    partitions: i32,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemKey {
    lane: String,
    id: u128,
    parts: u32,
    partition: i32,
}

/// The complete items of a lane.
#[derive(Debug)]
pub struct LaneSize {
    pub lane: String,
    pub items: u64,
    pub bytes: u64,
}

/// The parts of an item that were read so far.
#[derive(Debug, Default)]
struct PartCount {
    parts: u32,
    /// Number of parts of the complete item.
    total: u32,
    bytes: u64,
}

impl Items {
    pub fn new(location: KafkaLocation) -> Self {
        Self { location, writer: Mutex::default() }
    }

    /// Stores items, each with its lane. Items of one lane stay in order. Returns once the brokers have acknowledged
    /// all.
    ///
    /// # Errors
    /// If the topic cannot be used, or the brokers do not acknowledge each part. Some of the items may be stored then.
    pub async fn put(&self, items: Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
        let writer = self.writer().await?;
        let mut sent = Sent::default();
        for (lane, bytes) in items {
            let id = fastrand::u128(..);
            let partition = Topic::partition_of(&lane, writer.partitions);
            let parts = bytes.chunks(MAX_PART_BYTES).count().to_string();
            for (number, part) in bytes.chunks(MAX_PART_BYTES).enumerate() {
                let headers = OwnedHeaders::new().insert(Header { key: PARTS, value: Some(&parts) });
                let key = key(&lane, id, number);
                let record = FutureRecord::to(&writer.topic.name).partition(partition).key(&key);
                sent.send(&writer.producer, None, record.payload(part).headers(headers)).await;
            }
        }
        self.acknowledged(&writer, sent).await
    }

    /// Removes items permanently.
    ///
    /// # Errors
    /// If the topic cannot be used, or the brokers do not acknowledge each removal. Some of the items may be removed
    /// then.
    pub async fn remove(&self, keys: Vec<ItemKey>) -> Result<(), Failure> {
        let writer = self.writer().await?;
        let mut sent = Sent::default();
        for ItemKey { lane, id, parts, partition } in keys {
            for number in 0..parts as usize {
                let key = key(&lane, id, number);
                let record = FutureRecord::<_, [u8]>::to(&writer.topic.name).partition(partition).key(&key);
                sent.send(&writer.producer, None, record).await;
            }
        }
        self.acknowledged(&writer, sent).await
    }

    /// Acquires the lock of the one process that may remove items. Returns `None` if the topic does not exist.
    ///
    /// # Errors
    /// If another process has the lock, or the brokers do not answer or refuse.
    pub async fn lock(&self) -> Result<Option<impl Send + use<>>, Failure> {
        let topic = self.topic()?;
        if topic.exists().await? {
            lock(format!("s1-forwarder-dead-letters-{}", topic.name), topic).await.map(Some)
        } else {
            Ok(None)
        }
    }

    /// Returns the number of items and bytes of each lane.
    ///
    /// # Errors
    /// If the topic cannot be read.
    pub async fn sizes(&self) -> Result<Vec<LaneSize>, Failure> {
        let topic = self.topic()?;
        let lanes = on_thread(move || complete_items(&topic)).await??;
        let size = |(lane, items): (String, HashMap<_, PartCount>)| LaneSize {
            lane,
            items: items.len() as u64,
            bytes: items.values().map(|count| count.bytes).sum(),
        };
        Ok(lanes.into_iter().map(size).collect())
    }

    /// Reads the items that are in the topic now, each lane in its order. Empty if the topic does not exist.
    ///
    /// # Errors
    /// If the topic cannot be read at first. If it cannot be read later, the last item of the channel is the error.
    pub async fn read(&self) -> Result<mpsc::Receiver<Result<(ItemKey, Vec<u8>), Failure>>, Failure> {
        let topic = self.topic()?;
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let (topic, lanes) = on_thread(move || complete_items(&topic).map(|lanes| (topic, lanes))).await??;
        let complete = lanes.into_values().flatten().map(|(id, count)| (id, count.total)).collect();
        tokio::spawn(on_thread(move || {
            if let Err(failure) = emit(&topic, complete, &sender) {
                // The receiver may be gone.
                let _ = sender.blocking_send(Err(failure));
            }
        }));
        Ok(receiver)
    }

    fn topic(&self) -> Result<Topic, Failure> {
        Ok(Topic::of_dead_letters(self.location.client_settings(&[])?, &self.location.topic))
    }

    async fn writer(&self) -> Result<Writer, Failure> {
        let called_at = Instant::now();
        let mut shared = self.writer.lock().await;
        let (open, failed) = &mut *shared;
        if let Some(writer) = open {
            return Ok(writer.clone());
        }
        if let Some(failure) = failed.after(called_at) {
            return Err(failure);
        }
        let opened = async {
            let topic = self.topic()?;
            let partitions = topic.ensure().await?;
            let producer = topic.client(&[("enable.idempotence", "true")])?;
            Ok(Writer { producer, topic, partitions })
        };
        let opened = opened.await;
        failed.ended(&opened);
        Ok(open.insert(opened?).clone())
    }

    async fn acknowledged(&self, writer: &Writer, sent: Sent) -> Result<(), Failure> {
        let reports = sent.reports().await;
        let Some(code) = reports.into_iter().find_map(|(_, report)| report.code()) else { return Ok(()) };
        // The next call makes a new producer: secrets may have been rotated, or the session may have ended.
        self.writer.lock().await.0 = None;
        Err(writer.topic.failure(&RdKafkaError::MessageProduction(code)))
    }
}

fn key(lane: &str, id: u128, number: usize) -> String {
    format!("{lane}/{id:032x}/{number}")
}

/// Returns lane, id and part number.
fn parse(message: &impl Message) -> Option<(String, u128, u32)> {
    let mut parts = std::str::from_utf8(message.key()?).ok()?.rsplitn(3, '/');
    let number = parts.next()?;
    let id = parts.next()?;
    let lane = parts.next()?;
    Some((lane.to_owned(), u128::from_str_radix(id, 16).ok()?, number.parse().ok()?))
}

/// Finds the complete items that were not removed, by lane and id. Blocks.
fn complete_items(topic: &Topic) -> Result<HashMap<String, HashMap<u128, PartCount>>, Failure> {
    let mut lanes: HashMap<String, HashMap<u128, PartCount>> = HashMap::new();
    topic.scan(|message| {
        if let Some((lane, id, _)) = parse(message) {
            let items = lanes.entry(lane).or_default();
            match message.payload() {
                Some(part) => {
                    let count = items.entry(id).or_default();
                    count.parts += 1;
                    count.total = RecordHeaders::of(message.headers()).number(PARTS);
                    count.bytes += part.len() as u64;
                }
                None => drop(items.remove(&id)),
            }
        }
        ControlFlow::Continue(())
    })?;
    lanes.retain(|_, items| {
        items.retain(|_, count| count.parts == count.total);
        !items.is_empty()
    });
    Ok(lanes)
}

/// Sends the items of `complete`, which has each id and its number of parts. Blocks while the channel is full, and ends
/// when the receiver is gone.
fn emit(
    topic: &Topic,
    mut complete: HashMap<u128, u32>,
    out: &mpsc::Sender<Result<(ItemKey, Vec<u8>), Failure>>,
) -> Result<(), Failure> {
    let mut unfinished: HashMap<u128, (u32, Vec<u8>)> = HashMap::new();
    topic.scan(|message| {
        if complete.is_empty() {
            return ControlFlow::Break(());
        }
        let (Some((lane, id, _)), Some(part)) = (parse(message), message.payload()) else {
            return ControlFlow::Continue(());
        };
        let Some(parts) = complete.get(&id).copied() else { return ControlFlow::Continue(()) };
        let (received, bytes) = unfinished.entry(id).or_default();
        *received += 1;
        bytes.extend_from_slice(part);
        if *received < parts {
            return ControlFlow::Continue(());
        }
        complete.remove(&id);
        let (_, bytes) = unfinished.remove(&id).unwrap_or_default();
        let key = ItemKey { lane, id, parts, partition: message.partition() };
        match out.blocking_send(Ok((key, bytes))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    /// The key of an earlier release, with a dead letter as its value (`crates/state/src/dead_letters/line.rs`).
    #[test]
    fn the_golden_key_of_an_item_is_read_and_written_alike() {
        let golden = "acme/threats/siem/0000000000000000000000000000000f/3";
        assert_eq!(key("acme/threats/siem", 15, 3), golden);
        let no_time = Timestamp::NotAvailable;
        let message = OwnedMessage::new(None, Some(golden.into()), "t".to_owned(), no_time, 0, 0, None);
        assert_eq!(parse(&message), Some(("acme/threats/siem".to_owned(), 15, 3)));
    }
}
