//! Compacted topics: creates and checks them.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode as Code};
use s1_forwarder_failure::Failure;
use tokio::time::{Instant, sleep};

use super::client_settings::{ANSWER_TIMEOUT, NO_CREATION, close, find_partitions, on_thread};
use super::error::{Class, class};
use super::token_admin::{AdminError, Setting, TokenAdmin};
use super::{ClientReports, ClientSettings};

/// Timeout of a check whether the brokers answer.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of partitions of a new topic. Only this program reads the topic. A few partitions distribute it over the
/// brokers.
const PARTITIONS: i32 = 4;
/// Settings of the topic. Each start reads the whole topic. The active segment is never compacted, so segments are
/// small.
const SETTINGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "16777216"),
    ("segment.ms", "3600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
];

/// The state of a topic, as the brokers describe it.
#[derive(Debug)]
pub(super) enum TopicState {
    Missing,
    /// The number of the topic's partitions. The topic is compacted, as far as the user may see.
    Ready(i32),
    /// Nothing was ever written to the topic, and it is not compacted. By default, brokers create a topic when a client
    /// asks for it.
    Unused {
        partitions: i32,
        policy: String,
        /// The topic's own settings.
        settings: BTreeMap<String, String>,
    },
}

/// A compacted topic, which need not exist yet.
#[derive(Debug, Clone)]
pub struct Topic {
    pub(super) client_settings: ClientSettings,
    pub(super) name: String,
    /// Name of the topic in errors.
    pub(super) title: String,
    /// Content that the topic would lose without compaction.
    holds: &'static str,
}

impl Topic {
    pub fn of_checkpoints(client_settings: ClientSettings, name: &str) -> Self {
        Self {
            client_settings,
            name: name.to_owned(),
            title: format!("checkpoint topic `{name}`"),
            holds: "checkpoints",
        }
    }

    /// Returns the topic of a sink, to read its events back.
    pub fn of_events(client_settings: ClientSettings, name: &str) -> Self {
        Self { client_settings, name: name.to_owned(), title: format!("topic `{name}`"), holds: "events" }
    }

    pub(super) fn of_dead_letters(client_settings: ClientSettings, name: &str) -> Self {
        Self {
            client_settings,
            name: name.to_owned(),
            title: format!("topic of dead letters `{name}`"),
            holds: "dead letters",
        }
    }

    pub(super) fn failure(&self, error: &RdKafkaError) -> Failure {
        self.client_settings.failure(error, &self.title)
    }

    /// Selects the partition of `name`. librdkafka's own choice would depend on the user's settings.
    pub(super) fn partition_of(name: &str, partitions: i32) -> i32 {
        let partitions = u32::try_from(partitions).unwrap_or(1).max(1);
        i32::try_from(crc32fast::hash(name.as_bytes()) % partitions).unwrap_or(0)
    }

    /// Returns a client that creates no topic when it asks for one.
    pub(super) fn client<T: FromClientConfigAndContext<ClientReports>>(
        &self,
        more: &[(&str, &str)],
    ) -> Result<T, Failure> {
        self.client_settings.client(&[&[NO_CREATION], more].concat())
    }

    /// Returns the number of partitions, or `None` if the topic does not exist.
    pub(super) fn count(&self, found: Result<usize, Code>) -> Result<Option<i32>, Failure> {
        match found {
            Ok(count) => Ok(i32::try_from(count).ok().filter(|count| *count > 0)),
            Err(code) if class(code) == Class::UnknownTopic => Ok(None),
            Err(code) => Err(self.failure(&RdKafkaError::MetadataFetch(code))),
        }
    }

    async fn partitions(&self, timeout: Duration) -> Result<Option<i32>, Failure> {
        self.count(find_partitions(&self.client_settings, &self.name, timeout).await?)
    }

