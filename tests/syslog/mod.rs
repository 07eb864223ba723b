//! `syslog` into rsyslog over TLS, and CEF read by a parser in Python.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use s1_forwarder::emulator::{Kind, Setup, system_clock};
use s1_forwarder::record::Stream;
use serde_json::{Value, json};

use crate::support::cache::{or_skip, run};
use crate::support::harness::Harness;
use crate::support::page::{block, run_all, with};
use crate::support::ports;
use crate::support::process::until;
use crate::support::rsyslog::Rsyslog;
use crate::support::syslog::{Behaviour, SyslogReceiver, arrived, extension_of};
use crate::support::tls::Authority;

fn sink(harness: &Harness, port: u16) -> Value {
    json!({
        "type": "syslog", "address": format!("tls://localhost:{port}"), "tls": { "ca_file": harness.path("ca.pem") },
        "max_bytes": "60KiB", "batch": { "events": 200, "timeout": "50ms" },
        "retry": { "initial": "10ms", "max": "500ms" },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rsyslog_loses_nothing_when_it_is_stopped_and_everything_arrives_whole() {
    let Some(files) = or_skip("rsyslog", test_servers::rsyslog()) else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.threats, setup.rate) = (4_000, 300, 50.0)).await;
    let authority = Authority::new();
    let port = ports::free();
    let issued = authority.issue(&["localhost"]);
    let mut rsyslog = Rsyslog::start(&files, harness.root(), &issued, &authority.certificate(), port).await;
    let streams = json!({ "threats": { "interval": "500ms", "since": "beginning" } });
    harness.put_changed("acme", json!({ "streams": streams, "sinks": [sink(&harness, port)] }));
    let worker = harness.worker();
    for count in [500, 2_000] {
        until("messages", async || (rsyslog.messages().len() > count).then_some(())).await;
        rsyslog.restart(Signal::TERM).await;
    }
    harness.console().set_rate(0.0, system_clock());
    until("everything is delivered", async || {
        let arrived = arrived(&rsyslog.messages());
        let mut owed = harness.owed(Kind::Activities).into_iter().chain(harness.owed(Kind::Threats));
        owed.all(|id| arrived.contains_key(&id)).then_some(())
    })
    .await;
    let messages = rsyslog.messages();
    for message in &messages {
        let event = &message[message.find("] {").unwrap() + 2..];
        serde_json::from_str::<Value>(event).unwrap_or_else(|error| panic!("{error}: {message}"));
    }
    let counts = arrived(&messages);
    harness.assert_all_arrived(&[Kind::Activities, Kind::Threats], &counts);

    // It has taken what it loses here, and did not say so.
    harness.console().set_rate(200.0, system_clock());
    tokio::time::sleep(Duration::from_secs(2)).await;
    rsyslog.restart(Signal::KILL).await;
    harness.console().set_rate(0.0, system_clock());
    tokio::time::sleep(Duration::from_secs(4)).await;
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
    let after = arrived(&rsyslog.messages());
    let lost = harness.owed(Kind::Activities).into_iter().filter(|id| !after.contains_key(id)).count();
    let repeated: u32 = counts.values().map(|count| count - 1).sum();
    println!(
        "{} messages, {repeated} again after two stops; after a kill of rsyslog {lost} are missing",
        messages.len()
    );
}

/// docs/sinks/syslog.md, followed literally.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_ends_with_a_first_event() {
    let Some(files) = or_skip("rsyslog", test_servers::rsyslog()) else { return };
    let harness = Harness::new(|setup| setup.activities = 20).await;
    let port = ports::free();
    let block = |language| block("sinks/syslog.md", "The first event", language);
    let log = harness.path("out.log").display().to_string();
    let own_port = port.to_string();
    let configuration = with(&block("text"), &[("/var/log/s1.log", &log), ("5514", &own_port)]);
    let rsyslog = Rsyslog::start_with(&files, harness.root(), &configuration, port).await;
    let console = harness.server.url();
    let file = with(&block("yaml"), &[("https://usea1-acme.sentinelone.net", &console), ("5514", &own_port)]);
    harness.write("acme.yaml", &file);
    std::fs::create_dir(harness.path("secrets")).unwrap();
    harness.write("secrets/acme.token", Setup::TOKEN);
    let commands = block("sh");
    run_all(&harness, &commands).await;
    assert!(commands.ends_with("tail -n 1 /var/log/s1.log\n"), "{commands}");
    until("the first event", async || rsyslog.messages().last().filter(|last| last.contains("] {")).cloned()).await;
}

