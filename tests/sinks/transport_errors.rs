//! Each way in which a connection fails, against a real socket: the error names the address that failed, the proxy with
//! the setting that leads there, and what to change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::{Misconfigured, Transient};
use s1_forwarder::sink::Outcome;
#[cfg(feature = "kafka")]
use s1_forwarder::sink::ProbeResult;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::batches::{batch, sink};
use crate::support::harness::{merge, receiver};
use crate::support::ports;
use crate::support::proxy::Proxy;
use crate::support::tls::{Authority, TlsFront};

/// A server that answers what it reads with these bytes and closes the connection; without bytes, it keeps silent.
struct Peer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Peer {
    async fn start(answer: Option<&'static [u8]>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut silent: Vec<TcpStream> = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some(answer) = answer else {
                    silent.push(stream);
                    continue;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer).await;
            }
        });
        Self { address, task }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server whose answer begins with `head` and then repeats `tail` without an end.
async fn endless(head: &'static [u8], tail: &'static [u8]) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let mut written = stream.write_all(head).await;
                while written.is_ok() {
                    written = stream.write_all(tail).await;
                }
            });
        }
    });
    (address, task)
}

/// Interim answers, a head and a body, each without an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_an_end_end_with_the_timeout() {
    const HEADER: &[u8] = b"x-header: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    for (head, tail) in [
        (&b""[..], &b"HTTP/1.1 100 Continue\r\n\r\n"[..]),
        (b"HTTP/1.1 200 OK\r\n", HEADER),
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 1000000000000\r\n\r\n", &[b'x'; 65_536]),
    ] {
        let (address, task) = endless(head, tail).await;
        let started_at = tokio::time::Instant::now();
        let keys = json!({ "type": "http", "url": format!("http://{address}/in"), "timeout": "1s" });
        let outcome = sink(keys).send(&batch(0..1)).await.outcome;
        assert_eq!(outcome.failure_kind(), Some(Transient), "{outcome:?}");
        assert!(started_at.elapsed() < std::time::Duration::from_secs(10), "{:?}", started_at.elapsed());
        task.abort();
    }
}

/// The reason that an attempt with these keys fails for.
async fn reason(url: &str, more: Value) -> String {
    let mut keys = json!({ "type": "http", "url": url, "timeout": "10s" });
    merge(&mut keys, more);
    match sink(keys).send(&batch(0..1)).await.outcome {
        Outcome::Failed(Failure { kind: Transient | Misconfigured, reason, .. }) | Outcome::TooLarge(reason) => reason,
        other => panic!("{url}: {other:?}"),
    }
}

#[tokio::test]
async fn a_connection_that_fails_names_its_address_and_the_cure() {
    let refused = format!("127.0.0.1:{}", ports::free());
    let expected = format!(
        "cannot connect to {refused}: Connection refused (os error 111); nothing listens there: are host and port right, \
         and does the server run?"
    );
    assert_eq!(reason(&format!("http://{refused}/in?key=canary"), json!({})).await, expected);

    let unknown = reason("https://siem.invalid/in", json!({})).await;
    assert!(unknown.starts_with("cannot connect to siem.invalid:443: "), "{unknown}");
    assert!(
        unknown.ends_with("; is the host name spelt right, and does this machine's name server know it?"),
        "{unknown}"
    );

    let silent = Peer::start(None).await;
    let slow = reason(&format!("http://{}/in", silent.address), json!({ "timeout": "300ms" })).await;
    let expected = format!(
        "no complete answer within 300ms from {}; a server that needs longer needs a larger `timeout`",
        silent.address
    );
    assert_eq!(slow, expected);
}

/// What a server of HTTP/2 does after a frame.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Stays,
    /// It closes the connection.
    Closes,
}

/// A server of HTTP/2 that answers the first request of each of the first connections with one of these frames, and
/// accepts all others. Counts the requests.
async fn http2_server(first: Vec<(Vec<u8>, End)>) -> (SocketAddr, Arc<AtomicUsize>, JoinHandle<()>) {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const SETTINGS_SEEN: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let mut first = first.into_iter();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut refusal = first.next();
            let counted = counted.clone();
            tokio::spawn(async move {
                stream.read_exact(&mut [0; PREFACE.len()]).await?;
                stream.write_all(SETTINGS).await?;
                let mut head = [0; 9];
                while stream.read_exact(&mut head).await.is_ok() {
                    let [high, middle, low, kind, flags, number @ ..] = head;
                    let length = u32::from_be_bytes([0, high, middle, low]);
                    stream.read_exact(&mut vec![0; length as usize]).await?;
                    let is_end = flags & 1 == 1;
                    match kind {
                        4 if !is_end => stream.write_all(SETTINGS_SEEN).await?,
                        0 | 1 if is_end => {
                            counted.fetch_add(1, Ordering::Relaxed);
                            let (answer, end) = refusal.take().unwrap_or_else(|| {
                                // HEADERS with `:status: 200`, the end of the stream.
                                ([&[0, 0, 1, 1, 5], &number[..], &[0x88]].concat(), End::Stays)
                            });
                            stream.write_all(&answer).await?;
                            if end == End::Closes {
                                return stream.shutdown().await;
                            }
                        }
                        _ => {}
                    }
                }
                std::io::Result::Ok(())
            });
        }
    });
    (address, requests, task)
}

