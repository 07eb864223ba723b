//! Kafka with TLS from a private authority, SASL, client certificates and tokens, against a real broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use s1_forwarder::emulator::{Kind, system_clock};
use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::{Misconfigured, Unauthorized};
use s1_forwarder::record::Stream;
use s1_forwarder::sink::{Batch, Outcome, ProbeResult};
use serde_json::{Value, json};

use crate::support::batches::once;
use crate::support::batches::{batch, context, push, settings, sink};
use crate::support::harness::Harness;
use crate::support::kafka::Broker;
use crate::support::kcat;
use crate::support::oauth::TokenEndpoint;
use crate::support::process::until;
use crate::support::proxy::Proxy;
use crate::support::tls::{Authority, TlsFront};

/// A broker, its authority and a directory with the authority's certificate in `ca.pem`.
struct Cluster {
    broker: Broker,
    authority: Authority,
    directory: tempfile::TempDir,
}

impl Cluster {
    async fn start(topics: &[&str]) -> Option<Arc<Self>> {
        let cluster = tokio::task::spawn_blocking(|| {
            let authority = Authority::new();
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("ca.pem"), authority.certificate()).unwrap();
            Some(Arc::new(Self { broker: Broker::start_secure(&authority)?, authority, directory }))
        });
        let cluster = cluster.await.unwrap()?;
        for topic in topics {
            cluster.broker.create_topic(topic, 3, &[]).await;
        }
        Some(cluster)
    }

    fn keys(&self, brokers: String, topic: &str, more: Value) -> Value {
        let mut keys = json!({
            "type": "kafka", "brokers": [brokers], "topic": topic, "timeout": "15s",
            "tls": { "ca_file": self.directory.path().join("ca.pem") },
        });
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        keys
    }

    fn sasl(&self, topic: &str, mechanism: &str, user: &str, password: Value) -> Value {
        let options = json!({ "sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": password });
        self.keys(self.broker.sasl_address(), topic, json!({ "options": options }))
    }

    fn oauth(&self, topic: &str, endpoint: &TokenEndpoint) -> Value {
        let oauth =
            json!({ "token_url": endpoint.url(), "client_id": "client", "client_secret": "s3cret", "scope": "kafka" });
        self.keys(self.broker.sasl_address(), topic, json!({ "oauth": oauth }))
    }

    async fn ids(self: &Arc<Self>, topic: &'static str) -> BTreeMap<String, u32> {
        let cluster = self.clone();
        let consumed = tokio::task::spawn_blocking(move || cluster.broker.read(topic)).await.unwrap();
        let mut ids = BTreeMap::new();
        consumed
            .iter()
            .for_each(|message| *ids.entry(message.key.rsplit('/').next().unwrap().to_owned()).or_default() += 1);
        ids
    }
}

#[tokio::test]
async fn real_passwords_over_tls_from_a_private_authority() {
    let Some(cluster) = Cluster::start(&["scram", "plain"]).await else { return };
    let secret = cluster.directory.path().join("password");
    std::fs::write(&secret, "canary\n").unwrap();
    let lane = sink(cluster.sasl("scram", "SCRAM-SHA-512", "alice", json!({ "file": secret })));
    let probe = lane.probe().await;
    assert!(matches!(&probe, ProbeResult::Failed(reason) if reason.contains("credentials refused")), "{probe:?}");
    let refused = lane.send(&batch(0..10)).await;
    assert_eq!(refused.outcome.failure_kind(), Some(Unauthorized), "{refused:?}");
    assert!(!format!("{refused:?}{probe:?}").contains("canary"));

    std::fs::write(&secret, "s3cret pass\n").unwrap();
    assert_eq!(lane.send(&batch(0..10)).await.outcome, Outcome::Delivered, "the password is read again");
    assert_eq!(lane.probe().await, ProbeResult::Verified("topic `scram` with 3 partitions".to_owned()));
    assert_eq!(cluster.ids("scram").await, once(0..10));

    let plain = sink(cluster.sasl("plain", "PLAIN", "bob", json!("s3cret pass")));
    assert_eq!(plain.send(&batch(0..10)).await.outcome, Outcome::Delivered);
    assert_eq!(cluster.ids("plain").await, once(0..10));

    // Another authority has issued nothing here.
    std::fs::write(cluster.directory.path().join("ca.pem"), Authority::new().certificate()).unwrap();
    let mut keys = cluster.sasl("plain", "PLAIN", "bob", json!("s3cret pass"));
    keys["options"]["client.id"] = json!("stranger");
    let untrusted = sink(keys).send(&batch(0..1)).await;
    assert!(
        matches!(&untrusted.outcome, Outcome::Failed(Failure { kind: Misconfigured, reason, .. }) if reason.contains("certificate")),
        "{untrusted:?}"
    );
}

