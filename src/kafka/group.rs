//! Group commit: what several lanes have to send goes out in one transaction of one producer.
//!
//! Who wants to send takes a [`Seat`] in the open transaction, hands its messages to the producer by itself, and then says
//! that it is ready, with the checkpoint that covers them. Then all of it is committed, or none.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureRecord, Producer};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::trouble::is_fenced;
use super::{Events, Transactional, Trouble, is_refusal, on_thread};

/// How long a transaction stays open for more lanes to come, unless every lane that is about to send waits for it.
const WINDOW: Duration = Duration::from_millis(200);
/// How long to wait for room in librdkafka's queue.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(20);
/// Who wants a seat and is not heard yet; the others wait before the door.
const WAITING: usize = 1_024;
/// How long one call may block before it is made again.
const CALL: Duration = Duration::from_secs(10);

/// One record of a checkpoint topic.
#[derive(Debug)]
pub(crate) struct Message {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) key: String,
    /// None removes what was under the key.
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Option<OwnedHeaders>,
}

/// Events that were handed to the producer, each with its place in the batch, and what was refused on the spot.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) waiting: Vec<(usize, DeliveryFuture)>,
    pub(crate) refused: Vec<(usize, Code)>,
}

/// What became of a transaction, for one that had a seat in it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// All of it is there.
    Committed,
    /// Nothing of it is there.
    Aborted(Abort),
    /// The producer is at its end; what became of the transaction is told by the checkpoint.
    Over(Trouble),
}

/// Why nothing was committed, as far as one seat is concerned.
#[derive(Debug)]
pub(crate) struct Abort {
    /// What became of each of its own events.
    pub(crate) reports: Vec<(usize, Option<Code>)>,
    /// The error of the transaction.
    pub(crate) code: Code,
    pub(crate) blame: Blame,
}

/// Whose fault it was that a transaction was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// This one's: its messages, or its topic.
    Own,
    /// That of others that are known.
    Others,
    /// One of those in it, and it is not known which.
    Somebody,
    /// Nobody's: brokers are away.
    Nobody,
}

/// Lanes that are about to send: a window need not stay open when all of them wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Presence(Arc<AtomicUsize>);

/// Counts for as long as it is held.
#[derive(Debug)]
pub(crate) struct Present(Arc<AtomicUsize>);

