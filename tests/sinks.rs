//! Each sink against a double of its destination or the real server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end in a panic")]

mod support;

mod sinks {
    mod azure_logs;
    mod collector;
    mod datadog;
    mod elasticsearch;
    mod file;
    mod google_secops;
    mod hec;
    mod http;
    mod intakes;
    #[cfg(feature = "kafka")]
    mod kafka;
    #[cfg(feature = "kafka")]
    mod kafka_security;
    mod loki;
    mod opensearch;
    mod otlp;
    mod sekoia;
    mod settings;
    mod siems;
    mod tls;
}
