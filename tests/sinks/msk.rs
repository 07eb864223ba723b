//! `kafka` with `auth: { type: aws_msk_iam }`, through librdkafka's callback to a broker that checks the signature.

use std::time::Duration;

use s1_forwarder::sink::{Outcome, ProbeResult};
use serde_json::{Value, json};

use crate::support::aws::{self, REGION, Signatures};
use crate::support::batches::{batch, sink};
use crate::support::harness::Harness;
use crate::support::msk::MskBroker;
use crate::support::process::until;
use crate::support::tls::Authority;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_presigned_request_is_the_token_of_msk_and_is_sent_again_before_the_session_ends() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority.certificate()).unwrap();
    let broker = MskBroker::start(&authority, Signatures::of("kafka-cluster", [aws::key()])).await;
    let keys = |more: Value| {
        let mut auth = json!({
            "type": "aws_msk_iam", "region": REGION, "access_key_id": aws::key().id,
            "secret_access_key": aws::key().secret,
        });
        auth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({
            "type": "kafka", "brokers": [broker.address().to_string()], "topic": "s1.activities", "timeout": "20s",
            "tls": { "ca_file": ca_file }, "auth": auth,
        })
    };
    let lane = sink(keys(json!({})));
    assert_eq!(lane.probe().await, ProbeResult::Verified("topic `s1.activities` with 1 partitions".to_owned()));
    assert_eq!(lane.send(&batch(0..10)).await.outcome, Outcome::Delivered);
    let stored = broker.stored();
    assert!(stored > 0);
    // The broker ends a session after two seconds, unless it has got a token again.
    let before = broker.accepted().len();
    until("a second token", async || (broker.accepted().len() > before + 1).then_some(())).await;
    assert_eq!(lane.send(&batch(10..20)).await.outcome, Outcome::Delivered);
    assert!(broker.stored() > stored);

    let refused = broker.accepted().len();
    for (more, part) in [
        (json!({ "secret_access_key": "canary-wrong" }), "does not match"),
        (json!({ "region": "us-east-1" }), "valid region"),
    ] {
        let lane = sink(keys(more));
        let probe = tokio::time::timeout(Duration::from_mins(1), lane.probe()).await.unwrap();
        assert!(matches!(&probe, ProbeResult::Failed(reason) if reason.contains(part)), "{probe:?}");
        assert!(!format!("{probe:?}").contains("canary"), "{probe:?}");
    }
    let accepted = broker.accepted();
    assert!(accepted.len() >= refused && accepted[0].host_str() == Some("kafka.eu-west-1.amazonaws.com"));
}

/// pipelines/kafka-msk.yaml with the broker, its authority and the key of this test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipped_file_for_msk_delivers_its_first_events() {
    let authority = Authority::new();
    let broker = MskBroker::start(&authority, Signatures::of("kafka-cluster", [aws::key()])).await;
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (10, 10)).await;
    harness.write("ca.pem", &authority.certificate());
    let address = broker.address().to_string();
    let key = aws::key();
    let ca_file = harness.path("ca.pem").display().to_string();
    let credentials = format!(
        "region: {REGION}\n      access_key_id: {}\n      secret_access_key: {{ file: secrets/msk.key }} #",
        key.id
    );
    let text = harness.shipped(
        "kafka-msk",
        &[
            ("b-1.acme.abc123.c2.kafka.eu-central-1.amazonaws.com:9098", &address),
            ("      - b-2.acme.abc123.c2.kafka.eu-central-1.amazonaws.com:9098\n", ""),
            ("compression: zstd", &format!("compression: zstd\n    tls: {{ ca_file: {ca_file} }}")),
            ("region: eu-central-1 #", &credentials),
        ],
    );
    harness.write("pipelines/secrets/msk.key", &key.secret);
    harness.write("pipelines/msk.yaml", &text);
    let check = harness.command(&["check", "--pipelines", "pipelines"]).await;
    assert_eq!(check.code, Some(0), "{}{}", check.stdout, check.stderr);
    let exit = harness.once(&[]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    assert!(broker.stored() > 0);
}
