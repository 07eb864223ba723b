//! Each sink against a double of its destination or the real server.

mod aws;
mod azure_logs;
mod datadog;
mod elasticsearch;
mod file;
mod google_secops;
mod http;
mod integration_content;
mod logscale;
mod loki;
#[cfg(feature = "kafka")]
mod msk;
mod otlp;
mod panther;
mod public_content;
mod sekoia;
mod sentinel_solution;
mod settings;
mod splunk_hec;
mod sumo;
mod syslog;
mod tls;
mod transport_errors;
mod wire_formats;
