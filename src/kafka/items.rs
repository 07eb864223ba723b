//! A compacted topic of items. Each item has its own keys and stays until it is removed.
//!
//! | key | value | headers |
//! | --- | --- | --- |
//! | `GROUP/ID/N` | part N of the item | `parts`: number of parts of the item |
//! | `GROUP/ID/N` | none: the item was removed | |
//!
//! An item is complete when all its parts are in the topic. Ids are unique, so a removal cannot delete an item that
//! arrived after the read.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use rdkafka::Message as _;
use rdkafka::error::KafkaError as RdKafkaError;
use rdkafka::message::{BorrowedMessage, Header, OwnedHeaders};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::connect::on_thread;
use super::headers::RecordHeaders;
use super::lock::lock;
use super::send::Message;
use super::{KafkaLocation, Producer, Sent, Topic};
use crate::failure::Failure;

/// A larger item is split, since brokers refuse large messages.
const MAX_PART_BYTES: usize = 512 * 1024;
/// Items that are read in advance.
const READ_AHEAD: usize = 16;
const PARTS: &str = "parts";

#[derive(Debug)]
pub(crate) struct Items {
    location: KafkaLocation,
    writer: Mutex<Opening>,
}

#[derive(Debug, Default)]
struct Opening {
    writer: Option<Writer>,
    /// The last failed attempt and its end.
    failed: Option<(Instant, Failure)>,
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
pub(crate) struct ItemKey {
    group: String,
    id: u128,
    parts: u32,
    partition: i32,
}

/// The parts of an item that were read so far.
#[derive(Debug)]
struct PartCount {
    group: Arc<str>,
    parts: u32,
    /// Number of parts of the complete item.
    total: u32,
    bytes: u64,
}

impl Items {
    pub(crate) fn new(location: KafkaLocation) -> Self {
        Self { location, writer: Mutex::default() }
    }

    /// Stores items, each with its group. Items of one group stay in order. Returns once the brokers have acknowledged
    /// all.
    pub(crate) async fn put(&self, items: Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
        let writer = self.writer().await?;
        let mut sent = Sent::default();
        for (group, bytes) in items {
            let (id, partition) = (fastrand::u128(..), Topic::partition_of(&group, writer.partitions));
            let parts = bytes.chunks(MAX_PART_BYTES).count().to_string();
            for (number, part) in bytes.chunks(MAX_PART_BYTES).enumerate() {
                let headers = OwnedHeaders::new().insert(Header { key: PARTS, value: Some(&parts) });
                let message = writer.message(partition, key(&group, id, number), Some(part.to_vec()), Some(headers));
                sent.send_message(&writer.producer, number, &message).await;
            }
        }
        self.acknowledged(&writer, sent).await
    }

    /// Removes items permanently.
    pub(crate) async fn remove(&self, keys: Vec<ItemKey>) -> Result<(), Failure> {
        let writer = self.writer().await?;
        let mut sent = Sent::default();
        for ItemKey { group, id, parts, partition } in keys {
            for number in 0..parts as usize {
                let message = writer.message(partition, key(&group, id, number), None, None);
                sent.send_message(&writer.producer, number, &message).await;
            }
        }
        self.acknowledged(&writer, sent).await
    }

    /// Acquires the lock of the one process that may remove items. None if the topic does not exist.
    pub(crate) async fn lock(&self) -> Result<Option<impl Send + use<>>, Failure> {
        let topic = self.topic()?;
        match topic.exists().await? {
            true => lock(format!("s1-forwarder-dead-letters-{}", topic.name), topic).await.map(Some),
            false => Ok(None),
        }
    }

    /// Groups, and bytes of their complete items. A group comes once for each item.
    pub(crate) async fn sizes(&self) -> Result<Vec<(Arc<str>, u64)>, Failure> {
        let topic = self.topic()?;
        let complete = on_thread(move || complete_items(&topic)).await??;
        Ok(complete.into_values().map(|count| (count.group, count.bytes)).collect())
    }

    /// Reads the items that are in the topic now, each group in its order. Empty if the topic does not exist.
    pub(crate) async fn read(&self) -> Result<mpsc::Receiver<Result<(ItemKey, Vec<u8>), Failure>>, Failure> {
        let topic = self.topic()?;
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let (topic, complete) = on_thread(move || complete_items(&topic).map(|complete| (topic, complete))).await??;
        tokio::spawn(on_thread(move || {
            if let Err(failure) = emit(&topic, complete, &sender) {
                // The receiver may be gone.
                let _ = sender.blocking_send(Err(failure));
            }
        }));
        Ok(receiver)
    }

