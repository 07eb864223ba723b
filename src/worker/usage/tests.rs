use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use tokio::time::advance;

use super::*;
use crate::checkpoint::{CheckpointBackend, CheckpointUpdate};
use crate::record::{Clock, Stream};
use crate::state::{MemoryStore, Store};
use crate::telemetry::{LaneState, Telemetry};
use crate::worker::Options;

const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// Stores everything, but loses the answers of some writes.
#[derive(Debug, Default)]
struct LossyStore {
    stored: MemoryStore,
    lost_answers: AtomicUsize,
    /// So many writes are never answered, and not stored.
    hanging: AtomicUsize,
    writes: AtomicUsize,
    reads: AtomicUsize,
    is_topic: bool,
}

#[async_trait]
impl CheckpointBackend for LossyStore {
    async fn load(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.stored.load(key).await
    }

    async fn commit(&self, key: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let one_less = |answers: usize| answers.checked_sub(1);
        if self.hanging.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            std::future::pending::<()>().await;
        }
        let committed = self.stored.commit(key, update).await;
        match self.lost_answers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => Err(StateError::Locked("lost".into())),
            Err(_) => committed,
        }
    }
}

#[async_trait]
impl Store for LossyStore {
    async fn list_all(&self) -> Result<Vec<CheckpointKey>, StateError> {
        self.stored.list_all().await
    }

    fn reads_single_objects(&self) -> bool {
        !self.is_topic
    }

    async fn rename(&self, from: &CheckpointKey, to: &CheckpointKey) -> Result<(), StateError> {
        self.stored.rename(from, to).await
    }

    async fn delete(&self, key: &CheckpointKey) -> Result<(), StateError> {
        self.stored.delete(key).await
    }
}

/// One of the processes that share a store.
fn process(store: &Arc<LossyStore>, clock: Clock) -> (Arc<WorkerContext>, Arc<LaneMetrics>) {
    let telemetry = Arc::new(Telemetry::new());
    let context = WorkerContext::with_store(store.clone(), Options { clock, ..Options::default() }, telemetry.clone());
    let lane = telemetry.start_lane("acme", Stream::Threats, "siem");
    context.begin_usage(&lane, 0);
    (context, lane)
}

fn count(context: &WorkerContext, lane: &LaneMetrics, events: u64) {
    lane.usage.count(context.clock().now(), &Counts { events, ..Counts::default() });
}

fn stored(store: &LossyStore) -> Usage {
    let key: CheckpointKey = "acme/threats/siem+usage".parse().unwrap();
    store.stored.checkpoints().get(&key).map_or_else(Usage::default, |bytes| Usage::decode(bytes).unwrap())
}

fn all(usage: &Usage) -> Counts {
    usage.within(Timestamp::default(), START.plus(Duration::from_secs(400 * 86_400))).counts
}

