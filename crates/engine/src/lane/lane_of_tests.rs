//! A lane of activities for unit tests: its console answers nothing, and its sink accepts everything.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_mapping::Schema;
use s1_forwarder_record::{Clock, LaneId, Stream};
use s1_forwarder_settings::RetrySettings;
use s1_forwarder_telemetry::{Meter, Telemetry};

use super::{Budget, Lane, LaneMapping, Remembered};
use crate::checkpoint::{CheckpointKey, MemoryStore};
use crate::console::scripted::ResponseQueue;
use crate::console::{Client, ConsoleSettings, Limiters};
use crate::dead_letters::DeadLetters;
use crate::delivery::throttle::Throttle;
use crate::delivery::{Delivery, SinkHealth};
use crate::sink::Deadline;
use crate::sink::memory::MemorySink;
use crate::source::PullSettings;

/// Returns the key of the checkpoint of [`lane`].
pub fn key() -> CheckpointKey {
    LaneId { pipeline: "acme".to_owned(), stream: Stream::Activities, sink: "siem".to_owned() }.into()
}

pub fn lane(store: Arc<MemoryStore>) -> Lane {
    let clock = Clock::System;
    let pull = Arc::new(PullSettings::of(Stream::Activities));
    let settings = serde_json::json!({ "url": "https://console.example", "token": "token" });
    let settings: ConsoleSettings = serde_json::from_value(settings).unwrap();
    let transport = Arc::new(Arc::<ResponseQueue>::default().transport());
    let client = Client::new(&settings, transport, Limiters::default().join_for(&settings), clock);
    let meter = Meter::start(&Arc::new(Telemetry::new()), &LaneId::new("acme", pull.stream, "siem"), "memory", clock);
    Lane {
        key: key(),
        client: Arc::new(client),
        pull,
        mapping: LaneMapping { schema: Schema::Raw, ..LaneMapping::default() },
        delivery: Arc::new(Delivery {
            sink: MemorySink::accepting(clock),
            retry: RetrySettings::default(),
            dead_letters: Arc::new(DeadLetters::disabled()),
            meter,
            clock,
            health: SinkHealth::default(),
            throttle: Throttle::new(1),
            deadline: Deadline::default(),
        }),
        batch_timeout: Duration::from_secs(1),
        concurrency: 1,
        store,
        state_flags: "".into(),
        file: "FILE".into(),
        checkpoint_interval: Duration::from_hours(1),
        budget: Budget::new(64 << 20).lane(),
        memory: Remembered::new(1_000_000, 64 << 20).lane("acme"),
        random: fastrand::Rng::with_seed(7),
        first_poll_after: Duration::ZERO,
        once: false,
        wanted: None,
        tenant: None,
        target: 0,
    }
}
