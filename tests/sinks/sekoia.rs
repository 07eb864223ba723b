//! `sekoia` against a double of an intake.

use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::{Misconfigured, Unauthorized};
use s1_forwarder::record::Stream;
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::{batch, push, sink};
use crate::support::deliver::{dead_letters, deliver, delivery, settle};
use crate::support::double::{Double, FaultRule, Reply};
use crate::support::sekoia::Sekoia;

fn keys(intake: &Double<Sekoia>, more: Value) -> Value {
    let mut keys = json!({ "type": "sekoia", "url": intake.url(), "intake_key": "in\"take" });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

#[tokio::test]
async fn events_arrive_as_texts_by_either_address() {
    for (format, time) in [("array", Some("2026-09-16T08:30:00.123456Z".to_owned())), ("batch", None)] {
        let intake = Double::start(Sekoia::default()).await;
        let sent = batch(0..3);
        let lane = sink(keys(&intake, json!({ "format": format })));
        assert_eq!(lane.send(&sent).await.outcome, Outcome::Delivered);
        let expected: Vec<_> =
            sent.events().map(|event| (String::from_utf8(event.body.to_vec()).unwrap(), time.clone())).collect();
        assert_eq!(intake.contract(|intake| intake.events.clone()), expected, "{format}");
    }
}

#[test]
fn records_are_sent_as_the_console_has_them() {
    let settings = |more: Value| {
        let mut keys = json!({ "type": "sekoia", "intake_key": "k" });
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        crate::support::batches::settings(keys)
    };
    assert_eq!(settings(json!({})).schema(Schema::Ocsf), Schema::Raw);
    assert_eq!(settings(json!({ "schema": "ecs" })).schema(Schema::Raw), Schema::Ecs);
}

/// Each quote of an event is escaped: requests are cut by what they are then.
#[tokio::test]
async fn sizes_are_those_of_the_escaped_text() {
    let intake = Double::start(Sekoia::default()).await;
    let mut sent = Batch::new(Stream::Activities);
    // 100 KB of JSON that are 130 KB as a text within JSON.
    (0..120).for_each(|id| push(&mut sent, &id.to_string(), &"\"".repeat(30_000)));
    push(&mut sent, "large", &"\"".repeat(70_000));
    let delivered = deliver(sink(keys(&intake, json!({}))), &sent).await;
    assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters_counted), (Ok(()), 120, 1));
    assert_eq!(delivered.dead_letters[0]["record_id"], "large");
    assert!(intake.deliveries().len() > 1);
    assert!(intake.deliveries().iter().all(|request| request.status == 200), "nothing was sent that was too large");
}

/// The answer has an id less than events were sent, and does not say whose. Nothing is sent twice to find out: the
/// batch is kept, and the next events are sent alone.
#[tokio::test]
async fn an_event_without_an_id_is_kept_with_its_batch_and_alone_afterwards() {
    let intake = Double::start(Sekoia { swallows: Some("poison"), ..Sekoia::default() }).await;
    let directory = tempfile::tempdir().unwrap();
    let delivery = delivery(sink(keys(&intake, json!({}))), 1, directory.path());
    let counted = || {
        let metrics = &delivery.meter.metrics;
        (metrics.send.delivered.get(), metrics.send.dead_letters.get())
    };
    for (ids, kept, counts) in [(0..16, 17, (16, 1)), (16..32, 1, (32, 2))] {
        let mut sent = batch(ids);
        push(&mut sent, "bad", "poison");
        let before = dead_letters(directory.path()).len();
        settle(&delivery, &sent).await.unwrap();
        let new = dead_letters(directory.path()).split_off(before);
        assert_eq!((new.len(), counted()), (kept, counts));
        assert_eq!(new.last().unwrap()["record_id"], "bad");
    }
    let counts = intake.contract(|intake| intake.counts());
    assert!(counts.len() == 32 && counts.values().all(|count| *count == 1), "{counts:?}");
}

/// A proxy or another release of the API may answer so. What was sent may be stored.
#[tokio::test]
async fn a_success_without_ids_is_not_sent_again_whole() {
    let intake = Double::start(Sekoia::default()).await;
    intake
        .script([FaultRule::AcceptAndAnswer(Reply::new(200, "{}")), FaultRule::AcceptAndAnswer(Reply::new(200, "{}"))]);
    let lane = sink(keys(&intake, json!({})));
    for _ in 0..2 {
        let delivered = deliver(lane.clone(), &batch(0..20)).await;
        assert!(matches!(delivered.result, Err(Failure { kind: Misconfigured, .. })), "{delivered:?}");
    }
    assert_eq!(deliver(lane, &batch(0..20)).await.result, Ok(()));
    let counts = intake.contract(|intake| intake.counts());
    let twice = counts.values().filter(|count| **count > 2).count();
    assert_eq!((counts.len(), twice), (20, 1), "only the first event came three times: {counts:?}");
}

#[tokio::test]
async fn throttling_and_lost_answers_lose_nothing() {
    let intake = Double::start(Sekoia { throttled: 3, ..Sekoia::default() }).await;
    intake.script([FaultRule::AcceptAndReset, FaultRule::Answer(Reply::new(503, "<html>"))]);
    let delivered = deliver(sink(keys(&intake, json!({}))), &batch(0..10)).await;
    assert_eq!((delivered.result, delivered.delivered), (Ok(()), 10));
    let counts = intake.contract(|intake| intake.counts());
    assert!(counts.len() == 10 && counts.values().all(|count| *count <= 2), "{counts:?}");
}

#[tokio::test]
async fn a_wrong_key_or_address_stops_the_lane() {
    let intake = Double::start(Sekoia::default()).await;
    for (more, part) in [
        (json!({ "intake_key": "canary" }), "The intake key is invalid"),
        (json!({ "url": format!("{}/v1", intake.url()) }), "no such address"),
    ] {
        let lane = sink(keys(&intake, more));
        let found = lane.probe().await;
        assert!(matches!(&found, ProbeResult::Failed(reason) if reason.contains(part)), "{found:?}");
        let delivered = deliver(lane, &batch(0..20)).await;
        assert!(
            matches!(&delivered.result, Err(Failure { kind: Unauthorized | Misconfigured, reason, .. }) if reason.contains(part)),
            "{delivered:?}"
        );
        assert_eq!(delivered.dead_letters_counted, 0);
    }
    let found = sink(keys(&intake, json!({}))).probe().await;
    assert!(matches!(found, ProbeResult::Reached(_)), "{found:?}");
    assert!(intake.contract(|intake| intake.events.is_empty()));
}

#[tokio::test]
async fn a_rotated_key_is_read_again_for_header_and_body() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "in\"take").unwrap();
    let intake = Double::start(Sekoia::default()).await;
    let lane = sink(keys(&intake, json!({ "intake_key": { "file": file } })));
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    intake.contract(|intake| intake.key = "canary".to_owned());
    std::fs::write(&file, "canary").unwrap();
    assert_eq!(lane.send(&batch(1..2)).await.outcome, Outcome::Delivered);
    intake.script([FaultRule::Answer(Reply::new(400, r#"{"message":"you sent canary"}"#))]);
    let reported = format!("{:?}", lane.send(&batch(2..3)).await);
    assert!(reported.contains("***") && !reported.contains("canary"), "{reported}");
}
