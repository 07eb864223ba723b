use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use s1_forwarder::destinations::SinkContext;
use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::{Misconfigured, Transient};
use s1_forwarder::record::{Identity, Stream};
use s1_forwarder::sink::{Batch, Outcome, ProbeResult, Sink};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::{batch, context, once, push, settings, sink, sink_in};
use crate::support::kafka::{Broker, Consumed, read};
use crate::support::process::until;

fn keys(brokers: &str, topic: &str, more: Value) -> Value {
    let mut keys = json!({
        "type": "kafka", "brokers": [brokers], "topic": topic, "timeout": "20s",
        "options": { "reconnect.backoff.max.ms": 200 },
    });
    for (key, value) in more.as_object().unwrap() {
        match value.as_object() {
            Some(options) => keys["options"].as_object_mut().unwrap().extend(options.clone()),
            None => keys[key] = value.clone(),
        }
    }
    keys
}

fn ids(consumed: &[Consumed]) -> BTreeMap<String, u32> {
    let mut ids = BTreeMap::new();
    for message in consumed {
        *ids.entry(message.key.rsplit('/').next().unwrap().to_owned()).or_default() += 1;
    }
    ids
}

#[test]
fn what_would_break_a_promise_is_refused() {
    for (more, part) in [
        (json!({ "delivery": "exactly_once" }), "checkpoint_topic"),
        (json!({ "options": { "acks": 1 } }), "options.acks"),
        (json!({ "options": { "bootstrap.servers": "x" } }), "`brokers`"),
        (json!({ "options": { "transactional.id": "x" } }), "options.transactional.id"),
        (json!({ "options": { "no.such.option": 1 } }), "options.no.such.option"),
        (json!({ "options": { "linger.ms": "canary" } }), "options.linger.ms"),
        (json!({ "brokers": [] }), "`brokers`"),
        (json!({ "brokers": ["127.0.0.1:kafka"] }), "`brokers`"),
        (json!({ "brokers": ["a:9092,b:99999"] }), "`brokers`"),
        (json!({ "brokers": [":9092"] }), "`brokers`"),
        (json!({ "topic": "with blank" }), "cannot be a topic"),
        (json!({ "topic": "s1.{label.nobody}" }), "is not a placeholder"),
        (json!({ "proxy": "http://proxy:3128" }), "`proxy`"),
        (json!({ "options": { "plugin.library.paths": { "file": "x" } } }), "loads code"),
        (json!({ "delivery": "exactly_once", "checkpoint_topic": "c", "timeout": "0s" }), "indefinitely"),
    ] {
        let built = settings(keys("127.0.0.1:1", "t", more.clone())).build(&context(Stream::Threats));
        let message = built.unwrap_err().to_string();
        assert!(message.contains(part) && !message.contains("canary"), "{more} → {message}");
    }
    let built =
        settings(keys("h:1", "t", json!({ "options": { "sasl.password": "canary", "sasl.mechanism": "PLAIN" } })));
    let shown = format!("{built:?} {:?}", built.build(&context(Stream::Threats)).unwrap());
    assert!(!shown.contains("canary"), "{shown}");
    assert_eq!(settings(keys("h:1", "t", json!({ "concurrency": 8 }))).concurrency(), 1, "order");
}

#[tokio::test]
async fn lanes_with_equal_settings_share_a_producer() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let context = context(Stream::Activities);
    for topic in ["one", "two"] {
        let lane = sink_in(keys(&brokers, topic, json!({})), &context);
        assert_eq!(lane.send(&batch(0..5)).await.outcome, Outcome::Delivered);
        assert_eq!(ids(&read(&brokers, topic)), once(0..5));
    }
    assert_eq!(context.shared.kafka_clients(), 1);
    let other = sink_in(keys(&brokers, "one", json!({ "options": { "linger.ms": 1 } })), &context);
    assert_eq!(other.send(&batch(5..6)).await.outcome, Outcome::Delivered);
    assert_eq!(context.shared.kafka_clients(), 2);
}

#[tokio::test]
async fn a_refusal_of_the_topic_stops_the_lane_and_loses_nothing() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let lane = sink(keys(&cluster.bootstrap_servers(), "t", json!({})));
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[refused]);
    let attempt = lane.send(&batch(0..5)).await;
    assert!(
        matches!(&attempt.outcome, Outcome::Failed(Failure { kind: Misconfigured, reason, .. }) if reason.contains("right to write")),
        "{attempt:?}"
    );
    assert_eq!(attempt.status.label(), "TopicAuthorizationFailed");
    assert_eq!(lane.send(&batch(0..5)).await.outcome, Outcome::Delivered);
    assert_eq!(ids(&read(&cluster.bootstrap_servers(), "t")), once(0..5));
}

