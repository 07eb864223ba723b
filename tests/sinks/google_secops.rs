//! `google_secops` against a double of Google's token service and the Chronicle API.

use s1_forwarder::destinations::http::Ambient;
use s1_forwarder::destinations::{SharedSinkResources, SinkContext};
use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::{Misconfigured, Unauthorized};
use s1_forwarder::record::Stream;
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::{batch, context, push, settings, sink, sink_in};
use crate::support::deliver::{deliver, reason};
use crate::support::double::{Double, FaultRule, Reply};
use crate::support::google_secops::{AUDIENCE, KEY, SecOps};

fn keys(secops: &Double<SecOps>, more: Value) -> Value {
    let mut keys = json!({
        "type": "google_secops", "url": secops.url(), "token_url": format!("{}/token", secops.url()), "project": "p",
        "location": "eu", "instance": "i", "service_account": KEY,
    });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

#[tokio::test]
async fn raw_records_arrive_as_they_are_under_one_token() {
    let secops = Double::start(SecOps::default()).await;
    let raw = SinkContext { schema: Schema::Raw, schema_name: "raw", ..context(Stream::Activities) };
    let lane = sink_in(keys(&secops, json!({ "forwarder": "f", "namespace": "acme" })), &raw);
    let sent = batch(0..3);
    assert_eq!(lane.send(&sent).await.outcome, Outcome::Delivered);
    assert_eq!(lane.send(&batch(3..5)).await.outcome, Outcome::Delivered);
    let (logs, issued) = secops.contract(|secops| (secops.logs.clone(), secops.issued));
    assert_eq!((logs.len(), issued), (5, 1));
    for ((data, log), event) in logs.iter().zip(sent.events()) {
        assert_eq!(data.as_bytes(), event.body);
        assert_eq!(log["labels"]["event_id"]["value"], event.identity.to_string());
        assert_eq!(log["labels"]["customer"]["value"], "acme-eu");
    }
}

/// The log type selects the parser, and each parser reads its own records.
#[tokio::test]
async fn the_log_type_follows_the_stream() {
    let secops = Double::start(SecOps::default()).await;
    for (stream, log_type) in [
        (Stream::Threats, "SENTINELONE_ALERT"),
        (Stream::Alerts, "SENTINELONE_ALERT"),
        (Stream::Activities, "SENTINELONE_ACTIVITY"),
    ] {
        let lane = sink_in(keys(&secops, json!({})), &context(stream));
        assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
        let path = &secops.deliveries().last().unwrap().path.clone();
        assert!(path.ends_with(&format!("/logTypes/{log_type}/logs:import")), "{path}");
    }
    for stream in [Stream::Agents, Stream::Groups, Stream::UnifiedAlerts, Stream::Vulnerabilities] {
        let error = settings(keys(&secops, json!({}))).build(&context(stream)).unwrap_err().to_string();
        assert!(error.contains(&format!("no log type for {stream}")) && error.contains("`log_type`"), "{error}");
        let own = keys(&secops, json!({ "log_type": "OWN_{stream}" }));
        settings(own).build(&context(stream)).unwrap();
    }
    assert_eq!(settings(keys(&secops, json!({}))).schema(Schema::Ecs), Schema::Raw);
    assert_eq!(settings(keys(&secops, json!({ "schema": "ecs" }))).schema(Schema::Raw), Schema::Ecs);
}

#[tokio::test]
async fn a_token_that_ended_is_replaced() {
    let secops = Double::start(SecOps::default()).await;
    let lane = sink(keys(&secops, json!({})));
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    secops.contract(|secops| secops.ended.insert("google-token-1".to_owned()));
    assert_eq!(lane.send(&batch(1..2)).await.outcome, Outcome::Delivered);
    assert_eq!(secops.contract(|secops| secops.issued), 2);
}

/// Base64 makes a third more of it: requests are cut by what they are then.
#[tokio::test]
async fn large_batches_are_cut_before_they_are_sent() {
    let secops = Double::start(SecOps::default()).await;
    let mut sent = Batch::new(Stream::Activities);
    (0..60).for_each(|id| push(&mut sent, &id.to_string(), &"x".repeat(100_000)));
    push(&mut sent, "large", &"x".repeat(1_000_000));
    let delivered = deliver(sink(keys(&secops, json!({}))), &sent).await;
    assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters_counted), (Ok(()), 60, 1));
    assert_eq!(delivered.dead_letters[0]["record_id"], "large");
    assert!(secops.deliveries().iter().all(|request| request.status == 200 && request.bytes.len() <= 3_500_000));
    assert!(secops.contract(|secops| secops.counts()).values().all(|count| *count == 1));
}

