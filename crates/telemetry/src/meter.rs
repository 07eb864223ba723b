//! Reports the progress of one lane. The engine calls it where something happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder_failure::{Failure, Side};
use s1_forwarder_record::{Clock, LaneId, Timestamp};
use tracing::{info, warn};

use super::notices::NoticeKind;
use super::shown::{LaneChange, LaneState, LaneStateKind, Shown};
use super::{LabelCount, LaneMetrics, RareCount, Telemetry};
use crate::usage::Counts;

/// The labels of an event, by name.
type Labels = std::collections::BTreeMap<String, String>;

/// Reports one lane's progress: to the lane's own counters and state, and to the process's histograms. Clones report
/// for the same lane. Callers run within the lane's span, which gives log lines the lane's name.
#[derive(Debug, Clone)]
pub struct Meter {
    pub metrics: Arc<LaneMetrics>,
    telemetry: Arc<Telemetry>,
    sink_type: Arc<str>,
    clock: Clock,
    reported: Arc<Mutex<Reported>>,
    /// The labels of events that have none of their own.
    labels: Arc<Labels>,
    /// Records from then on show how long events take; the latest time while there are none.
    latency_from: Arc<AtomicI64>,
}

/// An event that the sink has acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct DeliveredEvent<'a> {
    /// Bytes as the destination counts them: see `delivered_event_bytes_total`.
    pub bytes: u64,
    /// The record's own time.
    pub time: Option<Timestamp>,
    /// The event's labels, if the events of the lane differ in them.
    pub labels: Option<&'a Labels>,
}

/// The properties of a mapped record that a lane counts.
#[derive(Debug, Clone, Copy)]
pub struct MappingFlags {
    /// Whether the table of activity types lacks the type of this activity.
    pub unknown_activity: bool,
    /// Whether the record was not JSON, and was repaired.
    pub repaired: bool,
    /// Whether the record exceeds a bound.
    pub overflowed: bool,
    /// Whether a time of the record names no zone.
    pub without_zone: bool,
    /// Number of leaves that no mapping knows.
    pub unknown_leaves: u32,
}

#[derive(Debug, Default)]
struct Reported {
    shown: Shown,
    lines: LogLines,
}

/// The number of lines that one lane may log of its changes. A destination that many lanes share may fail and recover
/// every few seconds.
#[derive(Debug)]
struct LogLines {
    left: u32,
    /// When a line was last added to those that are left.
    added: Timestamp,
    unlogged: u64,
}

/// Number of lines at once.
const MAX_LINES: u32 = 10;
/// After [`MAX_LINES`], one line in each period of this length.
const LINE_PERIOD: Duration = Duration::from_mins(1);

impl Default for LogLines {
    fn default() -> Self {
        Self { left: MAX_LINES, added: Timestamp::default(), unlogged: 0 }
    }
}

impl LogLines {
    /// Returns the number of changes that were not logged before this one; `None` if this one is not logged either.
    fn take(&mut self, now: Timestamp) -> Option<u64> {
        let earned = now.since(self.added).as_secs() / LINE_PERIOD.as_secs();
        if earned > 0 {
            self.left = self.left.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)).min(MAX_LINES);
            self.added = now;
        }
        if self.left == 0 {
            self.unlogged += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.unlogged))
    }
}

impl Meter {
    /// Starts the meter of a lane. If a lane of this name ran before, its counters continue.
    pub fn start(telemetry: &Arc<Telemetry>, id: &LaneId, sink_type: &str, clock: Clock) -> Self {
        Self::with_metrics(telemetry.start_lane(id), telemetry, sink_type, clock)
    }

    /// Makes the meter of a lane that does not appear in metrics and on the status page.
    pub fn detached(telemetry: &Arc<Telemetry>, id: &LaneId, sink_type: &str, clock: Clock) -> Self {
        Self::with_metrics(Arc::new(LaneMetrics::new(id)), telemetry, sink_type, clock)
    }

    pub fn with_metrics(lane: Arc<LaneMetrics>, telemetry: &Arc<Telemetry>, sink_type: &str, clock: Clock) -> Self {
        Self {
            metrics: lane,
            telemetry: telemetry.clone(),
            sink_type: sink_type.into(),
            clock,
            reported: Arc::default(),
            labels: Arc::default(),
            latency_from: Arc::new(AtomicI64::new(i64::MAX)),
        }
    }

