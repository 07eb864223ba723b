//! One transactional id: the lanes that commit under it, and their takeover from other ids.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder_engine::checkpoint::{Append, CheckpointUpdate};
use s1_forwarder_engine::weak_cache::WeakCache;
use s1_forwarder_failure::{Failure, LastFailure};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::claim::{Holders, claim_key};
use super::reader::Reader;
use super::record::{LaneRecords, Stored, segment_key};
use super::roles::Sharing;
use super::send::Message;
use super::session::{ProducerSession, fence, probe};
use super::topic_content::{Entry, IfDamaged};
use super::transactional_producer::TransactionSlot;
use super::{BrokerError, ClientReports, CommitOutcome, Sent, Topic, is_refusal};

/// Time that this process leaves the new holder of a lost id for a claim.
const AFTER_LOSS: Duration = Duration::from_secs(3);
/// Time after a failed attempt in which lanes that request a session get the same failure.
const SHARED_FAILURE: Duration = Duration::from_secs(1);
/// Timeout for producers to release their ids when the process ends.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The transactional ids of the process: one for each set of broker settings and shard.
#[derive(Debug)]
pub struct TransactionalIds {
    instance: String,
    ids: WeakCache<String, TransactionalId>,
    holders: Holders,
    tasks: TaskTracker,
}

impl TransactionalIds {
    /// `instance` names the installation.
    pub fn new(instance: &str) -> Arc<Self> {
        let instance = instance.to_owned();
        Arc::new(Self { instance, ids: WeakCache::default(), holders: Holders::default(), tasks: TaskTracker::new() })
    }

    /// Returns the id for `settings` (a hash of broker settings and checkpoint topic) and `shard`.
    pub fn get(self: &Arc<Self>, settings: &str, shard: u32) -> Arc<TransactionalId> {
        let name = format!("{}-{shard}-{settings}", self.instance);
        let new = || TransactionalId {
            ids: self.clone(),
            id: name.clone(),
            senders: Arc::default(),
            open: Mutex::default(),
            events: Mutex::default(),
            failed: tokio::sync::Mutex::default(),
            reader: Reader::default(),
            fenced: tokio::sync::Mutex::default(),
        };
        self.ids.get_or_insert_with(name.clone(), || Arc::new(new()))
    }

    /// Forgets that this process held the shard's ids. Called when this process acquires the shard's lease again: no
    /// other process holds the ids now.
    pub fn acquired(&self, shard: u32) {
        self.holders.forget(&format!("{}-{shard}-", self.instance));
    }

    /// Waits until unused producers have released their ids.
    pub async fn close(&self) {
        self.tasks.close();
        let _ = tokio::time::timeout(RELEASE_TIMEOUT, self.tasks.wait()).await;
    }

    /// Returns the number of ids that are held now.
    pub fn count(&self) -> usize {
        self.ids.values().iter().filter(|id| id.session().is_some()).count()
    }

    /// Returns the running session of this process with `id`.
    fn session(&self, id: &str) -> Option<Arc<ProducerSession>> {
        let id = self.ids.get(id)?;
        id.session().filter(|session| session.end().is_none())
    }
}

#[derive(Debug)]
pub struct TransactionalId {
    ids: Arc<TransactionalIds>,
    id: String,
    /// One more reference for each lane that is about to send.
    senders: Arc<()>,
    open: Mutex<Option<Arc<ProducerSession>>>,
    /// Reports of librdkafka to the producers of the current session, or of the session that is being started.
    events: Mutex<Option<ClientReports>>,
    /// Locked while the id is initialised. The start and failure of the last attempt.
    failed: tokio::sync::Mutex<LastFailure>,
    reader: Reader,
    /// Locked while an id of another process is fenced: the last such id, and when its fencing began.
    fenced: tokio::sync::Mutex<Option<(String, Instant)>>,
}

impl TransactionalId {
    /// Counts a lane that is about to send until the guard is dropped.
    pub fn announce_sender(&self) -> Arc<()> {
        self.senders.clone()
    }

    /// Checks the topic and the right to transactions. Commits nothing under the id of the check.
    ///
    /// # Errors
    /// If the topic cannot be used, or the user has no right to transactions.
    pub async fn probe(&self, topic: &Topic) -> Result<String, Failure> {
        probe(topic, &format!("{}-check", self.ids.instance)).await
    }

