use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use tokio::time::timeout;

use super::*;
use crate::record::{Identity, Stream, Timestamp};
use crate::source::{Checkpoint, Position};
use crate::state::ledger::Ledger;
use crate::state::{FileStore, StateError, Store};
use crate::telemetry::Telemetry;

const INTERVAL: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

/// Fails as the script says, then takes everything; remembers how many events each checkpoint tells of.
#[derive(Debug, Default)]
struct Memory {
    failures: Mutex<VecDeque<StateError>>,
    saved: Mutex<Vec<u64>>,
    takes: Duration,
    /// What is in it, if it is asked.
    stored: Option<Vec<u8>>,
    /// Another process has the lane, until it is claimed.
    taken: Mutex<bool>,
}

impl Store for Memory {
    fn load<'a>(&'a self, _: &'a LaneId) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        async { Ok(self.stored.clone()) }.boxed()
    }

    fn claim<'a>(&'a self, _: &'a LaneId) -> BoxFuture<'a, Result<Option<Vec<u8>>, StateError>> {
        *self.taken.lock().unwrap() = false;
        async { Ok(self.stored.clone()) }.boxed()
    }

    fn save<'a>(&'a self, _: &'a LaneId, checkpoint: Vec<u8>) -> BoxFuture<'a, Result<(), StateError>> {
        async move {
            tokio::time::sleep(self.takes).await;
            if let Some(failure) = self.failures.lock().unwrap().pop_front() {
                return Err(failure);
            }
            if *self.taken.lock().unwrap() {
                return Err(StateError::Conflict { lane: lane(), owner: "another".to_owned() });
            }
            self.saved.lock().unwrap().push(Standing::decode(&checkpoint).unwrap().checkpoint.settled);
            Ok(())
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<LaneId>, StateError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn rename<'a>(&'a self, _: &'a LaneId, _: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>> {
        async { Ok(()) }.boxed()
    }

    fn delete<'a>(&'a self, _: &'a LaneId) -> BoxFuture<'a, Result<(), StateError>> {
        async { Ok(()) }.boxed()
    }
}

fn lane() -> LaneId {
    LaneId { pipeline: "acme".to_owned(), stream: Stream::Activities, sink: "siem".to_owned() }
}

fn full() -> StateError {
    StateError::Locked(PathBuf::from("/full"))
}

fn saver(failures: impl IntoIterator<Item = StateError>, takes: Duration) -> (Arc<Memory>, Saver, Standing) {
    saver_of(7, failures, takes)
}

/// A lane with this much of chance.
fn saver_of(
    seed: u64,
    failures: impl IntoIterator<Item = StateError>,
    takes: Duration,
) -> (Arc<Memory>, Saver, Standing) {
    let failures = Mutex::new(failures.into_iter().collect());
    let store = Arc::new(Memory { failures, takes, ..Memory::default() });
    let meter = Meter::start(&Arc::new(Telemetry::new()), "acme", Stream::Activities, "siem", "test", Clock::System);
    let random = fastrand::Rng::with_seed(seed);
    let saver = Saver::new(Keeping::Store(store.clone()), lane(), meter, Clock::System, INTERVAL, random);
    let since = Timestamp::default();
    let (host, scope) = ("console.example".to_owned(), String::new());
    let position = Position::starting_at(since);
    let checkpoint = Checkpoint { host, scope, since: "1d".to_owned(), since_resolved: since, position, settled: 0 };
    (store, saver, Standing { checkpoint, ledger: Ledger::begin(since, String::new(), false) })
}

fn saved(store: &Memory) -> Vec<u64> {
    store.saved.lock().unwrap().clone()
}

