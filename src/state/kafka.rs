//! `--state kafka://BROKERS/TOPIC`: checkpoints in a compacted topic, written in transactions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::ledger::Append;
use super::{LaneId, StateError, Store};
use crate::kafka::{KafkaLocation, Lane, Owner, Owners, PROCESS, Trouble, reach};
use crate::record::JournalChange;

/// Checkpoints in a compacted topic, each under its lane's name.
///
/// All writes go through one transactional producer. Whoever initialises its id takes the lanes over: this process finds
/// that out at the next write, and waits until the other has ended.
#[derive(Debug)]
pub struct KafkaStore {
    location: KafkaLocation,
    owners: Arc<Owners>,
    owner: Arc<Owner>,
    /// What keys begin with; nothing for the worker's own.
    prefix: String,
    lanes: Mutex<HashMap<LaneId, Arc<Lane>>>,
    /// What goes into a lane's journal with its next checkpoint.
    journals: Mutex<HashMap<LaneId, JournalChange>>,
}

impl KafkaStore {
    /// Opens no connection yet.
    pub fn new(location: KafkaLocation, instance: &str) -> Self {
        Self::of_shard(location, instance, 0)
    }

    /// For the lanes of one shard, where several workers share them: each shard has a transactional id of its own, and
    /// whoever takes the shard over fences its last holder and nobody else.
    pub fn of_shard(location: KafkaLocation, instance: &str, shard: u32) -> Self {
        let owners = Owners::new(instance);
        let owner = owners.get(&location.fingerprint(), shard, &location.topic);
        Self { location, owners, owner, prefix: String::new(), lanes: Mutex::default(), journals: Mutex::default() }
    }

    /// A part of the topic for a command beside the worker: another transactional id, and keys that name it.
    pub fn area(location: KafkaLocation, instance: &str) -> Self {
        Self { prefix: format!("{instance}!"), ..Self::new(location, instance) }
    }

    fn key(&self, lane: &LaneId) -> String {
        format!("{}{lane}", self.prefix)
    }

    fn failed(&self, trouble: &Trouble) -> StateError {
        StateError::Kafka { place: self.location.to_string(), reason: trouble.to_string() }
    }

    fn known(&self, lane: &LaneId) -> Option<Arc<Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).get(lane).cloned()
    }

    fn know(&self, lane: &LaneId, opened: Lane) -> Arc<Lane> {
        let opened = Arc::new(opened);
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).insert(lane.clone(), opened.clone());
        opened
    }

    async fn open(&self, lane: &LaneId) -> Result<(Lane, Option<Vec<u8>>), StateError> {
        let opened = async { self.owner.open(&self.location.connect()?, &self.key(lane)).await };
        opened.await.map_err(|trouble| self.failed(&trouble))
    }

    fn lock_journals(&self) -> MutexGuard<'_, HashMap<LaneId, JournalChange>> {
        self.journals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In one transaction with what is to go into the journal.
    async fn write(&self, lane: &LaneId, checkpoint: Vec<u8>) -> Result<(), StateError> {
        let journal = self.lock_journals().remove(lane).unwrap_or_default();
        let written = self.write_with(lane, checkpoint, &journal).await;
        if written.is_err() {
            // Appends come again with whoever tries again.
            self.lock_journals().entry(lane.clone()).or_default().dropped.extend(journal.dropped);
        }
        written
    }

    async fn write_with(&self, lane: &LaneId, checkpoint: Vec<u8>, journal: &JournalChange) -> Result<(), StateError> {
        let conflict = |owner: &str| StateError::Conflict { lane: lane.clone(), owner: owner.to_owned() };
        let known = match self.known(lane) {
            Some(known) => known,
            None => self.know(lane, self.open(lane).await?.0),
        };
        let save =
            async |known: &Lane| known.save(&self.location.connect()?, checkpoint.clone(), journal.clone()).await;
        match save(&known).await {
            Ok(()) => return Ok(()),
            Err(Trouble::Superseded(reason)) => {
                tracing::info!(%lane, reason, "the lane's last checkpoint is looked up")
            }
            Err(trouble) => return Err(self.failed(&trouble)),
        }
        // Nobody else wrote it meanwhile, if the last word is ours: then what is known here is newer.
        let (opened, _) = self.open(lane).await?;
        let is_other = opened.sequence() != known.sequence();
        if let Some(writer) = opened.writer().filter(|writer| is_other && *writer != *PROCESS) {
            return Err(conflict(&writer));
        }
        save(&self.know(lane, opened)).await.map_err(|trouble| match trouble {
            Trouble::Superseded(reason) => conflict(&reason),
            other => self.failed(&other),
        })
    }

    async fn read(&self, lane: &LaneId) -> Result<Option<Vec<u8>>, StateError> {
        let read = async { self.owner.look_at(&self.location.connect()?, &self.key(lane)).await };
        read.await.map_err(|trouble| self.failed(&trouble))
    }

    async fn remove(&self, lane: &LaneId) -> Result<(), StateError> {
        let remove = async { self.owner.remove(&self.location.connect()?, &self.key(lane)).await };
        match remove.await.map_err(|trouble| self.failed(&trouble))? {
            true => Ok(()),
            false => Err(StateError::Unknown(lane.clone())),
        }
    }
}

