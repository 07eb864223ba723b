//! A compacted topic of items. Each item has its own keys and stays until it is removed.
//!
//! | key | value | headers |
//! | --- | --- | --- |
//! | `GROUP/ID/N` | part N of the item | `parts`: number of parts of the item |
//! | `GROUP/ID/N` | none: the item was removed | |
//!
//! An item is complete when all its parts are in the topic. Ids are unique, so a removal cannot delete an item that
//! arrived after the read.

use std::collections::HashMap;
use std::ops::ControlFlow;

use futures_util::future::join_all;
use rdkafka::Message;
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use rdkafka::producer::future_producer::DeliveryFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::failure_of;
use super::lock::lock;
use super::record::partition;
use super::topic::{self, TopicPurpose};
use super::{Connect, Events, KafkaLocation, Transactional, enqueue, on_thread};
use crate::failure::Failure;

const PURPOSE: TopicPurpose = TopicPurpose { name: "topic of dead letters", holds: "dead letters" };
/// A larger item is split, since brokers refuse large messages.
const MAX_PART_BYTES: usize = 512 * 1024;
/// Items that are read in advance.
const READ_AHEAD: usize = 16;
const PARTS: &str = "parts";

#[derive(Debug)]
pub(crate) struct Items {
    location: KafkaLocation,
    writer: tokio::sync::Mutex<Opening>,
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
    producer: Transactional,
    events: Events,
    topic: String,
    partitions: i32,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writer").finish_non_exhaustive()
    }
}