/// Some instances take less than the API's limit: what was refused is not sent again at that size.
#[tokio::test]
async fn a_size_that_was_refused_is_remembered() {
    let secops = Double::start(SecOps::default()).await;
    let refusal = r#"{"error":{"code":400,"message":"Request payload size exceeds the limit: 1048576 bytes."}}"#;
    secops.script([FaultRule::answer(400, refusal), FaultRule::answer(400, refusal)]);
    let lane = sink(keys(&secops, json!({})));
    for ids in [0..40, 40..80, 80..120] {
        assert_eq!(deliver(lane.clone(), &batch(ids)).await.result, Ok(()));
    }
    let refused = secops.deliveries().iter().filter(|request| request.status == 400).count();
    assert_eq!((refused, secops.contract(|secops| secops.counts()).len()), (2, 120));
    let largest = secops.deliveries()[2..].iter().map(|request| request.bytes.len()).max().unwrap();
    assert!(largest < secops.deliveries()[1].bytes.len(), "{largest}");
}

#[tokio::test]
async fn one_bad_log_is_found_and_the_rest_arrives_once() {
    let secops = Double::start(SecOps { throttled: 2, ..SecOps::default() }).await;
    let mut sent = batch(0..40);
    push(&mut sent, "bad", "poison");
    let delivered = deliver(sink(keys(&secops, json!({}))), &sent).await;
    assert_eq!((delivered.result, delivered.delivered, delivered.dead_letters_counted), (Ok(()), 40, 1));
    assert_eq!(delivered.dead_letters[0]["record_id"], "bad");
    let counts = secops.contract(|secops| secops.counts());
    assert!(counts.len() == 40 && counts.values().all(|count| *count == 1), "{counts:?}");
}

#[tokio::test]
async fn lost_answers_lose_nothing() {
    let secops = Double::start(SecOps::default()).await;
    secops.script([FaultRule::AcceptAndReset, FaultRule::Reset, FaultRule::Answer(Reply::new(503, ""))]);
    let delivered = deliver(sink(keys(&secops, json!({}))), &batch(0..10)).await;
    assert_eq!((delivered.result, delivered.delivered), (Ok(()), 10));
    assert!(secops.contract(|secops| secops.counts()).values().all(|count| *count == 2));
}

#[tokio::test]
async fn what_is_wrong_stops_the_lane_and_loses_nothing() {
    let other: Value = serde_json::from_str(KEY).unwrap();
    let mut stranger = other.clone();
    stranger["client_email"] = json!("stranger@example.iam.gserviceaccount.com");
    for (more, may_not_import, expected, probe) in [
        (json!({ "service_account": "canary" }), false, "not a JSON object", "not a JSON object"),
        (json!({ "service_account": stranger.to_string() }), false, "wrong claims", "wrong claims"),
        (json!({ "instance": "other" }), false, "no such instance", "no such instance"),
        (json!({ "log_type": "SENTINELONE" }), false, "Unknown log type", "log type"),
        (json!({}), true, "PERMISSION_DENIED", ""),
    ] {
        let secops = Double::start(SecOps { may_not_import, ..SecOps::default() }).await;
        let lane = sink(keys(&secops, more));
        match lane.probe().await {
            ProbeResult::Failed(reason) => assert!(!probe.is_empty() && reason.contains(probe), "{reason}"),
            other => assert!(probe.is_empty() && matches!(other, ProbeResult::Verified(_)), "{other:?}"),
        }
        let delivered = deliver(lane, &batch(0..20)).await;
        assert!(
            matches!(&delivered.result, Err(Failure { kind: Unauthorized | Misconfigured, reason, .. }) if reason.contains(expected)),
            "{delivered:?}"
        );
        assert!(delivered.dead_letters_counted == 0 && !format!("{delivered:?}").contains("canary"));
    }
}

#[tokio::test]
async fn an_account_that_may_only_import_is_not_called_wrong() {
    let secops = Double::start(SecOps { may_not_look: true, ..SecOps::default() }).await;
    let lane = sink(keys(&secops, json!({})));
    let found = lane.probe().await;
    assert!(matches!(&found, ProbeResult::Reached(reason) if reason.contains("chronicle.logs.import")), "{found:?}");
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    assert_eq!(secops.deliveries().len(), 1, "a probe delivers nothing");
}

