//! `azure_logs` against a double of Entra ID and the Logs Ingestion API.

use std::time::Duration;

use s1_forwarder::failure::Failure;
use s1_forwarder::record::Stream;
use s1_forwarder::settings::Schema;
use s1_forwarder::sink::{Batch, Outcome, Probe, SinkContext};
use serde_json::{Value, json};

use crate::support::azure::{Azure, RULE, TENANT};
use crate::support::batches::{batch, context, push, sink, sink_in};
use crate::support::deliver::deliver;
use crate::support::double::{Double, FaultRule, Reply};

fn keys(azure: &Double<Azure>, more: Value) -> Value {
    let mut keys = json!({
        "type": "azure_logs", "url": azure.url(), "authority": azure.url(), "tenant_id": TENANT,
        "dcr_immutable_id": RULE, "client_id": "app", "client_secret": "s3cret",
    });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

fn rows(azure: &Double<Azure>) -> Vec<Value> {
    azure.contract(|azure| azure.rows.clone())
}

#[tokio::test]
async fn rows_arrive_with_one_token_for_all_requests() {
    let azure = Double::start(Azure::default()).await;
    let lane = sink(keys(&azure, json!({})));
    let sent = batch(0..3);
    assert_eq!(lane.send(&sent).await.outcome, Outcome::Delivered);
    assert_eq!(lane.send(&batch(3..5)).await.outcome, Outcome::Delivered);
    let rows = rows(&azure);
    assert_eq!((rows.len(), azure.contract(|azure| azure.issued)), (5, 1));
    let event = sent.event(0).unwrap();
    assert_eq!(rows[0]["EventId"], event.identity.to_string());
    assert_eq!(rows[0]["Event"], serde_json::from_slice::<Value>(event.body).unwrap());
    assert_eq!(rows[0]["EventTime"], "2026-09-16T08:30:00.123456Z");
    assert_eq!(azure.deliveries()[0].header("content-encoding"), "gzip");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_when_it_is_refused() {
    let azure = Double::start(Azure { token_lifetime: Duration::ZERO, ..Azure::default() }).await;
    let lane = sink(keys(&azure, json!({})));
    let attempt = lane.send(&batch(0..1)).await;
    assert!(matches!(attempt.outcome, Outcome::Unauthorized(_)), "{attempt:?}");
    assert_eq!(azure.contract(|azure| azure.issued), 2, "a refused token is given up once");
    azure.contract(|azure| azure.token_lifetime = Duration::from_secs(3_599));
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    azure.script([FaultRule::Answer(Reply::new(401, ""))]);
    assert_eq!(lane.send(&batch(1..2)).await.outcome, Outcome::Delivered);
    assert_eq!((rows(&azure).len(), azure.contract(|azure| azure.issued)), (2, 4));
}

#[tokio::test]
async fn a_federated_identity_needs_no_secret_and_its_token_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "old").unwrap();
    let azure = Azure { federated: Some("old".to_owned()), token_lifetime: Duration::ZERO, ..Azure::default() };
    let azure = Double::start(azure).await;
    let mut keys = keys(&azure, json!({ "federated_token": { "file": file } }));
    keys.as_object_mut().unwrap().remove("client_secret");
    let lane = sink(keys);
    lane.send(&batch(0..1)).await;
    std::fs::write(&file, "new").unwrap();
    azure.contract(|azure| {
        azure.federated = Some("new".to_owned());
        azure.token_lifetime = Duration::from_secs(3_599);
    });
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
}

