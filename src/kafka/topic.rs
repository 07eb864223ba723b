//! Creates compacted topics and reads them to their end.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError as RdKafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::failure_of;
use super::record::{KeyFilter, TopicScan, TopicSnapshot};
use super::{Connect, Events};
use crate::failure::Failure;

/// Timeout of one answer of the brokers.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of a check whether the brokers answer.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a read without progress. An open transaction hides the records after it until it ends or times out.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// Only this program reads the topic. A few partitions distribute it over the brokers.
const PARTITIONS: i32 = 4;
/// Each start reads the whole topic. The active segment is never compacted, so segments are small.
const SETTINGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "16777216"),
    ("segment.ms", "3600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
];

/// The purpose of a topic, for error messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct TopicPurpose {
    pub(super) name: &'static str,
    /// The content that it would lose without compaction.
    pub(super) holds: &'static str,
}

pub(super) const CHECKPOINTS: TopicPurpose = TopicPurpose { name: "checkpoint topic", holds: "checkpoints" };

impl TopicPurpose {
    pub(super) fn of(self, topic: &str) -> String {
        format!("{} `{topic}`", self.name)
    }
}

#[expect(clippy::disallowed_methods, reason = "runs on a separate thread, which waits for real brokers")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Returns the number of partitions of `topic`, or None if it does not exist. Blocks.
fn partitions<C: rdkafka::ClientContext>(
    client: &rdkafka::client::Client<C>,
    topic: &str,
    what: TopicPurpose,
    events: &Events,
    timeout: Duration,
) -> Result<Option<i32>, Failure> {
    let what = what.of(topic);
    let metadata = client.fetch_metadata(Some(topic), timeout).map_err(|error| failure_of(&error, &what, events))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let error = found.and_then(|found| found.error()).map(RDKafkaErrorCode::from);
    match (found, error) {
        (_, Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)) | (None, _) => Ok(None),
        (_, Some(code)) => Err(failure_of(&RdKafkaError::MetadataFetch(code), &what, events)),
        (Some(found), None) => Ok(i32::try_from(found.partitions().len()).ok().filter(|count| *count > 0)),
    }
}

/// Returns a client and the number of the topic's partitions, or None if it does not exist.
pub(super) async fn describe(
    connect: &Connect,
    events: &Events,
    topic: &str,
    what: TopicPurpose,
    timeout: Duration,
) -> Result<(AdminClient<Events>, Option<i32>), Failure> {
    let (connect, events, topic) = (connect.clone(), events.clone(), topic.to_owned());
    let describe = move || {
        let admin: AdminClient<Events> = connect.client(&events, &[])?;
        let found = partitions(admin.inner(), &topic, what, &events, timeout)?;
        Ok((admin, found))
    };
    super::on_thread(describe).await?
}

/// Checks that the brokers answer. The topic need not exist.
pub(crate) async fn reach(connect: &Connect, topic: &str) -> Result<(), Failure> {
    describe(connect, &connect.events(), topic, CHECKPOINTS, REACH_TIMEOUT).await.map(|_| ())
}

pub(super) async fn exists(
    connect: &Connect,
    events: &Events,
    topic: &str,
    what: TopicPurpose,
) -> Result<bool, Failure> {
    Ok(describe(connect, events, topic, what, ANSWER_TIMEOUT).await?.1.is_some())
}

/// Creates the topic if it does not exist, and checks that it is compacted. Returns the number of its partitions.
pub(super) async fn ensure(
    connect: &Connect,
    events: &Events,
    topic: &str,
    what: TopicPurpose,
) -> Result<i32, Failure> {
    let (admin, found) = describe(connect, events, topic, what, ANSWER_TIMEOUT).await?;
    if let Some(count) = found {
        compacted(&admin, topic, what).await?;
        return Ok(count);
    }
    let new = SETTINGS
        .iter()
        .fold(NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(-1)), |new, (key, value)| new.set(key, value));
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_TIMEOUT));
    let made = admin.create_topics(&[new], &options).await;
    let refused = match made.map(|results| results.into_iter().next()) {
        Ok(Some(Ok(_)) | None) | Ok(Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists)))) => None,
        Ok(Some(Err((_, code)))) => Some(code.to_string()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(reason) = refused {
        return Err(Failure::Misconfigured(format!(
            "the {} does not exist and cannot be created ({reason}); create it with cleanup.policy=compact",
            what.of(topic)
        )));
    }
    tracing::info!(topic, "the {} was created", what.name);
    let (wait_events, name) = (events.clone(), topic.to_owned());
    // The brokers know a new topic shortly after the controller has created it.
    let wait = move || {
        let begun = Instant::now();
        loop {
            match partitions(admin.inner(), &name, what, &wait_events, ANSWER_TIMEOUT)? {
                Some(count) => return Ok(count),
                None if begun.elapsed() > ANSWER_TIMEOUT => {
                    return Err(Failure::transient(format!(
                        "{}: created, but the brokers do not know it yet",
                        what.of(&name)
                    )));
                }
                None => pause(Duration::from_millis(100)),
            }
        }
    };
    super::on_thread(wait).await?
}

