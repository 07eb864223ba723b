//! What is fetched in addition to records, and what becomes of records when it is not to be had.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use s1_forwarder::emulator::{Fault, Faults, Kind, Setup, Token};
use s1_forwarder::lane::Lane;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::memory::MemorySink;
use s1_forwarder::source::{ActivityFilter, PullSettings, StreamOptions, ThreatInclude};
use s1_forwarder::telemetry::RareCount;
use serde_json::Value;
use tokio::time::sleep;

use super::harness::{LaneHarness, assert_counts_balance};

/// A lane that catches up with its threats once, notes and timeline included, and what its sink has taken.
fn enriching(harness: &LaneHarness) -> (Lane, Arc<Mutex<Vec<Value>>>) {
    let own = StreamOptions::Threats(vec![ThreatInclude::Notes, ThreatInclude::Timeline]);
    let (mut lane, events) = lane_of(harness, PullSettings { own, ..harness.pull(Stream::Threats) });
    lane.once = true;
    (lane, events)
}

/// A lane of activities with their threats.
fn joining(harness: &LaneHarness) -> (Lane, Arc<Mutex<Vec<Value>>>) {
    let own = StreamOptions::Activities(ActivityFilter { with_threats: true, ..ActivityFilter::default() });
    lane_of(harness, PullSettings { own, ..harness.pull(Stream::Activities) })
}

fn lane_of(harness: &LaneHarness, pull: PullSettings) -> (Lane, Arc<Mutex<Vec<Value>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let taken = events.clone();
    let sink = MemorySink::new(harness.clock, move |_, batch| {
        let parse = |event: s1_forwarder::sink::Event<'_>| serde_json::from_slice::<Value>(event.body).unwrap();
        taken.lock().unwrap().extend(batch.events().map(parse));
        None
    });
    (harness.lane(pull, "siem", sink), events)
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_had_is_named_and_the_threat_is_sent() {
    let harness = LaneHarness::new(|setup| setup.threats = 20);
    let (lane, events) = enriching(&harness);
    let metrics = lane.delivery.meter.metrics.clone();
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

/// The ids of each request for threats.
fn asked_threats(harness: &LaneHarness) -> Vec<Vec<String>> {
    let requests = harness.console.request_log().into_iter().filter(|request| request.path.ends_with("/threats"));
    let ids = |query: &str| {
        let ids = query.split('&').find_map(|parameter| parameter.strip_prefix("ids=")).expect("only these");
        ids.replace("%2C", ",").split(',').map(str::to_owned).collect()
    };
    requests.map(|request| ids(&request.query)).collect()
}

fn threat_of(activity: &Value) -> Option<&str> {
    activity["threatId"].as_str().filter(|id| !id.is_empty())
}

#[tokio::test(start_paused = true)]
async fn activities_get_what_does_not_change_of_their_threats_with_one_request_for_a_hundred() {
    let harness = LaneHarness::new(|setup| (setup.threats, setup.activities) = (150, 2_000));
    let (lane, events) = joining(&harness);
    let running = harness.start(lane);
    sleep(Duration::from_mins(45)).await;
    let asked = asked_threats(&harness);
    let distinct: HashSet<&String> = asked.iter().flatten().collect();
    assert_eq!(asked.iter().map(Vec::len).sum::<usize>(), distinct.len(), "each is asked for once within an hour");
    assert!(asked.iter().all(|ids| ids.len() <= 100) && asked.iter().any(|ids| ids.len() > 50), "{asked:?}");
    {
        let events = events.lock().unwrap();
        assert_eq!(events.len(), 2_000);
        let joined = events.iter().filter(|event| threat_of(event).is_some()).count();
        assert!(joined > 200, "{joined}");
        for event in events.iter() {
            let Some(id) = threat_of(event) else {
                assert!(event.get("_enrichment").is_none());
                continue;
            };
            let record = harness.console.record(Kind::Threats, id.parse().unwrap()).unwrap();
            let record: Value = serde_json::from_slice(&record).unwrap();
            let threat = &event["_enrichment"]["threat"];
            for path in ["/threatInfo/sha256", "/threatInfo/storyline", "/agentDetectionInfo/agentVersion"] {
                assert_eq!(threat.pointer(path), record.pointer(path), "{path}");
            }
            let text = threat.to_string();
            for state in ["mitigationStatus", "confidenceLevel", "incidentStatus", "analystVerdict", "NetworkStatus"] {
                assert!(!text.contains(state), "{state} is of now: {text}");
            }
        }
    }
    // After the hour, a new activity asks for its threat again.
    sleep(Duration::from_mins(20)).await;
    let known = events.lock().unwrap().iter().find_map(|event| threat_of(event).map(str::to_owned)).unwrap();
    let now = harness.clock.now().micros();
    for _ in 0..200 {
        let id = harness.console.generate(Kind::Activities, now);
        harness.console.update(Kind::Activities, id, now, |activity| activity["threatId"] = known.clone().into());
    }
    sleep(Duration::from_mins(10)).await;
    assert_eq!(asked_threats(&harness)[asked.len()..], [vec![known]]);
    assert_eq!(running.metrics.rare(RareCount::NotEnriched), 0);
    running.drain().await;
}

#[tokio::test(start_paused = true)]
async fn activities_go_without_threats_that_are_refused_or_fail_three_times_and_are_counted() {
    let forbidden = Faults { forbidden: vec![Kind::Threats], ..Faults::default() };
    let mut failing = Faults::default().with_on(Kind::Threats, Fault::InternalError, 1.0);
    failing.max_consecutive = u32::MAX;
    for (faults, attempts) in [(forbidden, 1), (failing, 3)] {
        let harness = LaneHarness::new(|setup| (setup.threats, setup.activities) = (40, 300));
        harness.console.set_faults(faults);
        let (lane, events) = joining(&harness);
        let identities = harness.owed(Kind::Activities);
        let metrics = lane.delivery.meter.metrics.clone();
        harness.run_once(lane).await;
        let events = events.lock().unwrap();
        let with_threat = events.iter().filter(|event| threat_of(event).is_some()).count();
        assert_eq!(events.len(), identities.len());
        assert!(with_threat > 0 && events.iter().all(|event| event.get("_enrichment").is_none()));
        assert_eq!(metrics.rare(RareCount::NotEnriched), with_threat as u64);
        let asked = asked_threats(&harness);
        let times = |ids: &Vec<String>| asked.iter().filter(|other| *other == ids).count();
        assert!(!asked.is_empty() && asked.iter().all(|ids| times(ids) == attempts), "{asked:?}");
    }
}
