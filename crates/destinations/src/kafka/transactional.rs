//! `delivery: exactly_once`: commits a batch and the checkpoint that covers it in one transaction. Lanes share
//! transactions.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rdkafka::error::RDKafkaErrorCode as Code;
use s1_forwarder_engine::checkpoint::{CheckpointBackend, CheckpointKey, CheckpointUpdate, StateError};
use s1_forwarder_engine::sink::{Attempt, Batch, Limits, Outcome, ProbeResult, Sink, TransactionalSink};
use s1_forwarder_failure::Failure;
use s1_forwarder_failure::FailureKind::Unauthorized;
use s1_forwarder_kafka::{
    Abort, AbortCause, IfDamaged, OwnedLane, Report, Sharing, Topic, TransactionalId, is_refusal,
};
use tokio::time::Instant;

use super::at_least_once::KafkaSink;
use super::reports;
use super::settings::{KafkaSettings, check_topic};
use crate::{BuildError, SinkContext};

/// A lane with refused records commits in separate transactions until this time after the last refusal. If it returns
/// too early, it aborts a transaction of other lanes.
const QUARANTINE: Duration = Duration::from_mins(1);
/// Bytes of a message in addition to its value and its fixed headers: key, id, time, framing.
const OVERHEAD: usize = 2 * 1024;
/// librdkafka's default of `message.max.bytes`.
const MAX_MESSAGE: usize = 1_000_000;

#[derive(Debug)]
pub(super) struct TransactionalKafkaSink {
    /// Delivers the batches of backfills and repairs at least once. No checkpoint covers them.
    plain: KafkaSink,
    limits: Limits,
    id: Arc<TransactionalId>,
    checkpoint_topic: String,
    /// The lane's name in the checkpoint topic.
    name: String,
    /// `None` before the lane's checkpoint is read.
    lane: Mutex<Option<Arc<OwnedLane>>>,
    quarantined_until: Mutex<Option<Instant>>,
}

impl TransactionalKafkaSink {
    pub(super) fn new(plain: KafkaSink, settings: &KafkaSettings, context: &SinkContext) -> Result<Self, BuildError> {
        let Some(topic) = settings.checkpoint_topic.as_deref() else {
            let problem = "`delivery: exactly_once` needs a topic on these brokers for the lanes' checkpoints";
            return Err(BuildError::value("checkpoint_topic", problem));
        };
        check_topic("checkpoint_topic", topic)?;
        if topic == plain.messages.topic {
            let problem = "events go to this topic, and it keeps only the last message of each key";
            return Err(BuildError::value("checkpoint_topic", problem));
        }
        // An event larger than a message would abort its transaction, so it is refused before.
        let largest = settings.literal("message.max.bytes").or(settings.literal("message.copy.max.bytes"));
        let largest = largest.and_then(|text| text.trim().parse().ok()).unwrap_or(MAX_MESSAGE);
        let largest_event = largest.saturating_sub(OVERHEAD + plain.messages.header_bytes());
        let limits = Limits { event_bytes: plain.limits().event_bytes.min(largest_event), ..plain.limits() };
        let oauth = match (&settings.oauth, &settings.auth) {
            (Some(oauth), _) => format!("{oauth:?}"),
            (None, Some(auth)) => format!("{auth:?}"),
            (None, None) => String::new(),
        };
        Ok(Self {
            id: context.shared.transactional_ids.get(&plain.options.fingerprint(&[topic, &oauth]), context.shard),
            plain,
            limits,
            checkpoint_topic: topic.to_owned(),
            name: context.lane.to_string(),
            lane: Mutex::new(None),
            quarantined_until: Mutex::new(None),
        })
    }

    fn topic(&self) -> Result<Topic, Failure> {
        Ok(Topic::of_checkpoints(self.plain.client_settings()?, &self.checkpoint_topic))
    }

    /// Takes the lane over and reads its checkpoint.
    async fn take_over(&self) -> Result<Option<Vec<u8>>, Failure> {
        *self.lane.lock() = None;
        let (lane, checkpoint) = self.id.open(&self.topic()?, &self.name).await?;
        *self.lane.lock() = Some(Arc::new(lane));
        Ok(checkpoint)
    }

    fn lane(&self) -> Result<Arc<OwnedLane>, Failure> {
        let lane = self.lane.lock().clone();
        lane.ok_or_else(|| Failure::superseded("the lane's checkpoint was not read"))
    }

    /// Quarantines the lane after the brokers did not accept its records. It shares no transactions for the next
    /// [`QUARANTINE`].
    fn quarantine(&self, code: Code) {
        if self.quarantined_until.lock().replace(Instant::now() + QUARANTINE).is_none() {
            tracing::warn!(error = ?code, "records not accepted: the lane gets transactions of its own");
        }
    }

    fn end_quarantine(&self) {
        let mut until = self.quarantined_until.lock();
        if until.is_some_and(|until| until <= Instant::now()) {
            *until = None;
            tracing::info!("the lane shares transactions again");
        }
    }

    async fn lacks_leader(&self, batch: &Batch) -> bool {
        let Ok(producer) = self.plain.producer().await else { return false };
        for topic in self.plain.messages.topics(batch) {
            if producer.lacks_leader(&topic).await {
                return true;
            }
        }
        false
    }

