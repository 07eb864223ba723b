//! One transactional id: the lanes that commit under it, and their takeover from other ids.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::group::{CommitOutcome, Message, PendingGuard, PendingSenders, Sent, TransactionSlot};
use super::process::{PROCESS, ProcessIds};
use super::record::{Entry, JournalIndex, KeyFilter, TopicSnapshot, claim_key, journal_messages, segment_key};
use super::session::{Session, Start, fence};
use super::{Connect, on_thread};
use crate::checkpoint::{Append, CheckpointUpdate, JournalChange};
use crate::failure::Failure;

/// A read waits this long for more requests, so lanes that start together share one read of the topic.
const COALESCE: Duration = Duration::from_millis(20);
/// Capacity of the queue of read requests; further requests wait.
const REQUEST_CAPACITY: usize = 1_024;
/// After this process lost an id, it leaves the new holder this much time for a claim.
const AFTER_LOSS: Duration = Duration::from_secs(3);
/// Lanes that request a session within this time after a failed attempt get the same failure.
const SHARED_FAILURE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct TransactionalId {
    id: String,
    /// The checkpoint topic.
    topic: String,
    process: Arc<ProcessIds>,
    pending: PendingSenders,
    /// Locked while the id is initialised.
    current: tokio::sync::Mutex<Current>,
    open: Mutex<Option<Arc<Session>>>,
    reads: OnceCell<mpsc::Sender<ReadRequest>>,
    fences: tokio::sync::Mutex<Option<(String, Instant)>>,
}

#[derive(Debug, Default)]
struct Current {
    /// The last failed attempt and its start.
    failed: Option<(Instant, Failure)>,
}

/// A request to read the topic.
#[derive(Debug)]
struct ReadRequest {
    filter: KeyFilter,
    connect: Connect,
    reply: oneshot::Sender<Result<Arc<TopicSnapshot>, Failure>>,
}

/// A lane that this process owns in one session.
#[derive(Debug)]
pub(crate) struct Lane {
    owner: Arc<TransactionalId>,
    session: Arc<Session>,
    name: String,
    /// The process that wrote the lane's last record before the takeover.
    writer: Option<String>,
    last: Mutex<Last>,
    journal: Mutex<JournalIndex>,
}

/// The lane's newest record.
#[derive(Debug, Clone, Copy)]
struct Last {
    sequence: u64,
    chunks: usize,
    /// True if the record names this id, so no other process may write the next one.
    ours: bool,
}

/// For a lane without records.
const NO_RECORD: Last = Last { sequence: 0, chunks: 0, ours: false };

impl TransactionalId {
    pub(super) fn new(process: Arc<ProcessIds>, id: String, topic: String) -> Self {
        Self {
            id,
            topic,
            process,
            pending: PendingSenders::default(),
            current: tokio::sync::Mutex::default(),
            open: Mutex::new(None),
            reads: OnceCell::new(),
            fences: tokio::sync::Mutex::default(),
        }
    }

    /// Counts a lane that is about to send until the guard is dropped.
    pub(crate) fn enter(&self) -> PendingGuard {
        self.pending.enter()
    }

    pub(super) fn is_open(&self) -> bool {
        self.open_session().is_some()
    }

    /// Takes the lane over and reads its checkpoint. Invalidates an earlier [`Lane`] of this name.
    ///
    /// # Errors
    /// When the brokers fail or refuse, or another process holds the lane. The text names that process.
    pub(crate) async fn open(
        self: &Arc<Self>,
        connect: &Connect,
        lane: &str,
    ) -> Result<(Lane, Option<Vec<u8>>), Failure> {
        let session = self.session(connect).await?;
        let read = self.read(connect, &[lane], &[]).await?;
        let (mut found, mut journal) = (read.lane(lane)?, read.journal_index(lane));
        loop {
            let last =
                |entry: &Entry| Last { sequence: entry.sequence, chunks: entry.chunks, ours: entry.owner == self.id };
            let lane_now = Lane {
                owner: self.clone(),
                session: session.clone(),
                name: lane.to_owned(),
                writer: found.as_ref().map(|entry| entry.process.clone()),
                last: Mutex::new(found.as_ref().map_or(NO_RECORD, last)),
                journal: Mutex::new(journal),
            };
            let Some(entry) = found else { return Ok((lane_now, None)) };
            if entry.owner == self.id {
                self.process.hold(lane);
                return Ok((lane_now, Some(entry.checkpoint)));
            }
            found = self.take_over(connect, lane_now, entry).await?;
            // The last owner may have written to the journal until it was fenced.
            journal = self.read(connect, &[lane], &[]).await?.journal_index(lane);
        }
    }

