//! Group commit: one producer commits the messages of several lanes in one transaction.
//!
//! A lane requests a [`TransactionSlot`] in the open transaction and puts its messages into the producer's queue. Then
//! it submits the checkpoint that covers them. The transaction commits everything or nothing.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer as _;
use s1_forwarder_failure::{Failure, FailureKind};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::client_settings::on_thread;
use super::end_txn::EndTxn;
use super::error::{Class, class, code_of};
use super::roles::{Roles, Sharing};
use super::send::Message;
use super::{ClientSettings, Producer, Report, Sent, is_refusal};

/// Time that a transaction stays open for more lanes. It closes early when all lanes that are about to send have
/// joined.
const WINDOW: Duration = Duration::from_millis(200);
/// Timeout of one blocking call. A retriable call is repeated.
const CALL: Duration = Duration::from_secs(1);
/// Timeout of the last transaction, which is not repeated.
const RELEASE: Duration = Duration::from_secs(10);

/// The result of a transaction for one of its lanes: an abort, or none after a commit. It is an error if the producer
/// has failed. Then only the stored checkpoint shows whether the transaction was committed.
pub type CommitOutcome = Result<Option<Abort>, Failure>;

/// An abort as reported to one of the transaction's lanes.
#[derive(Debug)]
pub struct Abort {
    /// One report per message of the lane, each with the index of its event in the batch; `None` for records of the
    /// checkpoint.
    pub reports: Vec<(Option<usize>, Report)>,
    /// The transaction's error.
    pub code: Code,
    pub cause: AbortCause,
}

/// The cause of an abort, relative to one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortCause {
    /// The lane's own messages or topic.
    Own,
    /// Other lanes, identified by their reports.
    Others,
    /// A lane of the transaction that the reports do not identify.
    Unknown,
    /// The brokers are unavailable.
    Brokers,
}

/// One lane's share of the open transaction. Dropping it before [`Self::commit`] aborts the transaction, since a
/// partial batch must not be committed.
pub struct TransactionSlot {
    /// Queues the lane's events.
    pub producer: Producer,
    ready: oneshot::Sender<LaneCommit>,
}

/// What one lane adds to a transaction.
struct LaneCommit {
    sent: Sent,
    checkpoint: Vec<Message>,
    outcome: oneshot::Sender<Option<Abort>>,
}

/// Returns the failure of a lane whose producer has ended.
pub(super) fn closed() -> Failure {
    Failure::superseded("the Kafka producer was closed")
}

impl TransactionSlot {
    /// Commits the sent events together with `checkpoint`.
    pub(super) async fn commit(self, sent: Sent, checkpoint: Vec<Message>) -> CommitOutcome {
        let (outcome, decided) = oneshot::channel();
        // A producer that has ended drops the commit, and `decided` fails.
        let _ = self.ready.send(LaneCommit { sent, checkpoint, outcome });
        decided.await.map_err(|_| closed())
    }
}

/// A lane that waits for a slot in a transaction.
pub(super) struct SlotRequest {
    pub(super) sharing: Sharing,
    /// Dropped if the request is for the other producer.
    pub(super) grant: oneshot::Sender<TransactionSlot>,
}

impl SlotRequest {
    /// Returns whether the request is for a producer that lanes share, or do not share.
    fn is_for(&self, is_shared: bool) -> bool {
        is_shared == (self.sharing == Sharing::Shared)
    }
}

fn is_retriable(error: &RdKafkaError) -> bool {
    match error {
        // Messages are still under way. The last report comes at the message timeout.
        RdKafkaError::Flush(code) => *code == Code::OperationTimedOut,
        RdKafkaError::Transaction(inner) => !inner.is_fatal() && inner.is_retriable(),
        _ => false,
    }
}

/// Commits the transactions of one transactional id.
pub(super) struct TransactionalProducer {
    /// The transactional id.
    pub(super) id: String,
    pub(super) producer: Producer,
    pub(super) end_txn: EndTxn,
    pub(super) client_settings: ClientSettings,
    /// One reference for each lane that is about to send. The window closes early once all of them have a slot.
    pub(super) senders: Weak<()>,
    /// Index of this producer in the session, whose producers may change roles.
    pub(super) index: usize,
    pub(super) roles: Arc<Roles>,
    /// Time after which the brokers abort an open transaction.
    pub(super) timeout: Duration,
    /// The first failure of the session's two producers. It ends the session.
    pub(super) end: Arc<OnceLock<Failure>>,
    pub(super) requests: mpsc::Receiver<SlotRequest>,
    /// Requests that arrived while a transaction was aborted.
    pub(super) waiting: VecDeque<SlotRequest>,
}

impl TransactionalProducer {
    /// Returns whether lanes share this producer's transactions. Otherwise, it commits one lane per transaction.
    pub(super) fn is_shared(&self) -> bool {
        self.roles.is_shared(self.index)
    }

