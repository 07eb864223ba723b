//! Topics that keep what they hold: making them, and reading them to their end.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::record::{Found, Gathered, Wanted};
use super::{Connect, Events, Trouble};

/// How long brokers may take for one answer.
const ANSWER: Duration = Duration::from_secs(15);
/// How long whoever only wants to know whether they are there waits for them.
const GLANCE: Duration = Duration::from_secs(5);
/// How long a pass may take: a transaction that is open in the topic hides what comes after it until it ends or times out.
const PASS: Duration = Duration::from_secs(120);
/// Nobody reads it but this program; a few partitions spread it over the brokers.
const PARTITIONS: i32 = 4;
/// Small segments are compacted soon: the active one never is, and each start reads the topic.
const SETTINGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "16777216"),
    ("segment.ms", "3600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
];

/// What a topic is for, in words for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct What {
    pub(super) name: &'static str,
    /// What it would forget.
    pub(super) holds: &'static str,
}

/// Of checkpoints.
pub(super) const CHECKPOINTS: What = What { name: "checkpoint topic", holds: "checkpoints" };

impl What {
    pub(super) fn of(self, topic: &str) -> String {
        format!("{} `{topic}`", self.name)
    }
}

#[expect(clippy::disallowed_methods, reason = "on a thread of its own, which waits for real brokers")]
fn pause(pause: Duration) {
    std::thread::sleep(pause);
}

/// The number of partitions of `topic`, none where it does not exist. Blocks.
fn partitions<C: rdkafka::ClientContext>(
    client: &rdkafka::client::Client<C>,
    topic: &str,
    what: What,
    events: &Events,
    patience: Duration,
) -> Result<Option<i32>, Trouble> {
    let what = what.of(topic);
    let metadata = client.fetch_metadata(Some(topic), patience).map_err(|error| Trouble::of(&error, &what, events))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let error = found.and_then(|found| found.error()).map(RDKafkaErrorCode::from);
    match (found, error) {
        (_, Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition)) | (None, _) => Ok(None),
        (_, Some(code)) => Err(Trouble::of(&KafkaError::MetadataFetch(code), &what, events)),
        (Some(found), None) => Ok(i32::try_from(found.partitions().len()).ok().filter(|count| *count > 0)),
    }
}

/// A client, and the number of the topic's partitions, none where it does not exist.
async fn look(
    connect: &Connect,
    events: &Events,
    topic: &str,
    what: What,
    patience: Duration,
) -> Result<(AdminClient<Events>, Option<i32>), Trouble> {
    let (connect, events, topic) = (connect.clone(), events.clone(), topic.to_owned());
    let look = move || {
        let admin: AdminClient<Events> = connect.client(&events, &[])?;
        let found = partitions(admin.inner(), &topic, what, &events, patience)?;
        Ok((admin, found))
    };
    super::on_thread(look).await?
}

/// Whether the brokers answer, and say whether the topic is there.
pub(crate) async fn reach(connect: &Connect, topic: &str) -> Result<(), Trouble> {
    look(connect, &connect.events(), topic, CHECKPOINTS, GLANCE).await.map(|_| ())
}

/// Whether there is such a topic.
pub(super) async fn exists(connect: &Connect, events: &Events, topic: &str, what: What) -> Result<bool, Trouble> {
    Ok(look(connect, events, topic, what, ANSWER).await?.1.is_some())
}

/// Makes sure that the topic is there and compacted; the number of its partitions.
pub(super) async fn ensure(connect: &Connect, events: &Events, topic: &str, what: What) -> Result<i32, Trouble> {
    let (admin, found) = look(connect, events, topic, what, ANSWER).await?;
    if let Some(count) = found {
        compacted(&admin, topic, what).await?;
        return Ok(count);
    }
    let new = SETTINGS
        .iter()
        .fold(NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(-1)), |new, (key, value)| new.set(key, value));
    let options = AdminOptions::new().operation_timeout(Some(ANSWER));
    let made = admin.create_topics(&[new], &options).await;
    let refused = match made.map(|results| results.into_iter().next()) {
        Ok(Some(Ok(_)) | None) | Ok(Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists)))) => None,
        Ok(Some(Err((_, code)))) => Some(code.to_string()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(reason) = refused {
        return Err(Trouble::Forbidden(format!(
            "the {} does not exist and cannot be created ({reason}); create it with cleanup.policy=compact",
            what.of(topic)
        )));
    }
    tracing::info!(topic, "the {} was created", what.name);
    let (of_look, name) = (events.clone(), topic.to_owned());
    // Brokers hear of a new topic a moment after the controller made it.
    let wait = move || {
        let begun = Instant::now();
        loop {
            match partitions(admin.inner(), &name, what, &of_look, ANSWER)? {
                Some(count) => return Ok(count),
                None if begun.elapsed() > ANSWER => {
                    return Err(Trouble::Passing(format!("{}: created, and not there yet", what.of(&name))));
                }
                None => pause(Duration::from_millis(100)),
            }
        }
    };
    super::on_thread(wait).await?
}

