//! Group commit: one producer commits the messages of several lanes in one transaction.
//!
//! A lane requests a [`TransactionSlot`] in the open transaction and puts its messages into the producer's queue. Then
//! it submits the checkpoint that covers them. The transaction commits everything or nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureRecord, Producer};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::error::{failure_of, is_fenced};
use super::{Events, Transactional, is_refusal, on_thread};
use crate::failure::Failure;

/// Time that a transaction stays open for more lanes. It closes early when all lanes that are about to send have
/// joined.
const WINDOW: Duration = Duration::from_millis(200);
/// Capacity of the queue of slot requests; further requests wait.
const WAITING: usize = 1_024;
/// Timeout of one blocking call. A retriable call is repeated.
const CALL: Duration = Duration::from_secs(10);

/// One record of a checkpoint topic.
#[derive(Debug)]
pub(crate) struct Message {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) key: String,
    /// None deletes the record of this key.
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Option<OwnedHeaders>,
}

/// Events that a lane sent, each with its index in the batch.
#[derive(Default)]
pub(crate) struct Sent {
    /// In the producer's queue.
    pub(crate) waiting: Vec<(usize, DeliveryFuture)>,
    /// librdkafka did not queue these.
    pub(crate) refused: Vec<(usize, Code)>,
}

/// The result of a transaction for one of its lanes.
#[derive(Debug)]
pub(crate) enum CommitOutcome {
    Committed,
    Aborted(Abort),
    /// The producer has failed. Only the stored checkpoint shows whether the transaction was committed.
    ProducerFailed(Failure),
}

/// An abort as reported to one of the transaction's lanes.
#[derive(Debug)]
pub(crate) struct Abort {
    /// One report per event of the lane; None for an event that arrived.
    pub(crate) reports: Vec<(usize, Option<Code>)>,
    /// The transaction's error.
    pub(crate) code: Code,
    pub(crate) cause: AbortCause,
}

/// The cause of an abort, relative to one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AbortCause {
    /// The lane's own messages or topic.
    Own,
    /// Other lanes, identified by their reports.
    Others,
    /// One of the transaction's lanes; the reports do not identify it.
    Unknown,
    /// The brokers are unavailable.
    Brokers,
}

/// Counts the lanes that are about to send. The window closes early once all of them have a slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct PendingSenders(Arc<AtomicUsize>);

/// Counts one lane until it is dropped.
#[derive(Debug)]
pub(crate) struct PendingGuard(Arc<AtomicUsize>);

impl PendingSenders {
    pub(crate) fn enter(&self) -> PendingGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        PendingGuard(self.0.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One lane's share of the open transaction. Dropping it before [`Self::commit`] aborts the transaction, since a
/// partial batch must not be committed.
pub(crate) struct TransactionSlot {
    producer: Arc<Transactional>,
    ready: oneshot::Sender<Part>,
    outcome: oneshot::Receiver<CommitOutcome>,
}

struct Part {
    sent: Sent,
    checkpoint: Vec<Message>,
}

/// Index of checkpoint records in reports.
pub(crate) const CHECKPOINT: usize = usize::MAX;

impl TransactionSlot {
    /// Queues the lane's events.
    pub(crate) fn producer(&self) -> &Transactional {
        &self.producer
    }

    /// Commits the sent events together with `checkpoint`.
    pub(crate) async fn commit(self, sent: Sent, checkpoint: Vec<Message>) -> CommitOutcome {
        let closed = || CommitOutcome::ProducerFailed(Failure::Superseded("the Kafka producer was closed".to_owned()));
        if self.ready.send(Part { sent, checkpoint }).is_err() {
            return closed();
        }
        self.outcome.await.unwrap_or_else(|_| closed())
    }
}

/// Requests slots in a group's next transaction.
#[derive(Debug, Clone)]
pub(super) struct SlotSender(mpsc::Sender<oneshot::Sender<TransactionSlot>>);

/// Does not keep the group running.
#[derive(Debug)]
pub(super) struct WeakSlotSender(mpsc::WeakSender<oneshot::Sender<TransactionSlot>>);

impl WeakSlotSender {
    pub(super) fn upgrade(&self) -> Option<SlotSender> {
        self.0.upgrade().map(SlotSender)
    }
}

impl SlotSender {
    pub(super) fn downgrade(&self) -> WeakSlotSender {
        WeakSlotSender(self.0.downgrade())
    }

    /// Waits for a slot in the next transaction. None after the group has ended.
    pub(super) async fn slot(&self) -> Option<TransactionSlot> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(sender).await.ok()?;
        receiver.await.ok()
    }
}

pub(super) struct GroupSettings {
    /// The transactional id.
    pub(super) id: String,
    pub(super) producer: Arc<Transactional>,
    pub(super) events: Events,
    pub(super) pending: PendingSenders,
    /// True for one lane per transaction.
    pub(super) alone: bool,
    /// The brokers abort an open transaction after this time.
    pub(super) timeout: Duration,
    /// The first failure of the session's two producers. It ends the session.
    pub(super) end: Arc<OnceLock<Failure>>,
}

/// Commits transactions with one producer.
pub(super) struct Group {
    settings: GroupSettings,
    requests: mpsc::Receiver<oneshot::Sender<TransactionSlot>>,
}

struct Waiting {
    part: Part,
    outcome: oneshot::Sender<CommitOutcome>,
}

enum End {
    Committed,
    Aborted(Code),
}

impl Group {
    pub(super) fn new(settings: GroupSettings) -> (Self, SlotSender) {
        let (sender, requests) = mpsc::channel(WAITING);
        (Self { settings, requests }, SlotSender(sender))
    }