    /// Sets the labels of events that have none of their own.
    #[must_use]
    pub fn labelled(self, labels: &Labels) -> Self {
        let is_counted = !self.telemetry.counted_labels().names().is_empty();
        if is_counted { Self { labels: Arc::new(labels.clone()), ..self } } else { self }
    }

    /// Measures the latency of events whose records are newer than `time`; of none without it.
    pub fn measure_latency_from(&self, time: Option<Timestamp>) {
        self.latency_from.store(time.map_or(i64::MAX, Timestamp::micros), Ordering::Relaxed);
    }

    /// Counts events of one batch that the sink has acknowledged.
    pub fn delivered<'a>(&'a self, events: impl Iterator<Item = DeliveredEvent<'a>> + Clone) {
        let mut counts = Counts::default();
        for event in events.clone() {
            counts.events += 1;
            counts.bytes += event.bytes;
        }
        if counts.events == 0 {
            return;
        }
        self.metrics.send.event_bytes.add(counts.bytes);
        let now = self.clock.now();
        let from = self.latency_from.load(Ordering::Relaxed);
        if from != i64::MAX {
            let from = Timestamp::from_micros(from);
            let times = events.clone().filter_map(|event| event.time).filter(|time| *time > from);
            let latencies = times.map(|time| now.since(time)).inspect(|latency| counts.latency.add(*latency));
            self.telemetry.process().observe_event_latency(self.metrics.id.stream, &self.sink_type, latencies);
        }
        self.metrics.usage.count(now, &counts);
        let labels = self.telemetry.counted_labels();
        for name in labels.names() {
            // The events of a batch mostly have one value.
            let mut run: Option<(&str, LabelCount)> = None;
            for event in events.clone() {
                let Some(value) = event.labels.unwrap_or(&self.labels).get(name) else { continue };
                let one = LabelCount { events: 1, bytes: event.bytes };
                match &mut run {
                    Some((same, count)) if *same == value.as_str() => count.add(one),
                    _ => {
                        if let Some((value, count)) = run.replace((value, one)) {
                            self.metrics.count_label(labels, name, value, count);
                        }
                    }
                }
            }
            if let Some((value, count)) = run {
                self.metrics.count_label(labels, name, value, count);
            }
        }
    }

    /// Counts events that were stored as dead letters.
    pub fn dead_lettered(&self, dead_letters: u64) {
        if dead_letters > 0 {
            self.metrics.send.dead_letters.add(dead_letters);
            self.metrics.usage.count(self.clock.now(), &Counts { dead_letters, ..Counts::default() });
        }
    }

    /// Returns the type of the lane's sink.
    pub fn sink_type(&self) -> &str {
        &self.sink_type
    }

    /// Counts a finished request to the console, with or without a response.
    pub fn console_request(&self, status: &str, took: Duration) {
        self.metrics.pull.requests.count(status);
        self.telemetry.process().observe_console_request(self.metrics.id.stream, took);
    }

    /// Counts a finished request to the sink, with or without a response.
    pub fn sink_request(&self, status: &str, took: Duration) {
        self.metrics.send.requests.count(status);
        self.metrics.sink_latency.add(took, self.clock.now());
        self.telemetry.process().observe_sink_request(&self.sink_type, took);
    }

    /// Counts a record that could not be mapped, for `reason`.
    pub fn not_mapped(&self, reason: &str, record_id: &str) {
        self.metrics.map.errors.add(1);
        self.metrics.tell(NoticeKind::MapErrors, self.clock.now(), reason, record_id);
    }

    /// Counts an event that a program of the user failed on.
    pub fn program_failed(&self, reason: &str, overran: bool, record_id: &str) {
        let now = self.clock.now();
        self.metrics.remap_failed(now, reason, overran);
        self.metrics.tell(NoticeKind::ProgramErrors, now, reason, record_id);
    }

    /// Counts what the mapping of a record has shown.
    pub fn mapped(&self, flags: MappingFlags, record_id: &str) {
        let MappingFlags { unknown_activity, repaired, overflowed, without_zone, unknown_leaves } = flags;
        self.metrics.map.unknown_types.add(u64::from(unknown_activity));
        if repaired {
            self.metrics.map.repaired.add(1);
            self.metrics.tell(NoticeKind::Repairs, self.clock.now(), "", record_id);
        }
        if overflowed {
            self.metrics.add_rare(RareCount::Overflowed, 1);
            self.metrics.tell(NoticeKind::Overflows, self.clock.now(), "", record_id);
        }
        if without_zone {
            self.metrics.add_rare(RareCount::WithoutZone, 1);
        }
        if unknown_leaves > 0 {
            self.telemetry.unmapped_fields().count(self.metrics.id.stream, unknown_leaves);
        }
    }

    /// Counts a record for which not all could be fetched that `include` names, for `reason`.
    pub fn not_enriched(&self, reason: &str, record_id: &str) {
        self.metrics.add_rare(RareCount::NotEnriched, 1);
        self.metrics.tell(NoticeKind::NotEnriched, self.clock.now(), reason, record_id);
    }

    /// Counts a record whose labels have the value `other`.
    pub fn labelled_other(&self, record_id: &str) {
        self.metrics.add_rare(RareCount::LabelledOther, 1);
        self.metrics.tell(NoticeKind::OtherLabels, self.clock.now(), "", record_id);
    }

    /// Names a leaf that no mapping knows in the log, once. `path` was made for logs.
    pub fn name_unmapped_field(&self, path: &str) {
        self.telemetry.unmapped_fields().name(&self.metrics.id.pipeline, self.metrics.id.stream, path);
    }

    /// Measures the delay of a record that an earlier complete poll over its time did not return.
    pub fn arrived_late(&self, delay: Duration) {
        self.telemetry.process().observe_arrival_delay(self.metrics.id.stream, delay);
    }

    /// Sets when the pipeline's token expires; `None` if the console does not report it.
    pub fn token_expires(&self, expires: Option<Timestamp>) {
        self.telemetry.set_token_expiry(&self.metrics.id.pipeline, expires);
    }

    /// Returns the last value of [`Self::token_expires`] from any lane of the pipeline.
    pub fn known_token_expiry(&self) -> Option<Timestamp> {
        self.telemetry.token_expiry(&self.metrics.id.pipeline)
    }

    /// Sets how far the console's clock and ours differ.
    pub fn clocks_differ(&self, ours: Timestamp, theirs: Timestamp) {
        self.metrics.clocks.set_difference(theirs.since(ours).max(ours.since(theirs)), ours);
        self.telemetry.set_clock_difference(&self.metrics.id.pipeline, theirs.seconds() - ours.seconds());
    }

    /// Reports that an attempt failed on this side.
    pub fn failed(&self, side: Side, failure: &Failure) {
        self.report(LaneChange::Failed(side, failure.clone()));
    }

    /// Reports that another process has the lane, or that it is unknown what was committed. The failure says which.
    pub fn taken_over(&self, failure: &Failure) {
        self.telemetry.process().checkpoint_conflicts().inc();
        self.failed(Side::Store, failure);
    }

    /// Removes the lane from metrics and the status page.
    pub fn end(&self) {
        self.telemetry.end_lane(&self.metrics);
    }

    /// Shows what happened, and logs what that changes.
    pub fn report(&self, event: LaneChange) {
        let now = self.clock.now();
        let attempted = event.failing_state();
        // The console's statement about the token holds until the console says something else, also if the lane begins
        // again.
        let is_of_console = matches!(event, LaneChange::Failed(Side::Console, _) | LaneChange::ConsoleAnswers(_));
        let mut reported = self.reported.lock();
        if !reported.shown.add(event) {
            return;
        }
        let state = reported.shown.state();
        if is_of_console {
            self.metrics.set_token_problem(reported.shown.token_problem());
        }
        if state.kind == LaneStateKind::Running {
            self.metrics.succeeded(now);
        }
        let previous = self.metrics.state();
        // The attempt of another part says nothing about the failure that is shown.
        if previous == state && attempted.as_ref() == Some(&state) {
            self.metrics.failed_again(now);
        }
        let is_logged = state.kind == LaneStateKind::Running || !state.is_up();
        if self.metrics.set_state(now, state.clone())
            && is_logged
            && let Some(unlogged) = reported.lines.take(now)
        {
            drop(reported);
            self.log_change(&previous, &state, unlogged);
        }
    }

    /// Logs a change of the state.
    fn log_change(&self, previous: &LaneState, state: &LaneState, unlogged: u64) {
        if unlogged > 0 {
            warn!(changes = unlogged, "the lane's state changes too often to be logged each time");
        }
        match state.error() {
            Some(error) => {
                let retry = state.waits_for_person().then(|| self.metrics.retry_command()).flatten();
                warn!(state = state.name(), reason = state.reason(), %error, retry, "lane is failing");
            }
            None => info!(state = state.name(), previous = previous.name(), "lane is running"),
        }
    }
}

