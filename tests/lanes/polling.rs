//! The console's side: pages, ties, late records, refused cursors, answers that are none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use s1_forwarder::emulator::{Faults, Kind, Mishap};
use s1_forwarder::lane::Lane;
use s1_forwarder::record::{Stream, Timestamp, facts};
use s1_forwarder::source::{Poll, Position, Pull};
use s1_forwarder::telemetry::DropReason;
use tokio::time::sleep;

use crate::world::{MemorySink, World, assert_books_balance};

async fn everything_arrives_once(kind: Kind, stream: Stream, faults: Faults) {
    let world = World::new(|setup| {
        setup.activities = 3_000;
        setup.threats = 1_500;
    });
    world.console.set_faults(faults);
    let sink = MemorySink::new(world.clock, |_, _| None);
    world.run_once(world.lane(world.pull(stream), "siem", sink.clone())).await;
    let owed = world.owed(kind);
    assert!(owed.len() >= 1_500);
    let counts = sink.counts();
    assert_eq!(counts.keys().collect::<Vec<_>>(), owed.keys().collect::<Vec<_>>());
    assert!(counts.values().all(|count| *count == 1));
}

#[tokio::test(start_paused = true)]
async fn all_records_arrive_once_from_a_good_console() {
    everything_arrives_once(Kind::Activities, Stream::Activities, Faults::default()).await;
    everything_arrives_once(Kind::Threats, Stream::Threats, Faults::default()).await;
}