/// As load balancers do after a number of requests, and before they stop.
#[tokio::test]
async fn a_request_that_http2_gives_back_unprocessed_is_sent_again_at_once() {
    /// A frame of this type for the stream, with numbers as its payload.
    fn frame(kind: u8, stream: u8, payload: &[u32]) -> Vec<u8> {
        let mut frame = vec![0, 0, 4 * payload.len() as u8, kind, 0, 0, 0, 0, stream];
        payload.iter().for_each(|number| frame.extend(number.to_be_bytes()));
        frame
    }
    let go_away = |error| (frame(7, 0, &[0, error]), End::Stays);
    // The request is the last one that the server has taken.
    let closed = || (frame(7, 0, &[1, 0]), End::Closes);
    let reset = |error| (frame(3, 1, &[error]), End::Stays);
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority.certificate()).unwrap();
    for (first, is_delivered, expected) in [
        (vec![go_away(0)], true, 2),
        (vec![reset(7)], true, 2),
        (vec![closed()], true, 2),
        (vec![reset(0)], true, 2),
        // The server has failed: the lane waits before its next attempt.
        (vec![go_away(2)], false, 1),
        (vec![reset(2)], false, 1),
        (vec![go_away(0); 20], false, 3),
        (vec![closed(); 20], false, 2),
    ] {
        let (address, requests, task) = http2_server(first).await;
        let front = TlsFront::start_http2(address, &authority.issue(&["127.0.0.1"])).await;
        let url = format!("https://{}/in", front.address());
        let lane = sink(json!({ "type": "http", "url": url, "timeout": "20s", "tls": { "ca_file": ca_file } }));
        let outcome = lane.send(&batch(0..1)).await.outcome;
        assert_eq!(matches!(outcome, Outcome::Delivered), is_delivered, "{outcome:?}");
        assert_eq!(requests.load(Ordering::Relaxed), expected, "{outcome:?}");
        task.abort();
    }
}

