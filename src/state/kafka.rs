//! `--state kafka://BROKERS/TOPIC`: checkpoints in a compacted topic, written in transactions.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::{LaneId, StateError, Store};
use crate::kafka::{Connect, Lane, Owner, Owners, PROCESS, Trouble, reach};
use crate::settings::Secret;

/// What is set unless the address sets it otherwise. A message that is late ends its transaction and not its producer.
const OURS: [(&str, &str); 8] = [
    ("client.id", "s1-forwarder"),
    ("acks", "all"),
    ("compression.type", "zstd"),
    ("linger.ms", "5"),
    ("message.timeout.ms", "30000"),
    ("transaction.timeout.ms", "60000"),
    ("ssl.ca.location", "probe"),
    ("socket.keepalive.enable", "true"),
];
/// Keys that are this program's own.
const REFUSED: [&str; 4] = ["bootstrap.servers", "metadata.broker.list", "transactional.id", "enable.idempotence"];

/// `kafka://BROKERS/TOPIC?OPTIONS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaLocation {
    brokers: String,
    topic: String,
    /// librdkafka's settings; a value may be a secret.
    options: BTreeMap<String, Secret>,
}

/// The text after `kafka:` names no brokers and topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "write it as kafka://HOST:PORT,HOST:PORT/TOPIC, with librdkafka's settings after a `?`, such as ?security.protocol=ssl&sasl.password=file:/run/secrets/password"
)]
pub struct KafkaLocationError;

impl FromStr for KafkaLocation {
    type Err = KafkaLocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("//").ok_or(KafkaLocationError)?;
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (brokers, topic) = place.split_once('/').ok_or(KafkaLocationError)?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if brokers.split(',').any(str::is_empty) || topic.is_empty() || topic.len() > 249 || !topic.chars().all(legal) {
            return Err(KafkaLocationError);
        }
        let option = |option: &str| {
            let (key, value) =
                option.split_once('=').filter(|(key, _)| !REFUSED.contains(key)).ok_or(KafkaLocationError)?;
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
            let secret = match value.strip_prefix("file:") {
                Some(path) => Secret::File(path.into()),
                None => Secret::Literal(value),
            };
            Ok((key.to_owned(), secret))
        };
        let options = options.split('&').filter(|option| !option.is_empty()).map(option).collect::<Result<_, _>>()?;
        Ok(Self { brokers: brokers.to_owned(), topic: topic.to_owned(), options })
    }
}

impl fmt::Display for KafkaLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "kafka://{}/{}", self.brokers, self.topic)
    }
}

impl KafkaLocation {
    fn connect(&self) -> Result<Connect, Trouble> {
        let mut config: BTreeMap<_, _> =
            OURS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        config.insert("bootstrap.servers".to_owned(), self.brokers.clone());
        for (key, secret) in &self.options {
            let value = secret.read().map_err(|error| Trouble::Unauthorized(error.to_string()))?;
            config.insert(key.clone(), value.expose_secret().to_owned());
        }
        Ok(Connect { config, tokens: None })
    }

    /// Other settings, another transactional id; a password that is rotated is no other setting.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("state {self}"));
        for (key, secret) in &self.options {
            hash.update(format!(" {}:{key}={}", key.len(), secret.reference()));
        }
        hash.finalize()[..8].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }
}

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
        Self { location, owners, owner, prefix: String::new(), lanes: Mutex::default() }
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

    async fn write(&self, lane: &LaneId, checkpoint: Vec<u8>) -> Result<(), StateError> {
        let conflict = |owner: &str| StateError::Conflict { lane: lane.clone(), owner: owner.to_owned() };
        let known = match self.known(lane) {
            Some(known) => known,
            None => self.know(lane, self.open(lane).await?.0),
        };
        let save = async |known: &Lane| known.save(&self.location.connect()?, checkpoint.clone()).await;
        match save(&known).await {
            Ok(()) => return Ok(()),
            Err(Trouble::Superseded(reason)) => {
                tracing::info!(%lane, reason, "the lane's last checkpoint is looked up")
            }
            Err(trouble) => return Err(self.failed(&trouble)),
        }
        // Nobody else wrote it meanwhile, if the last word is ours: then what is known here is newer.
        let (opened, _) = self.open(lane).await?;
        if let Some(writer) = opened.writer().filter(|writer| *writer != *PROCESS) {
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
            let mut lanes: Vec<LaneId> = own.filter_map(|name| name.parse().ok()).collect();
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
            self.write(to, checkpoint).await?;
            self.remove(from).await
        }
        .boxed()
    }

    fn delete<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>> {
        self.remove(lane).boxed()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_brokers_topic_and_options() {
        let location: KafkaLocation =
            "//a:9092,b:9092/checkpoints?security.protocol=ssl&sasl.password=file:/run/p&x=a%26b".parse().unwrap();
        assert_eq!((location.brokers.as_str(), location.topic.as_str()), ("a:9092,b:9092", "checkpoints"));
        assert_eq!(location.options["sasl.password"], Secret::File("/run/p".into()));
        assert_eq!(location.options["x"], Secret::Literal("a&b".to_owned()));
        assert_eq!(location.to_string(), "kafka://a:9092,b:9092/checkpoints", "what may be secret is not shown");
        for wrong in
            ["a:9092/t", "//a:9092", "//a:9092/", "///t", "//a:1/two/parts", "//a:1/t?transactional.id=x", "//a:1/t?x"]
        {
            assert!(wrong.parse::<KafkaLocation>().is_err(), "{wrong}");
        }
    }
}
