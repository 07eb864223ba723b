//! A dead sink stalls only its own lane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use s1_forwarder::checkpoint::{CheckpointBackend, CheckpointKey, CheckpointUpdate, MemoryStore, StateError};
use s1_forwarder::emulator::Kind;
use s1_forwarder::lane::Lane;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::Outcome;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::telemetry::LaneStateKind;
use tokio::time::sleep;

use super::harness::{LaneHarness, Running};

/// More than ten lanes deliver in the time that they get.
const ACTIVITIES: usize = 16_000;

/// Lets `healthy` lanes and `dead` ones run for 400 ms of paused time; returns how many events the healthy ones
/// delivered.
async fn delivered_by_healthy_lanes(healthy: usize, dead: usize) -> usize {
    let mut harness = LaneHarness::new(|setup| setup.activities = ACTIVITIES);
    harness.budget = s1_forwarder::lane::Budget::new(128 << 20);
    let mut running = Vec::new();
    for lane in 0..dead {
        // Half of them refuse, half of them never answer.
        let mut sink = MemorySink::new(harness.clock, |_, _| Some(Outcome::retry_later("dead")));
        if lane % 2 == 0 {
            Arc::get_mut(&mut sink).unwrap().delay = Duration::from_secs(30);
        }
        running.push(harness.start(harness.lane(harness.pull(Stream::Activities), &format!("dead-{lane}"), sink)));
    }
    let sinks: Vec<_> = (0..healthy).map(|_| MemorySink::accepting(harness.clock)).collect();
    for (lane, sink) in sinks.iter().enumerate() {
        running.push(harness.start(harness.lane(
            harness.pull(Stream::Activities),
            &format!("healthy-{lane}"),
            sink.clone(),
        )));
    }
    sleep(Duration::from_millis(400)).await;
    let delivered = sinks.iter().map(|sink| sink.total()).sum();
    running.iter().for_each(|lane| lane.task.abort());
    delivered
}

/// Ninety lanes have delivered, and take what they can get when their sinks fall silent. What shows that they have is
/// that nothing comes. Once their attempts have failed they hold nothing, and the other ten have it. When the sinks
/// answer again, the ninety go on.
#[tokio::test(start_paused = true)]
async fn ninety_lanes_whose_sinks_fall_silent_give_back_what_they_hold() {
    let mut harness = LaneHarness::new(|setup| setup.activities = ACTIVITIES);
    harness.budget = s1_forwarder::lane::Budget::new(32 << 20);
    let mut running = Vec::new();
    let mut sinks: Vec<Arc<MemorySink>> = (0..100).map(|_| MemorySink::accepting(harness.clock)).collect();
    for (lane, sink) in sinks.iter_mut().enumerate() {
        Arc::get_mut(sink).unwrap().delay = Duration::from_secs(1);
        running.push(harness.start(harness.lane(
            harness.pull(Stream::Activities),
            &format!("lane-{lane}"),
            sink.clone(),
        )));
    }
    let (silent, healthy) = sinks.split_at(90);
    let totals = |sinks: &[Arc<MemorySink>]| sinks.iter().map(|sink| sink.total()).collect::<Vec<_>>();
    sleep(Duration::from_secs(3)).await;
    assert!(totals(&sinks).iter().all(|total| *total > 0), "all lanes have delivered");
    silent.iter().for_each(|sink| sink.is_silent.store(true, Ordering::Relaxed));
    sleep(Duration::from_secs(5)).await;
    let delivered = |before: Vec<usize>| {
        totals(healthy).into_iter().zip(before).map(|(total, before)| total - before).collect::<Vec<_>>()
    };
    let before = totals(healthy);
    sleep(Duration::from_secs(20)).await;
    let beside_silent = delivered(before);
    println!("| in twenty seconds next to ninety silent sinks | ≥ 350 | {beside_silent:?} |");
    assert!(beside_silent.iter().all(|delivered| *delivered >= 350), "{beside_silent:?}");
    // From here on their attempts fail, half a minute after they began.
    sleep(Duration::from_secs(15)).await;
    let before = totals(healthy);
    sleep(Duration::from_secs(20)).await;
    let beside_failed = delivered(before);
    println!("| in twenty seconds once their attempts have failed | ≥ 1,500 | {beside_failed:?} |");
    assert!(beside_failed.iter().all(|delivered| *delivered >= 1_500), "{beside_failed:?}");
    running.drain(90..).for_each(|lane| lane.task.abort());
    sleep(Duration::from_millis(100)).await;
    // One page each at the most, with which it finds out whether its sink answers again.
    let held = harness.budget.used();
    println!("| bytes that the ninety hold then | ≤ 16 MiB | {held} |");
    assert!(held <= 16 << 20, "{held} bytes are held by lanes whose sinks are silent");
    // Ten of them are enough to see how it ends.
    running.drain(10..).for_each(|lane| lane.task.abort());
    let silent = &silent[..10];
    silent.iter().for_each(|sink| sink.is_silent.store(false, Ordering::Relaxed));
    sleep(Duration::from_mins(10)).await;
    let counts = silent.iter().map(|sink| (sink.total(), sink.counts().len()));
    assert!(counts.clone().all(|counts| counts == (ACTIVITIES, ACTIVITIES)), "{:?}", counts.collect::<Vec<_>>());
    running.iter().for_each(|lane| lane.task.abort());
}

