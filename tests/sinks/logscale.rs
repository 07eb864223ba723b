//! `logscale` against a double of LogScale, as Splunk's collector and with structured events.

use s1_forwarder::record::{Identity, Stream};
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use serde_json::{Value, json};

use crate::support::batches::{batch, build_error, holds_its_limits, raw_context, sink, sink_in, with};
use crate::support::double::{Contract, Double};
use crate::support::logscale::LogScale;

const LOGSCALE: LogScale = LogScale { token: "t0ken", repository: "edr" };

fn logscale_keys(intake: &Double<impl Contract>, more: Value) -> Value {
    with(json!({ "type": "logscale", "url": intake.url(), "token": "t0ken" }), more)
}

#[tokio::test]
async fn logscale_gets_objects_as_splunk_does() {
    let intake = Double::start(LOGSCALE).await;
    let lane = sink(logscale_keys(&intake, json!({ "index": "edr" })));
    holds_its_limits(&intake, &*lane, 900_000).await;
    assert_eq!(intake.requests()[0].path, "/api/v1/ingest/hec");
    let event = &intake.events()[3];
    assert_eq!((&event["time"], &event["event"]["id"]), (&json!(1_789_547_400.123), &json!("3")));
    assert_eq!(event["fields"]["label.customer"], "acme-eu");
    assert_eq!(event["sourcetype"], "sentinelone:activity");

    let wrong = sink(logscale_keys(&intake, json!({ "index": "other" })));
    assert_eq!(wrong.send(&batch(0..1)).await.outcome.name(), "Refused");
}

/// An NG-SIEM connector has a whole address, which is kept.
#[tokio::test]
async fn logscale_keeps_a_whole_address() {
    let intake = Double::start(LOGSCALE).await;
    let lane = sink(logscale_keys(&intake, json!({ "url": format!("{}/services/collector", intake.url()) })));
    assert_eq!(lane.send(&batch(0..2)).await.outcome, Outcome::Delivered);
    assert_eq!(intake.requests()[0].path, "/services/collector");
}

#[tokio::test]
async fn logscale_gets_structured_events() {
    let intake = Double::start(LOGSCALE).await;
    let keys = logscale_keys(&intake, json!({ "api": "structured", "tags": { "customer": "{label.customer}" } }));
    let lane = sink(keys.clone());
    holds_its_limits(&intake, &*lane, 900_000).await;
    let sent = batch(0..100);
    let event = &intake.events()[7];
    assert_eq!(event["tags"], json!({ "customer": "acme-eu" }));
    assert_eq!(event["timestamp"], "2026-09-16T08:30:00.123456Z");
    let attributes = &event["attributes"];
    assert_eq!(attributes["event_id"], sent.event(7).unwrap().identity.to_string());
    assert_eq!((&attributes["pipeline"], &attributes["stream"]), (&json!("acme"), &json!("activities")));
    assert_eq!((&attributes["id"], &attributes["label.customer"]), (&json!("7"), &json!("acme-eu")));

    let sent = batch(100..101);
    sink_in(keys, &raw_context()).send(&sent).await;
    let event = &intake.events()[100];
    assert_eq!(event["rawstring"].as_str().unwrap().as_bytes(), sent.event(0).unwrap().body);
    assert_eq!(event["attributes"].get("id"), None, "a raw record is text");
    assert_eq!(event["attributes"]["stream"], "activities");
}

#[tokio::test]
async fn logscale_says_why_a_record_could_not_be_mapped() {
    let intake = Double::start(LOGSCALE).await;
    let mut sent = Batch::new(Stream::Activities);
    let identity = Identity::of("h", Stream::Activities, "1", "");
    sent.push_with("1", identity, None, |out| {
        out.extend_from_slice(b"{ }");
        Some("no \"id\"".into())
    });
    sink(logscale_keys(&intake, json!({ "api": "structured" }))).send(&sent).await;
    let event = &intake.events()[0];
    assert_eq!(event["attributes"]["error_message"], "no \"id\"");
    assert_eq!(event["tags"], json!({ "sourcetype": "sentinelone:activity" }));
}

#[tokio::test]
async fn logscale_distinguishes_tokens_from_addresses() {
    let intake = Double::start(LOGSCALE).await;
    for api in ["hec", "structured"] {
        let lane = |more: Value| sink(logscale_keys(&intake, with(json!({ "api": api }), more)));
        // One takes a request without events, the other one does not.
        let probe = lane(json!({})).probe().await;
        let is_good = match (api, &probe) {
            ("hec", ProbeResult::Verified(_)) => true,
            ("structured", ProbeResult::Reached(reason)) => reason.contains("without events"),
            _ => false,
        };
        assert!(is_good, "{api}: {probe:?}");
        let probe = lane(json!({ "token": "other" })).probe().await;
        assert!(matches!(&probe, ProbeResult::Failed(reason) if reason.contains("credentials refused")), "{probe:?}");
        let probe = lane(json!({ "url": format!("{}/elsewhere", intake.url()) })).probe().await;
        assert!(matches!(&probe, ProbeResult::Failed(reason) if reason.contains("check `url`")), "{probe:?}");
    }
    assert!(intake.events().is_empty());
    for (more, part) in [
        (json!({ "tags": { "a": "b" } }), "`tags`"),
        (json!({ "api": "structured", "index": "edr" }), "`api`"),
        (json!({ "api": "structured", "tags": { "a": "{nobody}" } }), "{nobody}"),
    ] {
        let error = build_error(logscale_keys(&intake, more));
        assert!(error.contains(part), "{error}");
    }
}
