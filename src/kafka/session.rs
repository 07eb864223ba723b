//! From one initialisation of a transactional id to the next.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::producer::Producer;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::group::{Door, Group, Message, Presence, Sent, Settings, WeakDoor};
use super::record::Claim;
use super::{Connect, Events, Transactional, Trouble, Verdict, on_thread};

/// How often a process says that it still holds its id.
const BEAT: Duration = Duration::from_secs(10);
/// Longest wait for an initialisation: a transaction of whoever had the id before may have to be ended.
const INITIALISE: Duration = Duration::from_secs(60);
/// Transactions end before this, where `transaction.timeout.ms` is not known.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both producers of a transactional id, initialised.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) main: Door,
    /// Of the id's twin, where lanes are alone in their transactions.
    pub(super) quarantine: Door,
    pub(super) partitions: i32,
    end: Arc<OnceLock<Trouble>>,
}

/// What a session is made of.
pub(super) struct Start<'a> {
    pub(super) id: &'a str,
    pub(super) topic: &'a str,
    pub(super) process: &'a str,
    pub(super) presence: &'a Presence,
    pub(super) tasks: &'a TaskTracker,
}

/// The id of the producer for lanes whose records were refused.
pub(super) fn quarantine_of(id: &str) -> String {
    format!("{id}-q")
}

/// A producer with this transactional id, initialised: whoever had the id before cannot commit any more, and what it left
/// open is ended.
pub(super) async fn initialise(connect: &Connect, events: &Events, id: &str) -> Result<Transactional, Trouble> {
    let (connect, events, id) = (connect.clone(), events.clone(), id.to_owned());
    let initialise = move || {
        let producer: Transactional = connect.client(&events, &[("transactional.id", id.as_str())])?;
        let what = format!("transactional id {id}");
        producer.init_transactions(INITIALISE).map_err(|error| Trouble::of(&error, &what, &events))?;
        Ok(producer)
    };
    on_thread(initialise).await?
}

/// Whether an id may be initialised; it must be nobody's.
pub(super) async fn try_id(connect: &Connect, events: &Events, id: &str) -> Result<(), Trouble> {
    close(initialise(connect, events, id).await?).await;
    Ok(())
}

/// Takes an id, and its twin, from whoever has them, and keeps neither.
pub(super) async fn fence(connect: &Connect, id: &str) -> Result<(), Trouble> {
    let events = connect.events();
    for id in [id.to_owned(), quarantine_of(id)] {
        try_id(connect, &events, &id).await?;
    }
    Ok(())
}

/// Closing waits for librdkafka's threads, which is nothing for an async thread.
async fn close<T: Send + 'static>(client: T) {
    let _ = on_thread(move || drop(client)).await;
}

impl Session {
    /// Initialises the id and its twin, and claims them in the topic.
    pub(super) async fn start(connect: &Connect, events: &Events, start: Start<'_>) -> Result<Self, Trouble> {
        let Start { id, topic, process, presence, tasks } = start;
        let partitions = super::topic::ensure(connect, events, topic, super::topic::CHECKPOINTS).await?;
        let first = initialise(connect, events, id).await?;
        let twin = initialise(connect, events, &quarantine_of(id)).await?;
        let limit = connect.config.get("transaction.timeout.ms").and_then(|text| text.parse().ok());
        let patience = limit.map_or(PATIENCE, Duration::from_millis);
        let end = Arc::new(OnceLock::new());
        let group = |id: &str, producer, presence, alone| {
            let (id, producer) = (id.to_owned(), Arc::new(producer));
            Group::new(Settings { id, producer, events: events.clone(), presence, alone, patience, end: end.clone() })
        };
        let (first, main) = group(id, first, presence.clone(), false);
        let (twin, quarantine) = group(&quarantine_of(id), twin, Presence::default(), true);
        let claims = Claims { id: id.to_owned(), topic: topic.to_owned(), process: process.to_owned(), partitions };
        tasks.spawn(keep(first, Some(claims.clone())));
        tasks.spawn(keep(twin, None));
        let session = Self { main, quarantine, partitions, end };
        session.claim(&claims, 0).await?;
        tokio::spawn(beat(session.main.downgrade(), claims, session.end.clone()));
        tracing::info!(id, topic, process, "transactional id initialised");
        Ok(session)
    }

    /// Why it ended, if it did.
    pub(super) fn end(&self) -> Option<Trouble> {
        self.end.get().cloned()
    }

    async fn claim(&self, claims: &Claims, beat: u64) -> Result<(), Trouble> {
        match say(&self.main, claims, beat, false).await {
            Verdict::Committed => Ok(()),
            Verdict::Aborted(abort) => {
                let what = format!("checkpoint topic `{}`", claims.topic);
                Err(Trouble::Forbidden(format!(
                    "{what}: {}; the user needs the rights Read, Write and Describe on this topic",
                    abort.code
                )))
            }
            Verdict::Over(trouble) => Err(self.end().unwrap_or(trouble)),
        }
    }
}

/// What a process says of the id that it holds.
#[derive(Debug, Clone)]
struct Claims {
    id: String,
    topic: String,
    process: String,
    partitions: i32,
}

impl Claims {
    fn message(&self, beat: u64, released: bool) -> Message {
        Claim { process: self.process.clone(), beat, released }.message(&self.topic, self.partitions, &self.id)
    }
}

async fn say(door: &Door, claims: &Claims, beat: u64, released: bool) -> Verdict {
    match door.seat().await {
        Some(seat) => seat.commit(Sent::default(), vec![claims.message(beat, released)]).await,
        None => Verdict::Over(Trouble::Superseded("the Kafka producer was closed".to_owned())),
    }
}

/// Says now and then that the id is held. Holds the door only for that moment: the session ends with its last lane.
async fn beat(door: WeakDoor, claims: Claims, end: Arc<OnceLock<Trouble>>) {
    for number in 1.. {
        sleep(BEAT).await;
        let Some(door) = door.upgrade() else { return };
        if end.get().is_some() {
            return;
        }
        // Whether it was said shows in the session's end.
        let _ = say(&door, &claims, number, false).await;
    }
}

/// Runs a group to its end. One that ends because nobody uses it any more gives its id up with a word.
async fn keep(mut group: Group, claims: Option<Claims>) {
    let lasted = group.run().await;
    if let (Ok(()), Some(claims), false) = (lasted, claims, group.has_ended()) {
        group.release(claims.message(u64::MAX, true)).await;
    }
    close(group).await;
}
