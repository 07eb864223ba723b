//! Splunk's HTTP Event Collector against a double of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::destinations::SinkContext;
use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::{Misconfigured, Transient, Unauthorized};
use s1_forwarder::record::Stream;
use s1_forwarder::sink::{Batch, Outcome, ProbeResult, Sink};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::{batch, context, push, settings, sink, sink_in};
use crate::support::deliver::{deliver, delivery, settle};
use crate::support::double::FaultRule;
use crate::support::splunk_hec::{Collector, Hec};

fn keys(collector: &Collector, more: Value) -> Value {
    let mut keys = json!({ "type": "splunk_hec", "url": collector.url(), "token": "t0ken" });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

fn lane(collector: &Collector, more: Value) -> Arc<dyn Sink> {
    sink(keys(collector, more))
}

fn counts(ids: std::ops::Range<u32>, count: u32) -> BTreeMap<String, u32> {
    ids.map(|id| (id.to_string(), count)).collect()
}

fn acknowledged(more: Value) -> Value {
    let mut settings = json!({ "interval": "10ms" });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "acknowledgement": settings })
}

#[tokio::test]
async fn events_carry_time_index_and_fields() {
    let indexes = BTreeSet::from(["edr-activities".to_owned()]);
    let collector = Collector::start(Hec { indexes, ..Hec::default() }).await;
    let lane = lane(&collector, json!({ "index": "edr-{stream}", "host": "{label.customer}" }));
    let sent = batch(0..3);
    assert_eq!(lane.send(&sent).await.outcome, Outcome::Delivered);
    assert_eq!(collector.ledger().counts(), counts(0..3, 1));
    let event = &collector.events()[1];
    assert_eq!(event["time"], json!(1_789_547_400.123));
    assert_eq!((&event["index"], &event["host"]), (&json!("edr-activities"), &json!("acme-eu")));
    assert_eq!((&event["source"], &event["sourcetype"]), (&json!("s1:activities"), &json!("sentinelone:activity")));
    assert_eq!(
        event["fields"],
        json!({
            "event_id": sent.event(1).unwrap().identity.to_string(), "pipeline": "acme", "stream": "activities",
            "label.customer": "acme-eu",
        })
    );
}

#[tokio::test]
async fn raw_records_are_events_with_the_same_fields() {
    let collector = Collector::start(Hec::default()).await;
    let context = SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(Stream::Threats) };
    let sent = batch(0..1);
    sink_in(keys(&collector, json!({})), &context).send(&sent).await;
    let event = &collector.events()[0];
    assert_eq!(event["event"], serde_json::from_slice::<Value>(sent.event(0).unwrap().body).unwrap());
    assert_eq!((&event["sourcetype"], &event["fields"]["stream"]), (&json!("sentinelone:threat"), &json!("threats")));
}

#[tokio::test]
async fn the_raw_endpoint_gets_lines_and_the_rest_in_its_address() {
    let indexes = BTreeSet::from(["edr".to_owned()]);
    let collector = Collector::start(Hec { indexes, acks: true, ..Hec::default() }).await;
    let more = json!({ "endpoint": "raw", "index": "edr", "acknowledgement": { "interval": "10ms" } });
    let sent = batch(0..3);
    assert_eq!(lane(&collector, more).send(&sent).await.outcome, Outcome::Delivered);
    let bodies: Vec<Value> = sent.events().map(|event| serde_json::from_slice(event.body).unwrap()).collect();
    assert_eq!(collector.events(), bodies);
    let wrong = lane(&collector, json!({ "endpoint": "raw", "index": "other", "acknowledgement": {} }));
    assert!(
        matches!(wrong.send(&sent).await.outcome, Outcome::Failed(Failure { kind: Misconfigured, reason, .. }) if reason.contains("index"))
    );
}