#[tokio::test]
async fn real_client_certificates() {
    let Some(cluster) = Cluster::start(&["mtls"]).await else { return };
    let (cert_file, key_file) = cluster.authority.issue(&["forwarder"]).write(cluster.directory.path(), "client");
    let address = cluster.broker.ssl_address();
    let without = sink(cluster.keys(address.clone(), "mtls", json!({}))).send(&batch(0..1)).await;
    assert!(!matches!(without.outcome, Outcome::Delivered), "{without:?}");
    let ca_file = cluster.directory.path().join("ca.pem");
    let tls = json!({ "tls": { "ca_file": ca_file, "cert_file": cert_file, "key_file": key_file } });
    let lane = sink(cluster.keys(address, "mtls", tls));
    assert_eq!(lane.send(&batch(0..10)).await.outcome, Outcome::Delivered);
    assert_eq!(cluster.ids("mtls").await, once(0..10));

    // A certificate of an authority that the broker does not know is replaced on disk.
    let (cert_file, key_file) = Authority::new().issue(&["forwarder"]).write(cluster.directory.path(), "rotated");
    let tls = json!({ "tls": { "ca_file": ca_file, "cert_file": cert_file, "key_file": key_file } });
    let lane = sink(cluster.keys(cluster.broker.ssl_address(), "mtls", tls));
    let refused = lane.send(&batch(20..30)).await;
    assert!(!matches!(refused.outcome, Outcome::Delivered), "{refused:?}");
    cluster.authority.issue(&["forwarder"]).write(cluster.directory.path(), "rotated");
    assert_eq!(lane.send(&batch(20..30)).await.outcome, Outcome::Delivered);

    // librdkafka's own options, which have several lines, do the same.
    let pem = std::fs::read_to_string(&key_file).unwrap();
    let options = json!({
        "security.protocol": "ssl", "ssl.ca.pem": { "file": ca_file }, "ssl.certificate.pem": { "file": cert_file },
        "ssl.key.pem": pem,
    });
    let keys =
        json!({ "type": "kafka", "brokers": [cluster.broker.ssl_address()], "topic": "mtls", "options": options });
    assert_eq!(sink(keys).send(&batch(10..20)).await.outcome, Outcome::Delivered);
    assert_eq!(cluster.ids("mtls").await, once(0..30));
}

/// An address has the same options.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_checkpoints_with_a_client_certificate_from_files() {
    let Some(cluster) = Cluster::start(&[]).await else { return };
    let harness = Harness::new(|setup| setup.activities = 20).await;
    harness.put_changed("acme", json!({}));
    let (cert_file, key_file) = cluster.authority.issue(&["forwarder"]).write(cluster.directory.path(), "client");
    let ca_file = cluster.directory.path().join("ca.pem");
    let ca_file = ca_file.display();
    let cert_file = cert_file.display();
    let key_file = key_file.display();
    let state = format!(
        "kafka://{}/lanes?security.protocol=ssl&ssl.ca.pem=file:{ca_file}&ssl.certificate.pem=file:{cert_file}&ssl.key.pem=file:{key_file}",
        cluster.broker.ssl_address()
    );
    let exit = harness.once(&["--state", &state, "--dead-letters", "file:dead"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let listed = harness.command(&["state", "list", "--state", &state]).await;
    assert!(listed.stdout.contains("acme/activities/siem"), "{}{}", listed.stdout, listed.stderr);
}

/// A token that the broker's development validator takes. It ends in an hour, the first one has ended already.
fn unsigned(number: u32) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    unsigned_until(number, if number == 1 { now - 3_600 } else { now + 3_600 })
}

/// How long a short token lasts, in seconds.
const SHORT: u64 = 6;

fn short(number: u32) -> String {
    unsigned_until(number, SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + SHORT)
}

/// Claims without a signature.
fn unsigned_until(number: u32, ends: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "sub": "forwarder", "iat": now - 7_200, "exp": ends, "jti": number });
    format!("{}.{}.", part(json!({ "alg": "none" })), part(claims))
}