async fn minutes(minutes: u64) {
    for _ in 0..minutes {
        advance(MINUTE).await;
        // Others run.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_loses_less_than_twenty_minutes_and_counts_nothing_twice() {
    for is_topic in [false, true] {
        let store = Arc::new(LossyStore { is_topic, ..LossyStore::default() });
        let clock = Clock::simulated(START);
        let (context, lane) = process(&store, clock);
        let keeping = tokio::spawn(async move { context.keep_usage().await });
        let (counting, _) = process(&store, clock);
        for minute in 0..100 {
            count(&counting, &lane, 1);
            lane.set_state(clock.now(), LaneState::ConsoleFailing("500".to_owned()));
            minutes(1).await;
            let counted = all(&stored(&store));
            assert!(counted.events <= minute + 1 && counted.events + 20 > minute, "{counted:?} after {minute}");
            assert!(counted.failing_minutes + 20 > minute && counted.failing_minutes <= minute + 1, "{counted:?}");
        }
        assert!(store.writes.load(Ordering::Relaxed) <= 7, "{store:?}");
        keeping.abort();
        let before = all(&stored(&store)).events;

        // Killed; another process goes on.
        minutes(5).await;
        let (context, lane) = process(&store, clock);
        count(&context, &lane, 1_000);
        context.end_usage(&lane, true).await;
        let usage = stored(&store);
        assert_eq!(all(&usage).events, before + 1_000);
        assert_eq!(usage.gaps(START, clock.now()).count(), 1);
        // A clean end, and the lane elsewhere: no gap, and nothing of before is written again.
        let (context, lane) = process(&store, clock);
        count(&context, &lane, 1);
        context.end_usage(&lane, true).await;
        let usage = stored(&store);
        assert_eq!((all(&usage).events, usage.gaps(START, clock.now()).count()), (before + 1_001, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_counts_once() {
    for is_topic in [false, true] {
        let store = Arc::new(LossyStore { is_topic, ..LossyStore::default() });
        let (context, lane) = process(&store, Clock::simulated(START));
        let write = async || context.write_usage(&lane, START, 0, false).await;
        count(&context, &lane, 5);
        store.lost_answers.store(1, Ordering::Relaxed);
        assert!(write().await.is_err());
        assert_eq!(all(&stored(&store)).events, 5, "it was stored");
        count(&context, &lane, 7);
        write().await.unwrap();
        assert_eq!(all(&stored(&store)).events, 12);
        // One that was not stored is tried again.
        store.stored.fail_next(1);
        count(&context, &lane, 100);
        assert!(write().await.is_err());
        assert_eq!(all(&stored(&store)).events, 12);
        write().await.unwrap();
        assert_eq!(all(&stored(&store)).events, 112);
        // One that is interrupted.
        count(&context, &lane, 1_000);
        let mut interrupted = Box::pin(context.write_usage(&lane, START, 0, false));
        let _ = futures_util::poll!(&mut interrupted);
        drop(interrupted);
        write().await.unwrap();
        assert_eq!(all(&stored(&store)).events, 1_112);
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_write_that_failed_is_made_up_for_when_the_lane_comes_back() {
    for is_topic in [false, true] {
        let store = Arc::new(LossyStore { is_topic, ..LossyStore::default() });
        let clock = Clock::simulated(START);
        let (context, lane) = process(&store, clock);
        let session = async |context: &WorkerContext, lane: &LaneMetrics, events: u64| {
            context.begin_usage(lane, 0);
            count(context, lane, events);
            context.end_usage(lane, true).await;
            minutes(1).await;
        };
        let stored = || {
            let usage = stored(&store);
            (all(&usage).events, usage.gaps(START, clock.now()).count())
        };
        store.stored.fail_next(1);
        session(&context, &lane, 5).await;
        assert_eq!(stored(), (0, 0), "topic: {is_topic}");
        session(&context, &lane, 7).await;
        assert_eq!(stored(), (12, 0));
        store.lost_answers.store(1, Ordering::Relaxed);
        session(&context, &lane, 100).await;
        session(&context, &lane, 1_000).await;
        assert_eq!(stored(), (1_112, 0));
        assert!(context.usage.lanes.lock().is_empty(), "nothing is kept of a lane that has ended");

        // Another worker has written since: nobody knows whether it has added to these, so the time is a gap.
        store.lost_answers.store(1, Ordering::Relaxed);
        session(&context, &lane, 5).await;
        let (other, its_lane) = process(&store, clock);
        session(&other, &its_lane, 10_000).await;
        assert_eq!(stored(), (11_117, 0));
        session(&context, &lane, 7).await;
        assert_eq!(stored(), (11_124, 1), "nothing counts twice");
    }
}

/// Otherwise a kill would lose hours that no gap names, since the store does not know that the process counts.
#[tokio::test(start_paused = true)]
async fn a_first_write_that_failed_is_tried_again_in_a_minute() {
    let store = Arc::<LossyStore>::default();
    let clock = Clock::simulated(START);
    let (context, lane) = process(&store, clock);
    count(&context, &lane, 5);
    store.stored.fail_next(1);
    minutes(10).await;
    context.write_due().await;
    assert_eq!((store.writes.load(Ordering::Relaxed), all(&stored(&store)).events), (1, 0));
    minutes(1).await;
    context.write_due().await;
    assert_eq!((store.writes.load(Ordering::Relaxed), all(&stored(&store)).events), (2, 5));
    minutes(1).await;
    context.write_due().await;
    assert_eq!(store.writes.load(Ordering::Relaxed), 2, "nothing is in doubt");
}

#[tokio::test(start_paused = true)]
async fn writes_without_an_answer_keep_no_other_lane_from_being_written() {
    let store = Arc::<LossyStore>::default();
    let (context, first) = process(&store, Clock::simulated(START));
    count(&context, &first, 1);
    for number in 1..30 {
        let lane = context.telemetry.start_lane(&format!("customer-{number}"), Stream::Threats, "siem");
        context.begin_usage(&lane, 0);
        count(&context, &lane, 1);
    }
    minutes(10).await;
    store.hanging.store(CALLS + 1, Ordering::Relaxed);
    context.write_due().await;
    assert_eq!(store.stored.checkpoints().len(), 30 - CALLS - 1);
    context.write_due().await;
    assert_eq!(store.stored.checkpoints().len(), 30);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_idle_lanes_write_seldom() {
    let store = Arc::<LossyStore>::default();
    let clock = Clock::simulated(START);
    let (context, first) = process(&store, clock);
    let idle = 100;
    for number in 1..idle {
        let lane = context.telemetry.start_lane(&format!("customer-{number}"), Stream::Threats, "siem");
        context.begin_usage(&lane, 0);
        lane.succeeded(START);
    }
    first.succeeded(START);
    let keeping = context.clone();
    let keeping = tokio::spawn(async move { keeping.keep_usage().await });
    minutes(170).await;
    assert_eq!(store.writes.load(Ordering::Relaxed), 0);
    assert_eq!(store.reads.load(Ordering::Relaxed), idle, "each once, for the events of today and yesterday");
    assert_eq!(first.usage.recent(clock.now()).map(|recent| recent.today), Some(0));
    minutes(30).await;
    assert_eq!(store.writes.load(Ordering::Relaxed), idle, "it is known that nothing happened");
    assert_eq!(stored(&store).gaps(START, clock.now()).count(), 0);
    keeping.abort();
}

/// A lane that another worker has taken over is its to write.
#[tokio::test(start_paused = true)]
async fn a_lane_that_was_lost_is_not_written() {
    let store = Arc::<LossyStore>::default();
    let (context, lane) = process(&store, Clock::simulated(START));
    count(&context, &lane, 1);
    context.end_usage(&lane, false).await;
    assert_eq!(store.writes.load(Ordering::Relaxed), 0);
    // One that never ran has nothing to say.
    let (context, lane) = process(&store, Clock::simulated(START));
    context.end_usage(&lane, true).await;
    assert_eq!(store.writes.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_damaged_is_kept_as_it_is() {
    let store = Arc::<LossyStore>::default();
    let (context, lane) = process(&store, Clock::simulated(START));
    let key: CheckpointKey = "acme/threats/siem+usage".parse().unwrap();
    store.stored.commit(&key, vec![1, 2, 3].into()).await.unwrap();
    count(&context, &lane, 5);
    assert!(matches!(
        context.write_usage(&lane, START, 0, false).await,
        Err(UsageStoreError::Usage(UsageError::Damaged))
    ));
    assert_eq!(store.stored.checkpoints()[&key], [1, 2, 3]);
    assert!(lane.usage.has_pending(), "it is tried again");

    // It is read once, and does not keep others from being read.
    let (context, lane) = process(&store, Clock::simulated(START));
    store.reads.store(0, Ordering::Relaxed);
    let keeping = context.clone();
    let keeping = tokio::spawn(async move { keeping.keep_usage().await });
    minutes(10).await;
    assert_eq!((store.reads.load(Ordering::Relaxed), lane.usage.is_unread()), (1, None));
    keeping.abort();
}
