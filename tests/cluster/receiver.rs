//! A SIEM that remembers which worker brought what, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// One delivery of one event.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub at: Instant,
    pub worker: String,
}

#[derive(Debug, Default)]
struct Taken {
    /// By pipeline and record.
    events: BTreeMap<(String, String), Vec<Arrival>>,
    last: BTreeMap<String, Arrival>,
}

/// A running receiver; it ends when it is dropped.
pub struct Receiver {
    address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(Mutex::new(Taken::default()));
        let router = Router::new().route("/{pipeline}", post(take)).with_state(taken.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, taken, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The newest arrival of each pipeline.
    pub fn last(&self) -> BTreeMap<String, Arrival> {
        self.taken.lock().unwrap().last.clone()
    }

    /// The records that came for a pipeline.
    pub fn records(&self, pipeline: &str) -> BTreeSet<String> {
        let taken = self.taken.lock().unwrap();
        let of_it = taken.events.keys().filter(|(name, _)| name == pipeline);
        of_it.map(|(_, record)| record.clone()).collect()
    }

    /// Every event that came once more after `from`: its pipeline, and all its arrivals.
    pub fn repeated(&self, from: Instant) -> Vec<(String, Vec<Arrival>)> {
        let taken = self.taken.lock().unwrap();
        let again =
            taken.events.iter().filter(|(_, arrivals)| arrivals.iter().skip(1).any(|arrival| arrival.at >= from));
        again.map(|((pipeline, _), arrivals)| (pipeline.clone(), arrivals.clone())).collect()
    }

    /// How often `worker` brought something after `from`.
    pub fn brought_by(&self, worker: &str, from: Instant) -> usize {
        let taken = self.taken.lock().unwrap();
        let arrivals = taken.events.values().flatten();
        arrivals.filter(|arrival| arrival.worker == worker && arrival.at > from).count()
    }
}

async fn take(
    State(taken): State<Arc<Mutex<Taken>>>,
    Path(pipeline): Path<String>,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let worker = headers["x-worker"].to_str().unwrap().to_owned();
    let arrival = Arrival { at: Instant::now(), worker };
    let mut taken = taken.lock().unwrap();
    for line in body.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let id = event["id"].as_str().unwrap().to_owned();
        taken.events.entry((pipeline.clone(), id)).or_default().push(arrival.clone());
    }
    taken.last.insert(pipeline, arrival);
    StatusCode::OK
}
