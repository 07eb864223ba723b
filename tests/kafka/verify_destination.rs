//! `verify --destination` against a real broker: removed beginnings are named exactly, and retention is no loss.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::support::completeness::hour;
use crate::support::harness::{Harness, setting};
use crate::support::kafka::{Broker, Consumed};
use crate::support::process::PATIENCE;
use crate::support::verify_destination::{ask_lane as ask, delivered, lanes, listed, put, settled, sum};

const PARTITIONS: i32 = 3;
const CASES: usize = 3;

fn sink(broker: &Broker, topic: &str, more: Value) -> Value {
    let mut sink =
        json!({ "type": "kafka", "name": "siem", "brokers": [broker.address()], "topic": topic, "verify": {} });
    sink.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    sink
}

/// A day of activities in this topic.
async fn harness(broker: &Broker, topic: &str, more: Value) -> Harness {
    delivered(sink(broker, topic, more)).await
}

/// The events of these messages.
fn identities<'m>(messages: impl IntoIterator<Item = &'m Consumed>) -> Vec<String> {
    let ids = messages.into_iter().map(|message| message.header("id").to_owned());
    ids.filter(|id| !id.is_empty()).collect()
}

/// Any beginnings of partitions vanish: what was in them is what is named and sent again, once. An answer that is no
/// proof sends nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_removed_beginnings_are_named_and_repaired_without_a_duplicate() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else { return };
    let seed = setting("S1_FORWARDER_SEED", fastrand::usize(..));
    println!("S1_FORWARDER_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let topic = format!("proof-{:08x}", fastrand::u32(..));
    broker.create_topic(&topic, PARTITIONS, &[]).await;
    // Another console's events have the same topic.
    let other = json!({ "sentinel_one": { "identity": "0".repeat(32) } }).to_string();
    broker.write_event(&topic, "k", other.as_bytes(), &[]).await;
    let harness = harness(&broker, &topic, json!({})).await;
    let mut all = identities(&broker.read(&topic));
    all.sort();
    let lane = ask(&harness, &[]).await;
    assert!(sum(&lane, "missing") == 0 && sum(&lane, "present") > 1_000, "{lane}");
    assert!(!lane["asked"].as_str().unwrap().contains("no identity"), "{lane}");

    // What is younger is not judged, and what was sent again may not vanish again.
    let settled: BTreeSet<String> = settled(&harness, 26, 3).into_iter().collect();
    let list = harness.path("list");
    let mut returned = BTreeSet::new();
    for case in 0..CASES {
        let before = broker.read(&topic);
        let mut until = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let may_vanish = |message: &&Consumed| {
                let id = message.header("id");
                id.is_empty() || settled.contains(id) && !returned.contains(id)
            };
            let messages = before.iter().filter(|message| message.partition == partition);
            let offsets: Vec<i64> = messages.take_while(may_vanish).map(|message| message.offset + 1).collect();
            // Few more often than many.
            let most = random.usize(0..=offsets.len());
            let vanishes = random.u8(..4) > 0;
            if let Some(offset) = offsets.get(random.usize(0..=most)).filter(|_| vanishes) {
                until.insert(partition, *offset);
            }
        }
        if until.is_empty() {
            continue;
        }
        let is_gone = |message: &&Consumed| until.get(&message.partition).is_some_and(|until| message.offset < *until);
        let gone: BTreeSet<String> = identities(before.iter().filter(is_gone)).into_iter().collect();
        broker.delete_before(&topic, &until).await;

        // It is not known up to when, or what else a compacted topic has lost.
        let policy = |policy| broker.set_topic(&topic, "cleanup.policy", policy);
        match case % 2 {
            0 => put(&harness, &sink(&broker, &topic, json!({ "timestamp": "event" }))),
            _ => policy("compact").await,
        }
        let lane = ask(&harness, &["--repair=1000000"]).await;
        assert!(gone.is_empty() || lane["unseen"].is_string() && lane["returned"].is_null(), "{until:?} {lane}");
        put(&harness, &sink(&broker, &topic, json!({})));
        policy("delete").await;

        let repair = format!("--repair={}", gone.len().max(1));
        let lane = ask(&harness, &["--list", list.to_str().unwrap(), &repair]).await;
        assert_eq!(listed(&list), gone, "{until:?} {lane}");
        assert_eq!(lane["returned"]["repaired"].as_u64().unwrap_or_default(), gone.len() as u64, "{until:?} {lane}");
        let mut after = identities(&broker.read(&topic));
        after.sort();
        assert!(after == all, "other events than before, or a duplicate: {until:?} {lane}");
        returned.extend(gone);
    }
    let lane = ask(&harness, &[]).await;
    assert!(sum(&lane, "missing") == 0 && sum(&lane, "duplicates") == 0, "{lane}");
}