impl Store for KafkaStore {
    fn load<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        self.read(lane).boxed()
    }

    fn claim<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        async move {
            let (opened, checkpoint) = self.open(lane).await?;
            self.know(lane, opened);
            Ok(checkpoint)
        }
        .boxed()
    }

    fn save<'a>(&'a self, lane: &'a LaneId, checkpoint: Vec<u8>) -> BoxFuture<'a, Result<(), StateError>> {
        self.write(lane, checkpoint).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<LaneId>, StateError>> {
        async {
            let all = async { self.owner.all(&self.location.connect()?).await };
            let names = all.await.map_err(|trouble| self.failed(&trouble))?;
            let own = names.iter().filter_map(|name| name.strip_prefix(&self.prefix));
            let mut lanes: Vec<LaneId> = own.filter_map(LaneId::of_store).collect();
            lanes.sort();
            Ok(lanes)
        }
        .boxed()
    }

    fn rename<'a>(&'a self, from: &'a LaneId, to: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>> {
        async move {
            let Some(checkpoint) = self.read(from).await? else { return Err(StateError::Unknown(from.clone())) };
            if self.read(to).await?.is_some() {
                return Err(StateError::Exists(to.clone()));
            }
            let journal = async { self.owner.journal(&self.location.connect()?, &self.key(from)).await };
            let appends = journal.await.map_err(|trouble| self.failed(&trouble))?;
            self.lock_journals().entry(to.clone()).or_default().appends = appends;
            self.write(to, checkpoint).await?;
            self.remove(from).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>> {
        self.remove(lane).boxed()
    }

    fn keeps_journals(&self) -> bool {
        true
    }

    /// With the next checkpoint, which refers to it.
    fn write_journal<'a>(&'a self, lane: &'a LaneId, append: &'a Append) -> BoxFuture<'a, Result<(), StateError>> {
        self.lock_journals().entry(lane.clone()).or_default().appends.push(append.clone());
        async { Ok(()) }.boxed()
    }

    fn read_journal<'a>(
        &'a self,
        lane: &'a LaneId,
        segment: u64,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        async move {
            let read = async { self.owner.segment(&self.location.connect()?, &self.key(lane), segment).await };
            read.await.map_err(|trouble| self.failed(&trouble))
        }
        .boxed()
    }

    /// With the next checkpoint.
    fn drop_journal<'a>(&'a self, lane: &'a LaneId, segments: &'a [u64]) -> BoxFuture<'a, Result<(), StateError>> {
        self.lock_journals().entry(lane.clone()).or_default().dropped.extend(segments);
        async { Ok(()) }.boxed()
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), StateError>> {
        async {
            let prepare = async { self.owner.prepare(&self.location.connect()?).await };
            prepare.await.map_err(|trouble| self.failed(&trouble))
        }
        .boxed()
    }

    fn reach(&self) -> BoxFuture<'_, Result<(), StateError>> {
        async {
            let reached = async { reach(&self.location.connect()?, &self.location.topic).await };
            reached.await.map_err(|trouble| self.failed(&trouble))
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.lanes.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.owner.close();
            self.owners.close().await;
        }
        .boxed()
    }
}
