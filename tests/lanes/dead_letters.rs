//! Refused events: kept as dead letters where a store keeps them, and never lost where it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use s1_forwarder::dead_letters::{DeadLetter, DeadLetterError, DeadLetterStore, DeadLetters};
use s1_forwarder::emulator::Kind;
use s1_forwarder::lane::LaneEnd;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::Outcome;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::telemetry::LaneStateKind;
use tokio::time::sleep;

use super::harness::{LaneHarness, assert_counts_balance};

/// A sink that refuses each batch with the record `poison` in it.
fn refusing(harness: &LaneHarness, poison: String) -> Arc<MemorySink> {
    MemorySink::new(harness.clock, move |_, batch| {
        let refused = batch.events().any(|event| event.record_id == poison);
        refused.then(|| Outcome::Refused("bad field".to_owned()))
    })
}

#[tokio::test(start_paused = true)]
async fn one_refused_event_of_a_thousand_becomes_a_dead_letter_and_the_rest_arrives_once() {
    let harness = LaneHarness::new(|setup| setup.activities = 1_000);
    let poison = harness.console.ids(Kind::Activities)[500].to_string();
    let sink = refusing(&harness, poison.clone());
    let mut lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    lane.once = true;
    let running = harness.start(lane);
    running.task.await.unwrap();
    assert_eq!((sink.total(), sink.counts().len()), (999, 999));
    assert_eq!(running.metrics.send.dead_letters.get(), 1);
    assert_counts_balance(&running.metrics);
    let files = s1_forwarder::state::dead_letters::files(harness.dead_letters.path()).unwrap();
    let text = std::fs::read_to_string(&files[0]).unwrap();
    assert!(text.contains(&poison) && text.contains("bad field"));
}

/// Keeps nothing while it is full.
#[derive(Debug, Default)]
struct FullStore(Arc<AtomicBool>);

impl DeadLetterStore for FullStore {
    fn keep<'a>(&'a self, _: &'a [DeadLetter<'a>]) -> BoxFuture<'a, Result<(), DeadLetterError>> {
        let is_full = self.0.load(Ordering::Relaxed);
        let full =
            || DeadLetterError::Io { place: "memory".to_owned(), source: std::io::ErrorKind::StorageFull.into() };
        Box::pin(async move { if is_full { Err(full()) } else { Ok(()) } })
    }
}

/// The lane would not wait for an operator.
#[tokio::test(start_paused = true)]
async fn once_ends_where_a_dead_letter_can_never_be_kept() {
    let harness = LaneHarness::new(|setup| setup.activities = 5);
    let sink = refusing(&harness, harness.console.ids(Kind::Activities)[3].to_string());
    let mut lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    Arc::get_mut(&mut lane.delivery).unwrap().dead_letters = Arc::new(DeadLetters::disabled());
    lane.once = true;
    let running = harness.start(lane);
    let metrics = running.metrics.clone();
    assert_eq!(running.task.await.unwrap(), LaneEnd::Refused);
    assert_eq!(metrics.state().kind, LaneStateKind::Stopped, "{:?}", metrics.state());
    assert_eq!((sink.total(), metrics.send.dead_letters.get()), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lane_continues_within_a_minute_once_dead_letters_can_be_kept_again() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let sink = refusing(&harness, harness.console.ids(Kind::Activities)[150].to_string());
    let is_full = Arc::new(AtomicBool::new(true));
    let mut lane = harness.lane(harness.pull(Stream::Activities), "siem", sink.clone());
    let dead_letters = Arc::new(DeadLetters::in_store(FullStore(is_full.clone()), ""));
    Arc::get_mut(&mut lane.delivery).unwrap().dead_letters = dead_letters;
    let running = harness.start(lane);
    sleep(Duration::from_hours(2)).await;
    assert_eq!(running.metrics.state().kind, LaneStateKind::Stopped, "{:?}", running.metrics.state());
    let attempts = sink.attempts.load(Ordering::Relaxed);
    assert!(attempts < 7_200 / 5, "{attempts} attempts in two hours");
    is_full.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(65)).await;
    assert_eq!(running.metrics.send.dead_letters.get(), 1);
    let metrics = running.drain().await;
    assert_eq!((sink.total(), sink.counts().len()), (299, 299));
    assert_counts_balance(&metrics);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_refuses_everything_stops_the_lane_and_dead_letters_nothing() {
    let harness = LaneHarness::new(|setup| setup.activities = 300);
    let sink = MemorySink::new(harness.clock, |_, _| Some(Outcome::Refused("no such index".to_owned())));
    let running = harness.start(harness.lane(harness.pull(Stream::Activities), "siem", sink.clone()));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(running.metrics.state().reason(), Some("RefusedAll"));
    let metrics = running.drain().await;
    assert_eq!(metrics.send.dead_letters.get(), 0);
    assert_eq!(sink.total(), 0);
    assert_counts_balance(&metrics);
}