/// Each message has the keys and values of its event, which another sink of the pipeline sends as JSON.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cef_is_read_by_pycef() {
    let Some(files) = or_skip("rsyslog", test_servers::rsyslog()) else { return };
    let Some(pycef) = or_skip("pycef", test_servers::pycef()) else { return };
    let harness = Harness::new(|setup| {
        setup.activities = 200;
        setup.threats = 100;
        setup.alerts = 100;
        setup.unified_alerts = 60;
        setup.agents = 30;
    })
    .await;
    let authority = Authority::new();
    let port = ports::free();
    let issued = authority.issue(&["localhost"]);
    let rsyslog = Rsyslog::start(&files, harness.root(), &issued, &authority.certificate(), port).await;
    let mut cef = sink(&harness, port);
    cef["payload"] = json!("cef");
    let receiver = SyslogReceiver::start(Behaviour::Reads).await;
    let address = format!("tcp://{}", receiver.address());
    let events =
        json!({ "type": "syslog", "name": "events", "address": address, "schema": "ecs", "max_bytes": "1MiB" });
    let since = json!({ "since": "beginning" });
    let streams =
        json!({ "threats": since, "alerts": since, "unified_alerts": since, "agents": since, "groups": since });
    harness.put_changed("acme", json!({ "streams": streams, "sinks": [cef, events] }));
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let owed = |kind| harness.console().visible_versions(kind, &s1_forwarder::emulator::Scope::Global).len();
    let kinds = [Kind::Activities, Kind::Threats, Kind::Alerts, Kind::UnifiedAlerts, Kind::Agents, Kind::Groups];
    let all: usize = kinds.into_iter().map(owed).sum();
    until("everything is written", async || (rsyslog.messages().len() >= all).then_some(())).await;
    let events: BTreeMap<String, (Stream, Value)> = receiver.messages().iter().map(|message| sent(message)).collect();
    assert_eq!(events.len(), all);
    let mut python = Command::new("python3");
    let output = run(python.args(["-c", PARSE]).env("PYTHONPATH", &pycef), harness.root()).unwrap();
    let parsed: Vec<BTreeMap<String, String>> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed.len(), all);
    for (mut found, message) in parsed.into_iter().zip(rsyslog.messages()) {
        let (stream, event) = &events[&found["externalId"]];
        let msg = found.remove("msg");
        match (stream, msg) {
            (Stream::Groups, Some(msg)) => {
                assert_eq!(serde_json::from_str::<Value>(&msg).unwrap(), *event, "{message}")
            }
            (_, msg) => assert_eq!(event["message"].as_str(), msg.as_deref(), "{message}"),
        }
        assert_eq!(found, as_pycef_has_it(event, *stream), "{message}");
    }
}

/// pycef leaves escapes in values.
const PARSE: &str = r"
import json, re, pycef
plain = {'n': '\n', 'r': '\r'}
for line in open('out.log', newline='\n'):
    event = pycef.parse(line[line.index('CEF:'):].rstrip('\n'))
    unescape = lambda text: re.sub(r'\\(.)', lambda found: plain.get(found[1], found[1]), text)
    print(json.dumps({key: unescape(value) for key, value in event.items()}))
";

/// The identity of a message with JSON, its stream and its event.
fn sent(message: &str) -> (String, (Stream, Value)) {
    let part = |name: &str| message.split_once(&format!(" {name}=\"")).unwrap().1.split('"').next().unwrap();
    let stream = Stream::ALL.iter().copied().find(|stream| stream.name() == part("stream")).unwrap();
    let event = serde_json::from_str(&message[message.find("] {").unwrap() + 2..]).unwrap();
    (part("identity").to_owned(), (stream, event))
}

/// Header and extension, but for `msg`. pycef names a value as its label does.
fn as_pycef_has_it(event: &Value, stream: Stream) -> BTreeMap<String, String> {
    let about = &event["event"];
    let class = about["action"].as_str().unwrap_or(stream.name());
    let name: String = event["message"].as_str().unwrap_or(class).chars().take(128).collect();
    let severity = match about["severity"].as_u64() {
        Some(21) => "3",
        Some(47) => "5",
        Some(73) => "8",
        Some(99) => "10",
        _ => "0",
    };
    let mut expected = BTreeMap::new();
    for (key, value) in [
        ("CEFVersion", "0"),
        ("DeviceVendor", "SentinelOne"),
        ("DeviceProduct", "Management"),
        ("DeviceVersion", "24.1"),
        ("DeviceEventClassID", class),
        ("Name", &name),
        ("DeviceName", &name),
        ("Severity", severity),
        ("DeviceSeverity", severity),
        ("externalId", event["sentinel_one"]["identity"].as_str().unwrap()),
    ] {
        expected.insert(key.to_owned(), value.to_owned());
    }
    let extension = extension_of(event, stream);
    for (key, value) in extension.iter().filter(|(key, _)| !key.ends_with("Label")) {
        let name = extension.get(&format!("{key}Label")).unwrap_or(key);
        expected.insert(name.clone(), value.clone());
    }
    expected
}
