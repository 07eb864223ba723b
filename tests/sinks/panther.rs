//! `panther` against a double of an HTTP source of Panther.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use serde_json::{Value, json};

use crate::support::batches::{batch, holds_its_limits, once, push, sink, with};
use crate::support::deliver::deliver;
use crate::support::double::{Contract, Double};
use crate::support::panther::{Guard, Panther};

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
                    matches!((&probe, signed), (ProbeResult::Verified(_), false) | (ProbeResult::Reached(_), true)),
                    "{probe:?}"
                );
                holds_its_limits(&intake, &*lane, 900_000).await;
                let wrong = serde_json::from_str(&more.to_string().replace("canary", "wrong")).unwrap();
                let wrong = sink(panther_keys(&intake, wrong));
                assert_eq!(wrong.send(&batch(0..1)).await.outcome.name(), "Unauthorized", "{more}");
                if !signed {
                    let probe = wrong.probe().await;
                    assert!(
                        matches!(&probe, ProbeResult::Failed(reason) if reason.contains("credentials")),
                        "{probe:?}"
                    );
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
    assert_eq!((attempt.outcome.name().as_str(), attempt.status.label()), ("TooLarge", "too_large"));
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
    assert!(matches!(lane.probe().await, ProbeResult::Failed(reason) if reason.contains("404")));
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
