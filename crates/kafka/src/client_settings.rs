//! Clients of some brokers, and their blocking calls.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::Client;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{FutureProducer, Producer as _};
use rdkafka::{ClientConfig, ClientContext};
use s1_forwarder_failure::Failure;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::error::{code_of, failure_of};
use super::{ClientReports, Tokens};

/// Timeout of one answer of the brokers.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// By default, brokers create a topic that a producer or an administrator asks for, with the brokers' own settings.
pub(super) const NO_CREATION: (&str, &str) = ("allow.auto.create.topics", "false");

/// Endings of the names of librdkafka's settings whose values are secret.
const SECRET_ENDINGS: [&str; 3] = ["password", "secret", "key.pem"];

/// A producer that any thread may call.
pub type Producer = FutureProducer<ClientReports>;

/// The settings of clients that are used together. Debug prints none of them, since they contain secrets.
#[derive(Clone)]
pub struct ClientSettings {
    /// librdkafka's settings, with secrets read.
    pub config: BTreeMap<String, String>,
    /// Receives the broker errors of all these clients.
    pub events: ClientReports,
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClientSettings").finish_non_exhaustive()
    }
}

impl ClientSettings {
    /// `tokens` is the source of OAUTHBEARER tokens. They are requested on the caller's runtime.
    pub fn new(config: BTreeMap<String, String>, tokens: Option<Arc<dyn Tokens>>) -> Self {
        let is_secret = |key: &str| SECRET_ENDINGS.iter().any(|ending| key.ends_with(ending));
        let secrets = config.iter().filter(|(key, _)| is_secret(key)).map(|(_, value)| value.as_str().into());
        let brokers = config.get("bootstrap.servers").map_or("", String::as_str);
        let events = ClientReports::new(brokers, tokens, secrets.collect());
        Self { config, events }
    }

    /// Hashes all settings, secrets included, and the source of the tokens.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (key, value) in &self.config {
            hash.update(format!("{}:{key}{}:{value}", key.len(), value.len()));
        }
        hash.update(self.events.tokens.as_ref().map(|tokens| tokens.key()).unwrap_or_default());
        hash.finalize().into()
    }

    /// Creates a client with `more` settings. A consumer ignores settings of producers.
    ///
    /// # Errors
    /// [`Failure::misconfigured`] if librdkafka does not accept the settings. The text has no secrets.
    pub fn client<T: FromClientConfigAndContext<ClientReports>>(&self, more: &[(&str, &str)]) -> Result<T, Failure> {
        let mut config: ClientConfig = self.config.clone().into_iter().collect();
        for (key, value) in more {
            config.set(*key, *value);
        }
        config.create_with_context(self.events.clone()).map_err(|error| {
            Failure::misconfigured(format!("no Kafka client with these options: {}", creation_problem(error)))
        })
    }

    /// Classifies the error of a call. `what` names the transactional id or topic of the call.
    pub(super) fn failure(&self, error: &RdKafkaError, what: &str) -> Failure {
        failure_of(error, what, self.events.cause(code_of(error)))
    }
}

/// Explains why librdkafka refuses the settings. The text omits the value, which may be a secret.
pub(super) fn creation_problem(error: RdKafkaError) -> String {
    match error {
        RdKafkaError::ClientConfig(_, problem, key, _) => format!("{key}: {problem}"),
        RdKafkaError::ClientCreation(problem) => problem,
        other => other.to_string(),
    }
}

/// Requests the number of a topic's partitions. Blocks.
pub(super) fn partitions<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Result<usize, Code> {
    let metadata = client.fetch_metadata(Some(topic), timeout).map_err(|error| code_of(&error))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic).ok_or(Code::UnknownTopicOrPartition)?;
    found.error().map_or(Ok(found.partitions().len()), |error| Err(error.into()))
}

/// Requests the number of a topic's partitions. Unlike a request of a producer of events, it creates no topic.
///
/// # Errors
/// If there is no client (the outer error), or the brokers refuse (the inner error).
pub async fn find_partitions(
    client_settings: &ClientSettings,
    topic: &str,
    timeout: Duration,
) -> Result<Result<usize, Code>, Failure> {
    let client_settings = client_settings.clone();
    let topic = topic.to_owned();
    on_thread(move || {
        // A producer has a thread that fetches tokens and reports the brokers' errors. An `AdminClient` has none.
        let client: Producer = client_settings.client(&[NO_CREATION, ("enable.idempotence", "false")])?;
        let found = partitions(client.client(), &topic, timeout);
        close(client);
        Ok(found)
    })
    .await?
}

/// Drops a client on a separate thread, since this waits for librdkafka's threads.
pub fn close<T: Send + 'static>(client: T) {
    // If no thread is available, the current one drops it.
    let _ = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || drop(client));
}

/// Runs a blocking call on a separate thread. librdkafka's transaction calls wait for the brokers. During an outage,
/// they would occupy all threads of a shared pool.
pub(super) async fn on_thread<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let (sender, receiver) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("kafka-call".to_owned()).spawn(move || {
        // The caller may have stopped waiting.
        let _ = sender.send(call());
    });
    spawned.map_err(|error| Failure::transient(format!("no thread for a call to Kafka: {error}")))?;
    receiver.await.map_err(|_| Failure::transient("a call to Kafka panicked".to_owned()))
}
