//! Metrics, health and logs: all that a process tells about itself.
//!
//! Lanes count into their own [`LaneMetrics`]. [`Telemetry`] knows all lanes of the process and writes their counters
//! down only when somebody asks: an idle lane costs a few hundred bytes and no series of its own in a registry, and a
//! scrape of ten thousand lanes never holds more than a piece of its text. What exists once a process
//! ([`Process`]) uses the `prometheus` crate as it is meant to be used.

mod exposition;
mod health;
mod lane;
mod logs;
mod meter;
mod process;
mod registry;

pub use health::Health;
pub use lane::{DropReason, LaneMetrics, LaneState, Missing, StatusCounts};
pub use logs::{LogError, LogFormat, Repeats, init_logs};
pub use meter::Meter;
pub use process::Process;
pub use registry::{Activity, ClusterView, FileStatus, LaneView, Snapshot, Telemetry};
