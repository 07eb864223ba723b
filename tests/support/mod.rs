//! Doubles and real servers that the tests of several binaries share. Each is written from its contract and shares no
//! code with the program.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod batches;
pub mod collector;
pub mod delivery;
pub mod hec;
pub mod intake;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod ledger;
pub mod logs;
pub mod logscale;
pub mod oauth;
pub mod panther;
pub mod proxy;
pub mod receiver;
pub mod sumo;
pub mod tls;
