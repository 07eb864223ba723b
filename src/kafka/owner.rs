//! One transactional id: the lanes that commit under it, and how they are taken over.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::group::{Message, Presence, Present, Seat, Sent, Verdict};
use super::record::{Entry, Found, Places, Wanted, claim_key, journal_messages, segment_key};
use super::registry::{Owners, PROCESS};
use super::session::{Session, Start, fence};
use super::{Connect, Trouble, on_thread};
use crate::record::{Append, JournalChange};

/// Lanes that start together read the topic together.
const TOGETHER: Duration = Duration::from_millis(20);
/// Questions to one pass over the topic; more wait.
const QUESTIONS: usize = 1_024;
/// After this process lost an id, whoever took it has this long to say so.
const AFTER_LOSS: Duration = Duration::from_secs(3);

/// One attempt speaks for all lanes that want the same.
const TOO_SOON: Duration = Duration::from_secs(1);

/// One transactional id.
#[derive(Debug)]
pub(crate) struct Owner {
    id: String,
    /// Where checkpoints are.
    topic: String,
    owners: Arc<Owners>,
    presence: Presence,
    /// Held while the id is initialised.
    current: tokio::sync::Mutex<Current>,
    /// The same for whoever cannot wait.
    open: Mutex<Option<Arc<Session>>>,
    reads: OnceCell<mpsc::Sender<Ask>>,
    fences: tokio::sync::Mutex<Option<(String, Instant)>>,
}

#[derive(Debug, Default)]
struct Current {
    /// The last attempt that failed, and when it began.
    failed: Option<(Instant, Trouble)>,
}

/// Somebody waits for what the topic says.
#[derive(Debug)]
struct Ask {
    wanted: Wanted,
    connect: Connect,
    reply: oneshot::Sender<Result<Arc<Found>, Trouble>>,
}

/// A lane that was taken over, as of one session.
#[derive(Debug)]
pub(crate) struct Lane {
    owner: Arc<Owner>,
    session: Arc<Session>,
    name: String,
    /// The process that wrote the record that was found.
    writer: Option<String>,
    last: Mutex<Last>,
    /// The records of its journal.
    places: Mutex<Places>,
}

/// The lane's newest record.
#[derive(Debug, Clone, Copy)]
struct Last {
    sequence: u64,
    chunks: usize,
    /// It names this owner: no other process may write the next one.
    ours: bool,
}

/// What is last where there is nothing.
const NOTHING: Last = Last { sequence: 0, chunks: 0, ours: false };

impl Owner {
    pub(super) fn new(owners: Arc<Owners>, id: String, topic: String) -> Self {
        Self {
            id,
            topic,
            owners,
            presence: Presence::default(),
            current: tokio::sync::Mutex::default(),
            open: Mutex::new(None),
            reads: OnceCell::new(),
            fences: tokio::sync::Mutex::default(),
        }
    }

    /// Counts a lane that is about to send for as long as the guard is held.
    pub(crate) fn enter(&self) -> Present {
        self.presence.enter()
    }

    pub(super) fn is_open(&self) -> bool {
        self.peek().is_some()
    }

    /// Takes the lane over and reads its checkpoint: what was known of it before no longer counts.
    ///
    /// # Errors
    /// When brokers do not let it happen, or another process holds the lane: then by whom.
    pub(crate) async fn open(
        self: &Arc<Self>,
        connect: &Connect,
        lane: &str,
    ) -> Result<(Lane, Option<Vec<u8>>), Trouble> {
        let session = self.session(connect).await?;
        let read = self.read(connect, &[lane], &[]).await?;
        let (mut found, mut places) = (read.lane(lane)?, read.places(lane));
        loop {
            let last =
                |entry: &Entry| Last { sequence: entry.sequence, chunks: entry.chunks, ours: entry.owner == self.id };
            let lane_now = Lane {
                owner: self.clone(),
                session: session.clone(),
                name: lane.to_owned(),
                writer: found.as_ref().map(|entry| entry.process.clone()),
                last: Mutex::new(found.as_ref().map_or(NOTHING, last)),
                places: Mutex::new(places),
            };
            let Some(entry) = found else { return Ok((lane_now, None)) };
            if entry.owner == self.id {
                self.owners.hold(lane);
                return Ok((lane_now, Some(entry.checkpoint)));
            }
            found = self.take_over(connect, lane_now, entry).await?;
            // Its last owner may have written to the journal until then.
            places = self.read(connect, &[lane], &[]).await?.places(lane);
        }
    }

