use std::sync::Arc;
use std::time::Duration;

use super::{LaneMetrics, Telemetry};
use crate::record::Stream;

/// What one lane counts with: its own counters, and the process's histograms.
#[derive(Debug, Clone)]
pub struct Meter {
    /// The lane's own counters.
    pub lane: Arc<LaneMetrics>,
    telemetry: Arc<Telemetry>,
    sink_type: Arc<str>,
}

impl Meter {
    /// The lane counts from where a lane of this name stopped counting.
    pub fn start(telemetry: &Arc<Telemetry>, pipeline: &str, stream: Stream, sink: &str, sink_type: &str) -> Self {
        let lane = telemetry.start_lane(pipeline, stream, sink);
        Self { lane, telemetry: telemetry.clone(), sink_type: sink_type.into() }
    }

    /// A console answered, or did not.
    pub fn console_request(&self, status: &str, took: Duration) {
        self.lane.console_requests.count(status);
        self.telemetry.process().console_request_took(self.lane.stream, took);
    }

    /// A sink answered, or did not.
    pub fn sink_request(&self, status: &str, took: Duration) {
        self.lane.sink_requests.count(status);
        self.telemetry.process().sink_request_took(&self.sink_type, took);
    }

    /// A record came that an earlier complete poll over its time did not show.
    pub fn arrived_late(&self, delay: Duration) {
        self.telemetry.process().arrived_late(self.lane.stream, delay);
    }

    /// The console told when the pipeline's token expires.
    pub fn token_expires(&self, expires: Option<crate::record::Timestamp>) {
        self.telemetry.set_token_expiry(&self.lane.pipeline, expires);
    }

    /// The lane runs no more.
    pub fn end(&self) {
        self.telemetry.end_lane(&self.lane);
    }
}
