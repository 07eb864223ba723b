//! The tests against real servers: Apache Kafka, OpenSearch, an OpenTelemetry collector, a Kubernetes API server. And
//! the status page in a real browser.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end in a panic")]

mod support;

mod browser;
#[cfg(feature = "kubernetes")]
mod cluster;
mod collector;
#[cfg(feature = "kafka")]
mod exactly_once;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod opensearch;
mod panther;
mod syslog;
