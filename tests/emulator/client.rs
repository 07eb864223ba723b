use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use reqwest::header::HeaderMap;
use s1_forwarder::emulator::{Console, Server, Setup};
use s1_forwarder::settings::install_crypto_provider;
use serde_json::Value;

/// 2026-01-01T00:00:00Z
pub const NOW: i64 = 1_767_225_600_000_000;
pub const SECOND: i64 = 1_000_000;

/// A console behind a socket, with a clock that stands still until it is moved.
pub struct Client {
    pub console: Arc<Console>,
    server: Server,
    clock: Arc<AtomicI64>,
    http: reqwest::Client,
}

pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Client {
    pub async fn new(setup: &Setup) -> Self {
        install_crypto_provider();
        let console = Arc::new(Console::new(setup));
        let clock = Arc::new(AtomicI64::new(setup.now));
        let reported = Arc::clone(&clock);
        let any = "127.0.0.1:0".parse().unwrap();
        let server = Server::start_with_clock(Arc::clone(&console), any, move || reported.load(Ordering::Relaxed))
            .await
            .unwrap();
        Self { console, server, clock, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    pub fn set_clock(&self, now: i64) {
        self.clock.store(now, Ordering::Relaxed);
    }

    pub fn request(&self, target: &str, authorization: &str) -> reqwest::RequestBuilder {
        let url = format!("{}/web/api/v2.1{target}", self.server.url());
        self.http.get(url).header("Authorization", authorization)
    }

    pub fn post(&self, target: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http.post(format!("{}/web/api/v2.1{target}", self.server.url())).body(body.to_string())
    }

    /// A GET with a token; an error is one of the connection.
    pub async fn try_get_as(&self, target: &str, token: &str) -> reqwest::Result<Got> {
        Got::of(self.request(target, &format!("ApiToken {token}"))).await
    }

    pub async fn get_as(&self, target: &str, token: &str) -> Got {
        self.try_get_as(target, token).await.unwrap()
    }

    pub async fn get(&self, target: &str) -> Got {
        self.get_as(target, Setup::TOKEN).await
    }

    /// The body of a good answer.
    pub async fn page(&self, target: &str) -> Value {
        let got = self.get(target).await;
        assert_eq!(got.status, 200, "{target}: {}", got.text);
        got.json()
    }

    /// The detail of a refused request.
    pub async fn refusal(&self, target: &str) -> String {
        let got = self.get(target).await;
        assert_eq!(got.status, 400, "{target}: {}", got.text);
        let error = got.json()["errors"][0].clone();
        assert_eq!((error["code"].as_i64(), error["title"].as_str()), (Some(4_000_010), Some("Validation Error")));
        error["detail"].as_str().unwrap().to_owned()
    }

    /// The ids of every page of a list, in order, and the number of pages.
    pub async fn walk(&self, target: &str) -> (Vec<String>, usize) {
        let mut ids = Vec::new();
        let mut cursor = String::new();
        let mut pages = 0;
        loop {
            let page = self.page(&format!("{target}{cursor}")).await;
            ids.extend(ids_of(&page));
            pages += 1;
            match page["pagination"]["nextCursor"].as_str() {
                Some(next) if !next.is_empty() && next != "null" => cursor = format!("&cursor={next}"),
                _ => return (ids, pages),
            }
        }
    }

    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl Got {
    pub async fn of(request: reqwest::RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        Ok(Self { status, headers, text: response.text().await? })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The ids of a page, whichever kind of record it holds.
pub fn ids_of(page: &Value) -> Vec<String> {
    let records = page["data"].as_array().or(page["data"]["sites"].as_array()).unwrap();
    let id = |record: &Value| match record["alertInfo"]["alertId"].as_str() {
        Some(id) => id.to_owned(),
        None => record["id"].as_str().unwrap().to_owned(),
    };
    records.iter().map(id).collect()
}

/// Every id once.
pub fn distinct(ids: &[String]) -> usize {
    ids.iter().collect::<BTreeSet<_>>().len()
}