/// Refuses a topic that forgets: a lane without its checkpoint begins at `since` again. Who may not ask is trusted.
async fn compacted(admin: &AdminClient<Events>, topic: &str, what: What) -> Result<(), Trouble> {
    let asked = [ResourceSpecifier::Topic(topic)];
    let Ok(answers) = admin.describe_configs(&asked, &AdminOptions::new().request_timeout(Some(ANSWER))).await else {
        return Ok(());
    };
    let policy = |config: &ConfigResource| {
        config.entries.iter().find(|entry| entry.name == "cleanup.policy").and_then(|entry| entry.value.clone())
    };
    let policies = answers.iter().flatten().filter_map(policy);
    let mut forgetful = policies.filter(|policy| policy.split(',').any(|word| word.trim() == "delete"));
    forgetful.next().map_or(Ok(()), |policy| {
        Err(Trouble::Forbidden(format!(
            "the {} has cleanup.policy={policy} and would forget {}; set it to compact",
            what.of(topic),
            what.holds
        )))
    })
}

/// What can be told of the topic and of the right to transactions without making the one or taking an id from a worker:
/// `id` is nobody's.
pub(crate) async fn probe(connect: &Connect, topic: &str, id: &str) -> Result<String, Trouble> {
    let events = connect.events();
    let (admin, found) = look(connect, &events, topic, CHECKPOINTS, ANSWER).await?;
    compacted(&admin, topic, CHECKPOINTS).await?;
    super::session::try_id(connect, &events, id).await?;
    Ok(match found {
        Some(count) => format!("checkpoint topic `{topic}` with {count} partitions"),
        None => format!("checkpoint topic `{topic}` does not exist and will be created"),
    })
}

/// Reads all checkpoints that were in the topic when this was called, transactions that were under way then included. Blocks.
pub(super) fn read(connect: &Connect, events: &Events, topic: &str, wanted: Wanted) -> Result<Found, Trouble> {
    let mut gathered = Gathered::new(wanted);
    let exists = scan(connect, events, topic, CHECKPOINTS, &mut |message| {
        gathered.take(message);
        ControlFlow::Continue(())
    })?;
    if !exists {
        return Err(Trouble::Passing(format!("{} does not exist any more", CHECKPOINTS.of(topic))));
    }
    Ok(gathered.finish())
}

/// Where a partition begins and ends. One that was made just now, or moves, has no leader for a moment.
fn watermarks(client: &BaseConsumer<Events>, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
    let begun = Instant::now();
    loop {
        let found = client.fetch_watermarks(topic, partition, ANSWER);
        let code = found.as_ref().err().and_then(KafkaError::rdkafka_error_code);
        match code {
            Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable)
                if begun.elapsed() < ANSWER => {}
            _ => return found,
        }
        pause(Duration::from_millis(100));
    }
}

/// Shows everything that was in the topic when this was called, or until it is told to stop. False where there is no such
/// topic. Blocks.
pub(super) fn scan(
    connect: &Connect,
    events: &Events,
    topic: &str,
    what: What,
    take: &mut dyn FnMut(&BorrowedMessage<'_>) -> ControlFlow<()>,
) -> Result<bool, Trouble> {
    let name = what.of(topic);
    let failed = |error: KafkaError| Trouble::of(&error, &name, events);
    let group =
        [("group.id", "s1-forwarder-checkpoints"), ("enable.auto.commit", "false"), ("auto.offset.reset", "earliest")];
    let with = |more: &[(&str, &str)]| connect.client::<BaseConsumer<Events>>(events, &[&group, more].concat());
    // The high watermark counts open transactions, the last stable offset does not.
    let all = with(&[("isolation.level", "read_uncommitted")])?;
    let stable =
        with(&[("isolation.level", "read_committed"), ("enable.partition.eof", "true"), ("fetch.wait.max.ms", "10")])?;
    let Some(count) = partitions(all.client(), topic, what, events, ANSWER)? else { return Ok(false) };
    let mut open = HashSet::new();
    let mut assignment = TopicPartitionList::new();
    let mut wait_for = HashMap::new();
    for partition in 0..count {
        let (low, high) = watermarks(&all, topic, partition).map_err(failed)?;
        if low < high {
            open.insert(partition);
            wait_for.insert(partition, high);
            assignment.add_partition_offset(topic, partition, Offset::Offset(low)).map_err(failed)?;
        }
    }
    drop(all);
    // Counts while nothing comes.
    let mut since = Instant::now();
    let patient = |since: Instant| match since.elapsed() < PASS {
        true => Ok(()),
        false => Err(Trouble::Passing(format!("{name}: a transaction is open in it and does not end"))),
    };
    for (partition, high) in wait_for {
        while watermarks(&stable, topic, partition).map_err(failed)?.1 < high {
            patient(since)?;
            pause(Duration::from_millis(50));
        }
    }
    if !open.is_empty() {
        stable.assign(&assignment).map_err(failed)?;
    }
    while !open.is_empty() {
        patient(since)?;
        match stable.poll(Duration::from_secs(1)) {
            None => {}
            Some(Ok(message)) => {
                if take(&message).is_break() {
                    break;
                }
                since = Instant::now();
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => match Trouble::of(&error, &name, events) {
                // librdkafka goes on by itself.
                Trouble::Passing(reason) => tracing::debug!(topic, reason, "reading a topic"),
                grave => return Err(grave),
            },
        }
    }
    Ok(true)
}