async fn took(work: impl Future<Output = ()>) -> Option<Duration> {
    let begun = Instant::now();
    timeout(HOUR, work).await.ok().map(|()| begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn events_are_written_after_the_interval_and_time_after_ten_minutes() {
    let (store, mut saver, mut standing) = saver([], Duration::ZERO);
    assert_eq!(took(saver.work(&mut standing)).await, None, "nothing is to be written");
    assert!(saver.is_settled());
    saver.saved_elsewhere();
    saver.time_passed();
    let idle = took(saver.work(&mut standing)).await.unwrap();
    assert!((IDLE_INTERVAL..=IDLE_INTERVAL * 2).contains(&idle), "{idle:?}");
    saver.events_settled();
    saver.time_passed();
    assert!(saver.is_settled(), "it is not due yet");
    assert_eq!(took(saver.work(&mut standing)).await, Some(INTERVAL));
    saver.events_settled();
    tokio::time::sleep(INTERVAL).await;
    assert!(!saver.is_settled(), "it is due now");
    saver.saved_elsewhere();
    assert!(saver.is_settled());
    assert_eq!(took(saver.work(&mut standing)).await, None);
    assert_eq!(saved(&store).len(), 2);
}

/// Thousands of lanes start at one moment, or write at one moment when the store is back.
#[tokio::test(start_paused = true)]
async fn lanes_that_wrote_together_do_not_write_together_again() {
    let begun = Instant::now();
    let mut written = [[0; 20]; 2];
    for seed in 0..600 {
        let (_, mut saver, mut standing) = saver_of(seed, [], Duration::ZERO);
        saver.saved_at = begun;
        for round in &mut written {
            saver.time_passed();
            let due = saver.due().unwrap();
            round[(due - saver.saved_at).as_secs() as usize / 60] += 1;
            saver.write(&mut standing).await;
            saver.saved_at = begun;
        }
    }
    for round in written {
        assert!(round[..10].iter().all(|minute| *minute == 0), "not before ten minutes: {round:?}");
        assert!(round[10..].iter().all(|minute| (30..=90).contains(minute)), "a tenth in each minute: {round:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_settled_while_a_checkpoint_is_written_goes_into_the_next() {
    let second = Duration::from_secs(1);
    let (store, mut saver, mut standing) = saver([], 10 * second);
    saver.events_settled();
    standing.checkpoint.settled = 1;
    timeout(INTERVAL + second, saver.work(&mut standing)).await.unwrap_err();
    assert!(saver.is_writing() && !saver.is_settled() && saved(&store).is_empty());
    saver.events_settled();
    standing.checkpoint.settled = 2;
    assert_eq!(took(saver.work(&mut standing)).await, Some(9 * second), "what has begun goes on");
    assert!(!saver.is_writing());
    saver.flush(&mut standing).await;
    assert_eq!(saved(&store), [1, 2]);
    assert_eq!(took(saver.flush(&mut standing)).await, Some(Duration::ZERO));
    saver.flush_once(&mut standing).await;
    assert_eq!(saved(&store), [1, 2], "nothing is left to write");
    saver.events_settled();
    saver.flush_once(&mut standing).await;
    assert_eq!(saved(&store), [1, 2, 2]);
    saver.events_settled();
    timeout(INTERVAL + second, saver.work(&mut standing)).await.unwrap_err();
    saver.flush_once(&mut standing).await;
    assert_eq!((saved(&store).len(), saver.is_writing()), (4, false), "what has begun ends");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_tried_again_until_it_has_everything() {
    let (store, mut saver, mut standing) = saver([full(), full(), full()], Duration::ZERO);
    saver.time_passed();
    saver.work(&mut standing).await;
    assert!(saver.is_failing(), "nothing more is to be sent");
    let wait = took(saver.work(&mut standing)).await.unwrap();
    assert!(!wait.is_zero() && wait <= LONGEST_WAIT && saved(&store).is_empty(), "{wait:?}");
    let wait = took(saver.flush(&mut standing)).await.unwrap();
    assert!(!wait.is_zero() && wait <= 2 * LONGEST_WAIT, "not in a hot loop: {wait:?}");
    assert_eq!((saved(&store).len(), saver.is_failing()), (1, false));
    assert_eq!(took(saver.work(&mut standing)).await, None);
}

/// Two processes: the one that is told so writes nothing more.
#[tokio::test(start_paused = true)]
async fn a_lane_that_another_process_took_over_writes_nothing_more() {
    let (store, mut saver, mut standing) =
        saver([StateError::Conflict { lane: lane(), owner: "another".to_owned() }], Duration::ZERO);
    assert!(!saver.is_superseded());
    saver.events_settled();
    saver.flush(&mut standing).await;
    assert!(saver.is_superseded() && !saver.is_failing());
    saver.events_settled();
    assert_eq!(took(saver.work(&mut standing)).await, None);
    saver.flush(&mut standing).await;
    assert!(saved(&store).is_empty());
}

/// Another process that only asked for the lane left its name in the store; whose the lane is, the sink decides. What was
/// written by hand is not written over.
#[tokio::test(start_paused = true)]
async fn a_copy_is_written_though_another_process_asked_for_the_lane() {
    for by_hand in [false, true] {
        let (_, mut saver, mut standing) = saver([], Duration::ZERO);
        let stored = Some(if by_hand { standing.encode() } else { standing.copy() });
        let store = Arc::new(Memory { stored, taken: Mutex::new(true), ..Memory::default() });
        saver.keeping = Keeping::Copy(store.clone());
        for settled in [5, 6] {
            standing.checkpoint.settled = settled;
            saver.events_settled();
            saver.write(&mut standing).await;
        }
        assert_eq!(saved(&store), if by_hand { vec![] } else { vec![5, 6] });
        assert!(!saver.is_superseded());
    }
}

/// What a ledger needs no more is no use to anybody, and its bytes would pile up.
#[tokio::test(start_paused = true)]
async fn the_journal_is_written_once_and_what_is_needed_no_more_is_removed() {
    let (_, mut saver, mut standing) = saver([], Duration::ZERO);
    let directory = tempfile::tempdir().unwrap();
    saver.keeping = Keeping::Store(Arc::new(FileStore::open(directory.path()).unwrap()));
    let now = saver.clock.now();
    standing.ledger = Ledger::begin(now, String::new(), true);
    (0..300_u64).for_each(|number| {
        let identity = Identity::of("console.example", Stream::Activities, &number.to_string(), "");
        standing.ledger.remember(now, identity, now);
    });
    let segment = directory.path().join("lanes/acme/activities/siem.journal/0");
    saver.events_settled();
    saver.flush(&mut standing).await;
    assert!(segment.exists() && saver.appends.is_empty());
    standing.ledger.begin_anew(now, String::new(), true);
    assert_eq!(standing.ledger.released(), [0]);
    saver.events_settled();
    saver.flush(&mut standing).await;
    assert!(!segment.exists() && standing.ledger.released().is_empty());
}