/// A copy of messages may leave headers out, or write them as JSON: the event is there all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_whose_headers_were_lost_or_changed_are_found() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else { return };
    let topic = format!("proof-copied-{:08x}", fastrand::u32(..));
    broker.create_topic(&topic, 1, &[]).await;
    let harness = harness(&broker, &topic, json!({})).await;
    let first: Vec<Consumed> = broker.read(&topic).into_iter().take(3).collect();
    broker.delete_before(&topic, &BTreeMap::from([(0, 3)])).await;
    broker.write_event(&topic, "k", first[0].value.as_bytes(), &[]).await;
    let quoted = |name: &str| format!("\"{}\"", first[1].header(name));
    let headers = ["id", "pipeline", "stream"].map(|name| (name, quoted(name)));
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    broker.write_event(&topic, "k", b"{}", &headers).await;
    let list = harness.path("list");
    let lane = ask(&harness, &["--list", list.to_str().unwrap()]).await;
    assert_eq!(listed(&list), BTreeSet::from([first[2].header("id").to_owned()]), "{lane}");

    // Its key says that it is that one, whatever became of the rest.
    let key = first[2].key.clone();
    broker.write_event(&topic, &key, br#"{"schema":null,"payload":"eyJAdGltZXN0YW1wIjoiMjAyNiJ9"}"#, &[]).await;
    let lane = ask(&harness, &["--repair=1000"]).await;
    assert_eq!((sum(&lane, "missing"), sum(&lane, "elsewhere"), &lane["returned"]), (0, 1, &Value::Null), "{lane}");

    // Another one may be any.
    broker.write_event(&topic, "k", br#"{"sentinel_one":{"activity":{}}}"#, &[]).await;
    let lane = ask(&harness, &["--repair=1000"]).await;
    assert!(lane["unseen"].as_str().unwrap().contains("1 messages have no identity"), "{lane}");
    assert!(lane["returned"].is_null(), "{lane}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_topic_may_remove_by_itself_is_not_missing() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else { return };
    let name = |what: &str| format!("proof-{what}-{:08x}", fastrand::u32(..));
    // By size: it is not known what it was.
    let small = name("small");
    broker.create_topic(&small, 1, &[("retention.bytes", "1000000000")]).await;
    let small_harness = harness(&broker, &small, json!({})).await;
    broker.delete_before(&small, &BTreeMap::from([(0, 5)])).await;
    let lane = ask(&small_harness, &["--repair=1000"]).await;
    assert!(sum(&lane, "missing") == 0 && lane["returned"].is_null(), "{lane}");
    assert!(lane["not_judged"].to_string().contains("nothing that was sent earlier"), "{lane}");

    // A topic that has another limit than the brokers' may have had a lower one when they removed something.
    let raised = name("raised");
    broker.create_topic(&raised, 1, &[]).await;
    let raised_harness = harness(&broker, &raised, json!({})).await;
    broker.delete_before(&raised, &BTreeMap::from([(0, 5)])).await;
    broker.set_topic(&raised, "retention.ms", "2592000000").await;
    let lane = ask(&raised_harness, &["--repair=1000"]).await;
    assert!(sum(&lane, "missing") == 0 && lane["returned"].is_null(), "{lane}");
    assert!(lane["not_judged"].to_string().contains("nothing that was sent earlier"), "{lane}");

    let compacted = name("compacted");
    broker.create_topic(&compacted, 1, &[("cleanup.policy", "compact")]).await;
    let compacted = harness(&broker, &compacted, json!({})).await;
    let lane = ask(&compacted, &[]).await;
    assert!(lane["unseen"].as_str().unwrap().contains("compacted"), "{lane}");

    put(&compacted, &sink(&broker, &name("absent"), json!({})));
    // A topic that the lane has not delivered to may not exist.
    let lane = ask(&compacted, &[]).await;
    assert!(lane["not_judged"].to_string().contains("to another target"), "{lane}");
}

/// The offsets of transactions are more than their events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_transactions_are_all_found() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else { return };
    let topic = format!("proof-exactly-{:08x}", fastrand::u32(..));
    broker.create_topic(&topic, 2, &[]).await;
    let checkpoints = format!("{topic}-checkpoints");
    let harness =
        harness(&broker, &topic, json!({ "delivery": "exactly_once", "checkpoint_topic": checkpoints })).await;
    let lane = ask(&harness, &[]).await;
    assert!(sum(&lane, "missing") == 0 && sum(&lane, "present") > 900, "{lane}");
}

/// A way to the console on which requests for records by their ids wait while it is closed.
struct Gate {
    address: SocketAddr,
    is_closed: watch::Sender<bool>,
    /// A request waits.
    waits: Arc<Notify>,
}

impl Gate {
    async fn before(console: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_closed, closed) = watch::channel(false);
        let waits = Arc::<Notify>::default();
        let waiting = waits.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(lead(client, console, closed.clone(), waiting.clone()));
            }
        });
        Self { address, is_closed, waits }
    }
}

