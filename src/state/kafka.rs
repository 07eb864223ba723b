//! `--state kafka://BROKERS/TOPIC`: checkpoints in a compacted topic, written in transactions.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::{CheckpointBackend, CheckpointKey, StateError, Store};
use crate::checkpoint::{CheckpointUpdate, JournalChange};
use crate::failure::Failure;
use crate::kafka::{KafkaLocation, Lane, PROCESS, TransactionalId, TransactionalIds, reach};

/// Checkpoints in a compacted topic, each under its lane's name.
///
/// All writes go through one transactional producer. A process that initialises its id takes the lanes over. This
/// process notices at its next write, and waits until the other process has ended.
#[derive(Debug)]
pub struct KafkaStore {
    location: KafkaLocation,
    ids: Arc<TransactionalIds>,
    id: Arc<TransactionalId>,
    /// The prefix of an area's keys; empty for the worker's own.
    prefix: String,
    lanes: Mutex<HashMap<CheckpointKey, Arc<Lane>>>,
}

impl KafkaStore {
    /// Opens no connection yet.
    pub fn new(location: KafkaLocation, instance: &str) -> Self {
        Self::of_shard(location, instance, 0)
    }

    /// For the lanes of one shard, where several workers share the store. Each shard has a transactional id of its own,
    /// so a worker that takes the shard over fences only its last holder.
    pub fn of_shard(location: KafkaLocation, instance: &str, shard: u32) -> Self {
        let ids = TransactionalIds::new(instance);
        let id = ids.get(&location.fingerprint(), shard, &location.topic);
        Self { location, ids, id, prefix: String::new(), lanes: Mutex::default() }
    }

    /// An area for a command that runs next to the worker: another transactional id, and keys with a prefix.
    pub fn area(location: KafkaLocation, instance: &str) -> Self {
        Self { prefix: format!("{instance}!"), ..Self::new(location, instance) }
    }

    fn key(&self, lane: &CheckpointKey) -> String {
        format!("{}{lane}", self.prefix)
    }

    fn failed(&self, failure: &Failure) -> StateError {
        StateError::Kafka { place: self.location.to_string(), reason: failure.to_string() }
    }

    fn known(&self, lane: &CheckpointKey) -> Option<Arc<Lane>> {
        self.lanes.lock().get(lane).cloned()
    }

    fn know(&self, lane: &CheckpointKey, opened: Lane) -> Arc<Lane> {
        let opened = Arc::new(opened);
        self.lanes.lock().insert(lane.clone(), opened.clone());
        opened
    }

    async fn open(&self, lane: &CheckpointKey) -> Result<(Lane, Option<Vec<u8>>), StateError> {
        let opened = async { self.id.open(&self.location.connect()?, &self.key(lane)).await };
        opened.await.map_err(|failure| self.failed(&failure))
    }

    async fn write(&self, lane: &CheckpointKey, update: CheckpointUpdate) -> Result<(), StateError> {
        let conflict = |owner: &str| StateError::Conflict { lane: lane.clone(), owner: owner.to_owned() };
        let known = match self.known(lane) {
            Some(known) => known,
            None => self.know(lane, self.open(lane).await?.0),
        };
        let save = async |known: &Lane| known.save(&self.location.connect()?, update.clone()).await;
        match save(&known).await {
            Ok(()) => return Ok(()),
            Err(Failure::Superseded(reason)) => {
                tracing::info!(%lane, reason, "session superseded: reading the lane's last checkpoint")
            }
            Err(failure) => return Err(self.failed(&failure)),
        }
        // If this process wrote the last record, nobody else wrote meanwhile, and `update` is newer.
        let (opened, _) = self.open(lane).await?;
        let is_other = opened.sequence() != known.sequence();
        if let Some(writer) = opened.writer().filter(|writer| is_other && *writer != *PROCESS) {
            return Err(conflict(&writer));
        }
        save(&self.know(lane, opened)).await.map_err(|failure| match failure {
            Failure::Superseded(reason) => conflict(&reason),
            other => self.failed(&other),
        })
    }

    async fn read(&self, lane: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        let read = async { self.id.load(&self.location.connect()?, &self.key(lane)).await };
        read.await.map_err(|failure| self.failed(&failure))
    }

    async fn remove(&self, lane: &CheckpointKey) -> Result<(), StateError> {
        let remove = async { self.id.remove(&self.location.connect()?, &self.key(lane)).await };
        match remove.await.map_err(|failure| self.failed(&failure))? {
            true => Ok(()),
            false => Err(StateError::Unknown(lane.clone())),
        }
    }
}

impl CheckpointBackend for KafkaStore {
    fn load<'a>(&'a self, lane: &'a CheckpointKey) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        self.read(lane).boxed()
    }

    fn claim<'a>(&'a self, lane: &'a CheckpointKey) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        async move {
            let (opened, checkpoint) = self.open(lane).await?;
            self.know(lane, opened);
            Ok(checkpoint)
        }
        .boxed()
    }

    /// In one transaction.
    fn commit<'a>(
        &'a self,
        lane: &'a CheckpointKey,
        update: CheckpointUpdate,
    ) -> BoxFuture<'a, Result<Vec<u64>, StateError>> {
        async move {
            let dropped = update.journal.dropped.clone();
            self.write(lane, update).await?;
            Ok(dropped)
        }
        .boxed()
    }

    fn keeps_journals(&self) -> bool {
        true
    }

    fn read_journal<'a>(
        &'a self,
        lane: &'a CheckpointKey,
        segment: u64,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        async move {
            let read = async { self.id.segment(&self.location.connect()?, &self.key(lane), segment).await };
            read.await.map_err(|error| self.failed(&error))
        }
        .boxed()
    }
}

impl Store for KafkaStore {
    fn list(&self) -> BoxFuture<'_, Result<Vec<CheckpointKey>, StateError>> {
        async {
            let all = async { self.id.all(&self.location.connect()?).await };
            let names = all.await.map_err(|error| self.failed(&error))?;
            let own = names.iter().filter_map(|name| name.strip_prefix(&self.prefix));
            let mut keys: Vec<CheckpointKey> = own.filter_map(|name| name.parse().ok()).collect();
            keys.sort();
            Ok(keys)
        }
        .boxed()
    }

    fn rename<'a>(&'a self, from: &'a CheckpointKey, to: &'a CheckpointKey) -> BoxFuture<'a, Result<(), StateError>> {
        async move {
            let Some(checkpoint) = self.read(from).await? else { return Err(StateError::Unknown(from.clone())) };
            if self.read(to).await?.is_some() {
                return Err(StateError::Exists(to.clone()));
            }
            let journal = async { self.id.journal(&self.location.connect()?, &self.key(from)).await };
            let appends = journal.await.map_err(|error| self.failed(&error))?;
            let journal = JournalChange { appends, dropped: Vec::new() };
            self.write(to, CheckpointUpdate { checkpoint, journal }).await?;
            self.remove(from).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, lane: &'a CheckpointKey) -> BoxFuture<'a, Result<(), StateError>> {
        self.remove(lane).boxed()
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), StateError>> {
        async {
            let prepare = async { self.id.prepare(&self.location.connect()?).await };
            prepare.await.map_err(|failure| self.failed(&failure))
        }
        .boxed()
    }

    fn reach(&self) -> BoxFuture<'_, Result<(), StateError>> {
        async {
            let reached = async { reach(&self.location.connect()?, &self.location.topic).await };
            reached.await.map_err(|failure| self.failed(&failure))
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.lanes.lock().clear();
            self.id.close();
            self.ids.close().await;
        }
        .boxed()
    }
}
