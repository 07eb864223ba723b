//! Producers. The process has one for each set of broker settings. It is made on a blocking thread and closed when
//! idle.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{Producer as _, PurgeConfig};
use s1_forwarder_failure::Failure;
use s1_forwarder_kafka::{ClientReports, ClientSettings, Producer, close};
use scopeguard::ScopeGuard;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// A producer that is unused for this long is closed, since it has threads and connections.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// Timeout of a request for metadata.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// A producer, once it is made.
type Slot = Arc<OnceCell<Arc<SharedProducer>>>;

/// By the hash of all settings, secrets included.
#[derive(Debug, Default)]
pub(crate) struct Producers(Mutex<HashMap<[u8; 32], Slot>>);

impl Producers {
    pub(crate) async fn get(self: &Arc<Self>, client_settings: ClientSettings) -> Result<Arc<SharedProducer>, Failure> {
        let slot = self.0.lock().entry(client_settings.hash()).or_default().clone();
        let producer = slot.get_or_try_init(|| async {
            let made = tokio::task::spawn_blocking(move || SharedProducer::new(&client_settings)).await;
            let producer = made.map_err(|_| Failure::transient("the task that makes a Kafka producer ended early"))?;
            let producer = Arc::new(producer?);
            tokio::spawn(close_when_idle(Arc::downgrade(self), Arc::downgrade(&producer)));
            Ok::<_, Failure>(producer)
        });
        let producer = producer.await?.clone();
        *producer.used_at.lock() = Instant::now();
        Ok(producer)
    }

    /// Removes the producer from the pool. It ends when its last user drops it.
    pub(crate) fn close(&self, producer: &Arc<SharedProducer>) {
        self.0.lock().retain(|_, slot| slot.get().is_none_or(|current| !Arc::ptr_eq(current, producer)));
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().values().filter(|slot| slot.initialized()).count()
    }
}

async fn close_when_idle(producers: Weak<Producers>, producer: Weak<SharedProducer>) {
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

pub(crate) struct SharedProducer {
    /// Accepts messages. Closed on a separate thread, since this waits for librdkafka's threads.
    pub(super) queue: ScopeGuard<Producer, fn(Producer)>,
    pub(super) events: ClientReports,
    used_at: Mutex<Instant>,
}

impl fmt::Debug for SharedProducer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SharedProducer").field("events", &self.events).finish_non_exhaustive()
    }
}

impl SharedProducer {
    fn new(client_settings: &ClientSettings) -> Result<Self, Failure> {
        let queue = scopeguard::guard(client_settings.client(&[])?, close::<Producer> as fn(Producer));
        Ok(Self { queue, events: client_settings.events.clone(), used_at: Mutex::new(Instant::now()) })
    }

    /// Purges the queued messages of all lanes. A lane with a running delivery sends its messages again. Does not wait
    /// for librdkafka's threads, which may be connecting to brokers.
    pub(crate) fn purge(&self) {
        self.queue.purge(PurgeConfig::default().queue().non_blocking());
    }

    /// Returns the error after which the producer accepts no more messages.
    pub(crate) fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.queue.client().fatal_error()
    }

    /// Returns whether a partition of the topic has no leader now. The request renews the topic in librdkafka's cache.
    pub(crate) async fn lacks_leader(&self, topic: &str) -> bool {
        let producer = self.queue.clone();
        let topic = topic.to_owned();
        let lacking = tokio::task::spawn_blocking(move || {
            let metadata = producer.client().fetch_metadata(Some(&topic), PROBE_TIMEOUT);
            let has_none = |topic: &MetadataTopic| topic.partitions().iter().any(|partition| partition.leader() < 0);
            metadata.is_ok_and(|metadata| metadata.topics().iter().any(has_none))
        });
        lacking.await.unwrap_or(false)
    }
}
