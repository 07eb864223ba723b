//! What is fetched beside threats, when it cannot be had.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use s1_forwarder::emulator::{Kind, Setup, Token};
use s1_forwarder::lane::Lane;
use s1_forwarder::record::Stream;
use s1_forwarder::source::{Include, Pull};
use serde_json::Value;
use tokio::time::sleep;

use crate::world::{MemorySink, World, assert_books_balance};

/// A lane that catches up with its threats once, notes and timeline beside them, and what its sink has taken.
fn enriching(world: &World) -> (Lane, Arc<Mutex<Vec<Value>>>) {
    let pull = Pull { include: vec![Include::Notes, Include::Timeline], ..world.pull(Stream::Threats) };
    let events = Arc::new(Mutex::new(Vec::new()));
    let taken = events.clone();
    let sink = MemorySink::new(world.clock, move |_, batch| {
        let parse = |event: s1_forwarder::sink::Event<'_>| serde_json::from_slice::<Value>(event.body).unwrap();
        taken.lock().unwrap().extend(batch.events().map(parse));
        None
    });
    let mut lane = world.lane(pull, "siem", sink);
    lane.once = true;
    (lane, events)
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_had_is_named_and_the_threat_is_sent() {
    let world = World::new(|setup| setup.threats = 20);
    let (lane, events) = enriching(&world);
    let metrics = lane.delivery.meter.lane.clone();
    let running = world.start(lane);
    // The console's time and the list are there, the first notes are asked for: now half of the threats vanish.
    sleep(Duration::from_millis(50)).await;
    for id in world.console.ids(Kind::Threats).into_iter().step_by(2) {
        world.console.remove(Kind::Threats, id);
    }
    running.task.await.unwrap();
    assert_books_balance(&metrics);
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
    let world = World::new(|setup| setup.threats = 20);
    let (lane, events) = enriching(&world);
    let running = world.start(lane);
    sleep(Duration::from_millis(100)).await;
    world.console.set_token(Token { revoked: true, ..Token::new(Setup::TOKEN) });
    sleep(Duration::from_secs(5)).await;
    assert!(events.lock().unwrap().is_empty(), "nothing is sent half enriched");
    world.console.set_token(Token::new(Setup::TOKEN));
    running.task.await.unwrap();
    let events = events.lock().unwrap();
    assert!(events.len() == 20 && events.iter().all(|event| event["_enrichment"]["error"].is_null()));
}
