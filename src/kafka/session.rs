//! A session lasts from one initialisation of a transactional id to the next.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::producer::Producer;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::failure_of;
use super::group::{Group, GroupSettings, Message, PendingSenders, Sent, SlotSender, WeakSlotSender};
use super::record::Claim;
use super::topic::{self, CHECKPOINTS};
use super::{CommitOutcome, Connect, Events, Transactional, on_thread};
use crate::failure::Failure;

/// Interval at which a process renews its claim of an id.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Timeout of an initialisation. It may have to end a transaction of the id's last holder.
const INITIALISE_TIMEOUT: Duration = Duration::from_secs(60);
/// Upper bound of a transaction if `transaction.timeout.ms` is unknown.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

/// The two initialised producers of a transactional id.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) main: SlotSender,
    /// The producer of the quarantine id commits one lane per transaction.
    pub(super) quarantine: SlotSender,
    pub(super) partitions: i32,
    end: Arc<OnceLock<Failure>>,
}

pub(super) struct Start<'a> {
    pub(super) id: &'a str,
    pub(super) topic: &'a str,
    pub(super) process: &'a str,
    pub(super) pending: &'a PendingSenders,
    pub(super) tasks: &'a TaskTracker,
}

/// The id of the producer for lanes with refused records.
pub(super) fn quarantine_of(id: &str) -> String {
    format!("{id}-q")
}

/// Initialises a producer with this transactional id. It fences the id's last holder and ends its open transaction.
pub(super) async fn initialise(connect: &Connect, events: &Events, id: &str) -> Result<Transactional, Failure> {
    let (connect, events, id) = (connect.clone(), events.clone(), id.to_owned());
    let initialise = move || {
        let producer: Transactional = connect.client(&events, &[("transactional.id", id.as_str())])?;
        let what = format!("transactional id {id}");
        producer.init_transactions(INITIALISE_TIMEOUT).map_err(|error| failure_of(&error, &what, &events))?;
        Ok(producer)
    };
    on_thread(initialise).await?
}

/// Checks whether an id may be initialised. No process may hold it.
pub(super) async fn try_id(connect: &Connect, events: &Events, id: &str) -> Result<(), Failure> {
    close(initialise(connect, events, id).await?).await;
    Ok(())
}

/// Checks the checkpoint topic and the right to transactions. It creates no topic, and no process may hold `id`.
pub(crate) async fn probe(connect: &Connect, topic: &str, id: &str) -> Result<String, Failure> {
    let events = connect.events();
    let (admin, partitions) = topic::describe(connect, &events, topic, CHECKPOINTS, topic::ANSWER_TIMEOUT).await?;
    topic::compacted(&admin, topic, CHECKPOINTS).await?;
    try_id(connect, &events, id).await?;
    Ok(match partitions {
        Some(count) => format!("checkpoint topic `{topic}` with {count} partitions"),
        None => format!("checkpoint topic `{topic}` does not exist and will be created"),
    })
}

/// Fences the process that holds an id and its quarantine id. The caller holds neither afterwards.
pub(super) async fn fence(connect: &Connect, id: &str) -> Result<(), Failure> {
    let events = connect.events();
    for id in [id.to_owned(), quarantine_of(id)] {
        try_id(connect, &events, &id).await?;
    }
    Ok(())
}

/// Drops a client on a separate thread, since this waits for librdkafka's threads.
async fn close<T: Send + 'static>(client: T) {
    let _ = on_thread(move || drop(client)).await;
}

impl Session {
    /// Initialises the id and its quarantine id, and claims them in the topic.
    pub(super) async fn start(connect: &Connect, events: &Events, start: Start<'_>) -> Result<Self, Failure> {
        let Start { id, topic, process, pending, tasks } = start;
        let partitions = topic::ensure(connect, events, topic, CHECKPOINTS).await?;
        let first = initialise(connect, events, id).await?;
        let second = initialise(connect, events, &quarantine_of(id)).await?;
        let limit = connect.config.get("transaction.timeout.ms").and_then(|text| text.parse().ok());
        let timeout = limit.map_or(TRANSACTION_TIMEOUT, Duration::from_millis);
        let end = Arc::new(OnceLock::new());
        let group = |id: &str, producer, pending, alone| {
            let (id, producer) = (id.to_owned(), Arc::new(producer));
            Group::new(GroupSettings {
                id,
                producer,
                events: events.clone(),
                pending,
                alone,
                timeout,
                end: end.clone(),
            })
        };
        let (main_group, main) = group(id, first, pending.clone(), false);
        let (quarantine_group, quarantine) = group(&quarantine_of(id), second, PendingSenders::default(), true);
        let claim = OwnClaim { id: id.to_owned(), topic: topic.to_owned(), process: process.to_owned(), partitions };
        tasks.spawn(run_group(main_group, Some(claim.clone())));
        tasks.spawn(run_group(quarantine_group, None));
        let session = Self { main, quarantine, partitions, end };
        session.commit_first_claim(&claim).await?;
        tokio::spawn(heartbeat(session.main.downgrade(), claim, session.end.clone()));
        tracing::info!(id, topic, process, "transactional id initialised");
        Ok(session)
    }

    /// The failure that ended the session.
    pub(super) fn end(&self) -> Option<Failure> {
        self.end.get().cloned()
    }

    async fn commit_first_claim(&self, claim: &OwnClaim) -> Result<(), Failure> {
        match commit_claim(&self.main, claim, 0, false).await {
            CommitOutcome::Committed => Ok(()),
            CommitOutcome::Aborted(abort) => {
                let what = format!("checkpoint topic `{}`", claim.topic);
                Err(Failure::Misconfigured(format!(
                    "{what}: {}; the user needs the rights Read, Write and Describe on this topic",
                    abort.code
                )))
            }
            CommitOutcome::ProducerFailed(failure) => Err(self.end().unwrap_or(failure)),
        }
    }
}

#[derive(Debug, Clone)]
struct OwnClaim {
    id: String,
    topic: String,
    process: String,
    partitions: i32,
}

impl OwnClaim {
    fn message(&self, beat: u64, released: bool) -> Message {
        Claim { process: self.process.clone(), beat, released }.message(&self.topic, self.partitions, &self.id)
    }
}

async fn commit_claim(slots: &SlotSender, claim: &OwnClaim, beat: u64, released: bool) -> CommitOutcome {
    match slots.slot().await {
        Some(slot) => slot.commit(Sent::default(), vec![claim.message(beat, released)]).await,
        None => CommitOutcome::ProducerFailed(Failure::Superseded("the Kafka producer was closed".to_owned())),
    }
}

/// Renews the claim. Between two writes it does not keep the session alive, so the session ends with its last lane.
async fn heartbeat(slots: WeakSlotSender, claim: OwnClaim, end: Arc<OnceLock<Failure>>) {
    for number in 1.. {
        sleep(HEARTBEAT).await;
        let Some(slots) = slots.upgrade() else { return };
        if end.get().is_some() {
            return;
        }
        // A failure ends the session.
        let _ = commit_claim(&slots, &claim, number, false).await;
    }
}

/// Runs a group to its end. After its last lane has left, the group releases its id.
async fn run_group(mut group: Group, claim: Option<OwnClaim>) {
    let result = group.run().await;
    if let (Ok(()), Some(claim), false) = (result, claim, group.has_ended()) {
        group.release(claim.message(u64::MAX, true)).await;
    }
    close(group).await;
}
