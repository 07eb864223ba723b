//! Each sink against a double of its destination or the real server.

mod support;

mod sinks {
    mod file;
    mod http;
    #[cfg(feature = "kafka")]
    mod kafka;
    mod settings;
}
