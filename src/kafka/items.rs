//! A compacted topic of items that are kept until they are taken out, each under a key of its own.
//!
//! | key | value | headers |
//! | --- | --- | --- |
//! | `GROUP/ID/N` | part N of the item | `parts`: how many it was cut into |
//! | `GROUP/ID/N` | –: the item was taken out | |
//!
//! An item counts when all its parts are there. No two have the same id, so that what is taken out is what was read and nothing
//! that came later.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use rdkafka::producer::future_producer::DeliveryFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::lock::lock;
use super::record::partition;
use super::topic::{self, What};
use super::{Connect, Events, KafkaLocation, Transactional, Trouble, on_thread};

const WHAT: What = What { name: "topic of dead letters", holds: "dead letters" };
/// A larger item is cut: brokers refuse large messages.
const LARGEST: usize = 512 * 1024;
/// How long to wait for room in librdkafka's queue.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(20);
/// Items that were read and not asked for yet.
const AHEAD: usize = 16;
const PARTS: &str = "parts";

/// A topic of items.
#[derive(Debug)]
pub(crate) struct Items {
    location: KafkaLocation,
    writer: tokio::sync::Mutex<Opening>,
}

#[derive(Debug, Default)]
struct Opening {
    writer: Option<Writer>,
    /// The last attempt that failed, and when it ended.
    failed: Option<(Instant, Trouble)>,
}

/// Writes to the topic: each record once within its session, and acknowledged by all brokers that are in sync.
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

/// What it takes to read the topic.
struct Place {
    connect: Connect,
    events: Events,
    topic: String,
}

/// Where an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ItemKey {
    group: String,
    id: u128,
    parts: u32,
    partition: i32,
}

/// What is known of an item while the topic is read.
#[derive(Debug, Default)]
struct Seen {
    parts: u32,
    of: u32,
    bytes: u64,
}

impl Items {
    pub(crate) fn new(location: KafkaLocation) -> Self {
        Self { location, writer: tokio::sync::Mutex::default() }
    }

    /// Keeps items, each in a group that has an order; they are there when it returns.
    pub(crate) async fn put(&self, items: Vec<(String, Vec<u8>)>) -> Result<(), Trouble> {
        let writer = self.writer().await?;
        let mut reports = Vec::new();
        for (group, bytes) in items {
            let (id, partition) = (fastrand::u128(..), partition(&group, writer.partitions));
            let parts = bytes.chunks(LARGEST).count().to_string();
            for (number, part) in bytes.chunks(LARGEST).enumerate() {
                let headers = OwnedHeaders::new().insert(Header { key: PARTS, value: Some(&parts) });
                let key = key(&group, id, number);
                reports.push(writer.send(partition, &key, Some(part), Some(headers)).await?);
            }
        }
        self.arrived(&writer, reports).await
    }

    /// Takes items out for good.
    pub(crate) async fn remove(&self, keys: Vec<ItemKey>) -> Result<(), Trouble> {
        let writer = self.writer().await?;
        let mut reports = Vec::new();
        for ItemKey { group, id, parts, partition } in keys {
            for number in 0..parts as usize {
                reports.push(writer.send(partition, &key(&group, id, number), None, None).await?);
            }
        }
        self.arrived(&writer, reports).await
    }

    /// Held by the one process that takes items out; none where there is no topic.
    pub(crate) async fn lock(&self) -> Result<Option<impl Send + use<>>, Trouble> {
        let Place { connect, events, topic } = self.place()?;
        if !topic::exists(&connect, &events, &topic, WHAT).await? {
            return Ok(None);
        }
        lock(connect, events, format!("s1-forwarder-dead-letters-{topic}"), topic).await.map(Some)
    }

    /// The bytes of all items.
    pub(crate) async fn size(&self) -> Result<u64, Trouble> {
        let place = self.place()?;
        let live = on_thread(move || live(&place)).await??;
        Ok(live.values().map(|seen| seen.bytes).sum())
    }

    /// The items that are there now, group by group in their order. Nothing where there is no topic.
    pub(crate) async fn read(&self) -> Result<mpsc::Receiver<Result<(ItemKey, Vec<u8>), Trouble>>, Trouble> {
        let place = self.place()?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (place, live) = on_thread(move || live(&place).map(|live| (place, live))).await??;
        tokio::spawn(on_thread(move || {
            if let Err(trouble) = show(&place, live, &sender) {
                // Nobody may listen any more.
                let _ = sender.blocking_send(Err(trouble));
            }
        }));
        Ok(receiver)
    }