impl Presence {
    pub(crate) fn enter(&self) -> Present {
        self.0.fetch_add(1, Ordering::Relaxed);
        Present(self.0.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place in the open transaction. Dropped before it is ready, it aborts the transaction: half a batch must not be
/// committed.
pub(crate) struct Seat {
    producer: Arc<Transactional>,
    ready: oneshot::Sender<Part>,
    verdict: oneshot::Receiver<Verdict>,
}

/// What one seat has in the transaction.
struct Part {
    sent: Sent,
    checkpoint: Vec<Message>,
}

/// The place of checkpoint records in reports.
pub(crate) const CHECKPOINT: usize = usize::MAX;

impl Seat {
    /// Where events are handed to.
    pub(crate) fn producer(&self) -> &Transactional {
        &self.producer
    }

    /// Commits what was sent together with `checkpoint`.
    pub(crate) async fn commit(self, sent: Sent, checkpoint: Vec<Message>) -> Verdict {
        let over = || Verdict::Over(Trouble::Superseded("the Kafka producer was closed".to_owned()));
        if self.ready.send(Part { sent, checkpoint }).is_err() {
            return over();
        }
        self.verdict.await.unwrap_or_else(|_| over())
    }
}

/// The way to a group's next transaction.
#[derive(Debug, Clone)]
pub(super) struct Door(mpsc::Sender<oneshot::Sender<Seat>>);

/// A door that keeps nothing open.
#[derive(Debug)]
pub(super) struct WeakDoor(mpsc::WeakSender<oneshot::Sender<Seat>>);

impl WeakDoor {
    pub(super) fn upgrade(&self) -> Option<Door> {
        self.0.upgrade().map(Door)
    }
}

impl Door {
    pub(super) fn downgrade(&self) -> WeakDoor {
        WeakDoor(self.0.downgrade())
    }

    /// Waits for a place in the next transaction. None when the group is at its end.
    pub(super) async fn seat(&self) -> Option<Seat> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(sender).await.ok()?;
        receiver.await.ok()
    }
}

/// One transactional producer that was initialised.
pub(super) struct Settings {
    /// The transactional id.
    pub(super) id: String,
    pub(super) producer: Arc<Transactional>,
    pub(super) events: Events,
    pub(super) presence: Presence,
    /// One seat a transaction.
    pub(super) alone: bool,
    /// How long to wait for the end of a transaction: after this the brokers have given it up.
    pub(super) patience: Duration,
    /// Why it ended; shared with the twin. The first end is the one that counts.
    pub(super) end: Arc<OnceLock<Trouble>>,
}

/// Commits what comes through its door.
pub(super) struct Group {
    settings: Settings,
    requests: mpsc::Receiver<oneshot::Sender<Seat>>,
}

struct Waiting {
    part: Part,
    verdict: oneshot::Sender<Verdict>,
}

/// How a transaction ended.
enum End {
    Committed,
    Aborted(Code),
}

impl Group {
    pub(super) fn new(settings: Settings) -> (Self, Door) {
        let (door, requests) = mpsc::channel(WAITING);
        (Self { settings, requests }, Door(door))
    }

    /// True when it, or its twin, has failed for good.
    pub(super) fn has_ended(&self) -> bool {
        self.settings.end.get().is_some()
    }

    /// Commits what comes until nobody can come any more, or the producer fails for good: then why.
    pub(super) async fn run(&mut self) -> Result<(), Trouble> {
        while let Some(first) = self.requests.recv().await {
            self.transaction(first).await?;
        }
        Ok(())
    }

    /// One last transaction of `message` alone; where it fails, others find out by themselves.
    pub(super) async fn release(&mut self, message: Message) {
        if !matches!(self.call(|producer| producer.begin_transaction()).await, Ok(Ok(()))) {
            return;
        }
        if self.enqueue(&message).await.is_ok() {
            let _ = self.call(|producer| producer.commit_transaction(CALL)).await;
        }
    }

    async fn transaction(&mut self, first: oneshot::Sender<Seat>) -> Result<(), Trouble> {
        self.call(|producer| producer.begin_transaction()).await?.map_err(|error| self.over(&error))?;
        let (mut parts, torn) = self.gather(first).await;
        let end = match torn {
            true => self.abort(Code::PurgeQueue).await?,
            false => {
                self.add_checkpoints(&mut parts).await;
                self.end(&parts).await?
            }
        };
        self.tell(parts, end, torn).await;
        Ok(())
    }

    /// Gives seats until the window closes, and waits until all of them are ready. True when one was given up.
    async fn gather(&mut self, first: oneshot::Sender<Seat>) -> (Vec<Waiting>, bool) {
        let mut seated = FuturesUnordered::new();
        let mut parts = Vec::new();
        let (mut torn, mut seats, mut admitting) = (false, 0, true);
        let closes = Instant::now() + WINDOW;
        let mut next = Some(first);
        loop {
            while let Some(asked) = next.take().or_else(|| admitting.then(|| self.requests.try_recv().ok()).flatten()) {
                let ((ready, is_ready), (verdict, tells)) = (oneshot::channel(), oneshot::channel());
                // Whoever asked may be gone already.
                if asked.send(Seat { producer: self.settings.producer.clone(), ready, verdict: tells }).is_ok() {
                    seats += 1;
                    seated.push(async move { is_ready.await.ok().map(|part| Waiting { part, verdict }) });
                }
                admitting = !self.settings.alone;
            }
            // Every lane that is about to send waits for this transaction.
            if self.settings.alone || seats >= self.settings.presence.count() && seated.is_empty() {
                admitting = false;
            }
            if !admitting && seated.is_empty() {
                return (parts, torn);
            }
            tokio::select! {
                biased;
                Some(part) = seated.next(), if !seated.is_empty() => match part {
                    Some(part) => parts.push(part),
                    None => torn = true,
                },
                asked = self.requests.recv(), if admitting => match asked {
                    Some(asked) => next = Some(asked),
                    None => admitting = false,
                },
                () = sleep_until(closes), if admitting => admitting = false,
            }
        }
    }

    /// Hands the checkpoints to the producer.
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
        loop {
            let mut record =
                FutureRecord::<str, [u8]>::to(&message.topic).partition(message.partition).key(&message.key);
            record.payload = message.value.as_deref();
            record.headers = message.headers.clone();
            match self.settings.producer.send_result(record) {
                Ok(report) => return Ok(report),
                Err((KafkaError::MessageProduction(Code::QueueFull), _)) => sleep(QUEUE_FULL_WAIT).await,
                Err((error, _)) => return Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
            }
        }
    }

    /// Commits; an outcome that is not known is asked for again until the brokers have given the transaction up.
    async fn end(&self, parts: &[Waiting]) -> Result<End, Trouble> {
        // What was refused on the spot is missing in the transaction.
        if let Some((_, code)) = parts.iter().flat_map(|waiting| &waiting.part.sent.refused).next() {
            return self.abort(*code).await;
        }
        let begun = Instant::now();
        loop {
            let Err(error) = self.call(|producer| producer.commit_transaction(CALL)).await? else {
                return Ok(End::Committed);
            };
            match &error {
                KafkaError::Transaction(inner) if inner.is_fatal() => return Err(self.over(&error)),
                KafkaError::Transaction(inner) if inner.txn_requires_abort() => return self.abort(inner.code()).await,
                KafkaError::Transaction(inner) if inner.is_retriable() && begun.elapsed() < self.settings.patience => {}
                _ => return Err(self.over(&error)),
            }
        }
    }

    async fn abort(&self, code: Code) -> Result<End, Trouble> {
        let begun = Instant::now();
        loop {
            let Err(error) = self.call(|producer| producer.abort_transaction(CALL)).await? else {
                return Ok(End::Aborted(code));
            };
            match &error {
                KafkaError::Transaction(inner)
                    if !inner.is_fatal() && inner.is_retriable() && begun.elapsed() < self.settings.patience => {}
                _ => return Err(self.over(&error)),
            }
        }
    }

    /// A call of the producer that blocks. One for which there is no thread is its end: the transaction that is open cannot
    /// be ended by it.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Transactional) -> T + Send + 'static,
    ) -> Result<T, Trouble> {
        let producer = self.settings.producer.clone();
        let called = on_thread(move || call(&producer)).await;
        called.map_err(|trouble| self.ends(Trouble::Superseded(trouble.to_string())))
    }

