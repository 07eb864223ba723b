//! TLS and proxies of HTTP sinks and consoles: private authorities, client certificates, what is asked of a proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::{Console, Server, Setup, Token, system_clock};
use s1_forwarder::failure::Failure;
use s1_forwarder::failure::FailureKind::Transient;
use s1_forwarder::sink::{Outcome, ProbeResult};
use serde_json::{Value, json};

use crate::support::batches::{batch, sink};
use crate::support::oauth::TokenEndpoint;
use crate::support::proxy::Proxy;
use crate::support::receiver::{Receiver, Rules};
use crate::support::tls::{Authority, TlsFront};

/// The authority's certificate in a file.
fn trust(authority: &Authority, directory: &Path) -> Value {
    let path = directory.join("ca.pem");
    std::fs::write(&path, authority.certificate()).unwrap();
    json!({ "ca_file": path })
}

fn keys(address: SocketAddr, tls: &Value) -> Value {
    json!({ "type": "http", "url": format!("https://{address}/in"), "tls": tls, "timeout": "5s" })
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_named_and_nowhere_else() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Rules::default()).await;
    let front = TlsFront::start(receiver.address(), &authority.issue(&["127.0.0.1"]), None).await;
    let trusting = trust(&authority, directory.path());
    assert_eq!(sink(keys(front.address(), &trusting)).send(&batch(0..3)).await.outcome, Outcome::Delivered);

    let elsewhere = TlsFront::start(receiver.address(), &authority.issue(&["siem.example"]), None).await;
    let stranger = tempfile::tempdir().unwrap();
    for (address, tls) in [
        (front.address(), json!({})),
        (front.address(), trust(&Authority::new(), stranger.path())),
        // A good certificate for another name.
        (elsewhere.address(), trusting),
    ] {
        let lane = sink(keys(address, &tls));
        let attempt = lane.send(&batch(0..3)).await;
        assert!(
            matches!(&attempt.outcome, Outcome::Failed(Failure { kind: Transient, reason, .. }) if reason.contains("certificate")),
            "{tls} → {attempt:?}"
        );
        assert_eq!(attempt.status.label(), "tls");
        assert!(matches!(lane.probe().await, ProbeResult::Failed(reason) if reason.contains("certificate")));
    }
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_named() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Rules::default()).await;
    let trusting = trust(&authority, directory.path());
    for (issued, part) in
        [(authority.issue_expired(&["127.0.0.1"]), "expired"), (authority.issue(&["siem.example"]), "siem.example")]
    {
        let front = TlsFront::start(receiver.address(), &issued, None).await;
        let attempt = sink(keys(front.address(), &trusting)).send(&batch(0..3)).await;
        assert!(
            matches!(&attempt.outcome, Outcome::Failed(Failure { kind: Transient, reason, .. }) if reason.contains(part)),
            "{part}: {attempt:?}"
        );
    }
    assert!(receiver.requests().is_empty());
}

