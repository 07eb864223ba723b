//! Pipeline files of tenants, in a worker that runs them.

use std::os::unix::fs::symlink;

use s1_forwarder::emulator::Kind;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::support::harness::Harness;
use crate::support::oauth::TokenEndpoint;
use crate::support::syslog::{Behaviour, SyslogReceiver};

/// A pipeline with its secrets where a tenant's may be, at the same console by another address.
fn tenant(harness: &Harness, host: &str, name: &str) -> Value {
    let directory = harness.path("secrets").join(name);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::copy(harness.path("token"), directory.join("token")).unwrap();
    let url = harness.server.url().replace("127.0.0.1", host);
    harness.pipeline(json!({ "console": { "url": url, "token": { "file": directory.join("token") } } }))
}

const FLAGS: [&str; 3] = ["--tenant-files", "--secrets-dir", "secrets/{pipeline}"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_of_the_worker_are_refused_when_a_name_is_resolved() {
    let harness = Harness::new(|setup| setup.activities = 50).await;
    harness.put("acme", &tenant(&harness, "127.0.0.1", "acme"));
    let mut by_name = tenant(&harness, "localhost", "globex");
    by_name["sinks"][0]["url"] = json!("https://siem.example/");
    harness.put("globex", &by_name);
    let mut worker = harness.worker_with(&FLAGS);
    worker.logged(&["acme.yaml", "127.0.0.1 is not a public address"]).await;
    let lane = worker.lane("globex/activities/siem", |lane| !lane["error"].is_null()).await;
    assert!(lane["error"].as_str().unwrap().contains("not a public address"), "{lane}");
    assert!(harness.console().request_log().is_empty(), "nothing was asked");
}

/// What is no HTTP request of a sink: the one for its token, and a connection of `syslog`. Their names are resolved to
/// an address of the worker, next to one that the tenant may use.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_endpoints_and_syslog_at_addresses_of_the_worker_are_refused() {
    const ALLOWED: &str = "127.0.0.2";
    let harness = Harness::new(|setup| setup.activities = 50).await;
    let listener = TcpListener::bind((ALLOWED, 0)).await.unwrap();
    let console = listener.local_addr().unwrap();
    let server = harness.server.url().strip_prefix("http://").unwrap().to_owned();
    let passes_on = tokio::spawn(async move {
        loop {
            let (mut outside, _) = listener.accept().await.unwrap();
            let mut inside = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut outside, &mut inside).await });
        }
    });
    let tokens = TokenEndpoint::start("s3cret", 3_600).await;
    let syslog = SyslogReceiver::start(Behaviour::Reads).await;
    let mut pipeline = tenant(&harness, "127.0.0.1", "acme");
    pipeline["console"]["url"] = json!(format!("http://{console}"));
    let auth = json!({
        "type": "oauth2", "token_url": tokens.url().replace("127.0.0.1", "localhost"), "client_id": "client",
        "client_secret": "s3cret",
    });
    pipeline["sinks"] = json!([
        { "type": "http", "name": "intake", "url": format!("http://{console}/intake"), "auth": auth },
        { "type": "syslog", "name": "collector", "address": format!("tcp://localhost:{}", syslog.address().port()) },
    ]);
    harness.put("acme", &pipeline);
    let network = format!("--allow-private-destinations={ALLOWED}/32");
    let mut worker = harness.worker_with(&[&FLAGS[..], &[network.as_str()]].concat());
    for lane in ["acme/activities/intake", "acme/activities/collector"] {
        let lane = worker.lane(lane, |lane| !lane["error"].is_null()).await;
        assert!(lane["error"].as_str().unwrap().contains("not a public address"), "{lane}");
    }
    assert!(!harness.console().request_log().is_empty(), "the console is where it may be");
    assert_eq!((tokens.forms().len(), syslog.connections()), (0, 0));
    passes_on.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_pipeline_runs_with_what_it_may_name() {
    let harness = Harness::new(|setup| setup.activities = 50).await;
    harness.put("acme", &tenant(&harness, "127.0.0.1", "acme"));
    // A neighbour's token.
    let mut thief = tenant(&harness, "127.0.0.1", "globex");
    thief["console"]["token"] = json!({ "file": harness.path("secrets/acme/token") });
    harness.put("globex", &thief);
    // The network of console and sink.
    let worker = harness.worker_with(&[&FLAGS[..], &["--allow-private-destinations=10.0.0.0/8,127.0.0.0/8"]].concat());
    harness.delivered(&[Kind::Activities]).await;
    worker.logged(&["globex.yaml", "only secrets below", "secrets/globex"]).await;
}

