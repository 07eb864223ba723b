//! Producers. The process has one for each set of broker settings. It is made on a blocking thread and closed when
//! idle.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{FutureProducer, Producer as _, PurgeConfig};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::bearer::Bearer;
use crate::kafka::{Events, Tokens, creation_problem};

/// A producer that is unused for this long is closed, since it has threads and connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Hash of all settings, secrets included.
type Key = [u8; 32];
type Slot = Arc<OnceCell<Arc<Producer>>>;

#[derive(Debug, Default)]
pub(crate) struct Producers {
    slots: Mutex<HashMap<Key, Slot>>,
}

impl Producers {
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
        *producer.used_at.lock() = Instant::now();
        Ok(producer)
    }

    /// Removes the producer from the pool. It ends when its last user drops it.
    pub(crate) fn close(&self, producer: &Arc<Producer>) {
        let mut slots = self.lock();
        if slots.get(&producer.key).and_then(|slot| slot.get()).is_some_and(|current| Arc::ptr_eq(current, producer)) {
            slots.remove(&producer.key);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().values().filter(|slot| slot.initialized()).count()
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, HashMap<Key, Slot>> {
        self.slots.lock()
    }
}

async fn close_when_idle(producers: Weak<Producers>, producer: Weak<Producer>) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT / 4).await;
        let (Some(producers), Some(producer)) = (producers.upgrade(), producer.upgrade()) else { return };
        let used_at = *producer.used_at.lock();
        // The pool and this task each have one reference.
        if used_at.elapsed() >= IDLE_TIMEOUT && Arc::strong_count(&producer) <= 2 {
            producers.close(&producer);
            return;
        }
    }
}

pub(crate) struct Producer {
    key: Key,
    /// None while this is dropped.
    inner: Option<FutureProducer<Events>>,
    events: Events,
    used_at: Mutex<Instant>,
}

impl fmt::Debug for Producer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Producer").field("events", &self.events).finish_non_exhaustive()
    }
}

/// Closes the producer on a separate thread, since this waits for librdkafka's threads.
impl Drop for Producer {
    fn drop(&mut self) {
        let inner = self.inner.take();
        // If no thread is available, the current one closes the producer.
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

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Accepts messages. None while the producer is closed.
    pub(crate) fn queue(&self) -> Option<&FutureProducer<Events>> {
        self.inner.as_ref()
    }

    /// Purges the queued messages of all lanes. A lane with a running delivery sends its messages again. Does not wait
    /// for librdkafka's threads, which may be connecting to brokers.
    pub(crate) fn purge(&self) {
        if let Some(inner) = &self.inner {
            inner.purge(PurgeConfig::default().queue().non_blocking());
        }
    }

    /// The error after which the producer accepts no more messages.
    pub(crate) fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.inner.as_ref()?.client().fatal_error()
    }

    /// Requests the number of partitions of a topic. Blocks.
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
