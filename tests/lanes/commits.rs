//! A sink that keeps its lane's checkpoint and commits it together with the events: nothing lost, nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use s1_forwarder::checkpoint::ledger::Hour;
use s1_forwarder::checkpoint::{
    CheckpointBackend, CheckpointKey, CheckpointUpdate, JournalChange, MemoryStore, StateError,
};
use s1_forwarder::emulator::Kind;
use s1_forwarder::failure::{Failure, FailureKind};
use s1_forwarder::lane::{InStore, Lane, LaneCheckpoint};
use s1_forwarder::record::{LaneId, Stream, Timestamp};
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::sink::{Attempt, Batch, Deadline, Limits, Outcome, ProbeResult, Sink, TransactionalSink, Until};
use s1_forwarder::source::{PullSettings, Since, TimeField, Window};
use s1_forwarder::state::FileStore;
use s1_forwarder::telemetry::SkipReason;
use tokio::sync::watch;
use tokio::time::sleep;

use super::harness::{LaneHarness, START, assert_counts_balance};
use super::script::of_types;

/// How many segments of the journal may stay for a while after nothing refers to them.
const MAX_UNUSED: usize = 2;

/// What is committed, and what came at a time when it should not have.
#[derive(Debug, Default)]
struct Committed {
    taken: Vec<String>,
    /// Events that came without a checkpoint.
    uncommitted: usize,
    checkpoint: Option<Vec<u8>>,
    journal: BTreeMap<u64, Vec<u8>>,
    mistakes: Vec<String>,
}

impl Committed {
    /// A checkpoint counts each event once, and exactly those that were taken; with it comes all of the journal that it
    /// refers to, and nothing stays that it does not.
    fn keep(&mut self, transaction_checkpoint: &CheckpointUpdate) {
        let JournalChange { appends, released } = &transaction_checkpoint.journal;
        for append in appends {
            let segment = self.journal.entry(append.segment).or_default();
            if append.offset != segment.len() as u64 {
                self.mistakes.push(format!("segment {} goes on where it does not end", append.segment));
            }
            segment.extend_from_slice(&append.bytes);
        }
        self.journal.retain(|segment, _| !released.contains(segment));
        let checkpoint = LaneCheckpoint::decode(&transaction_checkpoint.checkpoint).unwrap();
        if checkpoint.settled != self.taken.len() as u64 {
            self.mistakes.push(format!("{} events are taken, {} are reported", self.taken.len(), checkpoint.settled));
        }
        if !checkpoint.is_complete_with(&self.journal) {
            self.mistakes.push("a part of the journal is missing".to_owned());
        }
        let is_needed = |segment: &u64| {
            let others = self.journal.iter().filter(|(other, _)| *other != segment);
            !checkpoint.is_complete_with(&others.map(|(other, bytes)| (*other, bytes.clone())).collect())
        };
        // The ones that this checkpoint needs no longer go with a later commit.
        let unused = self.journal.keys().filter(|segment| !is_needed(segment)).count();
        if unused > MAX_UNUSED {
            self.mistakes.push(format!("nothing refers to {unused} segments of the journal"));
        }
        if transaction_checkpoint.checkpoint.len() > 10_000 {
            self.mistakes.push("identities pile up in the checkpoint".to_owned());
        }
        self.checkpoint = Some(transaction_checkpoint.checkpoint.clone());
    }
}

/// Takes effect at the end of each call or not at all; each fifth commit is refused for now, and each seventh has no
/// answer.
#[derive(Debug, Default)]
pub struct CommittingSink {
    kept: Mutex<Committed>,
    commits: AtomicUsize,
    saves: AtomicUsize,
    /// Whether every other checkpoint that comes alone is refused.
    refuses_saves: bool,
    /// How long a commit takes at least.
    takes: Duration,
    under_way: AtomicUsize,
}