    /// Takes over a lane whose last record names another id. Returns the newest record. It names this id unless another
    /// process was faster.
    async fn take_over(&self, connect: &Connect, lane: Lane, entry: Entry) -> Result<Option<Entry>, Failure> {
        let (name, before) = (lane.name.clone(), entry.owner.clone());
        if let Some(session) = self.process.session(&before) {
            // This process holds that id too. Fencing it would stop its other lanes. Instead, its producer commits a
            // record that names this id as the next writer.
            tracing::info!(from = before, to = self.id, "the lane changes its transactional id");
            lane.hand_over(&session, entry.checkpoint).await?;
            return self.read(connect, &[&name], &[]).await?.lane(&name);
        }
        if self.process.has_held(&name) {
            let found = self.read(connect, &[&name], &[&before]).await?;
            if let Some(process) = self.process.holder(&before, found.claim(&before)) {
                return Err(fenced(&name, &process));
            }
        }
        tracing::info!(from = before, process = entry.process, to = self.id, "the lane is taken over");
        self.fence(connect, &before).await?;
        let Some(entry) = self.read(connect, &[&name], &[]).await?.lane(&name)? else { return Ok(None) };
        if entry.owner != before {
            return Ok(Some(entry));
        }
        // The first record under this id has a separate transaction. Then the old id is fenced again: a producer that
        // raced with the first fence could have committed without this record.
        lane.follows(&entry);
        lane.commit_alone(entry.checkpoint.into()).await?;
        self.fence(connect, &before).await?;
        self.read(connect, &[&name], &[]).await?.lane(&name)
    }

    /// Removes a lane's checkpoint and journal. False if there is no checkpoint.
    pub(crate) async fn remove(self: &Arc<Self>, connect: &Connect, lane: &str) -> Result<bool, Failure> {
        let (opened, checkpoint) = self.open(connect, lane).await?;
        if checkpoint.is_none() {
            return Ok(false);
        }
        let last = opened.last();
        let (topic, partitions) = (&self.topic, opened.session.partitions);
        let mut messages = Entry::removal(topic, partitions, lane, (last.sequence, last.chunks));
        let journal = opened.journal.lock().clone();
        let dropped = journal.iter().map(|(segment, _)| *segment).collect();
        let change = JournalChange { appends: Vec::new(), dropped };
        messages.extend(journal_messages(topic, partitions, lane, journal, change).0);
        opened.committed(opened.session.main.slot().await, messages).await?;
        Ok(true)
    }

    /// Creates the topic if it does not exist. Initialises no id.
    pub(crate) async fn prepare(&self, connect: &Connect) -> Result<(), Failure> {
        super::topic::ensure(connect, &connect.events(), &self.topic, super::topic::CHECKPOINTS).await.map(drop)
    }

    /// Returns the names of all lanes with a checkpoint.
    pub(crate) async fn all(&self, connect: &Connect) -> Result<Vec<String>, Failure> {
        Ok(self.request(connect, KeyFilter::All).await?.lanes.keys().cloned().collect())
    }