#[tokio::test]
async fn what_passes_by_itself_is_left_to_the_library() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let lane = sink(keys(&cluster.bootstrap_servers(), "t", json!({})));
    let passing = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    cluster.request_errors(RDKafkaApiKey::Produce, &[passing; 3]);
    let attempt = lane.send(&batch(0..50)).await;
    assert_eq!((attempt.outcome, attempt.status.label()), (Outcome::Delivered, "ok"));
    assert_eq!(ids(&read(&cluster.bootstrap_servers(), "t")), once(0..50));
}

#[tokio::test]
async fn brokers_that_are_down_are_for_now() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let lane = sink(keys(&cluster.bootstrap_servers(), "t", json!({ "timeout": "5s" })));
    cluster.broker_down(1).unwrap();
    let attempt = lane.send(&batch(0..5)).await;
    assert!(
        matches!(&attempt.outcome, Outcome::Failed(Failure { kind: Transient, reason, .. }) if reason.contains("127.0.0.1")),
        "{attempt:?}"
    );
    assert_eq!(attempt.status.label(), "MessageTimedOut");
    assert!(matches!(lane.probe().await, ProbeResult::Failed(reason) if reason.contains("no answer")));
    cluster.broker_up(1).unwrap();
    while lane.send(&batch(0..5)).await.outcome != Outcome::Delivered {}
    assert_eq!(ids(&read(&cluster.bootstrap_servers(), "t")), once(0..5), "what never left is not there twice");
}

/// A lane whose lease has ended drops its delivery: its successor must not be overtaken by what it left.
#[tokio::test]
async fn what_has_not_left_when_a_delivery_is_dropped_never_does() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let lane = sink(keys(&cluster.bootstrap_servers(), "t", json!({ "timeout": "60s" })));
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    cluster.broker_down(1).unwrap();
    // Time to see that the connection is gone, and what was handed to it back in the queue.
    let cut = tokio::time::timeout(Duration::from_secs(5), lane.send(&batch(1..50))).await;
    assert!(cut.is_err(), "{cut:?}");
    cluster.broker_up(1).unwrap();
    while lane.send(&batch(50..60)).await.outcome != Outcome::Delivered {}
    let expected: BTreeMap<_, _> = once(0..1).into_iter().chain(once(50..60)).collect();
    assert_eq!(ids(&read(&cluster.bootstrap_servers(), "t")), expected);
}

#[tokio::test]
async fn a_producer_that_failed_for_good_is_made_again() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let context = context(Stream::Activities);
    let lane = sink_in(keys(&brokers, "t", json!({})), &context);
    assert_eq!(lane.send(&batch(0..5)).await.outcome, Outcome::Delivered);
    let fatal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    cluster.request_errors(RDKafkaApiKey::Produce, &[fatal]);
    let attempt = lane.send(&batch(5..10)).await;
    assert_eq!(attempt.outcome.failure_kind(), Some(Transient), "{attempt:?}");
    assert_eq!(context.shared.kafka_clients(), 0, "it was let go");
    assert_eq!(lane.send(&batch(5..10)).await.outcome, Outcome::Delivered);
    assert_eq!(ids(&read(&brokers, "t")), once(0..10));
}

#[tokio::test]
async fn a_send_that_is_given_up_leaves_the_lane_usable() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    cluster.broker_round_trip_time(1, Duration::from_millis(300)).unwrap();
    let lane = sink(keys(&cluster.bootstrap_servers(), "t", json!({})));
    let given_up = batch(0..500);
    assert!(tokio::time::timeout(Duration::from_millis(50), lane.send(&given_up)).await.is_err());
    assert_eq!(lane.send(&batch(0..5)).await.outcome, Outcome::Delivered);
}

async fn real(topic: &str, settings: &[(&str, &str)]) -> Option<std::sync::Arc<Broker>> {
    let broker = tokio::task::spawn_blocking(Broker::shared).await.unwrap()?;
    broker.create_topic(topic, 3, settings).await;
    Some(broker)
}

