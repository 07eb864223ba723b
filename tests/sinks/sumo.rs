//! `sumo` against a double of an HTTP source of Sumo Logic.

use s1_forwarder::record::Stream;
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use serde_json::{Value, json};

use crate::support::batches::{batch, build_error, holds_its_limits, once, push, raw_context, sink, sink_in, with};
use crate::support::deliver::deliver;
use crate::support::double::{Contract, Double, FaultRule, Reply};
use crate::support::sumo::Sumo;

fn sumo_keys(intake: &Double<impl Contract>, more: Value) -> Value {
    with(json!({ "type": "sumo", "url": format!("{}/receiver/v1/http/c0de", intake.url()) }), more)
}

#[tokio::test]
async fn sumo_gets_lines_and_says_where_they_come_from() {
    let intake = Double::start(Sumo { code: "c0de", token: None }).await;
    for compression in ["none", "gzip", "zstd"] {
        let intake = Double::start(Sumo { code: "c0de", token: None }).await;
        holds_its_limits(&intake, &*sink(sumo_keys(&intake, json!({ "compression": compression }))), 64_000).await;
    }
    let more =
        json!({ "source_category": "edr/{stream}", "fields": { "customer": "{label.customer}", "tier": "one" } });
    sink_in(sumo_keys(&intake, more), &raw_context()).send(&batch(0..2)).await;
    let seen = &intake.requests()[0];
    assert_eq!(seen.header("x-sumo-category"), "edr/activities");
    assert_eq!(seen.header("x-sumo-host"), "usea1-acme.sentinelone.net");
    assert_eq!(seen.header("x-sumo-name"), "acme");
    assert_eq!(seen.header("x-sumo-fields"), "customer=acme-eu,tier=one");
    assert_eq!(seen.header("x-s1-forwarder-stream"), "activities");
    assert_eq!(
        seen.body.as_bytes()[..20],
        batch(0..1).event(0).unwrap().body[..20],
        "raw records are lines as they are"
    );

    sink(sumo_keys(&intake, json!({ "envelope": true }))).send(&batch(2..3)).await;
    assert_eq!(intake.events()[2]["record"]["id"], "2");
}

#[tokio::test]
async fn sumo_has_its_credential_in_the_address_or_next_to_it() {
    let intake = Double::start(Sumo { code: "c0de", token: Some("t0ken") }).await;
    let url = format!("{}/receiver/v1/http", intake.url());
    let lane = |code: &str, token: &str| sink(json!({ "type": "sumo", "url": url, "code": code, "token": token }));
    let good = lane("c0de", "t0ken");
    assert!(matches!(good.probe().await, ProbeResult::Verified(_)));
    assert!(intake.ledger().counts().is_empty(), "a probe delivers nothing");
    assert_eq!(good.send(&batch(0..2)).await.outcome, Outcome::Delivered);
    for bad in [lane("other-code", "t0ken"), lane("c0de", "other")] {
        assert_eq!(bad.send(&batch(0..1)).await.outcome.name(), "Unauthorized");
        assert!(matches!(bad.probe().await, ProbeResult::Failed(reason) if reason.contains("credentials refused")));
    }
    assert_eq!(intake.ledger().counts(), once(0..2));
}

/// The code is read again when it is refused, and is never shown.
#[tokio::test]
async fn sumo_reads_a_rotated_code_again() {
    let directory = tempfile::tempdir().unwrap();
    let code = directory.path().join("code");
    std::fs::write(&code, "canary-old").unwrap();
    let intake = Double::start(Sumo { code: "canary-new", token: None }).await;
    let url = format!("{}/receiver/v1/http/", intake.url());
    let lane = sink(json!({ "type": "sumo", "url": url, "code": { "file": code } }));
    let attempt = lane.send(&batch(0..1)).await;
    assert_eq!(attempt.outcome.name(), "Unauthorized");
    assert!(!format!("{attempt:?} {lane:?}").contains("canary"));
    std::fs::write(&code, "canary-new").unwrap();
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    intake.script([FaultRule::answer(400, "the source canary-new has no such field")]);
    let attempt = lane.send(&batch(0..1)).await;
    assert!(format!("{attempt:?}").contains("***") && !format!("{attempt:?}").contains("canary"), "{attempt:?}");
}

#[tokio::test]
async fn sumo_that_took_too_long_gets_smaller_requests() {
    let intake = Double::start(Sumo { code: "c0de", token: None }).await;
    let lane = sink(sumo_keys(&intake, json!({})));
    for (ids, expected) in [(0..10, "TooLarge"), (0..1, "Transient")] {
        intake.script([FaultRule::AcceptAndAnswer(Reply::new(408, ""))]);
        assert_eq!(lane.send(&batch(ids)).await.outcome.name(), expected);
    }
}

#[test]
fn fields_of_sumo_fit_into_their_header() {
    for fields in [json!({ "a,b": "c" }), json!({ "a": "b,c" }), json!({ "a=b": "c" })] {
        let error = build_error(json!({ "type": "sumo", "url": "https://h/x", "fields": fields }));
        assert!(error.contains("`fields."), "{error}");
    }
}

/// Dozens of events that only their escapes or envelopes make too large are kept, one by one, and stop nothing.
#[tokio::test]
async fn events_too_large_to_send_do_not_stop_the_lane() {
    let intake = Double::start(Sumo { code: "c0de", token: None }).await;
    let lane = sink(sumo_keys(&intake, json!({ "envelope": true })));
    let mut sent = Batch::new(Stream::Activities);
    (0..30).for_each(|id| push(&mut sent, &id.to_string(), &"x".repeat(63_900)));
    assert!(sent.events().all(|event| event.body.len() <= 64_000));
    let delivered = deliver(lane, &sent).await;
    delivered.result.unwrap();
    assert_eq!((delivered.dead_letters.len(), intake.requests().len()), (30, 0));
    let letter = &delivered.dead_letters[29];
    assert_eq!(letter["status"], "too_large");
    assert!(letter["reason"].as_str().unwrap().contains("at most 64000"), "{}", letter["reason"]);
}