    /// Reads a lane's checkpoint. Does not take the lane over.
    pub(crate) async fn load(&self, connect: &Connect, lane: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.read(connect, &[lane], &[]).await?.lane(lane)?.map(|entry| entry.checkpoint))
    }

    pub(crate) async fn segment(
        &self,
        connect: &Connect,
        lane: &str,
        segment: u64,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let key = segment_key(lane, segment);
        Ok(self.read(connect, &[&key], &[]).await?.segment(&key))
    }

    /// Reads all segments of a lane's journal.
    pub(crate) async fn journal(&self, connect: &Connect, lane: &str) -> Result<Vec<Append>, Failure> {
        let journal = self.read(connect, &[lane], &[]).await?.journal_index(lane);
        let segments: BTreeSet<u64> = journal.into_iter().map(|(segment, _)| segment).collect();
        let keys: Vec<String> = segments.iter().map(|segment| segment_key(lane, *segment)).collect();
        let found = self.read(connect, &keys.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await?;
        let bytes = keys.iter().filter_map(|key| found.segment(key));
        Ok(segments.into_iter().zip(bytes).map(|(segment, bytes)| Append { segment, offset: 0, bytes }).collect())
    }

    /// Releases the id once its last lane has ended.
    pub(crate) fn close(&self) {
        *self.open.lock() = None;
    }

    /// Returns the open session, or starts a new one.
    async fn session(self: &Arc<Self>, connect: &Connect) -> Result<Arc<Session>, Failure> {
        let requested_at = Instant::now();
        let mut current = self.current.lock().await;
        let ended = match self.open_session() {
            Some(session) => match session.end() {
                None => return Ok(session),
                Some(end) => Some(end),
            },
            None => None,
        };
        if let Some((began, failure)) =
            current.failed.clone().filter(|(began, _)| *began >= requested_at || began.elapsed() < SHARED_FAILURE)
        {
            tracing::debug!(id = self.id, ?began, "another lane's attempt has just failed");
            return Err(failure);
        }
        let began = Instant::now();
        *self.open.lock() = None;
        match self.initialise(connect, ended).await {
            Ok(session) => {
                current.failed = None;
                let session = Arc::new(session);
                self.process.opened(&self.id, &session);
                *self.open.lock() = Some(session.clone());
                Ok(session)
            }
            Err(failure) => {
                current.failed = Some((began, failure.clone()));
                Err(failure)
            }
        }
    }

    async fn initialise(&self, connect: &Connect, ended: Option<Failure>) -> Result<Session, Failure> {
        if self.process.has_held(&self.id) {
            if ended.is_some() {
                sleep(AFTER_LOSS).await;
            }
            // A new holder keeps the id.
            let found = self.read(connect, &[], &[&self.id]).await?;
            if let Some(process) = self.process.holder(&self.id, found.claim(&self.id)) {
                return Err(fenced(&format!("transactional id {}", self.id), &process));
            }
        }
        let (id, topic, process) = (self.id.as_str(), self.topic.as_str(), PROCESS.as_str());
        let start = Start { id, topic, process, pending: &self.pending, tasks: &self.process.tasks };
        Session::start(connect, &connect.events(), start).await
    }

    fn open_session(&self) -> Option<Arc<Session>> {
        self.open.lock().clone()
    }

    /// Fences an id of another process. Lanes that are taken over together share one call.
    async fn fence(&self, connect: &Connect, id: &str) -> Result<(), Failure> {
        let requested_at = Instant::now();
        let mut last = self.fences.lock().await;
        if last.as_ref().is_some_and(|(fenced, began)| fenced == id && *began >= requested_at) {
            return Ok(());
        }
        let began = Instant::now();
        fence(connect, id).await?;
        *last = Some((id.to_owned(), began));
        Ok(())
    }

    /// Reads the records of these lanes and ids. The result is newer than the call.
    async fn read(&self, connect: &Connect, lanes: &[&str], ids: &[&str]) -> Result<Arc<TopicSnapshot>, Failure> {
        let lanes = lanes.iter().map(|lane| (*lane).to_owned());
        let keys = lanes.chain(ids.iter().map(|id| claim_key(id)));
        self.request(connect, KeyFilter::Keys(keys.collect())).await
    }

    async fn request(&self, connect: &Connect, filter: KeyFilter) -> Result<Arc<TopicSnapshot>, Failure> {
        let (reply, answer) = oneshot::channel();
        let reads = self.reads.get_or_init(|| async {
            let (reads, requests) = mpsc::channel(REQUEST_CAPACITY);
            tokio::spawn(read_for_all(self.topic.clone(), requests));
            reads
        });
        let ended = || Failure::transient("the task that reads checkpoints ended".to_owned());
        reads.await.send(ReadRequest { filter, connect: connect.clone(), reply }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// Serves read requests. A request that arrives during a read waits for the next read, since a result must be newer
/// than its request.
async fn read_for_all(topic: String, mut requests: mpsc::Receiver<ReadRequest>) {
    while let Some(first) = requests.recv().await {
        sleep(COALESCE).await;
        let mut batch = vec![first];
        while let Ok(request) = requests.try_recv() {
            batch.push(request);
        }
        let filter = batch.iter().fold(KeyFilter::Keys(HashSet::new()), |all, request| all.union(&request.filter));
        let (connect, topic) = (batch[0].connect.clone(), topic.clone());
        let events = connect.events();
        let found = on_thread(move || super::topic::read(&connect, &events, &topic, filter)).await;
        let found = found.flatten().map(Arc::new);
        for request in batch {
            // The lane may have stopped waiting.
            let _ = request.reply.send(found.clone());
        }
    }
}

fn fenced(what: &str, process: &str) -> Failure {
    Failure::transient(format!(
        "{what} was taken over by another process, {process}: this process waits until that one has ended"
    ))
}

impl Lane {
    /// Returns the failure after which the lane has to be opened again. Every end of its session counts: the next
    /// session finds out whether the brokers still refuse.
    pub(crate) fn superseded(&self) -> Option<Failure> {
        self.session.end().map(|end| Failure::Superseded(end.to_string()))
    }

    /// The process that wrote the lane's last record before the takeover.
    pub(crate) fn writer(&self) -> Option<String> {
        self.writer.clone()
    }

    /// The sequence number of the lane's last known record.
    pub(crate) fn sequence(&self) -> u64 {
        self.last().sequence
    }

    /// Waits for a slot in the next transaction. Other lanes share the transaction unless `alone` is true.
    pub(crate) async fn slot(&self, alone: bool) -> Result<TransactionSlot, Failure> {
        let sender = if alone { &self.session.quarantine } else { &self.session.main };
        match self.superseded() {
            Some(end) => Err(end),
            None => sender.slot().await.ok_or_else(|| self.end()),
        }
    }

    /// Commits the events in `sent` together with `update`.
    pub(crate) async fn commit(&self, slot: TransactionSlot, sent: Sent, update: CheckpointUpdate) -> CommitOutcome {
        let (next, journal, messages) = self.records(update);
        match slot.commit(sent, messages).await {
            CommitOutcome::Committed => {
                self.set_current(next, journal);
                CommitOutcome::Committed
            }
            CommitOutcome::ProducerFailed(failure) => {
                CommitOutcome::ProducerFailed(self.superseded().unwrap_or(failure))
            }
            aborted => aborted,
        }
    }

    /// Commits `update` without events. The first commit claims the lane. It fails if another process claimed the lane
    /// at the same time.
    ///
    /// # Errors
    /// When the update was not committed, or its outcome is unknown.
    pub(crate) async fn save(&self, connect: &Connect, update: CheckpointUpdate) -> Result<(), Failure> {
        let first = !self.last().ours;
        self.commit_alone(update).await?;
        if first {
            let stored = self.owner.read(connect, &[&self.name], &[]).await?.lane(&self.name)?;
            let ours = |entry: &Entry| entry.owner == self.owner.id && entry.sequence == self.last().sequence;
            if !stored.as_ref().is_some_and(ours) {
                let reason = format!("{} was started by another process at the same time", self.name);
                return Err(Failure::Superseded(reason));
            }
        }
        Ok(())
    }

    async fn commit_alone(&self, update: CheckpointUpdate) -> Result<(), Failure> {
        let (next, journal, messages) = self.records(update);
        self.committed(self.session.main.slot().await, messages).await?;
        self.set_current(next, journal);
        Ok(())
    }

    fn set_current(&self, last: Last, journal: JournalIndex) {
        *self.last.lock() = last;
        *self.journal.lock() = journal;
        self.owner.process.hold(&self.name);
    }

    /// Commits a record that names this id as the next writer. `session` is of another id of this process.
    async fn hand_over(&self, session: &Session, checkpoint: Vec<u8>) -> Result<(), Failure> {
        let (_, _, messages) = self.records(checkpoint.into());
        self.committed(session.main.slot().await, messages).await
    }

    async fn committed(&self, slot: Option<TransactionSlot>, messages: Vec<Message>) -> Result<(), Failure> {
        let slot = slot.ok_or_else(|| self.end())?;
        match slot.commit(Sent::default(), messages).await {
            CommitOutcome::Committed => Ok(()),
            CommitOutcome::Aborted(abort) if super::is_refusal(abort.code) => {
                let topic = &self.owner.topic;
                Err(Failure::Misconfigured(format!("checkpoint topic `{topic}`: {}", abort.code)))
            }
            CommitOutcome::Aborted(abort) => {
                Err(Failure::transient(format!("a transaction was aborted: {}", abort.code)))
            }
            CommitOutcome::ProducerFailed(failure) => Err(self.superseded().unwrap_or(failure)),
        }
    }

    /// Returns the messages of `update`, which name this id as the next writer. Also returns the lane's newest record
    /// and journal index after their commit.
    fn records(
        &self,
        CheckpointUpdate { checkpoint, journal: change }: CheckpointUpdate,
    ) -> (Last, JournalIndex, Vec<Message>) {
        let last = self.last();
        let mut entry = Entry {
            owner: self.owner.id.clone(),
            process: PROCESS.clone(),
            sequence: last.sequence + 1,
            chunks: 0,
            checkpoint,
        };
        let TransactionalId { topic, .. } = &*self.owner;
        let (journal, partitions) = (self.journal.lock().clone(), self.session.partitions);
        let (mut messages, journal) = journal_messages(topic, partitions, &self.name, journal, change);
        messages.extend(entry.messages(topic, partitions, &self.name, (last.sequence, last.chunks)));
        (Last { sequence: entry.sequence, chunks: entry.chunks, ours: true }, journal, messages)
    }

    fn follows(&self, entry: &Entry) {
        *self.last.lock() = Last { sequence: entry.sequence, chunks: entry.chunks, ours: false };
    }

    fn end(&self) -> Failure {
        self.superseded().unwrap_or_else(|| Failure::Superseded("the Kafka producer was closed".to_owned()))
    }

    fn last(&self) -> Last {
        *self.last.lock()
    }
}