#[tokio::test(flavor = "multi_thread")]
async fn real_tokens_of_client_credentials() {
    let Some(cluster) = Cluster::start(&["tokens"]).await else { return };
    let endpoint = TokenEndpoint::start_with("s3cret", 3_600, unsigned).await;
    let lane = sink(cluster.oauth("tokens", &endpoint));
    let attempt = lane.send(&batch(0..10)).await;
    assert_eq!(attempt.outcome, Outcome::Delivered, "a token that brokers refuse is given up once: {attempt:?}");
    assert_eq!((endpoint.issued(), cluster.ids("tokens").await), (2, once(0..10)));
    let form = &endpoint.forms()[0];
    assert_eq!((form["grant_type"].as_str(), form["scope"].as_str()), ("client_credentials", "kafka"));

    endpoint.rotate("another");
    let mut keys = cluster.oauth("tokens", &endpoint);
    keys["oauth"]["client_secret"] = json!("canary");
    let attempt = sink(keys).send(&batch(0..1)).await;
    assert!(
        matches!(&attempt.outcome, Outcome::Failed(Failure { kind: Unauthorized, reason, .. }) if reason.contains("AADSTS7000215")),
        "{attempt:?}"
    );
    assert!(!format!("{attempt:?}").contains("canary"));
}

