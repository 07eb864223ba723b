//! `delivery: at_least_once`: a batch is delivered when the brokers have acknowledged all its messages.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode;
use s1_forwarder_engine::sink::{Attempt, Batch, Limits, Outcome, ProbeResult, Sink};
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::{Misconfigured, SecretUnreadable, Transient, Unauthorized};
use s1_forwarder_kafka::{ClientSettings, Report, Tokens, find_partitions};
use tokio::time::Instant;

use super::bearer::Bearer;
use super::messages::Messages;
use super::options::Options;
use super::producer::{PROBE_TIMEOUT, Producers, SharedProducer};
use super::reports::{self, ReportPolicy};
use super::settings::{DEFAULTS, KafkaSettings};
use crate::common_keys::Common;
use crate::{BuildError, SinkContext};

/// Number of fatal errors of producers in a row after which the cluster's configuration is wrong.
const FATAL_MAX: u32 = 5;

#[derive(Debug)]
pub(super) struct KafkaSink {
    pub(super) options: Options,
    /// Source of OAUTHBEARER tokens.
    bearer: Option<Bearer>,
    producers: Arc<Producers>,
    pub(super) messages: Messages,
    pub(super) policy: ReportPolicy,
    limits: Limits,
    /// Locked while a batch is queued in librdkafka, so that batches do not mix.
    queueing: tokio::sync::Mutex<()>,
    /// Fatal errors of producers since the last delivery.
    fatal: AtomicU32,
    /// Whether the cluster refused the last batch.
    refused: AtomicBool,
    /// The producer of the last attempt.
    producer: Mutex<Weak<SharedProducer>>,
}

impl KafkaSink {
    pub(super) fn new(settings: &KafkaSettings, common: &Common, context: &SinkContext) -> Result<Self, BuildError> {
        let messages = Messages::new(settings, context)?;
        let options = Options::new(settings, common, common.compression(&DEFAULTS))?;
        Ok(Self {
            policy: ReportPolicy::new(options.propagation),
            options,
            bearer: Bearer::new(settings, common, context)?,
            producers: context.shared.producers.clone(),
            messages,
            limits: common.limits(&DEFAULTS),
            queueing: tokio::sync::Mutex::default(),
            fatal: AtomicU32::new(0),
            refused: AtomicBool::new(false),
            producer: Mutex::default(),
        })
    }

    /// Returns the settings with secrets read.
    pub(super) fn client_settings(&self) -> Result<ClientSettings, Failure> {
        let config = self.options.resolve().map_err(|error| Failure::secret_unreadable(error.to_string()))?;
        let tokens = self.bearer.clone().map(|bearer| Arc::new(bearer) as Arc<dyn Tokens>);
        Ok(ClientSettings::new(config, tokens))
    }

    /// Returns the producer that lanes with equal settings share.
    pub(super) async fn producer(&self) -> Result<Arc<SharedProducer>, Failure> {
        self.producers.get(self.client_settings()?).await
    }

    /// Reads credentials and certificates again, since they may have been rotated. True when another attempt may
    /// succeed. Brokers that refuse a certificate do not say that they refuse credentials (`is_unauthorized`).
    pub(super) async fn renew(&self, is_unauthorized: bool) -> bool {
        let reloaded = self.options.reload();
        let refused = match &self.bearer {
            Some(bearer) if is_unauthorized => bearer.discard().await,
            _ => false,
        };
        // A producer keeps its token until it expires, so one with a refused token has to be replaced.
        if refused && let Ok(producer) = self.producer().await {
            self.producers.close(&producer);
        }
        reloaded || refused
    }

    async fn deliver(&self, batch: &Batch) -> Attempt {
        let first = self.attempt(batch).await;
        let kind = first.outcome.failure_kind();
        let is_unauthorized = kind == Some(Unauthorized);
        let may_be_outdated = is_unauthorized || matches!(kind, Some(Misconfigured | Transient));
        if may_be_outdated && self.renew(is_unauthorized).await {
            return self.attempt(batch).await;
        }
        first
    }

