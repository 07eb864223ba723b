//! Doubles and real servers that the tests of several binaries share. Each is written from its contract and shares no
//! code with the program.

// Each test binary uses its own part of this.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod aws;
pub mod azure_logs;
pub mod batches;
pub mod collector;
pub mod completeness;
pub mod datadog;
pub mod deliver;
pub mod double;
pub mod elasticsearch;
pub mod elasticsearch_lookup;
pub mod google_secops;
pub mod harness;
pub mod hmac;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kafka")]
pub mod kafka_proxy;
pub mod kcat;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod ledger;
pub mod logscale;
pub mod loki;
pub mod lookup;
#[cfg(feature = "kafka")]
pub mod msk;
pub mod oauth;
pub mod opensearch;
pub mod otlp;
pub mod page;
pub mod panther;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod public_content;
pub mod quickstart;
pub mod receiver;
pub mod rsyslog;
pub mod sekoia;
pub mod silent;
pub mod spelling;
pub mod splunk_hec;
pub mod sumo;
pub mod syslog;
pub mod tls;
pub mod transfer;
pub mod usage;
pub mod verify_destination;

pub use test_servers::cache;