    /// Checks that the brokers answer. The topic need not exist.
    ///
    /// # Errors
    /// If the brokers do not answer, or refuse.
    pub async fn check_access(&self) -> Result<(), Failure> {
        self.partitions(REACH_TIMEOUT).await.map(drop)
    }

    pub(super) async fn exists(&self) -> Result<bool, Failure> {
        Ok(self.partitions(ANSWER_TIMEOUT).await?.is_some())
    }

    /// Asks for the topic and its settings. Changes nothing.
    ///
    /// # Errors
    /// If records in it would be deleted.
    pub(super) async fn state(&self) -> Result<TopicState, Failure> {
        let Some(partitions) = self.partitions(ANSWER_TIMEOUT).await? else { return Ok(TopicState::Missing) };
        let Some(entries) = self.settings().await? else { return Ok(TopicState::Ready(partitions)) };
        let policy = entries.iter().find(|entry| entry.name == "cleanup.policy").and_then(|entry| entry.value.clone());
        let Some(policy) = policy.filter(|policy| policy.split(',').any(|word| word.trim() == "delete")) else {
            return Ok(TopicState::Ready(partitions));
        };
        let topic = self.clone();
        if !on_thread(move || topic.is_unused(partitions)).await?? {
            return Err(self.would_forget(&policy, ""));
        }
        let own = entries.into_iter().filter(|entry| entry.is_own);
        let settings = own.filter_map(|entry| Some((entry.name, entry.value?))).collect();
        Ok(TopicState::Unused { partitions, policy, settings })
    }

    /// Makes sure that the topic exists and is compacted. Returns the number of its partitions.
    ///
    /// # Errors
    /// If the brokers do not answer or refuse, or if records in the topic would be deleted.
    pub async fn ensure(&self) -> Result<i32, Failure> {
        let mut created_at = None;
        loop {
            match self.state().await? {
                TopicState::Ready(partitions) => return Ok(partitions),
                TopicState::Unused { partitions, policy, settings } => {
                    self.compact(&policy, &settings).await?;
                    return Ok(partitions);
                }
                TopicState::Missing => {}
            }
            match created_at {
                None => {
                    self.create().await?;
                    created_at = Some(Instant::now());
                }
                // The brokers know a new topic shortly after the controller has created it.
                Some(at) if at.elapsed() < ANSWER_TIMEOUT => sleep(Duration::from_millis(100)).await,
                Some(_) => {
                    let problem = "created, but the brokers do not know it yet";
                    return Err(Failure::transient(format!("{}: {problem}", self.title)));
                }
            }
        }
    }

    /// Returns librdkafka's administrator, which fetches no tokens.
    async fn admin(&self) -> Result<AdminClient<ClientReports>, Failure> {
        let topic = self.clone();
        on_thread(move || topic.client(&[])).await?
    }

    fn has_tokens(&self) -> bool {
        self.client_settings.events.tokens.is_some()
    }

