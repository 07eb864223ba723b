//! Consoles that answer nothing, or nothing good: the lane says what is wrong, the others go on, and nothing is lost.

use std::time::Duration;

use s1_forwarder::emulator::{Fault, Faults, Kind, Setup, Token, system_clock};
use serde_json::{Value, json};

use crate::support::harness::Harness;
use crate::support::process::{until, until_within};
use crate::support::tls::{Authority, TlsFront};

fn always(fault: Fault) -> Faults {
    Faults { max_consecutive: u32::MAX, ..Faults::default() }.with(fault, 1.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_no_pages_are_reported_and_asked_for_again() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    harness.put_changed("acme", json!({ "console": { "timeout": "2s" } }));
    let mut worker = harness.worker();
    harness.delivered(&[Kind::Activities]).await;
    for (fault, reported) in [
        (Fault::HtmlPage, "HTML"),
        (Fault::Truncated, "broke off"),
        (Fault::NullData, "`data: null`"),
        (Fault::ErrorsOnly, "200 with an error"),
        (Fault::Dropped, "broke off"),
        (Fault::InternalError, "500"),
        (Fault::SlowAnswer(Duration::from_secs(5)), "within 2s"),
    ] {
        harness.console().set_faults(always(fault));
        let lane = worker.lane("acme/activities/siem", |lane| lane["state"] == "console_failing").await;
        let error = lane["error"].as_str().unwrap();
        assert!(error.contains(reported), "{fault:?}: {error}");
        harness.console().generate(Kind::Activities, system_clock());
        harness.console().set_faults(Faults::default());
        harness.delivered(&[Kind::Activities]).await;
    }
    let arrived = harness.sink.ledger().counts();
    assert!(arrived.values().all(|count| *count == 1), "something came twice");
}

/// The URL names what is requested next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_no_url_can_hold_is_named() {
    let harness = Harness::new(|_| {}).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let record = json!({ "id": "1", "activityType": 27, "createdAt": "2026-01-31T00:00:00.000000Z" });
    let pagination = json!({ "nextCursor": "c".repeat(3_000_000), "totalItems": 2 });
    let page = json!({ "data": [record], "pagination": pagination }).to_string();
    let app = axum::Router::new().fallback(async move || page.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let streams = json!({ "activities": { "since": "2026-01-01" } });
    harness.put_changed("acme", json!({ "console": { "url": url }, "streams": streams }));
    let exit = harness.once(&["--once-timeout", "1s"]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    let words = ["/web/api/v2.1/activities would have a URL of 30", "the console gave a cursor that is too long"];
    assert!(words.iter().all(|words| exit.stdout.contains(words)), "{}\n{}", exit.stdout, exit.stderr);
}

/// First an authority that did not issue the console's certificate, then a client certificate that it does not accept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_for_a_console_are_replaced_on_disk_without_a_restart() {
    let servers = Authority::new();
    let clients = Authority::new();
    let others = Authority::new();
    let harness = Harness::new(|setup| setup.activities = 30).await;
    let front = TlsFront::start(harness.server.address(), &servers.issue(&["127.0.0.1"]), Some(&clients)).await;
    harness.write("ca.pem", &others.certificate());
    let (cert_file, key_file) = others.issue(&["forwarder"]).write(harness.root(), "client");
    let tls = json!({ "ca_file": harness.path("ca.pem"), "cert_file": cert_file, "key_file": key_file });
    let url = format!("https://{}", front.address());
    harness.put_changed("acme", json!({ "console": { "url": url, "tls": tls } }));
    let mut worker = harness.worker();
    let untrusted = |lane: &Value| lane["error"].as_str().unwrap_or_default().contains("invalid peer certificate");
    worker.lane("acme/activities/siem", untrusted).await;
    harness.write("ca.pem", &servers.certificate());
    let refused = |lane: &Value| lane["state"] == "console_failing" && !untrusted(lane);
    worker.lane("acme/activities/siem", refused).await;
    clients.issue(&["forwarder"]).write(harness.root(), "client");
    let counts = || harness.sink.ledger().counts();
    until("everything is delivered", async || (counts().len() == 30).then_some(())).await;
    assert!(counts().values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_console_that_is_not_there_and_one_stream_that_is_refused_stop_nothing_else() {
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (60, 40)).await;
    let streams = json!({ "activities": {}, "threats": { "since": "30d" } });
    harness.put_changed("acme", json!({ "streams": streams }));
    harness.put_changed("globex", json!({ "console": { "url": "http://127.0.0.1:1" } }));
    harness.console().set_token(Token::new(Setup::TOKEN).without(Kind::Threats));
    let exit = harness.once(&["--once-timeout", "2s"]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    let result = |lane: &str| {
        let row = exit.stdout.lines().find(|row| row.contains(lane));
        row.unwrap_or_else(|| panic!("{lane} is missing:\n{}", exit.stdout)).trim_end()
    };
    assert!(result("acme/activities/siem").ends_with("complete"), "{}", exit.stdout);
    assert!(result("acme/threats/siem").contains("given up: the console answered 403 Forbidden"), "{}", exit.stdout);
    assert!(result("globex/activities/siem").contains("given up: cannot connect"), "{}", exit.stdout);
    harness.assert_all_arrived(&[Kind::Activities], &harness.sink.ledger().counts());

    let missing = Faults { missing: vec![Kind::Threats], ..Faults::default() };
    harness.console().set_faults(missing);
    let exit = harness.once(&["--once-timeout", "2s"]).await;
    assert!(exit.stdout.contains("given up: the console answered 404 Not Found"), "{}", exit.stdout);

    harness.console().set_faults(Faults::default());
    harness.console().set_token(Token::new(Setup::TOKEN));
    std::fs::remove_file(harness.path("pipelines/globex.yaml")).unwrap();
    assert_eq!(harness.once(&[]).await.code, Some(0));
    let arrived = harness.sink.ledger().counts();
    harness.assert_all_arrived(&[Kind::Activities, Kind::Threats], &arrived);
    assert!(arrived.values().all(|count| *count == 1), "something came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_40_mb_is_stepped_over_and_the_rest_arrives_once() {
    const SIZE: usize = 40 << 20;
    let harness = Harness::new(|setup| (setup.activities, setup.threats) = (60, 60)).await;
    let at = system_clock() - 3_600_000_000;
    // Others of the same moment before, between and behind them, and two of them in a row.
    let mut large = Vec::new();
    for kind in [Kind::Threats, Kind::Activities] {
        for (place, what) in "...L.LL.L...".chars().enumerate() {
            let at = at + place as i64 * 1000;
            match what {
                'L' => large.push(harness.console().generate_oversized(kind, at, SIZE / (1 + place / 6))),
                _ => _ = harness.console().generate(kind, at),
            }
        }
    }
    harness
        .put_changed("acme", json!({ "streams": { "activities": { "since": "30d" }, "threats": { "since": "30d" } } }));
    let budget = ["--memory-budget", "16MiB"];
    let exit = harness.once(&budget).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let owed = || [Kind::Activities, Kind::Threats].into_iter().flat_map(|kind| harness.owed(kind)).count();
    let arrived = harness.sink.ledger().counts();
    assert_eq!(arrived.len(), owed() - large.len());
    assert!(arrived.values().all(|count| *count == 1), "something came twice");
    let dead_letters = harness.command(&["dead-letters", "list", "--format", "json"]).await.stdout;
    let dead_letters: Vec<Value> = dead_letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(dead_letters.len(), large.len());
    for letter in &dead_letters {
        assert!(letter["truncated"] == true && letter["status"] == "too_large", "{letter}");
        let kept = ["event", "event_text"].iter().find_map(|key| letter[key].as_str()).unwrap();
        assert!((60 << 10..=65 << 10).contains(&kept.len()) && kept.starts_with('{'), "{} bytes", kept.len());
    }
    // Once is enough, and it is accounted for.
    assert_eq!(harness.once(&budget).await.code, Some(0));
    assert_eq!(
        harness.command(&["dead-letters", "list", "--format", "json"]).await.stdout.lines().count(),
        large.len()
    );
    let replay = harness.command(&["dead-letters", "replay", "--pipelines", "pipelines"]).await;
    assert!(replay.code == Some(1) && replay.stdout.contains("8 remain"), "{}{}", replay.stdout, replay.stderr);

    let exit = harness.once(&["--memory-budget", "512MiB", "--state", "file:other"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
    let arrived = harness.sink.ledger().counts();
    harness.assert_all_arrived(&[Kind::Activities, Kind::Threats], &arrived);
}

/// What is refused is probed slowly, so both ends wait here at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_comes_later_is_taken_without_a_restart() {
    let harness = Harness::new(|setup| setup.activities = 30).await;
    harness.write("empty", "\n");
    harness.write("old", "old");
    harness.put_changed("empty", json!({ "console": { "token": { "file": harness.path("empty") } } }));
    let late = crate::support::harness::receiver().await;
    late.contract(|rules| rules.authorization = ["Bearer new".to_owned()].into());
    let mut pipeline = harness.pipeline(json!({}));
    pipeline["sinks"][0]["url"] = json!(late.input());
    pipeline["sinks"][0]["auth"] = json!({ "type": "bearer", "token": { "file": harness.path("old") } });
    harness.put("refused", &pipeline);
    harness.put_changed("good", json!({ "streams": { "activities": { "since": "now" } } }));

    let mut worker = harness.worker();
    let console = worker.lane("empty/activities/siem", |lane| lane["state"] == "misconfigured").await;
    let error = console["error"].as_str().unwrap();
    assert!(error.contains("is empty") && !error.contains("revoked"), "the console was not asked: {console}");
    worker.logged(&["the lane is paused until its next attempt", "next_attempt", "empty"]).await;
    let paused = worker.lane("empty/activities/siem", |lane| lane["next_attempt"].is_string()).await;
    assert_eq!(paused["state"], "misconfigured");
    let sink = worker.lane("refused/activities/siem", |lane| lane["state"] == "sink_refused").await;
    assert!(sink["error"].as_str().unwrap().contains("401"), "{sink}");
    worker.lane("good/activities/siem", |lane| lane["state"] == "running").await;
    assert_eq!(worker.get("/readyz").await.0, 200, "neither console nor sink makes a worker unready");
    harness.write("empty", Setup::TOKEN);
    harness.write("old", "new");
    // The first rest is half a minute to a minute.
    until_within(Duration::from_secs(150), "both are taken", async || {
        let arrived = [harness.sink.ledger().counts(), late.ledger().counts()];
        let owed = harness.owed(Kind::Activities);
        arrived.iter().all(|arrived| owed.iter().all(|id| arrived.contains_key(id))).then_some(())
    })
    .await;
    until("the lanes say so", async || worker.lanes().await.values().all(|lane| lane["up"] == true).then_some(()))
        .await;
    for counts in [harness.sink.ledger().counts(), late.ledger().counts()] {
        assert!(counts.values().all(|count| *count == 1), "something came twice");
    }
}
