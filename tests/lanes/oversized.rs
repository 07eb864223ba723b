//! Records that are larger than the budget leaves for one: each becomes a dead letter, and the rest arrives once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use s1_forwarder::emulator::Kind;
use s1_forwarder::lane::Budget;
use s1_forwarder::record::Stream;
use tokio::time::{sleep, timeout};

use crate::world::{MemorySink, START, World, assert_books_balance};

const BUDGET: usize = 1 << 20;
const LARGE: usize = 400 << 10;
/// Of the simulated clock: a walk that goes round in circles asks for ever.
const PATIENCE: Duration = Duration::from_secs(600);

/// A console without history, and so little memory that a record of `LARGE` bytes does not fit.
fn narrow_world() -> World {
    let mut world = World::new(|_| {});
    world.budget = Budget::new(BUDGET);
    world
}

/// Pulls everything; then all but the `large` ones must have arrived, once, and those be dead letters.
async fn steps_over(
    world: &World,
    (kind, stream): (Kind, Stream),
    large: &BTreeSet<u64>,
    name: &str,
) -> Arc<MemorySink> {
    let sink = MemorySink::new(world.clock, |_, _| None);
    let mut lane = world.lane(world.pull(stream), name, sink.clone());
    lane.once = true;
    let metrics = lane.delivery.meter.lane.clone();
    timeout(PATIENCE, world.start(lane).task).await.unwrap_or_else(|_| panic!("{name} does not end")).unwrap();
    let (counts, mut owed) = (sink.counts(), world.owed(kind));
    owed.retain(|_, id| !large.contains(id));
    assert_eq!(counts.keys().collect::<Vec<_>>(), owed.keys().collect::<Vec<_>>(), "{name}");
    assert!(counts.values().all(|count| *count == 1), "{name}: something came twice");
    assert_eq!(metrics.dead_letters.load(Ordering::Relaxed), large.len() as u64, "{name}");
    assert_books_balance(&metrics);
    sink
}

/// `L` is a large one, a millisecond behind the one before: the walk begins in front of some that it stepped over before.
#[tokio::test(start_paused = true)]
async fn several_large_records_close_in_time_are_stepped_over_one_by_one() {
    for both in [(Kind::Activities, Stream::Activities), (Kind::Threats, Stream::Threats)] {
        for pattern in ["...L...", "L", "LLL", "L.L.L.L", "...L.LL.L...", ".LL..LL.LL."] {
            let world = narrow_world();
            let before = START.minus(Duration::from_secs(3600)).micros();
            let mut large = BTreeSet::new();
            for (place, what) in pattern.chars().enumerate() {
                let at = before + place as i64 * 1000;
                match what {
                    'L' => _ = large.insert(world.console.generate_oversized(both.0, at, LARGE)),
                    _ => _ = world.console.generate(both.0, at),
                }
            }
            steps_over(&world, both, &large, pattern).await;
        }
    }
}

/// The console skips a thousand records at most. When more have come between the place where the walk began and the large
/// one, another begins where this one got to.
#[tokio::test(start_paused = true)]
async fn a_large_record_behind_more_than_can_be_skipped_is_stepped_over() {
    let world = narrow_world();
    let at = |seconds| START.minus(Duration::from_secs(seconds)).micros();
    let large = [world.console.generate_oversized(Kind::Activities, at(60), LARGE)].into();
    let console = world.console.clone();
    let late = tokio::spawn(async move {
        // It is the first of the list, and no record has told a time yet.
        while !console.seen().iter().any(|seen| seen.query.contains("&skip=")) {
            sleep(Duration::from_millis(5)).await;
        }
        (0..1100).for_each(|second| _ = console.generate(Kind::Activities, at(7200 - second)));
    });
    steps_over(&world, (Kind::Activities, Stream::Activities), &large, "siem").await;
    late.await.unwrap();
}