/// A certificate for another name, of an authority that is not trusted.
#[tokio::test]
async fn a_server_is_trusted_by_the_fingerprint_of_its_certificate() {
    let authority = Authority::new();
    let clients = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Rules::default()).await;
    let issued = authority.issue(&["SplunkServerDefaultCert"]);
    let front = TlsFront::start(receiver.address(), &issued, Some(&clients)).await;
    let (cert_file, key_file) = clients.issue(&["forwarder"]).write(directory.path(), "client");
    let tls = |pins: Value| json!({ "pin_sha256": pins, "cert_file": cert_file, "key_file": key_file });
    let lane = sink(keys(front.address(), &tls(json!([issued.fingerprint(), "00".repeat(32)]))));
    assert_eq!(lane.send(&batch(0..3)).await.outcome, Outcome::Delivered);

    let other = sink(keys(front.address(), &tls(json!(["00".repeat(32)])))).send(&batch(0..3)).await;
    assert!(
        matches!(&other.outcome, Outcome::Failed(Failure { kind: Transient, reason, .. }) if reason.contains(&issued.fingerprint())),
        "the text names the fingerprint: {other:?}"
    );
    assert_eq!((other.status.label(), receiver.requests().len()), ("tls", 1));
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_may_be_renewed_on_disk() {
    let servers = Authority::new();
    let clients = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Rules::default()).await;
    let front = TlsFront::start(receiver.address(), &servers.issue(&["127.0.0.1"]), Some(&clients)).await;
    let mut tls = trust(&servers, directory.path());
    let without = sink(keys(front.address(), &tls)).send(&batch(0..3)).await;
    assert_eq!(without.outcome.failure_kind(), Some(Transient), "{without:?}");

    // The first certificate is of another authority.
    let (cert_file, key_file) = servers.issue(&["forwarder"]).write(directory.path(), "client");
    tls["cert_file"] = json!(cert_file);
    tls["key_file"] = json!(key_file);
    let lane = sink(keys(front.address(), &tls));
    for _ in 0..4 {
        let refused = lane.send(&batch(0..3)).await;
        assert_eq!(refused.outcome.failure_kind(), Some(Transient), "not for its size: {refused:?}");
    }
    assert_eq!(receiver.requests().len(), 0);
    clients.issue(&["forwarder"]).write(directory.path(), "client");
    // The first try is made with the old one, and certificates are read once a second.
    let started_at = tokio::time::Instant::now();
    loop {
        match lane.send(&batch(0..3)).await.outcome {
            Outcome::Delivered => break,
            outcome => assert_eq!(outcome.failure_kind(), Some(Transient), "{outcome:?}"),
        }
        assert!(started_at.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The certificates of a sink are not shown to its identity provider, and those of the provider may be renewed on disk.
#[tokio::test]
async fn a_token_endpoint_has_certificates_of_its_own() {
    let sinks = Authority::new();
    let identities = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let of_identities = tempfile::tempdir().unwrap();
    let authorization = ["Bearer token-1".to_owned()].into();
    let receiver = Receiver::start(Rules { authorization, ..Rules::default() }).await;
    let endpoint = TokenEndpoint::start("s3cret", 3_600).await;
    let receiver_front = TlsFront::start(receiver.address(), &sinks.issue(&["127.0.0.1"]), None).await;
    let endpoint_front = TlsFront::start(endpoint.address(), &identities.issue(&["127.0.0.1"]), None).await;
    let lane = |tls: &Value| {
        let mut keys = keys(receiver_front.address(), &trust(&sinks, directory.path()));
        keys["auth"] = json!({
            "type": "oauth2", "token_url": format!("https://{}/token", endpoint_front.address()), "client_id": "client",
            "client_secret": "s3cret", "tls": tls,
        });
        sink(keys)
    };
    let stranger = lane(&trust(&Authority::new(), of_identities.path()));
    for lane in [&lane(&json!({})), &stranger] {
        let attempt = lane.send(&batch(0..3)).await;
        assert!(
            matches!(&attempt.outcome, Outcome::Failed(Failure { kind: Transient, reason, .. }) if reason.contains("token endpoint")),
            "{attempt:?}"
        );
    }
    trust(&identities, of_identities.path());
    assert_eq!(stranger.send(&batch(0..3)).await.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn a_sink_goes_through_its_own_proxy_with_its_password() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(Rules::default()).await;
    let front = TlsFront::start(receiver.address(), &authority.issue(&["siem.example"]), None).await;
    // "user:canary"
    let proxy = Proxy::start(front.address(), Some("Basic dXNlcjpjYW5hcnk=")).await;
    let through = |proxy: String| {
        sink(json!({
            "type": "http", "url": "https://siem.example/in", "proxy": proxy, "tls": trust(&authority, directory.path()),
        }))
    };
    let lane = through(format!("http://user:canary@{}", proxy.address()));
    assert_eq!(lane.send(&batch(0..3)).await.outcome, Outcome::Delivered);
    assert_eq!(proxy.asked(), ["CONNECT siem.example:443"]);
    let refused = through(format!("http://{}", proxy.address())).send(&batch(0..3)).await;
    assert_eq!(refused.outcome.failure_kind(), Some(Transient), "{refused:?}");
    assert!(!format!("{lane:?}").contains("canary"));

    let plain = Proxy::start(receiver.address(), None).await;
    let lane = sink(
        json!({ "type": "http", "url": "http://siem.example/in", "proxy": format!("http://{}", plain.address()) }),
    );
    assert_eq!(lane.send(&batch(0..3)).await.outcome, Outcome::Delivered);
    assert_eq!(plain.asked(), ["POST http://siem.example/in"]);
}

/// An emulated console behind TLS, under the name of a real one.
struct Tenant {
    authority: Authority,
    front: TlsFront,
    server: Server,
    directory: tempfile::TempDir,
}

impl Tenant {
    async fn start(clients: Option<&Authority>) -> Self {
        let console = Arc::new(Console::new(&Setup { threats: 5, activities: 5, ..Setup::new(system_clock()) }));
        console.set_token(Token::new("t0ken"));
        let server = Server::start(console, ([127, 0, 0, 1], 0).into()).await.unwrap();
        let authority = Authority::new();
        let inner = server.url().trim_start_matches("http://").parse().unwrap();
        let issued = authority.issue(&["usea1-acme.sentinelone.net", "siem.example", "127.0.0.1"]);
        let front = TlsFront::start(inner, &issued, clients).await;
        Self { authority, front, server, directory: tempfile::tempdir().unwrap() }
    }

    /// Runs `check` over one pipeline: the words of its findings, and all that was printed.
    async fn check(&self, console: Value, sink: Value, environment: &[(&str, String)]) -> (String, String) {
        self.check_with(console, sink, environment, &[]).await
    }

    /// Runs `check` with more flags.
    async fn check_with(
        &self,
        console: Value,
        sink: Value,
        environment: &[(&str, String)],
        flags: &[&str],
    ) -> (String, String) {
        let trusted = trust(&self.authority, self.directory.path());
        let with_tls = |mut settings: Value| {
            let mut tls = trusted.clone();
            tls.as_object_mut().unwrap().extend(settings["tls"].as_object().cloned().unwrap_or_default());
            settings["tls"] = tls;
            settings
        };
        let mut console = with_tls(console);
        console["token"] = json!("t0ken");
        let file = json!({ "console": console, "streams": { "threats": {} }, "sinks": [with_tls(sink)] });
        let path = self.directory.path().join("acme.yaml");
        // JSON is YAML.
        std::fs::write(&path, file.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_s1-forwarder"));
        command.args(["check", "--format", "json", "--pipelines"]).arg(&path).args(flags);
        for name in
            ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"]
        {
            command.env_remove(name);
        }
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let reported = String::from_utf8_lossy(&[output.stdout.clone(), output.stderr].concat()).into_owned();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{reported}"));
        let findings = report["pipelines"][0]["findings"].as_array().unwrap().clone();
        let words = findings
            .iter()
            .map(|finding| format!("{}={}", finding["subject"].as_str().unwrap(), finding["check"].as_str().unwrap()));
        (words.collect::<Vec<_>>().join(" "), reported)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consoles_and_sinks_take_the_proxy_of_the_environment() {
    let tenant = Tenant::start(None).await;
    let proxy = Proxy::start(tenant.front.address(), None).await;
    let console = json!({ "url": "https://usea1-acme.sentinelone.net" });
    let http = json!({ "type": "http", "url": "https://siem.example/in" });
    let environment = [("HTTPS_PROXY", format!("http://{}", proxy.address()))];
    let (words, reported) = tenant.check(console.clone(), http.clone(), &environment).await;
    assert!(words.starts_with("proxy=verified console=verified token=verified"), "{reported}");
    assert!(words.ends_with("proxy=verified sink http=reached"), "{reported}");
    let address = format!("http://{} (HTTPS_PROXY) on the way to the", proxy.address());
    assert!(["console", "sink http"].iter().all(|end| reported.contains(&format!("{address} {end}"))), "{reported}");
    let asked = proxy.asked();
    assert!(asked.contains(&"CONNECT usea1-acme.sentinelone.net:443".to_owned()), "{asked:?}");
    assert!(asked.contains(&"CONNECT siem.example:443".to_owned()), "{asked:?}");

    // What is excepted is asked directly.
    let direct = json!({ "type": "http", "url": format!("https://{}/in", tenant.front.address()) });
    let environment = [environment[0].clone(), ("NO_PROXY", tenant.front.address().to_string())];
    let (words, reported) = tenant.check(console.clone(), direct, &environment).await;
    assert!(words.ends_with("rate limit=verified sink http=reached"), "{reported}");
    assert_eq!(proxy.asked().iter().filter(|asked| !asked.contains("sentinelone")).count(), 1, "{:?}", proxy.asked());

    // A proxy in the settings comes before that of the environment.
    let own = Proxy::start(tenant.front.address(), None).await;
    let with_own = |mut settings: Value| {
        settings["proxy"] = json!(format!("http://{}", own.address()));
        settings
    };
    let before = proxy.asked().len();
    let (words, reported) = tenant.check(with_own(console), with_own(http), &environment).await;
    assert!(words.starts_with("proxy=verified console=verified token=verified"), "{reported}");
    assert!(
        words.ends_with("sink http=reached") && reported.contains("(`proxy`) on the way to the console"),
        "{reported}"
    );
    assert_eq!(proxy.asked().len(), before);
    assert!(own.asked().len() >= 2);
    tenant.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_proxy_may_be_anywhere_and_a_tenants_may_not() {
    let tenant = Tenant::start(None).await;
    let proxy = Proxy::start(tenant.front.address(), None).await;
    // By its name, which has a private address.
    let address = format!("http://localhost:{}", proxy.address().port());
    let console = json!({ "url": "https://usea1-acme.sentinelone.net" });
    let http = json!({ "type": "http", "url": "https://siem.example/in" });
    // The tenant's own directory, by its name.
    let files = tenant.directory.path().with_file_name("{directory}");
    let flags = ["--tenant-files", "--files-dir", files.to_str().unwrap()];
    let environment = [("HTTPS_PROXY", address.clone()), ("NO_PROXY", "localhost".to_owned())];
    let (words, reported) = tenant.check_with(console.clone(), http.clone(), &environment, &flags).await;
    assert!(words.starts_with("proxy=verified console=verified token=verified"), "{reported}");
    assert!(words.ends_with("proxy=verified sink http=reached"), "{reported}");

    let defaults = tenant.directory.path().join("defaults");
    std::fs::write(&defaults, json!({ "console": { "proxy": address } }).to_string()).unwrap();
    let with_defaults = [&flags[..], &["--defaults", defaults.to_str().unwrap()]].concat();
    let asked = proxy.asked().len();
    let (words, reported) = tenant.check_with(console.clone(), http.clone(), &[], &with_defaults).await;
    assert!(words.starts_with("proxy=verified console=verified token=verified"), "{reported}");
    assert!(proxy.asked().len() > asked, "{reported}");

    // The name is a way, and no destination.
    let there = json!({ "type": "http", "url": format!("https://localhost:{}/in", proxy.address().port()) });
    let (words, reported) = tenant.check_with(console.clone(), there, &environment, &flags).await;
    assert!(words.ends_with("sink http=failed"), "{reported}");
    assert!(reported.contains("localhost is the operator's proxy"), "{reported}");

    let asked = proxy.asked().len();
    let mut with_own = console;
    with_own["proxy"] = json!(address);
    let mut http_with_own = http;
    http_with_own["proxy"] = json!(address);
    let (words, reported) = tenant.check_with(with_own, http_with_own, &environment, &flags).await;
    assert!(words.starts_with("proxy=failed console=failed") && words.ends_with("sink http=failed"), "{reported}");
    assert!(reported.contains("localhost is at ") && reported.contains("not a public address"), "{reported}");
    assert_eq!(proxy.asked().len(), asked, "{:?}", proxy.asked());
    tenant.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment_that_fails_is_named_and_not_the_console() {
    let tenant = Tenant::start(None).await;
    let console = json!({ "url": "https://usea1-acme.sentinelone.net" });
    let stdout = json!({ "type": "stdout" });
    let gone = "http://user:canary@127.0.0.1:1".to_owned();
    let (words, reported) = tenant.check(console.clone(), stdout.clone(), &[("ALL_PROXY", gone)]).await;
    assert!(words.starts_with("proxy=failed console=failed token=skipped"), "{reported}");
    let expected = "cannot connect to the proxy http://127.0.0.1:1 (ALL_PROXY) on the way to \
                    usea1-acme.sentinelone.net:443: Connection refused (os error 111); correct ALL_PROXY, or except the \
                    host in NO_PROXY";
    assert!(reported.contains(expected) && !reported.contains("canary"), "{reported}");

    // The console fails, and not the proxy.
    let proxy = Proxy::start(tenant.server.address(), None).await;
    let environment = [("https_proxy", format!("http://{}", proxy.address()))];
    let (words, reported) = tenant.check(console, stdout, &environment).await;
    assert!(words.starts_with("proxy=skipped console=failed"), "{reported}");
    let through =
        format!("cannot connect to usea1-acme.sentinelone.net:443 through the proxy http://{}", proxy.address());
    assert!(reported.contains(&through) && reported.contains("the port does not speak TLS"), "{reported}");
    tenant.server.stop().await;
}

/// The verifier of TLS logs what the finding says, with the path of its source.
#[tokio::test(flavor = "multi_thread")]
async fn an_untrusted_console_has_advice_and_no_line_of_a_library() {
    let tenant = Tenant::start(None).await;
    let console = json!({ "url": format!("https://{}", tenant.front.address()), "tls": { "ca_file": null } });
    let (words, reported) = tenant.check(console, json!({ "type": "stdout" }), &[]).await;
    assert!(words.starts_with("console=failed"), "{reported}");
    assert!(reported.contains("name the authority's certificate in `tls.ca_file`"), "{reported}");
    assert!(!reported.contains("failed to verify") && !reported.contains("log.file"), "{reported}");
    tenant.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_may_want_a_client_certificate() {
    let clients = Authority::new();
    let tenant = Tenant::start(Some(&clients)).await;
    let console = json!({ "url": format!("https://{}", tenant.front.address()) });
    let stdout = json!({ "type": "stdout" });
    let (words, reported) = tenant.check(console.clone(), stdout.clone(), &[]).await;
    assert!(words.starts_with("console=failed"), "{reported}");
    let (cert_file, key_file) = clients.issue(&["forwarder"]).write(tenant.directory.path(), "client");
    let mut with = console;
    with["tls"] = json!({ "cert_file": cert_file, "key_file": key_file });
    let (words, reported) = tenant.check(with, stdout, &[]).await;
    assert!(words.starts_with("console=verified token=verified"), "{reported}");
    tenant.server.stop().await;
}
