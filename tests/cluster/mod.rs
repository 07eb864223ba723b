//! Several workers that share pipelines, as real processes against a real API server, with the rights of the chart's
//! Role.
//!
//! How much is done can be set: `S1_FORWARDER_CLUSTER_PIPELINES` (how many customers), `S1_FORWARDER_CLUSTER_OUTAGE`
//! (seconds without API server); for `load` also `S1_FORWARDER_CLUSTER_WORKERS`, `_BUSY` (how many customers have
//! something new), `_LEASE` and `_WATCH` (seconds: of a lease, and of each measurement).

mod fleet;
mod harness;
#[cfg(feature = "kafka")]
mod kafka;
mod link;
mod load;
mod receiver;
mod scenarios;
mod settings;
mod start;
mod store;
