use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use s1_forwarder::record::{Clock, Stream};
use s1_forwarder::settings::Period;
use s1_forwarder::sink::dead_letters::{self, DeadLetters};
use s1_forwarder::sink::deliver::{Delivery, Halt, Health, Settled};
use s1_forwarder::sink::settings::RetrySettings;
use s1_forwarder::sink::throttle::Throttle;
use s1_forwarder::sink::{Batch, Sink};
use s1_forwarder::telemetry::{Meter, Telemetry};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Deliveries as a lane makes them, with short waits; dead letters are kept in `directory`.
pub fn delivery(sink: Arc<dyn Sink>, concurrency: usize, directory: &Path) -> Arc<Delivery> {
    let clock = Clock::System;
    Arc::new(Delivery {
        sink,
        retry: RetrySettings { initial: Period(Duration::from_millis(5)), max: Period(Duration::from_millis(20)) },
        dead_letters: Arc::new(DeadLetters::directory(directory, 1 << 30)),
        meter: Meter::start(&Arc::new(Telemetry::new()), "acme", Stream::Activities, "siem", "memory", clock),
        clock,
        health: Health::default(),
        throttle: Throttle::new(concurrency),
    })
}

/// Delivers `batch`: every event of it is settled.
pub async fn deliver(delivery: &Delivery, batch: &Batch) {
    let settled = Settled::none_of(batch.len());
    let random = fastrand::Rng::with_seed(7);
    delivery.deliver(batch, &settled, random, &CancellationToken::new()).await.unwrap();
    assert_eq!(settled.indices(false), Vec::<usize>::new());
}

/// What became of a batch.
#[derive(Debug)]
pub struct Delivered {
    pub result: Result<(), Halt>,
    /// What the metrics say.
    pub delivered: u64,
    pub dead_letters: u64,
    /// The dead letters.
    pub letters: Vec<Value>,
}

/// Delivers one batch to `sink` as a lane does, and tells what became of it.
pub async fn deliver_to(sink: Arc<dyn Sink>, batch: &Batch) -> Delivered {
    let directory = tempfile::tempdir().unwrap();
    let delivery = delivery(sink, 1, directory.path());
    let settled = Settled::none_of(batch.len());
    let random = fastrand::Rng::with_seed(7);
    let result = delivery.deliver(batch, &settled, random, &CancellationToken::new()).await;
    assert!(result.is_err() || settled.indices(false).is_empty());
    let letters = letters(directory.path());
    Delivered {
        result,
        delivered: delivery.meter.lane.delivered.load(Ordering::Relaxed),
        dead_letters: delivery.meter.lane.dead_letters.load(Ordering::Relaxed),
        letters: letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    }
}

/// All dead letters, one a line.
pub fn letters(directory: &Path) -> String {
    let files = dead_letters::files(directory).unwrap();
    files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}