async fn lead(client: TcpStream, console: SocketAddr, mut closed: watch::Receiver<bool>, waits: Arc<Notify>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_console, mut to_console) = TcpStream::connect(console).await.unwrap().into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_console, &mut to_client).await });
    let mut bytes = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
        if bytes[..read].windows(5).any(|window| matches!(window, b"?ids=" | b"&ids=")) && *closed.borrow() {
            waits.notify_one();
            closed.wait_for(|closed| !closed).await.unwrap();
        }
        if to_console.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

/// A topic has no lock of the operating system: the second repair would fence the first one, deliver the same events,
/// and leave nothing that the first one notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_repair_is_refused_while_the_first_one_waits_for_the_console() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else { return };
    let topic = format!("proof-locked-{:08x}", fastrand::u32(..));
    broker.create_topic(&topic, 1, &[]).await;
    let harness = Harness::new(|setup| {
        setup.activities = 1_500;
        setup.span = Duration::from_secs(86_400);
    })
    .await;
    let gate = Gate::before(harness.server.address()).await;
    harness.put_changed(
        "acme",
        json!({
            "console": { "url": format!("http://{}", gate.address) },
            "sinks": [sink(&broker, &topic, json!({}))],
            "transform": { "schema": "ecs" },
            "streams": { "activities": { "since": "10d" } },
        }),
    );
    let state = format!("kafka://{}/locked-{:08x}", broker.address(), fastrand::u32(..));
    let flags = ["--state", &state, "--dead-letters", "file:dead"];
    let exit = harness.once(&flags).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let sorted = || {
        let mut all = identities(&broker.read(&topic));
        all.sort();
        all
    };
    let all = sorted();
    broker.delete_before(&topic, &BTreeMap::from([(0, 5)])).await;

    let flags = [&flags[..], &["--destination", "--format", "json", "--repair=5"]].concat();
    gate.is_closed.send_replace(true);
    let first = harness.verifying(hour(1), &flags);
    tokio::time::timeout(PATIENCE, gate.waits.notified()).await.expect("the first repair asks for records");
    let second = harness.verify_until(hour(1), &flags).await;
    assert_eq!(second.code, Some(1), "{}{}", second.stdout, second.stderr);
    for text in ["another process may be at work", "verify/acme of the state is in use by another process"] {
        assert!(second.stderr.contains(text), "{}", second.stderr);
    }
    gate.is_closed.send_replace(false);
    let first = first.exit().await;
    assert_eq!(first.code, Some(0), "{}{}", first.stdout, first.stderr);
    assert_eq!(lanes(&first)[0]["returned"]["repaired"], 5, "{}", first.stdout);
    assert!(sorted() == all, "other events than before, or a duplicate");

    // The first one has removed its lock.
    let third = harness.verify_until(hour(1), &flags).await;
    assert_eq!(third.code, Some(0), "{}{}", third.stdout, third.stderr);
    assert!(!third.stderr.contains("another process"), "{}", third.stderr);
}
