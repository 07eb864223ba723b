//! TLS and authentication of the listener, with real clients and the real program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, Client, Identity, Method};
use s1_forwarder::record::{LaneId, Stream};
use s1_forwarder::server::{Server, Status, WebConfig};
use s1_forwarder::telemetry::{ClusterView, Telemetry};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::support::harness::Harness;
use crate::support::process::{Process, until};
use crate::support::tls::{Authority, Issued};

/// Every page of the listener that has something to tell.
const PAGES: [&str; 5] = ["/", "/metrics", "/api/v1/lanes", "/pipelines/acme", "/api/v1/pipelines/acme"];

fn client(trusted: Option<&Authority>, own: Option<&Issued>) -> Client {
    s1_forwarder::settings::install_crypto_provider();
    let mut builder = Client::builder().no_proxy().timeout(Duration::from_secs(30)).pool_max_idle_per_host(0);
    if let Some(authority) = trusted {
        builder = builder.tls_certs_only([Certificate::from_pem(authority.certificate().as_bytes()).unwrap()]);
    }
    if let Some(own) = own {
        let pem = format!("{}{}", own.certificate, own.key);
        builder = builder.identity(Identity::from_pem(pem.as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

/// `HOST:PORT` from the line of the log with this message.
async fn address(worker: &Process, message: &str) -> String {
    worker.logged(&[&format!("\"{message}\"")]).await;
    let line = worker.log().into_iter().find(|line| line["message"] == message).unwrap();
    line["address"].as_str().unwrap().to_owned()
}

fn write_bcrypt(harness: &Harness, name: &str, tls: &str) {
    let password = bcrypt::hash("c4nary-password", 4).unwrap();
    let hash = hex::encode(Sha256::digest("hashed-token"));
    let text = format!(
        "{tls}basic_auth_users:\n  prometheus: {password}\nbearer_tokens:\n  - file: web-token\n  - sha256: {hash}\n"
    );
    harness.write(name, &text);
    harness.write("web-token", "c4nary-token\n");
}

const TLS: &str = "tls_server_config:\n  cert_file: web.pem\n  key_file: web.key\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_need_credentials_and_probes_do_not() {
    let harness = Harness::new(|setup| setup.activities = 20).await;
    let authority = Authority::new();
    harness.put("acme", &harness.pipeline(serde_json::json!({})));
    authority.issue(&["127.0.0.1"]).write(harness.root(), "web");
    write_bcrypt(&harness, "web.yaml", TLS);
    let worker = harness.worker_with(&["--web-config", "web.yaml", "--log-level", "trace"]);
    let address = address(&worker, "listening").await;
    let trusting = client(Some(&authority), None);
    let url = |path: &str| format!("https://{address}{path}");

    // Without TLS, and without trust, there is nothing.
    assert!(trusting.get(format!("http://{address}/livez")).send().await.is_err());
    assert!(client(Some(&Authority::new()), None).get(url("/livez")).send().await.is_err());
    for path in ["/livez", "/readyz"] {
        until("the probe answers", async || {
            (trusting.get(url(path)).send().await.unwrap().status() == 200).then_some(())
        })
        .await;
    }
    for path in
        ["//metrics", "/livez/../metrics", "/livez/..%2fmetrics", "/METRICS", "/%6detrics", "/metrics/", "/livez/"]
    {
        assert_eq!(trusting.get(url(path)).send().await.unwrap().status(), 401, "{path}");
    }
    for path in PAGES.into_iter().chain(["/nothing"]) {
        let refused = trusting.get(url(path)).send().await.unwrap();
        assert_eq!(refused.status(), 401, "{path}");
        let challenges: Vec<_> = refused.headers().get_all("www-authenticate").iter().collect();
        assert_eq!(challenges.len(), 2, "{challenges:?}");
        assert_eq!(refused.text().await.unwrap(), "credentials are required\n", "nothing else is said");
        let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
        for (user, password) in
            [("prometheus", "wrong"), ("other", "c4nary-password"), ("", ""), ("prometheus", "web-token")]
        {
            assert_eq!(status(trusting.get(url(path)).basic_auth(user, Some(password))).await, 401, "{path} {user}");
        }
        for token in ["c4nary-token2", "c4nary", "c4nary-password"] {
            assert_eq!(status(trusting.get(url(path)).bearer_auth(token)).await, 401, "{path} {token}");
        }
        let found = if path == "/nothing" { 404 } else { 200 };
        assert_eq!(status(trusting.get(url(path)).basic_auth("prometheus", Some("c4nary-password"))).await, found);
        for token in ["c4nary-token", "hashed-token"] {
            assert_eq!(status(trusting.get(url(path)).bearer_auth(token)).await, found, "{path}");
        }
    }
    // `status` needs them as well, and takes them from the worker's file.
    let refused = harness.command(&["status", "--url", &url(""), "--ca-file", &ca(&harness, &authority)]).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("requires credentials"), "{}", refused.stderr);
    let unknown = harness.command(&["status", "--url", &url("")]).await;
    assert!(unknown.code == Some(1) && unknown.stderr.contains("certificate"), "{}", unknown.stderr);
    for flags in [
        &["status", "--url", &address, "--web-config", "web.yaml"][..],
        &["status", "--url", &url(""), "--ca-file", "ca.pem", "--token-file", "web-token"],
    ] {
        let shown = harness.command(flags).await;
        assert!(shown.code == Some(0) && shown.stdout.contains("acme/activities"), "{}{}", shown.stdout, shown.stderr);
    }
    worker.signal("TERM").await;
    let exit = worker.exit().await;
    assert_eq!(exit.code, Some(0));
    assert!(exit.stderr.contains("a request with wrong credentials was refused"), "{}", exit.stderr);
    let secrets = ["c4nary", "hashed-token", "YzRuYXJ5"];
    assert!(secrets.iter().all(|secret| !exit.stderr.contains(secret)), "{}", exit.stderr);
}

fn ca(harness: &Harness, authority: &Authority) -> String {
    harness.write("ca.pem", &authority.certificate());
    "ca.pem".to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_and_tokens_are_replaced_without_a_restart() {
    let harness = Harness::new(|_| {}).await;
    let first = Authority::new();
    let second = Authority::new();
    first.issue(&["127.0.0.1"]).write(harness.root(), "web");
    write_bcrypt(&harness, "web.yaml", TLS);
    let worker = harness.worker_with(&["--web-config", "web.yaml"]);
    let address = address(&worker, "listening").await;
    let url = format!("https://{address}/metrics");
    let get = async |trusted: &Authority, token: &str| {
        client(Some(trusted), None).get(&url).bearer_auth(token).send().await.ok().map(|it| it.status().as_u16())
    };
    assert_eq!((get(&first, "c4nary-token").await, get(&second, "c4nary-token").await), (Some(200), None));
    // A certificate without its key does not end what works.
    std::fs::write(harness.path("web.pem"), second.issue(&["127.0.0.1"]).certificate).unwrap();
    worker.logged(&["the last one stays"]).await;
    assert_eq!(get(&first, "c4nary-token").await, Some(200));
    second.issue(&["127.0.0.1"]).write(harness.root(), "web");
    harness.write("web-token", "next-token");
    until("the new certificate is served", async || (get(&second, "next-token").await == Some(200)).then_some(()))
        .await;
    assert_eq!((get(&first, "next-token").await, get(&second, "c4nary-token").await), (None, Some(401)));
    worker.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_present_a_certificate_and_the_kubelet_has_an_address_of_its_own() {
    let harness = Harness::new(|_| {}).await;
    let authority = Authority::new();
    let clients = Authority::new();
    authority.issue(&["127.0.0.1"]).write(harness.root(), "web");
    harness.write("clients.pem", &clients.certificate());
    let asks = "  client_ca_file: clients.pem\n  client_auth_type: RequireAndVerifyClientCert\n  min_version: TLS13\n";
    harness.write("web.yaml", &format!("{TLS}{asks}"));
    let worker = harness.worker_with(&["--web-config", "web.yaml", "--listen-probes", "127.0.0.1:0"]);
    let probes = address(&worker, "listening for probes").await;
    let address = address(&worker, "listening").await;
    let url = format!("https://{address}/metrics");
    let known = clients.issue(&["prometheus"]);
    let stranger = Authority::new().issue(&["prometheus"]);
    assert!(client(Some(&authority), None).get(&url).send().await.is_err());
    assert!(client(Some(&authority), Some(&stranger)).get(&url).send().await.is_err());
    assert_eq!(client(Some(&authority), Some(&known)).get(&url).send().await.unwrap().status(), 200);

    let plain = client(None, None);
    let get = async |path: &str| plain.get(format!("http://{probes}{path}")).send().await.unwrap().status().as_u16();
    assert_eq!(get("/livez").await, 200);
    until("the worker is ready", async || (get("/readyz").await == 200).then_some(())).await;
    for path in PAGES {
        assert_eq!(get(path).await, 404, "{path}");
    }
    worker.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_work_is_refused_at_the_start_and_shows_no_password() {
    let harness = Harness::new(|_| {}).await;
    Authority::new().issue(&["127.0.0.1"]).write(harness.root(), "web");
    std::fs::write(harness.path("other.key"), Authority::new().issue(&["x"]).key).unwrap();
    let costly = bcrypt::hash("x", 4).unwrap().replace("$04$", "$17$");
    let pairs = [
        ("", "the file is empty"),
        ("tls_server_config: { cert_file: web.pem }", "missing key `key_file`"),
        ("tls_server_config: { cert_file: web.pem, key_file: other.key }", "does not fit the cert_file"),
        ("tls_server_config: { cert_file: web.pem, key_file: none.key }", "cannot read the key_file"),
        ("tls_server_config: { cert_file: web.pem, key_file: web.key, client_ca_file: web.pem }", "client_auth_type"),
        (
            "tls_server_config: { cert_file: web.pem, key_file: web.key, client_auth_type: RequireAndVerifyClientCert }",
            "needs a client_ca_file",
        ),
        ("basic_auth_user: { a: b }", "did you mean `basic_auth_users`?"),
        ("basic_auth_users: { anna: c4nary }", "anna: its value is not a bcrypt hash"),
        (&format!("basic_auth_users: {{ anna: {costly} }}"), "above 16"),
        ("bearer_tokens: [{ sha256: c4nary }]", "64 hex digits"),
        ("bearer_tokens: [{ file: web.key, sha256: c4nary }]", "either `file` or `sha256`"),
        ("bearer_tokens: [{ file: nowhere }]", "cannot read the secret file"),
        ("peers: { ca_file: web.pem, server_name: x }", "only with tls_server_config"),
    ];
    for (text, part) in pairs {
        harness.write("web.yaml", &format!("{text}\n"));
        let exit = harness.worker_with(&["--web-config", "web.yaml"]).exit().await;
        assert!(exit.code == Some(2) && exit.stderr.contains(part), "{text}: {:?} {}", exit.code, exit.stderr);
        assert!(!exit.stderr.contains("c4nary"), "{}", exit.stderr);
    }
    let exit = harness.worker_with(&["--web-config", "nothing.yaml"]).exit().await;
    assert!(exit.code == Some(2) && exit.stderr.contains("nothing.yaml"), "{}", exit.stderr);
}

/// A worker's listener in this process, which knows of two workers: itself and the one at `other`.
struct Listening {
    address: String,
    telemetry: Arc<Telemetry>,
    _end: oneshot::Sender<()>,
}

async fn listen(name: &str, web: Option<&Path>) -> Listening {
    let mut server = Server::bind("127.0.0.1:0").await.unwrap();
    if let Some(file) = web {
        server = server.with_web_config(WebConfig::read(file).unwrap());
    }
    let telemetry = Arc::new(Telemetry::new());
    let address = server.address().to_string();
    telemetry.start_lane(&LaneId::new(name, Stream::Threats, "siem"));
    let (end, ended) = oneshot::channel::<()>();
    tokio::spawn(server.serve(telemetry.clone(), async {
        let _ = ended.await;
    }));
    Listening { address, telemetry, _end: end }
}

/// What `one` shows of all lanes, asked with the credentials of its own file.
async fn lanes_of_all(one: &Listening, other: &Listening, web: Option<&Path>) -> Status {
    let workers = ["one", "other"].map(str::to_owned);
    let addresses =
        BTreeMap::from([(workers[0].clone(), one.address.clone()), (workers[1].clone(), other.address.clone())]);
    let held = workers.clone().map(|worker| (worker, BTreeSet::new()));
    one.telemetry.set_cluster(ClusterView { worker: workers[0].clone(), shards: 2, workers: held.into(), addresses });
    let client = match web {
        Some(file) => WebConfig::read(file).unwrap().peers(),
        None => WebConfig::open().unwrap().peers(),
    };
    let url = format!("{}://{}/api/v1/lanes?workers=all", client.scheme(), one.address);
    let answer = client.get(&url, Duration::from_secs(30)).await.unwrap();
    assert_eq!(answer.status(), 200);
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_ask_each_other_with_their_own_certificate_and_token() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let path = |name: &str| directory.path().join(name);
    // In a cluster, too, the certificate names the service, and the workers ask each other by address.
    authority.issue(&["s1-forwarder.example"]).write(directory.path(), "web");
    std::fs::write(path("ca.pem"), authority.certificate()).unwrap();
    std::fs::write(path("web-token"), "token").unwrap();
    let tokens = "bearer_tokens: [{ file: web-token }]\n";
    let hash = hex::encode(Sha256::digest("token"));
    let named = "peers: { ca_file: ca.pem, server_name: s1-forwarder.example }\n";
    let misnamed = "peers: { ca_file: ca.pem, server_name: other.example }\n";
    let certificates = "  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n";
    let cases = [
        ("both.yaml", format!("{TLS}{tokens}"), None),
        ("token.yaml", tokens.to_owned(), None),
        ("named.yaml", format!("{TLS}{tokens}{named}"), None),
        ("clients.yaml", format!("{TLS}{certificates}{tokens}"), None),
        ("misnamed.yaml", format!("{TLS}{tokens}{misnamed}"), Some("certificate")),
    ];
    for (name, text, problem) in &cases {
        std::fs::write(path(name), text).unwrap();
        let one = listen("acme", Some(&path(name))).await;
        let other = listen("bolt", Some(&path(name))).await;
        // Who asks from outside trusts the worker's certificate, whatever the workers trust.
        let asks = if problem.is_some() { "both.yaml" } else { name };
        let all = lanes_of_all(&one, &other, Some(&path(asks))).await;
        match problem {
            None => {
                let names: BTreeSet<&str> = all.lanes.iter().map(|lane| lane.pipeline.as_str()).collect();
                assert_eq!(names, BTreeSet::from(["acme", "bolt"]), "{name}");
            }
            Some(part) => {
                let answer = all.workers[0].problem.as_deref().unwrap_or_default();
                assert!(answer.contains(part), "{name}: {answer}");
            }
        }
    }
    // One that is asked by a worker without credentials says so.
    std::fs::write(path("hash.yaml"), format!("bearer_tokens: [{{ sha256: {hash} }}]\n")).unwrap();
    let one = listen("acme", None).await;
    let other = listen("bolt", Some(&path("hash.yaml"))).await;
    let all = lanes_of_all(&one, &other, None).await;
    let problem = all.workers[0].problem.as_deref().unwrap_or_default();
    assert!(problem.contains("refuses this worker's credentials"), "{problem}");
}

/// The listener only reads. A route that does more needs authentication first: then this test fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_the_listener_serves_changes_anything() {
    let source = include_str!("../../src/server/mod.rs");
    let routes: Vec<_> = source.split(".route(\"").skip(1).map(|route| route.split_once("\", ").unwrap()).collect();
    assert_eq!(routes.len(), 8, "{routes:?}");
    let harness = Harness::new(|setup| setup.activities = 20).await;
    harness.put("acme", &harness.pipeline(serde_json::json!({})));
    let mut worker = harness.worker();
    worker.lane("acme/activities/siem", |lane: &Value| lane["last_success"].is_string()).await;
    let base = worker.url().await;
    let plain = client(None, None);
    for (path, handler) in routes {
        assert!(handler.starts_with("get("), "{path}: {handler}");
        let path = path.replace("{name}", "acme");
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS, Method::TRACE] {
            let answer = plain.request(method.clone(), format!("{base}{path}")).send().await.unwrap();
            assert_eq!(answer.status(), 405, "{method} {path}");
        }
        assert_eq!(plain.get(format!("{base}{path}")).send().await.unwrap().status(), 200, "{path}");
    }
    worker.kill().await;
}