/// A call that is under way; a kill drops it.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CommittingSink {
    fn begin(&self) -> UnderWay<'_> {
        if self.under_way.fetch_add(1, Ordering::Relaxed) > 0 {
            self.kept.lock().unwrap().mistakes.push("two calls at a time".to_owned());
        }
        UnderWay(&self.under_way)
    }

    /// These events were taken before, and this is what was committed with them.
    pub fn begin_with(&self, taken: Vec<String>, checkpoint: Option<&Vec<u8>>, journal: &BTreeMap<u64, Vec<u8>>) {
        let mut kept = self.kept.lock().unwrap();
        kept.taken = taken;
        kept.checkpoint = checkpoint.cloned();
        kept.journal = journal.clone();
    }

    pub fn assert_exactly_once(&self, events: usize, when: &str) {
        let kept = self.kept.lock().unwrap();
        let different: BTreeSet<_> = kept.taken.iter().collect();
        assert_eq!((kept.taken.len(), different.len()), (events, events), "{when}");
        assert_eq!((kept.uncommitted, &kept.mistakes[..]), (0, &[][..]), "{when}");
    }
}

impl Sink for CommittingSink {
    fn limits(&self) -> Limits {
        Limits { events: 100, ..Limits::NONE }
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Attempt> {
        Box::pin(async {
            self.kept.lock().unwrap().uncommitted += batch.len();
            Attempt::new(Outcome::Delivered, 1, "ok")
        })
    }

    fn probe(&self) -> BoxFuture<'_, ProbeResult> {
        Box::pin(async { ProbeResult::Verified("memory".to_owned()) })
    }

    fn as_transactional(self: Arc<Self>) -> Option<Arc<dyn TransactionalSink>> {
        Some(self)
    }
}

#[async_trait]
impl CheckpointBackend for CommittingSink {
    async fn load(&self, _: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.kept.lock().unwrap().checkpoint.clone())
    }

    async fn commit(&self, key: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        let _under_way = self.begin();
        sleep(Duration::from_millis(20)).await;
        if self.refuses_saves && self.saves.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Err(StateError::Failed { what: key.to_string(), failure: Failure::transient("busy") });
        }
        self.kept.lock().unwrap().keep(&update);
        Ok(update.journal.released)
    }

    fn keeps_journals(&self) -> bool {
        true
    }

    async fn read_journal(&self, _: &CheckpointKey, segment: u64) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.kept.lock().unwrap().journal.get(&segment).cloned())
    }
}

impl TransactionalSink for CommittingSink {
    fn commit_batch<'a>(&'a self, batch: &'a Batch, update: CheckpointUpdate) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let _under_way = self.begin();
            sleep(self.takes.max(Duration::from_millis(20))).await;
            let number = self.commits.fetch_add(1, Ordering::Relaxed);
            let outcome = match number {
                _ if number % 5 == 4 => Outcome::retry_later("busy"),
                _ if number % 7 == 6 => Outcome::Failed(Failure::superseded("what was committed is not known")),
                _ => Outcome::Delivered,
            };
            if outcome.failure_kind() != Some(FailureKind::Transient) {
                let mut kept = self.kept.lock().unwrap();
                kept.taken.extend(batch.events().map(|event| event.identity.to_string()));
                kept.keep(&update);
            }
            Attempt::new(outcome, 1, "ok")
        })
    }

    fn announce_sender(&self) -> Box<dyn Send> {
        Box::new(())
    }
}

fn lane(harness: &LaneHarness, sink: Arc<dyn Sink>) -> Lane {
    let mut lane = harness.lane(harness.pull(Stream::Activities), "siem", sink);
    lane.concurrency = 1;
    lane
}

fn stored(harness: &LaneHarness) -> Vec<u8> {
    let id = LaneId::new("acme", Stream::Activities, "siem");
    harness.store.checkpoints()[&id.into()].clone()
}

