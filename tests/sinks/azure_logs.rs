//! `azure_logs` against a double of Entra ID and the Logs Ingestion API.

use std::time::Duration;

use s1_forwarder::destinations::http::Ambient;
use s1_forwarder::destinations::{SharedSinkResources, SinkContext};
use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::{Misconfigured, Transient, Unauthorized};
use s1_forwarder::record::Stream;
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::azure_logs::{Azure, RULE, TENANT};
use crate::support::batches::{batch, context, push, sink, sink_in};
use crate::support::deliver::{deliver, reason};
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
    assert_eq!(attempt.outcome.failure_kind(), Some(Unauthorized), "{attempt:?}");
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

/// Keys without an application, and the context of a worker with these variables.
fn identity(azure: &Double<Azure>, more: Value, variables: &[(&str, &str)]) -> (Value, SinkContext) {
    let mut keys = json!({ "type": "azure_logs", "url": azure.url(), "dcr_immutable_id": RULE });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let shared = SharedSinkResources::default().with_ambient(Ambient::of(variables.iter().copied()));
    (keys, SinkContext { shared, ..context(Stream::Activities) })
}

#[tokio::test]
async fn a_managed_identity_needs_no_secret() {
    let start = || async { Double::start(Azure { managed: Some("mine"), ..Azure::default() }).await };
    for client in [json!({ "managed_identity": true }), json!({ "managed_identity": true, "client_id": "mine" })] {
        let azure = start().await;
        let (keys, worker) = identity(&azure, client, &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", &azure.url())]);
        let lanes = [sink_in(keys.clone(), &worker), sink_in(keys, &worker)];
        for lane in lanes {
            assert_eq!(lane.send(&batch(0..2)).await.outcome, Outcome::Delivered);
        }
        assert_eq!(azure.contract(|azure| azure.issued), 1, "lanes share the token");
    }
    let azure = start().await;
    let url = format!("{}/msi/token", azure.url());
    let variables = [("IDENTITY_ENDPOINT", url.as_str()), ("IDENTITY_HEADER", "canary-header")];
    let (keys, worker) = identity(&azure, json!({ "managed_identity": true }), &variables);
    assert_eq!(sink_in(keys, &worker).send(&batch(0..2)).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn a_metadata_service_that_is_updated_is_asked_again() {
    let azure = Double::start(Azure { managed: Some("mine"), updating: vec![410, 404, 429, 500], ..Azure::default() });
    let azure = azure.await;
    let host = [("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.url())];
    let host = host.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (keys, worker) = identity(&azure, json!({ "managed_identity": true }), &host);
    let lane = sink_in(keys, &worker);
    for _ in 0..4 {
        let attempt = lane.send(&batch(0..1)).await;
        assert_eq!(attempt.outcome.failure_kind(), Some(Transient), "{attempt:?}");
    }
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn a_workload_identity_is_that_of_the_pod_and_its_token_is_read_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "old").unwrap();
    let azure = Azure { federated: Some("old".to_owned()), token_lifetime: Duration::ZERO, ..Azure::default() };
    let azure = Double::start(azure).await;
    let url = azure.url();
    let path = file.to_str().unwrap().to_owned();
    let variables = [
        ("AZURE_FEDERATED_TOKEN_FILE", path.as_str()),
        ("AZURE_CLIENT_ID", "app"),
        ("AZURE_TENANT_ID", TENANT),
        ("AZURE_AUTHORITY_HOST", &url),
    ];
    let (keys, worker) = identity(&azure, json!({ "workload_identity": true }), &variables);
    let lane = sink_in(keys, &worker);
    lane.send(&batch(0..1)).await;
    std::fs::write(&file, "new").unwrap();
    azure.contract(|azure| {
        azure.federated = Some("new".to_owned());
        azure.token_lifetime = Duration::from_secs(3_599);
    });
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    let requests = azure.requests();
    let refused = requests.iter().filter(|request| request.path.ends_with("/token") && request.status == 401);
    assert_eq!(refused.count(), 0, "the old token is not sent again");
}

#[tokio::test]
async fn identities_that_are_missing_are_named_with_what_to_do() {
    let azure = Double::start(Azure::default()).await;
    let (url, app) = (azure.url(), format!("{}/msi/token", azure.url()));
    let managed = json!({ "managed_identity": true });
    for (more, variables, parts) in [
        (
            &managed,
            &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", url.as_str())][..],
            ["Identity not found", "a virtual machine"],
        ),
        (
            &managed,
            &[("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")],
            ["127.0.0.1:1", "a virtual machine"],
        ),
        (
            &managed,
            &[("IDENTITY_ENDPOINT", &app), ("IDENTITY_HEADER", "canary-other")],
            ["you sent ***", "assign a managed"],
        ),
        (&managed, &[("IDENTITY_ENDPOINT", &app)], ["Azure Arc", "use `client_secret`"]),
        (&json!({ "workload_identity": true }), &[("AZURE_TENANT_ID", "t")], ["AZURE_CLIENT_ID is not set", "webhook"]),
    ] {
        let (keys, worker) = identity(&azure, more.clone(), variables);
        let lane = sink_in(keys, &worker);
        let attempt = lane.send(&batch(0..1)).await;
        let words = reason(&attempt);
        assert!(parts.iter().all(|part| words.contains(part)) && !words.contains("canary"), "{parts:?}: {words}");
        assert!(matches!(lane.probe().await, ProbeResult::Failed(found) if found.contains(parts[0])));
    }
    assert!(azure.deliveries().is_empty());
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
        assert!(matches!(&found, ProbeResult::Failed(reason) if reason.contains(expected)), "{found:?}");
        let delivered = deliver(lane, &batch(0..20)).await;
        assert!(
            matches!(&delivered.result, Err(Failure { kind: Unauthorized | Misconfigured, reason, .. }) if reason.contains(expected)),
            "{delivered:?}"
        );
        assert_eq!((delivered.dead_letters_counted, rows(&azure).len()), (0, 0));
    }
}

#[tokio::test]
async fn a_probe_delivers_nothing() {
    let azure = Double::start(Azure::default()).await;
    let found = sink(keys(&azure, json!({}))).probe().await;
    assert!(matches!(found, ProbeResult::Verified(_)), "{found:?}");
    assert_eq!((rows(&azure).len(), azure.deliveries().len()), (0, 0));
    let nowhere = sink(keys(&azure, json!({ "url": "http://127.0.0.1:1" }))).probe().await;
    assert!(matches!(nowhere, ProbeResult::Failed(_)));
}
