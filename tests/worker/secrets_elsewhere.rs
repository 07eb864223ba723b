//! No secret is reported by what goes wrong before, during and after requests: files, flags, TLS, brokers, redirects,
//! and every command.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::support::harness::Harness;
use crate::support::process::{Exit, Process, program, until};
use crate::support::tls::{Authority, TlsFront};

/// Every secret holds this.
const CANARY: &str = "c4nary";

fn assert_silent(place: &str, text: &str) {
    for secret in [CANARY.to_owned(), BASE64_STANDARD.encode("user:c4nary"), BASE64_STANDARD.encode("c4nary-token")] {
        // The last characters of base64 depend on what follows.
        let secret = secret.trim_end_matches('=');
        if let Some(at) = text.find(&secret[..secret.len().min(8)]) {
            let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
            panic!("{place} tells {secret}: {}", text[line..].lines().next().unwrap());
        }
    }
}

fn assert_exit_silent(place: &str, exit: &Exit) {
    assert_silent(place, &exit.stdout);
    assert_silent(place, &exit.stderr);
}

/// A console, or a sink, that sends every request elsewhere, with what it got in the address. Where it sends it to, and
/// how many connections came there.
async fn redirecting() -> (String, Arc<AtomicUsize>) {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = elsewhere.local_addr().unwrap();
    let came = Arc::new(AtomicUsize::new(0));
    let counted = came.clone();
    tokio::spawn(async move {
        while elsewhere.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = async move |headers: header::HeaderMap| {
        let token = headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap());
        let token = token.replace(' ', "/");
        (StatusCode::FOUND, [(header::LOCATION, format!("http://{target}/{token}?{token}"))], token).into_response()
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await.unwrap() });
    (url, came)
}

/// Takes connections, reads, and says nothing.
async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut read = [0; 4096];
                while stream.read(&mut read).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    address
}

