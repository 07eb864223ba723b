//! Each sink against a double of its destination or the real server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end in a panic")]

mod support;

mod sinks {
    mod file;
    mod hec;
    mod http;
    mod intakes;
    #[cfg(feature = "kafka")]
    mod kafka;
    mod settings;
    mod siems;
}
