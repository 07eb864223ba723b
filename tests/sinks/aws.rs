//! `auth: { type: aws }` against a double of OpenSearch Service, which checks signatures, and doubles of the servers
//! that give credentials.

use std::time::Duration;

use s1_forwarder::destinations::http::Ambient;
use s1_forwarder::destinations::{SharedSinkResources, SinkContext};
use s1_forwarder::failure::FailureKind::Unauthorized;
use s1_forwarder::record::Stream;
use s1_forwarder::sink::{Attempt, Outcome, ProbeResult, Sink};
use serde_json::{Value, json};

use crate::support::aws::{AwsServers, REGION, ROLE, Signatures, issued, key};
use crate::support::batches::{batch, context, settings, sink_in};
use crate::support::double::{Double, FaultRule, Reply};
use crate::support::elasticsearch::Elastic;

/// OpenSearch Service with these signatures.
async fn domain(signatures: Signatures) -> Double<Elastic> {
    Double::start(Elastic { signatures: Some(signatures), tells_privileges: false, ..Elastic::new() }).await
}

/// The lane's context in a worker with these variables.
fn with(variables: &[(&str, &str)]) -> SinkContext {
    let shared = SharedSinkResources::default().with_ambient(Ambient::of(variables.iter().copied()));
    SinkContext { shared, ..context(Stream::Activities) }
}

fn keys(elastic: &Double<Elastic>, more: Value) -> Value {
    let mut auth = json!({ "type": "aws", "region": REGION });
    auth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "type": "elasticsearch", "url": elastic.url(), "auth": auth })
}

/// The reason, which quotes no secret.
fn reason(attempt: &Attempt) -> &str {
    let reason = crate::support::deliver::reason(attempt);
    assert!(!reason.contains("canary") && !format!("{attempt:?}").contains("canary"), "{reason}");
    reason
}

/// Whether the path holds what one encoding does not change but two do.
#[tokio::test]
async fn every_request_is_signed_as_it_is_sent() {
    let elastic = domain(Signatures::of("es", [key()])).await;
    elastic.contract(|elastic| elastic.installed.clear());
    elastic.contract(|elastic| elastic.privileges.insert("manage_index_templates"));
    elastic.contract(|elastic| elastic.index = Some("s1-%C3%A4=+'(1)"));
    let key = key();
    let worker =
        with(&[("AWS_ACCESS_KEY_ID", &key.id), ("AWS_SECRET_ACCESS_KEY", &key.secret), ("AWS_REGION", REGION)]);
    for (more, compression) in [(json!({}), "gzip"), (json!({ "index": "s1-ä=+'(1)" }), "none")] {
        let mut keys = json!({ "type": "elasticsearch", "url": elastic.url(), "auth": { "type": "aws" } });
        keys["compression"] = json!(compression);
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let lane = sink_in(keys, &worker);
        let found = format!("{:?}", lane.probe().await);
        assert!(found.starts_with("Verified") || found.starts_with("Reached"), "{found}");
        assert_eq!(lane.send(&batch(0..200)).await.outcome, Outcome::Delivered);
    }
    let requests = elastic.requests();
    assert!(requests.iter().all(|request| request.status != 403), "{:?}", requests.iter().find(|r| r.status == 403));
    let methods: std::collections::BTreeSet<&str> = requests.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods.into_iter().collect::<Vec<_>>(), ["GET", "POST", "PUT"]);
    assert_eq!(elastic.deliveries()[0].header("content-encoding"), "gzip");
}

/// Delivers three batches by two lanes of a worker with these variables.
async fn deliver(servers: &Double<AwsServers>, variables: &[(&str, &str)], auth: Value) {
    let elastic = domain(Signatures::of("es", [issued(1), issued(2)])).await;
    let worker = with(variables);
    let lanes = [sink_in(keys(&elastic, auth.clone()), &worker), sink_in(keys(&elastic, auth), &worker)];
    for lane in [&lanes[0], &lanes[1], &lanes[0]] {
        let attempt = lane.send(&batch(0..3)).await;
        assert_eq!(attempt.outcome, Outcome::Delivered, "{}", reason(&attempt));
    }
    assert_eq!(servers.contract(|servers| servers.issued), 1, "lanes share the credentials");
}