#[tokio::test]
async fn real_every_event_arrives_with_key_value_and_headers() {
    let Some(broker) = real("s1.activities", &[]).await else { return };
    let lane = sink(keys(&broker.address(), "s1.{stream}", json!({})));
    assert_eq!(lane.probe().await, ProbeResult::Verified("topic `s1.activities` with 3 partitions".to_owned()));
    let sent = batch(0..2_000);
    let attempt = lane.send(&sent).await;
    assert_eq!((attempt.outcome, attempt.status.label()), (Outcome::Delivered, "ok"));

    let consumed = broker.read("s1.activities");
    assert_eq!(ids(&consumed), once(0..2_000));
    let bytes: usize = consumed.iter().map(|message| message.key.len() + message.value.len()).sum();
    assert_eq!(attempt.bytes as usize, bytes);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    for message in &consumed {
        let event = sent
            .events()
            .find(|event| message.key == format!("usea1-acme.sentinelone.net/activities/{}", event.record_id));
        let event = event.unwrap();
        assert_eq!(message.value.as_bytes(), event.body);
        let expected = BTreeSet::from([
            ("id", event.identity.to_string()),
            ("pipeline", "acme".to_owned()),
            ("stream", "activities".to_owned()),
            ("host", "usea1-acme.sentinelone.net".to_owned()),
            ("schema", "ecs-9.4.0".to_owned()),
            ("event_time", "2026-09-16T08:30:00.123456Z".to_owned()),
            ("content-type", "application/json".to_owned()),
            ("label.customer", "acme-eu".to_owned()),
        ]);
        let found: BTreeSet<_> = message.headers.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        assert_eq!(found, expected);
        assert!((now - message.timestamp).abs() < 600_000, "{} is not now", message.timestamp);
    }
}

#[tokio::test]
async fn real_raw_error_records_say_so_next_to_their_own_bytes() {
    let Some(broker) = real("raw", &[]).await else { return };
    let context = SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(Stream::Threats) };
    let lane =
        sink_in(keys(&broker.address(), "raw", json!({ "timestamp": "event", "compression": "gzip" })), &context);
    let mut batch = Batch::new(Stream::Threats);
    let time = Some(s1_forwarder::record::Timestamp::from_micros(1_700_000_000_123_456));
    batch.push_with("", Identity::of("h", Stream::Threats, "x", ""), time, |out| {
        out.extend_from_slice(b"{\"n\": 1.0}");
        Some("no threatInfo".into())
    });
    assert_eq!(lane.send(&batch).await.outcome, Outcome::Delivered);
    let consumed = &broker.read("raw")[0];
    assert_eq!((consumed.value.as_str(), consumed.header("error")), ("{\"n\": 1.0}", "no threatInfo"));
    assert_eq!((consumed.header("schema"), consumed.timestamp), ("raw", 1_700_000_000_123));
    assert!(consumed.key.ends_with(consumed.header("id")), "{consumed:?}");
}

#[tokio::test]
async fn real_an_unknown_topic_is_tolerated_and_then_stops_the_lane() {
    let Some(broker) = real("known", &[]).await else { return };
    // Otherwise, brokers create it.
    let more = json!({ "options": { "topic.metadata.propagation.max.ms": 1500, "allow.auto.create.topics": false } });
    let lane = sink(keys(&broker.address(), "unknown", more));
    assert!(matches!(lane.probe().await, ProbeResult::Failed(reason) if reason.contains("create the topic")));
    let first = lane.send(&batch(0..3)).await;
    assert!(
        matches!(&first.outcome, Outcome::Failed(Failure { kind: Transient, reason, .. }) if reason.contains("create the topic")),
        "{first:?}"
    );
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let second = lane.send(&batch(0..3)).await;
    assert!(
        matches!(&second.outcome, Outcome::Failed(Failure { kind: Misconfigured, reason, .. }) if reason.contains("create the topic")),
        "{second:?}"
    );

    broker.create_topic("unknown", 1, &[]).await;
    while lane.send(&batch(0..3)).await.outcome != Outcome::Delivered {}
    assert_eq!(ids(&broker.read("unknown")), once(0..3));
}

#[tokio::test]
async fn real_a_missing_topic_is_made_by_the_first_event_and_by_no_question() {
    let Some(broker) = real("other", &[]).await else { return };
    let lane = sink(keys(&broker.address(), "asked-for", json!({})));
    for _ in 0..2 {
        assert!(matches!(lane.probe().await, ProbeResult::Failed(reason) if reason.contains("create the topic")));
    }
    assert!(!broker.topics().contains_key("asked-for"));
    while lane.send(&batch(0..3)).await.outcome != Outcome::Delivered {}
    assert_eq!(ids(&broker.read("asked-for")), once(0..3));
}

/// With the default timeouts: what was sent to a broker is not sent again.
#[tokio::test]
async fn real_a_broker_that_is_frozen_for_40_seconds_receives_nothing_twice() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::start).await.unwrap() else { return };
    broker.create_topic("t", 2, &[]).await;
    let lane = sink(json!({ "type": "kafka", "brokers": [broker.address()], "topic": "t" }));
    assert_eq!(lane.send(&batch(0..100)).await.outcome, Outcome::Delivered);
    broker.freeze();
    let late = async {
        let mut left = batch(100..200);
        loop {
            match lane.send(&left).await.outcome {
                Outcome::Delivered => return,
                Outcome::Partial { retry, .. } => left = left.select(retry),
                outcome => assert_eq!(outcome.failure_kind(), Some(Transient), "{outcome:?}"),
            }
        }
    };
    let thaw = async {
        tokio::time::sleep(Duration::from_secs(40)).await;
        broker.thaw();
    };
    tokio::join!(late, thaw);
    // Its controller has missed it for a while.
    until("its partitions have a leader again", async || (broker.topics()["t"] == 2).then_some(())).await;
    assert_eq!(ids(&broker.read("t")), once(0..200));
}