/// The lease of the lane's shard has expired: another worker may have the lane, and keeps its checkpoint.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_claimed_only_while_the_lane_may_deliver() {
    let harness = LaneHarness::new(|setup| setup.activities = 10);
    let (renew, until) = watch::channel(Until::now());
    let mut lane = harness.lane(harness.pull(Stream::Activities), "siem", MemorySink::accepting(harness.clock));
    Arc::get_mut(&mut lane.delivery).unwrap().deadline = Deadline::new(until);
    let running = harness.start(lane);
    sleep(Duration::from_mins(10)).await;
    assert!(harness.store.checkpoints().is_empty(), "it was claimed without a lease");
    assert!(running.metrics.last_error().is_some_and(|(_, error)| error.contains("lease")));
    renew.send_replace(Until::after(Duration::from_hours(1)));
    sleep(Duration::from_mins(10)).await;
    assert!(!harness.store.checkpoints().is_empty());
    running.task.abort();
}

#[tokio::test(start_paused = true)]
async fn every_event_is_committed_once_whenever_the_process_is_killed() {
    for moment in (0..30).map(|step| Duration::from_millis(50 * step)) {
        let harness = LaneHarness::new(|setup| setup.activities = 1_500);
        let sink = Arc::new(CommittingSink { refuses_saves: true, ..CommittingSink::default() });
        let running = harness.start(lane(&harness, sink.clone()));
        sleep(moment).await;
        running.task.abort();
        let _ = running.task.await;
        harness.run_once(lane(&harness, sink.clone())).await;
        sink.assert_exactly_once(1_500, &format!("killed after {moment:?}"));
        let kept = sink.kept.lock().unwrap();
        let own = LaneCheckpoint::decode(kept.checkpoint.as_ref().unwrap()).unwrap();
        assert!(own.position.complete().is_some(), "its last poll ended");
    }
}

/// A busy lane commits no checkpoint without events, so segments of the journal can only be removed with events.
#[tokio::test(start_paused = true)]
async fn a_busy_lane_leaves_nothing_in_the_journal_that_no_checkpoint_refers_to() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let sink = Arc::new(CommittingSink::default());
    let running = harness.start(lane(&harness, sink.clone()));
    // The position goes to the journal with each burst, and comes back when the burst has left the overlap.
    let minutes = (0..6).flat_map(|_| [200, 1, 1, 1, 1, 1, 1, 1, 1]);
    for activities in minutes {
        sleep(Duration::from_mins(1)).await;
        (0..activities).for_each(|_| _ = harness.console.generate(Kind::Activities, harness.clock.now().micros()));
    }
    sleep(Duration::from_mins(1)).await;
    running.drain().await;
    sink.assert_exactly_once(300 + 6 * 208, "after an hour");
}

/// A lane that goes on for hours: what comes in between is committed once, and the position moves where nothing comes.
#[tokio::test(start_paused = true)]
async fn a_lane_that_waits_and_continues_commits_what_comes_and_moves_where_nothing_does() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let sink = Arc::new(CommittingSink::default());
    let running = harness.start(lane(&harness, sink.clone()));
    for hour in 1..4 {
        sleep(Duration::from_hours(1)).await;
        let own = sink.kept.lock().unwrap().checkpoint.clone().unwrap();
        let complete = LaneCheckpoint::decode(&own).unwrap().position.complete().unwrap();
        let age = harness.clock.now().since(complete);
        assert!(
            age < Duration::from_secs(1_300),
            "hour {hour}: empty polls are stored every ten to twenty minutes, not {age:?}"
        );
        (0..150).for_each(|_| _ = harness.console.generate(Kind::Activities, harness.clock.now().micros()));
    }
    sleep(Duration::from_hours(1)).await;
    let metrics = running.drain().await;
    assert_counts_balance(&metrics);
    sink.assert_exactly_once(300 + 3 * 150, "after hours");
    let copy = stored(&harness);
    assert!(InStore::of(Some(&copy)) == InStore::Copy);
    assert_eq!(LaneCheckpoint::decode(&copy).unwrap().settled, 300 + 3 * 150, "the store has a copy");
}