#[tokio::test]
async fn http_and_https_that_were_confused_are_told_apart() {
    let plain = receiver().await;
    let address = plain.address();
    let expected = format!(
        "cannot connect to {address}: the port does not speak TLS; write http:// if that is meant, or the port that \
         speaks TLS"
    );
    assert_eq!(reason(&format!("https://{address}/in"), json!({})).await, expected);

    let closing = Peer::start(Some(b"")).await;
    let ended = reason(&format!("https://{}/in", closing.address), json!({})).await;
    assert!(ended.starts_with(&format!("cannot connect to {}: the connection ended", closing.address)), "{ended}");
    assert!(ended.ends_with("; if this never worked: does the port speak TLS? if not, write http://"), "{ended}");

    let authority = Authority::new();
    let front = TlsFront::start(address, &authority.issue(&["127.0.0.1"]), None).await;
    for address in [front.address(), closing.address] {
        let broken = reason(&format!("http://{address}/in"), json!({})).await;
        assert!(broken.starts_with(&format!("the connection to {address} broke off: ")), "{broken}");
        assert!(broken.ends_with("; if this never worked: does the port speak TLS? then write https://"), "{broken}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_says_why_and_what_makes_it_so() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority.certificate()).unwrap();
    let trusting = json!({ "tls": { "ca_file": ca_file } });
    let plain = receiver().await;
    let own = authority.issue(&["127.0.0.1"]);
    for (issued, keys, part, advice) in [
        (
            own,
            json!({}),
            "no known authority has issued its certificate",
            "name the authority's certificate in `tls.ca_file`, or the fingerprint of the server's in `tls.pin_sha256`",
        ),
        (
            authority.as_server(),
            trusting.clone(),
            "its certificate is self-signed and belongs to a certificate authority",
            "name its fingerprint in `tls.pin_sha256`",
        ),
        (
            authority.issue_expired(&["127.0.0.1"]),
            trusting.clone(),
            "expired",
            "renew the server's certificate; if it is valid, set this machine's clock",
        ),
        (
            authority.issue_for_later(&["127.0.0.1"]),
            trusting.clone(),
            "not valid yet",
            "set this machine's clock, or the server's certificate is for later",
        ),
        (
            authority.issue(&["siem.example"]),
            trusting.clone(),
            "siem.example",
            "write a name of the certificate into the URL, or the certificate's fingerprint into `tls.pin_sha256`",
        ),
    ] {
        let front = TlsFront::start(plain.address(), &issued, None).await;
        let reason = reason(&format!("https://{}/in", front.address()), keys).await;
        assert!(reason.starts_with(&format!("cannot connect to {}: ", front.address())), "{reason}");
        assert!(reason.contains(part) && reason.ends_with(&format!("; {advice}")), "{part}: {reason}");
        let other = json!({ "tls": { "pin_sha256": ["00".repeat(32)] } });
        let reason = self::reason(&format!("https://{}/in", front.address()), other).await;
        let says = "`tls.pin_sha256` does not name the server's certificate, which has the fingerprint ";
        assert!(reason.contains(says), "{reason}");
    }
    let clients = Authority::new();
    let front = TlsFront::start(plain.address(), &authority.issue(&["127.0.0.1"]), Some(&clients)).await;
    // The server closes the connection at once, so that the client may miss why.
    let mut refused = String::new();
    for _ in 0..50 {
        refused = reason(&format!("https://{}/in", front.address()), trusting.clone()).await;
        if refused.contains("client certificate") {
            break;
        }
    }
    assert!(
        refused.contains(": it refuses the client certificate, or wants one; set or replace `tls.cert_file`"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_proxy_that_fails_is_named_with_its_setting() {
    let gone = format!("127.0.0.1:{}", ports::free());
    for url in ["https://siem.example/in", "http://siem.example:443/in"] {
        let refused = reason(url, json!({ "proxy": format!("http://user:canary@{gone}") })).await;
        let expected = format!(
            "cannot connect to the proxy http://{gone} (`proxy`) on the way to siem.example:443: Connection refused (os \
             error 111); correct `proxy`"
        );
        assert_eq!(refused, expected);
    }

    let server = receiver().await;
    let strict = Proxy::start(server.address(), Some("Basic dXNlcjpzZWNyZXQ=")).await;
    let proxy = format!("http://{}", strict.address());
    for url in ["https://siem.example/in", "http://siem.example:443/in"] {
        let refused = reason(url, json!({ "proxy": proxy })).await;
        assert!(refused.contains(&format!("the proxy {proxy} (`proxy`) ")), "{refused}");
        assert!(
            refused.contains(" to siem.example:443: 407 Proxy Authentication Required; write user name"),
            "{refused}"
        );
    }

    let closed = Peer::start(Some(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")).await;
    let proxy = format!("http://{}", closed.address);
    let refused = reason("https://siem.example/in", json!({ "proxy": proxy })).await;
    let expected = format!(
        "the proxy {proxy} (`proxy`) opens no connection to siem.example:443; it has to allow this host and port, and to \
         reach them"
    );
    assert_eq!(refused, expected);

    // It has no TLS, or is a web server that answers itself.
    let proxy = format!("https://{}", closed.address);
    let plain = reason("https://siem.example/in", json!({ "proxy": proxy })).await;
    let expected = format!(
        "cannot connect to the proxy {proxy} (`proxy`) on the way to siem.example:443: the port does not speak \
         TLS; correct `proxy`"
    );
    assert_eq!(plain, expected);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for answer in ["HTTP/1.1 200 OK\r\n\r\n", "<html><body>It works!</body></html>"] {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        stream
    });
    let itself = reason("https://siem.example/in", json!({ "proxy": proxy })).await;
    assert!(itself.ends_with("or the proxy answers itself, and is none: correct `proxy`"), "{itself}");
    answering.abort();

    // The proxy does its work, and the server behind it does not speak TLS.
    let open = Proxy::start(server.address(), None).await;
    let proxy = format!("http://{}", open.address());
    let behind = reason("https://siem.example/in", json!({ "proxy": proxy })).await;
    let expected = format!("cannot connect to siem.example:443 through the proxy {proxy} (`proxy`): the port does not");
    assert!(behind.starts_with(&expected), "{behind}");
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_none_are_told_apart() {
    let refused = format!("127.0.0.1:{}", ports::free());
    let web = Peer::start(Some(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")).await;
    let silent = Peer::start(None).await;
    // A port with TLS that gets no handshake closes the connection.
    let closing = Peer::start(Some(b"")).await;
    const NOBODY: &str = "does `brokers` name Kafka's listener, and does it want TLS";
    for (broker, advice) in [
        (silent.address.to_string(), NOBODY),
        (closing.address.to_string(), NOBODY),
        (refused, "nothing listens there: is `brokers` right, and does the broker run?"),
        (web.address.to_string(), "the port speaks another protocol: does `brokers` name Kafka's listener?"),
    ] {
        let lane = sink(json!({ "type": "kafka", "brokers": [broker], "topic": "t", "timeout": "5s" }));
        let ProbeResult::Failed(reason) = lane.probe().await else { panic!("{broker}") };
        assert!(reason.contains(&broker) && reason.contains(advice), "{reason}");
    }
}

/// Messages wait in librdkafka's queue for minutes. The lane says within seconds what keeps them there.
#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_to_brokers_that_never_answer_says_so_until_one_does() {
    use std::time::Duration;

    use rdkafka::mocking::MockCluster;
    use s1_forwarder::record::Stream;
    use s1_forwarder::telemetry::{LaneState, LaneStateKind};

    use crate::lanes::harness::{LaneHarness, Running};
    use crate::support::process::until_within;

    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let port = ports::free();
    let closed = format!("127.0.0.1:{port}");
    let silent = Peer::start(None).await;
    let harness = LaneHarness::new(|setup| setup.activities = 10);
    let options = json!({ "reconnect.backoff.max.ms": 200, "api.version.request.timeout.ms": 1_000 });
    let start = |broker: &str, name: &str, more: Value| {
        let mut settings = json!({ "type": "kafka", "brokers": [broker], "topic": "t", "options": options });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        harness.start(harness.lane(harness.pull(Stream::Activities), name, sink(settings)))
    };
    let to_closed = start(&closed, "closed", json!({}));
    let to_silent = start(&silent.address.to_string(), "silent", json!({}));
    // It cannot even read its checkpoint, which is on the same brokers.
    let exactly_once = start(&closed, "once", json!({ "delivery": "exactly_once", "checkpoint_topic": "c" }));
    let error = |running: &Running| match running.metrics.state() {
        LaneState { kind: LaneStateKind::SinkFailing | LaneStateKind::Stopped, error } => error,
        _ => None,
    };
    let errors = until_within(Duration::from_mins(1), "all lanes fail", async || {
        Some([error(&to_closed)?, error(&to_silent)?, error(&exactly_once)?])
    })
    .await;
    let [of_closed, of_silent, of_once] = errors;
    assert!(of_closed.contains(&closed) && of_closed.contains("nothing listens there"), "{of_closed}");
    assert!(
        of_silent.contains(&silent.address.to_string()) && of_silent.contains("does `brokers` name"),
        "{of_silent}"
    );
    assert!(of_once.contains(&closed) && of_once.contains("nothing listens there"), "{of_once}");
    assert!(!of_once.contains("checkpoint topic"), "a call has timed out before the lane said so: {of_once}");
    exactly_once.task.abort();
    // The broker comes up.
    let listener = TcpListener::bind(&closed).await.unwrap();
    let broker = cluster.bootstrap_servers();
    let relay = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(&broker).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    until_within(Duration::from_mins(1), "the lane runs", async || {
        (to_closed.metrics.state().kind == LaneStateKind::Running).then_some(())
    })
    .await;
    relay.abort();
    to_closed.task.abort();
    to_silent.task.abort();
}

/// A commit may last minutes.
#[cfg(feature = "kafka")]
#[tokio::test]
async fn a_transaction_that_no_broker_answers_says_why() {
    use std::task::Poll;

    use rdkafka::mocking::MockCluster;

    use crate::support::process::until;

    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    for topic in ["t", "c"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let settings = json!({
        "type": "kafka", "brokers": [brokers], "topic": "t", "delivery": "exactly_once", "checkpoint_topic": "c",
    });
    let lane = sink(settings);
    let transactions = lane.clone().as_transactional().unwrap();
    assert_eq!(transactions.claim(&"acme/activities/bus".parse().unwrap()).await.unwrap(), None);
    let events = batch(0..5);
    assert_eq!(transactions.commit_batch(&events, b"1".to_vec().into()).await.outcome, Outcome::Delivered);
    assert!(lane.stall_reason().is_none(), "{:?}", lane.stall_reason());
    drop(cluster);
    let mut commit = transactions.commit_batch(&events, b"2".to_vec().into());
    let trouble = until("the sink says why", async || {
        // On a busy machine the transaction may time out before the sink has said anything.
        if let Poll::Ready(attempt) = futures_util::poll!(&mut commit) {
            assert_ne!(attempt.outcome, Outcome::Delivered);
            commit = transactions.commit_batch(&events, b"2".to_vec().into());
        }
        lane.stall_reason()
    });
    let trouble = trouble.await.to_string();
    assert!(trouble.contains(&brokers), "{trouble}");
}