/// A store in memory that fails, or never answers, when it is set to.
#[derive(Debug, Default)]
struct StallingStore {
    store: MemoryStore,
    fails: AtomicBool,
    hangs: AtomicBool,
}

#[async_trait]
impl CheckpointBackend for StallingStore {
    async fn load(&self, key: &CheckpointKey) -> Result<Option<Vec<u8>>, StateError> {
        self.store.load(key).await
    }

    async fn commit(&self, key: &CheckpointKey, update: CheckpointUpdate) -> Result<Vec<u64>, StateError> {
        while self.hangs.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(100)).await;
        }
        if self.fails.load(Ordering::Relaxed) {
            self.store.fail_next(1);
        }
        self.store.commit(key, update).await
    }
}

/// Ninety lanes hold what they can get when their stores fail or never answer. After half a minute they hold nothing,
/// and the other ten have it. When the stores work again, the ninety go on.
#[tokio::test(start_paused = true)]
async fn ninety_lanes_whose_stores_stall_give_back_what_they_hold() {
    let mut harness = LaneHarness::new(|setup| setup.activities = ACTIVITIES);
    harness.budget = s1_forwarder::lane::Budget::new(32 << 20);
    let stores: Vec<Arc<StallingStore>> = (0..100).map(|_| Arc::default()).collect();
    let mut sinks: Vec<Arc<MemorySink>> = (0..100).map(|_| MemorySink::accepting(harness.clock)).collect();
    let mut running = Vec::new();
    for (number, (sink, store)) in sinks.iter_mut().zip(&stores).enumerate() {
        Arc::get_mut(sink).unwrap().delay = Duration::from_secs(1);
        let lane = harness.lane(harness.pull(Stream::Activities), &format!("lane-{number}"), sink.clone());
        running.push(harness.start(Lane { store: store.clone(), ..lane }));
    }
    let totals = |sinks: &[Arc<MemorySink>]| sinks.iter().map(|sink| sink.total()).collect::<Vec<_>>();
    sleep(Duration::from_secs(3)).await;
    assert!(totals(&sinks).iter().all(|total| *total > 0), "all lanes have delivered");
    for (number, store) in stores[..90].iter().enumerate() {
        if number % 2 == 0 { &store.hangs } else { &store.fails }.store(true, Ordering::Relaxed);
    }
    sleep(Duration::from_secs(45)).await;
    let stalled = totals(&sinks[..90]);
    let healthy = totals(&sinks[90..]);
    let others: Vec<_> = running.drain(90..).collect();
    others.iter().for_each(|lane| lane.task.abort());
    sleep(Duration::from_secs(20)).await;
    assert_eq!(harness.budget.used(), 0, "bytes are held by lanes whose stores stall");
    assert_eq!(totals(&sinks[..90]), stalled, "a lane whose store stalls delivers nothing");
    let is_stopped = |lane: &&Running| lane.metrics.state().kind == LaneStateKind::Stopped;
    assert_eq!(running.iter().filter(is_stopped).count(), 90, "a lane whose store stalls does not say so");
    println!("in 48 seconds next to ninety stalled stores: {healthy:?}");
    assert!(healthy.iter().all(|delivered| *delivered >= 5_000), "{healthy:?}");
    // Ten of them are enough to see how it ends: five stores hung, and five failed.
    running.drain(10..).for_each(|lane| lane.task.abort());
    for store in &stores[..10] {
        store.hangs.store(false, Ordering::Relaxed);
        store.fails.store(false, Ordering::Relaxed);
    }
    sleep(Duration::from_mins(10)).await;
    let counts = sinks[..10].iter().map(|sink| (sink.total(), sink.counts().len()));
    assert!(counts.clone().all(|counts| counts == (ACTIVITIES, ACTIVITIES)), "{:?}", counts.collect::<Vec<_>>());
    assert_eq!(running.iter().filter(is_stopped).count(), 0, "all stores work again");
    running.iter().for_each(|lane| lane.task.abort());
}

