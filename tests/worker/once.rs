//! `run --once` between a console and a receiver that both fail now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use s1_forwarder::emulator::{Faults, Kind};
use serde_json::{Value, json};

use super::world::{Destination, World, setting};
use crate::support::receiver::{Fault, Receiver, Rules};

fn answer(status: u16, headers: Vec<(&'static str, String)>) -> Fault {
    Fault::Answer { status, headers, body: "<html>not now</html>" }
}

/// What a receiver may do to a request, with what chance. Only the last three take the events.
pub fn failing() -> Vec<(f64, Fault)> {
    vec![
        (0.04, answer(503, vec![])),
        (0.01, answer(429, vec![("retry-after", "1".to_owned())])),
        (0.03, Fault::Reset),
        (0.05, Fault::TakeAndReset),
        (0.03, Fault::TakeAndCutAnswer),
        (0.05, Fault::Slow(Duration::from_millis(100))),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_at_an_http_sink_and_only_what_was_not_answered_twice() {
    let (activities, threats) =
        (setting("S1_FORWARDER_E2E_ACTIVITIES", 5_000), setting("S1_FORWARDER_E2E_THREATS", 1_000));
    let world = World::new(|setup| (setup.activities, setup.threats) = (activities, threats)).await;
    // Batches above the second limit are refused with 413 and have to be halved.
    let rules = Rules { plain_bytes: Some(300_000), forgets_bodies: true, ..Rules::default() };
    let receiver = Receiver::start(rules).await;
    receiver.misbehave(1, failing());
    receiver.script([Fault::EarlyTooLarge, Fault::TakeAndReset]);
    let repeated = everything_arrives(&world, &receiver).await;
    assert!(repeated > 0, "no answer was lost: the test shows nothing");
}

/// Runs `run --once` twice: first while records arrive late and change as they are read, then over what that left.
/// Returns how many events came again because an answer was lost; no others may.
pub async fn everything_arrives(world: &World, destination: &impl Destination) -> u32 {
    let streams = json!({ "activities": { "since": "30d" }, "threats": { "since": "beginning" } });
    let mut sink = destination.settings();
    sink["batch"] = json!({ "events": 100, "timeout": "200ms" });
    let mut pipeline = world.pipeline(json!({ "streams": streams }));
    pipeline["sinks"] = Value::Array(vec![sink]);
    world.put("acme", &pipeline);
    let at_start = world.owed(Kind::Activities);
    world.console().set_faults(Faults::preset("all").unwrap());

    // A small budget means small pages, and so many requests for faults to strike.
    let exit = world.once(&["--memory-budget", "16MiB"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    for lane in ["acme/activities/siem", "acme/threats/siem"] {
        let row = exit.stdout.lines().find(|row| row.contains(lane)).unwrap_or_else(|| panic!("{}", exit.stdout));
        assert!(row.trim_end().ends_with("complete"), "{row}");
    }
    let arrived = destination.arrived().await;
    assert!(at_start.iter().all(|id| arrived.contains_key(id)), "the first run left activities out");

    // What came late or changed behind the reader is within the overlap of the next run.
    world.console().set_faults(Faults::default());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let exit = world.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);

    let arrived = destination.arrived().await;
    world.assert_all_arrived(&[Kind::Activities, Kind::Threats], &arrived);
    let repeated = assert_repeats(&arrived, &destination.unanswered().await);
    println!(
        "{} activities and {} versions of threats arrived, {repeated} events again after a lost answer",
        world.owed(Kind::Activities).len(),
        arrived.len() - world.owed(Kind::Activities).len(),
    );
    repeated
}

/// Each identity came once, and once more for each time that its answer was lost. How often is returned.
fn assert_repeats(arrived: &BTreeMap<String, u32>, unanswered: &BTreeMap<String, u32>) -> u32 {
    for (id, count) in arrived {
        let lost = unanswered.get(id).copied().unwrap_or_default();
        assert_eq!(*count, 1 + lost, "{id} came {count} times, {lost} answers to it were lost");
    }
    unanswered.values().sum()
}

/// What design.md section 3 says of raw events over HTTP: the record's own bytes, and beside them what identifies it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_holds_the_records_own_bytes_and_headers_name_the_lane() {
    let world = World::new(|setup| (setup.activities, setup.threats) = (40, 10)).await;
    let streams = json!({ "activities": {}, "threats": { "since": "30d" } });
    world.put_changed("acme", json!({ "streams": streams, "transform": { "labels": { "customer": "acme-eu" } } }));
    let exit = world.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let seen = world.sink.seen();
    let mut events = 0;
    for request in &seen {
        let kind = match request.header("x-s1-forwarder-stream") {
            "activities" => Kind::Activities,
            "threats" => Kind::Threats,
            other => panic!("stream {other}"),
        };
        assert_eq!(request.header("x-s1-forwarder-pipeline"), "acme");
        assert_eq!(request.header("content-encoding"), "gzip");
        assert_eq!(request.header("content-type"), "application/x-ndjson");
        for line in request.body.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            assert!(world.owed(kind).contains(event["id"].as_str().unwrap()), "{line}");
            assert_eq!(event["pipeline"], "acme");
            assert_eq!(event["stream"], request.header("x-s1-forwarder-stream"));
            assert_eq!(event["labels"], json!({ "customer": "acme-eu" }));
            let id = event["record"].get("id").or_else(|| event["record"]["threatInfo"].get("threatId")).unwrap();
            let record = world.console().record(kind, id.as_str().unwrap().parse().unwrap()).unwrap();
            let record = String::from_utf8(record).unwrap();
            assert!(line.ends_with(&format!("\"record\":{record}}}")), "{line}\nis not\n{record}");
            events += 1;
        }
    }
    assert_eq!(events, world.owed(Kind::Activities).len() + 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_say_what_came_of_lanes_and_files() {
    let world = World::new(|setup| setup.activities = 20).await;
    // No valid file: 2, and nothing is run.
    world.write("pipelines/globex.yaml", "consol: {}\n");
    let exit = world.once(&[]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("did you mean `console`?"), "{}", exit.stderr);
    // One file among others: the others run, 1.
    world.put_changed("acme", json!({}));
    let exit = world.once(&[]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert_eq!(world.sink.ledger().counts().len(), world.owed(Kind::Activities).len());
    // A lane without progress is given up: 1, and the table says why.
    std::fs::remove_file(world.path("pipelines/globex.yaml")).unwrap();
    world.console().generate(Kind::Activities, s1_forwarder::emulator::system_clock() - 5_000_000);
    world.sink.misbehave(1, vec![(1.0, answer(503, vec![]))]);
    let exit = world.once(&["--once-timeout", "1s"]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stdout.contains("given up: 503"), "{}", exit.stdout);
    // What was not delivered is owed to the next run.
    world.sink.misbehave(1, vec![]);
    assert_eq!(world.once(&[]).await.code, Some(0));
    let arrived = world.sink.ledger().counts();
    assert!(arrived.values().all(|count| *count == 1), "{arrived:?}");
    assert_eq!(arrived.len(), world.owed(Kind::Activities).len());
}
