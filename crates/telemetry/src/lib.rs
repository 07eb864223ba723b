//! Metrics, health and logs of the process.
//!
//! Each lane counts into its own [`LaneMetrics`]. [`Telemetry`] knows all lanes of the process and formats their
//! counters only when they are scraped. So an idle lane costs a few hundred bytes and no series in a registry. A scrape
//! of ten thousand lanes keeps only one chunk of its text in memory. Metrics of the whole process ([`ProcessMetrics`])
//! use the `prometheus` crate's registry. Every metric's name, type and help text is in `metrics.rs`.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod compared_clocks;
mod counter;
mod duration;
mod exposition;
mod health;
mod history;
mod label_counts;
mod lane;
mod lane_log;
mod logs;
mod meter;
mod metrics;
mod notices;
mod process;
mod recent_latency;
mod registry;
mod reminders;
mod shown;
mod silence;
mod sink_warnings;
mod state_history;
#[cfg(feature = "traces")]
mod traces;
#[cfg(not(feature = "traces"))]
#[path = "no_traces.rs"]
mod traces;
mod unmapped;
pub mod usage;

pub use compared_clocks::ComparedClocks;
pub use counter::Counter;
pub use duration::HumanDuration;
pub use health::{HealthPart, ProcessHealth};
pub use history::HistorySample;
pub use label_counts::{CountedLabels, LabelCount};
pub use lane::{
    LaneMetrics, LaneWarnings, LimitWaitGuard, MapCounts, PullCounts, RareCount, RetryCommand, SendCounts, SkipReason,
    StatusCounts, Verification, describe_skipped,
};
pub use logs::{LogError, LogFormat, init_logs, lane_span};
pub use meter::{DeliveredEvent, MappingFlags, Meter};
pub use metrics::{METRIC_PREFIX, METRICS, Metric, MetricType};
pub use process::{ProcessMetrics, UsageWrite};
pub use registry::{
    ClusterView, FileStatus, LaneView, NewTokenProblem, PipelineState, Telemetry, TelemetrySnapshot, TokenStatus,
};
pub use shown::{LaneChange, LaneState, LaneStateKind, Misconfiguration, StateName, TokenProblem};
pub use silence::Silence;
pub use state_history::RecentError;
pub use traces::BatchSpan;
#[cfg(feature = "traces")]
pub use traces::{Traces, TracesError};

/// Returns a text without its numbers. Errors of one cause, such as `refused 112 events in a row`, are then equal.
pub fn without_numbers(text: &str) -> String {
    text.split(|char: char| char.is_ascii_digit()).collect()
}
