//! s1-forwarder pulls security records out of SentinelOne consoles, maps them into a common event schema, and forwards
//! them to Kafka and HTTP SIEMs. Delivery is at least once, and each event has an identity that never changes. A
//! checkpoint is written only after every event up to it is settled: acknowledged by the sink, or kept as a dead
//! letter.
//!
//! A *lane* is one stream of one pipeline going to one sink. A record passes these modules, in this order:
//!
//! - [`console`] sends one request within the rate limit and says what the answer's status means.
//! - [`source`] asks for everything between the lane's *position* and the start of the poll, page by page. It skips the
//!   records that the position has seen. Records are slices of the answer; [`record`] reads the fields that are needed.
//! - [`transform`] has the event of a record written once, into the buffer of the batch that will carry it. The mapping
//!   itself is the crate `s1-forwarder-mapping`.
//! - [`sink`] makes one attempt for a batch and returns an `Outcome`. [`sink::deliver`] retries, splits and
//!   dead-letters.
//! - [`lane`] joins these stages with bounded channels, within one memory budget. Settled events move its position.
//! - [`checkpoint`] says how the position and the ledger are stored as the lane's checkpoint: by [`state`], or by a
//!   sink together with the events.
//!
//! Around them, [`pipeline`] reads the customers' files (made of [`settings`]) and [`worker`] runs a lane for each
//! stream and sink in them. [`telemetry`] and [`server`] report how the lanes do, [`usage`] is what they did by hour,
//! and [`commands`] is the command line.
//! [`emulator`] is a console for tests and demos. It is a crate of its own in `crates/`, as [`record`] is.
//!
//! `ARCHITECTURE.md` has the terms, the way of a record by function, and the order of imports between modules, which
//! `tests/repository/layering.rs` checks.

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
pub use s1_forwarder_engine::{checkpoint, console, lane, sink, source, transform};
pub use s1_forwarder_failure as failure;
pub use s1_forwarder_record as record;
use s1_forwarder_record::visible;
pub use s1_forwarder_settings as settings;
pub use s1_forwarder_state as state;
pub use s1_forwarder_telemetry as telemetry;
pub use s1_forwarder_telemetry::usage;
pub use s1_forwarder_worker as worker;
pub use s1_forwarder_worker::pipeline;