    /// Returns whether one of the session's producers has failed permanently.
    pub(super) fn has_session_ended(&self) -> bool {
        self.end.get().is_some()
    }

    /// Commits transactions until no sender is left.
    ///
    /// # Errors
    /// If the producer has failed permanently.
    pub(super) async fn run(&mut self) -> Result<(), Failure> {
        while let Some(first) = self.next_request().await {
            let is_committed = self.transaction(first).await?;
            // A late copy of the request would end the next transaction.
            if let Some(reason) = self.end_txn.repeated(is_committed).await {
                return Err(self.end_session(Failure::superseded(reason)));
            }
        }
        Ok(())
    }

    async fn next_request(&mut self) -> Option<SlotRequest> {
        loop {
            let request = match self.waiting.pop_front() {
                Some(request) => request,
                None => self.requests.recv().await?,
            };
            // The lane of a dropped request asks the other producer.
            if request.is_for(self.is_shared()) {
                return Some(request);
            }
        }
    }

    /// Commits `message` in a last transaction. A failure is ignored: other processes detect the missing heartbeat.
    pub(super) async fn release(&mut self, message: Message) {
        if matches!(self.call(|producer| producer.begin_transaction()).await, Ok(Ok(()))) {
            Sent::default().send_message(&self.producer, &message).await;
            let _ = self.call(|producer| producer.commit_transaction(RELEASE)).await;
        }
    }

    /// Returns true if the transaction was committed and had messages.
    async fn transaction(&mut self, first: SlotRequest) -> Result<bool, Failure> {
        self.call(|producer| producer.begin_transaction()).await?.map_err(|error| self.fail(&error))?;
        let is_shared = self.is_shared();
        let (mut commits, is_abandoned) = self.gather(first, is_shared).await;
        self.end_txn.start();
        let aborted = if is_abandoned { Some(Code::PurgeQueue) } else { self.commit(&mut commits).await? };
        if let Some(code) = aborted {
            self.abort(commits, code, is_abandoned).await?;
            return Ok(false);
        }
        let has_messages = commits.iter().any(|commit| !commit.checkpoint.is_empty());
        if has_messages {
            self.end_txn.committed();
        }
        self.client_settings.events.forget();
        self.roles.committed(self.index);
        for commit in commits {
            // The lane may have stopped waiting.
            let _ = commit.outcome.send(None);
        }
        Ok(has_messages)
    }

