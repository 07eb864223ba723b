//! Group commit: one producer commits the messages of several lanes in one transaction.
//!
//! A lane requests a [`TransactionSlot`] in the open transaction and puts its messages into the producer's queue. Then
//! it submits the checkpoint that covers them. The transaction commits everything or nothing.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::connect::on_thread;
use super::error::{Class, class, code_of};
use super::send::Message;
use super::{Connect, Producer, Report, Sent, is_refusal};
use crate::failure::Failure;

/// Time that a transaction stays open for more lanes. It closes early when all lanes that are about to send have
/// joined.
const WINDOW: Duration = Duration::from_millis(200);
/// Timeout of one blocking call. A retriable call is repeated.
const CALL: Duration = Duration::from_secs(10);

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
    /// One report per message of the lane.
    pub(crate) reports: Vec<(usize, Report)>,
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

/// One lane's share of the open transaction. Dropping it before [`Self::commit`] aborts the transaction, since a
/// partial batch must not be committed.
pub(crate) struct TransactionSlot {
    producer: Arc<Producer>,
    ready: oneshot::Sender<Part>,
}

/// What a lane adds to the open transaction.
struct Part {
    sent: Sent,
    checkpoint: Vec<Message>,
    outcome: oneshot::Sender<CommitOutcome>,
}

/// Index of checkpoint records in reports.
pub(crate) const CHECKPOINT: usize = usize::MAX;

/// The failure of a lane whose group has ended.
pub(super) fn closed() -> Failure {
    Failure::Superseded("the Kafka producer was closed".to_owned())
}

impl TransactionSlot {
    /// Queues the lane's events.
    pub(crate) fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Commits the sent events together with `checkpoint`.
    pub(super) async fn commit(self, sent: Sent, checkpoint: Vec<Message>) -> CommitOutcome {
        let (outcome, decided) = oneshot::channel();
        // If the group has ended, it drops the part, and `decided` fails.
        let _ = self.ready.send(Part { sent, checkpoint, outcome });
        decided.await.unwrap_or_else(|_| CommitOutcome::ProducerFailed(closed()))
    }
}

/// A lane that waits for a slot in the next transaction.
pub(super) type SlotRequest = oneshot::Sender<TransactionSlot>;

/// Waits for a slot in the next transaction. None after the group has ended.
pub(super) async fn slot(group: &mpsc::Sender<SlotRequest>) -> Option<TransactionSlot> {
    let (sender, receiver) = oneshot::channel();
    group.send(sender).await.ok()?;
    receiver.await.ok()
}

/// Commits transactions with one producer.
pub(super) struct Group {
    /// The transactional id.
    pub(super) id: String,
    pub(super) producer: Arc<Producer>,
    pub(super) connect: Connect,
    /// One reference for each lane that is about to send. The window closes early once all of them have a slot. None
    /// for one lane per transaction.
    pub(super) senders: Option<Weak<()>>,
    /// The brokers abort an open transaction after this time.
    pub(super) timeout: Duration,
    /// The first failure of the session's two producers. It ends the session.
    pub(super) end: Arc<OnceLock<Failure>>,
    pub(super) requests: mpsc::Receiver<SlotRequest>,
}

impl Group {
    /// True after a permanent failure of one of the session's producers.
    pub(super) fn has_ended(&self) -> bool {
        self.end.get().is_some()
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
        if matches!(self.call(|producer| producer.begin_transaction()).await, Ok(Ok(()))) {
            Sent::default().send_message(&self.producer, CHECKPOINT, &message).await;
            let _ = self.call(|producer| producer.commit_transaction(CALL)).await;
        }
    }

    async fn transaction(&mut self, first: SlotRequest) -> Result<(), Failure> {
        self.call(|producer| producer.begin_transaction()).await?.map_err(|error| self.fail(&error))?;
        let (mut parts, is_abandoned) = self.gather(first).await;
        let aborted = match is_abandoned {
            true => self.abort(Code::PurgeQueue).await?,
            false => self.commit(&mut parts).await?,
        };
        match aborted {
            Some(code) => self.report_abort(parts, code, is_abandoned).await,
            None => {
                for part in parts {
                    // The lane may have stopped waiting.
                    let _ = part.outcome.send(CommitOutcome::Committed);
                }
            }
        }
        Ok(())
    }

