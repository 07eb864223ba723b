//! Reports facts about a worker besides those that its lanes report: gauges, dead letters, and what the log has left
//! out.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use s1_forwarder_engine::dead_letters::{DeadLetterError, DeadLetters, StoreFill};
use s1_forwarder_record::{Clock, Timestamp};
use s1_forwarder_state::StoreLocation;
use s1_forwarder_telemetry::{FileStatus, LaneMetrics, Telemetry, lane_span};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::renames::{MAX_ORPHANS, Renames, advice_of_lost};
use crate::lanes::builder::LaneBuilder;
use crate::options::Options;

/// Interval at which lanes are asked for events that the log has not reported yet.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Pipelines that one line of the log names.
const MAX_NAMED: usize = 5;

#[derive(Debug)]
pub struct Reporter {
    telemetry: Arc<Telemetry>,
    dead_letters: Arc<DeadLetters>,
    clock: Clock,
    /// Whether the log has named the pipelines that had no file at the start.
    has_logged_lost: AtomicBool,
}

impl Reporter {
    pub fn new(telemetry: Arc<Telemetry>, dead_letters: Arc<DeadLetters>, clock: Clock) -> Self {
        Self { telemetry, dead_letters, clock, has_logged_lost: AtomicBool::default() }
    }

    /// Updates the gauges of the process.
    pub fn refresh_gauges(&self, lanes: &LaneBuilder, renames: &Renames) {
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.telemetry.process().in_flight_bytes().set(gauge(lanes.budget.used()));
        self.telemetry.process().memory_budget().set(gauge(lanes.options.memory_budget));
        self.telemetry.process().kafka_clients().set(gauge(lanes.sinks.kafka_clients()));
        self.telemetry.process().orphaned_checkpoints().set(gauge(renames.count_orphans()));
        self.telemetry.retain_removed_files(|pipeline| renames.has_lost(pipeline));
        if renames.has_listed() && !self.has_logged_lost.swap(true, Ordering::Relaxed) {
            self.report_lost(renames.lost_pipelines(), &lanes.options);
        }
    }

    /// Logs which pipelines have checkpoints and no file: nothing else reports a file that was removed while no worker
    /// ran. Other stores than files may have pipelines of other workers, whose files this one does not read.
    fn report_lost(&self, pipelines: BTreeSet<String>, options: &Options) {
        let state_flags = options.state_flags();
        log_lost(&pipelines, &state_flags);
        if matches!(options.state, StoreLocation::File(_)) {
            for pipeline in pipelines.into_iter().take(MAX_ORPHANS) {
                let advice = advice_of_lost(&pipeline, &state_flags);
                let path = PathBuf::from(&pipeline);
                let problem = format!("it had no file when this worker started; {advice}");
                self.telemetry.set_file(&path, FileStatus::removed(pipeline, problem));
            }
        }
    }

    /// Keeps the gauges of dead letters up to date, and says how many there are at the start. Never returns.
    pub async fn measure_dead_letters(&self) {
        let mut is_told = false;
        let mut has_failed = false;
        loop {
            let started_at = Instant::now();
            match self.measure_dead_letters_once().await {
                Ok(stored) => {
                    if stored > 0 && !is_told {
                        let list = self.dead_letters.list_command();
                        info!(stored, list, "dead letters are stored");
                    }
                    is_told = true;
                    has_failed = false;
                }
                Err(error) if has_failed => debug!(%error, "the stored dead letters cannot be counted"),
                Err(error) => {
                    warn!(%error, "the stored dead letters cannot be counted");
                    has_failed = true;
                }
            }
            // A topic is read to be measured: that may take a hundredth of the time.
            sleep(self.dead_letters.measure_interval().max(started_at.elapsed() * 100)).await;
        }
    }

    /// Updates the gauges of dead letters, and returns how many there are.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn measure_dead_letters_once(&self) -> Result<u64, DeadLetterError> {
        let Some(usage) = self.dead_letters.measure().await? else { return Ok(0) };
        let StoreFill { bytes, max, pipelines, lanes } = usage;
        self.telemetry.process().set_dead_letters(bytes, max, &pipelines);
        self.telemetry.running_lanes().iter().for_each(|lane| self.dead_letters.show(lane));
        Ok(lanes.values().sum())
    }

    /// Returns the command that lists all dead letters.
    pub fn list_dead_letters(&self) -> String {
        self.dead_letters.list_command()
    }

    /// Logs the dead letters and mapping errors of lanes that wait for the end of their minute. Never returns.
    pub async fn log_pending(&self) {
        loop {
            sleep(LOG_INTERVAL).await;
            let now = self.clock.now();
            for lane in self.telemetry.running_lanes() {
                self.log_pending_of(&lane, Some(now));
            }
        }
    }

    /// See [`LaneMetrics::log_pending`].
    pub fn log_pending_of(&self, metrics: &LaneMetrics, now: Option<Timestamp>) {
        if metrics.has_pending() {
            let span = lane_span(&metrics.id);
            span.in_scope(|| metrics.log_pending(now, || self.dead_letters.list_command_for(metrics)));
        }
    }
}
fn log_lost(pipelines: &BTreeSet<String>, state_flags: &str) {
    let Some(first) = pipelines.first() else { return };
    let names = pipelines.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    warn!(
        pipelines = pipelines.len(),
        names,
        "pipelines have checkpoints and no file, and deliver nothing: put the files back, or, if these customers are gone, \
         stop the worker and remove the checkpoints of each: s1-forwarder state delete {first}{state_flags}"
    );
}