    /// Takes the lane over and reads its checkpoint. Invalidates an earlier [`OwnedLane`] of this name.
    ///
    /// # Errors
    /// If the brokers fail or refuse, or another process holds the lane. The text names that process.
    pub async fn open(self: &Arc<Self>, topic: &Topic, name: &str) -> Result<(OwnedLane, Option<Vec<u8>>), Failure> {
        self.open_even(topic, name, IfDamaged::Refuse).await
    }

    async fn open_even(
        self: &Arc<Self>,
        topic: &Topic,
        name: &str,
        if_damaged: IfDamaged,
    ) -> Result<(OwnedLane, Option<Vec<u8>>), Failure> {
        let session = self.start_session(topic).await?;
        let make = |stored, writer, is_claimed| OwnedLane {
            id: self.clone(),
            session: session.clone(),
            records: LaneRecords::new(&topic.name, session.partitions, name),
            writer,
            state: Mutex::new(OwnedState { stored, is_claimed }),
        };
        loop {
            let found = self.reader.read(topic, [name.to_owned()]).await?;
            let Some(entry) = found.lane(name)? else {
                // A journal may have been left behind.
                let stored = Stored { journal: found.journal(name), ..Stored::default() };
                return Ok((make(stored, None, false), None));
            };
            let is_own = entry.owner == self.id;
            let lane = make(entry.stored.clone(), Some(entry.process.clone()), is_own);
            if is_own {
                let checkpoint = entry.checkpoint(name, if_damaged)?;
                self.ids.holders.hold(name);
                return Ok((lane, Some(checkpoint)));
            }
            self.take_over(topic, lane, entry, if_damaged).await?;
        }
    }

    /// Takes over a lane whose last record, `entry`, names another id. The newest record names this id afterwards,
    /// unless another process was faster.
    async fn take_over(
        &self,
        topic: &Topic,
        lane: OwnedLane,
        entry: Entry,
        if_damaged: IfDamaged,
    ) -> Result<(), Failure> {
        let name = &lane.records.lane;
        let before = entry.owner.clone();
        let checkpoint = entry.checkpoint(name, if_damaged)?;
        if let Some(session) = self.ids.session(&before) {
            // This process holds that id too. Fencing it would stop its other lanes. Instead, its producer commits a
            // record that names this id as the next writer.
            tracing::info!(from = before, to = self.id, "the lane changes its transactional id");
            return lane.save_with(&session, checkpoint.into()).await;
        }
        if self.ids.holders.has_held(name) {
            self.refuse_held(topic, name, &before).await?;
        }
        tracing::info!(from = before, process = lane.writer, to = self.id, "the lane is taken over");
        self.fence(topic, &before).await?;
        // The last owner may have written until it was fenced.
        let found = self.reader.read(topic, [name.clone()]).await?;
        let Some(entry) = found.lane(name)?.filter(|entry| entry.owner == before) else { return Ok(()) };
        // The first record under this id has a separate transaction. Then the old id is fenced again: a producer that
        // raced with the first fence could have committed without this record.
        lane.state.lock().stored = entry.stored.clone();
        let checkpoint = entry.checkpoint(name, if_damaged)?;
        lane.save_with(&lane.session, checkpoint.into()).await?;
        self.fence(topic, &before).await
    }

    /// Checks that no other process holds `id`.
    ///
    /// # Errors
    /// If another process holds `id`. This process has held `what` before, so it waits.
    async fn refuse_held(&self, topic: &Topic, what: &str, id: &str) -> Result<(), Failure> {
        let found = self.reader.read(topic, [claim_key(id)]).await?;
        match self.ids.holders.other_holder(id, found.claim(id)) {
            None => Ok(()),
            Some(process) => Err(Failure::transient(format!(
                "{what} was taken over by another process, {process}: this process waits until that one has ended"
            ))),
        }
    }

