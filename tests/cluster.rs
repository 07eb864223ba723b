//! Several workers that share pipelines, as real processes against a real API server, with the rights of the chart's Role.
//!
//! How much is done can be set: `S1_FORWARDER_CLUSTER_PIPELINES` (how many customers), `S1_FORWARDER_CLUSTER_OUTAGE` (seconds
//! without API server); for `load` also `S1_FORWARDER_CLUSTER_WORKERS`, `_BUSY` (how many customers have something new),
//! `_LEASE` and `_WATCH` (seconds: of a lease, and of each measurement).

#![cfg(feature = "kubernetes")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

#[allow(dead_code, reason = "the process is driven by other tests too")]
mod cluster {
    mod arena;
    #[cfg(feature = "kafka")]
    mod kafka;
    mod link;
    mod load;
    #[path = "../worker/process.rs"]
    mod process;
    mod receiver;
    mod scenarios;
    mod settings;
    mod start;
    mod store;
}
