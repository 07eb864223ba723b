//! `syslog` against receivers that read, stop, drop and die, and messages as RFC 5424, RFC 3164 and CEF.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use s1_forwarder::destinations::SinkContext;
use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::Transient;
use s1_forwarder::record::{Identity, Stream, Timestamp};
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::{batch, context, push, settings, sink, sink_in, with};
use crate::support::syslog::{Behaviour, CEF_KEYS, CEF_KEYS_OF, SyslogReceiver, extension, next_message};
use crate::support::tls::{Authority, TlsFront};

fn keys(address: SocketAddr) -> Value {
    json!({ "type": "syslog", "address": format!("tcp://{address}"), "schema": "raw", "timeout": "5s" })
}

/// The ids of the events in messages.
fn ids(messages: &[String]) -> Vec<u32> {
    let id = |message: &String| {
        let event: Value = serde_json::from_str(&message[message.find('{').unwrap()..]).unwrap();
        event["id"].as_str().unwrap().parse().unwrap()
    };
    messages.iter().map(id).collect()
}

fn lost(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed(Failure { kind: Transient, reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// A batch that no kernel accepts whole while the receiver does not read.
fn large_batch() -> Batch {
    let mut large = Batch::new(Stream::Activities);
    for id in 0..1_000 {
        push(&mut large, &id.to_string(), &"x".repeat(7_000));
    }
    large
}

#[tokio::test]
async fn messages_have_the_header_of_their_format() {
    let receiver = SyslogReceiver::start(Behaviour::Reads).await;
    let new_form = sink(keys(receiver.address()));
    let old_form = json!({ "format": "rfc3164", "framing": "newline", "facility": "auth", "app_name": "s1" });
    let old_form = sink(with(keys(receiver.address()), old_form));
    assert_eq!(new_form.send(&batch(7..8)).await.outcome, Outcome::Delivered);
    assert_eq!(old_form.send(&batch(7..8)).await.outcome, Outcome::Delivered);
    let identity = Identity::of("usea1-acme.sentinelone.net", Stream::Activities, "7", "");
    let event = r#"{"id":"7","primaryDescription":"the quick brown fox jumps over the lazy dog"}"#;
    assert_eq!(
        receiver.messages(),
        [
            format!(
                "<134>1 2026-09-16T08:30:00.123456Z usea1-acme.sentinelone.net s1-forwarder - activities \
                 [s1-forwarder@32473 pipeline=\"acme\" stream=\"activities\" identity=\"{identity}\"] {event}"
            ),
            format!("<38>Sep 16 08:30:00 usea1-acme.sentinelone.net s1: {event}"),
        ]
    );
}

/// Readers of lines know the console's own by its header, which has neither host nor identity.
#[tokio::test]
async fn a_notification_has_the_header_of_the_console() {
    let mut events = batch(7..8);
    let activity = r#"{"id":"8","activityType":27,"createdAt":"2026-03-01T10:25:11.009123Z","data":{"username":"Jo"}}"#;
    let identity = Identity::of("usea1-acme.sentinelone.net", Stream::Activities, "8", "");
    events.push_with("8", identity, Timestamp::parse("2026-03-01T10:25:11.009123Z").ok(), |out| {
        out.extend_from_slice(activity.as_bytes());
        None
    });
    let line = "CEF:0|SentinelOne|Mgmt|usea1-acme.sentinelone.net|27|SentinelOne - New Console Login Activity - Jo|1|\
                suser=Jo cat=SystemEvent rt=#arcsightDate(Sun, 01 Mar 2026, 10:25:11 UTC) activityID=8 activityType=27 \
                notificationScope=GLOBAL";
    for (more, message) in [
        (json!({}), format!("<14>2026-03-01 10:25:11,009 sentinel - {line}")),
        (
            json!({ "format": "rfc3164", "facility": "local0" }),
            format!("<134>Mar  1 10:25:11 usea1-acme.sentinelone.net sentinel: {line}"),
        ),
    ] {
        let receiver = SyslogReceiver::start(Behaviour::Reads).await;
        let keys = json!({ "type": "syslog", "address": format!("tcp://{}", receiver.address()) });
        let lane = sink(with(with(keys, json!({ "content": "integration" })), more));
        match lane.send(&events).await.outcome {
            Outcome::Partial { refused, retry, .. } => {
                assert!(retry.is_empty() && refused.len() == 1 && refused[0].index == 0, "{refused:?}");
                assert_eq!(refused[0].status, "no_type");
                assert!(refused[0].reason.contains("no number in `activityType`"), "{refused:?}");
            }
            outcome => panic!("{outcome:?}"),
        }
        assert_eq!(receiver.messages(), [message]);
    }
}

/// A name or an address alone: RFC 3164 and 5424 know no port there, and receivers read none.
#[tokio::test]
async fn the_header_names_the_console_without_its_port() {
    let receiver = SyslogReceiver::start(Behaviour::Reads).await;
    for (console_host, hostname) in [
        ("console.corp:8443", "console.corp"),
        ("10.0.0.1:8443", "10.0.0.1"),
        ("[2001:db8::1]:8443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ] {
        let context = SinkContext { console_host: console_host.to_owned(), ..context(Stream::Activities) };
        for format in ["rfc5424", "rfc3164"] {
            let lane = sink_in(with(keys(receiver.address()), json!({ "format": format })), &context);
            assert_eq!(lane.send(&batch(7..8)).await.outcome, Outcome::Delivered);
            let message = receiver.messages().pop().unwrap();
            let expected = match format {
                "rfc5424" => format!("<134>1 2026-09-16T08:30:00.123456Z {hostname} s1-forwarder - activities ["),
                _ => format!("<134>Sep 16 08:30:00 {hostname} s1-forwarder: {{"),
            };
            assert!(message.starts_with(&expected), "{console_host}: {message}");
        }
    }
}

#[tokio::test]
async fn the_severity_is_that_of_the_event() {
    let mut events = Batch::new(Stream::Threats);
    for severity in ["99", "73", "47", "21", "null", "60", "\"100\""] {
        let identity = Identity::of("h", Stream::Threats, severity, "");
        events.push_with(severity, identity, None, |out| {
            out.extend_from_slice(format!(r#"{{"event":{{"severity":{severity}}}}}"#).as_bytes());
            None
        });
    }
    let receiver = SyslogReceiver::start(Behaviour::Reads).await;
    let lane = sink_in(with(keys(receiver.address()), json!({ "schema": "ecs" })), &context(Stream::Threats));
    assert_eq!(lane.send(&events).await.outcome, Outcome::Delivered);
    let beginnings: Vec<_> = receiver.messages().iter().map(|message| message[..9].to_owned()).collect();
    let expected = [130, 131, 132, 134, 134, 131, 130].map(|priority| format!("<{priority}>1 - "));
    assert_eq!(beginnings, expected, "without a time");
}

#[tokio::test]
async fn batches_share_one_connection_in_their_order() {
    let receiver = SyslogReceiver::start(Behaviour::Reads).await;
    let lane = sink(keys(receiver.address()));
    let batches = [batch(0..50), batch(50..100), batch(100..150), batch(150..200)];
    for attempt in join_all(batches.iter().map(|batch| lane.send(batch))).await {
        assert_eq!((attempt.outcome, attempt.status.label()), (Outcome::Delivered, "ok"));
    }
    assert_eq!(lane.send(&batch(200..201)).await.outcome, Outcome::Delivered);
    assert_eq!(ids(&receiver.messages()), (0..201).collect::<Vec<_>>());
    assert_eq!(receiver.connections(), 1);
}

/// Such as `nc -lk PORT </dev/null`. The same batch must not arrive again with each attempt.
#[tokio::test]
async fn a_receiver_that_closes_its_side_at_once_gets_a_batch_once() {
    let receiver = SyslogReceiver::start(Behaviour::ClosesItsSide).await;
    let lane = sink(keys(receiver.address()));
    let events = batch(0..50);
    let first = lane.send(&events).await.outcome;
    assert!(lost(&first).contains("everything that was not confirmed is sent again"), "{first:?}");
    for _ in 0..4 {
        let again = lane.send(&events).await;
        assert!(lost(&again.outcome).contains("closed the connection at once; events wait"), "{again:?}");
        assert_eq!((again.status.label(), again.bytes), ("connect", 0));
    }
    assert_eq!(receiver.connections(), 5);
    assert_eq!(ids(&receiver.messages()), (0..50).collect::<Vec<_>>());

    receiver.behave(Behaviour::Reads);
    assert_eq!(lane.send(&events).await.outcome, Outcome::Delivered);
    assert_eq!(receiver.messages().len(), 100);
    assert_eq!(lane.send(&batch(50..51)).await.outcome, Outcome::Delivered);
    assert_eq!(receiver.connections(), 6);
}

#[tokio::test]
async fn tls_is_verified_and_shows_a_client_certificate() {
    let servers = Authority::new();
    let clients = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, servers.certificate()).unwrap();
    let (cert_file, key_file) = clients.issue(&["forwarder"]).write(directory.path(), "client");
    let receiver = SyslogReceiver::start(Behaviour::Reads).await;
    let issued = servers.issue(&["localhost"]);
    let front = TlsFront::start(receiver.address(), &issued, Some(&clients)).await;
    let lane = |host: &str, tls: Value| {
        let address = format!("tls://{host}:{}", front.address().port());
        sink(json!({ "type": "syslog", "address": address, "schema": "raw", "timeout": "5s", "tls": tls }))
    };
    let identity = json!({ "ca_file": ca_file, "cert_file": cert_file, "key_file": key_file });
    assert_eq!(lane("localhost", identity.clone()).send(&batch(0..3)).await.outcome, Outcome::Delivered);
    let pinned = json!({ "pin_sha256": [issued.fingerprint()], "cert_file": cert_file, "key_file": key_file });
    assert_eq!(lane("127.0.0.1", pinned).send(&batch(3..6)).await.outcome, Outcome::Delivered);
    assert_eq!(ids(&receiver.messages()), [0, 1, 2, 3, 4, 5]);

    for (host, tls, part) in [
        ("localhost", json!({}), "name the authority's certificate in `tls.ca_file`"),
        ("127.0.0.1", identity, "write a name of the certificate"),
        ("localhost", json!({ "pin_sha256": ["00".repeat(32)] }), &issued.fingerprint()),
    ] {
        let lane = lane(host, tls);
        let outcome = lane.send(&batch(6..7)).await.outcome;
        assert!(lost(&outcome).contains(part), "{outcome:?}");
        assert!(matches!(lane.probe().await, ProbeResult::Failed(reason) if reason.contains(part)));
    }
    // With TLS 1.3 the client hears of it after its own handshake.
    let without = lane("localhost", json!({ "ca_file": ca_file }));
    let outcome = without.send(&batch(6..7)).await.outcome;
    assert!(lost(&outcome).contains("certificate") || lost(&outcome).contains("connection"), "{outcome:?}");
    assert!(matches!(without.probe().await, ProbeResult::Failed(_)));
    assert_eq!(ids(&receiver.messages()).len(), 6);
    // A receiver without TLS takes the handshake for the beginning of a message, and waits for its end.
    let plain = SyslogReceiver::start(Behaviour::Stops).await;
    let address = format!("tls://localhost:{}", plain.address().port());
    let found = sink(json!({ "type": "syslog", "address": address, "timeout": "1s" })).probe().await;
    assert!(matches!(&found, ProbeResult::Failed(reason) if reason.ends_with("if not, write tcp://")), "{found:?}");
}

/// Its kernel has a part of the batch, which it never read.
#[tokio::test]
async fn what_a_receiver_did_not_read_before_it_died_is_sent_again() {
    let receiver = SyslogReceiver::start(Behaviour::Stops).await;
    let address = receiver.address();
    let lane = sink(with(keys(address), json!({ "timeout": "60s" })));
    let large = large_batch();
    let (attempt, read) = tokio::join!(lane.send(&large), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        receiver.kill().await
    });
    assert_eq!(read, Vec::<String>::new());
    assert!(lost(&attempt.outcome).contains("sent again"), "{attempt:?}");
    let receiver = SyslogReceiver::start_at(address, Behaviour::Reads).await;
    assert_eq!(lane.send(&large).await.outcome, Outcome::Delivered);
    assert_eq!(ids(&receiver.messages()), (0..1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_for_the_timeout_is_left() {
    let stuck = SyslogReceiver::start(Behaviour::Stops).await;
    let lane = sink(with(keys(stuck.address()), json!({ "timeout": "2s" })));
    let outcome = lane.send(&large_batch()).await.outcome;
    assert!(lost(&outcome).contains("accepted nothing for 2 s"), "{outcome:?}");
    stuck.behave(Behaviour::Reads);
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered, "over a new connection");
    assert_eq!(stuck.connections(), 2);
}

/// It takes longer than the timeout for a batch, and something all the time.
#[tokio::test]
async fn a_slow_receiver_gets_everything_once() {
    let slow = SyslogReceiver::start(Behaviour::ReadsSlowly(Duration::from_millis(150))).await;
    let lane = sink(with(keys(slow.address()), json!({ "timeout": "5s" })));
    let started_at = tokio::time::Instant::now();
    assert_eq!(lane.send(&large_batch()).await.outcome, Outcome::Delivered);
    assert!(started_at.elapsed() > Duration::from_secs(5), "the receiver was not slow");
    assert_eq!(ids(&slow.messages()), (0..1_000).collect::<Vec<_>>());
    assert_eq!(slow.connections(), 1);
}

/// As when a firewall or the receiver's host forgets a connection: bytes are acknowledged, and not kept.
#[tokio::test]
async fn a_connection_that_is_cut_within_a_second_has_delivered_nothing() {
    let dropping = Behaviour::DropsAndCloses(Duration::from_millis(700));
    // Send queues are read once a second, whenever a batch was written.
    let phases = (0..5).map(async |phase| {
        tokio::time::sleep(Duration::from_millis(200) * phase).await;
        let receiver = SyslogReceiver::start(dropping).await;
        let attempt = sink(keys(receiver.address())).send(&batch(0..100)).await;
        assert!(lost(&attempt.outcome).contains("closed the connection"), "{phase}: {attempt:?}");
    });
    join_all(phases).await;
    let receiver = SyslogReceiver::start(dropping).await;
    let lane = sink(keys(receiver.address()));
    let batches = [batch(0..100), batch(100..200)];
    for attempt in join_all(batches.iter().map(|batch| lane.send(batch))).await {
        assert!(lost(&attempt.outcome).contains("closed the connection"), "{attempt:?}");
    }
    receiver.behave(Behaviour::Reads);
    for batch in &batches {
        assert_eq!(lane.send(batch).await.outcome, Outcome::Delivered);
    }
    assert_eq!(ids(&receiver.messages()), (0..200).collect::<Vec<_>>());

    receiver.behave(Behaviour::DropsAndCloses(Duration::from_secs(5)));
    let other = sink(keys(receiver.address()));
    let outcome = other.send(&batches[0]).await.outcome;
    assert_eq!(outcome, Outcome::Delivered, "what a receiver takes and then loses is lost, as the page says");
}

/// A lane that ends drops the attempt at any moment.
#[tokio::test]
async fn a_message_that_was_written_in_part_is_followed_by_no_other() {
    let receiver = SyslogReceiver::start(Behaviour::Stops).await;
    let lane = sink(keys(receiver.address()));
    let large = large_batch();
    tokio::select! {
        attempt = lane.send(&large) => panic!("{attempt:?}"),
        () = async {
            receiver.accepted(1).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        } => {}
    }
    receiver.behave(Behaviour::Reads);
    let outcome = lane.send(&batch(0..1)).await.outcome;
    assert!(lost(&outcome).contains("in part"), "{outcome:?}");
    assert_eq!(lane.send(&batch(1..2)).await.outcome, Outcome::Delivered);
    assert_eq!(ids(&receiver.messages()), [1]);
}

#[tokio::test]
async fn the_next_receiver_takes_over() {
    let gone = SyslogReceiver::start(Behaviour::Reads).await;
    let closed = gone.address();
    let there = SyslogReceiver::start(Behaviour::Reads).await;
    gone.kill().await;
    let addresses = json!([format!("tcp://{closed}"), format!("tcp://{}", there.address())]);
    let keys = json!({ "type": "syslog", "addresses": addresses, "schema": "raw", "timeout": "5s" });
    // Lanes begin with different receivers.
    for number in 0..6 {
        let mut context = context(Stream::Activities);
        context.lane.pipeline = format!("p{number}");
        assert_eq!(sink_in(keys.clone(), &context).send(&batch(number..number + 1)).await.outcome, Outcome::Delivered);
    }
    assert_eq!(ids(&there.messages()), [0, 1, 2, 3, 4, 5]);
    let outcome = sink(json!({ "type": "syslog", "address": format!("tcp://{closed}") })).send(&batch(0..1)).await;
    assert!(lost(&outcome.outcome).contains("nothing listens there"), "{outcome:?}");
    assert_eq!(outcome.status.label(), "connect");
}

/// One that accepts connections and takes nothing is as unavailable as one that is gone.
#[tokio::test]
async fn a_receiver_that_takes_nothing_is_replaced_by_the_next_one() {
    let stuck = SyslogReceiver::start(Behaviour::Stops).await;
    let there = SyslogReceiver::start(Behaviour::Reads).await;
    let addresses = json!([format!("tcp://{}", stuck.address()), format!("tcp://{}", there.address())]);
    let keys = json!({ "type": "syslog", "addresses": addresses, "schema": "raw", "timeout": "1s" });
    let large = large_batch();
    let mut left = 0;
    // Lanes begin with different receivers.
    for number in 0..4 {
        let mut context = context(Stream::Activities);
        context.lane.pipeline = format!("p{number}");
        let lane = sink_in(keys.clone(), &context);
        let mut outcome = lane.send(&large).await.outcome;
        if outcome != Outcome::Delivered {
            assert!(lost(&outcome).contains("accepted nothing"), "{outcome:?}");
            left += 1;
            outcome = lane.send(&large).await.outcome;
        }
        assert_eq!(outcome, Outcome::Delivered);
    }
    assert!((1..4).contains(&left), "{left}");
}

/// The system refuses a datagram because an earlier one was not received. Neither it nor those after it were sent.
#[tokio::test]
async fn datagrams_after_an_error_go_to_the_next_receiver() {
    let closed = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let receiver = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addresses = json!([format!("udp://{closed}"), format!("udp://{}", receiver.local_addr().unwrap())]);
    let keys = json!({ "type": "syslog", "addresses": addresses, "schema": "raw" });
    let whole = batch(0..20);
    let mut bytes = vec![0; 65_536];
    let mut cut = 0;
    // Lanes begin with different receivers.
    for number in 0..20 {
        let mut context = context(Stream::Activities);
        context.lane.pipeline = format!("p{number}");
        let lane = sink_in(keys.clone(), &context);
        let outcome = lane.send(&whole).await.outcome;
        while receiver.try_recv(&mut bytes).is_ok() {}
        let Outcome::Partial { refused, retry, .. } = outcome else {
            assert_eq!(outcome, Outcome::Delivered);
            continue;
        };
        assert!(refused.is_empty() && retry[0] > 0 && retry.ends_with(&[19]), "{retry:?}");
        assert_eq!(lane.send(&whole.select(retry.clone())).await.outcome, Outcome::Delivered);
        for index in retry {
            let count = receiver.recv(&mut bytes).await.unwrap();
            assert_eq!(ids(&[String::from_utf8(bytes[..count].to_vec()).unwrap()]), [index as u32]);
        }
        cut += 1;
    }
    assert!(cut > 0, "no lane began with the closed port");
}

#[tokio::test]
async fn datagrams_are_sent_once() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let keys = json!({ "type": "syslog", "address": format!("udp://{address}"), "schema": "raw" });
    let lane = sink(keys);
    assert_eq!(lane.send(&batch(0..3)).await.outcome, Outcome::Delivered);
    let mut bytes = vec![0; 65_536];
    for id in 0..3 {
        let count = socket.recv(&mut bytes).await.unwrap();
        let message = String::from_utf8(bytes[..count].to_vec()).unwrap();
        assert!(message.starts_with("<134>1 ") && message.ends_with('}'), "{message}");
        assert_eq!(ids(&[message]), [id]);
    }
    assert!(matches!(lane.probe().await, ProbeResult::Reached(text) if text.contains("use tls://")));

    drop(socket);
    assert_eq!(lane.send(&batch(3..4)).await.outcome, Outcome::Delivered, "nobody knows");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = lane.send(&batch(4..6)).await.outcome;
    // The system knows of the one before.
    assert!(lost(&refused).contains("refused") && lost(&refused).contains(&address.to_string()), "{refused:?}");
}

#[tokio::test]
async fn long_events_are_shortened_to_max_bytes() {
    let receiver = SyslogReceiver::start(Behaviour::Reads).await;
    let raw = SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(Stream::Activities) };
    let lane = sink_in(with(keys(receiver.address()), json!({ "max_bytes": "1KiB" })), &raw);
    let mut events = batch(0..1);
    push(&mut events, "1", &"ü\\\"\u{1f600}".repeat(5_000));
    let identity = Identity::of("h", Stream::Activities, "2", "");
    events.push_with("2", identity, None, |out| {
        out.extend_from_slice(format!(r#"{{"{}":1}}"#, "key".repeat(1_000)).as_bytes());
        None
    });
    let Outcome::Partial { refused, retry, .. } = lane.send(&events).await.outcome else { panic!() };
    assert_eq!((refused[0].index, refused.len(), retry.len()), (2, 1, 0));
    assert!(refused[0].reason.contains("more than `max_bytes: 1024`; raise it"), "{refused:?}");
    let messages = receiver.messages();
    assert_eq!(ids(&messages), [0, 1]);
    assert!(messages[1].len() <= 1024 && messages[1].contains("…\""), "{}", messages[1]);
    assert!(messages[1].contains(r#""s1_forwarder_shortened":true"#), "{}", messages[1]);
    assert!(!messages[0].contains("shortened"), "{}", messages[0]);
}

fn cef_event(stream: Stream, event: &Value) -> Batch {
    cef_events(stream, std::slice::from_ref(event))
}

/// Their ids count from 1.
fn cef_events(stream: Stream, events: &[Value]) -> Batch {
    let mut batch = Batch::new(stream);
    let time = Timestamp::from_micros(1_789_547_400_123_456);
    for (index, event) in events.iter().enumerate() {
        let id = (index + 1).to_string();
        batch.push_with(&id, Identity::of("h", stream, &id, ""), Some(time), |out| {
            out.extend_from_slice(event.to_string().as_bytes());
            None
        });
    }
    batch
}

async fn cef_messages(stream: Stream, more: Value, events: &Batch) -> Vec<String> {
    let receiver = SyslogReceiver::start(Behaviour::Reads).await;
    let keys = with(keys(receiver.address()), with(json!({ "payload": "cef", "schema": "ecs" }), more));
    let attempt = sink_in(keys, &context(stream)).send(events).await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
    receiver.messages()
}

#[tokio::test]
async fn cef_has_the_keys_of_the_dictionary_and_escapes_what_ends_a_value() {
    let event = json!({
        "@timestamp": "2026-03-01T10:20:30.123456Z",
        "event": { "action": "threat|mitigated", "category": ["malware", "process"], "severity": 99, "kind": "alert" },
        "file": { "name": "a=b.exe", "path": "C:\\x y\\a=b.exe", "hash": { "sha1": "02699626f388ed830012e5b787640e71c56d42d8" } },
        "host": { "name": "web-1", "ip": ["fe80::1", "10.1.2.3"], "mac": ["00-25-96-FF-FE-12"] },
        "message": "Ransomware\nb.exe = on|web-1",
        "network": { "direction": "outbound" },
        "process": { "command_line": "cmd /c a=1 && b=2" },
        "sentinel_one": { "threat": { "name": "b.exe", "site": { "name": "Berlin" } } },
        "source": { "ip": "192.0.2.3", "port": 445 },
        "threat": { "technique": { "id": ["T1059", "T1486"] } },
        "user": { "name": "jane", "domain": "ACME" },
    });
    let messages = cef_messages(Stream::Threats, json!({}), &cef_event(Stream::Threats, &event)).await;
    let identity = Identity::of("h", Stream::Threats, "1", "").to_string();
    let cef = &messages[0][messages[0].find("CEF").unwrap()..];
    assert!(
        cef.starts_with(
            "CEF:0|SentinelOne|Management|unknown|threat\\|mitigated|Ransomware b.exe = on\\|web-1|10|externalId="
        ),
        "{cef}"
    );
    let expected = [
        ("act", "threat|mitigated"),
        ("c6a1", "fe80::1"),
        ("c6a1Label", "Device IPv6 Address"),
        ("cat", "malware,process"),
        ("cs1", "b.exe"),
        ("cs1Label", "Threat name"),
        ("cs4", "Berlin"),
        ("cs4Label", "Site"),
        ("cs5", "cmd /c a=1 && b=2"),
        ("cs5Label", "Command line"),
        ("cs6", "T1059,T1486"),
        ("cs6Label", "ATT&CK techniques"),
        ("deviceDirection", "1"),
        ("dhost", "web-1"),
        ("dvchost", "web-1"),
        ("dvcmac", "00:25:96:FF:FE:12"),
        ("externalId", &identity),
        ("fileHash", "02699626f388ed830012e5b787640e71c56d42d8"),
        ("filePath", "C:\\x y\\a=b.exe"),
        ("fname", "a=b.exe"),
        ("msg", "Ransomware\nb.exe = on|web-1"),
        ("rt", "1772360430123"),
        ("sntdom", "ACME"),
        ("spt", "445"),
        ("src", "192.0.2.3"),
        ("suser", "jane"),
    ];
    let found = extension(cef);
    let found: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(found, expected);
    // What else the line begins with is the header of syslog.
    assert!(
        messages[0]
            .starts_with("<130>1 2026-09-16T08:30:00.123456Z usea1-acme.sentinelone.net s1-forwarder - threats [")
    );
}

/// The most fields that a key is made from.
const MAX_CHOICES: usize = 5;

fn insert(event: &mut Value, path: &str, value: Value) {
    let place = path.split('.').fold(event, |object, key| &mut object[key]);
    *place = value;
}

/// An event without the first `left_out` fields of keys that have several, as long as one is left, and the extension
/// that it becomes. Addresses are IPv6 where fields are left out.
fn event_and_extension(own: &str, left_out: usize) -> (Value, BTreeMap<String, String>) {
    let mut event = json!({});
    let mut expected = BTreeMap::new();
    for row in CEF_KEYS.split(", ").chain(own.split(", ")) {
        let (key, paths) = row.trim().split_once(' ').unwrap();
        let paths: Vec<_> = paths.split_whitespace().collect();
        let paths = &paths[left_out.min(paths.len() - 1)..];
        for path in paths {
            insert(&mut event, path, json!(format!("the {path}")));
        }
        let (key, label) = key.split_once('=').map_or((key, None), |(key, label)| (key, Some(label)));
        expected.insert(key.to_owned(), format!("the {}", paths[0]));
        expected.extend(label.map(|label| (format!("{key}Label"), label.replace('_', " "))));
    }
    let addresses = match left_out {
        0 => [
            ("dvc", "host.ip", json!(["10.0.0.1", "10.0.0.2"]), "10.0.0.1"),
            ("src", "source.ip", json!("10.0.0.3"), "10.0.0.3"),
            ("dst", "destination.ip", json!("10.0.0.4"), "10.0.0.4"),
            ("deviceDirection", "network.direction", json!("outbound"), "1"),
        ],
        _ => [
            ("c6a1=Device", "host.ip", json!(["fe80::1", "10.0.0.2"]), "fe80::1"),
            ("c6a2=Source", "source.ip", json!("fe80::2"), "fe80::2"),
            ("c6a3=Destination", "destination.ip", json!("fe80::3"), "fe80::3"),
            ("deviceDirection", "network.direction", json!("inbound"), "0"),
        ],
    };
    let others = [
        ("rt", "@timestamp", json!("2026-03-01T10:20:30.123456Z"), "1772360430123"),
        ("start", "event.start", json!("2026-03-01T10:20:31Z"), "1772360431000"),
        ("end", "event.end", json!("2026-03-01T10:20:32Z"), "1772360432000"),
        ("dvcmac", "host.mac", json!(["00-11-22-33-44-55"]), "00:11:22:33:44:55"),
    ];
    for (key, path, value, written) in addresses.into_iter().chain(others) {
        insert(&mut event, path, value);
        let (key, label) = key.split_once('=').map_or((key, None), |(key, label)| (key, Some(label)));
        expected.insert(key.to_owned(), written.to_owned());
        expected.extend(label.map(|label| (format!("{key}Label"), format!("{label} IPv6 Address"))));
    }
    (event, expected)
}

/// Events with every field: each key has its own field's value, the first one that is there, and there are no others.
#[tokio::test]
async fn every_key_of_cef_has_its_field() {
    let page = include_str!("../../docs/sinks/syslog.md");
    let severities = [(21, "3"), (47, "5"), (73, "8"), (99, "10"), (0, "0"), (60, "8")];
    let streams = CEF_KEYS_OF.map(async |(stream, own)| {
        let mut events = Vec::new();
        let mut expected = Vec::new();
        for (severity, written) in severities {
            let (mut event, extension) = event_and_extension(own, 0);
            insert(&mut event, "event.severity", json!(severity));
            events.push(event);
            expected.push((extension, written));
        }
        for left_out in 1..MAX_CHOICES {
            let (event, extension) = event_and_extension(own, left_out);
            events.push(event);
            expected.push((extension, "0"));
        }
        let messages = cef_messages(stream, json!({}), &cef_events(stream, &events)).await;
        assert_eq!(messages.len(), events.len());
        for (index, (message, (mut expected, severity))) in messages.iter().zip(expected).enumerate() {
            let identity = Identity::of("h", stream, &(index + 1).to_string(), "");
            expected.insert("externalId".to_owned(), identity.to_string());
            assert_eq!(extension(message), expected, "{stream}");
            let header = format!("|the event.action|the message|{severity}|externalId=");
            assert!(message.contains(&header), "{stream}: {message}");
            for key in expected.keys().filter(|key| !key.ends_with("Label")) {
                assert!(page.contains(&format!("`{key}`")), "the page has no {key}");
            }
        }
    });
    join_all(streams).await;
}

#[tokio::test]
async fn streams_without_a_table_have_the_event_in_msg() {
    let event = json!({ "event": { "kind": "state" }, "group": { "name": "a=b" }, "message": "Group a=b" });
    let messages = cef_messages(Stream::Groups, json!({}), &cef_event(Stream::Groups, &event)).await;
    assert!(
        messages[0].contains("CEF:0|SentinelOne|Management|unknown|groups|Group a=b|0|externalId="),
        "{}",
        messages[0]
    );
    let msg: Value = serde_json::from_str(&extension(&messages[0])["msg"]).unwrap();
    assert_eq!(msg, event);
}

#[tokio::test]
async fn cef_is_shortened_from_its_end_and_keeps_its_keys() {
    let event = json!({
        "event": { "action": "a", "severity": 47 },
        "process": { "command_line": "=\u{e9}".repeat(3_000) },
        "message": "\u{1f600}|".repeat(2_000),
        "user": { "name": "jane" },
    });
    for max_bytes in [1_500, 4_000, 8_192, 40_000] {
        let more = json!({ "max_bytes": max_bytes });
        let messages = cef_messages(Stream::Alerts, more, &cef_event(Stream::Alerts, &event)).await;
        assert!(messages[0].len() <= max_bytes, "{} of {max_bytes}", messages[0].len());
        let found = extension(&messages[0]);
        assert_eq!((found["suser"].as_str(), found["cs5Label"].as_str()), ("jane", "Command line"));
        let is_cut = |key: &str| found[key].ends_with('…');
        let expected = match max_bytes {
            1_500 | 4_000 | 8_192 => (true, true),
            _ => (false, false),
        };
        assert_eq!((is_cut("msg"), is_cut("cs5")), expected, "{max_bytes}");
    }
}

#[tokio::test]
async fn what_identifies_stays_whole_in_cef_and_free_texts_are_cut_before_names() {
    let sha256 = "3b".repeat(32);
    let event = json!({
        "@timestamp": "2026-03-01T10:20:30.123456Z",
        "event": { "action": "a-threat-that-has-a-long-name", "severity": 47 },
        "file": { "path": "C:\\Users\\jane\\".repeat(8), "hash": { "sha256": sha256 }, "size": 123_456_789 },
        "host": { "id": "ff819e70-af13-381e-b537-eb0eb4d6045d", "ip": ["2001:db8:85a3:0:0:8a2e:370:7334"] },
        "message": "a sentence | ".repeat(40),
        "organization": { "id": "225494730938493804" },
        "process": { "command_line": "cmd /c =".repeat(40) },
        "user": { "name": "a user with a very long name of many words" },
    });
    let whole = cef_event(Stream::Alerts, &event);
    let size = cef_messages(Stream::Alerts, json!({}), &whole).await[0].len();
    for (less, cut) in [
        (0, vec![]),
        (300, vec!["msg"]),
        (600, vec!["msg", "cs5"]),
        (900, vec!["msg", "cs5", "filePath"]),
        (1_020, vec!["msg", "cs5", "filePath", "name"]),
        (1_085, vec!["msg", "cs5", "filePath", "name", "suser"]),
    ] {
        let max_bytes = size - less;
        let messages = cef_messages(Stream::Alerts, json!({ "max_bytes": max_bytes }), &whole).await;
        let [message] = messages.as_slice() else { panic!("{messages:?}") };
        assert!(message.len() <= max_bytes, "{} of {max_bytes}", message.len());
        let mut found = extension(message);
        let name = message.split("|a-threat-that-has-a-long-name|").nth(1).unwrap().split("|5|").next().unwrap();
        found.insert("name".to_owned(), name.to_owned());
        let texts = ["msg", "cs5", "filePath", "name", "suser"];
        let is_cut: Vec<_> = texts.into_iter().filter(|key| found[*key].ends_with('…')).collect();
        assert_eq!(is_cut, cut, "{less}: {message}");
        assert!(cut.iter().all(|key| found[*key].chars().count() > 16), "{message}");
        let identity = Identity::of("h", Stream::Alerts, "1", "").to_string();
        for (key, value) in [
            ("externalId", identity.as_str()),
            ("fileHash", &sha256),
            ("fsize", "123456789"),
            ("flexString1", "225494730938493804"),
            ("deviceExternalId", "ff819e70-af13-381e-b537-eb0eb4d6045d"),
            ("c6a1", "2001:db8:85a3:0:0:8a2e:370:7334"),
            ("rt", "1772360430123"),
            ("act", "a-threat-that-has-a-long-name"),
        ] {
            assert_eq!(found[key], value, "{less}");
        }
    }

    // The reason says what would be enough.
    let receiver = SyslogReceiver::start(Behaviour::Reads).await;
    let more = json!({ "payload": "cef", "schema": "ecs", "max_bytes": 480 });
    let lane = sink_in(with(keys(receiver.address()), more), &context(Stream::Alerts));
    let Outcome::Partial { refused, .. } = lane.send(&whole).await.outcome else { panic!() };
    let least = refused[0].reason.strip_prefix("the message has ").and_then(|text| text.split(' ').next());
    let least: u64 = least.unwrap_or_else(|| panic!("{refused:?}")).parse().unwrap();
    for (max_bytes, is_enough) in [(least - 1, false), (least, true)] {
        let more = json!({ "payload": "cef", "schema": "ecs", "max_bytes": max_bytes });
        let lane = sink_in(with(keys(receiver.address()), more), &context(Stream::Alerts));
        assert_eq!(lane.send(&whole).await.outcome == Outcome::Delivered, is_enough, "{max_bytes}");
    }
}

#[tokio::test]
async fn json_in_cef_is_shortened_as_json() {
    let texts: Vec<String> = (0..40).map(|number| format!("group = {number} \\ \"{}\"", "text ".repeat(20))).collect();
    let event = json!({ "event": { "kind": "state" }, "group": { "name": "g", "notes": texts }, "message": "Group g" });
    let more = json!({ "max_bytes": 1_000 });
    let messages = cef_messages(Stream::Groups, more, &cef_event(Stream::Groups, &event)).await;
    assert!(messages[0].len() <= 1_000, "{}", messages[0].len());
    let msg: Value = serde_json::from_str(&extension(&messages[0])["msg"]).unwrap();
    assert_eq!((&msg["group"]["name"], &msg["message"]), (&json!("g"), &json!("Group g")));
    assert!(msg["group"]["notes"][0].as_str().unwrap().ends_with('…'), "{msg}");
}

#[test]
fn contradictions_are_refused() {
    let address = json!("tls://siem.example:6514");
    for (keys, part) in [
        (json!({}), "`address`: is missing"),
        (json!({ "address": address, "addresses": [address] }), "excludes `address`"),
        (json!({ "addresses": [address, "tcp://siem.example:514"] }), "the same of tls://"),
        (json!({ "address": "udp://siem.example:514", "framing": "newline" }), "each datagram is one message"),
        (json!({ "address": "udp://siem.example:514", "max_bytes": "1MiB" }), "at most 65507"),
        (json!({ "address": address, "max_bytes": 100 }), "at least 480"),
        (json!({ "address": address, "app_name": "two words" }), "`app_name`"),
        (json!({ "address": address, "payload": "cef", "schema": "ocsf" }), "is made from ECS events"),
        (json!({ "address": address, "proxy": "http://proxy.example:3128" }), "needs no proxy"),
        (json!({ "address": "tcp://siem.example:514", "tls": { "pin_sha256": ["00".repeat(32)] } }), "`tls`"),
        (json!({ "address": address, "tls": { "ca_file": "/nowhere/ca.pem" } }), "/nowhere/ca.pem"),
        (json!({ "address": address, "compression": "gzip" }), "compression"),
    ] {
        let error = settings(with(json!({ "type": "syslog" }), keys.clone())).build(&context(Stream::Threats));
        let error = error.map(|_| keys.to_string()).unwrap_err().to_string();
        assert!(error.contains(part), "{keys} → {error}");
    }
    let cef = settings(json!({ "type": "syslog", "address": address, "payload": "cef" }));
    assert_eq!(cef.schema(Schema::Raw), Schema::Ecs);
}

#[test]
fn frames_are_read_one_after_the_other() {
    assert_eq!(next_message(b"5 <1>ab6"), Some(("<1>ab".to_owned(), 7)));
    assert_eq!(next_message(b"5 <1>a"), None);
    assert_eq!(next_message(b"<1>ab\n<2>"), Some(("<1>ab".to_owned(), 6)));
}
