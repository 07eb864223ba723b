//! Kafka `delivery: exactly_once` and `--state kafka://`, against a real Apache Kafka, read by a client that shares nothing
//! with the program.
//!
//! How much is done can be set: `S1_FORWARDER_KILLS` (how often the worker is killed).

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

mod exactly_once {
    mod beside;
    mod changes;
    mod kill;
    mod owners;
    #[path = "../worker/process.rs"]
    mod process;
    mod quarantine;
    mod reader;
    mod verify;
    #[path = "../worker/world.rs"]
    #[allow(dead_code, reason = "the tests of the worker use the rest")]
    mod world;
}