    fn place(&self) -> Result<Place, Trouble> {
        let connect = self.location.connect()?;
        let events = connect.events();
        Ok(Place { connect, events, topic: self.location.topic.clone() })
    }

    /// The producer; whoever waited while another tried in vain hears the same.
    async fn writer(&self) -> Result<Writer, Trouble> {
        let asked = Instant::now();
        let mut opening = self.writer.lock().await;
        if let Some(writer) = &opening.writer {
            return Ok(writer.clone());
        }
        if let Some((_, trouble)) = opening.failed.clone().filter(|(ended, _)| *ended >= asked) {
            return Err(trouble);
        }
        let opened = async {
            let Place { connect, events, topic } = self.place()?;
            let partitions = topic::ensure(&connect, &events, &topic, WHAT).await?;
            let producer = connect.client(&events, &[("enable.idempotence", "true")])?;
            Ok(Writer { producer, events, topic, partitions })
        };
        let opened = opened.await;
        opening.failed = opened.as_ref().err().map(|trouble: &Trouble| (Instant::now(), trouble.clone()));
        opening.writer = opened.as_ref().ok().cloned();
        opened
    }

    async fn arrived(&self, writer: &Writer, reports: Vec<DeliveryFuture>) -> Result<(), Trouble> {
        let mut failed = None;
        for report in join_all(reports).await {
            match report {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => failed = Some(error),
                Err(_) => failed = Some(KafkaError::MessageProduction(Code::PurgeQueue)),
            }
        }
        let Some(error) = failed else { return Ok(()) };
        // Another one next time: secrets may have been rotated, or its session is at its end.
        self.writer.lock().await.writer = None;
        Err(Trouble::of(&error, &WHAT.of(&self.location.topic), &writer.events))
    }
}

impl Writer {
    async fn send(
        &self,
        partition: i32,
        key: &str,
        value: Option<&[u8]>,
        headers: Option<OwnedHeaders>,
    ) -> Result<DeliveryFuture, Trouble> {
        loop {
            let mut record = FutureRecord::<str, [u8]>::to(&self.topic).partition(partition).key(key);
            record.payload = value;
            record.headers = headers.clone();
            match self.producer.send_result(record) {
                Ok(report) => return Ok(report),
                Err((KafkaError::MessageProduction(Code::QueueFull), _)) => sleep(QUEUE_FULL_WAIT).await,
                Err((error, _)) => return Err(Trouble::of(&error, &WHAT.of(&self.topic), &self.events)),
            }
        }
    }
}

fn key(group: &str, id: u128, number: usize) -> String {
    format!("{group}/{id:032x}/{number}")
}

/// Group, id and number of the part.
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

/// The items that are whole and were not taken out. Blocks.
fn live(Place { connect, events, topic }: &Place) -> Result<HashMap<u128, Seen>, Trouble> {
    let mut items: HashMap<u128, Seen> = HashMap::new();
    topic::scan(connect, events, topic, WHAT, &mut |message| {
        if let Some((_, id, _)) = parse(message) {
            match message.payload() {
                Some(part) => {
                    let seen = items.entry(id).or_default();
                    seen.parts += 1;
                    seen.of = parts_of(message);
                    seen.bytes += part.len() as u64;
                }
                None => drop(items.remove(&id)),
            }
        }
        ControlFlow::Continue(())
    })?;
    items.retain(|_, seen| seen.parts == seen.of);
    Ok(items)
}

/// Hands the items of `live` out. Blocks while nobody takes them, and ends when nobody listens any more.
fn show(
    Place { connect, events, topic }: &Place,
    mut live: HashMap<u128, Seen>,
    out: &mpsc::Sender<Result<(ItemKey, Vec<u8>), Trouble>>,
) -> Result<(), Trouble> {
    let mut begun: HashMap<u128, (u32, Vec<u8>)> = HashMap::new();
    topic::scan(connect, events, topic, WHAT, &mut |message| {
        if live.is_empty() {
            return ControlFlow::Break(());
        }
        let (Some((group, id, _)), Some(part)) = (parse(message), message.payload()) else {
            return ControlFlow::Continue(());
        };
        let Some(parts) = live.get(&id).map(|seen| seen.of) else { return ControlFlow::Continue(()) };
        let (count, bytes) = begun.entry(id).or_default();
        *count += 1;
        bytes.extend_from_slice(part);
        if *count < parts {
            return ControlFlow::Continue(());
        }
        live.remove(&id);
        let (_, bytes) = begun.remove(&id).unwrap_or_default();
        let key = ItemKey { group, id, parts, partition: message.partition() };
        match out.blocking_send(Ok((key, bytes))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    Ok(())
}