/// What is left out moves the position too, and is stored by itself only where nothing is on its way: of two
/// checkpoints the later one would tell of less.
#[tokio::test(start_paused = true)]
async fn no_checkpoint_comes_alone_while_events_are_on_their_way() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let sink = Arc::new(CommittingSink { takes: Duration::from_mins(25), ..CommittingSink::default() });
    let mut slow = lane(&harness, sink.clone());
    slow.pull = Arc::new(PullSettings { own: of_types(Vec::new(), vec![27]), ..harness.pull(Stream::Activities) });
    let metrics = slow.delivery.meter.metrics.clone();
    harness.run_once(slow).await;
    let filtered = metrics.skipped(SkipReason::Filtered);
    assert!(filtered > 0);
    sink.assert_exactly_once(300 - filtered as usize, "slowly");
}

/// From a sink that keeps nothing to one that commits, which then loses what it had, and back.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_goes_into_the_sink_and_out_of_it_again() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let plain = MemorySink::accepting(harness.clock);
    harness.run_once(lane(&harness, plain.clone())).await;
    assert_eq!(plain.total(), 300);
    let sink = Arc::new(CommittingSink::default());
    // So that the counts agree: these are what the plain sink took.
    let taken = |sink: &MemorySink| sink.accepted().iter().map(|(one, ..)| one.to_string()).collect();
    sink.kept.lock().unwrap().taken = taken(&plain);
    let more = || (0..150).for_each(|_| _ = harness.console.generate(Kind::Activities, harness.clock.now().micros()));

    more();
    sleep(Duration::from_mins(1)).await;
    harness.run_once(lane(&harness, sink.clone())).await;
    sink.assert_exactly_once(450, "the store's checkpoint went into the sink");
    assert!(InStore::of(Some(&stored(&harness))) == InStore::Copy);

    more();
    sleep(Duration::from_mins(1)).await;
    sink.kept.lock().unwrap().checkpoint = None;
    harness.run_once(lane(&harness, sink.clone())).await;
    sink.assert_exactly_once(600, "the copy went into the sink");

    more();
    sleep(Duration::from_mins(1)).await;
    let old = sink.kept.lock().unwrap().checkpoint.clone();
    harness.run_once(lane(&harness, plain.clone())).await;
    assert_eq!(plain.counts().len(), 450, "the copy serves where the sink keeps nothing");
    assert!(
        plain.counts().values().all(|count| *count == 1) && InStore::of(Some(&stored(&harness))) == InStore::Checkpoint
    );

    more();
    sleep(Duration::from_mins(1)).await;
    {
        let mut kept = sink.kept.lock().unwrap();
        kept.taken.extend(taken(&plain).into_iter().skip(300).collect::<Vec<String>>());
        assert_eq!(kept.checkpoint, old);
    }
    harness.run_once(lane(&harness, sink.clone())).await;
    sink.assert_exactly_once(900, "what the store has is newer than what the sink has");
}

/// A store that a command has used, in which the lane's writes are conflicts until the lane claims its checkpoint.
#[derive(Debug, Default)]
struct SharedStore {
    store: MemoryStore,
    is_taken: AtomicBool,
}