    /// The lane's last record names another id. Afterwards a record names this one, unless somebody else was quicker.
    async fn take_over(&self, connect: &Connect, lane: Lane, entry: Entry) -> Result<Option<Entry>, Trouble> {
        let (name, before) = (lane.name.clone(), entry.owner.clone());
        if let Some(old) = self.owners.living(&before)
            && let Some(session) = old.peek().filter(|session| session.end().is_none())
        {
            // Our own: its other lanes are not to be fenced. It names us as the next to write.
            tracing::info!(lane = name, from = before, to = self.id, "the lane changes its transactional id");
            lane.hand_over(&session, entry.checkpoint).await?;
            return self.read(connect, &[&name], &[]).await?.lane(&name);
        }
        if self.owners.has_held(&name) {
            let found = self.read(connect, &[&name], &[&before]).await?;
            if let Some(process) = self.owners.holder(&before, found.claim(&before)) {
                return Err(fenced(&name, &process));
            }
        }
        tracing::info!(lane = name, from = before, process = entry.process, to = self.id, "the lane is taken over");
        self.fence(connect, &before).await?;
        let Some(entry) = self.read(connect, &[&name], &[]).await?.lane(&name)? else { return Ok(None) };
        if entry.owner != before {
            return Ok(Some(entry));
        }
        // The first record under this id is alone in its transaction. Only when the old id is fenced once more can nobody
        // have written beside it without having seen it.
        lane.follows(&entry);
        lane.commit_alone(entry.checkpoint, JournalChange::default()).await?;
        self.fence(connect, &before).await?;
        self.read(connect, &[&name], &[]).await?.lane(&name)
    }

    /// Removes a lane's checkpoint.
    pub(crate) async fn remove(self: &Arc<Self>, connect: &Connect, lane: &str) -> Result<bool, Trouble> {
        let (opened, checkpoint) = self.open(connect, lane).await?;
        if checkpoint.is_none() {
            return Ok(false);
        }
        let last = opened.last();
        let (topic, partitions) = (&self.topic, opened.session.partitions);
        let mut messages = Entry::removal(topic, partitions, lane, (last.sequence, last.chunks));
        let places = opened.lock_places().clone();
        let dropped = places.iter().map(|(segment, _)| *segment).collect();
        let gone = JournalChange { appends: Vec::new(), dropped };
        messages.extend(journal_messages(topic, partitions, lane, places, gone).0);
        opened.committed(opened.session.main.seat().await, messages).await?;
        Ok(true)
    }

    /// Makes sure that there is a topic; takes no id from anybody.
    pub(crate) async fn prepare(&self, connect: &Connect) -> Result<(), Trouble> {
        super::topic::ensure(connect, &connect.events(), &self.topic, super::topic::CHECKPOINTS).await.map(drop)
    }

    /// The names of all lanes that have a checkpoint.
    pub(crate) async fn all(&self, connect: &Connect) -> Result<Vec<String>, Trouble> {
        Ok(self.ask(connect, Wanted::All).await?.lanes.keys().cloned().collect())
    }

    /// A lane's checkpoint, for looking only.
    pub(crate) async fn look_at(&self, connect: &Connect, lane: &str) -> Result<Option<Vec<u8>>, Trouble> {
        Ok(self.read(connect, &[lane], &[]).await?.lane(lane)?.map(|entry| entry.checkpoint))
    }

    /// A segment of a lane's journal.
    pub(crate) async fn segment(
        &self,
        connect: &Connect,
        lane: &str,
        segment: u64,
    ) -> Result<Option<Vec<u8>>, Trouble> {
        let key = segment_key(lane, segment);
        Ok(self.read(connect, &[&key], &[]).await?.segment(&key))
    }

    /// All of a lane's journal.
    pub(crate) async fn journal(&self, connect: &Connect, lane: &str) -> Result<Vec<Append>, Trouble> {
        let places = self.read(connect, &[lane], &[]).await?.places(lane);
        let segments: BTreeSet<u64> = places.into_iter().map(|(segment, _)| segment).collect();
        let keys: Vec<String> = segments.iter().map(|segment| segment_key(lane, *segment)).collect();
        let found = self.read(connect, &keys.iter().map(String::as_str).collect::<Vec<_>>(), &[]).await?;
        let bytes = keys.iter().filter_map(|key| found.segment(key));
        Ok(segments.into_iter().zip(bytes).map(|(segment, bytes)| Append { segment, offset: 0, bytes }).collect())
    }

    /// Gives the id up, unless lanes still hold it.
    pub(crate) fn close(&self) {
        *self.lock_open() = None;
    }

