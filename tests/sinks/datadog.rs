use std::collections::BTreeMap;
use std::time::Duration;

use s1_forwarder::destinations::SinkContext;
use s1_forwarder::record::{Identity, Stream, Timestamp};
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::{batch, context, push, push_at, sink, sink_in};
use crate::support::datadog::DATADOG;
use crate::support::deliver::deliver;
use crate::support::double::FaultRule;
use crate::support::receiver::{Receiver, Rules};

async fn intake() -> Receiver {
    let header = Some(("dd-api-key", "k3y".to_owned()));
    Receiver::start(Rules { header, format: Some(DATADOG), ..Rules::default() }).await
}

fn keys(receiver: &Receiver, more: Value) -> Value {
    let mut keys = json!({ "type": "datadog", "url": receiver.url(), "api_key": "k3y" });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

#[tokio::test]
async fn logs_have_the_reserved_fields_and_the_event_as_message() {
    let receiver = intake().await;
    let lane = sink(keys(&receiver, json!({ "tags": { "env": "prod,eu", "team": "{pipeline}-soc" } })));
    let mut sent = Batch::new(Stream::Activities);
    let time = Timestamp::now().minus(Duration::from_mins(10));
    (0..500).for_each(|id| push_at(&mut sent, &id.to_string(), time));
    assert_eq!(lane.send(&sent).await.outcome, Outcome::Delivered);
    assert_eq!(receiver.ledger().counts().len(), 500);
    let seen = &receiver.requests()[0];
    assert_eq!((seen.path.as_str(), seen.header("content-encoding")), ("/api/v2/logs", "gzip"));
    let logs: Vec<Value> = serde_json::from_str(&seen.body).unwrap();
    let event = sent.event(7).unwrap();
    assert_eq!(
        logs[7],
        json!({
            "timestamp": time.millis(), "event_id": event.identity.to_string(), "ddsource": "sentinelone",
            "service": "sentinelone", "hostname": "usea1-acme.sentinelone.net", "pipeline": "acme", "stream": "activities",
            "ddtags": "customer:acme-eu,env:prod_eu,pipeline:acme,stream:activities,team:acme-soc",
            "message": std::str::from_utf8(event.body).unwrap(),
        })
    );
}

#[tokio::test]
async fn raw_records_are_their_own_bytes_and_say_what_is_wrong() {
    let receiver = intake().await;
    let context = SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(Stream::Threats) };
    let mut batch = Batch::new(Stream::Threats);
    batch.push_with("1", Identity::of("h", Stream::Threats, "1", ""), None, |out| {
        out.extend_from_slice("{\"id\":\"1\", \"n\": 1.0, \"path\":\"C:\\\\ü\"}".as_bytes());
        Some("no threatInfo".into())
    });
    let lane = sink_in(keys(&receiver, json!({ "source": "s1", "hostname": "h", "compression": "none" })), &context);
    assert_eq!(lane.send(&batch).await.outcome, Outcome::Delivered);
    let log: Value = serde_json::from_str::<Vec<Value>>(&receiver.requests()[0].body).unwrap().remove(0);
    assert_eq!(log["message"].as_str().unwrap().as_bytes(), batch.event(0).unwrap().body);
    assert_eq!((&log["status"], &log["error"]["message"]), (&json!("error"), &json!("no threatInfo")));
    assert_eq!((&log["ddsource"], &log["hostname"], &log["timestamp"]), (&json!("s1"), &json!("h"), &Value::Null));
}