    /// Grants slots until the window closes, then waits until all of them are ready. The flag is true when a slot was
    /// dropped.
    async fn gather(&mut self, first: SlotRequest) -> (Vec<Part>, bool) {
        let mut joining = FuturesUnordered::new();
        let mut parts = Vec::new();
        let (mut is_abandoned, mut slots, mut is_open) = (false, 0, true);
        let deadline = Instant::now() + WINDOW;
        let mut next = Some(first);
        loop {
            while let Some(request) = next.take().or_else(|| is_open.then(|| self.requests.try_recv().ok()).flatten()) {
                let (ready, part) = oneshot::channel();
                // The lane may have stopped waiting.
                if request.send(TransactionSlot { producer: self.producer.clone(), ready }).is_ok() {
                    slots += 1;
                    joining.push(part);
                }
                is_open = self.senders.is_some();
            }
            // All lanes that are about to send have joined.
            let pending = self.senders.as_ref().map_or(0, Weak::strong_count);
            if self.senders.is_none() || slots >= pending.saturating_sub(1) && joining.is_empty() {
                is_open = false;
            }
            if !is_open && joining.is_empty() {
                return (parts, is_abandoned);
            }
            tokio::select! {
                biased;
                Some(part) = joining.next(), if !joining.is_empty() => match part {
                    Ok(part) => parts.push(part),
                    Err(_) => is_abandoned = true,
                },
                request = self.requests.recv(), if is_open => match request {
                    Some(request) => next = Some(request),
                    None => is_open = false,
                },
                () = sleep_until(deadline), if is_open => is_open = false,
            }
        }
    }

    /// Adds the checkpoints and commits. Repeats the call while the outcome is unknown, until the brokers have aborted
    /// the transaction. Returns the error of an aborted transaction.
    async fn commit(&self, parts: &mut [Part]) -> Result<Option<Code>, Failure> {
        for Part { sent, checkpoint, .. } in parts.iter_mut() {
            for message in checkpoint.iter() {
                sent.send_message(&self.producer, CHECKPOINT, message).await;
            }
        }
        // The transaction is incomplete without the refused message.
        if let Some(code) = parts.iter().find_map(|part| part.sent.refusal()) {
            return self.abort(code).await;
        }
        let begun = Instant::now();
        loop {
            let Err(error) = self.call(|producer| producer.commit_transaction(CALL)).await? else { return Ok(None) };
            match &error {
                RdKafkaError::Transaction(inner) if !inner.is_fatal() && inner.txn_requires_abort() => {
                    return self.abort(inner.code()).await;
                }
                error if self.may_repeat(error, begun) => {}
                _ => return Err(self.fail(&error)),
            }
        }
    }

    async fn abort(&self, code: Code) -> Result<Option<Code>, Failure> {
        let begun = Instant::now();
        loop {
            let Err(error) = self.call(|producer| producer.abort_transaction(CALL)).await? else {
                return Ok(Some(code));
            };
            if !self.may_repeat(&error, begun) {
                return Err(self.fail(&error));
            }
        }
    }

    fn may_repeat(&self, error: &RdKafkaError, begun: Instant) -> bool {
        matches!(error, RdKafkaError::Transaction(inner) if !inner.is_fatal() && inner.is_retriable())
            && begun.elapsed() < self.timeout
    }

    /// Makes a blocking call of the producer. If no thread is available for it, nothing can end the open transaction,
    /// so the session ends.
    async fn call<T: Send + 'static>(&self, call: impl FnOnce(&Producer) -> T + Send + 'static) -> Result<T, Failure> {
        let producer = self.producer.clone();
        let called = on_thread(move || call(&producer)).await;
        called.map_err(|failure| self.end_session(Failure::Superseded(failure.to_string())))
    }

    /// Ends the session after a fatal error.
    fn fail(&self, error: &RdKafkaError) -> Failure {
        let id = &self.id;
        let fatal = self.producer.client().fatal_error();
        let code = fatal.as_ref().map_or(code_of(error), |(code, _)| *code);
        let failure = match self.connect.failure(error, &format!("transactional id {id}")) {
            _ if class(code) == Class::Fenced => {
                Failure::Superseded(format!("transactional id {id} was initialised by another producer"))
            }
            Failure::Transient { reason, .. } => Failure::Superseded(fatal.map_or(reason, |(_, fatal)| fatal)),
            failure => failure,
        };
        self.end_session(failure)
    }

    /// Ends the session before its lanes receive their outcomes.
    fn end_session(&self, failure: Failure) -> Failure {
        tracing::warn!(id = self.id, reason = %failure, "transactional producer failed");
        let _ = self.end.set(failure.clone());
        failure
    }

    /// Reports to each lane what the cause of the abort was.
    async fn report_abort(&self, parts: Vec<Part>, code: Code, is_abandoned: bool) {
        let mut reported = Vec::new();
        for Part { sent, outcome, .. } in parts {
            reported.push((sent.reports().await, outcome));
        }
        let all_arrived = |reports: &[(usize, Report)]| {
            !reports.is_empty() && reports.iter().all(|(_, report)| *report == Report::Delivered)
        };
        let some_arrived = reported.iter().any(|(reports, _)| all_arrived(reports));
        let is_cause = |reports: &[(usize, Report)]| {
            let mut codes = reports.iter().filter_map(|(_, report)| report.code());
            codes.any(|code| is_refusal(code) || some_arrived && code == Code::MessageTimedOut)
        };
        let known = is_abandoned || reported.iter().any(|(reports, _)| is_cause(reports));
        let alone = reported.len() == 1 && !is_abandoned;
        tracing::warn!(id = self.id, lanes = reported.len(), error = ?code, "a Kafka transaction was aborted");
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