struct TopicAccess {
    connect: Connect,
    events: Events,
    topic: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ItemKey {
    group: String,
    id: u128,
    parts: u32,
    partition: i32,
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
    pub(crate) fn new(location: KafkaLocation) -> Self {
        Self { location, writer: tokio::sync::Mutex::default() }
    }

    /// Stores items, each with its group. Items of one group stay in order. Returns once the brokers have acknowledged
    /// all.
    pub(crate) async fn put(&self, items: Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
        let writer = self.writer().await?;
        let mut reports = Vec::new();
        for (group, bytes) in items {
            let (id, partition) = (fastrand::u128(..), partition(&group, writer.partitions));
            let parts = bytes.chunks(MAX_PART_BYTES).count().to_string();
            for (number, part) in bytes.chunks(MAX_PART_BYTES).enumerate() {
                let headers = OwnedHeaders::new().insert(Header { key: PARTS, value: Some(&parts) });
                let key = key(&group, id, number);
                reports.push(writer.send(partition, &key, Some(part), Some(headers)).await?);
            }
        }
        self.acknowledged(&writer, reports).await
    }

    /// Removes items permanently.
    pub(crate) async fn remove(&self, keys: Vec<ItemKey>) -> Result<(), Failure> {
        let writer = self.writer().await?;
        let mut reports = Vec::new();
        for ItemKey { group, id, parts, partition } in keys {
            for number in 0..parts as usize {
                reports.push(writer.send(partition, &key(&group, id, number), None, None).await?);
            }
        }
        self.acknowledged(&writer, reports).await
    }

    /// Acquires the lock of the one process that may remove items. None if the topic does not exist.
    pub(crate) async fn lock(&self) -> Result<Option<impl Send + use<>>, Failure> {
        let TopicAccess { connect, events, topic } = self.access()?;
        if !topic::exists(&connect, &events, &topic, PURPOSE).await? {
            return Ok(None);
        }
        lock(connect, events, format!("s1-forwarder-dead-letters-{topic}"), topic).await.map(Some)
    }

    /// Bytes of all complete items.
    pub(crate) async fn size(&self) -> Result<u64, Failure> {
        let access = self.access()?;
        let complete = on_thread(move || complete_items(&access)).await??;
        Ok(complete.values().map(|count| count.bytes).sum())
    }

    /// Reads the items that are in the topic now, each group in its order. Empty if the topic does not exist.
    pub(crate) async fn read(&self) -> Result<mpsc::Receiver<Result<(ItemKey, Vec<u8>), Failure>>, Failure> {
        let access = self.access()?;
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let (access, complete) =
            on_thread(move || complete_items(&access).map(|complete| (access, complete))).await??;
        tokio::spawn(on_thread(move || {
            if let Err(failure) = emit(&access, complete, &sender) {
                // The receiver may be gone.
                let _ = sender.blocking_send(Err(failure));
            }
        }));
        Ok(receiver)
    }

    fn access(&self) -> Result<TopicAccess, Failure> {
        let connect = self.location.connect()?;
        let events = connect.events();
        Ok(TopicAccess { connect, events, topic: self.location.topic.clone() })
    }

    /// Returns the producer. A caller that waited during another caller's failed attempt gets the same failure.
    async fn writer(&self) -> Result<Writer, Failure> {
        let requested_at = Instant::now();
        let mut opening = self.writer.lock().await;
        if let Some(writer) = &opening.writer {
            return Ok(writer.clone());
        }
        if let Some((_, failure)) = opening.failed.clone().filter(|(ended_at, _)| *ended_at >= requested_at) {
            return Err(failure);
        }
        let opened = async {
            let TopicAccess { connect, events, topic } = self.access()?;
            let partitions = topic::ensure(&connect, &events, &topic, PURPOSE).await?;
            let producer = connect.client(&events, &[("enable.idempotence", "true")])?;
            Ok(Writer { producer, events, topic, partitions })
        };
        let opened = opened.await;
        opening.failed = opened.as_ref().err().map(|failure: &Failure| (Instant::now(), failure.clone()));
        opening.writer = opened.as_ref().ok().cloned();
        opened
    }

    async fn acknowledged(&self, writer: &Writer, reports: Vec<DeliveryFuture>) -> Result<(), Failure> {
        let mut failed = None;
        for report in join_all(reports).await {
            match report {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => failed = Some(error),
                Err(_) => failed = Some(RdKafkaError::MessageProduction(Code::PurgeQueue)),
            }
        }
        let Some(error) = failed else { return Ok(()) };
        // The next call makes a new producer: secrets may have been rotated, or the session may have ended_at.
        self.writer.lock().await.writer = None;
        Err(failure_of(&error, &PURPOSE.of(&self.location.topic), &writer.events))
    }
}

impl Writer {
    async fn send(
        &self,
        partition: i32,
        key: &str,
        value: Option<&[u8]>,
        headers: Option<OwnedHeaders>,
    ) -> Result<DeliveryFuture, Failure> {
        let mut record = FutureRecord::<str, [u8]>::to(&self.topic).partition(partition).key(key);
        record.payload = value;
        record.headers = headers;
        let refused = |code| failure_of(&RdKafkaError::MessageProduction(code), &PURPOSE.of(&self.topic), &self.events);
        enqueue(&self.producer, record).await.map_err(refused)
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

fn parts_of(message: &BorrowedMessage<'_>) -> u32 {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    let parts = headers.filter(|header| header.key == PARTS).find_map(|header| std::str::from_utf8(header.value?).ok());
    parts.and_then(|parts| parts.parse().ok()).unwrap_or(0)
}

/// Finds the complete items that were not removed. Blocks.
fn complete_items(TopicAccess { connect, events, topic }: &TopicAccess) -> Result<HashMap<u128, PartCount>, Failure> {
    let mut items: HashMap<u128, PartCount> = HashMap::new();
    topic::scan(connect, events, topic, PURPOSE, &mut |message| {
        if let Some((_, id, _)) = parse(message) {
            match message.payload() {
                Some(part) => {
                    let count = items.entry(id).or_default();
                    count.parts += 1;
                    count.total = parts_of(message);
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
    TopicAccess { connect, events, topic }: &TopicAccess,
    mut complete: HashMap<u128, PartCount>,
    out: &mpsc::Sender<Result<(ItemKey, Vec<u8>), Failure>>,
) -> Result<(), Failure> {
    let mut begun: HashMap<u128, (u32, Vec<u8>)> = HashMap::new();
    topic::scan(connect, events, topic, PURPOSE, &mut |message| {
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
