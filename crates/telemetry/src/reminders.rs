//! Lanes that keep failing are logged again and again: a log of the last hour must show what has failed since noon.

use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_record::Timestamp;
use tracing::warn;

use super::registry::Pipeline;
use super::{LaneMetrics, Telemetry, lane_span};

/// Interval of the lines about one lane.
const REMINDER_INTERVAL: Duration = Duration::from_mins(30);

impl Telemetry {
    /// Logs each lane that has failed for half an hour since the last line about it; called every few seconds.
    pub fn remind_of_failures(&self, now: Timestamp) {
        // Without the lock: to write thousands of lines takes time.
        let lanes: Vec<Arc<LaneMetrics>> = {
            let pipelines = self.pipelines();
            let failing = pipelines.values().flat_map(Pipeline::running).filter(|lane| lane.failing_since().is_some());
            failing.cloned().collect()
        };
        for lane in lanes {
            if let Some((since, attempts)) = lane.take_reminder(now, REMINDER_INTERVAL) {
                remind(&lane, now.since(since), attempts);
            }
        }
    }
}

fn remind(metrics: &LaneMetrics, failing: Duration, attempts: u64) {
    let state = metrics.state();
    let Some(error) = state.error() else { return };
    let minutes = failing.as_secs() / 60;
    let failing_for = format!("{} h {} min", minutes / 60, minutes % 60);
    lane_span(&metrics.id).in_scope(|| {
        warn!(state = state.name(), reason = state.reason(), failing_for, attempts, %error, "lane is still failing");
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::tests::json_lines;
    use crate::{LaneChange, LaneState, Meter};
    use s1_forwarder_failure::{Failure, Side};
    use s1_forwarder_record::{Clock, LaneId, Stream};

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_fails_is_logged_every_half_hour_whatever_its_state() {
        let clock = Clock::simulated(Timestamp::from_micros(1_790_000_000_000_000));
        let telemetry = Arc::new(Telemetry::default());
        let meter = |stream| Meter::start(&telemetry, &LaneId::new("acme", stream, "siem"), "http", clock);
        let threats = meter(Stream::Threats);
        let activities = meter(Stream::Activities);
        let after = async |minutes: u64| {
            tokio::time::advance(Duration::from_secs(60 * minutes)).await;
            json_lines(|| telemetry.remind_of_failures(clock.now()))
        };
        let error = || "503 Service Unavailable".to_owned();
        for (side, failure) in [
            (Side::Console, Failure::transient(error())),
            (Side::Console, Failure::unauthorized(error())),
            (Side::Sink, Failure::transient(error())),
            (Side::Sink, Failure::unauthorized(error())),
            (Side::Sink, Failure::secret_unreadable("no file")),
            (Side::Store, Failure::transient(error())),
        ] {
            let state = LaneState::of(side, &failure);
            json_lines(|| threats.failed(side, &failure));
            assert!(after(29).await.is_empty(), "{state:?}");
            // Further attempts are no reason to wait longer.
            json_lines(|| (0..40).for_each(|_| threats.failed(side, &failure)));
            let lines = after(1).await;
            assert_eq!(lines.len(), 1, "{lines:?}");
            let line = &lines[0];
            assert_eq!((&line["level"], &line["message"]), (&"WARN".into(), &"lane is still failing".into()));
            assert_eq!(
                (&line["pipeline"], &line["stream"], &line["sink"]),
                (&"acme".into(), &"threats".into(), &"siem".into())
            );
            assert_eq!((&line["state"], &line["error"]), (&state.name().into(), &state.error().into()));
            assert_eq!((&line["failing_for"], &line["attempts"]), (&"0 h 30 min".into(), &41.into()), "{line:?}");
            assert!(after(29).await.is_empty());
            assert_eq!(after(61).await[0]["failing_for"], "2 h 0 min");
            json_lines(|| {
                for event in [LaneChange::CheckpointStored, LaneChange::SinkAccepts, LaneChange::ConsoleAnswers(None)] {
                    threats.report(event);
                }
            });
            assert!(after(60).await.is_empty(), "it runs");
        }
        assert!(activities.metrics.failing_since().is_none());
    }
}
