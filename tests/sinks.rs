//! Each sink against a double of its destination or the real server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end in a panic")]

mod support;

mod sinks {
    mod azure_logs;
    mod elasticsearch;
    mod file;
    mod google_secops;
    mod http;
    #[cfg(feature = "kafka")]
    mod kafka;
    mod opensearch;
    mod sekoia;
    mod settings;
    mod siems;
}
