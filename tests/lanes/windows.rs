//! Closed windows: what lies in them is delivered once, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use s1_forwarder::emulator::{Faults, Kind};
use s1_forwarder::lane::LaneEnd;
use s1_forwarder::record::{Stream, Timestamp, facts};
use s1_forwarder::source::{By, Window};

use crate::world::{MemorySink, START, World, assert_books_balance};

/// The identities of the records whose time lies in `window`.
fn inside(world: &World, kind: Kind, stream: Stream, window: Window) -> BTreeSet<String> {
    let mut inside = BTreeSet::new();
    for id in world.console.ids(kind) {
        let record = world.console.record(kind, id).unwrap();
        let facts = facts(stream, &record);
        let time = if window.by == By::Creation { facts.created } else { facts.time };
        if window.from <= time.unwrap() && time.unwrap() < window.to {
            inside.insert(facts.identity("console.example", &record).to_string());
        }
    }
    inside
}

/// Pulls windows that touch one another, and whose ends no second begins.
async fn windows_are_whole_and_apart(kind: Kind, stream: Stream, by: By, faults: Faults) {
    let world = World::new(|setup| (setup.activities, setup.threats) = (3_000, 1_500));
    world.console.set_faults(faults);
    let sink = MemorySink::new(world.clock, |_, _| None);
    let hours = |hours: u64| START.minus(Duration::from_secs(hours * 3600) + Duration::from_micros(123_457));
    let mut wanted = BTreeSet::new();
    for (from, to) in [(20, 13), (13, 12), (12, 2)] {
        let window = Window { from: hours(from), to: hours(to), by };
        let pull = world.pull(stream).within(window);
        let mut lane = world.lane(pull.clone(), &format!("siem-{from}"), sink.clone());
        lane.once = true;
        let (metrics, client, meter) =
            (lane.delivery.meter.lane.clone(), lane.client.clone(), lane.delivery.meter.clone());
        assert_eq!(world.start(lane).task.await.unwrap(), LaneEnd::Complete);
        assert_books_balance(&metrics);
        let owed = inside(&world, kind, stream, window);
        assert!(owed.len() > 10, "{} in {window:?}", owed.len());
        let checkpoint = world.checkpoint(stream, &format!("siem-{from}")).unwrap();
        assert_eq!(checkpoint.settled, owed.len() as u64, "what is settled is counted with the position");
        assert!(checkpoint.position.complete() == Some(window.to) && checkpoint.position.key_count() < 50);
        let counted = pull.count(&client, window, &meter).await;
        if let Ok(counted) = counted {
            assert!(counted.abs_diff(owed.len() as u64) <= 2, "{counted} {}", owed.len());
        }
        wanted.extend(owed);
    }
    let counts = sink.counts();
    assert_eq!(counts.keys().cloned().collect::<BTreeSet<_>>(), wanted);
    assert!(counts.values().all(|count| *count == 1));
}

#[tokio::test(start_paused = true)]
async fn a_window_holds_what_its_times_say() {
    windows_are_whole_and_apart(Kind::Activities, Stream::Activities, By::Order, Faults::default()).await;
    windows_are_whole_and_apart(Kind::Threats, Stream::Threats, By::Order, Faults::default()).await;
    windows_are_whole_and_apart(Kind::Threats, Stream::Threats, By::Creation, Faults::default()).await;
}

#[tokio::test(start_paused = true)]
async fn a_window_is_whole_though_the_console_fails() {
    for name in ["rate-limit", "cursors", "bodies"] {
        let faults = Faults::preset(name).unwrap();
        windows_are_whole_and_apart(Kind::Activities, Stream::Activities, By::Order, faults).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_count_leaves_out_what_the_stream_leaves_out() {
    let world = World::new(|setup| setup.activities = 2_000);
    let mut pull = world.pull(Stream::Activities);
    let window = Window { from: Timestamp::default(), to: START, by: By::Order };
    let sink = MemorySink::new(world.clock, |_, _| None);
    let lane = world.lane(pull.clone(), "siem", sink.clone());
    let (client, meter) = (lane.client.clone(), lane.delivery.meter.clone());
    assert_eq!(pull.count(&client, window, &meter).await, Ok(2_000));
    let kind = |id| facts(Stream::Activities, &world.console.record(Kind::Activities, id).unwrap()).activity_type;
    let kinds: Vec<u32> = world.console.ids(Kind::Activities).into_iter().filter_map(kind).collect();
    pull.exclude_types = vec![kinds[0]];
    let left = kinds.iter().filter(|kind| **kind != kinds[0]).count() as u64;
    assert_eq!(pull.count(&client, window, &meter).await, Ok(left));
    pull.types = vec![kinds[0]];
    assert_eq!(pull.count(&client, window, &meter).await, Ok(0));
}
