//! `--state kafka://BROKERS/TOPIC`: checkpoints in a compacted topic, written in transactions.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use s1_forwarder_engine::checkpoint::{
    CheckpointBackend, CheckpointKey, CheckpointUpdate, JournalChange, StateError, Store,
};
use s1_forwarder_failure::Failure;
use s1_forwarder_kafka::{KafkaLocation, OwnedLane, PROCESS_NAME, Topic, TransactionalId, TransactionalIds};

/// Timeouts in milliseconds. A late message aborts its transaction but does not end the producer, since the message
/// times out before the transaction does.
const TIMEOUTS: [(&str, &str); 2] = [("message.timeout.ms", "30000"), ("transaction.timeout.ms", "60000")];

/// Number of producer sessions in a row in which a write is tried.
const SESSIONS: usize = 5;

/// Checkpoints in a compacted topic, each under its lane's name.
///
/// All writes go through one transactional producer. A process that initialises its id takes the lanes over. This
/// process notices at its next write, and waits until the other process has ended.
#[derive(Debug)]
pub struct KafkaStore {
    location: KafkaLocation,
    ids: Arc<TransactionalIds>,
    id: Arc<TransactionalId>,
    /// Prefix of the keys. Empty for the worker's own keys.
    prefix: String,
    lanes: Mutex<HashMap<CheckpointKey, Arc<OwnedLane>>>,
}

impl KafkaStore {
    /// Returns a store that opens no connection yet. Each shard has a transactional id of its own, so a worker that
    /// takes the shard over fences only its last holder. An area, for a command that runs next to the worker, has its
    /// own `instance`, and a prefix before the keys.
    pub fn new(location: KafkaLocation, instance: &str, shard: u32, prefix: String) -> Self {
        let ids = TransactionalIds::new(instance);
        let id = ids.get(&location.fingerprint(), shard);
        Self { location, ids, id, prefix, lanes: Mutex::default() }
    }

    fn name(&self, key: &CheckpointKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Makes a call with the topic, whose settings have secrets that may have been rotated.
    async fn call<T>(&self, call: impl AsyncFnOnce(&Topic) -> Result<T, Failure>) -> Result<T, StateError> {
        let called = async {
            let client_settings = self.location.client_settings(&TIMEOUTS)?;
            call(&Topic::of_checkpoints(client_settings, &self.location.topic)).await
        };
        called.await.map_err(|failure| StateError::failed(self.location.to_string(), failure))
    }

    async fn open(&self, key: &CheckpointKey) -> Result<(Arc<OwnedLane>, Option<Vec<u8>>), StateError> {
        let (lane, checkpoint) = self.call(async |topic| self.id.open(topic, &self.name(key)).await).await?;
        let lane = Arc::new(lane);
        self.lanes.lock().insert(key.clone(), lane.clone());
        Ok((lane, checkpoint))
    }

    async fn write(&self, key: &CheckpointKey, update: CheckpointUpdate) -> Result<(), StateError> {
        let known = self.lanes.lock().get(key).cloned();
        let mut lane = match known {
            Some(lane) => lane,
            None => self.open(key).await?.0,
        };
        // A producer session also ends when a request that this process has repeated reaches the brokers late.
        for _ in 0..SESSIONS {
            match self.call(async |topic| lane.save(topic, update.clone()).await).await {
                Err(error) if error.is_superseded() => {
                    tracing::info!(lane = %key, %error, "session superseded: reading the lane's last checkpoint");
                }
                saved => return saved,
            }
            // If this process wrote the last record, no other process wrote meanwhile, and `update` is newer.
            let (opened, _) = self.open(key).await?;
            let is_other = opened.sequence() != lane.sequence();
            if let Some(owner) = opened.writer.clone().filter(|writer| is_other && *writer != *PROCESS_NAME) {
                return Err(StateError::Conflict { key: key.clone(), owner });
            }
            lane = opened;
        }
        Err(StateError::Conflict { key: key.clone(), owner: "another process".to_owned() })
    }
}

#[async_trait]
impl CheckpointBackend for KafkaStore {
    async fn load(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        let Some(entry) = self.call(async |topic| self.id.load(topic, &self.name(key)).await).await? else {
            return Ok(None);
        };
        entry.checkpoint.map(Some).ok_or_else(|| StateError::Damaged {
            place: format!("{key} of {}", self.location),
            reason: "its checksum is wrong",
        })
    }

    async fn claim(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.open(key).await?.1)
    }

    /// Commits the update in one transaction.
    async fn commit(&self, key: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        let dropped = update.journal.released.clone();
        self.write(key, update).await?;
        Ok(dropped)
    }

    fn keeps_journals(&self) -> bool {
        true
    }

    async fn read_journal(&self, key: &CheckpointKey, segment: u64) -> Result<Option<Vec<u8>>, StateError> {
        self.call(async |topic| self.id.segment(topic, &self.name(key), segment).await).await
    }
}

#[async_trait]
impl Store for KafkaStore {
    async fn list_all(&self) -> Result<Vec<CheckpointKey>, StateError> {
        let names = self.call(async |topic| self.id.names(topic).await).await?;
        let own = names.iter().filter_map(|name| name.strip_prefix(&self.prefix));
        let mut keys: Vec<CheckpointKey> = own.filter_map(|name| name.parse().ok()).collect();
        keys.sort();
        Ok(keys)
    }

    fn reads_single_objects(&self) -> bool {
        false
    }

    async fn rename(&self, from: &CheckpointKey, to: &CheckpointKey) -> Result<(), StateError> {
        if self.load(to).await?.is_some() {
            return Err(StateError::Exists(to.clone()));
        }
        // From now on no worker writes the old checkpoint: the new one would be behind.
        let Some(checkpoint) = self.claim(from).await? else { return Err(StateError::Unknown(from.clone())) };
        let appends = self.call(async |topic| self.id.journal(topic, &self.name(from)).await).await?;
        let journal = JournalChange { appends, released: Vec::new() };
        self.write(to, CheckpointUpdate { checkpoint, journal }).await?;
        self.delete(from).await
    }

    async fn delete(&self, key: &CheckpointKey) -> Result<(), StateError> {
        if self.call(async |topic| self.id.remove(topic, &self.name(key)).await).await? {
            Ok(())
        } else {
            Err(StateError::Unknown(key.clone()))
        }
    }

    async fn prepare(&self) -> Result<(), StateError> {
        self.call(async |topic| topic.ensure().await.map(drop)).await
    }

    async fn check_access(&self) -> Result<(), StateError> {
        self.call(async |topic| topic.check_access().await).await
    }

    async fn close(&self) {
        self.lanes.lock().clear();
        self.id.close();
        self.ids.close().await;
    }
}