#[tokio::test]
async fn one_directory_for_all_tenants_is_refused_at_start() {
    let harness = Harness::new(|_| {}).await;
    for flag in ["--secrets-dir", "--files-dir"] {
        let exit = harness.worker_with(&["--tenant-files", flag, "shared/"]).exit().await;
        assert_eq!(exit.code, Some(2), "{}", exit.stderr);
        assert!(exit.stderr.contains(flag) && exit.stderr.contains("write shared/{pipeline}"), "{}", exit.stderr);
    }
}

/// The files were right when the pipeline's file was checked; or another user has put links there before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_lead_to_no_file_of_another_tenant() {
    let harness = Harness::new(|setup| setup.activities = 50).await;
    let thief = tenant(&harness, "127.0.0.1", "thief");
    std::fs::remove_file(harness.path("secrets/thief/token")).unwrap();
    symlink("../acme/token", harness.path("secrets/thief/token")).unwrap();
    harness.put("acme", &tenant(&harness, "127.0.0.1", "acme"));
    harness.put("thief", &thief);
    let mut writer = tenant(&harness, "127.0.0.1", "writer");
    let directory = harness.path("files/writer");
    std::fs::create_dir_all(&directory).unwrap();
    harness.write("conf", "foreign\n");
    std::fs::create_dir(harness.path("outside")).unwrap();
    symlink(harness.path("conf"), directory.join("out.ndjson")).unwrap();
    symlink("../../outside", directory.join("linked")).unwrap();
    writer["sinks"] = json!([
        { "type": "file", "name": "over", "path": directory.join("out.ndjson") },
        { "type": "file", "name": "beyond", "path": directory.join("linked/new/x.ndjson") },
        { "type": "file", "name": "inside", "path": directory.join("new/{stream}.ndjson") },
    ]);
    harness.put("writer", &writer);
    // What is wrong with a file is said with its words.
    symlink("../conf", harness.path("pipelines/linked.yaml")).unwrap();
    let flags = ["--files-dir", "files/{pipeline}", "--allow-private-destinations"];
    let mut worker = harness.worker_with(&[&FLAGS[..], &flags[..]].concat());
    harness.delivered(&[Kind::Activities]).await;
    for lane in ["thief/activities/siem", "writer/activities/over", "writer/activities/beyond"] {
        let lane = worker.lane(lane, |lane| !lane["error"].is_null()).await;
        assert!(lane["error"].as_str().unwrap().contains("leads out of"), "{lane}");
    }
    worker.lane("writer/activities/inside", |lane| lane["delivered"] == json!(50)).await;
    worker.logged(&["linked.yaml", "leads out of"]).await;
    let check = harness.command(&[&["check", "--offline", "pipelines"], &FLAGS[..], &flags[..2]].concat()).await;
    let printed = check.stdout + &check.stderr;
    assert!(printed.contains("leads out of") && !printed.contains("foreign"), "{printed}");
    assert_eq!(std::fs::read_to_string(harness.path("conf")).unwrap(), "foreign\n");
    assert_eq!(std::fs::read_dir(harness.path("outside")).unwrap().count(), 0);
}

/// Its secrets and its checkpoints are still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_file_takes_the_name_of_one_that_is_gone() {
    let harness = Harness::new(|setup| setup.activities = 50).await;
    let flags = [&FLAGS[..], &["--allow-private-destinations"]].concat();
    harness.put("acme", &tenant(&harness, "127.0.0.1", "acme"));
    let first = harness.worker_with(&flags);
    harness.delivered(&[Kind::Activities]).await;
    first.kill().await;
    std::fs::rename(harness.path("pipelines/acme.yaml"), harness.path("pipelines/acme.yml")).unwrap();
    let asked = harness.console().request_log().len();
    let once = harness.once(&flags).await;
    assert_eq!(once.code, Some(2), "nothing else could run: {}", once.stderr);
    assert!(once.stderr.contains("another tenant's file, which had it first"), "{}", once.stderr);
    let mut worker = harness.worker_with(&flags);
    worker.logged(&["acme.yml", "which had it first"]).await;
    assert!(worker.lanes().await.is_empty());
    assert_eq!(harness.console().request_log().len(), asked);
    let released = harness.command(&["state", "release", "acme"]).await;
    assert!(released.code == Some(0) && released.stdout.contains("acme.yaml"), "{released:?}");
    // The worker looks at the names again with the next scan.
    worker.lane("acme/activities/siem", |lane| !lane["last_success"].is_null()).await;
    assert_ne!(harness.command(&["state", "release", "nobody"]).await.code, Some(0));
}
