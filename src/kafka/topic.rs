//! Compacted topics: creates and checks them.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode as Code};
use tokio::time::{Instant, sleep};

use super::connect::{on_thread, partitions};
use super::error::{Class, class};
use super::{Connect, Events};
use crate::failure::Failure;

/// Timeout of one answer of the brokers.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of a check whether the brokers answer.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);
/// Only this program reads the topic. A few partitions distribute it over the brokers.
const PARTITIONS: i32 = 4;
/// Each start reads the whole topic. The active segment is never compacted, so segments are small.
const SETTINGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "16777216"),
    ("segment.ms", "3600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
];

/// A compacted topic, which need not exist yet.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(super) connect: Connect,
    pub(super) name: String,
    /// How errors name it.
    pub(super) title: String,
    /// What it would lose without compaction.
    holds: &'static str,
}

impl Topic {
    pub(crate) fn of_checkpoints(connect: Connect, name: &str) -> Self {
        Self { connect, name: name.to_owned(), title: format!("checkpoint topic `{name}`"), holds: "checkpoints" }
    }

    pub(super) fn of_dead_letters(connect: Connect, name: &str) -> Self {
        Self { connect, name: name.to_owned(), title: format!("topic of dead letters `{name}`"), holds: "dead letters" }
    }

    pub(super) fn failure(&self, error: &RdKafkaError) -> Failure {
        self.connect.failure(error, &self.title)
    }

    /// Selects the partition of `name`. librdkafka's own choice would depend on the user's settings.
    pub(super) fn partition_of(name: &str, partitions: i32) -> i32 {
        let partitions = u32::try_from(partitions).unwrap_or(1).max(1);
        i32::try_from(crc32fast::hash(name.as_bytes()) % partitions).unwrap_or(0)
    }

    /// Returns the number of partitions, or None if the topic does not exist. Blocks.
    pub(super) fn partitions(
        &self,
        client: &rdkafka::client::Client<Events>,
        timeout: Duration,
    ) -> Result<Option<i32>, Failure> {
        match partitions(client, &self.name, timeout) {
            Ok(count) => Ok(i32::try_from(count).ok().filter(|count| *count > 0)),
            Err(code) if class(code) == Class::UnknownTopic => Ok(None),
            Err(code) => Err(self.failure(&RdKafkaError::MetadataFetch(code))),
        }
    }

    async fn describe(&self, timeout: Duration) -> Result<(AdminClient<Events>, Option<i32>), Failure> {
        let topic = self.clone();
        let describe = move || {
            let admin: AdminClient<Events> = topic.connect.client(&[])?;
            let found = topic.partitions(admin.inner(), timeout)?;
            Ok((admin, found))
        };
        on_thread(describe).await?
    }

    /// Checks that the brokers answer. The topic need not exist.
    pub(crate) async fn reach(&self) -> Result<(), Failure> {
        self.describe(REACH_TIMEOUT).await.map(drop)
    }

    pub(super) async fn exists(&self) -> Result<bool, Failure> {
        Ok(self.describe(ANSWER_TIMEOUT).await?.1.is_some())
    }

    /// Returns a client and the number of partitions, or None if the topic does not exist. Refuses a topic without
    /// compaction.
    pub(super) async fn check(&self) -> Result<(AdminClient<Events>, Option<i32>), Failure> {
        let (admin, count) = self.describe(ANSWER_TIMEOUT).await?;
        self.compacted(&admin).await?;
        Ok((admin, count))
    }

    /// Creates the topic if it does not exist. Returns the number of its partitions.
    pub(crate) async fn ensure(&self) -> Result<i32, Failure> {
        let (admin, count) = self.check().await?;
        if let Some(count) = count {
            return Ok(count);
        }
        self.create(&admin).await?;
        // The brokers know a new topic shortly after the controller has created it.
        let begun = Instant::now();
        while begun.elapsed() < ANSWER_TIMEOUT {
            if let Some(count) = self.describe(ANSWER_TIMEOUT).await?.1 {
                return Ok(count);
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(Failure::transient(format!("{}: created, but the brokers do not know it yet", self.title)))
    }

    async fn create(&self, admin: &AdminClient<Events>) -> Result<(), Failure> {
        let mut new = NewTopic::new(&self.name, PARTITIONS, TopicReplication::Fixed(-1));
        for (key, value) in SETTINGS {
            new = new.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_TIMEOUT));
        let reason = match admin.create_topics(&[new], &options).await.map(|results| results.into_iter().next()) {
            Ok(Some(Ok(_)) | None) | Ok(Some(Err((_, Code::TopicAlreadyExists)))) => {
                tracing::info!(topic = self.name, "the topic of {} was created", self.holds);
                return Ok(());
            }
            Ok(Some(Err((_, code)))) => code.to_string(),
            Err(error) => error.to_string(),
        };
        Err(Failure::Misconfigured(format!(
            "the {} does not exist and cannot be created ({reason}); create it with cleanup.policy=compact",
            self.title
        )))
    }

    /// Refuses a topic that deletes old records, since a lane without its checkpoint begins at `since` again. Does
    /// nothing if the user has no right to describe the topic.
    async fn compacted(&self, admin: &AdminClient<Events>) -> Result<(), Failure> {
        let options = AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT));
        let answers = admin.describe_configs(&[ResourceSpecifier::Topic(&self.name)], &options).await;
        let policy = |config: &ConfigResource| {
            config.entries.iter().find(|entry| entry.name == "cleanup.policy").and_then(|entry| entry.value.clone())
        };
        let mut policies = answers.iter().flatten().flatten().filter_map(policy);
        match policies.find(|policy| policy.split(',').any(|word| word.trim() == "delete")) {
            None => Ok(()),
            Some(policy) => Err(Failure::Misconfigured(format!(
                "the {} has cleanup.policy={policy} and would forget {}; set it to compact",
                self.title, self.holds
            ))),
        }
    }
}
