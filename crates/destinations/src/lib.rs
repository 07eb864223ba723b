//! The sinks: HTTP destinations, syslog, Kafka, files and standard output.
//!
//! Each type of sink has settings that implement [`SinkType`](settings::SinkType). [`SinkSettings::build`] makes the
//! sink of one lane from them. A sink makes **one** attempt for a batch; the engine retries, splits and dead-letters.

#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod build_error;
mod common_keys;
mod compression;
mod context;
mod destination_hash;
mod failover;
pub mod file;
pub mod http;
pub mod integration;
#[cfg(feature = "kafka")]
pub mod kafka;
mod labelled;
mod line;
mod safe_part;
pub mod settings;
mod sink_type;
pub mod stdout;
pub mod syslog;

pub use build_error::BuildError;
pub use context::{SharedSinkResources, SinkContext};
pub use destination_hash::{DestinationHash, DestinationHasher, DestinationId};
pub use settings::SinkSettings;