    /// What an error after which there is no going on means.
    fn over(&self, error: &KafkaError) -> Trouble {
        let Settings { id, producer, events, .. } = &self.settings;
        let fatal = producer.client().fatal_error();
        let code = fatal.as_ref().map(|(code, _)| *code).or(error.rdkafka_error_code()).unwrap_or(Code::Unknown);
        let trouble = match Trouble::of(error, &format!("transactional id {id}"), events) {
            _ if is_fenced(code) => {
                Trouble::Superseded(format!("transactional id {id} was initialised by another producer"))
            }
            Trouble::Passing(reason) => Trouble::Superseded(fatal.map_or(reason, |(_, fatal)| fatal)),
            grave => grave,
        };
        self.ends(trouble)
    }

    /// The producer is of no use any more; said before those who have a seat find out.
    fn ends(&self, trouble: Trouble) -> Trouble {
        tracing::warn!(id = self.settings.id, reason = %trouble, "the transactional producer is at its end");
        let _ = self.settings.end.set(trouble.clone());
        trouble
    }

    /// Tells each what became of it, and whose fault it was.
    async fn tell(&self, parts: Vec<Waiting>, end: End, torn: bool) {
        let code = match end {
            End::Committed => {
                for waiting in parts {
                    // Whoever waited may be gone.
                    let _ = waiting.verdict.send(Verdict::Committed);
                }
                return;
            }
            End::Aborted(code) => code,
        };
        let mut told = Vec::new();
        for Waiting { part, verdict } in parts {
            let mut reports: Vec<_> = part.sent.refused.into_iter().map(|(index, code)| (index, Some(code))).collect();
            for (index, report) in part.sent.waiting {
                let code = match report.await {
                    Ok(Ok(_)) => None,
                    Ok(Err((error, _))) => Some(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
                    Err(_) => Some(Code::PurgeQueue),
                };
                reports.push((index, code));
            }
            told.push((reports, verdict));
        }
        let some_arrived =
            told.iter().any(|(reports, _)| !reports.is_empty() && reports.iter().all(|(_, code)| code.is_none()));
        let guilty = |reports: &[(usize, Option<Code>)]| {
            let codes = reports.iter().filter_map(|(_, code)| *code);
            codes.into_iter().any(|code| is_refusal(code) || some_arrived && code == Code::MessageTimedOut)
        };
        let known = torn || told.iter().any(|(reports, _)| guilty(reports));
        let alone = told.len() == 1 && !torn;
        tracing::warn!(id = self.settings.id, lanes = told.len(), error = ?code, "a Kafka transaction was aborted");
        for (reports, verdict) in told {
            let blame = match () {
                () if guilty(&reports) || alone && is_refusal(code) => Blame::Own,
                () if known => Blame::Others,
                () if is_refusal(code) => Blame::Somebody,
                () => Blame::Nobody,
            };
            let _ = verdict.send(Verdict::Aborted(Abort { reports, code, blame }));
        }
    }
}