/// Nothing else happens in the lane for five minutes.
#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_noticed_while_the_sink_takes_its_time() {
    let harness = LaneHarness::new(|setup| setup.activities = 2_500);
    let store = Arc::<StallingStore>::default();
    let mut sink = MemorySink::accepting(harness.clock);
    Arc::get_mut(&mut sink).unwrap().delay = Duration::from_mins(5);
    let lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    let interval = Duration::from_secs(310);
    let lane = Lane { store: store.clone(), concurrency: 1, checkpoint_interval: interval, ..lane };
    let running = harness.start(lane);
    sleep(Duration::from_secs(500)).await;
    store.hangs.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(200)).await;
    assert!(sink.total() < 2_500, "a batch is on its way");
    assert_eq!(running.metrics.state().kind, LaneStateKind::Stopped, "{:?}", running.metrics.state());
    running.task.abort();
}

/// Nothing is in flight any more, and the poll ends only when what it delivered is stored.
#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_at_the_end_of_a_poll_is_noticed() {
    let harness = LaneHarness::new(|setup| setup.activities = 0);
    let store = Arc::<StallingStore>::default();
    let sink = MemorySink::accepting(harness.clock);
    let lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    let running = harness.start(Lane { store: store.clone(), ..lane });
    sleep(Duration::from_secs(100)).await;
    store.hangs.store(true, Ordering::Relaxed);
    harness.console.generate(Kind::Activities, harness.clock.now().micros());
    sleep(Duration::from_secs(150)).await;
    assert_eq!(sink.total(), 1);
    assert_eq!(running.metrics.state().kind, LaneStateKind::Stopped, "{:?}", running.metrics.state());
    store.hangs.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(100)).await;
    assert_ne!(running.metrics.state().kind, LaneStateKind::Stopped, "{:?}", running.metrics.state());
    running.task.abort();
}

/// The turns that lanes took before they waited for memory would all be used at the same moment.
#[tokio::test(start_paused = true)]
async fn lanes_that_waited_for_memory_together_do_not_ask_together() {
    let mut harness = LaneHarness::new(|setup| (setup.activities, setup.threats, setup.agents) = (5, 5, 5));
    harness.requests_per_second = 0.5;
    let other = harness.budget.lane();
    let everything = other.reserve(other.total()).await;
    let sink = MemorySink::accepting(harness.clock);
    let lane = |stream| harness.start(harness.lane(harness.pull(stream), "siem", sink.clone()));
    let running = [Stream::Activities, Stream::Threats, Stream::Agents].map(lane);
    sleep(Duration::from_mins(1)).await;
    let asked = harness.console.request_log().len();
    let delivered = sink.total();
    drop(everything);
    sleep(Duration::from_millis(1_900)).await;
    let at_once = harness.console.request_log().len() - asked;
    assert!((delivered, at_once) == (0, 1), "one request in two seconds: {at_once}");
    sleep(Duration::from_secs(20)).await;
    assert!(sink.total() >= 14, "{}", sink.total());
    running.iter().for_each(|lane| lane.task.abort());
}

#[tokio::test(start_paused = true)]
async fn ninety_dead_sinks_of_a_hundred_do_not_slow_the_other_ten() {
    let alone = delivered_by_healthy_lanes(10, 0).await;
    let among_the_dead = delivered_by_healthy_lanes(10, 90).await;
    println!("ten lanes alone: {alone} events; among a hundred with ninety dead sinks: {among_the_dead}");
    assert!(
        alone < 10 * ACTIVITIES,
        "the time must be too short to deliver everything, or there is nothing to compare"
    );
    assert!(among_the_dead as f64 >= alone as f64 * 0.95, "{among_the_dead} of {alone}");
}