#[cfg(test)]
mod tests {
    use s1_forwarder_record::Stream;

    use super::*;
    use crate::TokenProblem;

    fn lane() -> LaneId {
        LaneId::new("acme", Stream::Threats, "siem")
    }

    #[test]
    fn a_lane_that_fails_again_and_again_does_not_fill_the_log() {
        let begin = Timestamp::from_micros(1_790_000_000_000_000);
        let mut lines = LogLines::default();
        let mut logged = 0;
        for second in 0..3_600 {
            logged += u64::from(lines.take(begin.plus(Duration::from_secs(second))).is_some());
        }
        assert_eq!(logged, u64::from(MAX_LINES) + 59);
        // The next line says how many there were.
        assert_eq!(lines.take(begin.plus(Duration::from_hours(1))), Some(59));
        // After a while, each change is logged again.
        let later = begin.plus(Duration::from_secs(10_000));
        assert!((0..MAX_LINES).all(|_| lines.take(later) == Some(0)) && lines.take(later).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn each_attempt_with_the_same_error_is_counted_once() {
        let start = Timestamp::from_micros(1_790_000_000_000_000);
        let telemetry = Arc::new(Telemetry::new());
        let meter = Meter::start(&telemetry, &lane(), "http", Clock::simulated(start));
        let after = async |seconds| tokio::time::advance(Duration::from_secs(seconds)).await;
        let sink = Failure::transient("503");
        meter.failed(Side::Sink, &sink);
        after(60).await;
        meter.failed(Side::Sink, &sink);
        after(60).await;
        // Neither an attempt of another part nor its success is an attempt of the sink.
        meter.failed(Side::Console, &Failure::transient("timeout"));
        meter.report(LaneChange::ConsoleAnswers(None));
        let last = || meter.metrics.recent_errors().pop().unwrap();
        assert_eq!((last().time, last().count), (start.plus(Duration::from_mins(1)), 2));
        assert_eq!(meter.metrics.failing_since(), Some(start));
        meter.report(LaneChange::SinkAccepts);
        assert_eq!(meter.metrics.failing_since(), None);

        // One pass fails, the others go on.
        let pass = Failure::transient("alerts: 500");
        meter.failed(Side::Console, &pass);
        meter.report(LaneChange::ConsoleAnswers(Some(pass.clone())));
        assert_eq!((last().count, meter.metrics.state()), (1, LaneState::of(Side::Console, &pass)));
        meter.report(LaneChange::ConsoleAnswers(None));
        assert_eq!(meter.metrics.state().kind, LaneStateKind::Running);
    }

    /// A lane that ends, and the next one of its name, have not asked the console.
    #[test]
    fn a_refused_token_is_refused_until_the_console_answers() {
        let telemetry = Arc::new(Telemetry::new());
        let start = || Meter::start(&telemetry, &lane(), "http", Clock::System);
        let before = start();
        before.failed(Side::Console, &Failure::unauthorized("401"));
        before.report(LaneChange::LaneEnds);
        let after = start();
        for event in [LaneChange::LaneBegins, LaneChange::CheckpointStored, LaneChange::SinkAccepts] {
            after.report(event);
            assert_eq!(after.metrics.token_problem(), Some(TokenProblem::Refused));
        }
        after.report(LaneChange::ConsoleAnswers(None));
        assert_eq!(after.metrics.token_problem(), None);
    }
}