    /// True after a permanent failure of one of the session's producers.
    pub(super) fn has_ended(&self) -> bool {
        self.settings.end.get().is_some()
    }

    /// Commits transactions until no sender is left.
    ///
    /// # Errors
    /// When the producer has failed permanently.
    pub(super) async fn run(&mut self) -> Result<(), Failure> {
        while let Some(first) = self.requests.recv().await {
            self.transaction(first).await?;
        }
        Ok(())
    }

    /// Commits `message` in a last transaction. A failure is ignored: other processes detect the missing heartbeat.
    pub(super) async fn release(&mut self, message: Message) {
        if !matches!(self.call(|producer| producer.begin_transaction()).await, Ok(Ok(()))) {
            return;
        }
        if self.enqueue(&message).await.is_ok() {
            let _ = self.call(|producer| producer.commit_transaction(CALL)).await;
        }
    }

    async fn transaction(&mut self, first: oneshot::Sender<TransactionSlot>) -> Result<(), Failure> {
        self.call(|producer| producer.begin_transaction()).await?.map_err(|error| self.fail(&error))?;
        let (mut parts, is_abandoned) = self.gather(first).await;
        let end = match is_abandoned {
            true => self.abort(Code::PurgeQueue).await?,
            false => {
                self.add_checkpoints(&mut parts).await;
                self.end(&parts).await?
            }
        };
        self.report(parts, end, is_abandoned).await;
        Ok(())
    }

    /// Grants slots until the window closes, then waits until all of them are ready. The flag is true when a slot was
    /// dropped.
    async fn gather(&mut self, first: oneshot::Sender<TransactionSlot>) -> (Vec<Waiting>, bool) {
        let mut joining = FuturesUnordered::new();
        let mut parts = Vec::new();
        let (mut is_abandoned, mut slots, mut is_open) = (false, 0, true);
        let deadline = Instant::now() + WINDOW;
        let mut next = Some(first);
        loop {
            while let Some(request) = next.take().or_else(|| is_open.then(|| self.requests.try_recv().ok()).flatten()) {
                let ((ready, is_ready), (outcome, decided)) = (oneshot::channel(), oneshot::channel());
                // The lane may have stopped waiting.
                if request
                    .send(TransactionSlot { producer: self.settings.producer.clone(), ready, outcome: decided })
                    .is_ok()
                {
                    slots += 1;
                    joining.push(async move { is_ready.await.ok().map(|part| Waiting { part, outcome }) });
                }
                is_open = !self.settings.alone;
            }
            // All lanes that are about to send have joined.
            if self.settings.alone || slots >= self.settings.pending.count() && joining.is_empty() {
                is_open = false;
            }
            if !is_open && joining.is_empty() {
                return (parts, is_abandoned);
            }
            tokio::select! {
                biased;
                Some(part) = joining.next(), if !joining.is_empty() => match part {
                    Some(part) => parts.push(part),
                    None => is_abandoned = true,
                },
                request = self.requests.recv(), if is_open => match request {
                    Some(request) => next = Some(request),
                    None => is_open = false,
                },
                () = sleep_until(deadline), if is_open => is_open = false,
            }
        }
    }

    async fn add_checkpoints(&self, parts: &mut [Waiting]) {
        for Part { sent, checkpoint } in parts.iter_mut().map(|waiting| &mut waiting.part) {
            for message in checkpoint.iter() {
                match self.enqueue(message).await {
                    Ok(report) => sent.waiting.push((CHECKPOINT, report)),
                    Err(code) => sent.refused.push((CHECKPOINT, code)),
                }
            }
        }
    }

    async fn enqueue(&self, message: &Message) -> Result<DeliveryFuture, Code> {
        let mut record = FutureRecord::<str, [u8]>::to(&message.topic).partition(message.partition).key(&message.key);
        record.payload = message.value.as_deref();
        record.headers = message.headers.clone();
        super::enqueue(&self.settings.producer, record).await
    }