/// The issue is in the sizes: no request breaks a limit, and no column is cut.
#[tokio::test]
async fn large_batches_and_events_arrive_whole() {
    let azure = Double::start(Azure::default()).await;
    let mut sent = Batch::new(Stream::Activities);
    for id in 0..40 {
        // Quotes double when a text is put into another.
        push(&mut sent, &id.to_string(), &"say \"ä\" ".repeat(if id % 10 == 0 { 20_000 } else { 3_000 }));
    }
    for schema in [Schema::Ecs, Schema::Raw] {
        azure.contract(|azure| azure.rows.clear());
        let lane = sink_in(keys(&azure, json!({})), &SinkContext { schema, ..context(Stream::Activities) });
        let delivered = deliver(lane, &sent).await;
        assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters_counted), (Ok(()), 40, 0));
        let rows = rows(&azure);
        assert_eq!((rows.len(), azure.contract(|azure| azure.cut)), (40, 0));
        for (row, event) in rows.iter().zip(sent.events()) {
            let text = ["RawEvent", "RawEvent2", "RawEvent3", "RawEvent4"].map(|name| row[name].as_str().unwrap_or(""));
            let whole = match row.get("Event") {
                Some(event) => event.clone(),
                None => serde_json::from_str(&text.concat()).unwrap(),
            };
            assert_eq!(whole, serde_json::from_slice::<Value>(event.body).unwrap());
        }
    }
    assert!(azure.deliveries().iter().all(|request| request.status == 204), "nothing was sent that was too large");
}

#[tokio::test]
async fn an_event_that_no_request_can_hold_is_a_dead_letter_and_the_others_arrive() {
    let azure = Double::start(Azure::default()).await;
    let mut sent = batch(0..5);
    push(&mut sent, "large", &"x".repeat(950_000));
    let delivered = deliver(sink(keys(&azure, json!({}))), &sent).await;
    assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters_counted), (Ok(()), 5, 1));
    assert_eq!(delivered.dead_letters[0]["record_id"], "large");
    assert!(azure.deliveries().iter().all(|request| request.status == 204));
}

#[tokio::test]
async fn throttling_and_lost_answers_lose_nothing() {
    let azure = Double::start(Azure { throttled: 3, ..Azure::default() }).await;
    azure.script([
        FaultRule::Reset,
        FaultRule::AcceptAndReset,
        FaultRule::Answer(Reply::new(502, "<html>Bad Gateway</html>")),
    ]);
    let delivered = deliver(sink(keys(&azure, json!({}))), &batch(0..10)).await;
    assert_eq!((delivered.result, delivered.delivered), (Ok(()), 10));
    let counts = azure.contract(|azure| azure.counts());
    assert!(counts.len() == 10 && counts.values().all(|count| (1..=2).contains(count)), "{counts:?}");
}

#[tokio::test]
async fn what_is_wrong_pauses_the_lane_and_loses_nothing() {
    for (more, change, expected) in [
        (json!({ "client_secret": "wrong" }), None, "AADSTS7000215"),
        (json!({}), Some(()), "30 minutes"),
        (json!({ "stream_name": "Custom-{stream}" }), None, "InvalidStream"),
        (json!({ "dcr_immutable_id": "dcr-other" }), None, "no such endpoint or rule"),
    ] {
        let azure = Double::start(Azure { has_role: change.is_none(), ..Azure::default() }).await;
        let lane = sink(keys(&azure, more));
        let found = lane.probe().await;
        assert!(matches!(&found, Probe::Failed(reason) if reason.contains(expected)), "{found:?}");
        let delivered = deliver(lane, &batch(0..20)).await;
        assert!(
            matches!(&delivered.result, Err(Failure::Unauthorized(reason) | Failure::Misconfigured(reason)) if reason.contains(expected)),
            "{delivered:?}"
        );
        assert_eq!((delivered.dead_letters_counted, rows(&azure).len()), (0, 0));
    }
}

#[tokio::test]
async fn a_probe_delivers_nothing() {
    let azure = Double::start(Azure::default()).await;
    let found = sink(keys(&azure, json!({}))).probe().await;
    assert!(matches!(found, Probe::Verified(_)), "{found:?}");
    assert_eq!((rows(&azure).len(), azure.deliveries().len()), (0, 0));
    let nowhere = sink(keys(&azure, json!({ "url": "http://127.0.0.1:1" }))).probe().await;
    assert!(matches!(nowhere, Probe::Failed(_)));
}