    /// Returns the topic's settings. Returns `None` if the user has no right to describe them.
    async fn settings(&self) -> Result<Option<Vec<Setting>>, Failure> {
        if self.has_tokens() {
            let found = self.settings_with_token().await;
            return match found {
                Ok(settings) => Ok(Some(settings)),
                Err(AdminError::Refused(_)) => Ok(None),
                Err(error @ (AdminError::Option(_) | AdminError::Tls(_))) => {
                    Err(Failure::misconfigured(format!("the settings of the {} cannot be read: {error}", self.title)))
                }
                Err(error) => Err(Failure::transient(format!("{}: {error}", self.title))),
            };
        }
        let admin = self.admin().await?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT));
        let answers = admin.describe_configs(&[ResourceSpecifier::Topic(&self.name)], &options).await;
        close(admin);
        let found = answers.ok().and_then(|answers| answers.into_iter().flatten().next());
        Ok(found.map(|found| found.entries.into_iter().map(Setting::from).collect()))
    }

    /// Returns the topic's settings, as far as the user may read them. Returns `None` if there is no such topic.
    pub(super) async fn settings_if_there(&self) -> Result<Option<Vec<Setting>>, Failure> {
        if !self.exists().await? {
            return Ok(None);
        }
        Ok(Some(self.settings().await?.unwrap_or_default()))
    }

    async fn create(&self) -> Result<(), Failure> {
        let created = if self.has_tokens() {
            self.create_with_token().await.map_err(|error| error.to_string())
        } else {
            self.create_without_token().await?
        };
        match created {
            Ok(true) => tracing::info!(topic = self.name, "the topic of {} was created", self.holds),
            // Another process was faster.
            Ok(false) => {}
            Err(reason) => {
                return Err(Failure::misconfigured(format!(
                    "the {} does not exist and cannot be created ({reason}); create it with cleanup.policy=compact",
                    self.title
                )));
            }
        }
        Ok(())
    }

    /// Creates the topic without a token. Returns true if the topic was created, false if it exists, or the brokers'
    /// reason.
    async fn create_without_token(&self) -> Result<Result<bool, String>, Failure> {
        let mut new = NewTopic::new(&self.name, PARTITIONS, TopicReplication::Fixed(-1));
        for (key, value) in SETTINGS {
            new = new.set(key, value);
        }
        let admin = self.admin().await?;
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_TIMEOUT));
        let created = admin.create_topics(&[new], &options).await;
        close(admin);
        Ok(match created.map(|results| results.into_iter().next()) {
            Ok(Some(Ok(_)) | None) => Ok(true),
            Ok(Some(Err((_, Code::TopicAlreadyExists)))) => Ok(false),
            Ok(Some(Err((_, code)))) => Err(code.to_string()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Creates the topic with a token. Returns true if the topic was created, false if it exists.
    async fn create_with_token(&self) -> Result<bool, AdminError> {
        let admin = TokenAdmin::connect(&self.client_settings).await?;
        admin.create(&self.client_settings, &self.name, PARTITIONS, &SETTINGS).await
    }

    async fn settings_with_token(&self) -> Result<Vec<Setting>, AdminError> {
        TokenAdmin::connect(&self.client_settings).await?.settings(&self.name).await
    }

    async fn compact_with_token(&self) -> Result<(), AdminError> {
        TokenAdmin::connect(&self.client_settings).await?.set(&self.name, &SETTINGS).await
    }

    /// Sets an unused topic to compaction.
    async fn compact(&self, policy: &str, settings: &BTreeMap<String, String>) -> Result<(), Failure> {
        let changed = if self.has_tokens() {
            self.compact_with_token().await.map_err(|error| error.to_string())
        } else {
            self.replace_settings(settings).await?
        };
        match changed {
            Ok(()) => {
                tracing::info!(topic = self.name, "the topic of {} was empty and is now compacted", self.holds);
                Ok(())
            }
            Err(reason) => Err(self.would_forget(policy, &format!(" ({reason})"))),
        }
    }

    /// Adds to the topic's own settings. The request replaces all of them, so it repeats them.
    async fn replace_settings(&self, settings: &BTreeMap<String, String>) -> Result<Result<(), String>, Failure> {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(&self.name));
        for (key, value) in settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(SETTINGS) {
            change = change.set(key, value);
        }
        let admin = self.admin().await?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT));
        let changed = admin.alter_configs(&[change], &options).await;
        close(admin);
        Ok(match changed.map(|results| results.into_iter().next()) {
            Ok(Some(Ok(_)) | None) => Ok(()),
            Ok(Some(Err((_, code)))) => Err(code.to_string()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Returns the failure for a topic that would delete records. A lane without its checkpoint begins at `since`
    /// again.
    fn would_forget(&self, policy: &str, reason: &str) -> Failure {
        Failure::misconfigured(format!(
            "the {} has cleanup.policy={policy} and would forget {}; set it to compact{reason}",
            self.title, self.holds
        ))
    }
}