#[tokio::test]
async fn credentials_come_from_instance_pod_or_web_identity() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let web = file("web", "canary-web\n");
    let pod = file("pod", "canary-pod\n");

    let servers = Double::start(AwsServers::default()).await;
    deliver(&servers, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &servers.url())], json!({})).await;

    let servers = Double::start(AwsServers::default()).await;
    let url = format!("{}/v1/credentials", servers.url());
    let variables =
        [("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()), ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &pod)];
    deliver(&servers, &variables, json!({})).await;

    let servers = Double::start(AwsServers::default()).await;
    let url = servers.url();
    let variables =
        [("AWS_WEB_IDENTITY_TOKEN_FILE", web.as_str()), ("AWS_ROLE_ARN", ROLE), ("AWS_ENDPOINT_URL_STS", &url)];
    deliver(&servers, &variables, json!({})).await;
}

#[tokio::test]
async fn a_role_is_assumed_with_an_access_key() {
    let servers = Double::start(AwsServers { external_id: Some("acme"), ..AwsServers::default() }).await;
    let url = servers.url();
    let key = key();
    let auth = json!({
        "access_key_id": key.id, "secret_access_key": key.secret, "role_arn": ROLE, "external_id": "acme",
    });
    deliver(&servers, &[("AWS_ENDPOINT_URL_STS", &url)], auth.clone()).await;

    let elastic = domain(Signatures::of("es", [issued(1)])).await;
    let mut other = auth;
    other["external_id"] = json!("other");
    let attempt = sink_in(keys(&elastic, other), &with(&[("AWS_ENDPOINT_URL_STS", &url)])).send(&batch(0..1)).await;
    assert_eq!(attempt.outcome.failure_kind(), Some(Unauthorized), "{attempt:?}");
    assert!(reason(&attempt).contains("AccessDenied") && reason(&attempt).contains("trust policy"), "{attempt:?}");
}

#[tokio::test]
async fn credentials_that_end_are_renewed_with_the_token_that_is_in_the_file_then() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "canary-old").unwrap();
    let servers =
        AwsServers { web_identity: "canary-old".to_owned(), lifetime: Duration::ZERO, ..AwsServers::default() };
    let servers = Double::start(servers).await;
    let elastic = domain(Signatures::of("es", [issued(1), issued(2)])).await;
    let file = file.to_str().unwrap();
    let url = servers.url();
    let variables = [("AWS_WEB_IDENTITY_TOKEN_FILE", file), ("AWS_ROLE_ARN", ROLE), ("AWS_ENDPOINT_URL_STS", &url)];
    let lane = sink_in(
        json!({ "manage_templates": false, "type": "elasticsearch", "url": elastic.url(), "auth": { "type": "aws", "region": REGION } }),
        &with(&variables),
    );
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    std::fs::write(file, "canary-new").unwrap();
    servers.contract(|servers| servers.web_identity = "canary-new".to_owned());
    assert_eq!(lane.send(&batch(1..2)).await.outcome, Outcome::Delivered);
    assert_eq!(servers.contract(|servers| servers.issued), 2);
}

/// A worker with credentials of an instance.
async fn instance(elastic: &Double<Elastic>) -> (Double<AwsServers>, std::sync::Arc<dyn Sink>) {
    let servers = Double::start(AwsServers::default()).await;
    let worker = with(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &servers.url())]);
    let lane = sink_in(keys(elastic, json!({})), &worker);
    (servers, lane)
}

