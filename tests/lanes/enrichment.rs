//! Enrichment of threats when the console does not deliver it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use s1_forwarder::emulator::{Kind, Setup, Token};
use s1_forwarder::lane::Lane;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::{Include, Own, Pull};
use serde_json::Value;
use tokio::time::sleep;

use super::harness::{LaneHarness, assert_counts_balance};

/// A lane that catches up with its threats once, notes and timeline included, and what its sink has taken.
fn enriching(harness: &LaneHarness) -> (Lane, Arc<Mutex<Vec<Value>>>) {
    let pull = Pull { own: Own::Threats(vec![Include::Notes, Include::Timeline]), ..harness.pull(Stream::Threats) };
    let events = Arc::new(Mutex::new(Vec::new()));
    let taken = events.clone();
    let sink = MemorySink::new(harness.clock, move |_, batch| {
        let parse = |event: s1_forwarder::sink::Event<'_>| serde_json::from_slice::<Value>(event.body).unwrap();
        taken.lock().unwrap().extend(batch.events().map(parse));
        None
    });
    let mut lane = harness.lane(pull, "siem", sink);
    lane.once = true;
    (lane, events)
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_had_is_named_and_the_threat_is_sent() {
    let harness = LaneHarness::new(|setup| setup.threats = 20);
    let (lane, events) = enriching(&harness);
    let metrics = lane.delivery.meter.lane.clone();
    let running = harness.start(lane);
    // The console's time and the list are there, the first notes are asked for: now half of the threats vanish.
    sleep(Duration::from_millis(50)).await;
    for id in harness.console.ids(Kind::Threats).into_iter().step_by(2) {
        harness.console.remove(Kind::Threats, id);
    }
    running.task.await.unwrap();
    assert_counts_balance(&metrics);
    let events = events.lock().unwrap();
    assert_eq!(events.len(), 20, "each threat is sent");
    let (with, without): (Vec<_>, Vec<_>) =
        events.iter().map(|event| &event["_enrichment"]).partition(|enrichment| enrichment["error"].is_null());
    assert!(with.len() >= 10 && without.len() >= 9, "{} {}", with.len(), without.len());
    assert!(
        without.iter().all(|enrichment| enrichment["error"].to_string().contains("timeline: the console answered 404")),
        "{without:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_in_between_loses_no_enrichment() {
    let harness = LaneHarness::new(|setup| setup.threats = 20);
    let (lane, events) = enriching(&harness);
    let running = harness.start(lane);
    sleep(Duration::from_millis(100)).await;
    harness.console.set_token(Token { revoked: true, ..Token::new(Setup::TOKEN) });
    sleep(Duration::from_secs(5)).await;
    assert!(events.lock().unwrap().is_empty(), "nothing is sent half enriched");
    harness.console.set_token(Token::new(Setup::TOKEN));
    running.task.await.unwrap();
    let events = events.lock().unwrap();
    assert!(events.len() == 20 && events.iter().all(|event| event["_enrichment"]["error"].is_null()));
}
