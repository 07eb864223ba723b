//! Doubles and real servers that the tests of several binaries share. Each is written from its contract and shares no
//! code with the program.

// Each test binary uses its own part of this.
#![allow(dead_code, clippy::unwrap_used)]

pub mod batches;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod ledger;
pub mod oauth;
pub mod receiver;