#[tokio::test]
async fn credentials_that_are_refused_are_replaced_once_and_those_that_lack_a_right_are_kept() {
    let elastic = domain(Signatures::of("es", [issued(1), issued(2)])).await;
    let (servers, lane) = instance(&elastic).await;
    assert_eq!(lane.send(&batch(0..1)).await.outcome, Outcome::Delivered);
    elastic.contract(|elastic| elastic.signatures = Some(Signatures::of("es", [issued(2)])));
    assert_eq!(lane.send(&batch(1..2)).await.outcome, Outcome::Delivered);
    assert_eq!(servers.contract(|servers| servers.issued), 2);

    let forbidden = r#"{"Message":"User: arn:aws:sts::1:assumed-role/x is not authorized to perform: es:ESHttpPost"}"#;
    elastic.script([FaultRule::Answer(Reply::new(403, forbidden))]);
    let attempt = lane.send(&batch(2..3)).await;
    assert!(reason(&attempt).contains("es:ESHttpPost"), "{attempt:?}");
    assert_eq!(servers.contract(|servers| servers.issued), 2);
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_corrected_by_that_of_the_service() {
    for ahead in [Duration::ZERO, Duration::from_hours(1)] {
        let elastic = domain(Signatures { ahead, ..Signatures::of("es", [issued(1), issued(2)]) }).await;
        let (_servers, lane) = instance(&elastic).await;
        for ids in [0..1, 1..2] {
            assert_eq!(lane.send(&batch(ids)).await.outcome, Outcome::Delivered);
        }
        let refused = elastic.requests().iter().filter(|request| request.status == 403).count();
        assert_eq!(refused, usize::from(!ahead.is_zero()), "the correction stays");
    }
}

#[tokio::test]
async fn what_is_missing_is_said_with_what_to_do() {
    let elastic = domain(Signatures::of("es", [key()])).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "canary-stranger").unwrap();
    let file = file.to_str().unwrap();
    let servers = Double::start(AwsServers { role: None, ..AwsServers::default() }).await;
    let (url, pod) = (servers.url(), format!("{}/v1/credentials", servers.url()));
    for (variables, part, hint) in [
        (&[("AWS_ACCESS_KEY_ID", "canary")][..], "without AWS_SECRET_ACCESS_KEY", ""),
        (&[("AWS_EC2_METADATA_DISABLED", "true")], "AWS_EC2_METADATA_DISABLED", "give `access_key_id`"),
        (&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)], "404", "hop limit"),
        (&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")], "127.0.0.1:1", "AWS_WEB_IDENTITY_TOKEN_FILE"),
        (&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &pod)], "401", "give the task or the pod a role"),
        (
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", file), ("AWS_ROLE_ARN", ROLE), ("AWS_ENDPOINT_URL_STS", &url)],
            "ExpiredTokenException: Token expired",
            "sts:AssumeRoleWithWebIdentity",
        ),
        (
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/nowhere/token"), ("AWS_ROLE_ARN", ROLE)],
            "cannot read the secret file /nowhere/token",
            "",
        ),
    ] {
        let lane = sink_in(keys(&elastic, json!({})), &with(variables));
        let attempt = lane.send(&batch(0..1)).await;
        assert!(reason(&attempt).contains(part) && reason(&attempt).contains(hint), "{part}: {attempt:?}");
        let found = lane.probe().await;
        assert!(matches!(&found, ProbeResult::Failed(reason) if reason.contains(part)), "{found:?}");
    }
    let lane = sink_in(json!({ "type": "elasticsearch", "url": elastic.url(), "auth": { "type": "aws" } }), &with(&[]));
    assert!(reason(&lane.send(&batch(0..1)).await).contains("`auth.region` is missing"));
    assert!(elastic.requests().is_empty(), "nothing is sent without a signature");
}

#[tokio::test]
async fn a_refused_signature_is_not_taken_for_a_missing_right() {
    let elastic = domain(Signatures::of("es", [])).await;
    let auth = json!({ "access_key_id": key().id, "secret_access_key": key().secret });
    let found = sink_in(keys(&elastic, auth), &with(&[])).probe().await;
    assert!(matches!(&found, ProbeResult::Failed(reason) if reason.contains("credentials are refused")), "{found:?}");
}

/// OpenSearch Serverless does not say what it is.
#[tokio::test]
async fn opensearch_serverless_is_signed_for_its_own_name() {
    let elastic = domain(Signatures::of("aoss", [key()])).await;
    elastic.contract(|elastic| (elastic.is_serverless, elastic.index) = (true, Some("s1-activities")));
    let auth =
        |service: &str| json!({ "access_key_id": key().id, "secret_access_key": key().secret, "service": service });
    let lane = |service: &str| {
        let mut keys = keys(&elastic, auth(service));
        keys["index"] = json!("s1-{stream}");
        sink_in(keys, &with(&[]))
    };
    let found = format!("{:?}", lane("aoss").probe().await);
    assert!(found.starts_with("Verified") && found.contains("index `s1-activities` exists"), "{found}");
    assert_eq!(lane("aoss").send(&batch(0..3)).await.outcome, Outcome::Delivered);
    assert_eq!(lane("es").send(&batch(3..4)).await.outcome.failure_kind(), Some(Unauthorized));
}

#[test]
fn contradictions_are_refused_when_the_sink_is_built() {
    for (auth, part) in [
        (json!({ "access_key_id": "a" }), "needs `secret_access_key`"),
        (json!({ "secret_access_key": "canary" }), "needs `access_key_id`"),
        (json!({ "external_id": "x" }), "needs `role_arn`"),
    ] {
        let mut auth = auth;
        auth["type"] = json!("aws");
        let keys = json!({ "type": "elasticsearch", "url": "https://h", "auth": auth });
        let error = settings(keys).build(&context(Stream::Threats)).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("canary"), "{error}");
    }
}