impl SharedStore {
    /// What `state set` does.
    async fn set(&self, key: &CheckpointKey, to: Timestamp) {
        let mut checkpoint = LaneCheckpoint::decode(&self.load(key).await.unwrap().unwrap()).unwrap();
        checkpoint.restart(to, Timestamp::now());
        self.store.commit(key, checkpoint.encode().into()).await.unwrap();
        self.is_taken.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl CheckpointBackend for SharedStore {
    async fn load(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        self.store.load(key).await
    }

    async fn claim(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        self.is_taken.store(false, Ordering::Relaxed);
        self.store.load(key).await
    }

    async fn commit(&self, key: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        if self.is_taken.load(Ordering::Relaxed) {
            return Err(StateError::Conflict { key: key.clone(), owner: "an operator".to_owned() });
        }
        self.store.commit(key, update).await
    }
}

/// The sink is like any other in this: a lane that runs goes on from the time that an operator sets, without a restart.
#[tokio::test(start_paused = true)]
async fn a_lane_that_runs_goes_on_from_the_time_that_an_operator_sets() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let sink = Arc::new(CommittingSink::default());
    let store = Arc::<SharedStore>::default();
    let lane = Lane { store: store.clone(), ..lane(&harness, sink.clone()) };
    let key = lane.key.clone();
    let running = harness.start(lane);
    sleep(Duration::from_hours(1)).await;
    sink.assert_exactly_once(300, "before");
    store.set(&key, Timestamp::default()).await;
    // With this event the lane writes a copy.
    harness.console.generate(Kind::Activities, harness.clock.now().micros());
    sleep(Duration::from_hours(1)).await;
    let taken = sink.kept.lock().unwrap().taken.len();
    assert_eq!(taken, 301 + 301, "all are delivered once more");
    running.task.abort();
}

/// `since` is resolved once: brokers that are replaced before the first event do not move it.
#[tokio::test(start_paused = true)]
async fn a_lane_has_a_copy_before_its_first_event() {
    let harness = LaneHarness::new(|setup| setup.activities = 0);
    let sink = Arc::new(CommittingSink::default());
    let from_now = || {
        let pull = PullSettings { since: Since::Now, ..harness.pull(Stream::Activities) };
        Lane { pull: Arc::new(pull), ..lane(&harness, sink.clone()) }
    };
    let running = harness.start(from_now());
    sleep(Duration::from_secs(1)).await;
    running.task.abort();
    assert!(InStore::of(Some(&stored(&harness))) == InStore::Copy);
    (0..50).for_each(|_| _ = harness.console.generate(Kind::Activities, harness.clock.now().micros()));
    sink.kept.lock().unwrap().checkpoint = None;
    sleep(Duration::from_hours(1)).await;
    harness.run_once(from_now()).await;
    sink.assert_exactly_once(50, "those of the hour before the restart too");
}

/// The sink cannot read what is in the store: the sums come along, and the journal is left behind and removed.
#[tokio::test(start_paused = true)]
async fn a_journal_in_the_store_goes_into_the_sink_as_sums() {
    let harness = LaneHarness::new(|setup| setup.activities = 600);
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::open(directory.path()).unwrap());
    let with_store = |sink: Arc<dyn Sink>| Lane { store: store.clone(), ..lane(&harness, sink) };
    let plain = MemorySink::accepting(harness.clock);
    let sink = Arc::new(CommittingSink::default());
    harness.run_once(with_store(plain.clone())).await;
    let id = with_store(plain.clone()).key;
    let sums = async |ledger: Vec<u8>| {
        let checkpoint = LaneCheckpoint::decode(&ledger).unwrap();
        let journal = checkpoint.journal(&*store, &id).await.unwrap();
        (checkpoint.ledger.totals(&*store, &id, Hour(0)..Hour(u32::MAX)).await.unwrap().sums, journal.len())
    };
    let (before, segments) = sums(store.load(&id).await.unwrap().unwrap()).await;
    assert_eq!((before.values().map(|sum| sum.count).sum::<u64>(), segments), (600, 1));
    sink.kept.lock().unwrap().taken = plain.accepted().iter().map(|(identity, ..)| identity.to_string()).collect();
    harness.run_once(with_store(sink.clone())).await;
    sink.assert_exactly_once(600, "the store's checkpoint went into the sink");
    let own = sink.kept.lock().unwrap().checkpoint.clone().unwrap();
    assert_eq!(sums(own).await, (before, 0));
    assert_eq!(store.read_journal(&id, 0).await.unwrap(), None, "nothing refers to it any more");
}

/// The lane that a worker runs has its checkpoint in the sink, under the same name.
#[tokio::test(start_paused = true)]
async fn a_backfill_leaves_the_checkpoint_in_the_sink_alone() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let sink = Arc::new(CommittingSink::default());
    let mut backfill = lane(&harness, sink.clone());
    let window = Window { from: Timestamp::default(), to: START, time: TimeField::Order };
    backfill.pull = Arc::new(backfill.pull.within(window));
    harness.run_once(backfill).await;
    let kept = sink.kept.lock().unwrap();
    assert_eq!((kept.uncommitted, kept.taken.len(), &kept.checkpoint), (300, 0, &None));
    assert!(InStore::of(Some(&stored(&harness))) == InStore::Checkpoint);
}
