//! `delivery: at_least_once`: a batch is delivered when the brokers have acknowledged all its messages.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;

use super::brokers::Brokers;
use super::messages::Messages;
use super::producer::{PROBE_TIMEOUT, SharedProducer};
use super::reports::{self, ReportPolicy};
use super::settings::{DEFAULTS, KafkaSettings};
use crate::failure::Failure;
use crate::kafka::{Report, find_partitions};
use crate::sink::common::Common;
use crate::sink::{Attempt, Batch, BuildError, Limits, Outcome, Probe, Sink, SinkContext};

/// After this many fatal errors of producers in a row, the cluster's configuration is wrong.
const FATAL_MAX: u32 = 5;

#[derive(Debug)]
pub(super) struct KafkaSink {
    pub(super) brokers: Brokers,
    pub(super) messages: Messages,
    pub(super) policy: ReportPolicy,
    limits: Limits,
    /// Locked while a batch is queued in librdkafka, so that batches do not mix.
    queueing: tokio::sync::Mutex<()>,
    /// Fatal errors of producers since the last delivery.
    fatal: AtomicU32,
    /// True if the cluster refused the last batch.
    refused: AtomicBool,
}

impl KafkaSink {
    pub(super) fn new(settings: &KafkaSettings, common: &Common, context: &SinkContext) -> Result<Self, BuildError> {
        let messages = Messages::new(settings, context)?;
        let brokers = Brokers::new(settings, common, common.compression(&DEFAULTS), context)?;
        Ok(Self {
            policy: ReportPolicy::new(brokers.options.propagation()),
            brokers,
            messages,
            limits: common.limits(&DEFAULTS),
            queueing: tokio::sync::Mutex::default(),
            fatal: AtomicU32::new(0),
            refused: AtomicBool::new(false),
        })
    }

    async fn deliver(&self, batch: &Batch) -> Attempt {
        let first = self.attempt(batch).await;
        let is_unauthorized = matches!(first.outcome, Outcome::Unauthorized(_));
        let may_be_outdated =
            is_unauthorized || matches!(first.outcome, Outcome::Misconfigured(_) | Outcome::RetryLater { .. });
        if may_be_outdated && self.brokers.renew(is_unauthorized).await {
            return self.attempt(batch).await;
        }
        first
    }

    async fn attempt(&self, batch: &Batch) -> Attempt {
        let producer = match self.brokers.producer().await {
            Ok(producer) => producer,
            Err(failure) => {
                let status = if matches!(failure, Failure::Unauthorized(_)) { "secret" } else { "options" };
                return Attempt { outcome: failure.into(), bytes: 0, status: status.to_owned() };
            }
        };
        if self.refused.swap(false, Ordering::Relaxed) {
            // librdkafka caches the metadata of a topic for minutes. This request refreshes it.
            for topic in self.messages.topics(batch) {
                let _ = producer.partitions(&topic).await;
            }
        }
        let (reports, bytes) = self.produce(&producer, batch).await;
        if reports.contains(&Report::Delivered) {
            producer.events().forget();
            self.policy.forget();
            self.fatal.store(0, Ordering::Relaxed);
        }
        let broker_error = producer.events().recent();
        let status = reports::status(&reports);
        let mut outcome = reports::outcome(batch, &reports, broker_error.as_ref(), &self.policy, Instant::now());
        if let Some((code, reason)) = producer.fatal_error() {
            self.brokers.close(&producer);
            let failures = self.fatal.fetch_add(1, Ordering::Relaxed) + 1;
            let topic = &self.messages.topic;
            tracing::warn!(topic, error = ?code, reason, failures, "the Kafka producer failed and is replaced");
            if let Some(stop) = reports::fatal_outcome(code, &reason, failures >= FATAL_MAX)
                && !matches!(outcome, Outcome::Partial { .. })
            {
                outcome = stop;
            }
        }
        self.refused.store(matches!(outcome, Outcome::Misconfigured(_)), Ordering::Relaxed);
        Attempt { outcome, bytes, status }
    }

    /// Queues the events and waits for their reports. A future that is dropped before purges the queue: another worker
    /// may deliver newer versions of the same records before the brokers are reachable again.
    async fn produce(&self, producer: &SharedProducer, batch: &Batch) -> (Vec<Report>, u64) {
        let mut reports = vec![Report::Failed(RDKafkaErrorCode::PurgeQueue); batch.len()];
        let Some(queue) = producer.queue() else { return (reports, 0) };
        let queueing = self.queueing.lock().await;
        let dropped = scopeguard::guard(producer, SharedProducer::purge);
        let (sent, bytes) = self.messages.send(batch, queue).await;
        drop(queueing);
        for (index, report) in sent.reports().await {
            reports[index] = report;
        }
        scopeguard::ScopeGuard::into_inner(dropped);
        (reports, bytes)
    }

    /// Returns a description of the topic.
    ///
    /// # Errors
    /// The probe's result when the topic was not found.
    pub(super) async fn find_topic(&self) -> Result<String, Probe> {
        let topic = &self.messages.topic;
        let failed = |failure: Failure| Probe::Failed(failure.to_string());
        let connect = self.brokers.connect().map_err(failed)?;
        match find_partitions(&connect, topic, PROBE_TIMEOUT).await.map_err(failed)? {
            Ok(partitions) => Ok(format!("topic `{topic}` with {partitions} partitions")),
            Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
                if self.messages.has_many_topics() =>
            {
                Err(Probe::Reached("the brokers respond; the topics depend on labels from the console".to_owned()))
            }
            Err(error) => Err(reports::probe(topic, error, connect.events.recent().as_ref())),
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

    fn probe(&self) -> BoxFuture<'_, Probe> {
        async { self.find_topic().await.map_or_else(|failed| failed, Probe::Verified) }.boxed()
    }
}