    /// Removes a lane's checkpoint, even a damaged one, and its journal. Returns false if there is no checkpoint.
    ///
    /// # Errors
    /// As [`Self::open`], but a damaged checkpoint is none.
    pub async fn remove(self: &Arc<Self>, topic: &Topic, name: &str) -> Result<bool, Failure> {
        let (lane, checkpoint) = self.open_even(topic, name, IfDamaged::TakeAsEmpty).await?;
        if checkpoint.is_some() {
            let messages = lane.records.removal(&lane.state.lock().stored);
            lane.commit_messages(&lane.session, messages).await?;
        }
        Ok(checkpoint.is_some())
    }

    /// Returns the names of all lanes with a checkpoint.
    ///
    /// # Errors
    /// If the topic cannot be read.
    pub async fn names(&self, topic: &Topic) -> Result<BTreeSet<String>, Failure> {
        Ok(self.reader.read_if_there(topic, []).await?.names.clone())
    }

    /// Reads a lane's checkpoint. Does not take the lane over.
    ///
    /// # Errors
    /// If the topic cannot be read, or a newer release wrote the checkpoint.
    pub async fn load(&self, topic: &Topic, name: &str) -> Result<Option<Entry>, Failure> {
        self.reader.read_if_there(topic, [name.to_owned()]).await?.lane(name)
    }

    /// Reads a segment of a lane's journal; `None` if the segment is missing.
    ///
    /// # Errors
    /// If the topic cannot be read.
    pub async fn segment(&self, topic: &Topic, name: &str, segment: u64) -> Result<Option<Vec<u8>>, Failure> {
        let key = segment_key(name, segment);
        Ok(self.reader.read(topic, [key.clone()]).await?.segment(&key))
    }

    /// Reads all segments of a lane's journal.
    ///
    /// # Errors
    /// If the topic cannot be read.
    pub async fn journal(&self, topic: &Topic, name: &str) -> Result<Vec<Append>, Failure> {
        let index = self.reader.read(topic, [name.to_owned()]).await?.journal(name);
        let segments: BTreeSet<u64> = index.into_iter().map(|(segment, _)| segment).collect();
        let found = self.reader.read(topic, segments.iter().map(|segment| segment_key(name, *segment))).await?;
        let append = |segment| Some(Append { segment, offset: 0, bytes: found.segment(&segment_key(name, segment))? });
        Ok(segments.into_iter().filter_map(append).collect())
    }

    /// Returns the last broker error of the past 90 seconds, if nothing was committed since: calls may last minutes.
    pub fn stall_reason(&self) -> Option<BrokerError> {
        self.events.lock().as_ref()?.recent()
    }

    /// Releases the id once its last lane has ended.
    pub fn close(&self) {
        *self.open.lock() = None;
    }

    fn session(&self) -> Option<Arc<ProducerSession>> {
        self.open.lock().clone()
    }

    /// Returns the open session, or starts a new one.
    async fn start_session(&self, topic: &Topic) -> Result<Arc<ProducerSession>, Failure> {
        let requested_at = Instant::now();
        let mut failed = self.failed.lock().await;
        let last = self.session();
        if let Some(session) = last.as_ref().filter(|session| session.end().is_none()) {
            return Ok(session.clone());
        }
        if let Some(failure) = failed.after(requested_at).or_else(|| failed.within(SHARED_FAILURE)) {
            return Err(failure);
        }
        self.close();
        *self.events.lock() = Some(topic.client_settings.events.clone());
        let started = self.initialise(topic, last.is_some()).await;
        failed.ended(&started);
        let session = started?;
        self.ids.holders.hold(&self.id);
        *self.open.lock() = Some(session.clone());
        Ok(session)
    }

    async fn initialise(&self, topic: &Topic, was_lost: bool) -> Result<Arc<ProducerSession>, Failure> {
        if self.ids.holders.has_held(&self.id) {
            if was_lost {
                sleep(AFTER_LOSS).await;
            }
            // A new holder keeps the id.
            self.refuse_held(topic, &format!("transactional id {}", self.id), &self.id).await?;
        }
        ProducerSession::start(topic, &self.id, Arc::downgrade(&self.senders), &self.ids.tasks).await
    }