    /// The session that is open, or a new one.
    async fn session(self: &Arc<Self>, connect: &Connect) -> Result<Arc<Session>, Trouble> {
        let asked = Instant::now();
        let mut current = self.current.lock().await;
        let ended = match self.peek() {
            Some(session) => match session.end() {
                None => return Ok(session),
                Some(end) => Some(end),
            },
            None => None,
        };
        if let Some((began, trouble)) =
            current.failed.clone().filter(|(began, _)| *began >= asked || began.elapsed() < TOO_SOON)
        {
            tracing::debug!(id = self.id, ?began, "somebody else has just tried");
            return Err(trouble);
        }
        let began = Instant::now();
        *self.lock_open() = None;
        match self.initialise(connect, ended).await {
            Ok(session) => {
                current.failed = None;
                let session = Arc::new(session);
                *self.lock_open() = Some(session.clone());
                Ok(session)
            }
            Err(trouble) => {
                current.failed = Some((began, trouble.clone()));
                Err(trouble)
            }
        }
    }

    async fn initialise(&self, connect: &Connect, ended: Option<Trouble>) -> Result<Session, Trouble> {
        if self.owners.has_held(&self.id) {
            if ended.is_some() {
                sleep(AFTER_LOSS).await;
            }
            // Whoever has it now is not fought.
            let found = self.read(connect, &[], &[&self.id]).await?;
            if let Some(process) = self.owners.holder(&self.id, found.claim(&self.id)) {
                return Err(fenced(&format!("transactional id {}", self.id), &process));
            }
        }
        let (id, topic, process) = (self.id.as_str(), self.topic.as_str(), PROCESS.as_str());
        let start = Start { id, topic, process, presence: &self.presence, tasks: &self.owners.tasks };
        let session = Session::start(connect, &connect.events(), start).await?;
        self.owners.hold(&self.id);
        Ok(session)
    }

    fn peek(&self) -> Option<Arc<Session>> {
        self.lock_open().clone()
    }

    fn lock_open(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fences an id of another process; lanes that are taken over together do it once.
    async fn fence(&self, connect: &Connect, id: &str) -> Result<(), Trouble> {
        let asked = Instant::now();
        let mut last = self.fences.lock().await;
        if last.as_ref().is_some_and(|(fenced, began)| fenced == id && *began >= asked) {
            return Ok(());
        }
        let began = Instant::now();
        fence(connect, id).await?;
        *last = Some((id.to_owned(), began));
        Ok(())
    }

    /// What the topic says of these lanes and ids, read after this was called.
    async fn read(&self, connect: &Connect, lanes: &[&str], ids: &[&str]) -> Result<Arc<Found>, Trouble> {
        let lanes = lanes.iter().map(|lane| (*lane).to_owned());
        let keys = lanes.chain(ids.iter().map(|id| claim_key(id)));
        self.ask(connect, Wanted::Keys(keys.collect())).await
    }

    async fn ask(&self, connect: &Connect, wanted: Wanted) -> Result<Arc<Found>, Trouble> {
        let (reply, answer) = oneshot::channel();
        let reads = self.reads.get_or_init(|| async {
            let (reads, asked) = mpsc::channel(QUESTIONS);
            tokio::spawn(read_for_all(self.topic.clone(), asked));
            reads
        });
        let broke = || Trouble::Passing("reading checkpoints broke".to_owned());
        reads.await.send(Ask { wanted, connect: connect.clone(), reply }).await.map_err(|_| broke())?;
        answer.await.map_err(|_| broke())?
    }
}

/// Who asks while a pass is under way is answered by the next: what is read must be newer than the question.
async fn read_for_all(topic: String, mut asked: mpsc::Receiver<Ask>) {
    while let Some(first) = asked.recv().await {
        sleep(TOGETHER).await;
        let mut asks = vec![first];
        while let Ok(ask) = asked.try_recv() {
            asks.push(ask);
        }
        let wanted = asks.iter().fold(Wanted::Keys(HashSet::new()), |all, ask| all.and(&ask.wanted));
        let (connect, topic) = (asks[0].connect.clone(), topic.clone());
        let events = connect.events();
        let found = on_thread(move || super::topic::read(&connect, &events, &topic, wanted)).await;
        let found = found.flatten().map(Arc::new);
        for ask in asks {
            // Whoever asked may be gone.
            let _ = ask.reply.send(found.clone());
        }
    }
}

fn fenced(what: &str, process: &str) -> Trouble {
    Trouble::Passing(format!(
        "{what} was taken over by another process, {process}: this one waits until that has ended"
    ))
}

impl Lane {
    /// Why what is known of this lane no longer counts, if it does not. However the session ended: whether the brokers still
    /// refuse is for the next one to find out, with the credentials of then.
    pub(crate) fn superseded(&self) -> Option<Trouble> {
        self.session.end().map(|end| Trouble::Superseded(end.to_string()))
    }

    /// The process that wrote the checkpoint that was found when the lane was taken over.
    pub(crate) fn writer(&self) -> Option<String> {
        self.writer.clone()
    }

    /// Counts the lane's records; that of the last one that is known here.
    pub(crate) fn sequence(&self) -> u64 {
        self.last().sequence
    }