/// A file whose name is no secret.
fn secret_file(harness: &Harness, name: &str, contents: &[u8]) -> Value {
    fs::write(harness.path(name), contents).unwrap();
    json!({ "file": harness.path(name) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_reported_whatever_fails_around_requests() {
    let harness = Harness::new(|setup| setup.activities = 20).await;
    let (redirect, came) = redirecting().await;
    let closed = "http://127.0.0.1:1";
    let front = TlsFront::start(harness.sink.address(), &Authority::new().issue(&["127.0.0.1"]), None).await;
    let put = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut pipeline = harness.pipeline(json!({}));
        change(&mut pipeline);
        harness.put(name, &pipeline);
    };
    // Consoles that cannot be reached, or send the request elsewhere.
    for (name, url) in [
        ("closed", closed.to_owned()),
        ("untrusted", format!("https://{}", front.address())),
        ("redirected", redirect.clone()),
    ] {
        put(name, &|pipeline| {
            pipeline["console"]["url"] = json!(url);
            pipeline["console"]["token"] = json!("c4nary-token");
        });
        // Sinks have secrets in their addresses, credentials and headers.
        put(&format!("{name}-sink"), &|pipeline| {
            pipeline["sinks"][0]["url"] = json!(format!("{url}/c4nary-path?key=c4nary"));
            pipeline["sinks"][0]["auth"] = json!({ "type": "basic", "user": "user", "password": "c4nary" });
            pipeline["sinks"][0]["headers"] = json!({ "X-Key": "c4nary" });
        });
        put(&format!("{name}-oauth"), &|pipeline| {
            pipeline["sinks"][0]["auth"] = json!({
                "type": "oauth2", "token_url": format!("{url}/c4nary"), "client_id": "id", "client_secret": "c4nary",
            });
        });
    }
    // Secrets that cannot be used.
    let long = format!("c4nary{}", "x".repeat(70_000));
    for (name, contents) in [
        ("lines", &b"c4nary\nc4nary"[..]),
        ("binary", b"c4nary\xff\xfe"),
        ("long", long.as_bytes()),
        ("null", b"c4nary\0"),
    ] {
        let secret = secret_file(&harness, &format!("secret-{name}"), contents);
        put(&format!("secret-{name}"), &|pipeline| pipeline["console"]["token"] = secret.clone());
    }
    let key = b"-----BEGIN PRIVATE KEY-----\nc4naryc4naryc4nary\n-----END PRIVATE KEY-----\n";
    let certificate = Authority::new().certificate();
    fs::write(harness.path("damaged.key"), key).unwrap();
    fs::write(harness.path("own.pem"), certificate).unwrap();
    put("key", &|pipeline| {
        pipeline["sinks"][0]["tls"] =
            json!({ "cert_file": harness.path("own.pem"), "key_file": harness.path("damaged.key") });
    });
    let account =
        json!({ "type": "service_account", "client_email": "a@b", "private_key": String::from_utf8_lossy(key) });
    let account = secret_file(&harness, "account", account.to_string().as_bytes());
    put("account", &|pipeline| {
        pipeline["sinks"] = json!([{
            "type": "google_secops", "project": "p", "location": "eu", "instance": "i", "service_account": account,
        }]);
    });
    // Brokers that are not there, or say nothing.
    #[cfg(feature = "kafka")]
    for (name, brokers) in [("nobody", "127.0.0.1:1".to_owned()), ("silent", silent().await)] {
        for (kind, options) in [
            (
                "sasl",
                json!({ "security.protocol": "sasl_plaintext", "sasl.mechanisms": "PLAIN", "sasl.username": "user", "sasl.password": "c4nary" }),
            ),
            (
                "scram",
                json!({ "security.protocol": "sasl_ssl", "sasl.mechanisms": "SCRAM-SHA-256", "sasl.username": "user", "sasl.password": secret_file(&harness, "kafka-password", b"c4nary\n") }),
            ),
            (
                "key",
                json!({ "security.protocol": "ssl", "ssl.key.pem": { "file": harness.path("damaged.key") }, "ssl.key.password": "c4nary" }),
            ),
        ] {
            put(&format!("kafka-{name}-{kind}"), &|pipeline| {
                pipeline["sinks"] =
                    json!([{ "type": "kafka", "brokers": [&brokers], "topic": "t", "options": &options }]);
            });
        }
    }
    let _ = silent;
    // Files with mistakes next to secrets.
    for (index, text) in [
        "console: { url: https://c.example, token: [c4nary] }",
        "console: { url: https://c.example, token: { fil: c4nary } }",
        "console: { url: https://c.example, tokn: c4nary }",
        "console: { url: \"https://user:c4nary@c.example\", token: c4nary }",
        "console: { url: \"ftp://c.example\", token: c4nary, proxy: \"socks9://user:c4nary@p\" }",
        "console: c4nary-token",
        "sinks: [{ type: http, url: https://x, auth: { type: bearer, token: { x: c4nary } } }]",
        "sinks: [{ type: http, url: https://x, headers: c4nary }]",
        "sinks: [{ type: http, url: https://x, headers: { \"bad name\": c4nary, X: [c4nary] } }]",
        "sinks: [{ type: splunk_hec, url: https://x, token: \"c4nary\\u0007\" }]",
        "sinks: [{ type: kafka, brokers: [b], topic: t, options: { sasl.password: [c4nary], sasl.pasword: c4nary } }]",
        "console: { token: \"c4nary",
        "console: { token: c4nary, token: c4nary }",
    ]
    .into_iter()
    .enumerate()
    {
        harness.write(&format!("pipelines/mistake-{index}.yaml"), &format!("{text}\n"));
    }

    let run = |arguments: &[&str]| Process::spawn(program(harness.root(), arguments));
    let mut worker = run(&["run", "--pipelines", "pipelines", "--listen", "127.0.0.1:0", "--log-level", "trace"]);
    until("each lane failed in its way", async || {
        let lanes = worker.lanes().await;
        let failing =
            |prefix: &str| lanes.iter().filter(|(name, lane)| name.starts_with(prefix) && lane["up"] == false).count();
        let expected = [("closed", 3), ("untrusted", 3), ("redirected", 3), ("secret-", 4)];
        expected.iter().all(|(prefix, count)| failing(prefix) == *count).then_some(())
    })
    .await;
    for page in [
        "/metrics",
        "/",
        "/api/v1/lanes",
        "/readyz",
        "/livez",
        "/pipelines/closed-sink",
        "/api/v1/pipelines/closed-oauth",
    ] {
        assert_silent(page, &worker.get(page).await.1);
    }
    let url = worker.url().await;
    for arguments in [&["status", "--url", &url][..], &["status", "--url", &url, "--format", "json"]] {
        assert_exit_silent("status", &harness.command(arguments).await);
    }
    worker.signal("TERM").await;
    let exit = worker.exit().await;
    assert!(exit.stderr.contains("TRACE"), "the log is not as talkative as it could be");
    assert_exit_silent("the worker", &exit);
    assert_eq!(came.load(Ordering::SeqCst), 0, "a redirect was followed");

    // Every command over the same files, and with flags that cannot work.
    harness.write("web.yaml", "basic_auth_users: { anna: c4nary }\nbearer_tokens: [{ sha256: c4nary }]\n");
    let trace = ["--log-level", "trace", "--log-format", "text"];
    for arguments in [
        &["check", "--pipelines", "pipelines"][..],
        &["check", "--pipelines", "pipelines", "--format", "json"],
        &["check", "--offline", "--pipelines", "pipelines"],
        &["check", "--offline", "--pipelines", "pipelines", "--tenant-files"],
        &[
            "run",
            "--once",
            "--pipelines",
            "pipelines",
            "--tenant-files",
            "--state",
            "file:other",
            "--once-timeout",
            "1s",
        ],
        &["preview", "pipelines/closed.yaml"],
        &["preview", "pipelines/redirected.yaml"],
        &[
            "backfill",
            "pipelines/redirected.yaml",
            "--stream",
            "activities",
            "--from",
            "2d",
            "--to",
            "1d",
            "--once-timeout",
            "1s",
        ],
        &["verify", "pipelines/redirected.yaml", "--from", "2d", "--to", "1d", "--once-timeout", "1s"],
        &["activity-types", "pipelines/redirected.yaml"],
        &["map", "--schema", "ecs", "--stream", "threats", "--pipeline", "pipelines/closed-sink.yaml"],
        &["state", "list"],
        &["dead-letters", "list"],
        &["status", "--url", "http://user:c4nary@127.0.0.1:1"],
        &["status", "--url", "127.0.0.1:1", "--web-config", "web.yaml"],
        &["run", "--pipelines", "pipelines", "--web-config", "web.yaml", "--listen", "127.0.0.1:0"],
        &["run", "--pipelines", "pipelines", "--state", "kafka://127.0.0.1:1/t?sasl.password=c4nary&c4nary"],
        &["run", "--pipelines", "pipelines", "--state", "kafka://127.0.0.1:1/t?sasl.pasword=c4nary"],
        &["run", "--pipelines", "pipelines", "--state", "kafka://user:c4nary@b"],
        &["run", "--pipelines", "pipelines", "--dead-letters", "kafka://b/t?ssl.key.password=c4nary&x"],
        &["state", "list", "--state", "kafka://b/t?sasl.password=c4nary&debug=all"],
    ] {
        let exit = run(&[arguments, &trace[..]].concat()).exit().await;
        assert!(!exit.stdout.is_empty() || !exit.stderr.is_empty(), "{arguments:?} says nothing");
        assert_exit_silent(&arguments.join(" "), &exit);
    }
}