/// Datadog answers 202 and drops a log whose date is more than 18 hours ago or two hours ahead.
#[tokio::test]
async fn old_and_future_events_are_sent_with_the_current_time_and_keep_their_own() {
    let receiver = intake().await;
    let mut batch = Batch::new(Stream::Activities);
    let now = Timestamp::now();
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    for (id, time) in [
        ("fresh", now.minus(hours(16))),
        ("old", now.minus(hours(18))),
        ("older", now.minus(hours(24 * 30))),
        ("ahead", now.plus(hours(3))),
    ] {
        push_at(&mut batch, id, time);
    }
    let lane = sink(keys(&receiver, json!({})));
    assert_eq!(lane.send(&batch).await.outcome, Outcome::Delivered);
    assert_eq!(receiver.ledger().counts().len(), 4, "none was dropped: {:?}", receiver.ledger().counts());
    let logs: Vec<Value> = serde_json::from_str(&receiver.requests()[0].body).unwrap();
    assert_eq!(logs[0]["event_time"], Value::Null);
    for (log, event) in logs.iter().zip(batch.events()).skip(1) {
        let own = event.time.unwrap().to_string();
        let message = log["message"].as_str().unwrap();
        let message: Value = serde_json::from_str(message).unwrap();
        assert_eq!((&log["event_time"], &message["event_time"]), (&json!(own), &json!(own)));
        assert_eq!((message.get("@timestamp"), &message["id"]), (None, &json!(event.record_id)));
    }
}

/// Datadog cuts a log of more than 1 MB and answers 202: it must not get that far. The rest arrives in requests of its
/// size.
#[tokio::test]
async fn what_datadog_would_cut_becomes_a_dead_letter() {
    let receiver = intake().await;
    let mut batch = batch(0..40);
    push(&mut batch, "long", &"x".repeat(1_000_000));
    // Shorter than the limit, and longer once its quotes are escaped.
    push(&mut batch, "escaped", &"\"".repeat(350_000));
    (0..8).for_each(|id| push(&mut batch, &format!("large-{id}"), &"y".repeat(900_000)));
    let delivered = deliver(sink(keys(&receiver, json!({ "batch": { "bytes": "100MB" } }))), &batch).await;
    assert_eq!(delivered.result, Ok(()));
    let dead_letters: Vec<_> =
        delivered.dead_letters.iter().map(|letter| letter["record_id"].as_str().unwrap()).collect();
    assert_eq!(dead_letters, ["long", "escaped"]);
    let counts = receiver.ledger().counts();
    assert_eq!((counts.len(), counts.values().all(|count| *count == 1)), (48, true), "{counts:?}");
}

#[tokio::test]
async fn more_than_a_thousand_logs_are_never_in_one_request() {
    let receiver = intake().await;
    let keys = keys(&receiver, json!({ "batch": { "events": 5_000 } }));
    assert_eq!(sink(keys).limits().events, 1_000);
}

#[tokio::test]
async fn each_misbehaviour_has_its_class() {
    let answer = FaultRule::answer;
    for (fault, expected) in [
        (answer(400, r#"{"errors":[{"status":"400","title":"Bad Request"}]}"#), "Refused"),
        (answer(403, r#"{"errors":[{"status":"403","title":"Forbidden"}]}"#), "Unauthorized"),
        (answer(429, ""), "Transient"),
        (answer(500, ""), "Transient"),
        (answer(200, "<html>a login page</html>"), "Misconfigured"),
        (answer(302, ""), "Misconfigured"),
        (FaultRule::EarlyTooLarge, "TooLarge"),
        (FaultRule::AcceptAndReset, "Transient"),
        (FaultRule::AcceptAndHang, "Transient"),
    ] {
        let receiver = intake().await;
        receiver.script([fault.clone()]);
        let attempt = sink(keys(&receiver, json!({ "timeout": "300ms" }))).send(&batch(0..3)).await;
        assert_eq!(attempt.outcome.name(), expected, "{fault:?} → {attempt:?}");
    }
}

#[tokio::test]
async fn a_probe_tests_the_key_and_delivers_nothing() {
    let receiver = intake().await;
    assert!(matches!(sink(keys(&receiver, json!({}))).probe().await, ProbeResult::Verified(_)));
    let bad = sink(keys(&receiver, json!({ "api_key": "canary" }))).probe().await;
    assert!(
        matches!(&bad, ProbeResult::Failed(reason) if reason.contains("403") && !reason.contains("canary")),
        "{bad:?}"
    );
    let elsewhere = sink(keys(&receiver, json!({ "url": format!("{}/x", receiver.url()) }))).probe().await;
    assert!(matches!(&elsewhere, ProbeResult::Failed(reason) if reason.contains("404")), "{elsewhere:?}");
    assert_eq!(receiver.ledger().counts(), BTreeMap::new());
}
