//! Metrics and logs.
//!
//! Lanes count into their own [`LaneMetrics`]; one collector reads them all when Prometheus scrapes, so that an idle lane
//! costs a few hundred bytes and no series of its own in a registry.

mod lane;

pub use lane::{DropReason, LaneMetrics, LaneState, StatusCounts};
