//! A producer session lasts from one initialisation of a transactional id to the next.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use rdkafka::producer::Producer as _;
use s1_forwarder_failure::Failure;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::claim::OwnClaim;
use super::client_settings::{close, on_thread};
use super::end_txn::{self, Counts, EndTxn};
use super::roles::{Roles, Sharing};
use super::send::Message;
use super::topic::{Topic, TopicState};
use super::transactional_producer::{SlotRequest, TransactionSlot, TransactionalProducer, closed};
use super::{ClientSettings, CommitOutcome, PROCESS_NAME, Producer, Sent};

/// Interval at which a process renews its claim of an id.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Timeout of an initialisation. It may have to end a transaction of the id's last holder.
const INITIALISE_TIMEOUT: Duration = Duration::from_mins(1);
/// Upper bound of a transaction if `transaction.timeout.ms` is unknown.
const TRANSACTION_TIMEOUT: Duration = Duration::from_mins(1);
/// Capacity of the queue of slot requests; further requests wait.
const REQUESTS: usize = 1_024;

/// The two initialised producers of a transactional id. They end after the session is dropped.
#[derive(Debug)]
pub(super) struct ProducerSession {
    queues: [mpsc::Sender<SlotRequest>; 2],
    pub(super) roles: Arc<Roles>,
    pub(super) partitions: i32,
    end: Arc<OnceLock<Failure>>,
}

/// Returns the id of the quarantine producer, for lanes with refused records.
fn quarantine_of(id: &str) -> String {
    format!("{id}-q")
}

/// Initialises a producer with this transactional id. It fences the id's last holder and ends its open transaction.
async fn initialise(client_settings: &ClientSettings, id: &str) -> Result<(Producer, EndTxn), Failure> {
    let mut client_settings = client_settings.clone();
    let id = id.to_owned();
    let initialise = move || {
        let (sender, statistics) = watch::channel(Counts::default());
        client_settings.events.statistics = Some(sender);
        let settings = EndTxn::settings(&client_settings.config);
        let mut settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        settings.push(("transactional.id", id.as_str()));
        let end_txn = EndTxn::new(&client_settings.config, statistics);
        let producer: Producer = client_settings.client(&settings)?;
        let failed = |error| client_settings.failure(&error, &format!("transactional id {id}"));
        producer.init_transactions(INITIALISE_TIMEOUT).map_err(failed)?;
        Ok((producer, end_txn))
    };
    on_thread(initialise).await?
}

/// Checks the checkpoint topic and the right to transactions. Creates no topic. No process may hold `id`.
pub(super) async fn probe(topic: &Topic, id: &str) -> Result<String, Failure> {
    let state = topic.state().await?;
    close(initialise(&topic.client_settings, id).await?.0);
    Ok(match state {
        TopicState::Ready(count) => format!("{} with {count} partitions", topic.title),
        TopicState::Unused { .. } => format!("{} is empty and will be set to cleanup.policy=compact", topic.title),
        TopicState::Missing => format!("{} does not exist and will be created", topic.title),
    })
}

/// Fences the process that holds an id and its quarantine id. The caller holds neither afterwards.
pub(super) async fn fence(client_settings: &ClientSettings, id: &str) -> Result<(), Failure> {
    for id in [id, &quarantine_of(id)] {
        close(initialise(client_settings, id).await?.0);
    }
    Ok(())
}

