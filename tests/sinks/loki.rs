use std::collections::BTreeMap;
use std::time::Duration;

use s1_forwarder::destinations::SinkContext;
use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::Misconfigured;
use s1_forwarder::record::{Identity, Stream, Timestamp};
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::{batch, context, push_at, settings, sink, sink_in};
use crate::support::deliver::deliver;
use crate::support::double::{FaultRule, Reply};
use crate::support::loki::LOKI;
use crate::support::receiver::{Receiver, Rules};

async fn loki() -> Receiver {
    let header = Some(("x-scope-orgid", "acme".to_owned()));
    Receiver::start(Rules { header, format: Some(LOKI), ..Rules::default() }).await
}

fn keys(receiver: &Receiver, more: Value) -> Value {
    let mut keys = json!({ "type": "loki", "url": receiver.url(), "tenant": "{pipeline}" });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

fn stream(receiver: &Receiver) -> Value {
    serde_json::from_str::<Value>(&receiver.requests()[0].body).unwrap()["streams"][0].clone()
}

fn ago(minutes: u64) -> Timestamp {
    Timestamp::now().minus(Duration::from_secs(60 * minutes))
}

#[tokio::test]
async fn a_lane_is_one_stream_whose_entries_have_their_time_and_identity() {
    let receiver = loki().await;
    let lane = sink(keys(&receiver, json!({ "labels": { "env": "prod", "stream": "{stream}-{label.customer}" } })));
    let mut sent = Batch::new(Stream::Activities);
    let time = ago(10);
    (0..300).for_each(|id| push_at(&mut sent, &id.to_string(), time));
    assert_eq!(lane.send(&sent).await.outcome, Outcome::Delivered);
    assert_eq!(receiver.ledger().counts().len(), 300);
    let seen = &receiver.requests()[0];
    assert_eq!((seen.header("x-scope-orgid"), seen.header("content-encoding")), ("acme", "gzip"));
    let stream = stream(&receiver);
    let labels = json!({ "pipeline": "acme", "stream": "activities-acme-eu", "customer": "acme-eu", "env": "prod" });
    assert_eq!(stream["stream"], labels);
    let event = sent.event(299).unwrap();
    let metadata = json!({ "event_id": event.identity.to_string(), "record_id": "299" });
    let line = std::str::from_utf8(event.body).unwrap();
    assert_eq!(stream["values"][299], json!([format!("{}000", time.micros()), line, metadata]));
}

#[tokio::test]
async fn raw_records_are_lines_and_metadata_can_be_left_out() {
    let receiver = loki().await;
    let mut context = SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(Stream::Threats) };
    context.labels = BTreeMap::from([("cost-center".to_owned(), "7".to_owned()), ("empty".to_owned(), String::new())]);
    let mut batch = Batch::new(Stream::Threats);
    batch.push_with("1", Identity::of("h", Stream::Threats, "1", ""), None, |out| {
        out.extend_from_slice(b"{\"id\":\"1\", \"n\": 1.0}");
        Some("no threatInfo".into())
    });
    let before = Timestamp::now().micros() as u64;
    let lane = sink_in(keys(&receiver, json!({ "structured_metadata": false })), &context);
    assert_eq!(lane.send(&batch).await.outcome, Outcome::Delivered);
    let stream = stream(&receiver);
    assert_eq!(stream["stream"], json!({ "pipeline": "acme", "stream": "threats", "cost_center": "7" }));
    let entry = stream["values"][0].as_array().unwrap();
    assert_eq!((entry.len(), entry[1].as_str()), (2, Some("{\"id\":\"1\", \"n\": 1.0}")));
    let time: u64 = entry[0].as_str().unwrap().parse().unwrap();
    assert!(time / 1_000 >= before, "an event without a time is of now");
}

#[test]
fn labels_that_loki_would_refuse_are_refused_when_they_are_read() {
    for (labels, part) in
        [(json!({ "a-b": "x" }), "cannot be a label"), (json!({ "a": "{record}" }), "is not a placeholder")]
    {
        let keys = json!({ "type": "loki", "url": "https://h", "labels": labels });
        let error = settings(keys).build(&context(Stream::Threats)).unwrap_err().to_string();
        assert!(error.starts_with("`labels`") && error.contains(part), "{error}");
    }
}

