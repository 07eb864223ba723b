//! s1-forwarder pulls security records out of SentinelOne consoles and forwards them, mapped into a common event schema, to
//! Kafka and HTTP SIEMs. At least once, each event with an identity that never changes: a checkpoint moves only after the sink
//! has taken, or the dead letters have kept, every event up to it.
//!
//! The way of a record, which is also the way through the rooms:
//!
//! - [`console`]: one request in its turn, one answer, what its status means.
//! - [`source`]: a poll asks for everything from the lane's *position* to its start S, page by page, and drops what the
//!   position has seen. Records are slices of the answer; [`record`] reads what must be known of them.
//! - [`transform`]: record → event, written once, straight into the batch that will carry it.
//! - [`sink`]: one attempt for a batch becomes an `Outcome`; what follows from it stands in [`sink::deliver`].
//! - [`lane`]: joins these over bounded channels, within the bytes of one budget; what the sink has settled moves the
//!   position, and
//! - [`state`]: keeps the position as a checkpoint.
//!
//! Around them: [`pipeline`] reads the customers' files (made of [`settings`]), [`worker`] runs a lane for each stream and sink
//! in them and follows their changes, [`telemetry`] and [`server`] tell how they fare, [`commands`] is the command line, and
//! [`emulator`] is a console to try all that against.
//!
//! Imports run downwards: `ARCHITECTURE.md` has the order, and `tests/rooms.rs` holds it.

#![forbid(unsafe_code)]

pub mod commands;
pub mod console;
pub mod emulator;
#[cfg(feature = "kafka")]
mod kafka;
pub mod lane;
pub mod pipeline;
pub mod record;
pub mod server;
pub mod settings;
pub mod sink;
pub mod source;
pub mod state;
pub mod telemetry;
pub mod transform;
pub mod worker;