    async fn transact(&self, batch: &Batch, update: CheckpointUpdate) -> Attempt {
        // Records of an unknown lane aborted a shared transaction. A separate transaction shows whether they are this
        // lane's.
        let mut is_suspect = false;
        loop {
            let slot = async {
                let lane = self.lane()?;
                if lane.is_degraded() && self.lacks_leader(batch).await {
                    self.quarantine(Code::LeaderNotAvailable);
                }
                let is_alone = is_suspect || self.quarantined_until.lock().is_some();
                let sharing = if is_alone { Sharing::Alone } else { Sharing::Shared };
                Ok::<_, Failure>((lane.slot(sharing).await?, lane, sharing))
            };
            let (slot, lane, sharing) = match slot.await {
                Ok(slot) => slot,
                Err(error) => return Attempt::unsent(Outcome::Failed(error), "superseded"),
            };
            let (sent, bytes) = self.plain.messages.send(batch, &slot.producer).await;
            let abort = match lane.commit(slot, sent, update.clone()).await {
                Ok(None) => {
                    self.plain.policy.forget();
                    self.end_quarantine();
                    return Attempt::new(Outcome::Delivered, bytes, "ok");
                }
                Err(error) => return Attempt::unsent(Outcome::Failed(error), "superseded"),
                Ok(Some(abort)) => abort,
            };
            match abort.cause {
                AbortCause::Others => {}
                AbortCause::Unknown if sharing == Sharing::Shared => is_suspect = true,
                AbortCause::Own | AbortCause::Unknown => {
                    self.quarantine(abort.code);
                    let reports = reports_of(batch, &abort);
                    return Attempt::unsent(self.refused(batch, &abort, &reports), reports::status(&reports));
                }
                AbortCause::Brokers => {
                    let reason = format!("the transaction was aborted: {}", abort.code);
                    return Attempt::unsent(Outcome::retry_later(reason), format!("{:?}", abort.code));
                }
            }
        }
    }

    /// Returns the outcome of a transaction that this lane's messages aborted.
    fn refused(&self, batch: &Batch, abort: &Abort, reports: &[Report]) -> Outcome {
        let mut of_checkpoint = abort.reports.iter().filter(|(event, _)| event.is_none());
        let code = of_checkpoint.find_map(|(_, report)| report.code());
        if let Some(code) = code.filter(|code| is_refusal(*code)) {
            return Outcome::misconfigured(format!("checkpoint topic `{}`: {code}", self.checkpoint_topic));
        }
        match reports::outcome(batch, reports, None, &self.plain.policy, Instant::now()) {
            // The batch is empty: the brokers refused only the checkpoint.
            Outcome::Delivered => Outcome::retry_later(abort.code.to_string()),
            outcome => outcome,
        }
    }

    async fn check(&self) -> Result<String, ProbeResult> {
        let topic = self.plain.find_topic().await?;
        let checked = async { self.id.probe(&self.topic()?).await };
        let checkpoint_topic = checked.await.map_err(|error: Failure| ProbeResult::Failed(error.to_string()))?;
        Ok(format!("{topic}, {checkpoint_topic}"))
    }
}

impl Sink for TransactionalKafkaSink {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        self.plain.send(batch)
    }

    /// Calls of a transaction, and calls that begin a producer session, last minutes while no broker answers.
    fn stall_reason(&self) -> Option<Failure> {
        self.id.stall_reason().map(reports::failure_of_broker).or_else(|| self.plain.stall_reason())
    }

    fn probe(&self) -> BoxFuture<'_, ProbeResult> {
        async { self.check().await.map_or_else(|failed| failed, ProbeResult::Verified) }.boxed()
    }

    fn as_transactional(self: Arc<Self>) -> Option<Arc<dyn TransactionalSink>> {
        Some(self)
    }
}

#[async_trait]
impl CheckpointBackend for TransactionalKafkaSink {
    async fn load(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        let loaded = async {
            let entry = self.id.load(&self.topic()?, &self.name).await?;
            entry.map(|entry| entry.checkpoint(&self.name, IfDamaged::Refuse)).transpose()
        };
        loaded.await.map_err(|failure| state_error(key, failure))
    }

    async fn claim(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        let claimed = match self.take_over().await {
            Err(failure) if self.plain.renew(failure.kind == Unauthorized).await => self.take_over().await,
            other => other,
        };
        claimed.map_err(|failure| state_error(key, failure))
    }

    async fn commit(&self, key: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        let dropped = update.journal.released.clone();
        let committed = async { self.lane()?.save(&self.topic()?, update).await };
        committed.await.map_err(|failure| state_error(key, failure))?;
        Ok(dropped)
    }

    fn keeps_journals(&self) -> bool {
        true
    }

    async fn read_journal(&self, key: &CheckpointKey, segment: u64) -> Result<Option<Vec<u8>>, StateError> {
        let read = async { self.id.segment(&self.topic()?, &self.name, segment).await };
        read.await.map_err(|failure| state_error(key, failure))
    }
}

impl TransactionalSink for TransactionalKafkaSink {
    fn commit_batch<'a>(&'a self, batch: &'a Batch, update: CheckpointUpdate) -> BoxFuture<'a, Attempt> {
        self.transact(batch, update).boxed()
    }

    fn announce_sender(&self) -> Box<dyn Send> {
        Box::new(self.id.announce_sender())
    }
}

fn state_error(key: &CheckpointKey, failure: Failure) -> StateError {
    StateError::failed(format!("the checkpoint of lane {key} in its sink"), failure)
}

/// Returns one report per event of an aborted transaction. None of the events was delivered.
fn reports_of(batch: &Batch, abort: &Abort) -> Vec<Report> {
    let own = abort.reports.iter().any(|(_, report)| report.code().is_some_and(is_refusal));
    // If no report contains a cause, the transaction's error applies to all.
    let default = if own || !is_refusal(abort.code) { Code::PurgeQueue } else { abort.code };
    let mut reports = vec![Report::Failed(default); batch.len()];
    for (event, reported) in &abort.reports {
        let report = event.and_then(|index| reports.get_mut(index));
        if let (Some(report), Some(code)) = (report, reported.code().filter(|code| is_refusal(*code))) {
            *report = Report::Failed(code);
        }
    }
    reports
}
