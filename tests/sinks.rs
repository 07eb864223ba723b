//! Each sink against a double of its destination or the real server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end in a panic")]

mod support;

mod sinks {
    mod collector;
    mod datadog;
    mod file;
    mod hec;
    mod http;
    mod intakes;
    #[cfg(feature = "kafka")]
    mod kafka;
    #[cfg(feature = "kafka")]
    mod kafka_security;
    mod loki;
    mod otlp;
    mod settings;
    mod siems;
    mod tls;
}
