use std::collections::BTreeMap;

use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::{RefusedAll, Transient};
use s1_forwarder::sink::{Outcome, ProbeResult};
use serde_json::{Value, json};

use crate::support::batches::{batch, push, sink};
use crate::support::deliver::deliver;
use crate::support::double::{FaultRule, Reply};
use crate::support::otlp::OTLP;
use crate::support::receiver::{Receiver, Rules};

async fn receiver() -> Receiver {
    let authorization = ["Bearer t0ken".to_owned()].into();
    Receiver::start(Rules { authorization, format: Some(OTLP), ..Rules::default() }).await
}

fn keys(receiver: &Receiver, encoding: &str, more: Value) -> Value {
    let auth = json!({ "type": "bearer", "token": "t0ken" });
    let mut keys = json!({ "type": "otlp", "url": receiver.url(), "encoding": encoding, "auth": auth });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

#[tokio::test]
async fn both_encodings_arrive_whole_under_every_compression() {
    for encoding in ["protobuf", "json"] {
        for compression in ["none", "gzip", "zstd"] {
            let receiver = receiver().await;
            let keys = keys(&receiver, encoding, json!({ "compression": compression }));
            let attempt = sink(keys).send(&batch(0..2_000)).await;
            assert_eq!(attempt.outcome, Outcome::Delivered, "{encoding} {compression}");
            let counts = receiver.ledger().counts();
            assert_eq!((counts.len(), counts.values().all(|count| *count == 1)), (2_000, true));
            assert_eq!(
                receiver.requests()[0].header("content-encoding"),
                if compression == "none" { "" } else { compression }
            );
        }
    }
}

#[tokio::test]
async fn json_follows_the_rules_of_the_protocol() {
    let receiver = receiver().await;
    let sent = batch(0..2);
    let lane = sink(keys(&receiver, "json", json!({ "resource": { "deployment.environment": "{label.customer}" } })));
    assert_eq!(lane.send(&sent).await.outcome, Outcome::Delivered);
    let body: Value = serde_json::from_str(&receiver.requests()[0].body).unwrap();
    let resource = &body["resourceLogs"][0]["resource"]["attributes"];
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    assert_eq!(
        *resource,
        json!([
            text("deployment.environment", "acme-eu"),
            text("host.name", "usea1-acme.sentinelone.net"),
            text("label.customer", "acme-eu"),
            text("pipeline", "acme"),
            text("service.name", "sentinelone"),
            text("stream", "activities"),
        ])
    );
    let record = &body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][1];
    let event = sent.event(1).unwrap();
    assert_eq!(record["timeUnixNano"], json!("1789547400123456000"));
    assert_eq!(record["body"]["stringValue"].as_str().unwrap().as_bytes(), event.body);
    assert_eq!(record["attributes"], json!([text("event.id", &event.identity.to_string()), text("record.id", "1")]));
}

/// What was refused must not be sent again, and the server does not say what it was: nothing of the batch is lost.
#[tokio::test]
async fn a_partial_success_is_never_sent_again() {
    let receiver = receiver().await;
    let said = r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}"#;
    receiver.script([FaultRule::AcceptAndAnswer(Reply::new(200, said))]);
    let delivered = deliver(sink(keys(&receiver, "json", json!({}))), &batch(0..20)).await;
    assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters_counted), (Ok(()), 18, 2));
    assert_eq!((delivered.dead_letters.len(), receiver.requests().len()), (20, 1), "sent once, kept whole");
    let letter = delivered.dead_letters[0].to_string();
    assert!(letter.contains("2 of 20 events") && letter.contains("too old"), "{letter}");
    assert_eq!(delivered.dead_letters[0]["status"], "partial", "not the response's 200");

    let all = r#"{"partialSuccess":{"rejectedLogRecords":"20"}}"#;
    receiver.script([FaultRule::AcceptAndAnswer(Reply::new(200, all))]);
    let delivered = deliver(sink(keys(&receiver, "json", json!({}))), &batch(0..20)).await;
    assert!(matches!(delivered.result, Err(Failure { kind: RefusedAll, .. })), "{delivered:?}");
    assert_eq!((delivered.dead_letters.len(), receiver.requests().len()), (0, 2));
}