/// Refuses a topic that deletes old records, since a lane without its checkpoint begins at `since` again. Does nothing
/// if the user has no right to describe the topic.
pub(super) async fn compacted(admin: &AdminClient<Events>, topic: &str, what: TopicPurpose) -> Result<(), Failure> {
    let resources = [ResourceSpecifier::Topic(topic)];
    let Ok(answers) =
        admin.describe_configs(&resources, &AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT))).await
    else {
        return Ok(());
    };
    let policy = |config: &ConfigResource| {
        config.entries.iter().find(|entry| entry.name == "cleanup.policy").and_then(|entry| entry.value.clone())
    };
    let policies = answers.iter().flatten().filter_map(policy);
    let mut deleting = policies.filter(|policy| policy.split(',').any(|word| word.trim() == "delete"));
    deleting.next().map_or(Ok(()), |policy| {
        Err(Failure::Misconfigured(format!(
            "the {} has cleanup.policy={policy} and would forget {}; set it to compact",
            what.of(topic),
            what.holds
        )))
    })
}

/// Reads the checkpoints that are in the topic at the time of the call. Waits for transactions that are open then.
/// Blocks.
pub(super) fn read(
    connect: &Connect,
    events: &Events,
    topic: &str,
    filter: KeyFilter,
) -> Result<TopicSnapshot, Failure> {
    let mut collected = TopicScan::new(filter);
    let exists = scan(connect, events, topic, CHECKPOINTS, &mut |message| {
        collected.add(message);
        ControlFlow::Continue(())
    })?;
    if !exists {
        return Err(Failure::transient(format!("{} does not exist any more", CHECKPOINTS.of(topic))));
    }
    Ok(collected.finish())
}

/// Returns the first and the next offset of a partition. Retries while a new or moving partition has no leader.
fn watermarks(client: &BaseConsumer<Events>, topic: &str, partition: i32) -> Result<(i64, i64), RdKafkaError> {
    let begun = Instant::now();
    loop {
        let found = client.fetch_watermarks(topic, partition, ANSWER_TIMEOUT);
        let code = found.as_ref().err().and_then(RdKafkaError::rdkafka_error_code);
        match code {
            Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
                if begun.elapsed() < ANSWER_TIMEOUT => {}
            _ => return found,
        }
        pause(Duration::from_millis(100));
    }
}

/// Calls `visit` with every record that is in the topic at the time of the call, until `visit` breaks. Returns false if
/// the topic does not exist. Blocks.
pub(super) fn scan(
    connect: &Connect,
    events: &Events,
    topic: &str,
    what: TopicPurpose,
    visit: &mut dyn FnMut(&BorrowedMessage<'_>) -> ControlFlow<()>,
) -> Result<bool, Failure> {
    let name = what.of(topic);
    let failed = |error: RdKafkaError| failure_of(&error, &name, events);
    let group =
        [("group.id", "s1-forwarder-checkpoints"), ("enable.auto.commit", "false"), ("auto.offset.reset", "earliest")];
    let with = |more: &[(&str, &str)]| connect.client::<BaseConsumer<Events>>(events, &[&group, more].concat());
    // The high watermark includes open transactions; the last stable offset does not.
    let all = with(&[("isolation.level", "read_uncommitted")])?;
    let stable =
        with(&[("isolation.level", "read_committed"), ("enable.partition.eof", "true"), ("fetch.wait.max.ms", "10")])?;
    let Some(count) = partitions(all.client(), topic, what, events, ANSWER_TIMEOUT)? else { return Ok(false) };
    let mut open = HashSet::new();
    let mut assignment = TopicPartitionList::new();
    let mut high_watermarks = HashMap::new();
    for partition in 0..count {
        let (low, high) = watermarks(&all, topic, partition).map_err(failed)?;
        if low < high {
            open.insert(partition);
            high_watermarks.insert(partition, high);
            assignment.add_partition_offset(topic, partition, Offset::Offset(low)).map_err(failed)?;
        }
    }
    drop(all);
    let mut last_record_at = Instant::now();
    let check_timeout = |last_record_at: Instant| match last_record_at.elapsed() < READ_TIMEOUT {
        true => Ok(()),
        false => Err(Failure::transient(format!("{name}: an open transaction in it does not end"))),
    };
    for (partition, high) in high_watermarks {
        while watermarks(&stable, topic, partition).map_err(failed)?.1 < high {
            check_timeout(last_record_at)?;
            pause(Duration::from_millis(50));
        }
    }
    if !open.is_empty() {
        stable.assign(&assignment).map_err(failed)?;
    }
    while !open.is_empty() {
        check_timeout(last_record_at)?;
        match stable.poll(Duration::from_secs(1)) {
            None => {}
            Some(Ok(message)) => {
                if visit(&message).is_break() {
                    break;
                }
                last_record_at = Instant::now();
            }
            Some(Err(RdKafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => match failure_of(&error, &name, events) {
                // librdkafka continues to read.
                Failure::Transient { reason, .. } => tracing::debug!(topic, reason, "a read of a topic is delayed"),
                failure => return Err(failure),
            },
        }
    }
    Ok(true)
}
