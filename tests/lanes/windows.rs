//! Closed windows: their records are delivered once, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::checkpoint::CheckpointBackend;
use s1_forwarder::checkpoint::ledger::Hour;
use s1_forwarder::emulator::{Faults, Kind};
use s1_forwarder::lane::{Lane, LaneCheckpoint, LaneEnd};
use s1_forwarder::record::{Stream, Timestamp, facts};
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::{PullSettings, Since, TimeField, Window};
use s1_forwarder::state::FileStore;

use super::harness::{LaneHarness, START};
use super::script::of_types;

/// The identities of the records whose time is in `window`.
fn inside(harness: &LaneHarness, kind: Kind, stream: Stream, window: Window) -> BTreeSet<String> {
    let mut inside = BTreeSet::new();
    for id in harness.console.ids(kind) {
        let record = harness.console.record(kind, id).unwrap();
        let facts = facts(stream, &record);
        let time = if window.time == TimeField::Creation { facts.created } else { facts.time };
        if window.from <= time.unwrap() && time.unwrap() < window.to {
            inside.insert(facts.identity("console.example", &record).to_string());
        }
    }
    inside
}

/// Pulls windows that touch one another, and whose ends no second begins.
async fn windows_are_whole_and_apart(kind: Kind, stream: Stream, by: TimeField, faults: Faults) {
    let harness = LaneHarness::new(|setup| (setup.activities, setup.threats) = (3_000, 1_500));
    harness.console.set_faults(faults);
    let sink = MemorySink::accepting(harness.clock);
    let hours = |hours: u64| START.minus(Duration::from_secs(hours * 3600) + Duration::from_micros(123_457));
    let mut wanted = BTreeSet::new();
    for (from, to) in [(20, 13), (13, 12), (12, 2)] {
        let window = Window { from: hours(from), to: hours(to), time: by };
        // Where and how far back the lane itself reads is no matter of a window's.
        let pull = PullSettings { since: Since::Now, ..harness.pull(stream) }.within(window);
        assert!(pull.overlap.is_zero(), "nothing comes late into it");
        let lane = harness.lane(pull.clone(), &format!("siem-{from}"), sink.clone());
        let client = lane.client.clone();
        let meter = lane.delivery.meter.clone();
        assert_eq!(harness.run_once(lane).await, LaneEnd::Complete);
        let owed = inside(&harness, kind, stream, window);
        assert!(owed.len() > 10, "{} in {window:?}", owed.len());
        let checkpoint = harness.checkpoint(stream, &format!("siem-{from}")).unwrap();
        assert_eq!(checkpoint.settled, owed.len() as u64, "what is settled is counted with the position");
        assert!(checkpoint.position.complete() == Some(window.to) && checkpoint.position.key_count() < 50);
        let counted = pull.count(&client, window, Some(&meter)).await;
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
    windows_are_whole_and_apart(Kind::Activities, Stream::Activities, TimeField::Order, Faults::default()).await;
    windows_are_whole_and_apart(Kind::Threats, Stream::Threats, TimeField::Order, Faults::default()).await;
    windows_are_whole_and_apart(Kind::Threats, Stream::Threats, TimeField::Creation, Faults::default()).await;
}

#[tokio::test(start_paused = true)]
async fn a_window_is_whole_though_the_console_fails() {
    for name in ["rate-limit", "cursors", "bodies"] {
        let faults = Faults::preset(name).unwrap();
        windows_are_whole_and_apart(Kind::Activities, Stream::Activities, TimeField::Order, faults).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_count_leaves_out_what_the_stream_leaves_out() {
    let harness = LaneHarness::new(|setup| setup.activities = 2_000);
    let mut pull = harness.pull(Stream::Activities);
    let window = Window { from: Timestamp::default(), to: START, time: TimeField::Order };
    let sink = MemorySink::accepting(harness.clock);
    let lane = harness.lane(pull.clone(), "siem", sink.clone());
    let client = lane.client.clone();
    let meter = lane.delivery.meter.clone();
    assert_eq!(pull.count(&client, window, Some(&meter)).await, Ok(2_000));
    let kinds = harness.activity_types();
    pull.own = of_types(Vec::new(), vec![kinds[0]]);
    let left = kinds.iter().filter(|kind| **kind != kinds[0]).count() as u64;
    assert_eq!(pull.count(&client, window, Some(&meter)).await, Ok(left));
    pull.own = of_types(vec![kinds[0]], vec![kinds[0]]);
    assert_eq!(pull.count(&client, window, Some(&meter)).await, Ok(0));
}

/// What a repair delivered must be known to the next one; a backfill is checked by its count.
#[tokio::test(start_paused = true)]
async fn a_repair_remembers_identities_and_a_backfill_does_not() {
    for (by, remembers) in [(TimeField::Creation, true), (TimeField::Order, false)] {
        let harness = LaneHarness::new(|setup| setup.activities = 50);
        let directory = tempfile::tempdir().unwrap();
        let window = Window { from: START.minus(Duration::from_hours(24)), to: START, time: by };
        let sink = MemorySink::accepting(harness.clock);
        let lane = harness.lane(harness.pull(Stream::Activities).within(window), "siem", sink.clone());
        let store = Arc::new(FileStore::open(directory.path()).unwrap());
        let id = lane.key.clone();
        harness.run_once(Lane { store: store.clone(), ..lane }).await;
        let ledger = LaneCheckpoint::decode(&store.load(&id).await.unwrap().unwrap()).unwrap().ledger;
        let books = ledger.totals(&*store, &id, Hour(0)..Hour(u32::MAX)).await.unwrap();
        let identities: usize = books.identities.values().map(|of_hour| of_hour.len()).sum();
        assert_eq!((ledger.has_journals(), identities), (remembers, if remembers { sink.total() } else { 0 }));
        assert!(sink.total() > 40);
    }
}
