//! Kafka code that sinks and the state store share: transactional checkpoints in a compacted topic. At most one process
//! may write the checkpoints of a lane.
//!
//! A [`TransactionalId`] manages one transactional id for the lanes that commit under it. Each initialisation of the id
//! begins a session. When a lane's session ends, the lane has to read its checkpoint again. `docs/delivery.md` explains
//! the rules and the failure that each rule prevents.

mod error;
mod events;
mod group;
mod items;
mod location;
mod lock;
mod process;
mod record;
mod registry;
mod session;
mod topic;
mod transactional_id;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::message::ToBytes;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::failure::Failure;

use error::failure_of;
pub(crate) use error::is_refusal;
pub(crate) use events::{BrokerError, Events, Tokens};
pub(crate) use group::{Abort, AbortCause, CHECKPOINT, CommitOutcome, Sent};
pub(crate) use items::{ItemKey, Items};
pub use location::{KafkaLocation, KafkaLocationError};
pub(crate) use process::PROCESS;
pub(crate) use registry::TransactionalIds;
pub(crate) use session::probe;
pub(crate) use topic::reach;
pub(crate) use transactional_id::{Lane, TransactionalId};

/// A producer that any thread may call.
pub(crate) type Transactional = FutureProducer<Events>;

/// Interval between two attempts while librdkafka's queue is full.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(20);

/// Copies a message into the producer's queue. Waits while the queue is full. The returned future resolves to the
/// brokers' report.
///
/// # Errors
/// When librdkafka refuses the message itself.
pub(crate) async fn enqueue<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(
    producer: &Transactional,
    mut record: FutureRecord<'_, K, P>,
) -> Result<DeliveryFuture, RDKafkaErrorCode> {
    loop {
        match producer.send_result(record) {
            Ok(report) => return Ok(report),
            Err((RdKafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                record = refused;
                sleep(QUEUE_FULL_WAIT).await;
            }
            Err((error, _)) => return Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        }
    }
}

/// The settings of a client. Debug prints none of them, since they contain secrets.
#[derive(Clone)]
pub(crate) struct Connect {
    /// librdkafka's settings, with secrets read.
    pub(crate) config: BTreeMap<String, String>,
    /// Source of OAUTHBEARER tokens.
    pub(crate) tokens: Option<Arc<dyn Tokens>>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connect").finish_non_exhaustive()
    }
}

impl Connect {
    /// Creates a client with `more` settings. A consumer ignores settings of producers.
    fn client<T: FromClientConfigAndContext<Events>>(
        &self,
        events: &Events,
        more: &[(&str, &str)],
    ) -> Result<T, Failure> {
        let mut config: ClientConfig = self.config.clone().into_iter().collect();
        for (key, value) in more {
            config.set(*key, *value);
        }
        config.create_with_context(events.clone()).map_err(|error| Failure::Misconfigured(creation_problem(error)))
    }

    fn events(&self) -> Events {
        let brokers = self.config.get("bootstrap.servers").cloned().unwrap_or_default();
        Events::new(&brokers, self.tokens.clone())
    }
}

/// Explains why librdkafka refuses the settings. The text omits the value, which may be a secret.
pub(crate) fn creation_problem(error: RdKafkaError) -> String {
    match error {
        RdKafkaError::ClientConfig(_, problem, key, _) => format!("{key}: {problem}"),
        RdKafkaError::ClientCreation(problem) => problem,
        other => other.to_string(),
    }
}

/// Runs a blocking call on a separate thread. librdkafka's transaction calls wait for the brokers. During an outage,
/// they would occupy all threads of a shared pool.
async fn on_thread<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let (sender, receiver) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("kafka-call".to_owned()).spawn(move || {
        // The caller may have stopped waiting.
        let _ = sender.send(call());
    });
    spawned.map_err(|error| Failure::transient(format!("no thread for a call to Kafka: {error}")))?;
    receiver.await.map_err(|_| Failure::transient("a call to Kafka panicked".to_owned()))
}
