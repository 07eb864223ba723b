use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder::record::{Clock, Stream};
use s1_forwarder::settings::Period;
use s1_forwarder::sink::dead_letters::{self, DeadLetters};
use s1_forwarder::sink::deliver::{Delivery, Health, Settled};
use s1_forwarder::sink::settings::RetrySettings;
use s1_forwarder::sink::throttle::Throttle;
use s1_forwarder::sink::{Batch, Sink};
use s1_forwarder::telemetry::{Meter, Telemetry};
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

/// All dead letters, one a line.
pub fn letters(directory: &Path) -> String {
    let files = dead_letters::files(directory).unwrap();
    files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}