#[tokio::test]
async fn a_request_that_is_refused_for_an_unnamed_record_is_halved() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("t", 1, 1).unwrap();
    let lane = sink(keys(&cluster.bootstrap_servers(), "t", json!({})));
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    let attempt = lane.send(&batch(0..5)).await;
    assert!(matches!(attempt.outcome, Outcome::Refused(_)), "{attempt:?}");
    assert_eq!(lane.send(&batch(0..5)).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn real_what_is_too_large_is_refused_and_the_rest_delivered() {
    let Some(broker) = real("small", &[("max.message.bytes", "100000")]).await else { return };
    let lane = sink(keys(&broker.address(), "small", json!({ "compression": "none" })));
    let mut batch = batch(0..10);
    push(&mut batch, "local", &"x".repeat(1_100_000));
    assert_eq!(push_result(&*lane, &batch).await, (vec![10], vec![]), "more than librdkafka takes");
    assert_eq!(ids(&broker.read("small")), once(0..10));

    // More than the topic takes: which of those that were sent together is why, halving finds out.
    let mut alone = Batch::new(Stream::Activities);
    push(&mut alone, "remote", &"x".repeat(200_000));
    let attempt = lane.send(&alone).await;
    assert!(matches!(attempt.outcome, Outcome::TooLarge(_)), "{attempt:?}");
}

async fn push_result(lane: &dyn Sink, batch: &Batch) -> (Vec<usize>, Vec<usize>) {
    match lane.send(batch).await.outcome {
        Outcome::Partial { refused, retry, .. } => (refused.into_iter().map(|refusal| refusal.index).collect(), retry),
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn real_a_broker_that_is_stopped_and_started_again_costs_nothing() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::start).await.unwrap() else { return };
    let broker = std::sync::Arc::new(broker);
    broker.create_topic("t", 2, &[]).await;
    let lane = sink(keys(&broker.address(), "t", json!({ "timeout": "10s" })));
    assert_eq!(lane.send(&batch(0..1_000)).await.outcome, Outcome::Delivered);
    broker.stop();
    let attempt = lane.send(&batch(1_000..2_000)).await;
    assert_eq!(attempt.outcome.failure_kind(), Some(Transient), "{attempt:?}");
    let starting = {
        let broker = broker.clone();
        tokio::task::spawn_blocking(move || broker.run())
    };
    let mut left = batch(1_000..2_000);
    loop {
        match lane.send(&left).await.outcome {
            Outcome::Delivered => break,
            Outcome::Partial { retry, refused, .. } => {
                assert!(refused.is_empty(), "{refused:?}");
                left = left.select(retry);
            }
            outcome => assert_eq!(outcome.failure_kind(), Some(Transient), "{outcome:?}"),
        }
    }
    starting.await.unwrap();
    let ids: BTreeSet<_> = ids(&broker.read("t")).into_keys().collect();
    assert_eq!(ids, once(0..2_000).into_keys().collect(), "every event at least once");
}

#[test]
fn exactly_once_that_contradicts_itself_is_refused() {
    for (more, part) in [
        (json!({}), "`checkpoint_topic`: `delivery: exactly_once` needs a topic"),
        (json!({ "checkpoint_topic": "t" }), "events go to this topic"),
        (json!({ "checkpoint_topic": "a b" }), "cannot be a topic"),
        (json!({ "checkpoint_topic": "c", "options": { "enable.idempotence": false } }), "needs it"),
        (json!({ "checkpoint_topic": "c", "options": { "transaction.timeout.ms": 20_000 } }), "must last longer"),
        (json!({ "checkpoint_topic": "c", "options": { "transactional.id": "mine" } }), "come with `delivery"),
    ] {
        let mut keys = json!({ "type": "kafka", "brokers": ["h:1"], "topic": "t", "delivery": "exactly_once" });
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = settings(keys).build(&context(Stream::Threats)).unwrap_err().to_string();
        assert!(error.contains(part), "{more} → {error}");
    }
    let keys = json!({ "type": "kafka", "brokers": ["h:1"], "topic": "t", "checkpoint_topic": "c" });
    settings(keys).build(&context(Stream::Threats)).unwrap();
}