    /// A place in the next transaction, beside other lanes, or alone in one.
    pub(crate) async fn seat(&self, alone: bool) -> Result<Seat, Trouble> {
        let door = if alone { &self.session.quarantine } else { &self.session.main };
        match self.superseded() {
            Some(end) => Err(end),
            None => door.seat().await.ok_or_else(|| self.end()),
        }
    }

    /// Commits what was sent from `seat`, together with `checkpoint` and what it refers to.
    pub(crate) async fn commit(&self, seat: Seat, sent: Sent, checkpoint: Vec<u8>, journal: JournalChange) -> Verdict {
        let (next, places, messages) = self.records(checkpoint, journal, &self.owner.id);
        match seat.commit(sent, messages).await {
            Verdict::Committed => {
                self.is_now(next, places);
                Verdict::Committed
            }
            Verdict::Over(trouble) => Verdict::Over(self.superseded().unwrap_or(trouble)),
            aborted => aborted,
        }
    }

    /// Commits `checkpoint` without events. The first one of a lane claims it, and shows whether another process did so at
    /// the same moment.
    ///
    /// # Errors
    /// When it was not committed, as far as is known.
    pub(crate) async fn save(
        &self,
        connect: &Connect,
        checkpoint: Vec<u8>,
        journal: JournalChange,
    ) -> Result<(), Trouble> {
        let first = !self.last().ours;
        self.commit_alone(checkpoint, journal).await?;
        if first {
            let stored = self.owner.read(connect, &[&self.name], &[]).await?.lane(&self.name)?;
            let ours = |entry: &Entry| entry.owner == self.owner.id && entry.sequence == self.last().sequence;
            if !stored.as_ref().is_some_and(ours) {
                let reason = format!("{} was begun by another process at the same moment", self.name);
                return Err(Trouble::Superseded(reason));
            }
        }
        Ok(())
    }

    async fn commit_alone(&self, checkpoint: Vec<u8>, journal: JournalChange) -> Result<(), Trouble> {
        let (next, places, messages) = self.records(checkpoint, journal, &self.owner.id);
        self.committed(self.session.main.seat().await, messages).await?;
        self.is_now(next, places);
        Ok(())
    }

    fn is_now(&self, last: Last, places: Places) {
        *self.lock() = last;
        *self.lock_places() = places;
        self.owner.owners.hold(&self.name);
    }

    /// Commits through `session`, of an id that this process holds too, that this owner writes the next record.
    async fn hand_over(&self, session: &Session, checkpoint: Vec<u8>) -> Result<(), Trouble> {
        let (_, _, messages) = self.records(checkpoint, JournalChange::default(), &self.owner.id);
        self.committed(session.main.seat().await, messages).await
    }

    async fn committed(&self, seat: Option<Seat>, messages: Vec<Message>) -> Result<(), Trouble> {
        let seat = seat.ok_or_else(|| self.end())?;
        match seat.commit(Sent::default(), messages).await {
            Verdict::Committed => Ok(()),
            Verdict::Aborted(abort) if super::is_refusal(abort.code) => {
                let topic = &self.owner.topic;
                Err(Trouble::Forbidden(format!("checkpoint topic `{topic}`: {}", abort.code)))
            }
            Verdict::Aborted(abort) => Err(Trouble::Passing(format!("a transaction was aborted: {}", abort.code))),
            Verdict::Over(trouble) => Err(self.superseded().unwrap_or(trouble)),
        }
    }

    /// `checkpoint` and what it refers to as records that name `owner` as the next to write, and what is last, and in the
    /// journal, when they are committed.
    fn records(&self, checkpoint: Vec<u8>, journal: JournalChange, owner: &str) -> (Last, Places, Vec<Message>) {
        let last = self.last();
        let mut entry = Entry {
            owner: owner.to_owned(),
            process: PROCESS.clone(),
            sequence: last.sequence + 1,
            chunks: 0,
            checkpoint,
        };
        let Owner { topic, .. } = &*self.owner;
        let (places, partitions) = (self.lock_places().clone(), self.session.partitions);
        let (mut messages, places) = journal_messages(topic, partitions, &self.name, places, journal);
        messages.extend(entry.messages(topic, partitions, &self.name, (last.sequence, last.chunks)));
        (Last { sequence: entry.sequence, chunks: entry.chunks, ours: true }, places, messages)
    }

    fn follows(&self, entry: &Entry) {
        *self.lock() = Last { sequence: entry.sequence, chunks: entry.chunks, ours: false };
    }

    fn end(&self) -> Trouble {
        self.superseded().unwrap_or_else(|| Trouble::Superseded("the Kafka producer was closed".to_owned()))
    }

    fn last(&self) -> Last {
        *self.lock()
    }

    fn lock_places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