    /// Commits. Repeats the call while the outcome is unknown, until the brokers have aborted the transaction.
    async fn end(&self, parts: &[Waiting]) -> Result<End, Failure> {
        // The transaction is incomplete without the refused message.
        if let Some((_, code)) = parts.iter().flat_map(|waiting| &waiting.part.sent.refused).next() {
            return self.abort(*code).await;
        }
        let begun = Instant::now();
        loop {
            let Err(error) = self.call(|producer| producer.commit_transaction(CALL)).await? else {
                return Ok(End::Committed);
            };
            match &error {
                RdKafkaError::Transaction(inner) if inner.is_fatal() => return Err(self.fail(&error)),
                RdKafkaError::Transaction(inner) if inner.txn_requires_abort() => {
                    return self.abort(inner.code()).await;
                }
                RdKafkaError::Transaction(inner) if inner.is_retriable() && begun.elapsed() < self.settings.timeout => {
                }
                _ => return Err(self.fail(&error)),
            }
        }
    }

    async fn abort(&self, code: Code) -> Result<End, Failure> {
        let begun = Instant::now();
        loop {
            let Err(error) = self.call(|producer| producer.abort_transaction(CALL)).await? else {
                return Ok(End::Aborted(code));
            };
            match &error {
                RdKafkaError::Transaction(inner)
                    if !inner.is_fatal() && inner.is_retriable() && begun.elapsed() < self.settings.timeout => {}
                _ => return Err(self.fail(&error)),
            }
        }
    }

    /// Makes a blocking call of the producer. If no thread is available for it, nothing can end the open transaction,
    /// so the session ends.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Transactional) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let producer = self.settings.producer.clone();
        let called = on_thread(move || call(&producer)).await;
        called.map_err(|failure| self.end_session(Failure::Superseded(failure.to_string())))
    }

    /// Ends the session after a fatal error.
    fn fail(&self, error: &RdKafkaError) -> Failure {
        let GroupSettings { id, producer, events, .. } = &self.settings;
        let fatal = producer.client().fatal_error();
        let code = fatal.as_ref().map(|(code, _)| *code).or(error.rdkafka_error_code()).unwrap_or(Code::Unknown);
        let failure = match failure_of(error, &format!("transactional id {id}"), events) {
            _ if is_fenced(code) => {
                Failure::Superseded(format!("transactional id {id} was initialised by another producer"))
            }
            Failure::Transient { reason, .. } => Failure::Superseded(fatal.map_or(reason, |(_, fatal)| fatal)),
            failure => failure,
        };
        self.end_session(failure)
    }

    /// Ends the session before its lanes receive their outcomes.
    fn end_session(&self, failure: Failure) -> Failure {
        tracing::warn!(id = self.settings.id, reason = %failure, "transactional producer failed");
        let _ = self.settings.end.set(failure.clone());
        failure
    }

    /// Sends the outcome and its cause to each lane.
    async fn report(&self, parts: Vec<Waiting>, end: End, is_abandoned: bool) {
        let code = match end {
            End::Committed => {
                for waiting in parts {
                    // The lane may have stopped waiting.
                    let _ = waiting.outcome.send(CommitOutcome::Committed);
                }
                return;
            }
            End::Aborted(code) => code,
        };
        let mut reported = Vec::new();
        for Waiting { part, outcome } in parts {
            let mut reports: Vec<_> = part.sent.refused.into_iter().map(|(index, code)| (index, Some(code))).collect();
            for (index, report) in part.sent.waiting {
                let code = match report.await {
                    Ok(Ok(_)) => None,
                    Ok(Err((error, _))) => Some(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
                    Err(_) => Some(Code::PurgeQueue),
                };
                reports.push((index, code));
            }
            reported.push((reports, outcome));
        }
        let some_arrived =
            reported.iter().any(|(reports, _)| !reports.is_empty() && reports.iter().all(|(_, code)| code.is_none()));
        let is_cause = |reports: &[(usize, Option<Code>)]| {
            let codes = reports.iter().filter_map(|(_, code)| *code);
            codes.into_iter().any(|code| is_refusal(code) || some_arrived && code == Code::MessageTimedOut)
        };
        let known = is_abandoned || reported.iter().any(|(reports, _)| is_cause(reports));
        let alone = reported.len() == 1 && !is_abandoned;
        tracing::warn!(id = self.settings.id, lanes = reported.len(), error = ?code, "a Kafka transaction was aborted");
        for (reports, outcome) in reported {
            let cause = match () {
                () if is_cause(&reports) || alone && is_refusal(code) => AbortCause::Own,
                () if known => AbortCause::Others,
                () if is_refusal(code) => AbortCause::Unknown,
                () => AbortCause::Brokers,
            };
            let _ = outcome.send(CommitOutcome::Aborted(Abort { reports, code, cause }));
        }
    }
}