    /// Fences an id of another process. Lanes that are taken over together share one call.
    async fn fence(&self, topic: &Topic, id: &str) -> Result<(), Failure> {
        let requested_at = Instant::now();
        let mut last = self.fenced.lock().await;
        if last.as_ref().is_some_and(|(fenced, started_at)| fenced == id && *started_at >= requested_at) {
            return Ok(());
        }
        let started_at = Instant::now();
        fence(&topic.client_settings, id).await?;
        *last = Some((id.to_owned(), started_at));
        Ok(())
    }
}

/// A lane that this process owns in one producer session.
#[derive(Debug)]
pub struct OwnedLane {
    id: Arc<TransactionalId>,
    session: Arc<ProducerSession>,
    records: LaneRecords,
    /// The process that wrote the lane's last record before the takeover.
    pub writer: Option<String>,
    state: Mutex<OwnedState>,
}

#[derive(Debug)]
struct OwnedState {
    stored: Stored,
    /// Whether the lane's last record names this id, so no other process may write the next one.
    is_claimed: bool,
}

impl OwnedLane {
    /// Returns the sequence number of the lane's last known record.
    pub fn sequence(&self) -> u64 {
        self.state.lock().stored.sequence
    }

    /// Waits for a slot in the next transaction.
    ///
    /// # Errors
    /// If the session has ended: another process has the id, or its producer has failed.
    pub async fn slot(&self, sharing: Sharing) -> Result<TransactionSlot, Failure> {
        self.session.slot(sharing).await
    }

    /// Returns whether lanes whose partitions are unavailable must not join a shared transaction, which could not end.
    pub fn is_degraded(&self) -> bool {
        self.session.roles.is_degraded()
    }

    /// Commits the events in `sent` together with `update`.
    ///
    /// # Errors
    /// If the producer has failed or the session was superseded. Only the stored checkpoint shows then whether the
    /// transaction was committed.
    pub async fn commit(&self, slot: TransactionSlot, sent: Sent, update: CheckpointUpdate) -> CommitOutcome {
        let (after, messages) = self.update(update);
        let committed = slot.commit(sent, messages).await;
        let aborted = committed.map_err(|failure| self.session.superseded().unwrap_or(failure))?;
        if aborted.is_none() {
            self.set_stored(after);
        }
        Ok(aborted)
    }

    /// Commits `update` without events. The first commit claims the lane. It fails if another process claimed the lane
    /// at the same time.
    ///
    /// # Errors
    /// If the update was not committed, or its outcome is unknown.
    pub async fn save(&self, topic: &Topic, update: CheckpointUpdate) -> Result<(), Failure> {
        let was_claimed = self.state.lock().is_claimed;
        self.save_with(&self.session, update).await?;
        if was_claimed {
            return Ok(());
        }
        let name = &self.records.lane;
        match self.id.reader.read(topic, [name.clone()]).await?.lane(name)? {
            Some(entry) if entry.owner == self.id.id && entry.stored.sequence == self.sequence() => Ok(()),
            _ => Err(Failure::superseded(format!("{name} was started by another process at the same time"))),
        }
    }

    /// Commits `update` with `session`, which may be one of another id of this process.
    async fn save_with(&self, session: &ProducerSession, update: CheckpointUpdate) -> Result<(), Failure> {
        let (after, messages) = self.update(update);
        self.commit_messages(session, messages).await?;
        self.set_stored(after);
        Ok(())
    }

    fn update(&self, update: CheckpointUpdate) -> (Stored, Vec<Message>) {
        self.records.update(&self.state.lock().stored, &self.id.id, update)
    }

    fn set_stored(&self, stored: Stored) {
        *self.state.lock() = OwnedState { stored, is_claimed: true };
        self.id.ids.holders.hold(&self.records.lane);
    }

    async fn commit_messages(&self, session: &ProducerSession, messages: Vec<Message>) -> Result<(), Failure> {
        let committed = session.commit(messages, Sharing::Shared).await;
        match committed.map_err(|failure| session.superseded().unwrap_or(failure))? {
            None => Ok(()),
            Some(abort) if is_refusal(abort.code) => {
                Err(Failure::misconfigured(format!("checkpoint topic `{}`: {}", self.records.topic, abort.code)))
            }
            Some(abort) => Err(Failure::transient(format!("a transaction was aborted: {}", abort.code))),
        }
    }
}
