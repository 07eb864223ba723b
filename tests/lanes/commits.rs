//! A sink that keeps its lane's checkpoint and commits it together with the events: nothing lost, nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use s1_forwarder::emulator::Kind;
use s1_forwarder::lane::{Lane, Standing};
use s1_forwarder::record::{JournalChange, Stream};
use s1_forwarder::sink::{Attempt, Batch, Commits, Covering, Limits, Outcome, Probe, Sink, Unsaved};
use s1_forwarder::state::LaneId;
use tokio::time::sleep;

use crate::world::{MemorySink, World, assert_books_balance};

/// What is committed, and what came at a time when it should not have.
#[derive(Debug, Default)]
struct Kept {
    taken: Vec<String>,
    checkpoint: Option<Vec<u8>>,
    journal: BTreeMap<u64, Vec<u8>>,
    mistakes: Vec<String>,
}

impl Kept {
    /// A checkpoint counts each event once, and exactly those that were taken; with it comes all of the journal that it
    /// refers to, and nothing stays that it does not.
    fn keep(&mut self, covering: &Covering) {
        let JournalChange { appends, dropped } = &covering.journal;
        for append in appends {
            let segment = self.journal.entry(append.segment).or_default();
            if append.offset > segment.len() as u64 {
                self.mistakes.push(format!("a hole in segment {}", append.segment));
            }
            segment.truncate(append.offset as usize);
            segment.extend_from_slice(&append.bytes);
        }
        self.journal.retain(|segment, _| !dropped.contains(segment));
        let Standing { checkpoint, ledger } = Standing::decode(&covering.checkpoint).unwrap();
        if checkpoint.settled != self.taken.len() as u64 {
            self.mistakes.push(format!("{} events are taken, {} are told", self.taken.len(), checkpoint.settled));
        }
        if !ledger.is_complete_with(&self.journal) {
            self.mistakes.push("a part of the journal is missing".to_owned());
        }
        self.checkpoint = Some(covering.checkpoint.clone());
    }
}

/// Takes effect at the end of each call or not at all; each fifth commit is refused for now, and of each seventh nobody hears.
#[derive(Debug, Default)]
struct CommittingSink {
    kept: Mutex<Kept>,
    commits: AtomicUsize,
    saves: AtomicUsize,
    /// Every other checkpoint that comes alone is refused.
    refuses_saves: bool,
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

    fn assert_exactly_once(&self, events: usize, when: &str) {
        let kept = self.kept.lock().unwrap();
        let different: BTreeSet<_> = kept.taken.iter().collect();
        assert_eq!((kept.taken.len(), different.len()), (events, events), "{when}");
        assert_eq!(kept.mistakes, [""; 0], "{when}");
    }
}

impl Sink for CommittingSink {
    fn limits(&self) -> Limits {
        Limits { events: 100, ..Limits::NONE }
    }

    fn send<'a>(&'a self, _: &'a Batch) -> BoxFuture<'a, Attempt> {
        unreachable!("events come with their checkpoint")
    }

    fn probe(&self) -> BoxFuture<'_, Probe> {
        Box::pin(async { Probe::Verified("memory".to_owned()) })
    }

    fn commits(&self) -> Option<&dyn Commits> {
        Some(self)
    }
}

impl Commits for CommittingSink {
    fn open(&self) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        Box::pin(async { Ok(self.kept.lock().unwrap().checkpoint.clone()) })
    }

    fn commit<'a>(&'a self, batch: &'a Batch, covering: &'a Covering) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let _under_way = self.begin();
            sleep(Duration::from_millis(20)).await;
            let number = self.commits.fetch_add(1, Ordering::Relaxed);
            let outcome = match number {
                _ if number % 5 == 4 => Outcome::RetryLater { reason: "busy".to_owned(), after: None },
                _ if number % 7 == 6 => Outcome::Superseded("what was committed is not known".to_owned()),
                _ => Outcome::Delivered,
            };
            if !matches!(outcome, Outcome::RetryLater { .. }) {
                let mut kept = self.kept.lock().unwrap();
                kept.taken.extend(batch.events().map(|event| event.identity.to_string()));
                kept.keep(covering);
            }
            Attempt { outcome, bytes: 1, status: "ok".to_owned() }
        })
    }

    fn save<'a>(&'a self, covering: &'a Covering) -> BoxFuture<'a, Result<(), Unsaved>> {
        Box::pin(async move {
            let _under_way = self.begin();
            sleep(Duration::from_millis(20)).await;
            if self.refuses_saves && self.saves.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                return Err(Unsaved::Later("busy".to_owned()));
            }
            self.kept.lock().unwrap().keep(covering);
            Ok(())
        })
    }

    fn look_at(&self) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        self.open()
    }

    fn read_journal(&self, segment: u64) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        Box::pin(async move { Ok(self.kept.lock().unwrap().journal.get(&segment).cloned()) })
    }

    fn enter(&self) -> Box<dyn Send> {
        Box::new(())
    }
}