    /// Grants slots until the window closes, then waits until all of them are ready. The flag is true when a slot was
    /// dropped.
    async fn gather(&mut self, first: SlotRequest, is_shared: bool) -> (Vec<LaneCommit>, bool) {
        let mut joining = FuturesUnordered::new();
        let mut commits = Vec::new();
        let mut is_abandoned = false;
        let mut slots = 0;
        let mut is_open = true;
        let deadline = Instant::now() + WINDOW;
        let mut next = Some(first);
        loop {
            while let Some(request) = next.take().or_else(|| is_open.then(|| self.requests.try_recv().ok()).flatten()) {
                let (ready, commit) = oneshot::channel();
                let slot = TransactionSlot { producer: self.producer.clone(), ready };
                // The lane of a dropped request asks the other producer. Other lanes may have stopped waiting.
                if request.is_for(is_shared) && request.grant.send(slot).is_ok() {
                    slots += 1;
                    joining.push(commit);
                }
                is_open = is_shared;
            }
            // All lanes that are about to send have joined.
            if !is_shared || slots >= self.senders.strong_count().saturating_sub(1) && joining.is_empty() {
                is_open = false;
            }
            if !is_open && joining.is_empty() {
                return (commits, is_abandoned);
            }
            tokio::select! {
                biased;
                Some(commit) = joining.next(), if !joining.is_empty() => match commit {
                    Ok(commit) => commits.push(commit),
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
    /// the transaction. Returns the error of a transaction that has to be aborted.
    async fn commit(&mut self, commits: &mut [LaneCommit]) -> Result<Option<Code>, Failure> {
        for LaneCommit { sent, checkpoint, .. } in commits.iter_mut() {
            for message in checkpoint.iter() {
                sent.send_message(&self.producer, message).await;
            }
        }
        let started_at = Instant::now();
        loop {
            // The transaction is incomplete without a refused message, and librdkafka sends no others after it.
            if let Some(code) = commits.iter_mut().find_map(|commit| commit.sent.failure()) {
                // An abort drops requests on the wire. If the brokers store one after it, sequence numbers are missing,
                // and they refuse the next transaction.
                let _ = self.call(|producer| producer.flush(CALL)).await?;
                return Ok(Some(code));
            }
            let flushed = self.call(|producer| producer.flush(CALL)).await?;
            let committed = match flushed {
                Ok(()) => self.end(|producer| producer.commit_transaction(CALL)).await?,
                failed => failed,
            };
            let Err(error) = committed else { return Ok(None) };
            match &error {
                RdKafkaError::Transaction(inner) if !inner.is_fatal() && inner.txn_requires_abort() => {
                    return Ok(Some(inner.code()));
                }
                error if is_retriable(error) && started_at.elapsed() < self.timeout => {}
                _ => return Err(self.fail(&error)),
            }
        }
    }

    /// Aborts the transaction. Its lanes get their outcomes first if the abort takes long: nothing can commit it any
    /// more. The brokers do not end a transaction while one of its partitions is unavailable, and accept no other
    /// messages under this id until then. So the producers change roles when messages were not acknowledged in time,
    /// and the lanes continue with the other producer.
    async fn abort(&mut self, commits: Vec<LaneCommit>, code: Code, is_abandoned: bool) -> Result<(), Failure> {
        let started_at = Instant::now();
        let mut is_aborted = self.abort_once(started_at).await?;
        if self.report_abort(commits, code, is_abandoned).await {
            self.roles.retire(self.index);
        }
        while !is_aborted {
            if self.requests.is_closed() || self.has_session_ended() {
                return Err(closed());
            }
            // The lanes of dropped requests ask the other producer.
            let is_shared = self.is_shared();
            let arrived = std::iter::from_fn(|| self.requests.try_recv().ok());
            self.waiting.extend(arrived.filter(|request| request.is_for(is_shared)));
            is_aborted = self.abort_once(started_at).await?;
        }
        Ok(())
    }

    /// Returns false if the brokers have not ended the transaction yet.
    async fn abort_once(&mut self, started_at: Instant) -> Result<bool, Failure> {
        match self.end(|producer| producer.abort_transaction(CALL)).await? {
            Ok(()) => Ok(true),
            Err(error) if is_retriable(&error) && !(self.is_shared() && started_at.elapsed() >= self.timeout) => {
                Ok(false)
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    /// Makes a call that ends the transaction.
    async fn end(
        &mut self,
        call: impl FnOnce(&Producer) -> Result<(), RdKafkaError> + Send + 'static,
    ) -> Result<Result<(), RdKafkaError>, Failure> {
        // The time is measured on the call's thread, since the runtime may be busy.
        let timed = |producer: &Producer| {
            let started_at = Instant::now();
            (call(producer), started_at.elapsed())
        };
        let (ended, took) = self.call(timed).await?;
        self.end_txn.called(took);
        Ok(ended)
    }

    /// Makes a blocking call of the producer. If no thread is available for it, nothing can end the open transaction,
    /// so the session ends.
    async fn call<T: Send + 'static>(&self, call: impl FnOnce(&Producer) -> T + Send + 'static) -> Result<T, Failure> {
        let producer = self.producer.clone();
        let called = on_thread(move || call(&producer)).await;
        called.map_err(|failure| self.end_session(Failure::superseded(failure.to_string())))
    }

    /// Ends the session after a fatal error.
    fn fail(&self, error: &RdKafkaError) -> Failure {
        let id = &self.id;
        let fatal = self.producer.client().fatal_error();
        let code = fatal.as_ref().map_or(code_of(error), |(code, _)| *code);
        let failure = match self.client_settings.failure(error, &format!("transactional id {id}")) {
            _ if class(code) == Class::Fenced => {
                Failure::superseded(format!("transactional id {id} was initialised by another producer"))
            }
            Failure { kind: FailureKind::Transient, reason, .. } => {
                Failure::superseded(fatal.map_or(reason, |(_, fatal)| fatal))
            }
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

    /// Reports the cause of the abort to each lane. Returns true if messages were not acknowledged in time.
    async fn report_abort(&self, commits: Vec<LaneCommit>, code: Code, is_abandoned: bool) -> bool {
        let mut reported = Vec::new();
        for LaneCommit { sent, outcome, .. } in commits {
            reported.push((sent.reports().await, outcome));
        }
        let all = || reported.iter().flat_map(|(reports, _)| reports);
        // Checkpoints are sent last. If one arrived, the brokers are available.
        let some_arrived = all().any(|(event, report)| event.is_none() && *report == Report::Delivered);
        let is_late = |code| code == Code::MessageTimedOut;
        let some_late = all().any(|(_, report)| report.code().is_some_and(is_late));
        let is_cause = |(_, report): &(Option<usize>, Report)| {
            report.code().is_some_and(|code| is_refusal(code) || some_arrived && is_late(code))
        };
        let known = is_abandoned || all().any(is_cause);
        let alone = reported.len() == 1 && !is_abandoned;
        tracing::warn!(id = self.id, lanes = reported.len(), error = ?code, "a Kafka transaction was aborted");
        for (reports, outcome) in reported {
            let cause = match () {
                () if reports.iter().any(is_cause) || alone && is_refusal(code) => AbortCause::Own,
                () if known => AbortCause::Others,
                () if is_refusal(code) => AbortCause::Unknown,
                () => AbortCause::Brokers,
            };
            let _ = outcome.send(Some(Abort { reports, code, cause }));
        }
        some_late
    }
}
