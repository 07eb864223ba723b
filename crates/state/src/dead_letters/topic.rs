//! Dead letters in a Kafka topic: one item for each, ordered within a lane.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use s1_forwarder_engine::dead_letters::{DeadLetter, DeadLetterError, DeadLetterStore, StoreFill};
use s1_forwarder_failure::{Failure, LastFailure};
use s1_forwarder_kafka::{ItemKey, Items, KafkaLocation, LaneSize};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::line::{StoredDeadLetter, parse_line, write_line};
use super::shares::Shares;

/// Divisor of the maximum. The topic is counted again after this part of the maximum was added, since other workers
/// also write to it.
const RECOUNT_FRACTION: u64 = 16;

#[derive(Debug)]
pub struct TopicStore {
    items: Items,
    place: String,
    max: u64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    /// Shares of the pipelines, once counted.
    shares: Option<Shares>,
    /// Bytes added after the last count.
    added: u64,
    /// The last failed count.
    failed: LastFailure,
}

impl TopicStore {
    pub fn new(location: KafkaLocation, max: u64) -> Self {
        Self { place: location.to_string(), items: Items::new(location), max, used: Mutex::default() }
    }

    fn failed(&self, failure: Failure) -> DeadLetterError {
        DeadLetterError::Failed { place: self.place.clone(), failure }
    }

    /// Returns the shares of the pipelines.
    fn shares(&self, sizes: &[LaneSize]) -> Shares {
        let pipeline = |lane: &str| lane.split('/').next().unwrap_or_default().to_owned();
        Shares::new(self.max, sizes.iter().map(|size| (pipeline(&size.lane), size.bytes)))
    }

    /// Reserves space for these further bytes of pipelines.
    async fn admit(&self, more: &BTreeMap<&str, u64>) -> Result<(), DeadLetterError> {
        let called_at = Instant::now();
        let mut used = self.used.lock().await;
        let is_fresh = used.added <= self.max / RECOUNT_FRACTION;
        let known = if is_fresh { used.shares.as_mut() } else { None };
        if known.is_none_or(|shares| shares.reserve(more, &self.place).is_err()) {
            if let Some(failure) = used.failed.after(called_at) {
                return Err(self.failed(failure));
            }
            let sizes = self.items.sizes().await;
            used.failed.ended(&sizes);
            used.added = 0;
            let sizes = sizes.map_err(|failure| self.failed(failure))?;
            used.shares.insert(self.shares(&sizes)).reserve(more, &self.place)?;
        }
        used.added += more.values().sum::<u64>();
        Ok(())
    }
}

impl DeadLetterStore for TopicStore {
    fn keep<'a>(&'a self, dead_letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        Box::pin(async move {
            let item = |dead_letter: &DeadLetter<'_>| {
                let mut line = Vec::new();
                write_line(dead_letter, &mut line);
                (dead_letter.lane.to_string(), line)
            };
            let items: Vec<_> = dead_letters.iter().map(item).collect();
            let mut more = BTreeMap::new();
            for (dead_letter, (_, line)) in dead_letters.iter().zip(&items) {
                *more.entry(&*dead_letter.lane.pipeline).or_default() += line.len() as u64;
            }
            self.admit(&more).await?;
            self.items.put(items).await.map_err(|failure| self.failed(failure))
        })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Option<StoreFill>, DeadLetterError>> {
        Box::pin(async {
            let sizes = self.items.sizes().await.map_err(|failure| self.failed(failure))?;
            let lane = |size: &LaneSize| Some((size.lane.parse().ok()?, size.items));
            Ok(Some(StoreFill { lanes: sizes.iter().filter_map(lane).collect(), ..self.shares(&sizes).usage() }))
        })
    }
}

/// The dead letters that the topic had when it was opened.
#[derive(Debug)]
pub struct TopicPartition {
    items: Arc<Items>,
    place: String,
    items_read: mpsc::Receiver<Result<(ItemKey, Vec<u8>), Failure>>,
    /// Keys of the dead letters that were read, by their numbers.
    keys: HashMap<u64, ItemKey>,
    next: u64,
}

/// Locks the topic for the removal of dead letters. `None` if it does not exist yet.
///
/// # Errors
/// If another command has locked it, or the brokers do not answer.
pub async fn lock(location: &KafkaLocation) -> io::Result<Option<Box<dyn Send>>> {
    let lock = Items::new(location.clone()).lock().await.map_err(io::Error::other)?;
    Ok(lock.map(|lock| Box::new(lock) as Box<dyn Send>))
}

impl TopicPartition {
    /// Starts to read.
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub async fn open(location: &KafkaLocation) -> io::Result<Self> {
        let items = Arc::new(Items::new(location.clone()));
        let items_read = items.read().await.map_err(io::Error::other)?;
        Ok(Self { items, place: location.to_string(), items_read, keys: HashMap::new(), next: 0 })
    }

    pub async fn next(&mut self) -> Option<io::Result<(u64, StoredDeadLetter)>> {
        let (key, line) = match self.items_read.recv().await? {
            Ok(item) => item,
            Err(error) => return Some(Err(io::Error::other(error))),
        };
        let number = self.next;
        self.next += 1;
        let parsed = parse_line(line.trim_ascii_end()).map_err(|problem| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}, dead letter {}: {problem}", self.place, number + 1))
        });
        Some(parsed.map(|dead_letter| {
            self.keys.insert(number, key);
            (number, dead_letter)
        }))
    }

    /// Removes the dead letters with these numbers, and returns how many there were.
    ///
    /// # Errors
    /// As [`Items::remove`].
    pub async fn remove(&mut self, numbers: &BTreeSet<u64>) -> io::Result<usize> {
        let keys: Vec<ItemKey> = numbers.iter().filter_map(|number| self.keys.get(number).cloned()).collect();
        let count = keys.len();
        if count > 0 {
            self.items.remove(keys).await.map_err(io::Error::other)?;
        }
        self.keys.retain(|number, _| !numbers.contains(number));
        Ok(count)
    }
}
