use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use s1_forwarder_engine::checkpoint::{CheckpointBackend, CheckpointUpdate, MemoryStore, Store};
use s1_forwarder_record::{Clock, LaneId, Stream};
use s1_forwarder_telemetry::{LaneState, LaneStateKind, Telemetry};
use tokio::time::advance;

use super::*;
use crate::options::Options;
use crate::shared::Shared;

const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// Stores everything, but loses the answers of some writes.
#[derive(Debug, Default)]
struct LossyStore {
    stored: MemoryStore,
    lost_answers: AtomicUsize,
    /// Writes that are never answered, and not stored.
    hanging: AtomicUsize,
    /// Milliseconds that a write takes.
    slow: AtomicUsize,
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
        let slow = self.slow.load(Ordering::Relaxed);
        if slow > 0 {
            sleep(Duration::from_millis(slow as u64)).await;
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

/// Creates one of the processes that share a store.
fn process(store: &Arc<LossyStore>, clock: Clock) -> (Arc<Shared>, Arc<LaneMetrics>) {
    let telemetry = Arc::new(Telemetry::new());
    let shared = Shared::with_store(store.clone(), Options { clock, ..Options::default() }, telemetry.clone());
    let lane = telemetry.start_lane(&LaneId::new("acme", Stream::Threats, "siem"));
    shared.usage.begin(&lane, 0);
    (shared, lane)
}

async fn end(shared: &Shared, metrics: &LaneMetrics, is_held: bool) {
    shared.usage.end(metrics, is_held, Instant::now() + Duration::from_secs(25)).await;
}

/// Returns the number of writes with this result, as a scrape shows it.
fn writes(shared: &Shared, result: &str) -> u64 {
    let text: String = shared.telemetry.clone().exposition(shared.options.clock.now()).collect();
    let line = format!("s1_forwarder_usage_writes_total{{result=\"{result}\"}} ");
    text.lines().find_map(|sample| sample.strip_prefix(&line)).unwrap().parse().unwrap()
}

fn count(shared: &Shared, metrics: &LaneMetrics, events: u64) {
    metrics.usage.count(shared.options.clock.now(), &Counts { events, ..Counts::default() });
}

fn stored(store: &LossyStore) -> Usage {
    let key: CheckpointKey = "acme/threats/siem+usage".parse().unwrap();
    store.stored.checkpoints().get(&key).map_or_else(Usage::default, |bytes| Usage::decode(bytes).unwrap())
}

fn all(usage: &Usage) -> Counts {
    usage.within(Timestamp::default(), START.plus(Duration::from_hours(9_600))).counts
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
        let (shared, lane) = process(&store, clock);
        let keeping = tokio::spawn(async move { shared.usage.keep().await });
        let (counting, _) = process(&store, clock);
        for minute in 0..100 {
            count(&counting, &lane, 1);
            lane.show(clock.now(), LaneState::new(LaneStateKind::ConsoleFailing, "500"));
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
        let (shared, lane) = process(&store, clock);
        shared.usage.read(&lane, clock.now(), 0).await.unwrap();
        let shown = lane.usage.recent(clock.now()).unwrap();
        assert_eq!((shown.today, shown.has_gap_today), (before, true), "before it writes anything");
        count(&shared, &lane, 1_000);
        end(&shared, &lane, true).await;
        let usage = stored(&store);
        assert_eq!(all(&usage).events, before + 1_000);
        assert_eq!(usage.gaps(START, clock.now()).count(), 1);
        // A clean end, and the lane elsewhere: no gap, and nothing of before is written again.
        let (shared, lane) = process(&store, clock);
        count(&shared, &lane, 1);
        end(&shared, &lane, true).await;
        let usage = stored(&store);
        assert_eq!((all(&usage).events, usage.gaps(START, clock.now()).count()), (before + 1_001, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_counts_once() {
    for is_topic in [false, true] {
        let store = Arc::new(LossyStore { is_topic, ..LossyStore::default() });
        let (shared, lane) = process(&store, Clock::simulated(START));
        let write = async || shared.usage.write(&lane, START, 0, false).await;
        count(&shared, &lane, 5);
        store.lost_answers.store(1, Ordering::Relaxed);
        assert!(write().await.is_err());
        assert_eq!(all(&stored(&store)).events, 5, "it was stored");
        count(&shared, &lane, 7);
        write().await.unwrap();
        assert_eq!(all(&stored(&store)).events, 12);
        // One that was not stored is tried again.
        store.stored.fail_next(1);
        count(&shared, &lane, 100);
        assert!(write().await.is_err());
        assert_eq!(all(&stored(&store)).events, 12);
        write().await.unwrap();
        assert_eq!(all(&stored(&store)).events, 112);
        // One that is interrupted.
        count(&shared, &lane, 1_000);
        let mut interrupted = Box::pin(shared.usage.write(&lane, START, 0, false));
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
        let (shared, lane) = process(&store, clock);
        let session = async |shared: &Shared, lane: &LaneMetrics, events: u64| {
            shared.usage.begin(lane, 0);
            count(shared, lane, events);
            end(shared, lane, true).await;
            minutes(1).await;
        };
        let stored = || {
            let usage = stored(&store);
            (all(&usage).events, usage.gaps(START, clock.now()).count())
        };
        store.stored.fail_next(1);
        session(&shared, &lane, 5).await;
        assert_eq!(stored(), (0, 0), "topic: {is_topic}");
        session(&shared, &lane, 7).await;
        assert_eq!(stored(), (12, 0));
        store.lost_answers.store(1, Ordering::Relaxed);
        session(&shared, &lane, 100).await;
        session(&shared, &lane, 1_000).await;
        assert_eq!(stored(), (1_112, 0));
        assert!(shared.usage.lanes.lock().is_empty(), "nothing is kept of a lane that has ended");

        // Another worker has written since. It may have added to these counts, so the time is a gap.
        store.lost_answers.store(1, Ordering::Relaxed);
        session(&shared, &lane, 5).await;
        let (other, its_lane) = process(&store, clock);
        session(&other, &its_lane, 10_000).await;
        assert_eq!(stored(), (11_117, 0));
        session(&shared, &lane, 7).await;
        assert_eq!(stored(), (11_124, 1), "nothing counts twice");
    }
}

/// Otherwise a kill would lose hours that no gap names, since the store does not know that the process counts.
#[tokio::test(start_paused = true)]
async fn a_first_write_that_failed_is_tried_again_in_a_minute() {
    let store = Arc::<LossyStore>::default();
    let clock = Clock::simulated(START);
    let (shared, lane) = process(&store, clock);
    count(&shared, &lane, 5);
    store.stored.fail_next(1);
    minutes(10).await;
    shared.usage.write_due().await;
    assert_eq!((store.writes.load(Ordering::Relaxed), all(&stored(&store)).events), (1, 0));
    minutes(1).await;
    shared.usage.write_due().await;
    assert_eq!((store.writes.load(Ordering::Relaxed), all(&stored(&store)).events), (2, 5));
    minutes(1).await;
    shared.usage.write_due().await;
    assert_eq!(store.writes.load(Ordering::Relaxed), 2, "nothing is in doubt");
}

#[tokio::test(start_paused = true)]
async fn writes_without_an_answer_keep_no_other_lane_from_being_written() {
    let store = Arc::<LossyStore>::default();
    let (shared, first) = process(&store, Clock::simulated(START));
    count(&shared, &first, 1);
    for number in 1..30 {
        let lane = shared.telemetry.start_lane(&LaneId::new(format!("customer-{number}"), Stream::Threats, "siem"));
        shared.usage.begin(&lane, 0);
        count(&shared, &lane, 1);
    }
    minutes(10).await;
    store.hanging.store(CALLS + 1, Ordering::Relaxed);
    shared.usage.write_due().await;
    assert_eq!(store.stored.checkpoints().len(), 30 - CALLS - 1);
    minutes(1).await;
    shared.usage.write_due().await;
    assert_eq!(store.stored.checkpoints().len(), 30);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_idle_lanes_write_seldom() {
    let store = Arc::<LossyStore>::default();
    let clock = Clock::simulated(START);
    let (shared, first) = process(&store, clock);
    let idle = 100;
    for number in 1..idle {
        let lane = shared.telemetry.start_lane(&LaneId::new(format!("customer-{number}"), Stream::Threats, "siem"));
        shared.usage.begin(&lane, 0);
        lane.succeeded(START);
    }
    first.succeeded(START);
    let keeping = shared.clone();
    let keeping = tokio::spawn(async move { keeping.usage.keep().await });
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
    let (shared, lane) = process(&store, Clock::simulated(START));
    count(&shared, &lane, 1);
    end(&shared, &lane, false).await;
    assert_eq!(store.writes.load(Ordering::Relaxed), 0);
    // One that never ran has nothing to say.
    let (shared, lane) = process(&store, Clock::simulated(START));
    end(&shared, &lane, true).await;
    assert_eq!(store.writes.load(Ordering::Relaxed), 0);
}

/// The checkpoint says that another process has delivered.
#[tokio::test(start_paused = true)]
async fn counts_of_a_process_that_was_killed_before_its_first_write_are_not_all() {
    for settled in [0, 7] {
        let store = Arc::<LossyStore>::default();
        let (shared, lane) = process(&store, Clock::simulated(START));
        lane.set_opened(settled);
        // The lane opens again after a failure: it has counted the events that it has settled meanwhile.
        lane.set_opened(settled + 10);
        count(&shared, &lane, 5);
        shared.usage.read(&lane, START, 0).await.unwrap();
        let shown = lane.usage.recent(START).unwrap();
        assert_eq!((shown.today, shown.has_gap_today), (5, settled > 0));
        end(&shared, &lane, true).await;
        assert_eq!((all(&stored(&store)).events, stored(&store).has_gap_on_day(START, 0)), (5, settled > 0));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_damaged_is_kept_as_it_is() {
    let store = Arc::<LossyStore>::default();
    let (shared, lane) = process(&store, Clock::simulated(START));
    let key: CheckpointKey = "acme/threats/siem+usage".parse().unwrap();
    store.stored.commit(&key, vec![1, 2, 3].into()).await.unwrap();
    count(&shared, &lane, 5);
    assert!(matches!(
        shared.usage.write(&lane, START, 0, false).await,
        Err(UsageStoreError::Usage(UsageError::Damaged))
    ));
    assert_eq!(store.stored.checkpoints()[&key], [1, 2, 3]);
    assert!(lane.usage.has_pending(), "it is tried again");

    // The damaged object is read once, and does not keep others from being read.
    let (shared, lane) = process(&store, Clock::simulated(START));
    store.reads.store(0, Ordering::Relaxed);
    let keeping = shared.clone();
    let keeping = tokio::spawn(async move { keeping.usage.keep().await });
    minutes(10).await;
    assert_eq!((store.reads.load(Ordering::Relaxed), lane.usage.is_unread(START)), (1, None));
    // Counts are tried to be added more and more seldom.
    count(&shared, &lane, 7);
    minutes(600).await;
    let tried = writes(&shared, "failed");
    assert!((8..20).contains(&tried), "{tried}");
    assert_eq!(store.reads.load(Ordering::Relaxed) as u64, 1 + tried);
    store.stored.commit(&key, Vec::new().into()).await.unwrap();
    minutes(65).await;
    assert_eq!((all(&stored(&store)).events, writes(&shared, "failed")), (7, tried), "it was removed");
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_is_a_metric() {
    let store = Arc::<LossyStore>::default();
    let (shared, lane) = process(&store, Clock::simulated(START));
    let results = || ["ok", "failed", "lost"].map(|result| writes(&shared, result));
    assert_eq!(results(), [0, 0, 0]);
    count(&shared, &lane, 1);
    store.stored.fail_next(1);
    minutes(10).await;
    shared.usage.write_due().await;
    minutes(1).await;
    shared.usage.write_due().await;
    assert_eq!(results(), [1, 1, 0]);
    count(&shared, &lane, 1);
    store.stored.fail_next(1);
    end(&shared, &lane, true).await;
    assert_eq!(results(), [1, 1, 1]);
}

/// Thousands of lanes end together, and the store is slow.
#[tokio::test(start_paused = true)]
async fn last_writes_end_with_the_shutdown_timeout_and_those_that_are_missing_are_counted() {
    let store = Arc::<LossyStore>::default();
    let (shared, first) = process(&store, Clock::simulated(START));
    let mut lanes = vec![first];
    for number in 1..1_000 {
        let lane = shared.telemetry.start_lane(&LaneId::new(format!("customer-{number}"), Stream::Threats, "siem"));
        shared.usage.begin(&lane, 0);
        lanes.push(lane);
    }
    lanes.iter().for_each(|lane| count(&shared, lane, 1));
    store.slow.store(1_000, Ordering::Relaxed);
    let started_at = Instant::now();
    let deadline = started_at + Duration::from_secs(10);
    futures_util::future::join_all(lanes.iter().map(|lane| shared.usage.end(lane, true, deadline))).await;
    assert!(started_at.elapsed() <= Duration::from_secs(11), "{:?}", started_at.elapsed());
    let in_time = store.stored.checkpoints().len();
    assert!((9 * LAST_CALLS..=10 * LAST_CALLS).contains(&in_time), "{in_time}");
    assert_eq!(writes(&shared, "ok") as usize, in_time);
    assert_eq!(writes(&shared, "lost") as usize, 1_000 - in_time);
    assert_eq!(shared.usage.lost.load(Ordering::Relaxed) as usize, 1_000 - in_time);
    shared.usage.log_lost();
    assert_eq!(shared.usage.lost.load(Ordering::Relaxed), 0, "they are named once");

    // A lane that needed the whole time to drain.
    store.slow.store(0, Ordering::Relaxed);
    shared.usage.begin(&lanes[0], 0);
    count(&shared, &lanes[0], 1);
    shared.usage.end(&lanes[0], true, started_at).await;
    assert_eq!(writes(&shared, "ok") as usize, in_time + 1);
}

/// Otherwise it would show a state in which the counts of the write are neither stored nor waiting.
#[tokio::test(start_paused = true)]
async fn what_is_stored_is_not_read_while_it_is_written() {
    let store = Arc::<LossyStore>::default();
    let clock = Clock::simulated(START);
    let (shared, lane) = process(&store, clock);
    count(&shared, &lane, 5);
    store.slow.store(1_000, Ordering::Relaxed);
    let mut write = Box::pin(shared.usage.write(&lane, START, 0, false));
    assert!(futures_util::poll!(&mut write).is_pending());
    let mut read = Box::pin(shared.usage.read(&lane, START, 0));
    assert!(futures_util::poll!(&mut read).is_pending());
    write.await.unwrap();
    read.await.unwrap();
    assert_eq!(lane.usage.recent(clock.now()).map(|recent| recent.today), Some(5));
}

/// The console's clock shows that the worker's is wrong. With it, stored counts would be forgotten as too old.
#[tokio::test(start_paused = true)]
async fn a_worker_whose_clock_is_years_ahead_writes_when_it_is_right_again() {
    let store = Arc::<LossyStore>::default();
    let (shared, lane) = process(&store, Clock::simulated(START));
    count(&shared, &lane, 5);
    end(&shared, &lane, true).await;
    let ahead = START.plus(Duration::from_hours(26_280));
    let (shared, lane) = process(&store, Clock::simulated(ahead));
    count(&shared, &lane, 7);
    for difference in [None, Some(Duration::from_hours(26_280))] {
        if let Some(difference) = difference {
            lane.clocks.set_difference(difference, ahead);
        }
        let refused = shared.usage.write(&lane, ahead, 0, false).await;
        assert!(matches!(refused, Err(UsageStoreError::Clock(_))), "{refused:?}");
        assert!(lane.usage.has_pending());
    }
    // The lane was away for three years.
    lane.clocks.set_difference(Duration::from_secs(1), ahead);
    shared.usage.write(&lane, ahead, 0, false).await.unwrap();
    let days = |days: u64| Duration::from_secs(86_400 * days);
    assert_eq!(stored(&store).within(ahead.minus(days(1)), ahead.plus(days(1))).counts.events, 7);
}