/// Loki refuses what is more than an hour older than the newest entry of its stream, and what is ahead of now.
#[tokio::test]
async fn old_and_future_events_are_sent_with_the_current_time_and_keep_their_own() {
    let receiver = loki().await;
    let mut batch = Batch::new(Stream::Activities);
    let ahead = Timestamp::now().plus(Duration::from_hours(1));
    for (id, time) in [("fresh", ago(45)), ("alert", ago(120)), ("history", ago(60 * 24 * 30)), ("ahead", ahead)] {
        push_at(&mut batch, id, time);
    }
    assert_eq!(sink(keys(&receiver, json!({}))).send(&batch).await.outcome, Outcome::Delivered);
    assert_eq!(receiver.ledger().counts().len(), 4);
    let values = stream(&receiver)["values"].clone();
    assert_eq!(values[0][2].get("event_time"), None);
    for (index, event) in batch.events().enumerate().skip(1) {
        assert_eq!(values[index][2]["event_time"], json!(event.time.unwrap().to_string()));
    }
}

/// The answer tells in words only what was refused and what was stored; asking for less at a time finds out.
#[tokio::test]
async fn entries_that_are_too_old_become_dead_letters_and_all_others_arrive() {
    let receiver = loki().await;
    let mut batch = Batch::new(Stream::Activities);
    (0..30).for_each(|id| push_at(&mut batch, &id.to_string(), ago(10)));
    push_at(&mut batch, "old", ago(60 * 24 * 8));
    (30..60).for_each(|id| push_at(&mut batch, &id.to_string(), ago(5)));
    let delivered = deliver(sink(keys(&receiver, json!({ "max_age": "30d" }))), &batch).await;
    assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters_counted), (Ok(()), 60, 1));
    assert!(delivered.dead_letters[0].to_string().contains("too old"), "{:?}", delivered.dead_letters);
    let counts = receiver.ledger().counts();
    assert!((0..60).all(|id| counts.contains_key(&id.to_string())) && !counts.contains_key("old"), "{counts:?}");

    let mut old = Batch::new(Stream::Activities);
    push_at(&mut old, "old", ago(60 * 24 * 8));
    let now = sink(keys(&receiver, json!({ "timestamp": "now" })));
    assert_eq!(now.send(&old).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn too_many_labels_stop_the_lane_before_anything_is_given_up() {
    let receiver = loki().await;
    let labels: BTreeMap<_, _> = (0..14).map(|number| (format!("label{number}"), "x")).collect();
    let outcome = sink(keys(&receiver, json!({ "labels": labels }))).send(&batch(0..3)).await.outcome;
    assert!(
        matches!(&outcome, Outcome::Failed(Failure { kind: Misconfigured, reason, .. }) if reason.contains("limit 15")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_size_error_under_500_halves_the_batch() {
    let text = "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (281827 vs. 10000)";
    let header = Some(("x-scope-orgid", "acme".to_owned()));
    let too_large = Some((10_000, (500, text)));
    let receiver = Receiver::start(Rules { header, too_large, format: Some(LOKI), ..Rules::default() }).await;
    let mut sent = Batch::new(Stream::Activities);
    (0..300).for_each(|id| push_at(&mut sent, &id.to_string(), ago(5)));
    let delivered = deliver(sink(keys(&receiver, json!({}))), &sent).await;
    assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters_counted), (Ok(()), 300, 0));
}

#[tokio::test]
async fn each_misbehaviour_has_its_class() {
    let answer = FaultRule::answer;
    for (fault, expected) in [
        (answer(429, "Ingestion rate limit exceeded for user acme"), "Transient"),
        (answer(503, "<html>"), "Transient"),
        (answer(200, "<html>a login page</html>"), "Misconfigured"),
        (answer(401, "no org id"), "Unauthorized"),
        (FaultRule::EarlyTooLarge, "TooLarge"),
        (FaultRule::AcceptAndReset, "Transient"),
        (FaultRule::AcceptAndAnswer(Reply::new(200, "")), "Delivered"),
    ] {
        let receiver = loki().await;
        receiver.script([fault.clone()]);
        let attempt = sink(keys(&receiver, json!({}))).send(&batch(0..3)).await;
        assert_eq!(attempt.outcome.name(), expected, "{fault:?} → {attempt:?}");
    }
}

#[tokio::test]
async fn a_probe_tests_the_tenant_and_stores_nothing() {
    let receiver = loki().await;
    let good = sink(keys(&receiver, json!({}))).probe().await;
    assert!(matches!(&good, ProbeResult::Reached(reason) if reason.contains("without events")), "{good:?}");
    let bad = sink(keys(&receiver, json!({ "tenant": "other" }))).probe().await;
    assert!(matches!(&bad, ProbeResult::Failed(reason) if reason.contains("403")), "{bad:?}");
    let elsewhere = sink(keys(&receiver, json!({ "url": format!("{}/x", receiver.url()) }))).probe().await;
    assert!(matches!(&elsewhere, ProbeResult::Failed(reason) if reason.contains("404")), "{elsewhere:?}");
    assert_eq!(receiver.ledger().counts(), BTreeMap::new());
}