    fn topic(&self) -> Result<Topic, Failure> {
        Ok(Topic::of_dead_letters(self.location.connect(&[])?, &self.location.topic))
    }

    /// Returns the producer. A caller that waited during another caller's failed attempt gets the same failure.
    async fn writer(&self) -> Result<Writer, Failure> {
        let requested_at = Instant::now();
        let mut opening = self.writer.lock().await;
        if let Some(writer) = &opening.writer {
            return Ok(writer.clone());
        }
        if let Some((_, failure)) = opening.failed.as_ref().filter(|(ended_at, _)| *ended_at >= requested_at) {
            return Err(failure.clone());
        }
        let opened = async {
            let topic = self.topic()?;
            let partitions = topic.ensure().await?;
            let producer = topic.client(&[("enable.idempotence", "true")])?;
            Ok(Writer { producer, topic, partitions })
        };
        let opened: Result<Writer, Failure> = opened.await;
        opening.failed = opened.as_ref().err().map(|failure| (Instant::now(), failure.clone()));
        opening.writer = opened.as_ref().ok().cloned();
        opened
    }

    async fn acknowledged(&self, writer: &Writer, sent: Sent) -> Result<(), Failure> {
        let reports = sent.reports().await;
        let Some(code) = reports.into_iter().find_map(|(_, report)| report.code()) else { return Ok(()) };
        // The next call makes a new producer: secrets may have been rotated, or the session may have ended.
        self.writer.lock().await.writer = None;
        Err(writer.topic.failure(&RdKafkaError::MessageProduction(code)))
    }
}

impl Writer {
    fn message(&self, partition: i32, key: String, value: Option<Vec<u8>>, headers: Option<OwnedHeaders>) -> Message {
        Message { topic: self.topic.name.clone(), partition, key, value, headers }
    }
}

fn key(group: &str, id: u128, number: usize) -> String {
    format!("{group}/{id:032x}/{number}")
}

/// Returns group, id and part number.
fn parse(message: &BorrowedMessage<'_>) -> Option<(String, u128, u32)> {
    let mut parts = std::str::from_utf8(message.key()?).ok()?.rsplitn(3, '/');
    let (number, id, group) = (parts.next()?, parts.next()?, parts.next()?);
    Some((group.to_owned(), u128::from_str_radix(id, 16).ok()?, number.parse().ok()?))
}

/// Finds the complete items that were not removed. Blocks.
fn complete_items(topic: &Topic) -> Result<HashMap<u128, PartCount>, Failure> {
    let mut items: HashMap<u128, PartCount> = HashMap::new();
    // There are far fewer groups than items.
    let mut groups: HashSet<Arc<str>> = HashSet::new();
    topic.scan(|message| {
        if let Some((group, id, _)) = parse(message) {
            match message.payload() {
                Some(part) => {
                    let count = items.entry(id).or_insert_with(|| {
                        let group = groups.get(&*group).cloned().unwrap_or_else(|| {
                            let group: Arc<str> = group.into();
                            groups.insert(group.clone());
                            group
                        });
                        PartCount { group, parts: 0, total: 0, bytes: 0 }
                    });
                    count.parts += 1;
                    count.total = RecordHeaders::of(message.headers()).number(PARTS);
                    count.bytes += part.len() as u64;
                }
                None => drop(items.remove(&id)),
            }
        }
        ControlFlow::Continue(())
    })?;
    items.retain(|_, count| count.parts == count.total);
    Ok(items)
}

/// Sends the items in `complete`. Blocks while the channel is full, and ends when the receiver is gone.
fn emit(
    topic: &Topic,
    mut complete: HashMap<u128, PartCount>,
    out: &mpsc::Sender<Result<(ItemKey, Vec<u8>), Failure>>,
) -> Result<(), Failure> {
    let mut begun: HashMap<u128, (u32, Vec<u8>)> = HashMap::new();
    topic.scan(|message| {
        if complete.is_empty() {
            return ControlFlow::Break(());
        }
        let (Some((group, id, _)), Some(part)) = (parse(message), message.payload()) else {
            return ControlFlow::Continue(());
        };
        let Some(parts) = complete.get(&id).map(|count| count.total) else { return ControlFlow::Continue(()) };
        let (received, bytes) = begun.entry(id).or_default();
        *received += 1;
        bytes.extend_from_slice(part);
        if *received < parts {
            return ControlFlow::Continue(());
        }
        complete.remove(&id);
        let (_, bytes) = begun.remove(&id).unwrap_or_default();
        let key = ItemKey { group, id, parts, partition: message.partition() };
        match out.blocking_send(Ok((key, bytes))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    Ok(())
}
