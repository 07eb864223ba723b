//! Parts of a lane for tests, which replace what they are about.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::Clock;
use s1_forwarder_settings::RetrySettings;
use s1_forwarder_telemetry::Meter;

use super::{Budget, Lane, LaneMapping, Remembered};
use crate::checkpoint::{CheckpointKey, MemoryStore};
use crate::console::Client;
use crate::dead_letters::DeadLetters;
use crate::delivery::throttle::Throttle;
use crate::delivery::{Delivery, SinkHealth};
use crate::sink::{Deadline, Sink};
use crate::source::PullSettings;

/// Number of batches in flight.
const CONCURRENCY: usize = 4;

impl Delivery {
    /// Returns the delivery to `sink` without a store of dead letters.
    pub fn for_tests(sink: Arc<dyn Sink>, meter: Meter, clock: Clock) -> Self {
        Self {
            sink,
            retry: RetrySettings::default(),
            dead_letters: Arc::new(DeadLetters::disabled()),
            meter,
            clock,
            health: SinkHealth::default(),
            throttle: Throttle::new(CONCURRENCY),
            deadline: Deadline::default(),
        }
    }
}

impl Lane {
    /// Returns a lane of raw events with a store, a budget and a memory of its own.
    pub fn for_tests(key: CheckpointKey, client: Arc<Client>, pull: PullSettings, delivery: Delivery) -> Self {
        Self {
            memory: Remembered::new(u64::MAX, usize::MAX).lane(&key.lane.pipeline),
            key,
            client,
            pull: Arc::new(pull),
            mapping: LaneMapping { schema: Schema::Raw, ..LaneMapping::default() },
            delivery: Arc::new(delivery),
            batch_timeout: Duration::from_secs(1),
            concurrency: CONCURRENCY,
            store: Arc::new(MemoryStore::default()),
            state_flags: "".into(),
            file: "FILE".into(),
            checkpoint_interval: Duration::ZERO,
            budget: Budget::new(64 << 20).lane(),
            random: fastrand::Rng::with_seed(7),
            first_poll_after: Duration::ZERO,
            once: false,
            wanted: None,
            tenant: None,
            target: 1,
        }
    }
}