impl ProducerSession {
    /// Initialises the id and its quarantine id, and claims them in the topic. `senders` has one reference for each
    /// lane that is about to send.
    pub(super) async fn start(
        topic: &Topic,
        id: &str,
        senders: Weak<()>,
        tasks: &TaskTracker,
    ) -> Result<Arc<Self>, Failure> {
        let partitions = topic.ensure().await?;
        for (option, used) in end_txn::replaced(&topic.client_settings.config) {
            tracing::warn!(id, option, used, "this option is replaced: transactions need a number of at least 100 ms");
        }
        let first = initialise(&topic.client_settings, id).await?;
        let second = initialise(&topic.client_settings, &quarantine_of(id)).await?;
        let limit = topic.client_settings.config.get("transaction.timeout.ms").and_then(|text| text.parse().ok());
        let timeout = limit.map_or(TRANSACTION_TIMEOUT, Duration::from_millis);
        let end = Arc::new(OnceLock::new());
        let roles = Arc::new(Roles::default());
        let claim = OwnClaim { id: id.to_owned(), topic: topic.name.clone(), partitions };
        let start = |index, id: String, (producer, end_txn)| {
            let (queue, requests) = mpsc::channel(REQUESTS);
            let producer = TransactionalProducer {
                id,
                producer,
                end_txn,
                client_settings: topic.client_settings.clone(),
                senders: senders.clone(),
                index,
                roles: roles.clone(),
                timeout,
                end: end.clone(),
                requests,
                waiting: VecDeque::new(),
            };
            tasks.spawn(run(producer, claim.clone()));
            queue
        };
        let queues = [start(0, id.to_owned(), first), start(1, quarantine_of(id), second)];
        let session = Arc::new(Self { queues, roles, partitions, end });
        session.commit_first_claim(topic, &claim).await?;
        tokio::spawn(heartbeat(Arc::downgrade(&session), claim));
        tracing::info!(id, topic = topic.name, process = *PROCESS_NAME, "transactional id initialised");
        Ok(session)
    }

    /// Returns the failure that ended the session.
    pub(super) fn end(&self) -> Option<Failure> {
        self.end.get().cloned()
    }

    /// Waits for a slot in the next transaction.
    pub(super) async fn slot(&self, sharing: Sharing) -> Result<TransactionSlot, Failure> {
        if let Some(end) = self.superseded() {
            return Err(end);
        }
        loop {
            let (grant, granted) = oneshot::channel();
            let sent = self.queues[self.roles.producer(sharing)].send(SlotRequest { sharing, grant }).await;
            sent.map_err(|_| self.superseded().unwrap_or_else(closed))?;
            // A dropped request is for the other producer now.
            if let Ok(slot) = granted.await {
                return Ok(slot);
            }
        }
    }

    /// Commits `messages` without events.
    pub(super) async fn commit(&self, messages: Vec<Message>, sharing: Sharing) -> CommitOutcome {
        self.slot(sharing).await?.commit(Sent::default(), messages).await
    }

    /// Returns the failure after which lanes have to be opened again. Every end of the session counts: the next session
    /// finds out whether the brokers still refuse.
    pub(super) fn superseded(&self) -> Option<Failure> {
        self.end.get().map(|end| Failure::superseded(end.to_string()))
    }

    async fn commit_first_claim(&self, topic: &Topic, claim: &OwnClaim) -> Result<(), Failure> {
        match self.commit(vec![claim.message(0, false)], Sharing::Shared).await {
            Ok(None) => Ok(()),
            Ok(Some(abort)) => Err(Failure::misconfigured(format!(
                "{}: {}; the user needs the rights Read, Write and Describe on this topic",
                topic.title, abort.code
            ))),
            Err(failure) => Err(self.end().unwrap_or(failure)),
        }
    }
}

/// Renews the claim. Between two writes it does not keep the session alive, so the session ends with its last lane.
async fn heartbeat(session: Weak<ProducerSession>, claim: OwnClaim) {
    for number in 1.. {
        sleep(HEARTBEAT).await;
        let Some(session) = session.upgrade().filter(|session| session.end().is_none()) else { return };
        let renewal = || vec![claim.message(number, false)];
        // A failure ends the session.
        let _ = session.commit(renewal(), Sharing::Shared).await;
        if session.roles.is_degraded() {
            // This finds out whether the quarantine producer commits again.
            let _ = timeout(HEARTBEAT, session.commit(renewal(), Sharing::Alone)).await;
        }
    }
}

/// Runs a producer to its end. After its last lane has left, the shared one releases the id.
async fn run(mut producer: TransactionalProducer, claim: OwnClaim) {
    if producer.run().await.is_ok() && producer.is_shared() && !producer.has_session_ended() {
        producer.release(claim.message(u64::MAX, true)).await;
    }
    // The process may end afterwards, and would lose messages that are under way.
    let _ = on_thread(move || drop(producer)).await;
}