/// The provider has a certificate from an authority of its own, and is behind a proxy. Neither is true of the brokers.
#[tokio::test(flavor = "multi_thread")]
async fn real_tokens_come_from_a_private_provider_behind_a_proxy() {
    let Some(cluster) = Cluster::start(&["tokens"]).await else { return };
    let endpoint = TokenEndpoint::start_with("s3cret", 3_600, |number| unsigned(number + 1)).await;
    let authority = Authority::new();
    let provider = TlsFront::start(endpoint.address(), &authority.issue(&["127.0.0.1"]), None).await;
    let proxy = Proxy::start(provider.address(), None).await;
    let ca_file = cluster.directory.path().join("provider.pem");
    std::fs::write(&ca_file, authority.certificate()).unwrap();
    let keys = |more: Value| {
        let mut keys = cluster.oauth("tokens", &endpoint);
        keys["oauth"]["token_url"] = json!(format!("https://{}/token", provider.address()));
        keys["oauth"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        keys
    };
    let unknown = sink(keys(json!({}))).send(&batch(0..1)).await;
    assert!(!matches!(unknown.outcome, Outcome::Delivered), "{unknown:?}");
    assert_eq!(endpoint.issued(), 0, "the authority of the brokers is not that of the provider");

    let more = json!({ "tls": { "ca_file": ca_file }, "proxy": format!("http://{}", proxy.address()) });
    let attempt = sink(keys(more)).send(&batch(0..10)).await;
    assert_eq!(attempt.outcome, Outcome::Delivered, "{attempt:?}");
    assert_eq!(cluster.ids("tokens").await, once(0..10));
    assert_eq!(proxy.asked(), [format!("CONNECT {}", provider.address())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_tokens_serve_exactly_once() {
    let Some(cluster) = Cluster::start(&["tokens"]).await else { return };
    let endpoint = TokenEndpoint::start_with("s3cret", 3_600, |number| unsigned(number + 1)).await;
    let harness = Harness::new(|setup| setup.activities = 50).await;
    let mut keys = cluster.oauth("tokens", &endpoint);
    let more = json!({ "name": "bus", "delivery": "exactly_once", "checkpoint_topic": "lanes" });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    harness.put_changed("acme", json!({ "sinks": [keys] }));
    let check = harness.command(&["check", "--pipelines", "pipelines"]).await;
    assert!(check.stdout.contains("topic `lanes` does not exist"), "{}{}", check.stdout, check.stderr);

    // A topic that is in use and would forget is refused; one that is missing is made.
    cluster.broker.create_topic("lanes", 1, &[("cleanup.policy", "delete")]).await;
    cluster.broker.write("lanes", "key").await;
    let exit = harness.once(&[]).await;
    assert!(exit.code == Some(1) && exit.stderr.contains("would forget checkpoints"), "{}{}", exit.stdout, exit.stderr);
    keys["checkpoint_topic"] = json!("unused");
    harness.put_changed("acme", json!({ "sinks": [keys.clone()] }));
    cluster.broker.create_topic("unused", 1, &[("cleanup.policy", "delete")]).await;
    assert_eq!(harness.once(&[]).await.code, Some(0));
    assert_eq!(cluster.broker.topic_setting("unused", "cleanup.policy").await, "compact");
    keys["checkpoint_topic"] = json!("made");
    keys["topic"] = json!("again");
    keys["name"] = json!("second");
    harness.put_changed("acme", json!({ "sinks": [keys] }));
    for _ in 0..2 {
        let exit = harness.once(&[]).await;
        assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    }
    let owed: Vec<_> = harness.owed(Kind::Activities).into_iter().collect();
    assert_eq!(committed_ids(&cluster, "tokens"), owed);
}

/// The broker ends a connection whose token has ended. A worker that delivers all the time fetches tokens in time, and
/// has no error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_tokens_are_renewed_before_they_end() {
    let Some(cluster) = Cluster::start(&["least", "once"]).await else { return };
    let harness = Harness::new(|setup| (setup.activities, setup.rate) = (50, 20.0)).await;
    let endpoints = [
        TokenEndpoint::start_with("s3cret", SHORT, short).await,
        TokenEndpoint::start_with("s3cret", SHORT, short).await,
    ];
    let mut least = cluster.oauth("least", &endpoints[0]);
    least["name"] = json!("least");
    let mut once = cluster.oauth("once", &endpoints[1]);
    let more = json!({ "name": "once", "delivery": "exactly_once", "checkpoint_topic": "lanes" });
    once.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let streams = json!({ "activities": { "interval": "300ms" } });
    harness.put_changed("acme", json!({ "streams": streams, "sinks": [least, once] }));
    let mut worker = harness.worker();
    for endpoint in &endpoints {
        until("the third token", async || (endpoint.issued() >= 3).then_some(())).await;
    }
    harness.console().set_rate(0.0, system_clock());
    let owed = harness.owed(Kind::Activities);
    for topic in ["least", "once"] {
        until("everything", async || (committed_ids(&cluster, topic).len() >= owed.len()).then_some(())).await;
        assert_eq!(committed_ids(&cluster, topic), owed.iter().cloned().collect::<Vec<_>>(), "{topic}");
    }
    for lane in ["acme/activities/least", "acme/activities/once"] {
        let lane = worker.lane(lane, |_| true).await;
        assert!(lane["last_error"].is_null(), "{lane}");
    }
    worker.signal("TERM").await;
    assert_eq!(worker.exit().await.code, Some(0));
}

/// The identities of the events in a topic, sorted.
fn committed_ids(cluster: &Cluster, topic: &str) -> Vec<String> {
    let headers = kcat::committed(&cluster.broker.address(), topic, "%h\n");
    let id = |headers: &str| headers.split(',').find_map(|header| header.strip_prefix("id=")).unwrap().to_owned();
    let mut ids: Vec<_> = headers.lines().map(id).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn real_versions_of_a_record_share_a_partition() {
    let Some(broker) = tokio::task::spawn_blocking(Broker::shared).await.unwrap() else { return };
    broker.create_topic("partitioned", 12, &[]).await;
    let mut batch = Batch::new(Stream::Threats);
    (0..400).for_each(|number| push(&mut batch, &(number % 40).to_string(), &number.to_string()));
    let options = json!({ "partitioner": "murmur2_random" });
    let lane =
        sink(json!({ "type": "kafka", "brokers": [broker.address()], "topic": "partitioned", "options": options }));
    assert_eq!(lane.send(&batch).await.outcome, Outcome::Delivered);
    let consumed = tokio::task::spawn_blocking(move || broker.read("partitioned")).await.unwrap();
    let mut partitions: BTreeMap<String, i32> = BTreeMap::new();
    for message in &consumed {
        assert_eq!(*partitions.entry(message.key.clone()).or_insert(message.partition), message.partition);
    }
    assert_eq!((consumed.len(), partitions.len()), (400, 40));
    let used: std::collections::BTreeSet<_> = partitions.values().collect();
    assert!(used.len() > 6, "keys are spread: {used:?}");
}

#[test]
fn brokers_are_always_verified_and_mechanisms_agree() {
    let oauth = json!({ "token_url": "https://id.example/t", "client_id": "c", "client_secret": "canary" });
    for (more, part) in [
        (json!({ "options": { "enable.ssl.certificate.verification": false } }), "always verified"),
        (json!({ "options": { "ssl.endpoint.identification.algorithm": "none" } }), "always verified"),
        (json!({ "options": { "enable.ssl.certificate.verification": { "env": "X" } } }), "always verified"),
        (json!({ "options": { "sasl.oauthbearer.method": "oidc" } }), "tokens come with `oauth`"),
        (json!({ "options": { "sasl.mechanism": "OAUTHBEARER" } }), "wants `oauth`"),
        (json!({ "oauth": oauth, "options": { "sasl.mechanism": "PLAIN" } }), "excludes"),
        (json!({ "oauth": oauth, "auth": { "type": "aws_msk_iam" } }), "excludes `oauth`"),
        (json!({ "auth": { "type": "aws_msk_iam" }, "options": { "sasl.mechanism": "PLAIN" } }), "excludes another"),
        (json!({ "auth": { "type": "aws_msk_iam", "access_key_id": "A" } }), "needs `secret_access_key`"),
        (json!({ "tls": { "pin_sha256": ["ab".repeat(32)] } }), "name it in `ca_file`"),
    ] {
        let mut keys = json!({ "type": "kafka", "brokers": ["h:1"], "topic": "t" });
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = settings(keys).build(&context(Stream::Threats)).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("canary"), "{more} → {error}");
    }
}