fn lane(world: &World, sink: Arc<dyn Sink>) -> Lane {
    let mut lane = world.lane(world.pull(Stream::Activities), "siem", sink);
    lane.concurrency = 1;
    lane
}

fn stored(world: &World) -> Vec<u8> {
    let id = LaneId { pipeline: "acme".to_owned(), stream: Stream::Activities, sink: "siem".to_owned() };
    world.store.0.lock().unwrap()[&id].clone()
}

async fn run_once(mut lane: Lane, world: &World) {
    lane.once = true;
    let metrics = lane.delivery.meter.lane.clone();
    world.start(lane).task.await.unwrap();
    assert_books_balance(&metrics);
}

#[tokio::test(start_paused = true)]
async fn every_event_is_committed_once_whenever_the_process_is_killed() {
    for moment in (0..30).map(|step| Duration::from_millis(50 * step)) {
        let world = World::new(|setup| setup.activities = 1_500);
        let sink = Arc::new(CommittingSink { refuses_saves: true, ..CommittingSink::default() });
        let running = world.start(lane(&world, sink.clone()));
        sleep(moment).await;
        running.task.abort();
        let _ = running.task.await;
        run_once(lane(&world, sink.clone()), &world).await;
        sink.assert_exactly_once(1_500, &format!("killed after {moment:?}"));
        let own = sink.kept.lock().unwrap().checkpoint.clone().unwrap();
        assert!(Standing::decode(&own).unwrap().checkpoint.position.complete().is_some(), "its last poll ended");
    }
}

/// A lane that goes on for hours: what comes in between is committed once, and the position moves where nothing comes.
#[tokio::test(start_paused = true)]
async fn a_lane_that_rests_and_goes_on_commits_what_comes_and_moves_where_nothing_does() {
    let world = World::new(|setup| setup.activities = 300);
    let sink = Arc::new(CommittingSink::default());
    let running = world.start(lane(&world, sink.clone()));
    for hour in 1..4 {
        sleep(Duration::from_secs(3600)).await;
        let own = sink.kept.lock().unwrap().checkpoint.clone().unwrap();
        let complete = Standing::decode(&own).unwrap().checkpoint.position.complete().unwrap();
        let age = world.clock.now().since(complete);
        assert!(
            age < Duration::from_secs(1_300),
            "hour {hour}: empty polls are stored every ten to twenty minutes, not {age:?}"
        );
        (0..150).for_each(|_| _ = world.console.generate(Kind::Activities, world.clock.now().micros()));
    }
    sleep(Duration::from_secs(3600)).await;
    let metrics = running.drain().await;
    assert_books_balance(&metrics);
    sink.assert_exactly_once(300 + 3 * 150, "after hours");
    let copy = stored(&world);
    assert!(Standing::is_copy(&copy));
    assert_eq!(Standing::decode(&copy).unwrap().checkpoint.settled, 300 + 3 * 150, "the store has a copy");
}

/// From a sink that keeps nothing to one that commits, which then loses what it had, and back.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_goes_into_the_sink_and_out_of_it_again() {
    let world = World::new(|setup| setup.activities = 300);
    let plain = MemorySink::new(world.clock, |_, _| None);
    run_once(lane(&world, plain.clone()), &world).await;
    assert_eq!(plain.total(), 300);
    let sink = Arc::new(CommittingSink::default());
    // So that the counts agree: these are what the plain sink took.
    let taken = |sink: &MemorySink| sink.taken.lock().unwrap().iter().map(|(one, ..)| one.to_string()).collect();
    sink.kept.lock().unwrap().taken = taken(&plain);
    let more = || (0..150).for_each(|_| _ = world.console.generate(Kind::Activities, world.clock.now().micros()));

    more();
    sleep(Duration::from_secs(60)).await;
    run_once(lane(&world, sink.clone()), &world).await;
    sink.assert_exactly_once(450, "the store's checkpoint went into the sink");
    assert!(Standing::is_copy(&stored(&world)));

    more();
    sleep(Duration::from_secs(60)).await;
    sink.kept.lock().unwrap().checkpoint = None;
    run_once(lane(&world, sink.clone()), &world).await;
    sink.assert_exactly_once(600, "the copy went into the sink");

    more();
    sleep(Duration::from_secs(60)).await;
    let old = sink.kept.lock().unwrap().checkpoint.clone();
    run_once(lane(&world, plain.clone()), &world).await;
    assert_eq!(plain.counts().len(), 450, "the copy serves where the sink keeps nothing");
    assert!(plain.counts().values().all(|count| *count == 1) && !Standing::is_copy(&stored(&world)));

    more();
    sleep(Duration::from_secs(60)).await;
    {
        let mut kept = sink.kept.lock().unwrap();
        kept.taken.extend(taken(&plain).into_iter().skip(300).collect::<Vec<String>>());
        assert_eq!(kept.checkpoint, old);
    }
    run_once(lane(&world, sink.clone()), &world).await;
    sink.assert_exactly_once(900, "what the store has is newer than what the sink has");
}
