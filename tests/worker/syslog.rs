//! `syslog` from the console to a receiver: kills, and CEF that another parser reads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use s1_forwarder::emulator::{Kind, Scope, system_clock};
use s1_forwarder::record::Stream;
use s1_forwarder::source::is_by_scope;
use serde_json::{Value, json};

use crate::support::batches::kind_of;
use crate::support::harness::{Harness, setting};
use crate::support::process::{Process, program, until};
use crate::support::syslog::{Behaviour, SyslogReceiver, arrived};

const CONCURRENCY: usize = 2;
const BATCH: usize = 100;

fn sink(receiver: &SyslogReceiver) -> Value {
    json!({
        "type": "syslog", "address": format!("tcp://{}", receiver.address()), "concurrency": CONCURRENCY,
        "batch": { "events": BATCH, "timeout": "50ms" }, "retry": { "initial": "10ms", "max": "200ms" },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_loses_nothing_and_repeats_what_was_on_the_connection() {
    let kills = setting("S1_FORWARDER_KILLS", 2).min(10);
    let harness = Harness::new(|setup| setup.activities = 1_000 + 500 * kills).await;
    let receiver = SyslogReceiver::start(Behaviour::Reads).await;
    harness.put_changed("acme", json!({ "sinks": [sink(&receiver)] }));
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..kills {
        let worker = harness.worker();
        let before = receiver.messages().len();
        // Once it delivers. Then at any moment of the seconds that a batch waits.
        until("a message", async || (receiver.messages().len() > before).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(random.u64(0..2_500))).await;
        worker.kill().await;
    }
    harness.console().set_rate(0.0, system_clock());
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let arrived = arrived(&receiver.messages());
    harness.assert_all_arrived(&[Kind::Activities], &arrived);
    let repeated: u32 = arrived.values().map(|count| count - 1).sum();
    // Up to `concurrency` batches wait on the connection, and as many were delivered since the checkpoint was written.
    let bound = kills * 2 * CONCURRENCY * BATCH;
    println!("{kills} kills: {} events arrived, {repeated} again (at most {bound})", arrived.len());
    assert!(repeated as usize <= bound, "{repeated} events came again, more than {bound}");
}

/// A queue that does not drain is back-pressure, and after `timeout` a lost connection. One receiver comes back before
/// that, one does not, and one is killed after a pause of `S1_FORWARDER_PAUSE` seconds: by then the worker has left two
/// of its connections and waits on a third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_stop_reading_for_less_and_for_longer_than_the_timeout_lose_nothing() {
    let pause = setting("S1_FORWARDER_PAUSE", 3);
    let harness = Harness::new(|setup| setup.activities = 3_000).await;
    let patient = SyslogReceiver::start(Behaviour::Reads).await;
    let hasty = SyslogReceiver::start(Behaviour::Reads).await;
    let doomed = SyslogReceiver::start(Behaviour::Reads).await;
    let named = |receiver, name: &str, timeout: &str| {
        let mut sink = sink(receiver);
        sink["name"] = json!(name);
        sink["timeout"] = json!(timeout);
        sink
    };
    let sinks = [
        named(&patient, "patient", "600s"),
        named(&hasty, "hasty", "1s"),
        named(&doomed, "doomed", &format!("{}ms", pause * 400)),
    ];
    harness.put_changed("acme", json!({ "sinks": sinks }));
    let worker = harness.worker();
    for receiver in [&patient, &hasty, &doomed] {
        until("a message", async || (!receiver.messages().is_empty()).then_some(())).await;
        receiver.pause(true);
    }
    tokio::time::sleep(Duration::from_secs(pause as u64)).await;
    // The worker has left a connection twice. That of the patient one has waited as long.
    hasty.accepted(3).await;
    doomed.accepted(3).await;
    let address = doomed.address();
    let before = doomed.kill().await;
    let revived = SyslogReceiver::start_at(address, Behaviour::Reads).await;
    let waiting = patient.messages().len();
    for receiver in [&patient, &hasty] {
        receiver.pause(false);
    }
    let owed = harness.owed(Kind::Activities);
    for receiver in [&patient, &hasty] {
        until("everything", async || (arrived(&receiver.messages()).len() >= owed.len()).then_some(())).await;
        harness.assert_all_arrived(&[Kind::Activities], &arrived(&receiver.messages()));
    }
    assert!(waiting < owed.len(), "the receiver had everything before it stopped");
    let read = || arrived(&[before.clone(), revived.messages()].concat());
    until("everything", async || (read().len() >= owed.len()).then_some(())).await;
    harness.assert_all_arrived(&[Kind::Activities], &read());
    println!("{} messages before a kill after {pause} s, {} after it", before.len(), revived.messages().len());
    assert_eq!((patient.connections(), patient.messages().len()), (1, owed.len()), "a wait is no loss");
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    let repeated = hasty.messages().len() - owed.len();
    let bound = (hasty.connections() - 1) * CONCURRENCY * BATCH;
    println!("{} connections: {repeated} events came again (at most {bound})", hasty.connections());
    assert!(repeated <= bound, "{repeated} of at most {bound}");
}

/// VRL's parser shares no code with the program, and reads the messages of all streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_arrives_as_cef_that_another_parser_reads() {
    let harness = Harness::new(|setup| {
        setup.activities = 150;
        setup.threats = 60;
        setup.agents = 20;
        setup.alerts = 60;
        setup.unified_alerts = 60;
        setup.vulnerabilities = 30;
    })
    .await;
    let receiver = SyslogReceiver::start(Behaviour::Reads).await;
    let settings_of = |stream: Stream| if is_by_scope(stream) { json!({}) } else { json!({ "since": "beginning" }) };
    let all: serde_json::Map<_, _> =
        Stream::ALL.into_iter().map(|stream| (stream.name().to_owned(), settings_of(stream))).collect();
    let mut cef = sink(&receiver);
    cef["payload"] = json!("cef");
    cef["max_bytes"] = json!("64KiB");
    // OCSF and its program are another sink's.
    harness.put_changed("acme", json!({ "streams": all, "transform": { "schema": "ocsf" }, "sinks": [cef] }));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);

    let messages = receiver.messages();
    let lines: String = messages
        .iter()
        .enumerate()
        .map(|(number, message)| json!({ "id": number.to_string(), "cef": message[message.find("CEF:").unwrap()..] }))
        .map(|line| format!("{line}\n"))
        .collect();
    harness.write("messages.ndjson", &lines);
    harness.write(
        "parser.yaml",
        &json!({
            "console": { "url": "https://console.example", "token": "t" }, "streams": { "activities": {} },
            "transform": { "schema": "raw", "remap": ".cef = parse_cef!(string!(.cef), translate_custom_fields: true)" },
            "sinks": [{ "type": "stdout" }],
        })
        .to_string(),
    );
    let mut map = program(harness.root(), &["map", "--pipeline", "parser.yaml", "--stream", "activities"]);
    map.stdin(std::fs::File::open(harness.path("messages.ndjson")).unwrap());
    let parsed = Process::spawn(map).exit().await;
    assert_eq!(parsed.code, Some(0), "{}", parsed.stderr);
    let parsed: Vec<Value> =
        parsed.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["cef"].take()).collect();
    assert_eq!(parsed.len(), messages.len());

    let mut identities = BTreeMap::<&str, BTreeSet<&str>>::new();
    let mut custom = BTreeSet::new();
    for (event, message) in parsed.iter().zip(&messages) {
        assert_eq!(
            (&event["deviceVendor"], &event["deviceVersion"]),
            (&json!("SentinelOne"), &json!("24.1")),
            "{message}"
        );
        let is_of = |stream: &Stream| message.contains(&format!(" stream=\"{stream}\""));
        let stream = Stream::ALL.into_iter().find(is_of).unwrap();
        identities.entry(stream.name()).or_default().insert(event["externalId"].as_str().unwrap());
        custom.extend(event.as_object().unwrap().keys().filter(|key| key.contains(' ')).cloned());
        assert!(event["msg"].as_str().is_some_and(|text| !text.is_empty()), "{message}");
        assert!(event["rt"].as_str().is_some_and(|text| text.parse::<i64>().is_ok()), "{message}");
    }
    for stream in Stream::ALL {
        let owed = harness.console().visible_versions(kind_of(stream), &Scope::Global).len();
        assert_eq!(identities[stream.name()].len(), owed, "{stream}");
    }
    for label in ["Threat name", "Mitigation status", "Command line", "Activity type", "Agent version", "Alert name"] {
        assert!(custom.contains(label), "{custom:?}");
    }
}
