//! The emulated console keeps to the contract of the SentinelOne API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::emulator::{Console, Kind, Request, Server, Setup};
use serde_json::Value;

const NOW: i64 = 1_767_225_600_000_000;

fn json(console: &Console, target: &str) -> Value {
    let answer = console.answer(&Request::get(target, Setup::TOKEN), NOW);
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{target}: {:?}", answer.body))
}

#[test]
fn sizes() {
    let start = std::time::Instant::now();
    let console =
        Console::new(&Setup { activities: 20_000, threats: 2_000, agents: 500, alerts: 500, ..Setup::new(NOW) });
    println!("made in {:?}", start.elapsed());
    for kind in Kind::ALL {
        let ids = console.ids(kind);
        let bytes: usize = ids.iter().map(|id| console.record(kind, *id).unwrap().len()).sum();
        println!("{kind:?}: {} records of {} bytes", ids.len(), bytes / ids.len().max(1));
    }
    let start = std::time::Instant::now();
    let mut seen = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let page = json(&console, &format!("/activities?limit=1000&sortBy=createdAt&sortOrder=asc{cursor}"));
        for record in page["data"].as_array().unwrap() {
            assert!(seen.insert(record["id"].as_str().unwrap().to_owned()));
        }
        match page["pagination"]["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    println!("paged in {:?}", start.elapsed());
    println!("{}", json(&console, "/activities?limit=3"));
    println!("{}", json(&console, "/threats?limit=1"));
    assert_eq!(seen.len(), console.truth(Kind::Activities, &Default::default()).len());
}

#[tokio::test]
async fn serves() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let console = Arc::new(Console::new(&Setup { activities: 100, ..Setup::new(NOW) }));
    let server = Server::start(console, "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let response = reqwest::Client::new()
        .get(format!("{}/web/api/v2.1/activities?limit=3", server.url()))
        .header("Authorization", format!("ApiToken {}", Setup::TOKEN))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    println!("{:?}", response.headers());
    server.stop().await;
    let _ = (BTreeMap::<u8, u8>::new(), Duration::ZERO);
}
