//! Sumo Logic, LogScale and Panther against doubles of them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use s1_forwarder::destinations::SinkContext;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::{Batch, Outcome, Probe, Sink};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::{batch, context, push, settings, sink, sink_in};
use crate::support::deliver::deliver;
use crate::support::double::{Contract, Double, FaultRule, Reply};
use crate::support::logscale::LogScale;
use crate::support::panther::{Guard, Panther};
use crate::support::sumo::Sumo;

const LOGSCALE: LogScale = LogScale { token: "t0ken", repository: "edr" };

fn once(ids: std::ops::Range<u32>) -> BTreeMap<String, u32> {
    ids.map(|id| (id.to_string(), 1)).collect()
}

fn with(mut keys: Value, more: Value) -> Value {
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

fn raw() -> SinkContext {
    SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(Stream::Activities) }
}

fn refused(keys: Value) -> String {
    settings(keys).build(&context(Stream::Threats)).unwrap_err().to_string()
}

/// What `lane` delivers arrives once, whole and in the limits; what is larger than they are is not sent.
async fn holds_its_limits(intake: &Double<impl Contract>, lane: &dyn Sink, event_bytes: usize) {
    assert_eq!(lane.send(&batch(0..100)).await.outcome, Outcome::Delivered);
    assert_eq!(intake.ledger().counts(), once(0..100));
    let before = intake.requests().len();
    let mut large = Batch::new(Stream::Activities);
    push(&mut large, "large", &"x".repeat(event_bytes));
    let attempt = lane.send(&large).await;
    assert_eq!((attempt.outcome.name().as_str(), attempt.status.as_str()), ("TooLarge", "too_large"));
    assert_eq!(intake.requests().len(), before, "what is too large is not sent");
}

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
    sink_in(sumo_keys(&intake, more), &raw()).send(&batch(0..2)).await;
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
    assert!(matches!(good.probe().await, Probe::Verified(_)));
    assert!(intake.ledger().counts().is_empty(), "a probe delivers nothing");
    assert_eq!(good.send(&batch(0..2)).await.outcome, Outcome::Delivered);
    for bad in [lane("other-code", "t0ken"), lane("c0de", "other")] {
        assert_eq!(bad.send(&batch(0..1)).await.outcome.name(), "Unauthorized");
        assert!(matches!(bad.probe().await, Probe::Failed(reason) if reason.contains("credentials refused")));
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
        let error = refused(json!({ "type": "sumo", "url": "https://h/x", "fields": fields }));
        assert!(error.contains("`fields."), "{error}");
    }
}

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
    sink_in(keys, &raw()).send(&sent).await;
    let event = &intake.events()[100];
    assert_eq!(event["rawstring"].as_str().unwrap().as_bytes(), sent.event(0).unwrap().body);
    assert_eq!(event["attributes"].get("id"), None, "a raw record is text");
    assert_eq!(event["attributes"]["stream"], "activities");
}

#[tokio::test]
async fn logscale_says_why_a_record_could_not_be_mapped() {
    let intake = Double::start(LOGSCALE).await;
    let mut sent = Batch::new(Stream::Activities);
    let identity = s1_forwarder::record::Identity::of("h", Stream::Activities, "1", "");
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
            ("hec", Probe::Verified(_)) => true,
            ("structured", Probe::Reached(reason)) => reason.contains("without events"),
            _ => false,
        };
        assert!(is_good, "{api}: {probe:?}");
        let probe = lane(json!({ "token": "other" })).probe().await;
        assert!(matches!(&probe, Probe::Failed(reason) if reason.contains("credentials refused")), "{probe:?}");
        let probe = lane(json!({ "url": format!("{}/elsewhere", intake.url()) })).probe().await;
        assert!(matches!(&probe, Probe::Failed(reason) if reason.contains("check `url`")), "{probe:?}");
    }
    assert!(intake.events().is_empty());
    for (more, part) in [
        (json!({ "tags": { "a": "b" } }), "`tags`"),
        (json!({ "api": "structured", "index": "edr" }), "`api`"),
        (json!({ "api": "structured", "tags": { "a": "{nobody}" } }), "{nobody}"),
    ] {
        let error = refused(logscale_keys(&intake, more));
        assert!(error.contains(part), "{error}");
    }
}

fn panther_keys(intake: &Double<impl Contract>, more: Value) -> Value {
    with(json!({ "type": "panther", "url": format!("{}/http/5e1f", intake.url()) }), more)
}

