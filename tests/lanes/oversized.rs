//! Records that are larger than the budget leaves for one: each becomes a dead letter, and the rest arrives once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::Kind;
use s1_forwarder::lane::Budget;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::{PollContext, PullSettings, SourcePosition, TimeField, Window};
use s1_forwarder::telemetry::SkipReason;
use tokio::time::{sleep, timeout};

use super::harness::{LaneHarness, START, assert_counts_balance};
use super::script::{
    MAX_BYTES, Talk, activities, activity, ago, all, finding, ids, large, no_history, page, record_key, unified,
};

const BUDGET: usize = 1 << 20;
const LARGE: usize = 400 << 10;
/// Time of the simulated clock: a walk that goes round in circles asks indefinitely.
const PATIENCE: Duration = Duration::from_mins(10);

/// A console without history, and so little memory that a record of `LARGE` bytes does not fit.
fn narrow_world() -> LaneHarness {
    let mut harness = LaneHarness::new(|_| {});
    harness.budget = Budget::new(BUDGET);
    harness
}

/// Pulls everything; then all but the `large` ones must have arrived, once, and those be dead letters.
async fn steps_over(
    harness: &LaneHarness,
    (kind, stream): (Kind, Stream),
    large: &BTreeSet<u64>,
    name: &str,
) -> Arc<MemorySink> {
    let sink = MemorySink::accepting(harness.clock);
    let mut lane = harness.lane(harness.pull(stream), name, sink.clone());
    lane.once = true;
    let metrics = lane.delivery.meter.metrics.clone();
    timeout(PATIENCE, harness.start(lane).task).await.unwrap_or_else(|_| panic!("{name} does not end")).unwrap();
    let counts = sink.counts();
    let mut owed = harness.owed(kind);
    owed.retain(|_, id| !large.contains(id));
    assert_eq!(counts.keys().collect::<Vec<_>>(), owed.keys().collect::<Vec<_>>(), "{name}");
    assert!(counts.values().all(|count| *count == 1), "{name}: something came twice");
    assert_eq!(metrics.send.dead_letters.get(), large.len() as u64, "{name}");
    assert_counts_balance(&metrics);
    sink
}

/// `L` is a large one, a millisecond behind the one before: the walk begins in front of some that it stepped over
/// before.
#[tokio::test(start_paused = true)]
async fn several_large_records_close_in_time_are_stepped_over_one_by_one() {
    for both in [(Kind::Activities, Stream::Activities), (Kind::Threats, Stream::Threats)] {
        for pattern in ["...L...", "L", "LLL", "L.L.L.L", "...L.LL.L...", ".LL..LL.LL."] {
            let harness = narrow_world();
            let before = START.minus(Duration::from_hours(1)).micros();
            let mut large = BTreeSet::new();
            for (place, what) in pattern.chars().enumerate() {
                let at = before + place as i64 * 1000;
                match what {
                    'L' => _ = large.insert(harness.console.generate_oversized(both.0, at, LARGE)),
                    _ => _ = harness.console.generate(both.0, at),
                }
            }
            steps_over(&harness, both, &large, pattern).await;
        }
    }
}

/// The console skips a thousand records at most. When more have come between the place where the walk began and the
/// large one, another begins where this one got to.
#[tokio::test(start_paused = true)]
async fn a_large_record_behind_more_than_can_be_skipped_is_stepped_over() {
    let harness = narrow_world();
    let at = |seconds| START.minus(Duration::from_secs(seconds)).micros();
    let large = [harness.console.generate_oversized(Kind::Activities, at(60), LARGE)].into();
    let console = harness.console.clone();
    let late = tokio::spawn(async move {
        // It is the first of the list, and no record has a known time yet.
        while !console.request_log().iter().any(|seen| seen.query.contains("&skip=")) {
            sleep(Duration::from_millis(5)).await;
        }
        (0..1100).for_each(|second| _ = console.generate(Kind::Activities, at(7200 - second)));
    });
    steps_over(&harness, (Kind::Activities, Stream::Activities), &large, "siem").await;
    late.await.unwrap();
}

/// How far a poll gets to a record that is too large, behind one that is not.
async fn in_front_of(large: &str) -> Talk {
    let mut talk = Talk::new(activities(), no_history);
    talk.reads(&[activity(1, ago(90))], Some("a")).await;
    assert!(talk.meets(large, &[]).await.unwrap().is_none(), "its place is not known yet");
    assert!(talk.reads(&[activity(1, ago(90))], Some("b")).await.records.is_empty());
    assert!(talk.asked_last().contains("limit=1&") && talk.asked_last().contains("&skip=0&"), "{}", talk.asked_last());
    talk
}

