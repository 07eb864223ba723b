//! Dead letters in a Kafka topic: one item a letter, in an order for each lane.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

use super::line::{parse_line, write_line};
use super::{DeadLetter, DeadLetterError, Kept, LetterStore};
use crate::kafka::{ItemKey, Items, KafkaLocation, Trouble};

/// Others keep letters too: what there is is counted again after so small a part of the most was added.
const COUNTED_AGAIN: u64 = 16;

/// Where lanes keep them: acknowledged by the brokers when they are kept.
#[derive(Debug)]
pub struct Topic {
    items: Items,
    place: String,
    max: u64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    /// Bytes of all letters, once counted.
    bytes: Option<u64>,
    /// How many of them were added since.
    since: u64,
    /// The last count that failed, and when.
    failed: Option<(Instant, Trouble)>,
}

impl Topic {
    pub fn new(location: KafkaLocation, max: u64) -> Self {
        Self { place: location.to_string(), items: Items::new(location), max, used: Mutex::default() }
    }

    fn failed(&self, trouble: Trouble) -> DeadLetterError {
        DeadLetterError::Io { place: self.place.clone(), source: io::Error::other(trouble) }
    }

    /// Counts `more` bytes, unless there is no room for them.
    async fn admit(&self, more: u64) -> Result<(), DeadLetterError> {
        let asked = Instant::now();
        let mut used = self.used.lock().await;
        let fits = |bytes: u64| bytes.saturating_add(more) <= self.max;
        let fresh = used.since <= self.max / COUNTED_AGAIN;
        let bytes = match used.bytes.filter(|bytes| fresh && fits(*bytes)) {
            Some(bytes) => bytes,
            None => {
                // Whoever waited while another counted in vain hears the same.
                if let Some((_, trouble)) = used.failed.take_if(|(at, _)| *at >= asked) {
                    used.failed = Some((Instant::now(), trouble.clone()));
                    return Err(self.failed(trouble));
                }
                let counted = self.items.size().await;
                used.failed = counted.as_ref().err().map(|trouble| (Instant::now(), trouble.clone()));
                used.since = 0;
                counted.map_err(|trouble| self.failed(trouble))?
            }
        };
        if !fits(bytes) {
            used.bytes = None;
            return Err(DeadLetterError::Full { place: self.place.clone(), max: self.max });
        }
        used.bytes = Some(bytes + more);
        used.since += more;
        Ok(())
    }
}

impl LetterStore for Topic {
    fn keep<'a>(&'a self, letters: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        Box::pin(async move {
            let item = |letter: &DeadLetter<'_>| {
                let mut line = Vec::new();
                write_line(letter, &mut line);
                (format!("{}/{}/{}", letter.pipeline, letter.stream, letter.sink), line)
            };
            let items: Vec<_> = letters.iter().map(item).collect();
            self.admit(items.iter().map(|(_, line)| line.len() as u64).sum()).await?;
            self.items.put(items).await.map_err(|trouble| self.failed(trouble))
        })
    }
}

/// The letters that were there when it was opened.
#[derive(Debug)]
pub struct TopicDrawer {
    items: Arc<Items>,
    place: String,
    coming: mpsc::Receiver<Result<(ItemKey, Vec<u8>), Trouble>>,
    /// Of the letters that were read, by their numbers.
    keys: HashMap<u64, ItemKey>,
    next: u64,
}

/// Held by the one command that takes letters out; none where there is no topic yet.
///
/// # Errors
/// When another has it, or the brokers do not let it happen.
pub async fn lock(location: &KafkaLocation) -> io::Result<Option<Box<dyn Send>>> {
    let lock = Items::new(location.clone()).lock().await.map_err(io::Error::other)?;
    Ok(lock.map(|lock| Box::new(lock) as Box<dyn Send>))
}

impl TopicDrawer {
    /// Begins to read.
    ///
    /// # Errors
    /// When the brokers do not let it happen.
    pub async fn open(location: &KafkaLocation) -> io::Result<Self> {
        let items = Arc::new(Items::new(location.clone()));
        let coming = items.read().await.map_err(io::Error::other)?;
        Ok(Self { items, place: location.to_string(), coming, keys: HashMap::new(), next: 0 })
    }

    pub async fn next(&mut self) -> Option<io::Result<(u64, Kept)>> {
        let (key, line) = match self.coming.recv().await? {
            Ok(item) => item,
            Err(trouble) => return Some(Err(io::Error::other(trouble))),
        };
        let number = self.next;
        self.next += 1;
        let parsed = parse_line(line.trim_ascii_end()).map_err(|problem| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}, letter {}: {problem}", self.place, number + 1))
        });
        Some(parsed.map(|letter| {
            self.keys.insert(number, key);
            (number, letter)
        }))
    }

    pub async fn take_out(&mut self, letters: &BTreeSet<u64>) -> io::Result<usize> {
        let keys: Vec<ItemKey> = letters.iter().filter_map(|number| self.keys.get(number).cloned()).collect();
        let count = keys.len();
        if count > 0 {
            self.items.remove(keys).await.map_err(io::Error::other)?;
        }
        self.keys.retain(|number, _| !letters.contains(number));
        Ok(count)
    }
}
