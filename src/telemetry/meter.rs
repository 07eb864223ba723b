use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use super::{LaneMetrics, LaneState, Telemetry};
use crate::record::{Clock, Stream, Timestamp};

/// What one lane reports with: its own counters and state, and the process's histograms. Clones are the same lane.
#[derive(Debug, Clone)]
pub struct Meter {
    /// The lane's own counters.
    pub lane: Arc<LaneMetrics>,
    telemetry: Arc<Telemetry>,
    sink_type: Arc<str>,
    clock: Clock,
    troubles: Arc<Mutex<Troubles>>,
}

/// The parts of a lane fail and recover by themselves; the lane's state is the gravest of theirs.
#[derive(Debug, Default)]
struct Troubles {
    console: Option<LaneState>,
    sink: Option<LaneState>,
    store: Option<LaneState>,
}

impl Meter {
    /// The lane counts from where a lane of this name stopped counting.
    pub fn start(
        telemetry: &Arc<Telemetry>,
        pipeline: &str,
        stream: Stream,
        sink: &str,
        sink_type: &str,
        clock: Clock,
    ) -> Self {
        let lane = telemetry.start_lane(pipeline, stream, sink);
        Self::over(lane, telemetry, sink_type, clock)
    }

    /// For a lane that is on no page and in no metric of its own.
    pub fn detached(
        telemetry: &Arc<Telemetry>,
        pipeline: &str,
        stream: Stream,
        sink: &str,
        sink_type: &str,
        clock: Clock,
    ) -> Self {
        Self::over(Arc::new(LaneMetrics::new(pipeline, stream, sink)), telemetry, sink_type, clock)
    }

    /// Reports with what there is.
    pub fn over(lane: Arc<LaneMetrics>, telemetry: &Arc<Telemetry>, sink_type: &str, clock: Clock) -> Self {
        Self { lane, telemetry: telemetry.clone(), sink_type: sink_type.into(), clock, troubles: Arc::default() }
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
    pub fn token_expires(&self, expires: Option<Timestamp>) {
        self.telemetry.set_token_expiry(&self.lane.pipeline, expires);
    }

    /// What is wrong at the console's end, or nothing any more.
    pub fn console_trouble(&self, trouble: Option<LaneState>) {
        self.update(|troubles| troubles.console = trouble);
    }

    /// What is wrong with the lane's checkpoints, or nothing any more.
    pub fn store_trouble(&self, trouble: Option<LaneState>) {
        self.update(|troubles| troubles.store = trouble);
    }

    /// Another process writes the lane's checkpoint now.
    pub fn superseded(&self, by: &dyn std::fmt::Display) {
        self.telemetry.process().checkpoint_conflicts().inc();
        self.store_trouble(Some(LaneState::Stopped(by.to_string())));
    }

    /// What is wrong at the sink's end, dead letters included, or nothing any more.
    pub fn sink_trouble(&self, trouble: Option<LaneState>) {
        self.update(|troubles| troubles.sink = trouble);
    }

    /// The lane's work is done: drained, removed, or complete.
    pub fn done(&self) {
        self.lane.set_state(self.clock.now(), LaneState::Done);
    }

    /// The lane runs no more and leaves metrics and pages.
    pub fn end(&self) {
        self.telemetry.end_lane(&self.lane);
    }

    fn update(&self, change: impl FnOnce(&mut Troubles)) {
        let now = self.clock.now();
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut troubles);
        let Troubles { console, sink, store } = &*troubles;
        let state = match store.as_ref().or(sink.as_ref()).or(console.as_ref()) {
            Some(trouble) => trouble.clone(),
            None => {
                self.lane.succeeded(now);
                LaneState::Running
            }
        };
        let was = self.lane.state();
        if self.lane.set_state(now, state.clone()) {
            self.tell(&was, &state);
        }
    }

    /// One line for each change of state.
    fn tell(&self, was: &LaneState, is: &LaneState) {
        let LaneMetrics { pipeline, stream, sink, .. } = &*self.lane;
        match is.error() {
            Some(error) => warn!(%pipeline, %stream, %sink, state = is.name(), %error, "lane is failing"),
            None => info!(%pipeline, %stream, %sink, state = is.name(), was = was.name(), "lane is running"),
        }
    }
}