/// Its place in the list is all that tells where it is, and the list may move.
#[tokio::test(start_paused = true)]
async fn a_record_that_is_too_large_is_stepped_over_when_it_is_still_in_its_place() {
    let too_large = page(&[large(&activity(4, ago(60)))], Some("c"));
    let behind = page(&[activity(5, ago(50))], Some("d"));
    for (again, passed) in
        [(&too_large, true), (&behind, false), (&page(&[large(&activity(6, ago(60)))], Some("c")), false)]
    {
        let mut talk = in_front_of(&too_large).await;
        let stepped = talk.meets(&too_large, &[]).await.unwrap().unwrap();
        assert!(talk.asked_last().contains("&skip=1&"));
        assert_eq!((ids(&stepped), stepped.is_truncated, stepped.shown, stepped.last), (vec!["4"], true, 1, false));
        let next = talk.hears_all([behind.clone(), again.clone()]).await;
        let asked: Vec<_> = talk.script.requests().iter().rev().take(2).cloned().collect();
        assert!(asked[0].contains("limit=1&") && asked[0].contains("&skip=1&"), "it looks again: {asked:?}");
        assert!(asked[1].contains("limit=100&") && asked[1].contains("&skip=2&"), "{asked:?}");
        if passed {
            assert_eq!(ids(&next.unwrap()), ["5"]);
            talk.reads(&[], None).await;
            assert!(talk.asked_last().contains("cursor=d"), "{}", talk.asked_last());
        } else {
            assert!(next.is_err());
            assert_eq!(ids(&talk.reads(&[activity(5, ago(50))], Some("d")).await), ["5"], "it is not passed over");
            assert!(!talk.asked_last().contains("skip=") && !talk.asked_last().contains("cursor="));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn several_that_are_too_large_are_stepped_over_one_behind_the_other_and_each_once() {
    let first = page(&[large(&activity(4, ago(60)))], None);
    let second = page(&[large(&activity(5, ago(60)))], None);
    let mut talk = in_front_of(&first).await;
    assert_eq!(ids(&talk.meets(&first, &[]).await.unwrap().unwrap()), ["4"]);
    assert_eq!(ids(&talk.meets(&second, &[]).await.unwrap().unwrap()), ["5"]);
    assert!(talk.asked_last().contains("&skip=2&"), "{}", talk.asked_last());
    // The list has moved: the poll begins again, and the skipped record is reported again, and delivered once.
    assert!(talk.hears_all([page(&[activity(6, ago(50))], None), first.clone()]).await.is_err());
    assert!(talk.asked_last().contains("&skip=2&"), "{}", talk.asked_last());
    assert!(talk.meets(&second, &[]).await.unwrap().is_none());
    assert!(talk.meets(&first, &[]).await.unwrap().is_none(), "known, and not the one that is in the way: it goes on");
    let again = talk.meets(&second, &[]).await.unwrap().unwrap();
    assert_eq!((ids(&again), again.shown), (vec![], 1));
    assert!(talk.asked_last().contains("&skip=1&"), "{}", talk.asked_last());
    assert_eq!(ids(&talk.hears_all([page(&[activity(6, ago(50))], None), second]).await.unwrap()), ["6"]);
    talk.confirms(4).await;
}

/// It came into the list after the search for the first one had begun. No later request of this poll shows it again.
#[tokio::test(start_paused = true)]
async fn another_that_is_met_during_a_search_is_stepped_over_and_reported_too() {
    let wanted = page(&[large(&activity(4, ago(60)))], None);
    let other = page(&[large(&activity(3, ago(70)))], None);
    let mut talk = in_front_of(&wanted).await;
    let met = talk.meets(&other, &[]).await.unwrap().unwrap();
    assert_eq!((ids(&met), met.is_truncated, met.last), (vec!["3"], true, false));
    assert!(talk.asked_last().contains("&skip=1&"), "{}", talk.asked_last());
    let met = talk.meets(&wanted, &[]).await.unwrap().unwrap();
    assert_eq!((ids(&met), met.is_truncated, met.last), (vec!["4"], true, false));
    assert!(talk.asked_last().contains("&skip=2&"), "{}", talk.asked_last());
    assert_eq!(ids(&talk.hears_all([page(&[activity(6, ago(50))], None), wanted]).await.unwrap()), ["6"]);
    talk.confirms(4).await;
}

/// The next poll meets them again within the overlap. It once looked for the first one behind the second, without end.
#[tokio::test(start_paused = true)]
async fn two_that_were_stepped_over_before_end_no_poll() {
    let known = |position: &mut SourcePosition, pull: &PullSettings| {
        for id in [4, 5] {
            position.settle(&pull.passes(), PollContext::default()).remember(&record_key(id, ago(60)));
        }
    };
    let [first, second] = [4, 5].map(|id| page(&[large(&activity(id, ago(60)))], None));
    let mut talk = Talk::new(activities(), known);
    assert!(talk.meets(&first, &[]).await.unwrap().is_none());
    for (answer, skipped) in [(&first, 0), (&second, 1)] {
        assert_eq!(ids(&talk.meets(answer, &[]).await.unwrap().unwrap()), [""; 0]);
        assert!(talk.asked_last().contains(&format!("&skip={skipped}&")), "{}", talk.asked_last());
    }
    let page = talk.hears_all([page(&[activity(6, ago(50))], None), second]).await.unwrap();
    assert_eq!((ids(&page), page.last), (vec!["6"], true));
}

/// It was deleted, or another list came: with the next poll it is where it is then.
#[tokio::test(start_paused = true)]
async fn a_record_that_is_not_met_again_ends_the_search() {
    for (records, next) in [(vec![], Some("c")), (vec![activity(2, ago(80))], None)] {
        let mut talk = in_front_of(&page(&[large(&activity(4, ago(60)))], None)).await;
        let page = talk.reads(&records, next).await;
        assert_eq!((page.records.len(), page.last), (records.len(), false));
        talk.reads(&[], None).await;
        assert!(!talk.asked_last().contains("skip="), "a walk with cursors as any other: {}", talk.asked_last());
        talk.confirms(1 + records.len() as u64).await;
    }
}

/// The console is asked for a little more than a window.
#[tokio::test(start_paused = true)]
async fn a_record_that_is_too_large_is_in_a_window_or_not_as_others_are() {
    let window = Window { from: ago(100), to: ago(10), time: TimeField::Order };
    for (at, inside) in [(60, true), (101, false), (10, false)] {
        let mut talk = Talk::new(activities().within(window), no_history);
        let too_large = page(&[large(&activity(4, ago(at)))], None);
        assert!(talk.meets(&too_large, &[]).await.unwrap().is_none());
        let stepped = talk.meets(&too_large, &[]).await.unwrap();
        assert_eq!(stepped.is_some_and(|page| page.records.len() == 1), inside);
        assert_eq!(talk.meter.metrics.skipped(SkipReason::Filtered), u64::from(!inside));
    }
}

/// A sweep leaves no keys by which it could be known.
#[tokio::test(start_paused = true)]
async fn a_finding_that_is_too_large_is_stepped_over_and_reported_once_in_a_poll() {
    let mut talk = Talk::new(all(Stream::Vulnerabilities), no_history);
    let too_large = page(&[large(&finding(1))], None);
    let behind = page(&[finding(2)], None);
    assert!(talk.meets(&too_large, &[]).await.unwrap().is_none());
    let stepped = talk.meets(&too_large, &[]).await.unwrap().unwrap();
    assert_eq!((ids(&stepped), stepped.is_truncated), (vec!["1"], true));
    // The list has moved.
    assert!(talk.hears_all([behind.clone(), behind.clone()]).await.is_err());
    assert!(talk.meets(&too_large, &[]).await.unwrap().is_none());
    assert_eq!(ids(&talk.meets(&too_large, &[]).await.unwrap().unwrap()), [""; 0]);
    let page = talk.hears_all([behind, too_large]).await.unwrap();
    assert_eq!((ids(&page), page.last), (vec!["2"], true));
}

/// Unified alerts cannot be skipped: the same page is asked for with less of each alert.
#[tokio::test(start_paused = true)]
async fn a_unified_alert_that_is_too_large_is_asked_for_in_part() {
    let too_large = unified("alert-1", &format!(r#","filler":"{}""#, "x".repeat(2 * MAX_BYTES)), Some("c"));
    for (next, last) in [(Some("c"), false), (None, true)] {
        let mut talk = Talk::new(all(Stream::UnifiedAlerts), no_history);
        let page = talk.meets(&too_large, &[unified("alert-1", "", next)]).await.unwrap().unwrap();
        assert_eq!((ids(&page), page.is_truncated, page.shown, page.last), (vec!["alert-1"], true, 1, last));
        assert!(talk.asked_last().contains(r#""first":1"#) && !talk.asked_last().contains("storylineId"));
        if !last {
            talk.hears(unified("alert-2", "", None)).await.unwrap();
            assert!(talk.asked_last().contains(r#""after":"c""#), "{}", talk.asked_last());
        }
    }
    let mut talk = Talk::new(all(Stream::UnifiedAlerts), no_history);
    assert!(talk.meets(&too_large, &[unified("alert-2", "", Some("c"))]).await.is_err(), "another is there now");
    assert_eq!(talk.meter.metrics.pull.records.get(), 0);
}
