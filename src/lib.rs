//! s1-forwarder pulls security records out of SentinelOne consoles, maps them into a common event schema, and forwards
//! them to Kafka and HTTP SIEMs. Delivery is at least once, and each event has an identity that never changes. A
//! checkpoint is written only after every event up to it is settled: acknowledged by the sink, or kept as a dead
//! letter.
//!
//! This is the program: [`commands`] is the command line, and [`server`] has the HTTP endpoints and the status page.
//! Below it are crates, which this library shows under their names:
//!
//! - [`worker`] runs a *lane* for each stream and sink of the customers' files, which [`pipeline`] reads.
//! - The engine is one lane. A record passes its modules [`console`], [`source`], [`transform`], [`sink`] and [`lane`];
//!   [`checkpoint`] says how far it is.
//! - [`destinations`] are the sinks, and [`state`] has the stores of checkpoints and dead letters.
//! - [`telemetry`] reports how the lanes do, [`usage`] what they did by hour.
//! - [`settings`] are the parts of settings, [`failure`] says why something failed, and [`record`] reads records.
//! - [`emulator`] is a console for tests and demos.
//!
//! `ARCHITECTURE.md` has the terms, the way of a record by function, and what each crate knows of the others.

#![forbid(unsafe_code)]
// Only `commands::output` prints: a closed pipe is no reason to panic.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod commands;
#[cfg(test)]
#[path = "../tests/fuzz/mod.rs"]
mod fuzz;
pub mod server;

pub use s1_forwarder_destinations as destinations;
pub use s1_forwarder_emulator as emulator;
pub use s1_forwarder_engine::{checkpoint, console, dead_letters, delivery, lane, sink, source, transform};
pub use s1_forwarder_failure as failure;
pub use s1_forwarder_record as record;
use s1_forwarder_record::visible;
pub use s1_forwarder_settings as settings;
pub use s1_forwarder_state as state;
pub use s1_forwarder_telemetry as telemetry;
pub use s1_forwarder_telemetry::usage;
pub use s1_forwarder_worker as worker;
pub use s1_forwarder_worker::pipeline;