/// Keys without a key file.
fn identity(secops: &Double<SecOps>, more: Value) -> Value {
    let mut keys =
        json!({ "type": "google_secops", "url": secops.url(), "project": "p", "location": "eu", "instance": "i" });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

/// What gcloud writes for workload identity federation.
fn configuration(secops: &Double<SecOps>, source: Value) -> Value {
    let url = secops.url();
    let mut configuration = json!({
        "universe_domain": "googleapis.com", "type": "external_account", "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": format!("{url}/v1/token"),
        "credential_source": source,
    });
    if secops.contract(|secops| secops.impersonates) {
        let account = "serviceAccounts/a@p.iam.gserviceaccount.com:generateAccessToken";
        configuration["service_account_impersonation_url"] = json!(format!("{url}/v1/projects/-/{account}"));
        configuration["service_account_impersonation"] = json!({ "token_lifetime_seconds": 1_800 });
    }
    configuration
}

#[tokio::test]
async fn a_federated_identity_needs_no_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("subject");
    std::fs::write(&file, "canary-subject\n").unwrap();
    for impersonates in [false, true] {
        let secops = SecOps { subject: "canary-subject".to_owned(), impersonates, ..SecOps::default() };
        let secops = Double::start(secops).await;
        let url = json!({
            "url": format!("{}/subject", secops.url()), "headers": { "X-Own": "canary-own" },
            "format": { "type": "json", "subject_token_field_name": "value" },
        });
        for (number, source) in [json!({ "file": file }), url].into_iter().enumerate() {
            let path = directory.path().join(format!("{impersonates}-{number}.json"));
            std::fs::write(&path, serde_json::to_string_pretty(&configuration(&secops, source)).unwrap()).unwrap();
            let lane = sink(identity(&secops, json!({ "external_account": { "file": path } })));
            for ids in [0..2, 2..3] {
                let attempt = lane.send(&batch(ids)).await;
                assert_eq!(attempt.outcome, Outcome::Delivered, "{attempt:?}");
            }
            assert_eq!(secops.contract(|secops| secops.federated), number as u32 + 1);
        }
    }
}

#[tokio::test]
async fn a_subject_token_is_read_again_when_the_token_is_renewed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("subject");
    std::fs::write(&file, "old").unwrap();
    let secops = Double::start(SecOps { subject: "old".to_owned(), ..SecOps::default() }).await;
    let source = configuration(&secops, json!({ "file": file })).to_string();
    let lane = sink(identity(&secops, json!({ "external_account": source })));
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    std::fs::write(&file, "new").unwrap();
    secops.contract(|secops| {
        secops.subject = "new".to_owned();
        secops.ended.insert("google-token-1".to_owned());
    });
    assert_eq!(lane.send(&batch(1..2)).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn the_account_of_the_machine_needs_no_key() {
    let secops = Double::start(SecOps::default()).await;
    let host = secops.address().to_string();
    let worker = |host: &str| {
        let shared = SharedSinkResources::default().with_ambient(Ambient::of([("GCE_METADATA_HOST", host)]));
        SinkContext { shared, ..context(Stream::Activities) }
    };
    let keys = identity(&secops, json!({ "metadata_server": true }));
    let lane = sink_in(keys.clone(), &worker(&host));
    for ids in [0..2, 2..3] {
        assert_eq!(lane.send(&batch(ids)).await.outcome, Outcome::Delivered);
    }
    assert_eq!(secops.contract(|secops| secops.issued), 1);

    secops.contract(|secops| secops.has_no_account = true);
    for (host, part) in [(host.as_str(), "404"), ("127.0.0.1:1", "127.0.0.1:1")] {
        let attempt = sink_in(keys.clone(), &worker(host)).send(&batch(0..1)).await;
        let words = reason(&attempt);
        assert!(words.contains(part) && words.contains("a machine or a pod in Google Cloud"), "{words}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_federated_identity_is_said_without_its_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("subject");
    std::fs::write(&file, "canary-stranger").unwrap();
    let secops =
        SecOps { impersonates: true, has_no_account: true, subject: "canary-x".to_owned(), ..Default::default() };
    let secops = Double::start(secops).await;
    let url = json!({ "url": format!("{}/subject", secops.url()), "headers": { "x-own": "canary-own" } });
    let mut json = url.clone();
    json["format"] = json!({ "type": "json", "subject_token_field_name": "value" });
    let mut field = url.clone();
    field["format"] = json!({ "type": "json", "subject_token_field_name": "other" });
    for (source, part) in [
        (json!({ "file": file }), "ID Token *** is stale"),
        (json!({ "file": "/nowhere/subject" }), "/nowhere/subject"),
        (json!({ "environment_id": "aws1" }), "not supported"),
        (field, "`credential_source.format` describes"),
        (url, "*** is stale"),
        (json, "needs the role Workload Identity User"),
    ] {
        let keys = json!({ "external_account": configuration(&secops, source).to_string() });
        let attempt = sink(identity(&secops, keys)).send(&batch(0..1)).await;
        let words = reason(&attempt);
        assert!(words.contains(part) && !format!("{attempt:?}").contains("canary"), "{part}: {attempt:?}");
    }
    assert!(secops.deliveries().is_empty());
}

#[test]
fn a_sink_has_exactly_one_kind_of_credentials() {
    for more in [json!({}), json!({ "service_account": KEY, "metadata_server": true })] {
        let mut keys = json!({ "type": "google_secops", "project": "p", "location": "eu", "instance": "i" });
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = settings(keys).build(&context(Stream::Threats)).unwrap_err().to_string();
        assert!(error.contains("exactly one of"), "{error}");
    }
}