    async fn attempt(&self, batch: &Batch) -> Attempt {
        let producer = match self.producer().await {
            Ok(producer) => producer,
            Err(failure) => {
                let status = if failure.kind == SecretUnreadable { "secret" } else { "options" };
                return Attempt::unsent(Outcome::Failed(failure), status);
            }
        };
        *self.producer.lock() = Arc::downgrade(&producer);
        if self.refused.swap(false, Ordering::Relaxed) {
            // librdkafka caches the metadata of a topic for minutes. This request refreshes it.
            for topic in self.messages.topics(batch) {
                producer.lacks_leader(&topic).await;
            }
        }
        let (reports, bytes) = self.produce(&producer, batch).await;
        if reports.contains(&Report::Delivered) {
            producer.events.forget();
            self.policy.forget();
            self.fatal.store(0, Ordering::Relaxed);
        }
        let timed_out = reports.contains(&Report::Failed(RDKafkaErrorCode::MessageTimedOut));
        let broker_error =
            if timed_out { producer.events.cause(RDKafkaErrorCode::MessageTimedOut) } else { producer.events.recent() };
        let status = reports::status(&reports);
        let mut outcome = reports::outcome(batch, &reports, broker_error.as_ref(), &self.policy, Instant::now());
        if let Some((code, reason)) = producer.fatal_error() {
            self.producers.close(&producer);
            let failures = self.fatal.fetch_add(1, Ordering::Relaxed) + 1;
            let topic = &self.messages.topic;
            tracing::warn!(topic, error = ?code, reason, failures, "the Kafka producer failed and is replaced");
            if let Some(stop) = reports::fatal_outcome(code, &reason, failures >= FATAL_MAX)
                && !matches!(outcome, Outcome::Partial { .. })
            {
                outcome = stop;
            }
        }
        self.refused.store(outcome.failure_kind() == Some(Misconfigured), Ordering::Relaxed);
        Attempt::new(outcome, bytes, status)
    }

    /// Queues the events and waits for their reports. A future that is dropped before purges the queue: another worker
    /// may deliver newer versions of the same records before the brokers are reachable again.
    async fn produce(&self, producer: &SharedProducer, batch: &Batch) -> (Vec<Report>, u64) {
        let mut reports = vec![Report::Failed(RDKafkaErrorCode::PurgeQueue); batch.len()];
        let queueing = self.queueing.lock().await;
        let dropped = scopeguard::guard(producer, SharedProducer::purge);
        let (sent, bytes) = self.messages.send(batch, &producer.queue).await;
        drop(queueing);
        for (event, report) in sent.reports().await {
            if let Some(reported) = event.and_then(|index| reports.get_mut(index)) {
                *reported = report;
            }
        }
        scopeguard::ScopeGuard::into_inner(dropped);
        (reports, bytes)
    }

    /// Returns a description of the topic.
    ///
    /// # Errors
    /// If the topic was not found, with the probe's result.
    pub(super) async fn find_topic(&self) -> Result<String, ProbeResult> {
        let topic = &self.messages.topic;
        let failed = |failure: Failure| ProbeResult::Failed(failure.to_string());
        let client_settings = self.client_settings().map_err(failed)?;
        match find_partitions(&client_settings, topic, PROBE_TIMEOUT).await.map_err(failed)? {
            Ok(partitions) => Ok(format!("topic `{topic}` with {partitions} partitions")),
            Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
                if self.messages.has_many_topics() =>
            {
                Err(ProbeResult::Reached(
                    "the brokers respond; the topics depend on labels from the console".to_owned(),
                ))
            }
            Err(error) => Err(reports::probe(topic, error, client_settings.events.cause(error).as_ref())),
        }
    }
}

impl Sink for KafkaSink {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        self.deliver(batch).boxed()
    }

    /// Messages wait in librdkafka's queue for minutes. Meanwhile it reports what the brokers do.
    fn stall_reason(&self) -> Option<Failure> {
        let producer = self.producer.lock().upgrade()?;
        producer.events.recent().map(reports::failure_of_broker)
    }

    fn probe(&self) -> BoxFuture<'_, ProbeResult> {
        async { self.find_topic().await.map_or_else(|failed| failed, ProbeResult::Verified) }.boxed()
    }
}
