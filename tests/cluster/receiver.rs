//! A SIEM that remembers which worker brought what, and when.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::support::double::{Contract, Double, Memory, Received, Reply, lines};

/// One delivery of one event.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub at: Instant,
    pub worker: String,
}

#[derive(Debug, Default)]
struct Arrivals {
    /// By pipeline and record.
    events: BTreeMap<(String, String), Vec<Arrival>>,
    last: BTreeMap<String, Arrival>,
}

impl Contract for Arrivals {
    fn memory(&self) -> Memory {
        Memory::Nothing
    }

    /// The path names the pipeline.
    fn answer(&mut self, request: &Received) -> Reply {
        let pipeline = request.path.trim_start_matches('/').to_owned();
        let worker = request.header("x-worker").to_owned();
        assert!(request.method == "POST" && !worker.is_empty(), "{request:?}");
        let arrival = Arrival { at: Instant::now(), worker };
        for event in lines(&request.body).unwrap() {
            let id = event["id"].as_str().unwrap().to_owned();
            self.events.entry((pipeline.clone(), id)).or_default().push(arrival.clone());
        }
        self.last.insert(pipeline, arrival);
        Reply::new(200, "")
    }
}

/// A running receiver; it ends when it is dropped.
pub struct Receiver(Double<Arrivals>);

impl Receiver {
    pub async fn start() -> Self {
        Self(Double::start(Arrivals::default()).await)
    }

    pub fn url(&self) -> String {
        self.0.url()
    }

    /// The newest arrival of each pipeline.
    pub fn last(&self) -> BTreeMap<String, Arrival> {
        self.0.contract(|arrivals| arrivals.last.clone())
    }

    /// The records that came for a pipeline.
    pub fn records(&self, pipeline: &str) -> BTreeSet<String> {
        self.0.contract(|arrivals| {
            let of_it = arrivals.events.keys().filter(|(name, _)| name == pipeline);
            of_it.map(|(_, record)| record.clone()).collect()
        })
    }

    /// Every event that came once more after `from`: its pipeline, and all its arrivals.
    pub fn repeated(&self, from: Instant) -> Vec<(String, Vec<Arrival>)> {
        self.0.contract(|all| {
            let is_repeated = |arrivals: &[Arrival]| arrivals.iter().skip(1).any(|arrival| arrival.at >= from);
            let repeated = all.events.iter().filter(|(_, arrivals)| is_repeated(arrivals));
            repeated.map(|((pipeline, _), arrivals)| (pipeline.clone(), arrivals.clone())).collect()
        })
    }

    /// How often `worker` brought something after `from`.
    pub fn brought_by(&self, worker: &str, from: Instant) -> usize {
        self.0.contract(|arrivals| {
            let all = arrivals.events.values().flatten();
            all.filter(|arrival| arrival.worker == worker && arrival.at > from).count()
        })
    }
}