#[tokio::test(start_paused = true)]
async fn all_records_arrive_once_from_a_console_with_every_fault() {
    for name in Faults::PRESETS.iter().filter(|name| **name != "none") {
        let mut faults = Faults::preset(name).unwrap();
        // Faults that never end are the business of other tests.
        faults.forbidden.clear();
        faults.missing.clear();
        faults.faults.retain(|fault| {
            !matches!(
                fault.mishap,
                Mishap::LateArrival(_)
                    | Mishap::ChangedWhilePaged
                    | Mishap::Unauthorized
                    | Mishap::Forbidden
                    | Mishap::NotFound
                    | Mishap::NotSupported
            )
        });
        println!("{name}");
        everything_arrives_once(Kind::Activities, Stream::Activities, faults).await;
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_appear_late_within_the_overlap_arrive_once() {
    let world = World::new(|setup| setup.activities = 50);
    let sink = MemorySink::new(world.clock, |_, _| None);
    let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
    for minute in 0..20 {
        sleep(Duration::from_secs(60)).await;
        let now = world.clock.now();
        world.console.generate(Kind::Activities, now.micros());
        world.console.generate(Kind::Activities, now.minus(Duration::from_secs(10 * minute)).micros());
    }
    sleep(Duration::from_secs(120)).await;
    let metrics = running.drain().await;
    let counts = sink.counts();
    assert_eq!(counts.len(), world.owed(Kind::Activities).len());
    assert!(counts.values().all(|count| *count == 1));
    assert!(metrics.dropped(DropReason::Duplicate) > 0, "the overlap is read again");
    assert_books_balance(&metrics);
}

#[tokio::test(start_paused = true)]
async fn each_change_of_a_threat_that_a_poll_can_see_arrives_once() {
    let world = World::new(|setup| setup.threats = 40);
    let sink = MemorySink::new(world.clock, |_, _| None);
    let running = world.start(world.lane(world.pull(Stream::Threats), "siem", sink.clone()));
    let threat = world.console.ids(Kind::Threats)[7];
    for _ in 0..5 {
        sleep(Duration::from_secs(90)).await;
        world.console.age(Kind::Threats, threat, world.clock.now().micros());
    }
    sleep(Duration::from_secs(90)).await;
    let metrics = running.drain().await;
    let of_threat = sink.taken.lock().unwrap().iter().filter(|(_, id, _)| *id == threat.to_string()).count();
    assert_eq!(of_threat, 6);
    assert_eq!(sink.total(), 45);
    assert_books_balance(&metrics);
}

#[tokio::test(start_paused = true)]
async fn a_restart_repeats_nothing_and_loses_nothing() {
    let world = World::new(|setup| setup.activities = 500);
    let sink = MemorySink::new(world.clock, |_, _| None);
    for _ in 0..3 {
        let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
        sleep(Duration::from_secs(45)).await;
        running.drain().await;
        world.console.generate(Kind::Activities, world.clock.now().micros());
        sleep(Duration::from_secs(3600)).await;
    }
    let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_secs(45)).await;
    running.drain().await;
    assert_eq!(sink.total(), 503);
    assert_eq!(sink.counts().len(), 503);
}

/// Where nothing comes, nothing but a poll's end moves the position.
#[tokio::test(start_paused = true)]
async fn a_poll_that_reached_its_end_moves_the_position_to_its_start() {
    let world = World::new(|setup| setup.activities = 100);
    let mut lane = world.lane(world.pull(Stream::Activities), "siem", MemorySink::new(world.clock, |_, _| None));
    (lane.once, lane.first_poll_after) = (true, Duration::from_secs(86_400));
    world.start(lane).task.await.unwrap();
    let position = world.checkpoint(Stream::Activities, "siem").unwrap().position;
    let age = world.clock.now().since(position.complete().unwrap());
    assert!(age < Duration::from_secs(60), "{age:?}");
    assert_eq!(position.bound(), position.complete().unwrap().minus(Duration::from_secs(300)), "less the overlap");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_forbidden_rests_and_comes_back() {
    let world = World::new(|setup| {
        setup.activities = 20;
        setup.threats = 20;
    });
    world.console.set_faults(Faults { forbidden: vec![Kind::Threats], ..Faults::default() });
    let (threats, activities) = (MemorySink::new(world.clock, |_, _| None), MemorySink::new(world.clock, |_, _| None));
    let forbidden = world.start(world.lane(world.pull(Stream::Threats), "siem", threats.clone()));
    let allowed = world.start(world.lane(world.pull(Stream::Activities), "siem", activities.clone()));
    sleep(Duration::from_secs(1800)).await;
    assert_eq!((threats.total(), activities.total()), (0, 20));
    assert!(!forbidden.metrics.state().is_up() && allowed.metrics.state().is_up());
    let asked = forbidden.metrics.console_requests.snapshot();
    assert!(asked.values().sum::<u64>() <= 2, "no hot loop: {asked:?}");
    world.console.set_faults(Faults::default());
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(threats.total(), 20);
    forbidden.drain().await;
    allowed.drain().await;
}

/// Thousands of lanes may read their histories at once, and what they remember is in no budget.
#[tokio::test(start_paused = true)]
async fn a_long_history_is_not_remembered() {
    let world = World::new(|setup| setup.activities = 12_000);
    let lane = world.lane(world.pull(Stream::Activities), "siem", MemorySink::new(world.clock, |_, _| None));
    let (client, meter) = (lane.client.clone(), lane.delivery.meter.clone());
    let position = Position::starting_at(Timestamp::default());
    let mut poll = Poll::new(client.clone(), meter, lane.pull.clone(), position, 0, world.clock.now()).unwrap();
    let (mut arrived, mut most) = (0, 0);
    loop {
        let page = poll.next(client.turn().await, 100, 64 << 20).await.unwrap();
        arrived += page.records.len();
        most = most.max(poll.key_count());
        if page.last {
            break;
        }
    }
    assert_eq!(arrived, world.owed(Kind::Activities).len());
    assert!((100..2_500).contains(&most), "{most} keys");
}

#[tokio::test(start_paused = true)]
async fn excluded_types_are_dropped_and_counted() {
    let world = World::new(|setup| setup.activities = 500);
    let sink = MemorySink::new(world.clock, |_, _| None);
    let mut pull = world.pull(Stream::Activities);
    pull.exclude_types = vec![27];
    let mut lane = world.lane(pull, "siem", sink.clone());
    lane.once = true;
    let running = world.start(lane);
    running.task.await.unwrap();
    let filtered = running.metrics.dropped(DropReason::Filtered);
    assert!(filtered > 0 && filtered < 500);
    assert_eq!(sink.total() as u64 + filtered, 500);
    assert_eq!(running.metrics.pulled.load(Ordering::Relaxed), 500);
}

#[tokio::test(start_paused = true)]
async fn what_a_ledger_holds_is_not_delivered_again_by_a_repair() {
    let world = World::new(|setup| setup.activities = 300);
    let sink = MemorySink::new(world.clock, |_, _| None);
    let ids = world.console.ids(Kind::Activities);
    let identity = |id: &u64| {
        let record = world.console.record(Kind::Activities, *id).unwrap();
        facts(Stream::Activities, &record).identity("console.example", &record)
    };
    let known = Some(Arc::new(ids[3..].iter().map(identity).collect()));
    world.run_once(Lane { known, ..world.lane(world.pull(Stream::Activities), "siem", sink.clone()) }).await;
    let lacking: BTreeSet<String> = ids[..3].iter().map(|id| identity(id).to_string()).collect();
    assert_eq!((sink.total(), sink.counts().into_keys().collect::<BTreeSet<_>>()), (3, lacking));
}

/// What the console counts is not what the lane had to pull before.
#[tokio::test(start_paused = true)]
async fn a_ledger_begins_anew_where_the_console_is_asked_for_something_else() {
    let world = World::new(|setup| setup.activities = 100);
    for (types, generation) in [(vec![], 0), (vec![], 0), (vec![27], 1), (vec![27], 1)] {
        let pull = Pull { types, ..world.pull(Stream::Activities) };
        let asked = pull.narrowed_by();
        world.run_once(world.lane(pull, "siem", MemorySink::new(world.clock, |_, _| None))).await;
        let ledger = world.standing(Stream::Activities, "siem").unwrap().ledger;
        assert_eq!((ledger.asked(), ledger.generation()), (asked.as_str(), generation));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_clock_an_hour_ahead_loses_nothing() {
    let world = World::new(|setup| setup.activities = 10);
    world.console.set_faults(Faults::default().with(Mishap::WrongDate(3600), 0.5));
    let sink = MemorySink::new(world.clock, |_, _| None);
    let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink.clone()));
    for _ in 0..120 {
        sleep(Duration::from_secs(30)).await;
        world.console.generate(Kind::Activities, world.clock.now().minus(Duration::from_secs(100)).micros());
    }
    sleep(Duration::from_secs(120)).await;
    running.drain().await;
    assert_eq!(sink.counts().len(), 130);
    assert_eq!(sink.total(), 130);
}

#[tokio::test(start_paused = true)]
async fn a_console_that_refuses_every_cursor_is_failing_and_not_hammered() {
    let world = World::new(|setup| setup.activities = 200);
    world
        .console
        .set_faults(Faults { at_most_in_a_row: u32::MAX, ..Faults::default() }.with(Mishap::RefusedCursor, 1.0));
    for _ in 0..300 {
        world.console.generate(Kind::Activities, world.clock.now().minus(Duration::from_secs(30)).micros());
    }
    let mut sink = MemorySink::new(world.clock, |_, _| None);
    // The sink takes nothing, so that pages stay small and the overlap holds several.
    Arc::get_mut(&mut sink).unwrap().delay = Duration::from_secs(3600);
    let running = world.start(world.lane(world.pull(Stream::Activities), "siem", sink));
    sleep(Duration::from_secs(600)).await;
    let asked: u64 = running.metrics.console_requests.snapshot().values().sum();
    assert!(asked < 100, "{asked} requests");
    running.task.abort();
}

/// The first page is good and its cursor is refused, again and again: asked again at once, but only once.
#[tokio::test(start_paused = true)]
async fn a_console_that_refuses_every_cursor_is_not_asked_in_a_hot_loop() {
    let world = World::new(|setup| setup.activities = 2_500);
    let mut faults = Faults::default().with(Mishap::RefusedCursor, 1.0);
    faults.at_most_in_a_row = u32::MAX;
    world.console.set_faults(faults);
    let sink = MemorySink::new(world.clock, |_, _| None);
    let mut pull = world.pull(Stream::Activities);
    // So long that no pass begins later than the one before it.
    pull.overlap = Duration::from_secs(2 * 86_400);
    let running = world.start(world.lane(pull, "siem", sink.clone()));
    sleep(Duration::from_secs(20)).await;
    let asked = world.console.seen().len();
    assert!(asked < 60, "{asked} requests in twenty seconds");
    world.console.set_faults(Faults::default());
    sleep(Duration::from_secs(120)).await;
    running.drain().await;
    assert_eq!((sink.total(), sink.counts().len()), (2_500, 2_500));
}
