//! Each sink against a double of its destination or the real server.

mod aws;
mod azure_logs;
mod datadog;
mod elasticsearch;
mod file;
mod google_secops;
mod http;
mod intakes;
mod integrations;
mod loki;
#[cfg(feature = "kafka")]
mod msk;
mod otlp;
mod readers;
mod sekoia;
mod sentinel;
mod settings;
mod siems;
mod splunk_hec;
mod syslog;
mod tls;
mod transport_errors;
