use std::path::Path;
use std::sync::Arc;

use s1_forwarder::delivery::throttle::Throttle;
use s1_forwarder::delivery::{Delivery, Fates, SinkHealth};
use s1_forwarder::failure::Failure;
use s1_forwarder::record::{Clock, LaneId, Stream};
use s1_forwarder::settings::RetrySettings;
use s1_forwarder::sink::{Attempt, Batch, Deadline, Outcome, Sink};
use s1_forwarder::state::StoreLocation;
use s1_forwarder::state::dead_letters::{self, files};
use s1_forwarder::telemetry::{Meter, Telemetry};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// The result of delivering a batch as a lane does.
#[derive(Debug)]
pub struct Delivered {
    pub result: Result<(), Failure>,
    /// Number of delivered events in the metrics.
    pub delivered: u64,
    pub dead_letters_counted: u64,
    /// The lines of the dead letters' file.
    pub dead_letters: Vec<Value>,
}

/// Returns the state that the deliveries of a lane share, with waits of a few milliseconds. Dead letters are kept in
/// `directory`.
pub fn delivery(sink: Arc<dyn Sink>, concurrency: usize, directory: &Path) -> Delivery {
    let clock = Clock::System;
    let short = |text: &str| serde_json::from_value(serde_json::json!(text)).unwrap();
    Delivery {
        sink,
        retry: RetrySettings { initial: short("2ms"), max: short("5ms") },
        dead_letters: Arc::new(dead_letters::open(StoreLocation::File(directory.into()), "", 1 << 30)),
        meter: Meter::start(
            &Arc::new(Telemetry::new()),
            &LaneId::new("acme", Stream::Activities, "siem"),
            "test",
            clock,
        ),
        clock,
        health: SinkHealth::default(),
        throttle: Throttle::new(concurrency),
        deadline: Deadline::default(),
    }
}

/// Delivers one of several batches: every event of it is settled.
pub async fn settle(delivery: &Delivery, batch: &Batch) -> Result<(), Failure> {
    let fates = Fates::none_of(batch.len());
    let random = fastrand::Rng::with_seed(7);
    let result = delivery.deliver(batch, &fates, random, None, &CancellationToken::new()).await;
    assert!(result.is_err() || fates.unsettled().is_empty());
    result.map(drop).map_err(|error| error.failure().clone())
}

/// Delivers a batch as a lane does.
pub async fn deliver(sink: Arc<dyn Sink>, batch: &Batch) -> Delivered {
    let directory = tempfile::tempdir().unwrap();
    let delivery = delivery(sink, 1, directory.path());
    let lane = delivery.meter.metrics.clone();
    let result = settle(&delivery, batch).await;
    Delivered {
        result,
        delivered: lane.send.delivered.get(),
        dead_letters_counted: lane.send.dead_letters.get(),
        dead_letters: dead_letters(directory.path()),
    }
}

/// The dead letters in a directory.
pub fn dead_letters(directory: &Path) -> Vec<Value> {
    let read = |file| {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    files(directory).unwrap().into_iter().flat_map(read).collect()
}

/// Returns why an attempt failed; "" if it did not.
pub fn reason(attempt: &Attempt) -> &str {
    match &attempt.outcome {
        Outcome::Failed(failure) => &failure.reason,
        _ => "",
    }
}
