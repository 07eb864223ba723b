//! Producers: one per set of broker settings in the process, made off the async threads, closed when idle.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::bearer::Bearer;
use crate::kafka::{Events, Tokens, creation_problem};

/// A producer that nobody has used for so long is closed: it holds threads and connections.
const IDLE: Duration = Duration::from_secs(300);

/// Hash of all settings, secrets included.
type Key = [u8; 32];
type Slot = Arc<OnceCell<Arc<Producer>>>;

/// The producers of the process.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    slots: Mutex<HashMap<Key, Slot>>,
}

impl Producers {
    /// The producer with these settings.
    pub(crate) async fn get(
        self: &Arc<Self>,
        config: BTreeMap<String, String>,
        bearer: Option<Bearer>,
    ) -> Result<Arc<Producer>, String> {
        let mut hash = Sha256::new();
        for (key, value) in &config {
            hash.update(format!("{}:{key}{}:{value}", key.len(), value.len()));
        }
        hash.update(bearer.as_ref().map(Bearer::key).unwrap_or_default());
        let key: Key = hash.finalize().into();
        let slot = self.lock().entry(key).or_default().clone();
        let producer = slot.get_or_try_init(|| async {
            let made = tokio::task::spawn_blocking(move || Producer::new(key, config, bearer)).await;
            let producer = Arc::new(made.map_err(|_| "the task that makes it ended early".to_owned())??);
            tokio::spawn(close_when_idle(Arc::downgrade(self), Arc::downgrade(&producer)));
            Ok::<_, String>(producer)
        });
        let producer = producer.await?.clone();
        *producer.used_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(producer)
    }

    /// Makes way for a new one; this one ends when its last user lets go.
    pub(crate) fn close(&self, producer: &Arc<Producer>) {
        let mut slots = self.lock();
        if slots.get(&producer.key).and_then(|slot| slot.get()).is_some_and(|kept| Arc::ptr_eq(kept, producer)) {
            slots.remove(&producer.key);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().values().filter(|slot| slot.initialized()).count()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn close_when_idle(producers: Weak<Producers>, producer: Weak<Producer>) {
    loop {
        tokio::time::sleep(IDLE / 4).await;
        let (Some(producers), Some(producer)) = (producers.upgrade(), producer.upgrade()) else { return };
        let used_at = *producer.used_at.lock().unwrap_or_else(PoisonError::into_inner);
        // Two: the pool's and the one just taken.
        if used_at.elapsed() >= IDLE && Arc::strong_count(&producer) <= 2 {
            producers.close(&producer);
            return;
        }
    }
}

/// A librdkafka producer.
pub(crate) struct Producer {
    key: Key,
    /// Taken when this is dropped.
    inner: Option<FutureProducer<Events>>,
    events: Events,
    used_at: Mutex<Instant>,
}

impl fmt::Debug for Producer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Producer").field("events", &self.events).finish_non_exhaustive()
    }
}

/// Closing waits for librdkafka's threads, which is nothing for an async thread.
impl Drop for Producer {
    fn drop(&mut self) {
        let inner = self.inner.take();
        // Where no thread can be made, it is closed here after all.
        let _ = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(inner));
    }
}

impl Producer {
    fn new(key: Key, config: BTreeMap<String, String>, bearer: Option<Bearer>) -> Result<Self, String> {
        let brokers = config.get("bootstrap.servers").cloned().unwrap_or_default();
        let events = Events::new(&brokers, bearer.map(|bearer| Arc::new(bearer) as Arc<dyn Tokens>));
        let client_config: ClientConfig = config.into_iter().collect();
        let inner = client_config.create_with_context(events.clone()).map_err(creation_problem)?;
        Ok(Self { key, inner: Some(inner), events, used_at: Mutex::new(Instant::now()) })
    }

    /// What librdkafka told beside its reports.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Copies a message into the queue; the future tells what became of it.
    #[expect(clippy::result_large_err, reason = "the record is given back to be sent again")]
    pub(crate) fn send<'a>(&self, record: Record<'a>) -> Handed<'a> {
        match &self.inner {
            Some(inner) => inner.send_result(record),
            None => Err((KafkaError::Canceled, record)),
        }
    }

    /// Gives up what waits in the queue, of whoever it is: a lane whose delivery goes on sends its part again. Does not wait
    /// for librdkafka's threads, which may be looking for brokers.
    pub(crate) fn purge(&self) {
        if let Some(inner) = &self.inner {
            inner.purge(PurgeConfig::default().queue().non_blocking());
        }
    }

    /// The error after which it takes no more messages.
    pub(crate) fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.inner.as_ref()?.client().fatal_error()
    }

    /// Asks the brokers for the partitions of a topic. Blocks.
    pub(crate) fn partitions(&self, topic: &str, timeout: Duration) -> Result<usize, RDKafkaErrorCode> {
        let inner = self.inner.as_ref().ok_or(RDKafkaErrorCode::Unknown)?;
        let metadata = inner
            .client()
            .fetch_metadata(Some(topic), timeout)
            .map_err(|error| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown))?;
        let topic = metadata.topics().iter().find(|found| found.name() == topic);
        let topic = topic.ok_or(RDKafkaErrorCode::UnknownTopicOrPartition)?;
        match topic.error() {
            Some(error) => Err(error.into()),
            None => Ok(topic.partitions().len()),
        }
    }
}

/// A message on its way into the queue.
pub(crate) type Record<'a> = FutureRecord<'a, String, [u8]>;
/// What will become of it, or the message back.
pub(crate) type Handed<'a> = Result<DeliveryFuture, (KafkaError, Record<'a>)>;
