//! A session lasts from one initialisation of a transactional id to the next.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use rdkafka::producer::Producer as _;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::claim::OwnClaim;
use super::connect::on_thread;
use super::group::{Group, SlotRequest, TransactionSlot, closed, slot};
use super::topic::Topic;
use super::{CommitOutcome, Connect, PROCESS, Producer, Sent};
use crate::failure::Failure;

/// Interval at which a process renews its claim of an id.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Timeout of an initialisation. It may have to end a transaction of the id's last holder.
const INITIALISE_TIMEOUT: Duration = Duration::from_secs(60);
/// Upper bound of a transaction if `transaction.timeout.ms` is unknown.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// Capacity of the queue of slot requests; further requests wait.
const REQUESTS: usize = 1_024;

/// The two initialised producers of a transactional id.
#[derive(Debug)]
pub(super) struct Session {
    main: mpsc::Sender<SlotRequest>,
    /// The producer of the quarantine id commits one lane per transaction.
    quarantine: mpsc::Sender<SlotRequest>,
    pub(super) partitions: i32,
    end: Arc<OnceLock<Failure>>,
}

/// The id of the producer for lanes with refused records.
fn quarantine_of(id: &str) -> String {
    format!("{id}-q")
}

/// Initialises a producer with this transactional id. It fences the id's last holder and ends its open transaction.
async fn initialise(connect: &Connect, id: &str) -> Result<Producer, Failure> {
    let (connect, id) = (connect.clone(), id.to_owned());
    let initialise = move || {
        let producer: Producer = connect.client(&[("transactional.id", id.as_str())])?;
        let failed = |error| connect.failure(&error, &format!("transactional id {id}"));
        producer.init_transactions(INITIALISE_TIMEOUT).map_err(failed)?;
        Ok(producer)
    };
    on_thread(initialise).await?
}

/// Checks the checkpoint topic and the right to transactions. It creates no topic, and no process may hold `id`.
pub(crate) async fn probe(topic: &Topic, id: &str) -> Result<String, Failure> {
    let (_, partitions) = topic.check().await?;
    close(initialise(&topic.connect, id).await?).await;
    Ok(match partitions {
        Some(count) => format!("{} with {count} partitions", topic.title),
        None => format!("{} does not exist and will be created", topic.title),
    })
}

/// Fences the process that holds an id and its quarantine id. The caller holds neither afterwards.
pub(super) async fn fence(connect: &Connect, id: &str) -> Result<(), Failure> {
    for id in [id, &quarantine_of(id)] {
        close(initialise(connect, id).await?).await;
    }
    Ok(())
}

/// Drops a client on a separate thread, since this waits for librdkafka's threads.
async fn close<T: Send + 'static>(client: T) {
    let _ = on_thread(move || drop(client)).await;
}

impl Session {
    /// Initialises the id and its quarantine id, and claims them in the topic. `senders` has one reference for each
    /// lane that is about to send.
    pub(super) async fn start(
        topic: &Topic,
        id: &str,
        senders: Weak<()>,
        tasks: &TaskTracker,
    ) -> Result<Self, Failure> {
        let partitions = topic.ensure().await?;
        let first = initialise(&topic.connect, id).await?;
        let second = initialise(&topic.connect, &quarantine_of(id)).await?;
        let limit = topic.connect.config.get("transaction.timeout.ms").and_then(|text| text.parse().ok());
        let timeout = limit.map_or(TRANSACTION_TIMEOUT, Duration::from_millis);
        let end = Arc::new(OnceLock::new());
        let group = |id: String, producer, senders| {
            let (sender, requests) = mpsc::channel(REQUESTS);
            let (connect, producer, end) = (topic.connect.clone(), Arc::new(producer), end.clone());
            (sender, Group { id, producer, connect, senders, timeout, end, requests })
        };
        let (main, main_group) = group(id.to_owned(), first, Some(senders));
        let (quarantine, quarantine_group) = group(quarantine_of(id), second, None);
        let claim = OwnClaim { id: id.to_owned(), topic: topic.name.clone(), partitions };
        tasks.spawn(run_group(main_group, Some(claim.clone())));
        tasks.spawn(run_group(quarantine_group, None));
        let session = Self { main, quarantine, partitions, end };
        session.commit_first_claim(topic, &claim).await?;
        tokio::spawn(heartbeat(session.main.downgrade(), claim, session.end.clone()));
        tracing::info!(id, topic = topic.name, process = *PROCESS, "transactional id initialised");
        Ok(session)
    }

    /// The failure that ended the session.
    pub(super) fn end(&self) -> Option<Failure> {
        self.end.get().cloned()
    }

    /// Waits for a slot in the next transaction. Other lanes share the transaction unless `alone` is true.
    pub(super) async fn slot(&self, alone: bool) -> Result<TransactionSlot, Failure> {
        match self.superseded() {
            Some(end) => Err(end),
            None => slot(if alone { &self.quarantine } else { &self.main })
                .await
                .ok_or_else(|| self.superseded().unwrap_or_else(closed)),
        }
    }

    /// Returns the failure after which lanes have to be opened again. Every end of the session counts: the next session
    /// finds out whether the brokers still refuse.
    pub(super) fn superseded(&self) -> Option<Failure> {
        self.end.get().map(|end| Failure::Superseded(end.to_string()))
    }

    async fn commit_first_claim(&self, topic: &Topic, claim: &OwnClaim) -> Result<(), Failure> {
        match commit_claim(&self.main, claim, 0).await {
            CommitOutcome::Committed => Ok(()),
            CommitOutcome::Aborted(abort) => Err(Failure::Misconfigured(format!(
                "{}: {}; the user needs the rights Read, Write and Describe on this topic",
                topic.title, abort.code
            ))),
            CommitOutcome::ProducerFailed(failure) => Err(self.end().unwrap_or(failure)),
        }
    }
}

async fn commit_claim(group: &mpsc::Sender<SlotRequest>, claim: &OwnClaim, beat: u64) -> CommitOutcome {
    match slot(group).await {
        Some(slot) => slot.commit(Sent::default(), vec![claim.message(beat, false)]).await,
        None => CommitOutcome::ProducerFailed(closed()),
    }
}

/// Renews the claim. Between two writes it does not keep the session alive, so the session ends with its last lane.
async fn heartbeat(group: mpsc::WeakSender<SlotRequest>, claim: OwnClaim, end: Arc<OnceLock<Failure>>) {
    for number in 1.. {
        sleep(HEARTBEAT).await;
        let Some(group) = group.upgrade().filter(|_| end.get().is_none()) else { return };
        // A failure ends the session.
        let _ = commit_claim(&group, &claim, number).await;
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