/// The address may be given with or without the path that the collector's own pages show.
#[tokio::test]
async fn the_path_is_added_once() {
    let collector = Collector::start(Hec::default()).await;
    for path in ["", "/", "/services/collector", "/services/collector/event"] {
        let lane = lane(&collector, json!({ "url": format!("{}{path}", collector.url()) }));
        assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered, "{path}");
    }
}

/// One bad event of a thousand: the prefix was taken, the bad one is kept, the rest is sent again, nothing twice.
#[tokio::test]
async fn a_bad_event_costs_itself_alone() {
    for (bad, status) in [(r#""""#, "400"), ("null", "400"), (r#"{"broken":"#, "400")] {
        let collector = Collector::start(Hec::default()).await;
        let lane = lane(&collector, json!({}));
        let mut sent = batch(0..600);
        let identity = s1_forwarder::record::Identity::of("h", Stream::Activities, "bad", "");
        sent.push_with("bad", identity, None, |out| {
            out.extend_from_slice(bad.as_bytes());
            None
        });
        (600..1_000).for_each(|id| push(&mut sent, &id.to_string(), "text"));
        let delivered = deliver(lane, &sent).await;
        assert_eq!(collector.ledger().counts(), counts(0..1_000, 1), "{bad}");
        let dead_letters = delivered.dead_letters;
        assert!(dead_letters.len() == 1 && dead_letters[0]["status"] == status, "{dead_letters:?}");
        assert_eq!(dead_letters[0]["identity"], identity.to_string());
    }
}

#[tokio::test]
async fn what_a_busy_collector_took_before_is_not_sent_again() {
    let collector = Collector::start(Hec { busy_after: [0, 7, 0, 2].into(), ..Hec::default() }).await;
    let lane = lane(&collector, json!({}));
    assert!(deliver(lane, &batch(0..20)).await.dead_letters.is_empty());
    assert_eq!(collector.ledger().counts(), counts(0..20, 1));
}

#[tokio::test]
async fn tokens_and_channels_are_distinguished() {
    let collector = Collector::start(Hec::default()).await;
    collector.contract(|hec| hec.tokens = BTreeMap::from([("t0ken".to_owned(), true), ("off".to_owned(), false)]));
    for (more, reason) in [
        (json!({ "token": "off" }), "\"code\":1"),
        (json!({ "token": "other" }), "\"code\":4"),
        (json!({ "url": collector.url() + "/elsewhere" }), "404"),
    ] {
        let lane = lane(&collector, more);
        let attempt = lane.send(&batch(0..1)).await;
        let right = match &attempt.outcome {
            Outcome::Failed(Failure { kind: Unauthorized | Misconfigured, reason: said, .. }) => {
                // The configured part of the path is not shown.
                let hidden = if said.contains("404") { "/…" } else { "" };
                let start = format!("{}{hidden}/services/collector/event: 40", collector.url());
                said.starts_with(&start) && said.contains(reason)
            }
            _ => false,
        };
        assert!(right, "{attempt:?}");
        let probe = lane.probe().await;
        assert!(matches!(&probe, ProbeResult::Failed(said) if said.contains(reason)), "{probe:?}");
    }
    let probe = lane(&collector, json!({})).probe().await;
    assert!(matches!(&probe, ProbeResult::Verified(_)), "{probe:?}");

    let probe = lane(&collector, json!({ "acknowledgement": {} })).probe().await;
    assert!(matches!(&probe, ProbeResult::Failed(said) if said.contains("remove `acknowledgement`")), "{probe:?}");
    collector.contract(|hec| hec.acks = true);
    let probe = lane(&collector, json!({})).probe().await;
    assert!(matches!(&probe, ProbeResult::Failed(said) if said.contains("add `acknowledgement: {}`")), "{probe:?}");
    assert!(matches!(lane(&collector, json!({ "acknowledgement": {} })).probe().await, ProbeResult::Verified(_)));

    collector.contract(|hec| hec.health = 18);
    let probe = lane(&collector, json!({ "acknowledgement": {} })).probe().await;
    assert!(matches!(&probe, ProbeResult::Failed(said) if said.contains("but is unavailable")), "{probe:?}");
    assert!(collector.ledger().counts().is_empty(), "nothing is delivered");
}

#[tokio::test]
async fn a_wrong_index_stops_the_lane() {
    let collector = Collector::start(Hec { indexes: BTreeSet::from(["edr".to_owned()]), ..Hec::default() }).await;
    let attempt = lane(&collector, json!({ "index": "erd" })).send(&batch(0..3)).await;
    assert!(
        matches!(&attempt.outcome, Outcome::Failed(Failure { kind: Misconfigured, reason: said, .. }) if said.contains("index")),
        "{attempt:?}"
    );
}

#[tokio::test]
async fn batches_that_the_collector_finds_too_large_are_halved() {
    let collector = Collector::start(Hec { max_content_length: 2_000, ..Hec::default() }).await;
    let lane = lane(&collector, json!({}));
    assert!(deliver(lane, &batch(0..50)).await.dead_letters.is_empty());
    assert_eq!(collector.ledger().counts(), counts(0..50, 1));
}

#[tokio::test]
async fn delivered_means_acknowledged() {
    let collector = Collector::start(Hec { acks: true, ack_after: 3, ..Hec::default() }).await;
    let lane = lane(&collector, acknowledged(json!({})));
    let one = batch(0..2);
    let two = batch(2..4);
    let three = batch(4..6);
    let all = futures_util::future::join_all([lane.send(&one), lane.send(&two), lane.send(&three)]).await;
    assert!(all.iter().all(|attempt| attempt.outcome == Outcome::Delivered), "{all:?}");
    assert_eq!(collector.ledger().counts(), counts(0..6, 1));
    let asked = collector.requests().iter().filter(|request| request.path.ends_with("/ack")).count();
    assert!((4..=12).contains(&asked), "one asks for all: {asked}");
}

#[tokio::test]
async fn what_is_never_acknowledged_is_sent_again() {
    let collector = Collector::start(Hec { acks: true, lose_acks: 1, ..Hec::default() }).await;
    let lane = lane(&collector, acknowledged(json!({ "timeout": "5s" })));
    assert!(deliver(lane, &batch(0..3)).await.dead_letters.is_empty());
    assert_eq!(collector.ledger().counts(), counts(0..3, 2));
}

/// The error says which request it was, and what to do.
#[tokio::test]
async fn a_page_instead_of_an_acknowledgement_is_named() {
    let collector = Collector::start(Hec { acks: true, ack_page: true, ..Hec::default() }).await;
    let attempt = lane(&collector, acknowledged(json!({}))).send(&batch(0..3)).await;
    let Outcome::Failed(Failure { kind: Misconfigured, reason, .. }) = &attempt.outcome else { panic!("{attempt:?}") };
    for part in ["the query for acknowledgements", "<html>load balancer", "/services/collector/ack", "or remove"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
}

/// The prefix before a bad event has a number of its own, and counts as taken only when that is acknowledged.
#[tokio::test]
async fn a_prefix_waits_for_its_acknowledgement_too() {
    for (lose_acks, times) in [(0, 1), (1, 2)] {
        let collector = Collector::start(Hec { acks: true, lose_acks, ..Hec::default() }).await;
        let lane = lane(&collector, acknowledged(json!({ "timeout": "5s" })));
        let mut sent = batch(0..5);
        let identity = s1_forwarder::record::Identity::of("h", Stream::Activities, "bad", "");
        sent.push_with("bad", identity, None, |out| {
            out.extend_from_slice(b"null");
            None
        });
        push(&mut sent, "5", "text");
        assert_eq!(deliver(lane, &sent).await.dead_letters.len(), 1);
        let mut expected = counts(0..5, times);
        expected.insert("5".to_owned(), 1);
        assert_eq!(collector.ledger().counts(), expected);
    }
}

/// After a restart numbers come again: the old events may not pass for acknowledged with the new ones' number.
#[tokio::test]
async fn numbers_that_come_again_acknowledge_nothing() {
    let collector = Collector::start(Hec { acks: true, lose_acks: 1, ..Hec::default() }).await;
    let lane = lane(&collector, acknowledged(json!({ "timeout": "30s" })));
    let before = batch(0..1);
    let after = batch(1..2);
    let old = tokio::spawn({
        let lane = lane.clone();
        async move { lane.send(&before).await }
    });
    while collector.events().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    collector.contract(Hec::restart);
    // The answer that carries the number may be read after the restart.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let new = lane.send(&after).await;
    assert!(matches!(new.outcome, Outcome::Busy(_)), "{new:?}");
    let old = old.await.unwrap();
    assert!(matches!(old.outcome, Outcome::Busy(_)), "{old:?}");
    assert_eq!(lane.send(&after).await.outcome, Outcome::Delivered);
}

/// The collector acknowledges the new request before its response is read, or while that is lost. The events before the
/// restart, whose id it has, must not count as delivered.
#[tokio::test]
async fn an_acknowledgement_of_a_new_request_does_not_settle_an_older_one() {
    for is_lost in [false, true] {
        let collector = Collector::start(Hec { acks: true, lose_acks: 1, ..Hec::default() }).await;
        let lane = lane(&collector, acknowledged(json!({ "timeout": "30s" })));
        let before = batch(0..1);
        let after = batch(1..2);
        let old = tokio::spawn({
            let lane = lane.clone();
            async move { lane.send(&before).await }
        });
        while !collector.requests().iter().any(|request| request.path.ends_with("/ack")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        collector.contract(|hec| {
            hec.restart();
            hec.takes = Duration::from_millis(300);
        });
        if is_lost {
            collector.script([FaultRule::AcceptAndReset]);
        }
        let new = lane.send(&after).await;
        assert!(matches!(new.outcome, Outcome::Busy(_) | Outcome::Failed(Failure { kind: Transient, .. })), "{new:?}");
        let old = old.await.unwrap();
        assert!(matches!(old.outcome, Outcome::Busy(_)), "{is_lost}: {old:?}");
        assert_eq!(lane.send(&after).await.outcome, Outcome::Delivered);
    }
}

/// With nothing pending, an id that comes again says nothing.
#[tokio::test]
async fn a_restart_while_nothing_is_pending_costs_nothing() {
    let collector = Collector::start(Hec { acks: true, ..Hec::default() }).await;
    let lane = lane(&collector, acknowledged(json!({})));
    for id in 0..3 {
        assert_eq!(lane.send(&batch(id..id + 1)).await.outcome, Outcome::Delivered);
        collector.contract(Hec::restart);
    }
    assert_eq!(collector.ledger().counts(), counts(0..3, 1));
}

/// Each collector has its own ids.
#[tokio::test]
async fn a_collector_that_is_unavailable_is_replaced_by_the_next_one() {
    let hec = || Hec { acks: true, ..Hec::default() };
    let one = Collector::start(hec()).await;
    let other = Collector::start(hec()).await;
    let mut keys = keys(&one, acknowledged(json!({})));
    keys.as_object_mut().unwrap().remove("url");
    keys["urls"] = json!([one.url(), other.url()]);
    let lane = sink(keys);
    assert!(matches!(lane.probe().await, ProbeResult::Verified(_)));
    let used = || [&one, &other].map(|collector| collector.ledger().counts().len());
    for id in 0..3 {
        let before = used();
        assert_eq!(deliver(lane.clone(), &batch(id..id + 1)).await.result, Ok(()));
        // The next request meets a collector that shuts down.
        let collector = if used()[0] > before[0] { &one } else { &other };
        collector.script([FaultRule::answer(503, r#"{"text":"Server is shutting down","code":23}"#)]);
    }
    assert!(used().iter().all(|events| *events > 0) && used().iter().sum::<usize>() == 3, "{:?}", used());
}

/// Splunk's own headers take precedence.
#[tokio::test]
async fn further_headers_are_sent() {
    let collector = Collector::start(Hec::default()).await;
    let more = json!({ "headers": { "X-Gateway-Key": "g4te", "Authorization": "other" } });
    assert_eq!(lane(&collector, more).send(&batch(0..1)).await.outcome, Outcome::Delivered);
    let seen = &collector.deliveries()[0];
    assert_eq!((seen.header("x-gateway-key"), seen.header("authorization")), ("g4te", "Splunk t0ken"));
}

#[tokio::test]
async fn a_token_without_acknowledgement_is_not_waited_for() {
    let collector = Collector::start(Hec::default()).await;
    let lane = lane(&collector, acknowledged(json!({})));
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    // It is turned off while a number waits.
    collector.contract(|hec| (hec.acks, hec.ack_after) = (true, u32::MAX));
    let waiting = tokio::spawn(async move { lane.send(&batch(1..2)).await });
    while collector.events().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    collector.contract(|hec| hec.acks = false);
    assert_eq!(waiting.await.unwrap().outcome, Outcome::Delivered);
}

#[test]
fn a_channel_is_a_uuid() {
    let keys =
        json!({ "type": "splunk_hec", "url": "https://h", "token": "t", "acknowledgement": { "channel": "one" } });
    let error = settings(keys).build(&context(Stream::Threats)).unwrap_err().to_string();
    assert!(error.contains("acknowledgement.channel") && error.contains("UUID"), "{error}");
}

/// Eight batches at a time against a collector that works on two: the window follows, and nothing arrives twice.
#[tokio::test]
async fn a_collector_that_throttles_gets_fewer_requests() {
    let collector = Collector::start(Hec { bears: 2, takes: Duration::from_millis(5), ..Hec::default() }).await;
    let directory = tempfile::tempdir().unwrap();
    let delivery = Arc::new(delivery(lane(&collector, json!({})), 8, directory.path()));
    let window = Arc::new(tokio::sync::Semaphore::new(8));
    let mut deliveries = tokio::task::JoinSet::new();
    for number in 0..200 {
        let delivery = delivery.clone();
        let window = window.clone();
        deliveries.spawn(async move {
            let _leave = window.acquire().await.unwrap();
            settle(&delivery, &batch(number * 2..number * 2 + 2)).await.unwrap();
        });
    }
    while let Some(done) = deliveries.join_next().await {
        done.unwrap();
    }
    assert_eq!(collector.ledger().counts(), counts(0..400, 1));
    let refused = collector.requests().iter().filter(|request| request.status == 429).count();
    assert!((1..100).contains(&refused), "{refused} of {}", collector.requests().len());
    let parallel = collector.contract(|hec| hec.parallel.clone());
    let crowded = parallel.iter().filter(|now| **now > 3).count();
    assert!(crowded < parallel.len() / 10, "{crowded} of {}: {parallel:?}", parallel.len());
}

/// A queue that fills takes events still, and says so: fewer requests before it has to refuse.
#[tokio::test]
async fn a_warning_is_heeded() {
    let takes = Duration::from_millis(20);
    let collector = Collector::start(Hec { success: 24, takes, ..Hec::default() }).await;
    let directory = tempfile::tempdir().unwrap();
    let delivery = delivery(lane(&collector, json!({})), 8, directory.path());
    let batches: Vec<Batch> = (0..40).map(|id| batch(id..id + 1)).collect();
    futures_util::future::join_all(batches.iter().map(|batch| settle(&delivery, batch))).await;
    assert_eq!(collector.ledger().counts(), counts(0..40, 1));
    let last = &collector.contract(|hec| hec.parallel.clone())[20..];
    assert!(last.iter().all(|now| *now == 1), "{:?}", collector.contract(|hec| hec.parallel.clone()));
}
