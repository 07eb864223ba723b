//! The checkpoint topic: making it, and reading it to its end.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
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

#[expect(clippy::disallowed_methods, reason = "on a thread of its own, which waits for real brokers")]
fn pause(pause: Duration) {
    std::thread::sleep(pause);
}

/// The number of partitions of `topic`, none where it does not exist. Blocks.
fn partitions<C: rdkafka::ClientContext>(
    client: &rdkafka::client::Client<C>,
    topic: &str,
    events: &Events,
    patience: Duration,
) -> Result<Option<i32>, Trouble> {
    let what = format!("checkpoint topic `{topic}`");
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
    patience: Duration,
) -> Result<(AdminClient<Events>, Option<i32>), Trouble> {
    let (connect, events, topic) = (connect.clone(), events.clone(), topic.to_owned());
    let look = move || {
        let admin: AdminClient<Events> = connect.client(&events, &[])?;
        let found = partitions(admin.inner(), &topic, &events, patience)?;
        Ok((admin, found))
    };
    super::on_thread(look).await?
}

/// Whether the brokers answer, and say whether the topic is there.
pub(crate) async fn reach(connect: &Connect, topic: &str) -> Result<(), Trouble> {
    look(connect, &connect.events(), topic, GLANCE).await.map(|_| ())
}

/// Makes sure that the topic is there and compacted; the number of its partitions.
pub(super) async fn ensure(connect: &Connect, events: &Events, topic: &str) -> Result<i32, Trouble> {
    let (admin, found) = look(connect, events, topic, ANSWER).await?;
    if let Some(count) = found {
        compacted(&admin, topic).await?;
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
            "the checkpoint topic `{topic}` does not exist and cannot be created ({reason}); create it with cleanup.policy=compact"
        )));
    }
    tracing::info!(topic, "the checkpoint topic was created");
    let (of_look, name) = (events.clone(), topic.to_owned());
    // Brokers hear of a new topic a moment after the controller made it.
    let wait = move || {
        let begun = Instant::now();
        loop {
            match partitions(admin.inner(), &name, &of_look, ANSWER)? {
                Some(count) => return Ok(count),
                None if begun.elapsed() > ANSWER => {
                    return Err(Trouble::Passing(format!("checkpoint topic `{name}`: created, and not there yet")));
                }
                None => pause(Duration::from_millis(100)),
            }
        }
    };
    super::on_thread(wait).await?
}

/// Refuses a topic that forgets: a lane without its checkpoint begins at `since` again. Who may not ask is trusted.
async fn compacted(admin: &AdminClient<Events>, topic: &str) -> Result<(), Trouble> {
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
            "the checkpoint topic `{topic}` has cleanup.policy={policy} and would forget checkpoints; set it to compact"
        )))
    })
}

/// What can be told of the topic and of the right to transactions without making the one or taking an id from a worker:
/// `id` is nobody's.
pub(crate) async fn probe(connect: &Connect, topic: &str, id: &str) -> Result<String, Trouble> {
    let events = connect.events();
    let (admin, found) = look(connect, &events, topic, ANSWER).await?;
    compacted(&admin, topic).await?;
    super::session::try_id(connect, &events, id).await?;
    Ok(match found {
        Some(count) => format!("checkpoint topic `{topic}` with {count} partitions"),
        None => format!("checkpoint topic `{topic}` does not exist and will be created"),
    })
}

/// Reads everything that was in the topic when this was called, transactions that were under way then included. Blocks.
pub(super) fn read(connect: &Connect, events: &Events, topic: &str, wanted: Wanted) -> Result<Found, Trouble> {
    let what = format!("checkpoint topic `{topic}`");
    let failed = |error: KafkaError| Trouble::of(&error, &what, events);
    let begun = Instant::now();
    let group =
        [("group.id", "s1-forwarder-checkpoints"), ("enable.auto.commit", "false"), ("auto.offset.reset", "earliest")];
    let with = |more: &[(&str, &str)]| connect.client::<BaseConsumer<Events>>(events, &[&group, more].concat());
    // The high watermark counts open transactions, the last stable offset does not.
    let all = with(&[("isolation.level", "read_uncommitted")])?;
    let stable =
        with(&[("isolation.level", "read_committed"), ("enable.partition.eof", "true"), ("fetch.wait.max.ms", "10")])?;
    let count = partitions(all.client(), topic, events, ANSWER)?
        .ok_or_else(|| Trouble::Passing(format!("{what} does not exist any more")))?;
    let mut open = HashSet::new();
    let mut assignment = TopicPartitionList::new();
    let mut wait_for = HashMap::new();
    for partition in 0..count {
        let (low, high) = all.fetch_watermarks(topic, partition, ANSWER).map_err(failed)?;
        if low < high {
            open.insert(partition);
            wait_for.insert(partition, high);
            assignment.add_partition_offset(topic, partition, Offset::Offset(low)).map_err(failed)?;
        }
    }
    drop(all);
    let patient = || match begun.elapsed() < PASS {
        true => Ok(()),
        false => Err(Trouble::Passing(format!("{what}: a transaction is open in it and does not end"))),
    };
    for (partition, high) in wait_for {
        while stable.fetch_watermarks(topic, partition, ANSWER).map_err(failed)?.1 < high {
            patient()?;
            pause(Duration::from_millis(50));
        }
    }
    let mut gathered = Gathered::new(wanted);
    if !open.is_empty() {
        stable.assign(&assignment).map_err(failed)?;
    }
    while !open.is_empty() {
        patient()?;
        match stable.poll(Duration::from_secs(1)) {
            None => {}
            Some(Ok(message)) => gathered.take(&message),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => match Trouble::of(&error, &what, events) {
                // librdkafka goes on by itself.
                Trouble::Passing(reason) => tracing::debug!(topic, reason, "reading checkpoints"),
                grave => return Err(grave),
            },
        }
    }
    Ok(gathered.finish())
}