#[tokio::test]
async fn panther_gets_each_framing_under_each_guard() {
    let basic: &'static str = format!("Basic {}", BASE64_STANDARD.encode("user:canary")).leak();
    for (guard, credentials) in [
        (Guard::Header("x-panther", "canary"), json!({ "headers": { "X-Panther": "canary" } })),
        (Guard::Header("authorization", "Bearer canary"), json!({ "auth": { "type": "bearer", "token": "canary" } })),
        (
            Guard::Header("authorization", basic),
            json!({ "auth": { "type": "basic", "user": "user", "password": "canary" } }),
        ),
        (
            Guard::Hmac("x-digest", b"canary"),
            json!({ "auth": { "type": "hmac", "secret": "canary", "form": "hex", "header": "X-Digest" } }),
        ),
    ] {
        for format in ["ndjson", "json_array"] {
            for compression in ["gzip", "none"] {
                let intake = Double::start(Panther(guard)).await;
                let more = with(credentials.clone(), json!({ "format": format, "compression": compression }));
                let lane = sink(panther_keys(&intake, more.clone()));
                let probe = lane.probe().await;
                let signed = matches!(guard, Guard::Hmac(..));
                assert!(
                    matches!((&probe, signed), (Probe::Verified(_), false) | (Probe::Reached(_), true)),
                    "{probe:?}"
                );
                holds_its_limits(&intake, &*lane, 900_000).await;
                let wrong = serde_json::from_str(&more.to_string().replace("canary", "wrong")).unwrap();
                let wrong = sink(panther_keys(&intake, wrong));
                assert_eq!(wrong.send(&batch(0..1)).await.outcome.name(), "Unauthorized", "{more}");
                if !signed {
                    let probe = wrong.probe().await;
                    assert!(matches!(&probe, Probe::Failed(reason) if reason.contains("credentials")), "{probe:?}");
                }
            }
        }
    }
}

/// `events` of 100 kB that hardly compress.
fn random_batch(events: u32) -> Batch {
    let mut random = fastrand::Rng::with_seed(7);
    let mut batch = Batch::new(Stream::Activities);
    for id in 0..events {
        let text: String = (0..100_000).map(|_| random.alphanumeric()).collect();
        push(&mut batch, &id.to_string(), &text);
    }
    batch
}

/// The limit is on the wire: what compresses well goes in one request, what does not is split until it fits.
#[tokio::test]
async fn panther_gets_as_much_as_fits_after_compression() {
    let intake = Double::start(Panther(Guard::Header("x-panther", "s"))).await;
    let keys = |more| panther_keys(&intake, with(json!({ "headers": { "X-Panther": "s" } }), more));
    let lane = sink(keys(json!({})));
    let good = batch(0..30_000);
    assert!(good.body_bytes() > 2_000_000);
    assert_eq!(lane.send(&good).await.outcome, Outcome::Delivered);

    let bad = random_batch(20);
    let before = intake.requests().len();
    let attempt = lane.send(&bad).await;
    assert_eq!((attempt.outcome.name().as_str(), attempt.status.as_str()), ("TooLarge", "too_large"));
    assert_eq!(intake.requests().len(), before, "it was not sent");
    let half = bad.select(0..8);
    assert_eq!(lane.send(&half).await.outcome, Outcome::Delivered);
    assert!(intake.requests()[before].wire_bytes > 500_000);

    let plain = sink(keys(json!({ "compression": "none" })));
    assert_eq!((lane.limits().bytes, plain.limits().bytes), (4_000_000, 900_000));
}

#[tokio::test]
async fn panther_reports_the_wrong_address() {
    let intake = Double::start(Panther(Guard::Header("x-panther", "s"))).await;
    let lane = sink(panther_keys(&intake, json!({ "url": format!("{}/http/other", intake.url()) })));
    assert_eq!(lane.send(&batch(0..1)).await.outcome.name(), "Misconfigured");
    assert!(matches!(lane.probe().await, Probe::Failed(reason) if reason.contains("404")));
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

/// Twenty events that compress to twice what Panther takes: halved until they fit, each once.
#[tokio::test]
async fn what_compresses_badly_is_halved_until_it_fits() {
    let intake = Double::start(Panther(Guard::Header("x-panther", "s"))).await;
    let lane = sink(panther_keys(&intake, json!({ "headers": { "X-Panther": "s" } })));
    deliver(lane, &random_batch(20)).await.result.unwrap();
    assert_eq!(intake.ledger().counts(), once(0..20));
    assert_eq!(intake.requests().len(), 4, "quarters fit");
}
