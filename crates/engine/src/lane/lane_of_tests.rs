//! A lane of activities for unit tests: its console answers nothing, and its sink accepts everything.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_record::{Clock, LaneId, Stream};
use s1_forwarder_telemetry::{Meter, Telemetry};

use super::{Lane, Remembered};
use crate::checkpoint::{CheckpointKey, MemoryStore};
use crate::console::scripted::ResponseQueue;
use crate::console::{Client, ConsoleSettings, Limiters};
use crate::delivery::Delivery;
use crate::delivery::throttle::Throttle;
use crate::sink::memory::MemorySink;
use crate::source::PullSettings;

/// Returns the key of the checkpoint of [`lane`].
pub fn key() -> CheckpointKey {
    LaneId::new("acme", Stream::Activities, "siem").into()
}

pub fn lane(store: Arc<MemoryStore>) -> Lane {
    let clock = Clock::System;
    let pull = PullSettings::of(Stream::Activities);
    let settings = serde_json::json!({ "url": "https://console.example", "token": "token" });
    let settings: ConsoleSettings = serde_json::from_value(settings).unwrap();
    let transport = Arc::new(Arc::<ResponseQueue>::default().transport());
    let client = Client::new(&settings, transport, Limiters::default().join_for(&settings), clock);
    let meter = Meter::start(&Arc::new(Telemetry::new()), &key().lane, "memory", clock);
    let delivery =
        Delivery { throttle: Throttle::new(1), ..Delivery::for_tests(MemorySink::accepting(clock), meter, clock) };
    Lane {
        concurrency: 1,
        store,
        checkpoint_interval: Duration::from_hours(1),
        memory: Remembered::new(1_000_000, 64 << 20).lane("acme"),
        target: 0,
        ..Lane::for_tests(key(), Arc::new(client), pull, delivery)
    }
}