/// The response does not say which records were refused. Each is sent alone for a while, so that the next are known.
#[tokio::test]
async fn after_a_partial_success_each_record_is_sent_alone() {
    let receiver = receiver().await;
    let lane = sink(keys(&receiver, "json", json!({})));
    let some = r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}"#;
    receiver.script([FaultRule::AcceptAndAnswer(Reply::new(200, some))]);
    assert_eq!(deliver(lane.clone(), &batch(0..20)).await.dead_letters.len(), 20);
    receiver.script([FaultRule::Answer(Reply::new(200, some))]);
    let delivered = deliver(lane, &batch(20..40)).await;
    assert_eq!((delivered.result, delivered.delivered), (Ok(()), 19));
    let kept: Vec<_> = delivered.dead_letters.iter().map(|letter| letter["record_id"].as_str().unwrap()).collect();
    assert_eq!((kept, receiver.requests().len()), (vec!["20"], 21));
}

/// Receivers behind gRPC refuse what is too large with 429 or 500.
#[tokio::test]
async fn a_size_error_under_another_status_halves_the_batch() {
    let text = "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (281827 vs. 20000)";
    for status in [429, 500] {
        let authorization = ["Bearer t0ken".to_owned()].into();
        let too_large = Some((20_000, (status, text)));
        let rules = Rules { authorization, too_large, format: Some(OTLP), ..Rules::default() };
        let receiver = Receiver::start(rules).await;
        let lane = sink(keys(&receiver, "json", json!({})));
        let mut sent = batch(0..400);
        push(&mut sent, "large", &"x".repeat(30_000));
        let delivered = deliver(lane.clone(), &sent).await;
        assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters_counted), (Ok(()), 400, 1));
        assert_eq!(delivered.dead_letters[0]["record_id"], "large");
        assert_eq!(delivered.dead_letters[0]["status"], status.to_string());
        assert!(receiver.requests().len() < 100, "{}", receiver.requests().len());
        // What fits is known from then on.
        assert_eq!(deliver(lane.clone(), &batch(400..800)).await.result, Ok(()));
        let refused = |receiver: &Receiver| receiver.requests().iter().filter(|seen| seen.status >= 400).count();
        let before = refused(&receiver);
        assert_eq!(deliver(lane, &batch(800..1_200)).await.result, Ok(()));
        assert_eq!(refused(&receiver), before);
    }
}

#[tokio::test]
async fn only_four_statuses_are_tried_again() {
    for (status, expected) in
        [(429, "Transient"), (502, "Transient"), (503, "Transient"), (504, "Transient"), (500, "Misconfigured")]
    {
        let receiver = receiver().await;
        let headers = vec![("retry-after", "7".to_owned())];
        receiver.script([FaultRule::Answer(Reply { headers, ..Reply::new(status, "") })]);
        let outcome = sink(keys(&receiver, "protobuf", json!({}))).send(&batch(0..3)).await.outcome;
        let said = format!("{outcome:?}");
        assert!(outcome.name() == expected && (status == 500 || said.contains("7s")), "{said}");
    }
    let receiver = receiver().await;
    receiver.script([FaultRule::answer(500, "")]);
    let lane = sink(keys(&receiver, "protobuf", json!({ "retry_server_errors": true })));
    assert_eq!(lane.send(&batch(0..3)).await.outcome.failure_kind(), Some(Transient));
}

#[tokio::test]
async fn a_probe_tests_the_credentials_and_delivers_nothing() {
    for encoding in ["protobuf", "json"] {
        let receiver = receiver().await;
        assert!(matches!(sink(keys(&receiver, encoding, json!({}))).probe().await, ProbeResult::Verified(_)));
        let bad = json!({ "auth": { "type": "bearer", "token": "canary" } });
        let bad = sink(keys(&receiver, encoding, bad)).probe().await;
        assert!(matches!(&bad, ProbeResult::Failed(reason) if reason.contains("401")), "{bad:?}");
        let elsewhere = json!({ "url": format!("{}/x", receiver.url()) });
        let elsewhere = sink(keys(&receiver, encoding, elsewhere)).probe().await;
        assert!(matches!(&elsewhere, ProbeResult::Failed(reason) if reason.contains("404")), "{elsewhere:?}");
        assert_eq!(receiver.ledger().counts(), BTreeMap::new());
    }
}
